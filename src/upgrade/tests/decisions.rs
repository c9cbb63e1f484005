//! Decisions that each hang on one comparison: found by leaving out or turning round the planner's conditions one by one
//! (mutants), where no other test noticed.

mod answers;
mod direct;
mod failing;
mod noting;
mod outside;
mod restarts;

use super::health::{finalises_nothing, long_after_its_step, says, two_sentries, two_validators};
use super::model::{Model, NEW, Shape, code_of, one_canary, planned};
use crate::fleet::{ClusterName, Count};
use crate::observed::{ClusterState, NodeHealth, NodeView, ResourceView, Stuck, Tried};
use crate::polkadot::{Grant, Kind, ResourceId, Role};
use crate::upgrade::{Action, Code, Plan, Write};

pub(super) fn id(name: &str) -> ResourceId {
    ResourceId { namespace: "n".into(), name: name.into() }
}
pub(super) fn at(cluster: &str, name: &str) -> (ClusterName, ResourceId) {
    (ClusterName::from(cluster), id(name))
}
pub(super) fn edit(model: &mut Model, cluster: &str, name: &str, change: impl FnOnce(&mut ResourceView)) {
    model.edit(&ClusterName::from(cluster), &id(name), change);
}
pub(super) fn steps(plan: &Plan) -> Vec<String> {
    let steps = plan.actions.iter().filter(|one| matches!(one.write, Write::Step(_)));
    steps.map(|one| format!("{} {}", one.place.0, one.place.1.name)).collect()
}
pub(super) fn waits_for(plan: &Plan, code: Code) -> bool {
    plan.waits.iter().any(|wait| wait.code == code)
}
pub(super) fn never_ran(view: &mut ResourceView) {
    view.ever_settled = false;
    view.settled_since = None;
    view.roles.iter_mut().for_each(|role| role.nodes[0].ready_since = None);
}
pub(super) fn begin(model: &mut Model) {
    for _ in 0..2 {
        let made = planned(model);
        model.act(&made);
    }
}
pub(super) fn failed_trial(shape: &Shape) -> Model {
    let mut model = Model::new(shape);
    model.fleet.upgrades[0].prepull = true;
    edit(&mut model, "c0", "r0", |view| view.roles[0].nodes[0].machine = Some("m1".into()));
    let made = planned(&model);
    model.act(&made);
    edit(&mut model, "c0", "r0", |view| {
        drop(view.prepulls.insert("m1".into(), Tried::Failed("there is no image".into())));
    });
    model
}
pub(super) fn is_taken_back(model: &Model) -> bool {
    planned(model).actions.iter().any(|action| matches!(action.write, Write::Rollback(_)))
}

/// The finalised height that a cluster's node said last.
pub(super) fn top(model: &Model, cluster: &str) -> u64 {
    let health = &model.board.clusters[&ClusterName::from(cluster)].health;
    health.values().next().unwrap().samples.back().unwrap().finalized
}
