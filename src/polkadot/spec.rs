//! What a person writes into a `Polkadot` resource, with the rules that the API server enforces.
//!
//! Every field of the old operator's resource keeps its name and meaning (its README's samples apply unchanged). What
//! sentries and validators have in common is in [`super::node`].
// `KubeSchema` derives a second struct, in which nobody reads `unreadable`. Everything here is public anyway.
#![allow(dead_code)]

use k8s_openapi::api::core::v1::{LocalObjectReference, PersistentVolumeClaimSpec};
use std::collections::BTreeMap;

use super::{CustomResource, Deserialize, JsonSchema, KubeSchema, Node, PolkadotStatus, Role, Serialize};

/// The wanted state of one or two roles of a Polkadot node.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "polkadot.swisscomblockchain.com",
    version = "v1alpha1",
    kind = "Polkadot",
    namespaced,
    status = "PolkadotStatus",
    shortname = "dot",
    category = "all",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.sentry.replicas",
        status_replicas_path = ".status.sentryReplicas",
        label_selector_path = ".status.sentrySelector"
    ),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.clientVersion"),
    printcolumn(name = "Running", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "RollPending",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"RollPending\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("metadata.name: at most 52 characters, because it becomes a label of pods")
)]
#[x_kube(
    validation = Rule::new("self.kind == 'Validator' || has(self.sentry)")
        .message("sentry: required for kind Sentry and SentryAndValidator"),
    validation = Rule::new("self.kind == 'Sentry' || has(self.validator)")
        .message("validator: required for kind Validator and SentryAndValidator"),
    validation = Rule::new("has(self.namePrefix) == has(oldSelf.namePrefix) \
                            && (!has(self.namePrefix) || self.namePrefix == oldSelf.namePrefix)")
        .message("namePrefix: cannot be changed, because every object is named by it; make a new resource instead")
)]
#[serde(rename_all = "camelCase")]
pub struct PolkadotSpec {
    /// Which roles run.
    pub kind: Kind,
    /// The client's version, an image tag; may be left out where an upgrade of the fleet file owns the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub client_version: Option<String>,
    /// The chain's name for the client's `--chain`; left out, the client's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub chain: Option<String>,
    /// Goes before the names of all objects, so that several resources can live in one namespace; cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name_prefix: Option<String>,
    /// A reason to leave the resource exactly as it is: polkafleet creates, changes, restarts and deletes nothing of it. It
    /// does not protect from deleting the resource itself: its pods and objects then go with it (garbage collection).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub hold: Option<String>,
    /// Secrets with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Whether the validator may talk to its own sentries only (kind `SentryAndValidator`).
    #[serde(default)]
    pub secure_communication_support: SecureCommunicationSupport,
    /// Whether the Services carry the metrics port.
    #[serde(default)]
    pub metrics_support: MetricsSupport,
    /// The sentries; required for kinds `Sentry` and `SentryAndValidator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentry: Option<Sentry>,
    /// The validator; required for kinds `Validator` and `SentryAndValidator`. It has one replica, always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<Validator>,
    /// What of the stored resource could not be read, in words, see [`super::read()`]; the rest is then in the other fields.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<String>,
}

/// Which roles a resource runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// Sentries only.
    Sentry,
    /// A validator only.
    Validator,
    /// A validator behind sentries.
    SentryAndValidator,
    /// Anything else, which an older CRD let through: it runs nothing, and the resource is refused in words.
    #[default]
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl Kind {
    /// Whether the kind runs `role`.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        matches!(
            (self, role),
            (Self::SentryAndValidator, _) | (Self::Sentry, Role::Sentry) | (Self::Validator, Role::Validator)
        )
    }
}

/// A `NetworkPolicy` around the validator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecureCommunicationSupport {
    /// On or off.
    pub enabled: bool,
}

/// The metrics port on the Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetricsSupport {
    /// On or off.
    pub enabled: bool,
}

/// The sentries of a resource.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.nodeKey) || !has(self.nodeKeySecretRef)")
    .message("nodeKey: not together with nodeKeySecretRef; remove nodeKey to use the Secret's"))]
#[serde(rename_all = "camelCase")]
pub struct Sentry {
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// The validator's peer ID, `Qm…` or `12D3KooW…`; derived from its key where that is known to us.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "reservedValidatorID")]
    #[schemars(length(max = 64), regex(pattern = "^[1-9A-HJ-NP-Za-km-z]+$"))]
    pub reserved_validator_id: Option<String>,
    /// What sentries and validators have in common.
    #[serde(flatten)]
    pub node: Node,
}

/// The validator of a resource.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.nodeKey) || !has(self.nodeKeySecretRef)")
    .message("nodeKey: not together with nodeKeySecretRef; remove nodeKey to use the Secret's"))]
#[serde(rename_all = "camelCase")]
pub struct Validator {
    /// The first sentry's peer ID, `Qm…` or `12D3KooW…`; derived from its key where that is known to us.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "reservedSentryID")]
    #[schemars(length(max = 64), regex(pattern = "^[1-9A-HJ-NP-Za-km-z]+$"))]
    pub reserved_sentry_id: Option<String>,
    /// Gives the client `--insecure-validator-i-know-what-i-do` (from v1.5.0): it then runs where its workers cannot be
    /// isolated from it, which a malicious parachain block could use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure_validator: bool,
    /// A `PodDisruptionBudget` that lets no drain evict the validator; whoever drains its machine has to wait or to
    /// delete the pod by hand.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pod_disruption_budget: bool,
    /// What sentries and validators have in common.
    #[serde(flatten)]
    pub node: Node,
}

/// Whether data outlives its pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!self.enabled || has(self.persistentVolumeClaim)")
    .message("persistentVolumeClaim: required when dataPersistenceSupport is enabled"))]
#[x_kube(validation = Rule::new("!self.enabled || !has(self.persistentVolumeClaim) || \
    (has(self.persistentVolumeClaim.spec.resources) && has(self.persistentVolumeClaim.spec.resources.requests) && \
    'storage' in self.persistentVolumeClaim.spec.resources.requests)")
    .message("persistentVolumeClaim.spec.resources.requests.storage: required when dataPersistenceSupport is enabled; \
    how large the volume is to be, for example 500Gi"))]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// On: a volume per pod, for which `persistentVolumeClaim` is required. Off: the data goes with the pod.
    #[serde(default)]
    pub enabled: bool,
    /// The claim that every pod gets its own copy of; required when enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimTemplate>,
    /// What becomes of the claims; left out, they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<RetentionPolicy>,
}

/// What becomes of a role's claims, as in a StatefulSet's `persistentVolumeClaimRetentionPolicy`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// When the resource is deleted. `Delete` deletes a validator's session keys with it.
    #[serde(default)]
    pub when_deleted: Retention,
    /// When sentries are scaled away.
    #[serde(default)]
    pub when_scaled: Retention,
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted, and the data with it.
    Delete,
}

/// A claim as it is written under `dataPersistenceSupport`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimTemplate {
    /// Name, labels and annotations of the claim.
    pub metadata: ClaimMetadata,
    /// Size, storage class and access modes.
    pub spec: PersistentVolumeClaimSpec,
}

/// What a person may write into a claim's metadata.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimMetadata {
    /// The first part of the claims' names, before the pod's name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Labels of the claims.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the claims.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests;

fn one() -> i32 {
    1
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}
