//! What a person writes about the nodes of one role, sentries and validators alike.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};

use super::spec::Persistence;
use super::{Deserialize, KubeSchema, Serialize};

/// The nodes of a role.
#[derive(KubeSchema, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The node's name on telemetry: at most 63 characters (31 before v0.9.43), no `.`, `@` or `\`, no URL.
    // The client's own rule: sc-cli, `is_node_name_valid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[^.@\\]+$"))]
    #[x_kube(validation = Rule::new("!self.matches('^https?:')").message("clientName: must not be a URL"))]
    pub client_name: Option<String>,
    /// The first node's key, 64 hex digits. Better keep it in a Secret and name that in `nodeKeySecretRef`; not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub node_key: Option<String>,
    /// The Secret of this namespace that holds the first node's key; without it and `nodeKey`, a key is made. It is read
    /// once: to change a key, name another Secret. A change of its content has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_key_secret_ref: Option<NodeKeySecretRef>,
    /// CPU and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Whether the chain's data (and a validator's keystore) is kept on a volume.
    #[serde(default)]
    pub data_persistence_support: Persistence,
    /// How many blocks' states are kept: `archive`, `archive-canonical` or a number. Fixed when the database is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), regex(pattern = "^(archive|archive-canonical|[1-9][0-9]{0,9})$"))]
    pub pruning: Option<String>,
    /// The kind of database. Fixed when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = "^(auto|rocksdb|paritydb|paritydb-experimental)$"))]
    pub database: Option<String>,
    /// More arguments for the client, `--name` or `--name=value`; those that polkafleet sets itself are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub extra_args: Vec<String>,
    /// Addresses under which others reach the node, as multiaddresses; `$(POD_NAME)` becomes the pod's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256), regex(pattern = r"^(/[^/\s]+)+$")))]
    pub public_addr: Vec<String>,
    /// The role's Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceOptions>,
    /// A Service of its own for every node's peer-to-peer port, so that each can be reached from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2p_services: Option<ServiceOptions>,
    /// Labels of the machines that may run the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the nodes tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Which machines are preferred or required, also in view of other pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// More annotations for the pods; polkafleet's own win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub pod_annotations: BTreeMap<String, String>,
}

/// Where a node's key is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeySecretRef {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its entry: 64 hex digits, as the client's `--node-key-file` takes them.
    #[serde(default = "usual_entry")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How a Service shows itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOptions {
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^(ClusterIP|NodePort|LoadBalancer)$"))]
    pub type_: Option<String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

// Written by hand, so that a key in a resource cannot reach a log by way of `{:?}`.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("client_name", &self.client_name)
            .field("node_key_secret_ref", &self.node_key_secret_ref)
            .field("data_persistence_support", &self.data_persistence_support)
            .finish_non_exhaustive()
    }
}

fn usual_entry() -> String {
    "node-key".into()
}
