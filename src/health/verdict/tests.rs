//! Windows of answers and what they come to.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::observed::Blocked;

const RULES: Health = Health {
    min_peers: 3,
    max_sync_lag: 5,
    max_finality_lag: 10,
    stable_for: SignedDuration::from_mins(3),
    probe: crate::fleet::Probing::Required,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn expected() -> Expected<'static> {
    Expected {
        rules: RULES,
        tag: Some("stable2503-7"),
        is_validator: true,
        reserved_peers: None,
        baseline: None,
        ready_since: Some(at(0)),
        stale: SignedDuration::from_secs(180),
    }
}

/// A node that follows its chain, a block every six seconds.
fn sound(seconds: i64) -> Sample {
    let best = 1_000 + u64::try_from(seconds + 600).unwrap() / 6;
    Sample {
        at: at(seconds),
        version: Some("1.18.0-0d1f".into()),
        best,
        finalized: best - 2,
        sync_target: Some(best),
        is_major_syncing: false,
        peers: Some(12),
        roles: Some(4),
        started: Some(1),
    }
}

/// Asked every ten seconds.
fn window(seconds: std::ops::Range<i64>, change: impl Fn(i64, &mut Sample)) -> NodeHealth {
    let mut health = NodeHealth::default();
    for second in seconds.step_by(10) {
        let mut sample = sound(second);
        change(second, &mut sample);
        health.note(Ok(sample), SignedDuration::from_mins(1));
    }
    health
}

fn judged(health: &NodeHealth, expected: &Expected<'_>) -> Verdict {
    verdict(Some(health), expected, health.samples.back().unwrap().at)
}

fn fault_of(change: impl Fn(i64, &mut Sample), expected: &Expected<'_>) -> Option<What> {
    match judged(&window(0..300, change), expected) {
        Verdict::Unhealthy { what, .. } => Some(what),
        _ => None,
    }
}

#[test]
fn a_node_that_follows_its_chain_is_healthy_since_finality_was_first_seen_to_go_on() {
    let verdict = judged(&window(0..300, |_, _| {}), &expected());
    assert_eq!(verdict, Verdict::Healthy { since: at(10), sound: None });
}

#[test]
fn every_rule_is_held_against_a_node_that_breaks_it() {
    let usual = expected();
    assert_eq!(fault_of(|_, _| {}, &usual), None);
    assert_eq!(fault_of(|_, one| one.version = Some("1.17.0-0d1f".into()), &usual), Some(What::Version));
    assert_eq!(fault_of(|_, one| one.roles = Some(1), &usual), Some(What::Role));
    assert_eq!(fault_of(|_, one| one.is_major_syncing = true, &usual), Some(What::Syncing));
    assert_eq!(fault_of(|_, one| one.sync_target = Some(one.best + 6), &usual), Some(What::Syncing));
    assert_eq!(fault_of(|_, one| one.sync_target = Some(one.best + 5), &usual), None, "so many are allowed");
    assert_eq!(fault_of(|_, one| one.finalized = one.best - 10, &usual), None);
    assert_eq!(fault_of(|_, one| one.finalized = 1_000, &usual), Some(What::FinalityStall));
    assert_eq!(fault_of(|_, one| one.finalized = one.best - 11, &usual), Some(What::FinalityLag));
    assert_eq!(fault_of(|_, one| one.peers = Some(2), &usual), Some(What::Peers));
    let later = Expected { baseline: Some(5_000), ..usual };
    assert_eq!(fault_of(|_, _| {}, &later), Some(What::Baseline));
    // The last minute just there, and not beyond.
    let there = sound(240).finalized;
    let reached = Expected { baseline: Some(there), ..usual };
    assert_eq!(fault_of(|_, one| one.finalized = one.finalized.min(there), &reached), Some(What::Baseline));
}

#[test]
fn a_sentry_may_be_a_full_node_and_a_validator_may_keep_its_role_to_itself() {
    let sentry = Expected { is_validator: false, ..expected() };
    assert_eq!(fault_of(|_, one| one.roles = Some(1), &sentry), None);
    assert_eq!(fault_of(|_, one| one.roles = None, &expected()), None);
}

