//! What the nodes' health does to a plan.

use std::sync::Arc;

use jiff::SignedDuration;

use super::model::{Model, SOAK, STABLE, Shape, code_of, planned};
use crate::fleet::ClusterName;
use crate::observed::{Blocked, NodeHealth};
use crate::polkadot::{Kind, ResourceId};
use crate::upgrade::{Action, Code, Plan, StageState, Step, Write};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A canary with a sentry and a production cluster with another; nobody touched yet.
pub(super) fn two_sentries() -> Model {
    Model::new(&Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]))
}

/// Two validators of one chain, which may go at once but for their budget.
pub(super) fn two_validators() -> Model {
    Model::new(&Shape { width: 2, ..Shape::of(vec![(0, vec![Kind::Validator]), (0, vec![Kind::Validator])]) })
}

/// The canary is given the version and comes up.
fn canary_at_the_target() -> Model {
    let mut model = two_sentries();
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
    }
    model
}

/// What a cluster's nodes say, from now on.
pub(super) fn says(model: &mut Model, cluster: &str, change: impl Fn(&mut NodeHealth)) {
    let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from(cluster)).unwrap());
    for health in Arc::make_mut(&mut view.health).values_mut() {
        change(Arc::make_mut(health));
    }
}

pub(super) fn finalises_nothing(health: &mut NodeHealth) {
    let first = health.samples[0].finalized;
    health.samples.iter_mut().for_each(|sample| sample.finalized = first);
}

/// A validator with its sentry, and long after they were given the version.
pub(super) fn long_after_its_step() -> Model {
    let mut model =
        Model::new(&Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (1, vec![Kind::Sentry])]));
    for _ in 0..8 {
        let made = planned(&model);
        model.act(&made);
        model.pass(40);
    }
    model.pass(3_000);
    model
}

fn failed(plan: &Plan) -> Option<&String> {
    plan.progress[0].halted.as_ref()
}

#[test]
fn a_node_that_cannot_be_asked_is_given_no_step_and_does_not_fail() {
    let mut model = two_sentries();
    let at = model.now;
    says(&mut model, "c0", |health| {
        *health = NodeHealth::default();
        health.note(Err(Blocked { at, why: "forbidden".into() }), MINUTE);
    });
    assert_eq!(code_of(&model), Some(Code::ProbeBlocked));
    model.fleet.upgrades[0].health.probe = crate::fleet::Probing::Optional;
    assert!(
        matches!(planned(&model).actions[..], [Action { write: Write::Step(_), .. }]),
        "by readiness alone"
    );
}

#[test]
fn a_node_that_can_no_longer_be_asked_after_its_step_never_counts_as_failed() {
    let mut model = canary_at_the_target();
    model.pass(3_000);
    let at = model.now;
    says(&mut model, "c0", |health| {
        *health = NodeHealth::default();
        health.note(Err(Blocked { at, why: "timed out".into() }), MINUTE);
    });
    let made = planned(&model);
    assert_eq!(failed(&made), None);
    assert_eq!(made.actions, vec![], "and it is not healthy either");
}

#[test]
fn a_version_that_finalises_nothing_fails_at_the_deadline_and_the_node_and_the_reason_are_named() {
    let mut model = canary_at_the_target();
    model.pass(600);
    says(&mut model, "c0", finalises_nothing);
    assert_eq!(failed(&planned(&model)), None, "the deadline has not passed");
    model.pass(1_800);
    says(&mut model, "c0", finalises_nothing);
    let made = planned(&model);
    let why = failed(&made).unwrap();
    assert!(why.contains("c0") && why.contains("sentry-sset-0: it has finalised no block since"), "{why}");
    let begins = |action: &Action| !matches!(action.write, Write::Health(_));
    assert!(!made.actions.iter().any(begins), "nothing new starts: {:?}", made.actions);
}

#[test]
fn a_chain_that_stands_still_pauses_everything_and_blames_nobody_until_it_goes_on() {
    let mut model = canary_at_the_target();
    model.pass(2_400);
    for cluster in ["c0", "c1"] {
        says(&mut model, cluster, finalises_nothing);
    }
    let made = planned(&model);
    assert_eq!(failed(&made), None, "not although the deadline has passed");
    assert_eq!(made.actions, vec![]);
    assert!(made.waits.iter().any(|wait| wait.code == Code::ChainStalled), "{:?}", made.waits);
    // It goes on: the time of the standstill is given back.
    model.pass(20);
    let at = model.now;
    for cluster in ["c0", "c1"] {
        says(&mut model, cluster, |health| {
            finalises_nothing(health);
            let mut again = health.samples.back().unwrap().clone();
            (again.at, again.finalized, again.best) = (at, again.finalized + 1, again.finalized + 3);
            health.note(Ok(again), MINUTE);
        });
    }
    let made = planned(&model);
    assert_eq!(failed(&made), None);
    assert!(!made.waits.iter().any(|wait| wait.code == Code::ChainStalled), "{:?}", made.waits);
}

