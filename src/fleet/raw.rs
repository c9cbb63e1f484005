//! The raw shape of the fleet file, from which its JSON Schema is generated. Nobody but [`super::shape`] and
//! [`super::validate`] sees it. Its comments are what an editor shows to who writes a fleet file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod upgrade;

pub(super) use upgrade::{
    RawCount, RawExpedite, RawExpression, RawHealth, RawSelector, RawStage, RawUpgrade,
};

/// `fleet.yaml`, version 1.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawFleet {
    /// The version of the file's format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: Option<u32>,
    /// The cluster that must be reachable for any step to be taken; required with several clusters.
    pub(super) home: Option<String>,
    /// The namespace in home for the few small records that cannot live in the cluster they are about; default
    /// `polkafleet`.
    pub(super) home_namespace: Option<String>,
    /// The members.
    pub(super) clusters: Vec<RawCluster>,
    /// What every cluster has unless its entry says otherwise.
    pub(super) defaults: RawSettings,
    /// Fleet-wide limits on validators.
    pub(super) validators: RawValidators,
    /// Client versions on their way; the first whose selector matches a resource owns it.
    pub(super) upgrades: Vec<RawUpgrade>,
    /// Which of several daemons looks after a cluster.
    pub(super) lease: RawLease,
    /// Where traces go.
    pub(super) telemetry: RawTelemetry,
    /// The status page and the metrics.
    pub(super) admin: RawAdmin,
}

/// A member cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawCluster {
    /// A unique DNS label; default: the context's name.
    pub(super) name: Option<String>,
    /// A context of the kubeconfig; or `inCluster: true`.
    pub(super) context: Option<String>,
    /// Use the service account of the pod that the daemon runs in.
    pub(super) in_cluster: bool,
    /// Default: `$KUBECONFIG`, then `~/.kube/config`; relative to the fleet file.
    pub(super) kubeconfig: Option<String>,
    /// Labels that stages select on.
    pub(super) labels: BTreeMap<String, String>,
    /// The namespaces to watch; default: all.
    pub(super) namespaces: Vec<String>,
    /// Watch and report, change nothing.
    pub(super) paused: bool,
    /// It will not come back soon: out of order and budget.
    pub(super) lost: bool,
    /// Overrides `defaults.image`.
    pub(super) image: Option<String>,
    /// Overrides `defaults.ports`.
    pub(super) ports: RawPorts,
    /// Overrides `defaults.probe`.
    pub(super) probe: RawProbe,
    /// Overrides `defaults.networkPolicy`.
    pub(super) network_policy: RawNetworkPolicy,
    /// Overrides `defaults.maxNodesInFlight`.
    #[schemars(range(min = 1))]
    pub(super) max_nodes_in_flight: Option<u32>,
    /// Overrides `defaults.installCrd`.
    pub(super) install_crd: Option<bool>,
}

/// Settings of a cluster's nodes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawSettings {
    /// The client's image, without a tag.
    pub(super) image: Option<String>,
    /// The client's ports.
    pub(super) ports: RawPorts,
    /// How nodes are asked for their health.
    pub(super) probe: RawProbe,
    /// The wall around validators.
    pub(super) network_policy: RawNetworkPolicy,
    /// Resources of one cluster that may be rolling at once; default 1.
    #[schemars(range(min = 1))]
    pub(super) max_nodes_in_flight: Option<u32>,
    /// Whether the daemon may write the CRD itself, which needs the right to do so; default false.
    pub(super) install_crd: Option<bool>,
}

/// Ports of the client and its Services.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawPorts {
    /// Peer to peer.
    #[schemars(range(min = 1))]
    pub(super) p2p: Option<u16>,
    /// The Service's HTTP-RPC port.
    #[schemars(range(min = 1))]
    pub(super) rpc: Option<u16>,
    /// WebSocket RPC.
    #[schemars(range(min = 1))]
    pub(super) ws: Option<u16>,
    /// Prometheus metrics.
    #[schemars(range(min = 1))]
    pub(super) metrics: Option<u16>,
}

/// How nodes are asked for their health.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawProbe {
    /// How often; default 60s.
    #[schemars(extend("examples" = ["30s", "30m"]))]
    pub(super) interval: Option<String>,
    /// How long an answer may take; default 5s.
    #[schemars(extend("examples" = ["30s", "30m"]))]
    pub(super) timeout: Option<String>,
}

/// The wall around validators.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawNetworkPolicy {
    /// CIDRs that may reach the metrics port; default: any. The API servers must be among them.
    pub(super) metrics_from: Option<Vec<String>>,
}

/// Fleet-wide limits on validators.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawValidators {
    /// Per chain, over the whole fleet, whatever the cause; default 1.
    #[schemars(range(min = 1))]
    pub(super) max_unavailable: Option<u32>,
    /// `strict`, the default: no new validator is started while some cluster of the fleet cannot be seen; or `relaxed`.
    #[schemars(extend("enum" = ["strict", "relaxed"]))]
    pub(super) guard: Option<String>,
}

/// Where traces go.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawTelemetry {
    /// An OTLP receiver.
    pub(super) otlp: Option<RawOtlp>,
    /// Where a person looks at a trace: an address with `{traceId}` in it.
    pub(super) trace_url: Option<String>,
}

/// An OTLP receiver.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawOtlp {
    /// For example `http://127.0.0.1:4317`.
    pub(super) endpoint: String,
    /// `grpc`, the default, or `http`.
    #[schemars(extend("enum" = ["grpc", "http"]))]
    pub(super) protocol: Option<String>,
}

/// Which of several daemons looks after a cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawLease {
    /// How long a daemon that fell silent keeps its clusters, from 3s to 5m; default 15s.
    #[schemars(extend("examples" = ["30s", "30m"]))]
    pub(super) duration: Option<String>,
}

/// The status page and the metrics.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    /// An address and a port, for example `127.0.0.1:9100`; default: none.
    pub(super) listen: Option<String>,
}
