//! A version that is tried on a machine before a pod restarts for it: what the plan makes of the outcome.

use super::model::{Model, NEW, code_of, moves, one_canary, planned};
use crate::fleet::ClusterName;
use crate::observed::{ResourceView, Tried};
use crate::polkadot::ResourceId;
use crate::upgrade::{Action, Code, Write};

fn place() -> (ClusterName, ResourceId) {
    (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() })
}

fn edit(model: &mut Model, change: impl FnOnce(&mut ResourceView)) {
    let (cluster, id) = place();
    model.edit(&cluster, &id, change);
}

/// A canary on a machine, whose step was just taken: its template is the new one, its pod is not.
fn stepped(prepull: bool) -> Model {
    let mut model = one_canary();
    model.fleet.upgrades[0].prepull = prepull;
    edit(&mut model, |view| view.roles[0].nodes[0].machine = Some("m1".into()));
    let made = planned(&model);
    assert!(
        matches!(&made.actions[..], [Action { write: Write::Step(step), .. }] if step.prepull == prepull)
    );
    model.act(&made);
    model
}

fn tried(model: &mut Model, tried: Tried) {
    edit(model, |view| drop(view.prepulls.insert("m1".into(), tried)));
}

fn grants(model: &Model) -> bool {
    planned(model).actions.iter().any(|action| matches!(action.write, Write::Grant(_)))
}

#[test]
fn no_pod_restarts_before_the_version_was_tried_with_success_on_its_machine() {
    let mut model = stepped(true);
    assert_eq!((grants(&model), code_of(&model)), (false, Some(Code::Prepull)), "nobody has tried it yet");
    tried(&mut model, Tried::Unable("no room".into()));
    assert_eq!((grants(&model), code_of(&model)), (false, Some(Code::Prepull)));
    tried(&mut model, Tried::Succeeded);
    assert!(grants(&model));
}

#[test]
fn a_version_that_cannot_be_had_fails_at_once_in_the_words_of_the_trial_and_halts() {
    let mut model = stepped(true);
    tried(&mut model, Tried::Failed("x:1 cannot be started on machine m1".into()));
    let made = planned(&model);
    assert!(moves(&made).is_empty(), "{made:?}");
    let halted = made.progress[0].halted.clone().unwrap();
    assert!(halted.contains("x:1 cannot be started on machine m1"), "{halted}");
    model.fleet.upgrades[0].attempt = 2;
    assert!(
        matches!(&planned(&model).actions[..], [Action { write: Write::Step(_), .. }]),
        "a person retried"
    );
}

#[test]
fn who_switches_it_off_does_not_wait_for_it_and_does_not_fail_by_it() {
    let mut model = stepped(true);
    tried(&mut model, Tried::Failed("gone".into()));
    model.fleet.upgrades[0].prepull = false;
    assert!(grants(&model));
    assert!(grants(&stepped(false)));
}

#[test]
fn what_could_not_be_tried_until_the_deadline_fails_with_the_reason() {
    let mut model = stepped(true);
    tried(&mut model, Tried::Unable("exceeded quota".into()));
    model.pass(1801);
    let halted = planned(&model).progress[0].halted.clone().unwrap();
    assert!(halted.contains("exceeded quota"), "{halted}");
}

#[test]
fn a_machine_on_which_the_version_runs_already_needs_no_trial() {
    let mut model = stepped(true);
    edit(&mut model, |view| {
        let mut other = view.roles[0].nodes[0].clone();
        (other.ordinal, other.pod) = (1, "sentry-sset-1".into());
        (other.version, other.hash) = (Some(NEW.into()), Some(view.roles[0].hash.clone()));
        view.roles[0].nodes.push(other);
    });
    let (cluster, id) = place();
    assert_eq!(model.board.clusters[&cluster].resources[&id].trials().count(), 0);
}
