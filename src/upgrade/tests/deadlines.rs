//! What counts against a deadline, and what does not.

use std::sync::Arc;

use jiff::SignedDuration;

use super::lapse::through;
use super::model::{Model, NEW, Shape, moves, one_canary, planned, stepped_at};
use crate::fleet::ClusterName;
use crate::observed::{Healths, NodeView};
use crate::polkadot::{Grant, Kind, ResourceId, Role};
use crate::upgrade::{Action, Plan, Write};

/// A cluster whose worker has not used the permission that it was given, and the deadline has passed.
fn permitted_in_vain() -> Model {
    let mut model = one_canary();
    // The step, and the permission.
    for _ in 0..2 {
        let before = nodes(&model);
        act_in_vain(&mut model, before);
    }
    late(&mut model);
    model
}

fn nodes(model: &Model) -> Vec<NodeView> {
    let view = model.board.clusters[&ClusterName::from("c0")].resources.values().next().unwrap();
    view.roles[0].nodes.clone()
}

/// What is planned is written, and no pod restarts by it.
fn act_in_vain(model: &mut Model, before: Vec<NodeView>) -> Plan {
    let made = planned(model);
    model.act(&made);
    model.coming.clear();
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&ClusterName::from("c0"), &id, |view| view.roles[0].nodes = before);
    made
}

pub(super) fn late(model: &mut Model) {
    model.now += SignedDuration::from_mins(31);
    model.ask();
}

#[test]
fn a_permission_that_was_not_used_in_time_is_given_once_more_and_then_it_has_failed() {
    let mut model = permitted_in_vain();
    assert_eq!(planned(&model).progress[0].halted, None);
    let before = nodes(&model);
    let made = act_in_vain(&mut model, before);
    assert!(
        matches!(&made.actions[..], [Action { write: Write::Grant(Grant { again: true, .. }), .. }]),
        "{:?} {:?}",
        made.actions,
        made.waits
    );
    assert_eq!(planned(&model).actions, vec![]);
    late(&mut model);
    let made = planned(&model);
    assert!(made.progress[0].halted.is_some(), "{:?}", made.progress);
    assert!(moves(&made).is_empty(), "{:?}", made.actions);
}

#[test]
fn what_could_not_restart_because_its_cluster_was_paused_has_a_deadline_of_its_own_afterwards() {
    let mut model = permitted_in_vain();
    model.fleet.clusters[0].paused = true;
    assert_eq!(planned(&model).progress[0].halted, None);
    assert_eq!(planned(&model).actions, vec![]);
    late(&mut model);
    model.fleet.clusters[0].paused = false;
    let made = planned(&model);
    assert_eq!((made.progress[0].halted.clone(), made.actions.len()), (None, 1), "{:?}", made.waits);
    model.act(&made);
    model.pass(600);
    assert_eq!(planned(&model).progress[0].halted, None);
    assert_eq!(planned(&model).progress[0].stages[0].healthy, 1, "{:?}", planned(&model).progress);
}

#[test]
fn what_was_permitted_to_a_pod_that_came_back_by_itself_takes_no_second_chance_from_another() {
    let mut model = one_canary();
    let (cluster, now) = (ClusterName::from("c0"), model.now);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&cluster, &id, |view| {
        view.client_version = Some(NEW.into());
        let role = &mut view.roles[0];
        role.hash = NEW.into();
        let above = NodeView { ordinal: 1, pod: "validator-sset-1".into(), ..role.nodes[0].clone() };
        role.nodes.push(above);
        // It was down when it was permitted to restart, and came back on the old template.
        view.grant = Some(Grant {
            role: Role::Validator,
            hash: NEW.into(),
            ordinal: 0,
            at: now - SignedDuration::from_hours(1),
            mends: false,
            again: false,
        });
    });
    model.fleet.upgrades.clear();
    model.ask();
    let made = planned(&model);
    let [Action { write: Write::Grant(grant), .. }] = &made.actions[..] else { panic!("{:?}", made.waits) };
    assert_eq!((grant.ordinal, grant.again), (1, false));
}

/// The pod runs a newer version than was set, as when somebody set it back for a moment only.
fn newer_than_set(model: &mut Model) {
    let (cluster, now) = (ClusterName::from("c0"), model.now);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&cluster, &id, |view| {
        (view.client_version, view.settled_since) = (Some(NEW.into()), None);
        view.roles[0].hash = NEW.into();
        let node = &mut view.roles[0].nodes[0];
        (node.version, node.hash) = (Some("stable2503-8".into()), Some("stable2503-8".into()));
        view.step = Some(stepped_at(now));
    });
    model.ask();
}

#[test]
fn a_roll_that_is_refused_as_a_downgrade_waits_for_no_turn_and_has_failed_by_its_deadline() {
    let mut model = one_canary();
    newer_than_set(&mut model);
    assert_eq!(planned(&model).progress[0].halted, None);
    late(&mut model);
    let made = planned(&model);
    let halted = made.progress[0].halted.clone().unwrap_or_default();
    assert!(halted.contains("stable2503-7 is older than stable2503-8"), "{halted:?} {:?}", made.waits);
}

#[test]
fn what_is_refused_as_a_downgrade_under_an_earlier_target_holds_up_no_other_validator_for_ever() {
    let shape = Shape::of(vec![(0, vec![Kind::Validator]), (1, vec![Kind::Validator])]);
    let mut model = Model::new(&shape);
    newer_than_set(&mut model);
    model.fleet.upgrades[0].client_version = "stable2503-9".into();
    // Somebody edits the other one, which has to restart for it.
    let (cluster, id) = (ClusterName::from("c1"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&cluster, &id, |view| view.roles[0].hash = "edited".into());
    model.fleet.upgrades[0].paused = true;
    let grants = |model: &Model| {
        let granted = |action: &Action| matches!(action.write, Write::Grant(_)) && action.place.0 == cluster;
        planned(model).actions.iter().filter(|action| granted(action)).count()
    };
    assert_eq!(grants(&model), 0, "the first may be on its way");
    late(&mut model);
    assert_eq!(grants(&model), 1, "{:?}", planned(&model).waits);
}

#[test]
fn what_a_tag_that_moves_stands_for_is_not_refused_before_its_node_was_asked() {
    let mut model = one_canary();
    newer_than_set(&mut model);
    let (cluster, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&cluster, &id, |view| view.roles[0].nodes[0].version = Some("latest".into()));
    late(&mut model);
    // The daemon has just started.
    Arc::make_mut(model.board.clusters.get_mut(&cluster).unwrap()).health = Healths::default();
    let made = planned(&model);
    assert_eq!(made.progress[0].halted, None, "{:?}", made.waits);
}

#[test]
fn the_deadline_counts_from_the_last_permission_also_when_all_of_it_has_come_up() {
    let (mut model, cluster, id) = through();
    // As if its many sentries had taken hours, and the last node had restarted a minute ago.
    let (step, minute) =
        (model.now - SignedDuration::from_hours(3), model.now - SignedDuration::from_mins(1));
    model.edit(&cluster, &id, |view| {
        view.step.as_mut().unwrap().at = step;
        view.grant.as_mut().unwrap().at = minute;
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (Some(minute), Some(minute));
        view.reached = Some(minute);
    });
    model.asked_since = Some(minute);
    model.ask();
    let made = planned(&model);
    assert_eq!((made.progress[0].halted.as_deref(), made.progress[0].is_complete()), (None, false));
    model.pass(600);
    assert!(planned(&model).progress[0].is_complete(), "{:?}", planned(&model).waits);
}
