//! The objects around the pods: Secrets, Services, the NetworkPolicy and the StatefulSets.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use kube::Resource as _;

use crate::identity::NodeKey;
use crate::polkadot::{
    ADOPTED_ANNOTATION, GROUP, KEY_SOURCE_ANNOTATION, Kind, Names, Polkadot, ResourceId, Role,
};

use super::{Basis, arguments, Child, ChildKind, Template, instance, selector};

/// Everything that should exist besides the Secrets, in the order in which it is applied.
///
/// `partitions` holds, per role, the lowest ordinal whose pods may be restarted.
#[must_use]
pub fn build(basis: &Basis<'_>, templates: &[Template], partitions: &BTreeMap<Role, i32>) -> Vec<Child> {
    let polkadot = basis.polkadot;
    let mut children = vec![headless_service(basis)];
    children.extend(templates.iter().map(|template| service(basis, template.role)));
    if polkadot.spec.kind == Kind::SentryAndValidator && polkadot.spec.secure_communication_support.enabled {
        children.push(network_policy(basis));
    }
    children.extend(templates.iter().map(|template| stateful_set(basis, template, partitions)));
    children
}

/// The Secret with a role's node keys: one entry per pod name.
#[must_use]
pub fn secret(polkadot: &Polkadot, role: Role, keys: &BTreeMap<i32, NodeKey>) -> Child {
    let names = Names::of(polkadot);
    let data: BTreeMap<_, _> = keys
        .iter()
        .map(|(ordinal, key)| (names.pod(role, *ordinal), BASE64_STANDARD.encode(key.to_file())))
        .collect();
    let body = json!({"type": "Opaque", "data": data});
    let mut secret = child(polkadot, ChildKind::Secret, &names.secret(role), Some(role), body);
    if let Some(source) = polkadot.key_source(role) {
        secret.body["metadata"]["annotations"] = json!({KEY_SOURCE_ANNOTATION: source});
    }
    secret
}

fn headless_service(basis: &Basis<'_>) -> Child {
    let (polkadot, settings) = (basis.polkadot, basis.settings);
    let spec = json!({
        "type": "ClusterIP",
        "clusterIP": "None",
        // A peer must be found while it still syncs.
        "publishNotReadyAddresses": true,
        "selector": basis.nodes_selector(),
        "ports": [port("p2p", settings.ports.p2p, "p2p")],
    });
    child(polkadot, ChildKind::Service, &basis.names().headless_service(), None, json!({"spec": spec}))
}

fn service(basis: &Basis<'_>, role: Role) -> Child {
    let (polkadot, settings) = (basis.polkadot, basis.settings);
    let numbers = settings.ports;
    let mut ports = vec![port("p2p", numbers.p2p, "p2p")];
    if role == Role::Sentry {
        ports.push(port("http-rpc", numbers.rpc, arguments::http_rpc(&basis.version)));
        ports.push(port("websocket-rpc", numbers.ws, "websocket-rpc"));
    }
    if polkadot.spec.metrics_support.enabled {
        ports.push(port("http-metrics", numbers.metrics, "http-metrics"));
    }
    let behind_sentries = role == Role::Validator && polkadot.spec.kind == Kind::SentryAndValidator;
    let spec = json!({
        "type": if behind_sentries { "ClusterIP" } else { "NodePort" },
        "selector": basis.pod_selector(role),
        "ports": ports,
    });
    child(polkadot, ChildKind::Service, &basis.names().service(role), Some(role), json!({"spec": spec}))
}

fn port(name: &str, number: u16, target: &str) -> Value {
    json!({"name": name, "port": number, "protocol": "TCP", "targetPort": target})
}

/// Lets through peer-to-peer traffic with the own sentries, DNS, and the metrics port, and nothing else.
fn network_policy(basis: &Basis<'_>) -> Child {
    let (polkadot, settings) = (basis.polkadot, basis.settings);
    let sentries = json!([{"podSelector": {"matchLabels": basis.pod_selector(Role::Sentry)}}]);
    let p2p = json!([{"protocol": "TCP", "port": settings.ports.p2p}]);
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
    child(
        polkadot,
        ChildKind::NetworkPolicy,
        &basis.names().network_policy(),
        Some(Role::Validator),
        json!({"spec": spec}),
    )
}

fn stateful_set(basis: &Basis<'_>, template: &Template, partitions: &BTreeMap<Role, i32>) -> Child {
    let polkadot = basis.polkadot;
    let role = template.role;
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
    if let Some(claim) = polkadot.claim(role) {
        spec["volumeClaimTemplates"] = json!([{
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": claim.metadata,
            "spec": claim.spec,
        }]);
    }
    let name = basis.names().stateful_set(role);
    let mut set = child(polkadot, ChildKind::StatefulSet, &name, Some(role), json!({"spec": spec}));
    if let Some((_, generation)) = basis.inherited.templates.get(&role) {
        set.body["metadata"]["annotations"] = json!({ADOPTED_ANNOTATION: generation.to_string()});
    }
    set
}

/// Gives `body` its name, labels and owner.
fn child(polkadot: &Polkadot, kind: ChildKind, name: &str, role: Option<Role>, mut body: Value) -> Child {
    let id = ResourceId::of(polkadot);
    let mut labels = role.map_or_else(|| instance(&id), |role| selector(&id, role));
    labels.insert("app.kubernetes.io/managed-by".into(), "polkafleet".into());
    let (api_version, kind_name) = kind.api();
    body["apiVersion"] = json!(api_version);
    body["kind"] = json!(kind_name);
    body["metadata"] = json!({
        "name": name,
        "namespace": id.namespace,
        "labels": labels,
        "ownerReferences": [{
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "Polkadot",
            "name": id.name,
            "uid": polkadot.meta().uid.clone().unwrap_or_default(),
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    });
    Child { kind, name: name.to_owned(), body }
}
