//! The ways in: the headless Service that gives pods their names, one Service per role, one per pod on request.

use serde_json::{Value, json};

use crate::polkadot::{Kind, Role};

use super::{Basis, Child, ChildKind, annotated, child};
use crate::desired::arguments;

/// The label that the StatefulSet controller gives every pod: its name.
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";

/// The Service that gives the pods of both roles their names.
pub(super) fn headless(basis: &Basis<'_>) -> Child {
    let spec = json!({
        "type": "ClusterIP",
        "clusterIP": "None",
        // A peer must be found while it still syncs.
        "publishNotReadyAddresses": true,
        "selector": basis.nodes_selector(),
        // The one port that both roles have for others; RPC and metrics are not looked for by name.
        "ports": [port("p2p", basis.settings.ports.p2p, "p2p")],
    });
    let name = basis.names().headless_service();
    child(basis.polkadot, ChildKind::Service, &name, None, json!({"spec": spec}))
}

/// A role's Service. A validator's carries no RPC: that listens on the pod's loopback only.
pub(super) fn of_role(basis: &Basis<'_>, role: Role) -> Child {
    let (polkadot, numbers) = (basis.polkadot, basis.settings.ports);
    let mut ports = vec![port("p2p", numbers.p2p, "p2p")];
    if role == Role::Sentry {
        // Clients from 0.9.43 on answer HTTP on the WebSocket port.
        ports.push(port("http-rpc", numbers.rpc, arguments::http_rpc(&basis.version)));
        ports.push(port("websocket-rpc", numbers.ws, "websocket-rpc"));
    }
    if polkadot.spec.metrics_support.enabled {
        ports.push(port("http-metrics", numbers.metrics, "http-metrics"));
    }
    let options = polkadot.node(role).and_then(|node| node.service.clone()).unwrap_or_default();
    let behind_sentries = role == Role::Validator && polkadot.spec.kind == Kind::SentryAndValidator;
    let usual = if behind_sentries { "ClusterIP" } else { "NodePort" };
    let spec = json!({
        "type": options.type_.as_deref().unwrap_or(usual),
        "selector": basis.pod_selector(role),
        "ports": ports,
    });
    let service =
        child(polkadot, ChildKind::Service, &basis.names().service(role), Some(role), json!({"spec": spec}));
    annotated(service, &options.annotations)
}

/// On request, a Service for every pod's peer-to-peer port: behind the role's Service one address stands for nodes with
/// different peer IDs, so that who dials it for one of them reaches another.
pub(super) fn of_pods(basis: &Basis<'_>, role: Role) -> Vec<Child> {
    let (polkadot, names) = (basis.polkadot, basis.names());
    let Some(options) = polkadot.node(role).and_then(|node| node.p2p_services.as_ref()) else {
        return vec![];
    };
    (0..polkadot.replicas(role))
        .map(|ordinal| {
            let spec = json!({
                "type": options.type_.as_deref().unwrap_or("NodePort"),
                "publishNotReadyAddresses": true,
                "selector": {POD_NAME_LABEL: names.pod(role, ordinal)},
                "ports": [port("p2p", basis.settings.ports.p2p, "p2p")],
            });
            let name = names.p2p_service(role, ordinal);
            let service = child(polkadot, ChildKind::Service, &name, Some(role), json!({"spec": spec}));
            annotated(service, &options.annotations)
        })
        .collect()
}

fn port(name: &str, number: u16, target: &str) -> Value {
    json!({"name": name, "port": number, "protocol": "TCP", "targetPort": target})
}
