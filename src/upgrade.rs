//! Decides which Polkadot resource moves next, and carries the decision into its cluster.
//!
//! [`plan::plan`] is a pure function of the fleet, the Board and the time; it keeps nothing between calls, so a
//! restarted daemon goes on where the last one was. It surveys the fleet ([`survey`]), says where every resource
//! stands ([`standing`]) and what has to be noted of how it fares ([`lapse`]), judges the nodes' health ([`chart`]) and that
//! of whole chains, and lets every candidate pass a list of [`gates`], each of which may veto with a reason. [`rolls`] picks the
//! pod that may restart next; [`waves`] plays the plan forward. A version is tried first where that is wanted ([`prepull`]), and
//! what failed by that is taken back ([`rollback`]); [`progress`] sums up how far an upgrade is. [`execute`] and `write` are
//! the only files here that do I/O: they write steps and grants as annotations, which the cluster's worker makes so. What was
//! written stands in for the view until it has come ([`overlay`]), and what was [`refused`] is not tried all the time. The
//! planner never calls a worker.

mod chains;
pub mod chart;
pub mod execute;
pub mod gates;
mod lapse;
mod overlay;
mod passing;
pub mod plan;
mod prepull;
pub mod progress;
mod refused;
mod rollback;
pub mod rolls;
pub mod standing;
pub mod survey;
pub mod waits;
pub mod waves;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::fleet::ClusterName;
use crate::polkadot::{Failed, Grant, ResourceId, Step, Stretch};

#[cfg(test)]
mod tests;

pub use self::plan::plan;

/// A resource's place in the fleet.
pub type Place = (ClusterName, ResourceId);

/// Resources with a write under way whose answer is not known: they count as in flight and get no other write.
pub type Unsettled = BTreeSet<Place>;

/// What the planner has to respect beside what it sees; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// Resources with a write under way.
    pub unsettled: Unsettled,
    /// Resources whose version is being set, by a step or by taking one back, and of which no newer view has come yet.
    pub to_be_set: Unsettled,
    /// Why nothing may be written at all, if so.
    pub no_steps: Option<gates::Veto>,
    /// Members of which home does not know yet what a successor of ours would have to know.
    pub unrecorded: BTreeSet<ClusterName>,
    /// Resources that refuse to be marked: nothing is written to them, and nothing waits for them.
    pub unmarkable: BTreeSet<Place>,
    /// Resources on which a note was refused a moment ago: it is not tried all the time.
    pub unnotable: BTreeSet<Place>,
    /// Resources with another epoch are marked with this one before a step is taken anywhere.
    pub epoch: i64,
}

/// What to do now, and why everything else waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Writes that may be made now, all of them, in any order.
    pub actions: Vec<Action>,
    /// One reason for every resource that has somewhere to go and does not move.
    pub waits: Vec<Wait>,
    /// How far every upgrade has come.
    pub progress: Vec<Progress>,
    /// What has become of every resource that was given its upgrade's target: healthy, or why it failed; of what is on its
    /// way nothing is known yet.
    pub outcomes: BTreeMap<Place, Option<String>>,
    /// When to look again although nothing happens.
    pub wake: Option<Timestamp>,
}

/// One write to one resource, on condition that it still is what was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Where.
    pub place: Place,
    /// The identity that was seen.
    pub uid: String,
    /// The version that was seen.
    pub resource_version: String,
    /// What.
    pub write: Write,
    /// The step that a permission is given for, if it is.
    pub step: Option<Step>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Another client version, as a step of an upgrade.
    Step(Step),
    /// The version before that step, which has failed with no pod restarted for it.
    Rollback(Step),
    /// Permission to restart a pod.
    Grant(Grant),
    /// The planner that writes now, so that whatever a silent predecessor still had on its way is refused.
    Epoch(i64),
    /// Since when the resource has been healthy, for whoever plans after us.
    Health(Stretch),
    /// That the step has failed, or does so no more: for people.
    Failed(Option<Failed>),
    /// No permission any more: the last one is for a template that is not wanted. It could be wanted again one day.
    Revoke,
}

