//! What is taken back by itself, and what never is.

use jiff::SignedDuration;

use super::model::{Model, NEW, OLD, code_of, moves, one_canary, planned};
use crate::fleet::ClusterName;
use crate::observed::{ResourceView, Stuck, Tried};
use crate::polkadot::{Grant, ResourceId};
use crate::upgrade::{self, Action, Code, Ground, Write};

fn edit(model: &mut Model, change: impl FnOnce(&mut ResourceView)) {
    model.edit(&ClusterName::from("c0"), &ResourceId { namespace: "n".into(), name: "r0".into() }, change);
}

fn view(model: &Model) -> &ResourceView {
    model.board.clusters[&ClusterName::from("c0")].resources.values().next().unwrap()
}

/// A canary whose step has failed where it was tried, some minutes ago.
fn failed_trial() -> Model {
    let mut model = one_canary();
    model.fleet.upgrades[0].prepull = true;
    edit(&mut model, |view| view.roles[0].nodes[0].machine = Some("m1".into()));
    let made = planned(&model);
    model.act(&made);
    edit(&mut model, |view| {
        drop(view.prepulls.insert("m1".into(), Tried::Failed("there is no image".into())));
    });
    model.pass(300);
    model
}

fn is_taken_back(model: &Model) -> bool {
    planned(model).actions.iter().any(|action| matches!(action.write, Write::Rollback(_)))
}

#[test]
fn a_version_that_failed_before_any_pod_was_restarted_is_taken_back_once_and_counts_as_failed() {
    let mut model = failed_trial();
    let made = planned(&model);
    let [Action { write: Write::Rollback(step), .. }] = &made.actions[..] else {
        panic!("{:?}", made.actions)
    };
    assert_eq!((step.previous.as_deref(), step.target.as_str()), (Some(OLD), NEW));
    model.act(&made);
    assert_eq!(view(&model).client_version.as_deref(), Some(OLD));
    assert_eq!(code_of(&model), Some(Code::Failed), "neither contested nor a downgrade nor taken again");
    let halted = planned(&model).progress[0].halted.clone().unwrap();
    assert!(halted.contains("there is no image") && halted.contains("taken back to"), "{halted}");
    model.pass(100_000);
    assert_eq!(code_of(&model), Some(Code::Failed));
}

#[test]
fn another_attempt_or_target_begins_anew() {
    for change in [
        |model: &mut Model| model.fleet.upgrades[0].attempt = 2,
        |model: &mut Model| {
            model.fleet.upgrades[0].client_version = "stable2503-9".into();
        },
    ] {
        let mut model = failed_trial();
        let made = planned(&model);
        model.act(&made);
        change(&mut model);
        let made = planned(&model);
        let [Action { write: Write::Step(step), .. }] = &made.actions[..] else {
            panic!("{:?}", made.actions)
        };
        assert_eq!(step.rolled_back, None);
    }
}

#[test]
fn it_is_not_taken_back_in_a_moment_and_a_trial_that_succeeds_meanwhile_goes_on() {
    let mut model = failed_trial();
    model.now -= SignedDuration::from_secs(1);
    let made = planned(&model);
    assert!(moves(&made).is_empty(), "{:?}", made.actions);
    assert_eq!(made.wake, Some(model.now + SignedDuration::from_secs(1)));
    edit(&mut model, |view| drop(view.prepulls.insert("m1".into(), Tried::Succeeded)));
    assert!(matches!(&planned(&model).actions[..], [Action { write: Write::Grant(_), .. }]));
}

#[test]
fn nothing_is_taken_back_where_a_pod_may_have_been_restarted_for_it() {
    let mut model = failed_trial();
    edit(&mut model, |view| {
        let (role, hash) = (view.roles[0].role, view.roles[0].hash.clone());
        view.grant = Some(Grant {
            role,
            hash,
            ordinal: 0,
            at: view.step.as_ref().unwrap().at,
            mends: false,
            again: false,
        });
    });
    assert!(!is_taken_back(&model), "permission was given");
    let mut model = failed_trial();
    edit(&mut model, |view| {
        let mut other = view.roles[0].nodes[0].clone();
        (other.ordinal, other.pod, other.machine) = (1, "sentry-sset-1".into(), Some("m2".into()));
        (other.version, other.hash) = (Some(NEW.into()), Some(view.roles[0].hash.clone()));
        view.roles[0].nodes.push(other);
    });
    assert!(!is_taken_back(&model), "it runs somewhere");
    let mut model = failed_trial();
    edit(&mut model, |view| view.roles[0].nodes[0].hash = None);
    assert!(!is_taken_back(&model), "nobody knows what comes back");
}

#[test]
fn what_failed_after_its_restart_is_left_as_it_is_and_halts() {
    let mut model = one_canary();
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
    }
    edit(&mut model, |view| {
        let stuck = Stuck { reason: "ImagePullBackOff".into(), words: None, since: None };
        view.roles[0].nodes[0].stuck = Some(stuck);
    });
    model.now += SignedDuration::from_mins(40);
    let made = planned(&model);
    assert!(moves(&made).is_empty() && made.progress[0].halted.is_some(), "{made:?}");
}

#[test]
fn nothing_is_taken_back_on_what_is_paused_or_held() {
    let mut model = failed_trial();
    model.fleet.upgrades[0].paused = true;
    assert!(!is_taken_back(&model));
    let mut model = failed_trial();
    edit(&mut model, |view| view.held = Some("forensics".into()));
    assert!(!is_taken_back(&model));
}

#[test]
fn whoever_sets_the_target_again_after_it_was_taken_back_is_not_overruled() {
    let mut model = failed_trial();
    let made = planned(&model);
    model.act(&made);
    edit(&mut model, |view| {
        view.client_version = Some(NEW.into());
        view.roles[0].hash = NEW.into();
        view.prepulls.insert("m1".into(), Tried::Failed("there is no image".into()));
    });
    assert!(!is_taken_back(&model));
}

#[test]
fn after_it_is_taken_back_no_pod_may_restart_for_the_templates_that_are_still_seen() {
    let mut model = failed_trial();
    let failed = view(&model).roles[0].hash.clone();
    let made = planned(&model);
    model.act(&made);
    edit(&mut model, |view| view.roles[0].hash = failed);
    let place = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let ground = Ground { to_be_set: [place].into(), ..Ground::default() };
    let made = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(made.actions, vec![]);
    assert!(!planned(&model).actions.is_empty(), "else it is an edit");
}
