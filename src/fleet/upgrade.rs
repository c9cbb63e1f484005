//! The upgrades of a fleet: plain data.

use jiff::SignedDuration;
use kube::core::{Selector, SelectorExt as _};

use super::Cluster;

/// What a node says of itself is remembered for at least so many times its cluster's `probe.interval`, however quick the pace is
/// meanwhile: what it has to have been for longer, nobody could tell.
pub const ANSWERS_REMEMBERED: i32 = 200;

/// A client version on its way through the fleet.
#[derive(Clone, Debug, PartialEq)]
// Each is a word of the file.
#[allow(clippy::struct_excessive_bools)]
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
    /// When a node counts as healthy.
    pub health: Health,
    /// A version is tried by a short-lived pod on every machine where a pod is to restart for it.
    pub prepull: bool,
}

impl Upgrade {
    /// The stage of a cluster: the first that selects it.
    #[must_use]
    pub fn stage_of(&self, cluster: &Cluster) -> Option<usize> {
        self.stages.iter().position(|stage| stage.clusters.matches(&cluster.labels))
    }

    /// Whether the target is the version of the fast lane.
    #[must_use]
    pub fn is_expedited(&self) -> bool {
        self.expedite.as_ref().is_some_and(|expedite| expedite.version == self.client_version)
    }
}

/// When a node counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Peers that it must have.
    pub min_peers: u32,
    /// Blocks that its best may be behind the best that is known.
    pub max_sync_lag: u32,
    /// Blocks that the finalised one may be behind the best.
    pub max_finality_lag: u32,
    /// How long all this must have held at the target.
    pub stable_for: SignedDuration,
    /// What of a node that cannot be asked.
    pub probe: Probing,
}

/// What counts of a node that cannot be asked for its health, for example where the API server cannot reach pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probing {
    /// It is not healthy, and no step is taken on it.
    #[default]
    Required,
    /// Its pod's readiness.
    Optional,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            min_peers: 3,
            max_sync_lag: 5,
            max_finality_lag: 10,
            stable_for: SignedDuration::from_mins(3),
            probe: Probing::Required,
        }
    }
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
    /// Who approved it at the command line; absent where the file did.
    pub approver: Option<String>,
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