/// Why a resource does not move.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Where.
    pub place: Place,
    /// The reason in one word.
    pub code: Code,
    /// The reason for a person: what it waits for and what to do.
    pub words: String,
    /// When time alone changes it: a soak is over, a deadline has passed.
    pub until: Option<Timestamp>,
}

/// Reasons to wait, in one word each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[allow(missing_docs)] // Each is explained by the words of the waits that carry it.
pub enum Code {
    HomeUnreachable,
    Standby,
    TakingOver,
    ClockSkew,
    RecordPending,
    ClusterUnreachable,
    ClusterPaused,
    ClusterLost,
    Held,
    NoStage,
    UpgradePaused,
    Trouble,
    Contested,
    Ahead,
    VersionOrderUnknown,
    EphemeralKeystore,
    EarlierStage,
    Approval,
    Halted,
    Failed,
    Width,
    NodesInFlight,
    ValidatorBudget,
    FleetUnknown,
    DowngradeRefused,
    NotHealthyYet,
    NotePending,
    WriteUnderWay,
    ProbeBlocked,
    ChainStalled,
    ChainUnknown,
    Prepull,
}

impl Code {
    /// Whether it passes by itself, soon, and says nothing of what it hides meanwhile.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::HomeUnreachable
                | Self::Standby
                | Self::TakingOver
                | Self::ClockSkew
                | Self::RecordPending
                | Self::WriteUnderWay
                | Self::ClusterUnreachable
        )
    }

    /// Whether only a person can end it.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        matches!(
            self,
            Self::Contested
                | Self::VersionOrderUnknown
                | Self::EphemeralKeystore
                | Self::Failed
                | Self::FleetUnknown
                | Self::DowngradeRefused
        )
    }
}

/// With this begins, in a daemon's words, where an upgrade stands that is halted.
pub const HALTED: &str = "HALTED";

/// How far an upgrade has come.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The upgrade.
    pub upgrade: String,
    /// Its target.
    pub target: String,
    /// Its attempt.
    pub attempt: u32,
    /// Why nothing new starts, if so.
    pub halted: Option<String>,
    /// Why it has nothing to do, if no resource that is seen belongs to it.
    pub owns_nothing: Option<String>,
    /// Its stages, in order.
    pub stages: Vec<StageProgress>,
}

impl Progress {
    /// Whether every stage has passed.
    pub fn is_complete(&self) -> bool {
        self.stages.iter().all(|stage| stage.state == StageState::Passed)
    }
}

/// How far a stage has come, in resources.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageProgress {
    /// The stage.
    pub stage: String,
    /// Where it stands.
    pub state: StageState,
    /// Resources healthy at the target (or ahead of it).
    pub healthy: usize,
    /// Resources on their way.
    pub in_flight: usize,
    /// Resources that failed.
    pub failed: usize,
    /// Resources at a newer version than the target, among the healthy ones.
    pub ahead: usize,
    /// Resources in scope.
    pub total: usize,
}

impl StageProgress {
    /// How far it is, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} FAILED", self.failed) } else { String::new() };
        let ahead =
            if self.ahead > 0 { format!(", {} AHEAD of the target", self.ahead) } else { String::new() };
        match self.state {
            StageState::Empty => self.state.to_string(),
            _ => format!("{}, {} of {} healthy{failed}{ahead}", self.state, self.healthy, self.total),
        }
    }
}

impl std::fmt::Display for StageState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waits for the stage before",
            Self::Next => "has not begun",
            Self::Empty => "EMPTY: it has no resource that counts; label its clusters or resources, or set optional: true",
            Self::Rolling => "rolling",
            Self::Recovering => "not healthy any more",
            Self::Soaking => "soaking",
            Self::Halted => "halted",
            Self::Passed => "passed",
        })
    }
}

/// Where a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum StageState {
    /// It waits for the stages before it.
    Waiting,
    /// Its turn has come, and nothing in it has moved yet.
    Next,
    /// It cannot pass: all its clusters are seen, and there is no resource in it.
    Empty,
    /// Its resources are moving.
    Rolling,
    /// All were healthy; something is not so any more, and nothing of ours moves it.
    Recovering,
    /// All are healthy; the soak has not passed.
    Soaking,
    /// Something in it failed, and nothing new starts; why is in [`Progress::halted`].
    Halted,
    /// The next stage may start.
    Passed,
}
