//! Decides what should exist for one `Polkadot` resource: a pure function from resource, settings and keys to
//! Kubernetes objects. No client, no clock, no randomness, and it cannot fail on a resource that [`support`] takes.
//!
//! [`arguments`] says how a client is started, [`pod`] makes the template around it, [`objects`] the rest.
//! Who may restart what is not decided here: the partition is an input.

pub mod arguments;
pub mod objects;
pub mod pod;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::fleet::Settings;
use crate::identity::NodeKey;
use crate::polkadot::{INSTANCE_LABEL, Persistence, Polkadot, ResourceId, Role};

pub use self::objects::{build, secret};

/// The kinds of objects we own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// Node keys.
    Secret,
    /// The ways in, and the headless Service that gives pods their names.
    Service,
    /// The wall around a validator.
    NetworkPolicy,
    /// The pods.
    StatefulSet,
}

impl ChildKind {
    /// All of them, in the order in which they are applied: pods last, when all they need is there.
    pub const ALL: [Self; 4] = [Self::Secret, Self::Service, Self::NetworkPolicy, Self::StatefulSet];

    /// `apiVersion` and `kind`.
    #[must_use]
    pub fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::Secret => ("v1", "Secret"),
            Self::Service => ("v1", "Service"),
            Self::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy"),
            Self::StatefulSet => ("apps/v1", "StatefulSet"),
        }
    }
}

/// One object that should exist, as it is applied.
#[derive(Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name, in the resource's namespace.
    pub name: String,
    /// The whole apply configuration. That of a Secret holds keys: there is no `Debug` on this type.
    pub body: Value,
}

/// The node keys of a resource, by role and ordinal.
pub type Keys = BTreeMap<(Role, i32), NodeKey>;

/// A role's pod template and the hash that permission to roll is given for.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The role.
    pub role: Role,
    /// Hash over the rest.
    pub hash: String,
    /// The `PodTemplateSpec`, with the hash as an annotation.
    pub body: Value,
}

/// What of a resource cannot be rendered, in words for its condition.
pub fn support(polkadot: &Polkadot) -> Result<(), String> {
    match &polkadot.spec.client_version {
        None => Err("spec.clientVersion is not set and no upgrade of the fleet file has set it yet; \
                     set it, or let an upgrade select this resource"
            .into()),
        Some(version) => arguments::support(version),
    }
}

/// The templates of the roles that the resource's kind has.
#[must_use]
pub fn templates(polkadot: &Polkadot, settings: &Settings, keys: &Keys) -> Vec<Template> {
    Role::ALL
        .into_iter()
        .filter(|role| polkadot.spec.kind.has(*role))
        .map(|role| {
            let mut body = pod::template(polkadot, settings, keys, role);
            let hash = hash(&body);
            body["metadata"]["annotations"][crate::polkadot::TEMPLATE_HASH_ANNOTATION] = json!(hash);
            Template { role, hash, body }
        })
        .collect()
}

/// The first eight bytes of the SHA-256 of the JSON text; `serde_json` keeps object keys sorted.
fn hash(body: &Value) -> String {
    hex::encode(&sha2::Sha256::digest(body.to_string())[..8])
}

/// The name of a role's StatefulSet; the old operator's.
#[must_use]
pub fn stateful_set_name(role: Role) -> String {
    format!("{role}-sset")
}

/// The name of a pod.
#[must_use]
pub fn pod_name(role: Role, ordinal: i32) -> String {
    format!("{role}-sset-{ordinal}")
}

/// The name of the Secret that holds a role's node keys, one entry per pod name.
#[must_use]
pub fn secret_name(role: Role) -> String {
    format!("{role}-node-keys")
}

/// The headless Service; the old operator named it in its StatefulSets and never made it.
pub const HEADLESS_SERVICE: &str = "polkadot";

/// Labels of a role's pods, and the selector of everything that points at them.
#[must_use]
pub fn selector(id: &ResourceId, role: Role) -> BTreeMap<String, String> {
    let mut labels = instance(id);
    labels.insert("role".into(), role.as_str().into());
    labels
}

/// Labels of everything that belongs to a resource.
#[must_use]
pub fn instance(id: &ResourceId) -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), "polkadot".into()), (INSTANCE_LABEL.into(), id.name.clone())])
}

/// The persistence of a role.
#[must_use]
pub fn persistence(polkadot: &Polkadot, role: Role) -> Option<&Persistence> {
    match role {
        Role::Sentry => polkadot.spec.sentry.as_ref().map(|sentry| &sentry.data_persistence_support),
        Role::Validator => {
            polkadot.spec.validator.as_ref().map(|validator| &validator.data_persistence_support)
        }
    }
}

/// The node key that the resource itself gives a node: only the first of a role can have one.
#[must_use]
pub fn given_key(polkadot: &Polkadot, role: Role, ordinal: i32) -> Option<NodeKey> {
    let text = match role {
        Role::Sentry => polkadot.spec.sentry.as_ref()?.node_key.as_ref(),
        Role::Validator => polkadot.spec.validator.as_ref()?.node_key.as_ref(),
    };
    text.filter(|_| ordinal == 0).and_then(|text| NodeKey::from_hex(text).ok())
}

#[cfg(test)]
mod tests;
