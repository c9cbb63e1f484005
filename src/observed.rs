//! What we see: immutable views of clusters, resources and nodes, and the [`Board`] that maps them.
//!
//! Workers make the views; the planner and everything that reports reads a whole Board, one consistent instant.
//! No client, no clock: times in a view were read from the cluster.

pub mod health;
mod prepull;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::ClusterName;
use crate::polkadot::{Failed, Grant, Kind, ResourceId, Role, Step, Stretch};

pub use self::health::{Blocked, NodeHealth, Sample};
pub use self::prepull::{Tried, machines};

/// A node of a cluster: its namespace and its pod's name.
pub type NodeId = (String, String);

/// What the nodes of a cluster said of late; immutable, and apart from the resources, so that who asks nodes and who
/// reconciles resources do not overwrite each other.
pub type Healths = Arc<BTreeMap<NodeId, Arc<NodeHealth>>>;

/// Every cluster that a worker looks after, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// The views; immutable, so that a copy of the Board is one instant.
    pub clusters: BTreeMap<ClusterName, Arc<ClusterView>>,
}

/// One cluster as its worker sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    /// Whether the rest can be trusted to be current.
    pub state: ClusterState,
    /// Whether the cluster was ever listed whole since we started; if not, what it runs is unknown.
    pub seen: bool,
    /// Whether that is only what home remembers of it: how its nodes fare, nobody has seen since we started.
    pub remembered: bool,
    /// What a person should know although the cluster is looked after, such as new credentials that do not work.
    pub concern: Option<String>,
    /// The Polkadot resources; the last ones seen where the cluster is not Ready.
    pub resources: BTreeMap<ResourceId, Arc<ResourceView>>,
    /// What its nodes said of late.
    pub health: Healths,
}

/// Where a worker stands with its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// No answer yet since the start.
    Connecting,
    /// It answers; the first lists are under way.
    Syncing,
    /// Watched, and reconciled unless paused.
    Ready,
    /// It does not answer as it should.
    Unreachable(Outage),
    /// It does not accept our credentials; in words.
    Unauthorized(String),
    /// The `Polkadot` resource is not defined there; and, where it should be installed, why it could not be.
    NoCrd(Option<String>),
    /// We may not do what we have to; with the server's words.
    Forbidden(String),
    /// Watched, and left to another daemon, which holds its Lease.
    Standby(String),
    /// Watched, and its Lease cannot be had; in words.
    NoLease(String),
    /// Its worker ends, or another one follows it: what is in flight is finished, and nothing begins.
    Stopping,
}

impl ClusterState {
    /// Whether everything in it is seen as it is, whoever may write there.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        matches!(self, Self::Ready | Self::Standby(_) | Self::NoLease(_))
    }
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Syncing => f.write_str("syncing"),
            Self::Ready => f.write_str("ready"),
            Self::Unreachable(outage) if outage.since.is_none() => write!(f, "unreachable: {}", outage.why),
            Self::Unreachable(outage) => write!(f, "unreachable {outage}"),
            Self::Unauthorized(why) => write!(f, "unauthorized: {why}"),
            Self::NoCrd(None) => {
                f.write_str(
                "the Polkadot CRD is not installed; kubectl apply --server-side -f deploy/crd.yaml (that is noticed within a \
                 minute)",
            )
            }
            Self::NoCrd(Some(why)) => write!(f, "the Polkadot CRD is not installed, and cannot be: {why}"),
            Self::Standby(why) => write!(f, "standby: {why}"),
            Self::Stopping => f.write_str("stopping: what is in flight there is finished first"),
            Self::NoLease(why) => write!(f, "its Lease cannot be had: {why}"),
            Self::Forbidden(right) => write!(f, "forbidden: {right}; see deploy/rbac.yaml"),
        }
    }
}

/// Why a cluster is unreachable, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it last answered; `None` if it never did since we started, or where that says nothing.
    pub since: Option<Timestamp>,
    /// What is wrong, where, and what to do.
    pub why: String,
}

