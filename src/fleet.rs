//! The fleet: which clusters, which settings, which upgrades — validated, immutable, plain data.
//!
//! A [`Fleet`] is made by [`mod@file`] (figment) and [`validate`] (all problems at once); it is compared
//! with its successor by [`diff`] and followed on disk by [`watch`]. Nothing here knows Kubernetes objects or a
//! client: a cluster is a name and the way to connect to it.

pub mod diff;
pub mod file;
pub mod kubeconfig;
pub mod problem;
mod raw;
pub mod remarks;
mod shape;
mod upgrade;
pub mod validate;
pub mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::SignedDuration;
use serde::Serialize;

pub use upgrade::{ANSWERS_REMEMBERED, Count, Expedite, Health, Probing, Stage, Unreachable, Upgrade};

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
    /// The namespace in home for the records that cannot live in the cluster they are about.
    pub home_namespace: String,
    /// The members, in the file's order; names are unique.
    pub clusters: Vec<Cluster>,
    /// Fleet-wide limits on validators.
    pub validators: Validators,
    /// The upgrades, in order: the first whose selector matches a resource owns it.
    pub upgrades: Vec<Upgrade>,
    /// How long a daemon that fell silent keeps its clusters.
    pub lease: SignedDuration,
    /// Where traces go.
    pub telemetry: Telemetry,
    /// Where the status page and the metrics are; `None` is nowhere.
    pub admin: Option<SocketAddr>,
}

impl Fleet {
    /// The member of that name.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| &cluster.name == name)
    }

    /// What the file may say and this version does not do yet, a line for each: nobody should rely on it.
    #[must_use]
    pub fn without_effect(&self) -> Vec<String> {
        let all = [
            (
                self.clusters.len() > 1,
                "validators.guard (strict where it is not given): one validator identity in two clusters is not noticed yet; do \
                 not give two resources one key",
            ),
            (
                self.telemetry.otlp_protocol == OtlpProtocol::Http,
                "telemetry.otlp.protocol: http is not spoken yet; traces are sent by gRPC",
            ),
            (self.telemetry.trace_url.is_some(), "telemetry.traceUrl: nothing links to traces yet"),
            (
                self.admin.is_some(),
                "admin.listen: there is no status page and no metrics yet; nothing listens",
            ),
        ];
        all.into_iter().filter(|(says, _)| *says).map(|(_, line)| line.to_owned()).collect()
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

impl Cluster {
    /// The namespaces that are watched, one by one; `None` is all of them at once.
    #[must_use]
    pub fn scopes(&self) -> Vec<Option<&str>> {
        match &self.namespaces[..] {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }
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
    /// How nodes are asked for their health.
    pub probe: Probe,
    /// Resources of one cluster that may be rolling at once.
    pub max_nodes_in_flight: u32,
    /// Whether the daemon writes the CRD itself.
    pub install_crd: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: "parity/polkadot".into(),
            ports: Ports::default(),
            metrics_from: vec![],
            probe: Probe::default(),
            max_nodes_in_flight: 1,
            install_crd: false,
        }
    }
}

/// An answer is old when so many more were due.
const ANSWERS_MISSED: i32 = 3;

/// How nodes are asked for their health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How often.
    pub interval: SignedDuration,
    /// How long an answer may take; less than the interval.
    pub timeout: SignedDuration,
}

impl Default for Probe {
    fn default() -> Self {
        Self { interval: SignedDuration::from_secs(60), timeout: SignedDuration::from_secs(5) }
    }
}

impl Probe {
    /// An answer that is older than this says nothing of now.
    #[must_use]
    pub fn stale(&self) -> SignedDuration {
        self.interval * ANSWERS_MISSED + self.timeout
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
    /// What is asked before a new validator is started.
    pub guard: Guard,
}

/// What is asked before a new validator is started: it must not run anywhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Not while some cluster of the fleet cannot be seen.
    #[default]
    Strict,
    /// What can be seen suffices.
    Relaxed,
}

/// Where traces go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// An OTLP endpoint, for example `http://127.0.0.1:4317`; `None` exports nothing.
    pub otlp_endpoint: Option<String>,
    /// What is spoken there.
    pub otlp_protocol: OtlpProtocol,
    /// Where a person looks at a trace: an address with `{traceId}` in it.
    pub trace_url: Option<String>,
}

/// The two ways of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// HTTP with protobuf.
    Http,
}