#[test]
fn a_node_that_syncs_is_not_failed_while_its_height_rises() {
    let mut model = canary_at_the_target();
    model.pass(2_400);
    says(&mut model, "c0", |health| {
        health.samples.iter_mut().for_each(|sample| sample.is_major_syncing = true);
    });
    assert_eq!(failed(&planned(&model)), None);
    says(&mut model, "c0", |health| health.samples.iter_mut().for_each(|sample| sample.best = 7));
    assert!(failed(&planned(&model)).unwrap().contains("syncing"));
}

#[test]
fn a_node_is_healthy_only_when_it_has_finalised_beyond_the_height_before_its_step() {
    let mut model = canary_at_the_target();
    model.pass(300);
    let healthy = |model: &Model| planned(model).progress[0].stages[0].healthy;
    assert_eq!(healthy(&model), 1);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&ClusterName::from("c0"), &id, |view| {
        let step: &mut Step = view.step.as_mut().unwrap();
        assert!(step.finalized.is_some(), "it was noted before the step");
        step.finalized = Some(u64::MAX);
    });
    assert_eq!(healthy(&model), 0);
}

#[test]
fn a_restarted_daemon_waits_for_stable_for_again_and_not_for_the_soak() {
    let mut model = canary_at_the_target();
    model.pass(3_000);
    assert_eq!(planned(&model).progress[0].stages[0].state, StageState::Passed);
    let only_of_late = |seconds: i64| {
        move |health: &mut NodeHealth| {
            let last = health.samples.back().unwrap().at;
            health.samples.retain(|sample| sample.at + SignedDuration::from_secs(seconds) >= last);
        }
    };
    says(&mut model, "c0", only_of_late(30));
    assert_ne!(planned(&model).progress[0].stages[0].state, StageState::Passed, "it is known too little");
    model.pass(0);
    says(&mut model, "c0", only_of_late(70));
    let made = planned(&model);
    assert_eq!(
        failed(&made),
        None,
        "that it was not watched is not its failure, although its deadline is past"
    );
    assert_ne!(
        made.progress[0].stages[0].state,
        StageState::Passed,
        "it is well, and not for long enough yet"
    );
    model.pass(0);
    says(&mut model, "c0", only_of_late(240));
    assert_eq!(planned(&model).progress[0].stages[0].state, StageState::Passed);
}

#[test]
fn what_a_tag_that_moves_stands_for_is_what_the_nodes_report() {
    for (reported, moves) in [("1.17.0-0d1f", true), ("1.24.0-0d1f", false)] {
        let mut model = two_sentries();
        let id = ResourceId { namespace: "n".into(), name: "r0".into() };
        model.edit(&ClusterName::from("c0"), &id, |view| {
            view.client_version = Some("latest".into());
            view.roles[0].nodes[0].version = Some("latest".into());
        });
        says(&mut model, "c0", |health| {
            health.samples.iter_mut().for_each(|sample| sample.version = Some(reported.into()));
        });
        let made = planned(&model);
        let on_canary = |made: &Plan| made.actions.iter().any(|one| one.place.0 == ClusterName::from("c0"));
        assert_eq!(on_canary(&made), moves, "{reported}: {:?}", made.waits);
        model.act(&made);
        let made = planned(&model);
        assert_eq!(on_canary(&made), moves, "the permission, {reported}: {:?}", made.waits);
    }
}

#[test]
fn a_validator_that_is_sick_takes_the_budget_of_its_chain() {
    let mut model = two_validators();
    model.pass(MINUTE.as_secs());
    says(&mut model, "c1", |health| health.samples.iter_mut().for_each(|sample| sample.peers = Some(0)));
    let made = planned(&model);
    let place = |action: &Action| action.place.0.to_string();
    assert_eq!(made.actions.iter().map(place).collect::<Vec<_>>(), ["c1"], "it has nothing to lose");
    assert!(made.waits.iter().any(|wait| wait.code == Code::ValidatorBudget), "{:?}", made.waits);
}

