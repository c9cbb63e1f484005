//! Which pods a worker may restart: the partition of a StatefulSet, and pods that block it. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;

use super::observe;
use crate::observed::{NodeView, RoleView};
use crate::polkadot::Grant;

/// The partition of a role's StatefulSet: pods with this ordinal and above may be restarted.
///
/// Without permission for just this template that is none of them. The permission holds until every pod runs the
/// template and the controller has taken it as the set's current revision (`finished`); raising the partition again
/// then changes nothing (tried on a real control plane).
#[must_use]
pub fn partition(role: &RoleView, replicas: i32, grant: Option<&Grant>, finished: bool) -> i32 {
    match grant.filter(|grant| grant.role == role.role && grant.hash == role.hash) {
        // The controller would take a pod away that it cannot make: see [`blocked`].
        Some(_) if role.volumes_added => replicas,
        Some(grant) if !finished && !reaches_too_far(role, grant) => grant.ordinal.clamp(0, replicas),
        _ => replicas,
    }
}

/// Whether a partition at the permitted pod would let the controller restart pods above it, which have no permission: a
/// broken pod goes first, wherever it stands. Until it is made anew it blocks the controller, which replaces it at the
/// partition that it finds; then the partition has to be up again before the pod is Ready.
fn reaches_too_far(role: &RoleView, grant: &Grant) -> bool {
    let others = role.outdated().any(|node| node.ordinal > grant.ordinal);
    let is_made_anew =
        |node: &NodeView| node.hash.as_deref() == Some(&role.hash) || node.ready_since.is_some();
    others && role.nodes.iter().any(|node| node.ordinal == grant.ordinal && is_made_anew(node))
}

/// A pod that blocks its StatefulSet for ever: permitted to restart, on a revision no longer wanted, and not Ready
/// (kubernetes#67250: the controller waits for it and never replaces it); or without a volume that the template has,
/// which no controller can give it.
#[must_use]
pub fn blocked<'a>(role: &'a RoleView, grant: Option<&Grant>) -> Option<&'a NodeView> {
    let grant = grant.filter(|grant| grant.role == role.role && grant.hash == role.hash)?;
    if role.volumes_added {
        return role.outdated().find(|node| node.ordinal == grant.ordinal);
    }
    role.outdated().find(|node| node.ordinal == grant.ordinal && node.ready_since.is_none())
}

/// Whether a pod that is deleted comes back on the template with this hash. If not, deleting it helps nothing, and would
/// be done again and again.
#[must_use]
pub fn comes_back_on(set: &StatefulSet, hash: &str, ordinal: i32) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let partition = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.partition);
    observe::template_hash(set) == hash
        && (has_one_revision(set) || partition.is_some_and(|partition| partition <= ordinal))
}

/// Whether the controller makes every pod from the one template that the StatefulSet has.
#[must_use]
pub fn has_one_revision(set: &StatefulSet) -> bool {
    is_current(set) == Some(true)
}

/// Whether the controller makes pods below the partition from an earlier template. Before it has said so, as right after
/// the StatefulSet was made, it is not known.
#[must_use]
pub fn has_two_revisions(set: &StatefulSet) -> bool {
    is_current(set) == Some(false)
}

