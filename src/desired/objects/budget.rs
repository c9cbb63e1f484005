//! `PodDisruptionBudgets`: how many nodes of a role a drain may take away at once.

use serde_json::{Value, json};

use crate::polkadot::Role;

use super::{Basis, Child, ChildKind, child};

/// The budget of a role, where it has one.
pub(super) fn of_role(basis: &Basis<'_>, role: Role) -> Option<Child> {
    let mut spec = match role {
        Role::Sentry => of_sentries(basis.polkadot.replicas(role))?,
        Role::Validator => of_validator(basis.polkadot.spec.validator.as_ref()?.pod_disruption_budget)?,
    };
    spec["selector"] = json!({"matchLabels": basis.pod_selector(role)});
    let name = basis.names().disruption_budget(role);
    Some(child(basis.polkadot, ChildKind::DisruptionBudget, &name, Some(role), json!({"spec": spec})))
}

/// One after the other. The budget of a single sentry could only hold a drain up for ever.
fn of_sentries(replicas: i32) -> Option<Value> {
    // A sentry that is not Ready serves nobody: it must not hold up a drain.
    (replicas >= 2).then(|| json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}))
}

/// On request: no drain takes the validator away, not even while it syncs.
fn of_validator(wanted: bool) -> Option<Value> {
    wanted.then(|| json!({"maxUnavailable": 0, "unhealthyPodEvictionPolicy": "IfHealthyBudget"}))
}