#[test]
fn a_node_with_reserved_peers_only_needs_no_more_than_those() {
    let two = Expected { reserved_peers: Some(2), ..expected() };
    assert_eq!(fault_of(|_, one| one.peers = Some(2), &two), None);
    assert_eq!(fault_of(|_, one| one.peers = Some(1), &two), Some(What::Peers));
}

#[test]
fn a_patch_or_a_tag_that_moves_is_not_told_from_the_reported_version() {
    for (tag, reported, same) in [
        ("stable2503-8", "1.18.0-0d1f", true),
        ("v1.16.2", "1.16.0-0d1f", true),
        ("v0.9.42", "0.9.42-0d1f", true),
        ("latest", "1.18.0-0d1f", true),
        ("stable9912", "1.18.0-0d1f", true),
        ("stable2506", "1.18.0-0d1f", false),
    ] {
        let mut walk = Walk { line: line(tag), ..Walk::default() };
        assert_eq!(walk.is_of_line(&reported.into()), same, "{tag} {reported}");
    }
}

#[test]
fn a_short_dip_is_forgiven_and_a_long_one_is_not() {
    let dip = |until: i64| window(0..600, move |at, one| one.is_major_syncing = (200..until).contains(&at));
    assert_eq!(judged(&dip(280), &expected()), Verdict::Healthy { since: at(10), sound: None });
    assert_eq!(judged(&dip(400), &expected()), Verdict::Healthy { since: at(400), sound: Some(at(400)) });
}

#[test]
fn a_gap_in_observation_starts_the_stretch_anew_and_breaks_nothing() {
    let mut health = window(0..200, |_, _| {});
    window(500..700, |_, _| {})
        .samples
        .into_iter()
        .for_each(|sample| health.note(Ok(sample), SignedDuration::from_mins(1)));
    assert_eq!(judged(&health, &expected()), Verdict::Healthy { since: at(500), sound: None });
}

#[test]
fn what_another_process_said_or_a_pod_that_was_not_ready_does_not_count() {
    let restarted = window(0..300, |at, one| one.started = Some(if at < 200 { 1 } else { 2 }));
    assert_eq!(judged(&restarted, &expected()), Verdict::Healthy { since: at(210), sound: None });
    let late = Expected { ready_since: Some(at(100)), ..expected() };
    assert_eq!(judged(&window(0..300, |_, _| {}), &late), Verdict::Healthy { since: at(110), sound: None });
}

#[test]
fn a_node_that_syncs_is_on_its_way_while_its_height_rises() {
    let syncs = |stops: i64| {
        window(0..600, move |at, one| {
            one.is_major_syncing = true;
            one.best = 100 + u64::try_from(at.min(stops)).unwrap();
        })
    };
    let rising = |health: &NodeHealth| match judged(health, &expected()) {
        Verdict::Unhealthy { rising, .. } => rising,
        _ => unreachable!(),
    };
    assert!(rising(&syncs(600)));
    assert!(!rising(&syncs(300)));
}

#[test]
fn a_ready_node_that_cannot_be_asked_is_blocked_once_its_last_answer_is_old() {
    let mut health = window(0..300, |_, _| {});
    health.note(Err(Blocked { at: at(310), why: "no answer".into() }), SignedDuration::from_mins(1));
    assert!(matches!(verdict(Some(&health), &expected(), at(310)), Verdict::Healthy { .. }));
    assert_eq!(verdict(Some(&health), &expected(), at(600)), Verdict::Blocked("no answer".into()));
    let comes_up = Expected { ready_since: None, ..expected() };
    assert_eq!(verdict(Some(&health), &comes_up, at(600)), Verdict::Unknown, "it has reason not to answer");
    assert_eq!(verdict(None, &expected(), at(600)), Verdict::Unknown);
}

#[test]
fn a_standstill_is_told_from_too_short_a_look() {
    let stale = SignedDuration::from_secs(180);
    let progress = |health: &NodeHealth| stands_still(health, stale, health.samples.back().unwrap().at);
    let stops = |one: &mut Sample| one.finalized = 1_000;
    assert!(progress(&window(0..60, |_, one| stops(one))).unwrap().is_unknown());
    let stood = progress(&window(0..300, |_, one| stops(one))).unwrap();
    assert_eq!((stood.stands, stood.rose_ever), (Some(at(0)), false));
    let moves = progress(&window(0..300, |at, one| {
        if at < 200 {
            stops(one);
        }
    }))
    .unwrap();
    assert_eq!((moves.stands, moves.ended.map(|stood| stood.ended)), (None, Some(at(200))));
}