#[test]
fn the_soak_counts_from_the_recovery_of_a_sick_node_also_for_a_daemon_that_did_not_see_it() {
    let mut model = canary_at_the_target();
    model.pass(300);
    let is_step = |plan: &Plan| plan.actions.iter().any(|action| matches!(action.write, Write::Step(_)));
    let made = planned(&model);
    let [Action { write: Write::Health(noted), .. }] = &made.actions[..] else {
        panic!("{:?}", made.actions)
    };
    assert!(noted.proven.is_some() && noted.since.is_some() && noted.ill.is_none(), "{noted:?}");
    model.act(&made);
    assert_eq!(planned(&model).actions, vec![], "that is noted once, and nothing more while all is well");
    says(&mut model, "c0", finalises_nothing);
    let made = planned(&model);
    assert!(
        matches!(&made.actions[..], [Action { write: Write::Health(noted), .. }] if noted.since.is_none())
    );
    model.act(&made);
    model.pass(20);
    // The next daemon finds it well, and has seen nothing else.
    let recovered = model.now;
    model.asked_since = Some(recovered);
    model.pass(SOAK - 20);
    let made = planned(&model);
    let [Action { write: Write::Health(noted), .. }] = &made.actions[..] else {
        panic!("{:?}", made.actions)
    };
    let since = noted.since.unwrap();
    assert!(since >= recovered);
    model.act(&made);
    // And the one after that.
    model.asked_since = Some(model.now);
    model.pass(STABLE + 20);
    assert_eq!(planned(&model).actions, vec![], "{:?}", planned(&model).actions);
    model.pass(20);
    assert!(is_step(&planned(&model)), "{:?}", planned(&model).waits);
}

#[test]
fn a_node_that_is_sick_at_its_new_version_fails_by_the_deadline_also_while_an_edit_of_it_waits() {
    let mut model = canary_at_the_target();
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&ClusterName::from("c0"), &id, |view| {
        view.settled_since = None;
        view.roles[0].hash = "edited".into();
    });
    model.pass(2_400);
    assert_eq!(failed(&planned(&model)), None, "an edit that waits for its turn is not late");
    says(&mut model, "c0", finalises_nothing);
    assert!(failed(&planned(&model)).is_some(), "{:?}", planned(&model).progress);
}

#[test]
fn a_node_that_catches_up_with_a_chain_that_stands_still_is_no_sign_that_it_goes_on() {
    let mut model = canary_at_the_target();
    model.pass(2_400);
    let top =
        model.board.clusters[&ClusterName::from("c1")].health.values().next().unwrap().samples[0].finalized;
    says(&mut model, "c1", finalises_nothing);
    says(&mut model, "c0", |health| {
        let behind = health.samples.iter().map(|sample| sample.finalized).max().unwrap() - top;
        health.samples.iter_mut().for_each(|sample| sample.finalized -= behind);
    });
    let made = planned(&model);
    assert!(made.waits.iter().any(|wait| wait.code == Code::ChainStalled), "{:?}", made.waits);
}

#[test]
fn nothing_begins_on_a_chain_before_it_was_seen_to_move() {
    let mut model = two_sentries();
    model.pass(600);
    let at = model.now;
    says(&mut model, "c0", |health| {
        health.samples.truncate(1);
        health.samples[0].at = at;
    });
    assert_eq!(planned(&model).actions.len(), 1, "the other cluster's node is seen to move");
    says(&mut model, "c1", |health| *health = NodeHealth::default());
    assert_eq!(code_of(&model), Some(Code::ChainUnknown));
    model.pass(0);
    assert_eq!(planned(&model).actions.len(), 1);
}

#[test]
fn a_node_that_was_well_in_time_is_not_failed_because_another_one_cannot_be_asked() {
    let mut model = long_after_its_step();
    // One has answered just once since everybody looked away, the other not at all.
    let last = model.now;
    let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
    let health = Arc::make_mut(&mut view.health);
    assert_eq!(health.len(), 2);
    for (index, known) in health.values_mut().enumerate() {
        let known = Arc::make_mut(known);
        let ago = if index == 0 { SignedDuration::from_mins(10) } else { SignedDuration::from_secs(30) };
        known.samples.retain(|sample| sample.at + ago >= last && index == 1);
    }
    assert_eq!(failed(&planned(&model)), None, "{:?}", planned(&model).progress);
}

