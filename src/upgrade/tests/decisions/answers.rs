//! What the answers of nodes say of them and of their chain.

use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::observed::Blocked;
use crate::upgrade::tests::model::stepped_at;

#[test]
fn what_stood_when_it_last_answered_says_nothing_of_now() {
    let mut model = two_sentries();
    model.pass(600);
    for cluster in ["c0", "c1"] {
        says(&mut model, cluster, finalises_nothing);
    }
    assert!(waits_for(&planned(&model), Code::ChainStalled));
    model.now += SignedDuration::from_hours(1);
    assert!(!waits_for(&planned(&model), Code::ChainStalled));
}

#[test]
fn a_node_that_starts_again_and_again_does_not_make_its_chain_unknown() {
    let mut model = two_sentries();
    model.pass(600);
    says(&mut model, "c0", |health| {
        for (index, sample) in health.samples.iter_mut().enumerate() {
            sample.started = Some(index as u64);
        }
    });
    says(&mut model, "c1", |health| *health = NodeHealth::default());
    assert!(!waits_for(&planned(&model), Code::ChainUnknown), "{:?}", planned(&model).waits);
}

/// Of two clusters the first has had its step, and has come up.
fn one_stepped_of_two() -> Model {
    let shape = Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]);
    let mut model = Model::new(&Shape { width: 2, ..shape });
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| {
        (view.step, view.client_version) = (Some(stepped_at(now)), Some(NEW.into()));
        let role = &mut view.roles[0];
        (role.hash, role.nodes[0].hash, role.nodes[0].version) =
            (NEW.into(), Some(NEW.into()), Some(NEW.into()));
    });
    model.pass(600);
    model
}

/// The node leaps from far below to so much, in its last answers.
fn leaps(model: &mut Model, cluster: &str, to: u64, answers: usize) {
    says(model, cluster, |health| {
        let leap = health.samples.len() - answers;
        for (index, sample) in health.samples.iter_mut().enumerate() {
            sample.finalized = if index < leap { to - 1000 } else { to };
        }
    });
}

/// Of two nodes the first has had its step, and stands still.
fn one_stands_of_two() -> (Model, u64) {
    let mut model = one_stepped_of_two();
    says(&mut model, "c0", finalises_nothing);
    let stands = top(&model, "c0");
    (model, stands)
}

#[test]
fn a_node_without_a_step_that_leaps_up_to_the_others_does_not_tell_that_the_chain_moves() {
    let (mut model, stands) = one_stands_of_two();
    leaps(&mut model, "c1", stands, 1);
    assert!(waits_for(&planned(&model), Code::ChainUnknown), "{:?}", planned(&model).waits);
    leaps(&mut model, "c1", stands + 1, 1);
    assert_eq!(steps(&planned(&model)), ["c1 r0"], "it is beyond them: {:?}", planned(&model).waits);
    leaps(&mut model, "c1", stands, 5);
    assert!(waits_for(&planned(&model), Code::ChainStalled), "it stays there: {:?}", planned(&model).waits);
}

#[test]
fn a_node_without_a_step_that_goes_on_rising_is_not_waited_for_until_it_has_come_up_to_the_others() {
    let (mut model, stands) = one_stands_of_two();
    let behind = top(&model, "c1") - stands + 1_000;
    says(&mut model, "c1", |health| health.samples.iter_mut().for_each(|sample| sample.finalized -= behind));
    assert_eq!(steps(&planned(&model)), ["c1 r0"], "{:?}", planned(&model).waits);
    // It has done so for too short a time.
    says(&mut model, "c1", |health| drop(health.samples.drain(..health.samples.len() - 4)));
    assert!(waits_for(&planned(&model), Code::ChainUnknown), "{:?}", planned(&model).waits);
}

#[test]
fn a_node_that_leaps_up_to_where_another_one_was_before_its_restart_does_not_tell_that_the_chain_moves() {
    let (mut model, stood) = one_stands_of_two();
    // It was started anew, so that nobody is seen to stand.
    says(&mut model, "c0", |health| health.samples.back_mut().unwrap().started = Some(7));
    leaps(&mut model, "c1", stood, 1);
    assert!(waits_for(&planned(&model), Code::ChainUnknown), "{:?}", planned(&model).waits);
    leaps(&mut model, "c1", stood + 1, 1);
    assert_eq!(steps(&planned(&model)), ["c1 r0"], "{:?}", planned(&model).waits);
}

#[test]
fn before_the_nodes_without_a_step_were_asked_again_it_is_not_known_whether_their_chain_moves() {
    let mut model = one_stepped_of_two();
    // The second cluster has just come back.
    let old = model.now - SignedDuration::from_mins(5);
    says(&mut model, "c1", |health| health.samples.retain(|sample| sample.at < old));
    assert_eq!(steps(&planned(&model)), ["c1 r0"], "the first tells that it moves");
    says(&mut model, "c0", finalises_nothing);
    assert!(waits_for(&planned(&model), Code::ChainUnknown), "{:?}", planned(&model));
    let asked = |model: &mut Model, at| {
        says(model, "c1", |health| health.blocked = Some(Blocked { at, why: "no answer".into() }));
    };
    asked(&mut model, old);
    assert!(waits_for(&planned(&model), Code::ChainUnknown), "that was before it went away");
    let now = model.now;
    asked(&mut model, now);
    assert!(waits_for(&planned(&model), Code::ProbeBlocked), "nobody can tell");
    // One that is not up is not asked.
    says(&mut model, "c1", |health| *health = NodeHealth::default());
    edit(&mut model, "c1", "r0", |view| view.roles[0].nodes[0].ready_since = None);
    assert!(!waits_for(&planned(&model), Code::ChainUnknown), "{:?}", planned(&model).waits);
}

