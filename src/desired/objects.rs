//! The objects around the pods: which there are, and what all of them have in common. Pure.
//!
//! [`services`] are the ways in, [`network_policy`] the wall around a validator, [`budget`] what a drain may take away,
//! [`stateful_set`] the pods' own. Secrets with node keys are made here.

mod budget;
mod network_policy;
mod services;
mod stateful_set;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::Resource as _;
use serde_json::{Value, json};

use crate::identity::NodeKey;
use crate::polkadot::{GROUP, KEY_SOURCE_ANNOTATION, Names, Polkadot, ResourceId, Role};

use super::{Basis, Child, ChildKind, Labels, Template, instance, selector};

/// Everything that should exist besides the Secrets, in the order in which it is applied: the headless Service first.
///
/// `partitions` holds, per role, the lowest ordinal whose pods may be restarted.
#[must_use]
pub fn build(basis: &Basis<'_>, templates: &[Template], partitions: &BTreeMap<Role, i32>) -> Vec<Child> {
    let roles = || templates.iter().map(|template| template.role);
    let mut children = vec![services::headless(basis)];
    children.extend(roles().map(|role| services::of_role(basis, role)));
    children.extend(roles().flat_map(|role| services::of_pods(basis, role)));
    children.extend(network_policy::around_validator(basis));
    children.extend(roles().filter_map(|role| budget::of_role(basis, role)));
    children.extend(templates.iter().map(|template| stateful_set::of_role(basis, template, partitions)));
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

/// Gives a child a person's annotations.
fn annotated(mut child: Child, annotations: &Labels) -> Child {
    if !annotations.is_empty() {
        child.body["metadata"]["annotations"] = json!(annotations);
    }
    child
}
