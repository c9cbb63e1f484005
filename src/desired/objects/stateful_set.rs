//! The StatefulSet of a role: its pods and their volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::polkadot::{ADOPTED_ANNOTATION, Polkadot, Role};

use super::{Basis, Child, ChildKind, Template, child};

/// The StatefulSet of the template's role; `partitions` holds the lowest ordinal whose pods may be restarted.
pub(super) fn of_role(basis: &Basis<'_>, template: &Template, partitions: &BTreeMap<Role, i32>) -> Child {
    let (polkadot, role) = (basis.polkadot, template.role);
    let replicas = polkadot.replicas(role);
    let mut spec = json!({
        "replicas": replicas,
        "serviceName": basis.names().headless_service(),
        "podManagementPolicy": "OrderedReady",
        "selector": {"matchLabels": basis.set_selector(role)},
        // Applying a template restarts nothing: a pod below the partition keeps the revision it has, and comes
        // back at it after a drain.
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"partition": partitions.get(&role).copied().unwrap_or(replicas)},
        },
        "template": template.body,
    });
    keep_data(&mut spec, polkadot, role);
    let name = basis.names().stateful_set(role);
    let mut set = child(polkadot, ChildKind::StatefulSet, &name, Some(role), json!({"spec": spec}));
    if let Some((_, generation)) = basis.inherited.templates.get(&role) {
        set.body["metadata"]["annotations"] = json!({ADOPTED_ANNOTATION: generation.to_string()});
    }
    set
}

/// Gives the pods a volume each, where persistence is on.
fn keep_data(spec: &mut Value, polkadot: &Polkadot, role: Role) {
    let Some(claim) = polkadot.claim(role) else { return };
    spec["volumeClaimTemplates"] = json!([{
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": claim.metadata,
        "spec": claim.spec,
    }]);
    // Written even where it is the server's default: whoever sets Delete by hand must not cost a validator its keys.
    let retention =
        polkadot.node(role).and_then(|node| node.data_persistence_support.retention_policy.clone());
    spec["persistentVolumeClaimRetentionPolicy"] = json!(retention.unwrap_or_default());
}