#[test]
fn a_long_pause_between_two_answers_is_no_standstill_that_has_ended() {
    let mut health = NodeHealth::default();
    for minutes in [0, 5, 10] {
        health.note(Ok(sound(60 * minutes)), SignedDuration::from_mins(1));
    }
    let stale = SignedDuration::from_mins(20);
    let progress = stands_still(&health, stale, at(600)).unwrap();
    assert_eq!((progress.stands, progress.ended, progress.rose_ever), (None, None, true));
    // One that was seen to stand did.
    let last = health.samples.back().unwrap().clone();
    health.note(Ok(Sample { at: at(900), ..last.clone() }), SignedDuration::from_mins(1));
    health.note(
        Ok(Sample { at: at(960), finalized: last.finalized + 1, ..last }),
        SignedDuration::from_mins(1),
    );
    let ended = stands_still(&health, stale, at(960)).unwrap().ended;
    assert_eq!(ended.map(|stood| stood.ended), Some(at(960)));
}

#[test]
fn a_node_that_rose_beyond_where_another_one_stood_tells_that_it_was_not_the_chain() {
    let standstill = Standstill { since: at(100), height: 2_000, still: at(300), ended: at(310) };
    let heights = |all: &[(i64, u64)]| {
        let mut health = NodeHealth::default();
        for (second, finalized) in all {
            let sample = Sample { finalized: *finalized, ..sound(*second) };
            health.note(Ok(sample), SignedDuration::from_mins(1));
        }
        health
    };
    for (seen, tells, why) in [
        (&[(100, 2_001), (200, 2_002)][..], true, "it rose"),
        (&[(100, 2_001), (200, 2_001), (310, 2_050)], false, "it stood as well, a little further on"),
        (&[(100, 1_000), (200, 1_900)], false, "it only caught up"),
        (&[(100, 1_000), (200, 2_000)], false, "it only caught up, to the very height"),
        (&[(50, 1_990), (90, 2_001), (200, 2_001)], false, "before"),
        (&[(200, 2_000), (290, 2_010)], false, "the chain may just have gone on"),
        (&[(200, 2_001)], false, "it was asked once"),
    ] {
        assert_eq!(rose_meanwhile(&heights(seen), &standstill), tells, "{why}");
    }
}

#[test]
fn a_gap_after_trouble_at_the_start_does_not_make_a_node_look_new() {
    // Behind at first, as every node that starts, then well, then not asked for a while.
    let mut health = window(0..300, |at, one| one.is_major_syncing = at < 200);
    let gap = 1_000;
    for second in [gap, gap + 10] {
        health.note(Ok(sound(second)), SignedDuration::from_mins(1));
    }
    assert_eq!(judged(&health, &expected()), Verdict::Healthy { since: at(gap), sound: Some(at(200)) });
    // Sick before the gap: how long it was so nobody knows.
    let mut health = window(0..300, |at, one| one.is_major_syncing = at > 200);
    for second in [gap, gap + 10] {
        health.note(Ok(sound(second)), SignedDuration::from_mins(1));
    }
    assert_eq!(judged(&health, &expected()), Verdict::Healthy { since: at(gap), sound: Some(at(gap)) });
}

#[test]
fn a_rise_while_nobody_looked_is_no_sign_that_the_chain_moves_now() {
    let stale = SignedDuration::from_secs(180);
    let progress =
        |health: &NodeHealth| stands_still(health, stale, health.samples.back().unwrap().at).unwrap();
    let mut health = window(0..300, |_, _| {});
    assert!(progress(&health).moves());
    health.note(Ok(sound(1_000)), SignedDuration::from_mins(1));
    assert!(!progress(&health).moves() && progress(&health).is_unknown());
    health.note(Ok(sound(1_010)), SignedDuration::from_mins(1));
    assert!(progress(&health).moves());
}
