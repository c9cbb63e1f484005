//! The fleet: which clusters, which settings, which upgrades — validated, immutable, plain data.
//!
//! A [`Fleet`] is made by [`mod@file`] (raw shape, figment) and [`validate`] (all problems at once); it is compared
//! with its successor by [`diff`] and followed on disk by [`watch`]. Nothing here knows Kubernetes objects or a
//! client: a cluster is a name and the way to connect to it.

pub mod diff;
pub mod file;
pub mod problem;
mod shape;
pub mod validate;
pub mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use kube::core::Selector;
use serde::Serialize;

/// A cluster's unique name in the fleet: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ClusterName(pub String);

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ClusterName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// One validated fleet file. Immutable: an edit makes a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The cluster whose API server must be reachable for any step to be taken.
    pub home: ClusterName,
    /// Where in it, and in every member, our Leases are, and in home what has to outlive a cluster.
    pub home_namespace: String,
    /// How long a daemon that fell silent keeps its clusters.
    pub lease: Duration,
    /// The members, in the file's order; names are unique.
    pub clusters: Vec<Cluster>,
    /// Fleet-wide limits on validators.
    pub validators: Validators,
    /// The upgrades, in order: the first whose selector matches a resource owns it.
    pub upgrades: Vec<Upgrade>,
    /// Where traces go.
    pub telemetry: Telemetry,
}

impl Fleet {
    /// The member of that name.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| &cluster.name == name)
    }
}

/// One member cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Unique in the fleet.
    pub name: ClusterName,
    /// How to reach its API server.
    pub connection: Connection,
    /// Labels that the stages of an upgrade select on.
    pub labels: BTreeMap<String, String>,
    /// The namespaces that are watched; empty means all.
    pub namespaces: Vec<String>,
    /// Watch and report, change nothing.
    pub paused: bool,
    /// A person's word that it will not come back soon: out of order and budget.
    pub lost: bool,
    /// `defaults` with this cluster's overrides.
    pub settings: Settings,
}

/// How to reach a cluster's API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A context of a kubeconfig.
    Kubeconfig {
        /// The file; `None` means `$KUBECONFIG`, then `~/.kube/config`.
        path: Option<PathBuf>,
        /// The context in it.
        context: String,
    },
    /// The service account of the pod that we run in.
    InCluster,
}

/// What the nodes of a cluster have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The client's image without a tag, for example `parity/polkadot`.
    pub image: String,
    /// Ports of the client and of its Services.
    pub ports: Ports,
    /// CIDRs that may reach a validator's metrics port through its NetworkPolicy; empty means any.
    pub metrics_from: Vec<String>,
    /// Resources of one cluster that may be rolling at once.
    pub max_nodes_in_flight: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: "parity/polkadot".into(),
            ports: Ports::default(),
            metrics_from: vec![],
            max_nodes_in_flight: 1,
        }
    }
}

/// The old operator's four ports, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Peer to peer (its `P2P_PORT`).
    pub p2p: u16,
    /// The Service's HTTP-RPC port (its `RPC_PORT`). Clients from 0.9.43 on serve HTTP on the WebSocket port,
    /// to which the Service sends it.
    pub rpc: u16,
    /// WebSocket RPC (its `WS_PORT`).
    pub ws: u16,
    /// Prometheus metrics (its `METRICS_PORT`).
    pub metrics: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { p2p: 30333, rpc: 9933, ws: 9944, metrics: 9615 }
    }
}

/// Fleet-wide limits on validators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators {
    /// Validators of one chain that may be unavailable at once, over the whole fleet, whatever the cause.
    pub max_unavailable: u32,
}

/// A client version on its way through the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Upgrade {
    /// Unique in the file.
    pub name: String,
    /// The target: an image tag, never a floating one.
    pub client_version: String,
    /// Which Polkadot resources, by their labels.
    pub selector: Selector,
    /// Raising it tries again what failed.
    pub attempt: u32,
    /// Starts nothing while true; what is in flight finishes.
    pub paused: bool,
    /// A person's word that an older version than the running one is wanted.
    pub allow_downgrade: bool,
    /// May restart validators that keep no keystore on a volume.
    pub allow_ephemeral: bool,
    /// No soak and no approval, for exactly this version.
    pub expedite: Option<Expedite>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// Failed resources tolerated; one more halts the upgrade.
    pub max_failures: Count,
    /// How long a resource may take from its step to healthy.
    pub progress_deadline: SignedDuration,
    /// What an unreachable cluster does to the stage it is in.
    pub unreachable: Unreachable,
    /// How long a node must have been Ready at the target before it counts as healthy.
    pub stable_for: SignedDuration,
}

/// The fast lane for a security release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expedite {
    /// The version it is for; any other version is not expedited.
    pub version: String,
    /// Why, for the record.
    pub reason: String,
}

/// A group of clusters that are upgraded together.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Unique in the upgrade.
    pub name: String,
    /// Which clusters, by their labels. A cluster in two stages belongs to the first.
    pub clusters: Selector,
    /// May be empty; otherwise an empty stage holds the upgrade.
    pub optional: bool,
    /// Clusters of the stage in flight at once.
    pub max_concurrent: Count,
    /// How long the whole stage must have been healthy before the next one starts.
    pub soak: SignedDuration,
    /// A person has to approve the exact version first.
    pub approval_required: bool,
    /// The version that was approved.
    pub approved_version: Option<String>,
}

/// A number of things, or a share of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly so many.
    Number(u32),
    /// So many of a hundred, rounded down.
    Percent(u32),
}

impl Count {
    /// The count out of `total`, rounded down; may be 0.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Number(number) => number as usize,
            Self::Percent(percent) => total * percent as usize / 100,
        }
    }
}

/// What an unreachable cluster does to the stage it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The stage waits for it.
    Wait,
    /// The stage goes on; the cluster is caught up when it returns.
    Skip,
}

/// Where traces go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// An OTLP endpoint over gRPC, for example `http://127.0.0.1:4317`; `None` exports nothing.
    pub otlp_endpoint: Option<String>,
}
