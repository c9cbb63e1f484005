//! Decides what should exist for one `Polkadot` resource: a pure function from resource, settings and keys to
//! Kubernetes objects. No client, no clock, no randomness, and it cannot fail on a resource that [`client`] takes.
//!
//! [`arguments`] says how a client is started, [`pod`] makes the template around it, [`objects`] the rest;
//! [`prepull`] is the pod that tries a version before that.
//! Who may restart what is not decided here: the partition is an input.

pub mod arguments;
pub mod objects;
pub mod pod;
pub mod prepull;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::fleet::Settings;
use crate::identity::NodeKey;
use crate::polkadot::{INSTANCE_LABEL, Names, Polkadot, ResourceId, Role};
use crate::version::ClientVersion;

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
    /// What a drain may take away.
    DisruptionBudget,
    /// The pods.
    StatefulSet,
}

impl ChildKind {
    /// All of them, in the order in which they are applied: pods last, when all they need is there.
    pub const ALL: [Self; 5] =
        [Self::Secret, Self::Service, Self::NetworkPolicy, Self::DisruptionBudget, Self::StatefulSet];

    /// `apiVersion` and `kind`.
    #[must_use]
    pub fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::Secret => ("v1", "Secret"),
            Self::Service => ("v1", "Service"),
            Self::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy"),
            Self::DisruptionBudget => ("policy/v1", "PodDisruptionBudget"),
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
    /// Hash over the rest; empty for one that was not made here.
    pub hash: String,
    /// The `PodTemplateSpec`, with the hash as an annotation.
    pub body: Value,
}

/// Why nothing can be rendered for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In one word, for a condition.
    pub reason: &'static str,
    /// For a person.
    pub words: String,
}

/// The client that a resource is rendered for, or why it cannot be rendered.
///
/// A tag that moves is rendered for the newest known client. What the pods report of themselves is for the caller to put
/// into [`Basis::version`].
pub fn client(polkadot: &Polkadot) -> Result<ClientVersion, Refusal> {
    let refusal = |reason, words| Err(Refusal { reason, words });
    let broken = crate::polkadot::validate(polkadot);
    if !broken.is_empty() {
        return refusal("Invalid", broken.join("; "));
    }
    let Some(tag) = &polkadot.spec.client_version else {
        let words = "spec.clientVersion is not set and no upgrade of the fleet file has set it yet; set it, or let an \
                     upgrade select this resource";
        return refusal("Unsupported", words.into());
    };
    let version = ClientVersion::parse(tag);
    let refused = arguments::refusals::refusals(polkadot, &version);
    if refused.is_empty() { Ok(version) } else { refusal("Unsupported", refused.join("; ")) }
}

/// All that a decision about what should exist is made from.
pub struct Basis<'a> {
    /// The resource.
    pub polkadot: &'a Polkadot,
    /// What its cluster's nodes have in common.
    pub settings: &'a Settings,
    /// The node keys.
    pub keys: &'a Keys,
    /// The client whose arguments are rendered; for a tag that moves, what it stands for.
    pub version: ClientVersion,
    /// What is there already and cannot be changed.
    pub inherited: &'a Inherited,
}

/// What an adopted StatefulSet of the old operator (or of an older release) imposes on what should exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Selectors of the StatefulSets that are there: they cannot be changed.
    pub selectors: BTreeMap<Role, Labels>,
    /// Roles with a pod that lacks our instance label: what points at its pods has to do without it as well.
    pub unlabelled: BTreeSet<Role>,
    /// Templates that are kept as they are, with the generation of the resource for which they are: to adopt must not
    /// restart anything. With the next change of the resource, by a person or an upgrade, ours comes and waits for
    /// permission like any other.
    pub templates: BTreeMap<Role, (Value, i64)>,
}

/// Labels, or the labels of a selector.
pub type Labels = BTreeMap<String, String>;

impl Basis<'_> {
    /// The names of the resource's objects.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::of(self.polkadot)
    }

    /// What a role's StatefulSet selects its pods by.
    #[must_use]
    pub fn set_selector(&self, role: Role) -> Labels {
        let own = || selector(&ResourceId::of(self.polkadot), role);
        self.inherited.selectors.get(&role).cloned().unwrap_or_else(own)
    }

    /// What the Service of all nodes selects its pods by.
    #[must_use]
    pub fn nodes_selector(&self) -> Labels {
        let mut labels = instance(&ResourceId::of(self.polkadot));
        if !self.inherited.unlabelled.is_empty() {
            labels.remove(INSTANCE_LABEL);
        }
        labels
    }

    /// What everything else selects a role's pods by.
    #[must_use]
    pub fn pod_selector(&self, role: Role) -> Labels {
        let mut labels = selector(&ResourceId::of(self.polkadot), role);
        if self.inherited.unlabelled.contains(&role) {
            labels.remove(INSTANCE_LABEL);
        }
        labels
    }
}

/// The templates of the roles that the resource's kind has.
#[must_use]
pub fn templates(basis: &Basis<'_>) -> Vec<Template> {
    Role::ALL
        .into_iter()
        .filter(|role| basis.polkadot.spec.kind.has(*role))
        .map(|role| {
            if let Some((body, _)) = basis.inherited.templates.get(&role) {
                return Template { role, hash: String::new(), body: body.clone() };
            }
            let mut body = pod::template(basis, role);
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

/// Labels of a role's pods.
#[must_use]
pub fn selector(id: &ResourceId, role: Role) -> Labels {
    let mut labels = instance(id);
    labels.insert("role".into(), role.as_str().into());
    labels
}

/// Labels of everything that belongs to a resource.
#[must_use]
pub fn instance(id: &ResourceId) -> Labels {
    BTreeMap::from([("app".into(), "polkadot".into()), (INSTANCE_LABEL.into(), id.name.clone())])
}

/// The node key that the resource itself gives a node: only the first of a role can have one.
#[must_use]
pub fn given_key(polkadot: &Polkadot, role: Role, ordinal: i32) -> Option<NodeKey> {
    let text = polkadot.node(role)?.node_key.as_ref();
    text.filter(|_| ordinal == 0).and_then(|text| NodeKey::from_hex(text).ok())
}

#[cfg(test)]
mod tests;