/// Whether the applied template is the current revision; `None` before the controller has seen it.
fn is_current(set: &StatefulSet) -> Option<bool> {
    let status = set.status.as_ref()?;
    let seen = status.observed_generation.is_some() && status.observed_generation == set.metadata.generation;
    let update = status.update_revision.as_ref().filter(|_| seen)?;
    Some(status.current_revision.as_ref() == Some(update))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polkadot::Role;
    use jiff::Timestamp;

    fn node(ordinal: i32, hash: &str, ready: bool) -> NodeView {
        NodeView {
            pod: format!("sentry-sset-{ordinal}"),
            ordinal,
            hash: Some(hash.into()),
            version: None,
            ready_since: ready.then_some(Timestamp::UNIX_EPOCH),
            stuck: None,
            machine: None,
        }
    }

    fn sentries(nodes: Vec<NodeView>) -> RoleView {
        RoleView { role: Role::Sentry, hash: "new".into(), nodes, volumes_added: false }
    }

    fn grant(role: Role, hash: &str, ordinal: i32) -> Grant {
        Grant { role, hash: hash.into(), ordinal, at: Timestamp::UNIX_EPOCH, mends: false, again: false }
    }

    #[test]
    fn without_permission_for_just_this_role_and_template_nothing_may_restart() {
        let role = sentries(vec![node(0, "old", true), node(1, "old", true)]);
        assert_eq!(partition(&role, 2, None, false), 2);
        assert_eq!(partition(&role, 2, Some(&grant(Role::Validator, "new", 0)), false), 2);
        assert_eq!(partition(&role, 2, Some(&grant(Role::Sentry, "another", 0)), false), 2);
    }

    #[test]
    fn permission_reaches_down_to_its_ordinal_until_the_roll_is_finished() {
        let role = sentries(vec![node(0, "old", true), node(1, "new", true)]);
        assert_eq!(partition(&role, 2, Some(&grant(Role::Sentry, "new", 1)), false), 1);
        assert_eq!(partition(&role, 2, Some(&grant(Role::Sentry, "new", 1)), true), 2);
    }

    #[test]
    fn permission_for_a_broken_pod_does_not_reach_the_healthy_ones_above_it() {
        let of_first = grant(Role::Sentry, "new", 0);
        let at = |first: NodeView| {
            let role = sentries(vec![first, node(1, "old", true), node(2, "old", false)]);
            (
                partition(&role, 3, Some(&of_first), false),
                blocked(&role, Some(&of_first)).map(|node| node.ordinal),
            )
        };
        assert_eq!(at(node(0, "old", false)), (0, Some(0)), "it blocks the controller");
        assert_eq!(
            at(NodeView { hash: None, ..node(0, "", false) }),
            (0, None),
            "it is about to be made anew"
        );
        assert_eq!(at(node(0, "new", false)), (3, None), "before it is Ready");
        assert_eq!(at(node(0, "old", true)), (3, None), "it came back by itself");
    }

    #[test]
    fn a_pod_without_an_added_volume_is_replaced_by_permission_for_just_it() {
        let mut role = sentries(vec![node(0, "old", true), node(1, "old", true)]);
        role.volumes_added = true;
        assert_eq!(blocked(&role, None), None);
        assert_eq!(blocked(&role, Some(&grant(Role::Sentry, "new", 0))).map(|node| node.ordinal), Some(0));
    }

    #[test]
    fn a_pod_goes_only_if_it_comes_back_on_the_wanted_template() {
        let set = |current: &str, partition: i32| -> StatefulSet {
            let annotations = serde_json::json!({crate::polkadot::TEMPLATE_HASH_ANNOTATION: "new"});
            serde_json::from_value(serde_json::json!({
                "metadata": {"generation": 2},
                "spec": {
                    "selector": {}, "serviceName": "", "template": {"metadata": {"annotations": annotations}},
                    "updateStrategy": {"rollingUpdate": {"partition": partition}},
                },
                "status": {
                    "replicas": 1, "observedGeneration": 2, "currentRevision": current, "updateRevision": "b",
                },
            }))
            .unwrap()
        };
        assert!(comes_back_on(&set("a", 0), "new", 0), "below the partition is the new revision");
        assert!(comes_back_on(&set("b", 1), "new", 0), "there is only one");
        assert!(!comes_back_on(&set("a", 1), "new", 0), "the old revision");
        assert!(!comes_back_on(&set("b", 0), "newer", 0), "not applied yet, or never");
    }

    #[test]
    fn a_set_whose_controller_has_not_spoken_yet_has_neither_one_revision_nor_two() {
        let set = |status: serde_json::Value| -> StatefulSet {
            serde_json::from_value(serde_json::json!({
                "metadata": {"generation": 2},
                "spec": {"selector": {}, "serviceName": "", "template": {}}, "status": status,
            }))
            .unwrap()
        };
        let revisions = |set: &StatefulSet| (has_one_revision(set), has_two_revisions(set));
        let said = |generation: i64, current: &str| {
            set(serde_json::json!({
                "replicas": 1, "observedGeneration": generation, "currentRevision": current, "updateRevision": "b",
            }))
        };
        assert_eq!(revisions(&StatefulSet { status: None, ..said(2, "b") }), (false, false), "just made");
        assert_eq!(revisions(&set(serde_json::json!({"replicas": 0}))), (false, false));
        assert_eq!(revisions(&said(1, "a")), (false, false), "of the template before");
        assert_eq!(revisions(&said(2, "a")), (false, true));
        assert_eq!(revisions(&said(2, "b")), (true, false));
    }

    #[test]
    fn only_a_permitted_pod_that_is_not_ready_on_an_unwanted_template_blocks() {
        let role = sentries(vec![node(0, "old", false), node(1, "old", true), node(2, "new", false)]);
        assert_eq!(blocked(&role, None), None);
        assert_eq!(blocked(&role, Some(&grant(Role::Sentry, "new", 1))), None);
        assert_eq!(blocked(&role, Some(&grant(Role::Sentry, "new", 0))).map(|node| node.ordinal), Some(0));
    }
}