/// All stood still; the first cluster is seen to go on, the other one was asked just before that.
fn only_the_first_is_seen_to_go_on(model: &mut Model) {
    let (before, at) = (model.now - SignedDuration::from_secs(20), model.now);
    says(model, "c0", |health| {
        finalises_nothing(health);
        let mut again = health.samples.back().unwrap().clone();
        (again.at, again.finalized) = (at, again.finalized + 1);
        health.note(Ok(again), MINUTE);
    });
    says(model, "c1", |health| {
        finalises_nothing(health);
        health.samples.back_mut().unwrap().at = before;
    });
}

#[test]
fn a_validator_that_was_not_asked_since_its_chain_went_on_is_not_taken_for_a_sick_one() {
    let mut model = two_validators();
    model.pass(600);
    only_the_first_is_seen_to_go_on(&mut model);
    let one_waits = |model: &Model| {
        let made = planned(model);
        assert_eq!(made.actions.len(), 1, "{:?}", made.waits);
        assert!(made.waits.iter().any(|wait| wait.code == Code::ValidatorBudget), "{:?}", made.waits);
    };
    one_waits(&model);
    // Its last answer is not too old to be judged by, and is of before all the same.
    model.now += SignedDuration::from_secs(150);
    let at = model.now;
    says(&mut model, "c0", |health| {
        let mut later = health.samples.back().unwrap().clone();
        (later.at, later.finalized, later.best) = (at, later.finalized + 20, later.best + 20);
        health.note(Ok(later), MINUTE);
    });
    one_waits(&model);
}

#[test]
fn a_node_that_was_not_there_when_the_chain_stood_does_not_deny_that_it_did() {
    let validator = || (0, vec![Kind::Validator]);
    let mut model = Model::new(&Shape { width: 3, ..Shape::of(vec![validator(), validator(), validator()]) });
    model.pass(600);
    only_the_first_is_seen_to_go_on(&mut model);
    let now = model.now;
    // Looked at for two minutes, and it rises: of the standstill before it saw too little.
    let looked_at_for = |model: &mut Model, minutes: i64| {
        says(model, "c2", |health| {
            health.samples.retain(|sample| sample.at >= now - SignedDuration::from_mins(minutes));
        });
    };
    let sick_go_on = |model: &Model| {
        planned(model).actions.iter().filter(|action| action.place.0 == ClusterName::from("c1")).count()
    };
    looked_at_for(&mut model, 9);
    assert_eq!(
        sick_go_on(&model),
        1,
        "it was there, and rose: the others are sick by themselves, and have nothing to lose"
    );
    looked_at_for(&mut model, 3);
    assert_eq!(
        sick_go_on(&model),
        1,
        "for too short a while to have stood, but it rose while the first one did not"
    );
    looked_at_for(&mut model, 2);
    assert_eq!(sick_go_on(&model), 0);
}

#[test]
fn a_validator_that_was_not_asked_since_one_that_has_its_step_went_on_is_not_taken_for_a_sick_one() {
    let mut model = two_validators();
    model.act(&planned(&model));
    model.pass(600);
    only_the_first_is_seen_to_go_on(&mut model);
    let at = model.now;
    let on_the_other = |plan: &Plan| plan.actions.iter().any(|one| one.place.0 == ClusterName::from("c1"));
    assert!(!on_the_other(&planned(&model)), "{:?}", planned(&model).actions);
    // Asked again, and it still stands: then it is sick by itself, and has nothing to lose.
    says(&mut model, "c1", |health| {
        let mut again = health.samples.back().unwrap().clone();
        again.at = at;
        health.note(Ok(again), MINUTE);
    });
    assert!(on_the_other(&planned(&model)), "{:?}", planned(&model).waits);
}

#[test]
fn a_validator_that_was_sick_when_it_last_answered_is_not_counted_on() {
    let mut model = two_validators();
    model.pass(600);
    // Ten minutes ago, and it could not be asked since.
    let (ago, at) = (SignedDuration::from_mins(10), model.now);
    says(&mut model, "c1", |health| {
        health.samples.iter_mut().for_each(|sample| sample.peers = Some(0));
        health.samples.retain(|sample| sample.at + ago <= at);
        health.note(Err(Blocked { at, why: "forbidden".into() }), MINUTE);
    });
    let made = planned(&model);
    assert_eq!(made.actions, vec![], "neither that one, nor another beside it");
    assert!(made.waits.iter().any(|wait| wait.code == Code::ValidatorBudget), "{:?}", made.waits);
}
