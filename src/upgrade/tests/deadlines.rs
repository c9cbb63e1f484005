//! What counts against a deadline, and what does not.

use jiff::SignedDuration;

use super::model::{Model, one_canary, planned};
use crate::fleet::ClusterName;
use crate::polkadot::ResourceId;

/// A cluster whose worker has not used the permission that it was given, and the deadline has passed.
fn permitted_in_vain() -> Model {
    let mut model = one_canary();
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    let name = ClusterName::from("c0");
    let before = model.board.clusters[&name].resources[&id].roles[0].nodes.clone();
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
    }
    model.coming.clear();
    model.edit(&name, &id, |view| view.roles[0].nodes = before);
    model.now += SignedDuration::from_mins(31);
    model.ask();
    model
}

#[test]
fn what_may_restart_and_does_not_has_failed_by_its_deadline() {
    let model = permitted_in_vain();
    assert!(planned(&model).progress[0].halted.is_some(), "{:?}", planned(&model).progress);
}

#[test]
fn what_may_not_restart_because_its_cluster_is_paused_has_not_failed() {
    let mut model = permitted_in_vain();
    model.fleet.clusters[0].paused = true;
    assert_eq!(planned(&model).progress[0].halted, None);
}
