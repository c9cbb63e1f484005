//! The `Polkadot` resource: its words as they stand in a cluster.
//!
//! [`spec`] and [`node`] are what a person writes and [`validate()`] judges, [`read()`] takes it as it is stored,
//! [`status`] is what we report, [`record`] the annotations by which the planner tells a cluster's worker what it
//! decided, [`names`] what the objects of a resource are called. What objects follow from a resource is decided in
//! [`crate::desired`].

pub mod names;
pub mod node;
mod read;
pub mod record;
pub mod spec;
pub mod status;
mod validate;

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt as _, KubeSchema, Resource, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::names::Names;
pub use self::node::{Node, ServiceOptions};
pub use self::read::read;
pub use self::record::{Failed, Grant, Step, Stretch};
pub use self::spec::{
    Kind, MetricsSupport, Persistence, Polkadot, PolkadotSpec, Retention, SecureCommunicationSupport, Sentry,
    Validator,
};
pub use self::status::{Condition, PolkadotStatus};
pub use self::validate::validate;

/// The API group, also the prefix of our labels and annotations.
pub const GROUP: &str = "polkadot.swisscomblockchain.com";

/// The manager under which every field we write is recorded.
pub const FIELD_MANAGER: &str = "polkafleet";

/// On every object and pod of a resource: the resource's name.
pub const INSTANCE_LABEL: &str = "polkadot.swisscomblockchain.com/instance";

/// The `app` label of a pod that only tries a version: any other than that of nodes, by which Services, policies and
/// budgets select.
pub const PREPULL_APP: &str = "polkafleet-prepull";

/// On every pod: the hash of the template it was made from.
pub const TEMPLATE_HASH_ANNOTATION: &str = "polkadot.swisscomblockchain.com/template-hash";

/// On every pod: the peer ID of the role's first node, so that a changed key is a changed template.
pub const PEER_ID_ANNOTATION: &str = "polkadot.swisscomblockchain.com/peer-id";

/// On a Secret with node keys: the Secret and entry that the first one was copied from.
pub const KEY_SOURCE_ANNOTATION: &str = "polkadot.swisscomblockchain.com/node-key-from";

/// On a claim: the version of the client that last used the volume.
pub const LAST_CLIENT_ANNOTATION: &str = "polkadot.swisscomblockchain.com/last-client-version";

/// On a StatefulSet that was taken over: the resource's generation then. Until that changes, its template stays.
pub const ADOPTED_ANNOTATION: &str = "polkadot.swisscomblockchain.com/adopted-at-generation";

/// One of the two parts that a Polkadot node can play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A full node that stands before a validator, or by itself.
    Sentry,
    /// A node that signs blocks: at most one may run with the same keys.
    Validator,
}

impl Role {
    /// Both, in the order in which they are rolled.
    pub const ALL: [Self; 2] = [Self::Sentry, Self::Validator];

    /// The value of the `role` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sentry => "sentry",
            Self::Validator => "validator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The CRD.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = Polkadot::crd();
    // The API server prunes what the schema does not know.
    crd.spec.preserve_unknown_fields = Some(false);
    crd
}

/// A resource's place in its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ResourceId {
    /// The place of a resource that was read from a cluster.
    pub fn of<K: Resource>(resource: &K) -> Self {
        Self { namespace: resource.namespace().unwrap_or_default(), name: resource.name_any() }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Polkadot {
    /// What the resource says of the nodes of `role`; `None` where it says nothing.
    #[must_use]
    pub fn node(&self, role: Role) -> Option<&Node> {
        match role {
            Role::Sentry => self.spec.sentry.as_ref().map(|sentry| &sentry.node),
            Role::Validator => self.spec.validator.as_ref().map(|validator| &validator.node),
        }
    }

    /// The Secret and entry that hold the key of the first node of `role`: `secret/entry`.
    #[must_use]
    pub fn key_source(&self, role: Role) -> Option<String> {
        let node = self.node(role).filter(|node| node.node_key.is_none())?;
        node.node_key_secret_ref.as_ref().map(|from| format!("{}/{}", from.name, from.key))
    }

    /// Whether `role` keeps its data on volumes.
    #[must_use]
    pub fn is_persistent(&self, role: Role) -> bool {
        self.claim(role).is_some()
    }

    /// The claim under which a role keeps its data, where persistence is on.
    #[must_use]
    pub fn claim(&self, role: Role) -> Option<&spec::ClaimTemplate> {
        let persistence = &self.node(role)?.data_persistence_support;
        persistence.persistent_volume_claim.as_ref().filter(|_| persistence.enabled)
    }

    /// Replicas that `role` should have: none where the kind has no such role, and one validator, always.
    #[must_use]
    pub fn replicas(&self, role: Role) -> i32 {
        match role {
            Role::Sentry if self.spec.kind.has(Role::Sentry) => {
                self.spec.sentry.as_ref().map_or(0, |sentry| sentry.replicas.max(0))
            }
            Role::Validator if self.spec.kind.has(Role::Validator) => {
                i32::from(self.spec.validator.is_some())
            }
            _ => 0,
        }
    }
}