#[test]
fn where_nobody_can_be_asked_a_chain_is_not_unknown_however_long_a_round_of_questions_takes() {
    let mut model = two_sentries();
    model.fleet.upgrades[0].health.probe = crate::fleet::Probing::Optional;
    model.pass(600);
    let blocked = |at| {
        let blocked = Some(Blocked { at, why: "no answer".into() });
        Arc::new(NodeHealth { blocked, ..NodeHealth::default() })
    };
    // Of many that swallow what they are asked, this one was the first.
    let (first, last) = (model.now - SignedDuration::from_mins(10), model.now);
    for name in ["c0", "c1"] {
        let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from(name)).unwrap());
        let health = Arc::make_mut(&mut view.health);
        for said in health.values_mut() {
            *said = blocked(first);
        }
        health.insert(("n".into(), "another".into()), blocked(last));
    }
    assert_eq!(steps(&planned(&model)), ["c0 r0"], "{:?}", planned(&model).waits);
}

#[test]
fn a_node_that_was_asked_once_does_not_deny_that_its_chain_stands() {
    let mut model = two_sentries();
    model.pass(600);
    says(&mut model, "c1", finalises_nothing);
    says(&mut model, "c0", |health| drop(health.samples.drain(..health.samples.len() - 1)));
    assert!(waits_for(&planned(&model), Code::ChainStalled), "{:?}", planned(&model).waits);
}

#[test]
fn a_validator_that_runs_as_a_full_node_is_sick() {
    let mut model = two_validators();
    model.pass(60);
    says(&mut model, "c1", |health| health.samples.iter_mut().for_each(|sample| sample.roles = Some(1)));
    let made = planned(&model);
    assert_eq!(steps(&made), ["c1 r0"]);
    assert!(waits_for(&made, Code::ValidatorBudget));
    let mut model = two_sentries();
    says(&mut model, "c0", |health| health.samples.iter_mut().for_each(|sample| sample.roles = Some(1)));
    begin(&mut model);
    model.pass(600);
    says(&mut model, "c0", |health| health.samples.iter_mut().for_each(|sample| sample.roles = Some(1)));
    assert_eq!(planned(&model).progress[0].stages[0].healthy, 1, "a sentry is a full node");
}

#[test]
fn a_node_that_rises_up_to_one_that_was_asked_once_does_not_tell_that_the_chain_moves() {
    for above in [1000, 0] {
        let mut model = two_sentries();
        model.pass(600);
        let top = top(&model, "c1");
        says(&mut model, "c0", |health| {
            health.samples.drain(..health.samples.len() - 1);
            health.samples[0].finalized = top + above;
        });
        assert_eq!(code_of(&model), Some(Code::ChainUnknown), "{above}");
    }
}

#[test]
fn the_answers_of_a_cluster_that_is_not_seen_do_not_count() {
    let mut model = two_sentries();
    model.pass(600);
    says(&mut model, "c1", finalises_nothing);
    says(&mut model, "c0", |health| *health = NodeHealth::default());
    assert!(waits_for(&planned(&model), Code::ChainStalled));
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c1")).unwrap()).state =
        ClusterState::Unreachable("refused".into());
    assert!(!waits_for(&planned(&model), Code::ChainStalled));
}

#[test]
fn what_a_node_of_no_known_tag_reports_counts_against_a_downgrade() {
    let mut model = one_canary();
    model.fleet.upgrades.clear();
    edit(&mut model, "c0", "r0", |view| {
        view.roles[0].hash = "edited".into();
        view.roles[0].nodes[0].version = None;
    });
    says(&mut model, "c0", |health| {
        health.samples.iter_mut().for_each(|sample| sample.version = Some("1.24.0-0d1f".into()));
    });
    assert_eq!(code_of(&model), Some(Code::DowngradeRefused));
}

#[test]
fn at_the_height_of_before_is_not_beyond_it() {
    let mut model = two_sentries();
    begin(&mut model);
    model.pass(300);
    let top = top(&model, "c0");
    says(&mut model, "c0", |health| {
        health.samples.iter_mut().rev().take(2).for_each(|sample| sample.finalized = top);
    });
    edit(&mut model, "c0", "r0", |view| view.step.as_mut().unwrap().finalized = Some(top));
    assert_eq!(planned(&model).progress[0].stages[0].healthy, 0);
    edit(&mut model, "c0", "r0", |view| view.step.as_mut().unwrap().finalized = Some(top - 1));
    assert_eq!(planned(&model).progress[0].stages[0].healthy, 1);
}
