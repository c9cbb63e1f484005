//! The pod template of a role: container, volumes, security. Admitted under pod security `restricted`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::polkadot::{PEER_ID_ANNOTATION, Polkadot, ResourceId, Role};
use crate::version;

use super::arguments::{self, DATA_PATH, KEY_FILE};
use super::{Basis, selector};

/// The user and group of the official images.
const CLIENT_USER: i64 = 1000;
/// A node flushes its database when told to stop; the default 30 s are too short for a large one.
const GRACE_SECONDS: i64 = 120;
const DATA_VOLUME: &str = "data";
const KEYS_VOLUME: &str = "polkafleet-node-keys";

/// The `PodTemplateSpec` of `role`, without its hash.
pub(super) fn template(basis: &Basis<'_>, role: Role) -> Value {
    let id = ResourceId::of(basis.polkadot);
    let node = basis.polkadot.node(role);
    let mut annotations = json!(node.map(|node| &node.pod_annotations).cloned().unwrap_or_default());
    if let Some(key) = basis.keys.get(&(role, 0)) {
        annotations[PEER_ID_ANNOTATION] = json!(key.peer_id());
    }
    let mut template = json!({
        "metadata": {"labels": selector(&id, role), "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": CLIENT_USER,
                "runAsGroup": CLIENT_USER,
                "fsGroup": CLIENT_USER,
                // Large volumes would otherwise be walked, file by file, at every start.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container(basis, role)],
            "volumes": volumes(basis, role),
        },
    });
    merge(&mut template["spec"], placement(basis, role));
    template
}

/// Where the pods may run and with what the image is pulled. What is not set is left out, so that the hash of a template
/// does not change with a release that can say more.
fn placement(basis: &Basis<'_>, role: Role) -> Value {
    let mut placement = json!({});
    // By name: whoever lists one twice means it once, and the API server refuses the list.
    let listed = basis.polkadot.spec.image_pull_secrets.iter();
    let secrets: BTreeMap<_, _> = listed.map(|secret| (&secret.name, secret)).collect();
    let secrets: Vec<_> = secrets.into_values().collect();
    if !secrets.is_empty() {
        placement["imagePullSecrets"] = json!(secrets);
    }
    let Some(node) = basis.polkadot.node(role) else { return placement };
    if !node.node_selector.is_empty() {
        placement["nodeSelector"] = json!(node.node_selector);
    }
    if !node.tolerations.is_empty() {
        placement["tolerations"] = json!(node.tolerations);
    }
    if let Some(affinity) = &node.affinity {
        placement["affinity"] = json!(affinity);
    }
    placement
}

fn container(basis: &Basis<'_>, role: Role) -> Value {
    let polkadot = basis.polkadot;
    let version = polkadot.spec.client_version.as_deref().unwrap_or_default();
    let pull = if version::is_floating(version) { "Always" } else { "IfNotPresent" };
    let mut container = json!({
        "name": "polkadot",
        "image": format!("{}:{version}", basis.settings.image),
        "imagePullPolicy": pull,
        "args": arguments::arguments(basis, role),
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
        "ports": ports(basis, role),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": data_volume(polkadot, role), "mountPath": DATA_PATH},
            {"name": KEYS_VOLUME, "mountPath": KEY_FILE, "subPathExpr": "$(POD_NAME)", "readOnly": true},
        ],
    });
    merge(&mut container, arguments::probes(&basis.version, role));
    if let Some(command) = arguments::command(&basis.version) {
        container["command"] = json!(command);
    }
    if let Some(resources) = polkadot.node(role).and_then(|node| node.resources.as_ref()) {
        container["resources"] = json!(resources);
    }
    container
}

/// A validator's RPC has no port: it listens on the pod's loopback only.
fn ports(basis: &Basis<'_>, role: Role) -> Value {
    let port = |name: &str, number: u16| json!({"name": name, "containerPort": number, "protocol": "TCP"});
    let numbers = basis.settings.ports;
    let mut ports = vec![port("p2p", numbers.p2p)];
    if role == Role::Sentry {
        if arguments::http_rpc(&basis.version) == "http-rpc" {
            ports.push(port("http-rpc", numbers.rpc));
        }
        ports.push(port("websocket-rpc", numbers.ws));
    }
    ports.push(port("http-metrics", numbers.metrics));
    json!(ports)
}

fn volumes(basis: &Basis<'_>, role: Role) -> Value {
    let keys = json!({
        "name": KEYS_VOLUME,
        // Group-readable, for the client's group only.
        "secret": {"secretName": basis.names().secret(role), "defaultMode": 0o440},
    });
    if basis.polkadot.is_persistent(role) {
        json!([keys])
    } else {
        json!([{"name": DATA_VOLUME, "emptyDir": {}}, keys])
    }
}

fn data_volume(polkadot: &Polkadot, role: Role) -> String {
    polkadot.claim(role).map_or_else(|| DATA_VOLUME.into(), |claim| claim.metadata.name.clone())
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