impl From<&str> for Outage {
    /// Of a cluster that never answered.
    fn from(why: &str) -> Self {
        Self { since: None, why: why.to_owned() }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.since {
            Some(since) => write!(f, "since {since:.0}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// One Polkadot resource and its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// Namespace and name.
    pub id: ResourceId,
    /// The object's identity: a resource deleted and made again is another one.
    pub uid: String,
    /// The version of the object that this view is of: the precondition of every step.
    pub resource_version: String,
    /// The object's labels, which upgrades select on.
    pub labels: BTreeMap<String, String>,
    /// Its kind.
    pub kind: Kind,
    /// The chain its nodes are on; validators of one chain share a budget.
    pub chain: String,
    /// The version the spec asks for.
    pub client_version: Option<String>,
    /// The last step an upgrade took on it.
    pub step: Option<Step>,
    /// The last permission to restart pods.
    pub grant: Option<Grant>,
    /// How it has fared at its version, as far as that is noted on it.
    #[serde(default)]
    pub healthy: Option<Stretch>,
    /// What is noted there of a step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// The planner that wrote to it last, counted by take-overs from silent ones.
    pub epoch: i64,
    /// The roles and the templates they should run.
    pub roles: Vec<RoleView>,
    /// A person's reason to leave it exactly as it is.
    pub held: Option<String>,
    /// Why the worker could not make it so (a name conflict, a lost key), in words.
    pub trouble: Option<String>,
    /// Since when every node has run the wanted template at the wanted version, Ready.
    pub settled_since: Option<Timestamp>,
    /// Whether it was ever settled; until then it is bootstrapping.
    pub ever_settled: bool,
    /// When it was first settled at the version of its spec, after the last step to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Timestamp>,
    /// Whether the validator's keystore outlives its pod; true where there is no validator.
    pub keystore_kept: bool,
    /// Whether the validator talks to its sentries only.
    #[serde(default)]
    pub reserved_only: bool,
    /// How the step's version fared where it was tried before a pod restarts, by machine.
    #[serde(default)]
    pub prepulls: BTreeMap<String, Tried>,
}

/// One role of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleView {
    /// Which.
    pub role: Role,
    /// Hash of the template that its pods should be made from.
    pub hash: String,
    /// Its nodes by ordinal, one for every replica wanted.
    pub nodes: Vec<NodeView>,
    /// Outdated pods lack a volume that the template has: no controller can roll them from the top down, so they are
    /// replaced one by one from ordinal 0 up.
    pub volumes_added: bool,
}

/// One node: a wanted pod, there or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The pod's name.
    pub pod: String,
    /// Its number within the role.
    pub ordinal: i32,
    /// Hash of the template that the pod was made from; `None` without a pod, empty for a pod not made by us.
    pub hash: Option<String>,
    /// The tag of the image that it runs.
    pub version: Option<String>,
    /// Since when the pod has been Ready; `None` while it is not.
    pub ready_since: Option<Timestamp>,
    /// Why it cannot become Ready by waiting.
    pub stuck: Option<Stuck>,
    /// The machine that the pod is on.
    #[serde(default)]
    pub machine: Option<String>,
}

/// Why a node does not come up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// The kubelet's word (`ImagePullBackOff`, …), or the scheduler's (`Unschedulable`).
    pub reason: String,
    /// What that one says of it, where it names the cause.
    pub words: Option<String>,
    /// Since when, where that is known: a pod that fits on no machine may yet, if machines are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// The scheduler's reason for a pod that fits on no machine.
pub const UNSCHEDULABLE: &str = "Unschedulable";

/// Reasons of a kubelet for a container that waiting alone will not start.
const HOPELESS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
];

impl Stuck {
    /// Whether the kubelet gives a reason that waiting alone will not mend.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        HOPELESS.contains(&self.reason.as_str())
    }

    /// What is worth remembering of it: whether waiting helps, and since when not; of a pull, which is tried again and
    /// again, one reason.
    #[must_use]
    pub fn lasting(self) -> Option<Self> {
        let counts = self.is_hopeless() || self.reason == UNSCHEDULABLE;
        let reason = if self.reason == "ErrImagePull" { "ImagePullBackOff".into() } else { self.reason };
        counts.then_some(Self { reason, words: None, since: self.since })
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.words.as_ref().map_or(Ok(()), |words| write!(f, ": {words}"))
    }
}

impl RoleView {
    /// Nodes that do not run the wanted template: a roll is pending for them.
    pub fn outdated(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| node.is_outdated(&self.hash))
    }
}

impl NodeView {
    /// Whether the pod is there and was made from another template.
    #[must_use]
    pub fn is_outdated(&self, wanted: &str) -> bool {
        self.hash.as_deref().is_some_and(|hash| hash != wanted)
    }

    /// Whether it runs on, Ready, until its pod is permitted to restart on the wanted template.
    #[must_use]
    pub fn waits_for_restart(&self, wanted: &str) -> bool {
        self.is_outdated(wanted) && self.ready_since.is_some()
    }

    /// Since when the node has been Ready on the wanted template.
    #[must_use]
    pub fn settled_since(&self, wanted: &str) -> Option<Timestamp> {
        self.ready_since.filter(|_| self.hash.as_deref() == Some(wanted))
    }
}

impl ResourceView {
    /// The role's view, where the kind has it.
    #[must_use]
    pub fn role(&self, role: Role) -> Option<&RoleView> {
        self.roles.iter().find(|view| view.role == role)
    }

    /// Whether some pod waits for permission to restart.
    #[must_use]
    pub fn roll_pending(&self) -> bool {
        self.roles.iter().any(|role| role.outdated().next().is_some())
    }

    /// Whether it has something to lose: it was settled once, or some node of it is Ready now.
    pub fn has_run(&self) -> bool {
        self.ever_settled
            || self.roles.iter().flat_map(|role| &role.nodes).any(|node| node.ready_since.is_some())
    }

    /// The validator's node.
    #[must_use]
    pub fn validator(&self) -> Option<&NodeView> {
        self.role(Role::Validator).and_then(|role| role.nodes.first())
    }
}
