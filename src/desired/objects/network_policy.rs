//! The wall around a validator that stands behind sentries of its own.

use serde_json::json;

use crate::polkadot::{Kind, Role};

use super::{Basis, Child, ChildKind, child};

#[cfg(test)]
mod tests;

/// Lets through peer-to-peer traffic with the own sentries, DNS, and the metrics port, and nothing else.
///
/// Only for a validator with sentries: one without them would be cut off from the network, so the switch has no effect
/// on it (a condition says so).
pub(super) fn around_validator(basis: &Basis<'_>) -> Option<Child> {
    let (polkadot, settings) = (basis.polkadot, basis.settings);
    if polkadot.spec.kind != Kind::SentryAndValidator || !polkadot.spec.secure_communication_support.enabled {
        return None;
    }
    let sentries = json!([{"podSelector": {"matchLabels": basis.pod_selector(Role::Sentry)}}]);
    let p2p = json!([{"protocol": "TCP", "port": settings.ports.p2p}]);
    // Without a peer: what the API server's pod proxy forwards comes from an address that no pod has.
    let mut metrics = json!({"ports": [{"protocol": "TCP", "port": settings.ports.metrics}]});
    if !settings.metrics_from.is_empty() {
        let blocks = settings.metrics_from.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
        metrics["from"] = blocks.collect();
    }
    // No peer selector: DNS may be a pod, a node or an address outside; 5353 is where OpenShift's pods listen.
    let dns = json!({"ports": [
        {"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53},
        {"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353},
    ]});
    let spec = json!({
        "podSelector": {"matchLabels": basis.pod_selector(Role::Validator)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": sentries, "ports": p2p}, metrics],
        "egress": [{"to": sentries, "ports": p2p}, dns],
    });
    let name = basis.names().network_policy();
    Some(child(polkadot, ChildKind::NetworkPolicy, &name, Some(Role::Validator), json!({"spec": spec})))
}
