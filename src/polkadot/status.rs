//! What we report in a `Polkadot` resource's status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Role;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Every owned object is as it should be and every pod is Ready.
pub const READY: &str = "Ready";
/// Something is on its way that will come by waiting.
pub const PROGRESSING: &str = "Progressing";
/// The same for kstatus and its kin, which do not know the word above; there only while it holds.
pub const RECONCILING: &str = "Reconciling";
/// Something that worked does not, or waiting will not mend it.
pub const DEGRADED: &str = "Degraded";
/// A person is needed; the type that kstatus knows.
pub const STALLED: &str = "Stalled";
/// A template waits behind the partition for permission to restart pods.
pub const ROLL_PENDING: &str = "RollPending";

/// The state we found, written only when it changes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolkadotStatus {
    /// The generation of the resource that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Progressing`, `Degraded` and `RollPending`; others only while they hold.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The version that every node runs; absent while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The nodes, by pod.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// Sentries with a pod, for the scale subresource.
    #[serde(default)]
    pub sentry_replicas: i32,
    /// What selects the sentries' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentry_selector: Option<String>,
    /// Since when the whole resource has been as it should be; the soak of an upgrade counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// When the resource was settled for the first time; until then it is bootstrapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_settled: Option<Time>,
    /// When the resource was first settled at the version of its spec, after the last step to it: what restarts later does
    /// so for another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
}

/// A version that every node came up with.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The version.
    pub version: String,
    /// When that was seen.
    pub at: Time,
}

/// One node of the resource.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its pod.
    pub pod: String,
    /// Its part.
    pub role: Role,
    /// The image tag that it runs; absent while no pod is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its peer ID on the network.
    #[serde(rename = "peerID", skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
}

/// A stretch of time in which every node ran the wanted version, Ready.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// The version it is about.
    pub version: String,
    /// Its start.
    pub since: Time,
    /// When it was interrupted; a dip of under two minutes does not end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<Time>,
}
