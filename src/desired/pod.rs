//! The pod template of a role: container, volumes, security. Admitted under pod security `restricted`.

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
    let mut annotations = json!({});
    if let Some(key) = basis.keys.get(&(role, 0)) {
        annotations[PEER_ID_ANNOTATION] = json!(key.peer_id());
    }
    json!({
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
    })
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
    if let Some(resources) = polkadot.node(role).and_then(|node| node.resources.as_ref()) {
        container["resources"] = json!(resources);
    }
    container
}

/// A validator's RPC has no port: it listens on the pod's loopback only.
fn ports(basis: &Basis<'_>, role: Role) -> Value {
    let port = |name: &str, number: u16| json!({"name": name, "containerPort": number, "protocol": "TCP"});
    let ports = basis.settings.ports;
    match role {
        Role::Sentry => json!([
            port("p2p", ports.p2p),
            port("websocket-rpc", ports.ws),
            port("http-metrics", ports.metrics)
        ]),
        Role::Validator => json!([port("p2p", ports.p2p), port("http-metrics", ports.metrics)]),
    }
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
