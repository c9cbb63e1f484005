//! The planner's decisions as annotations on a `Polkadot` resource: durable, so that a restart loses nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Role;

/// The annotation that holds a [`Step`].
pub const STEP_ANNOTATION: &str = "polkadot.swisscomblockchain.com/upgrade";
/// The annotation that holds a [`Grant`].
pub const GRANT_ANNOTATION: &str = "polkadot.swisscomblockchain.com/roll";
/// The annotation that carries the upgrade's trace (W3C Trace Context) into the reconciles it causes.
pub const TRACEPARENT_ANNOTATION: &str = "polkadot.swisscomblockchain.com/traceparent";

/// The annotation that counts the planners that took over from a silent one: a write that such a one still had on its way
/// is for another version of the resource, and is refused.
pub const EPOCH_ANNOTATION: &str = "polkadot.swisscomblockchain.com/epoch";

/// The annotation that holds a [`Stretch`].
pub const HEALTH_ANNOTATION: &str = "polkadot.swisscomblockchain.com/healthy";

/// The annotation that holds a [`Failed`].
pub const FAILED_ANNOTATION: &str = "polkadot.swisscomblockchain.com/failed";

/// That the resource did not become healthy after a step, or is so no more. It holds until the resource is healthy, is permitted
/// to restart again, or has another step: whoever deletes the pod that failed mends nothing by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The step's upgrade.
    pub upgrade: String,
    /// The step's version.
    pub target: String,
    /// The step's attempt.
    pub attempt: u32,
    /// Why, as it was when that was found.
    pub why: String,
    /// When that was found; not before what it was permitted last.
    #[serde(default)]
    pub at: Timestamp,
}

impl Failed {
    /// Whether that is what became of this step.
    #[must_use]
    pub fn is_of(&self, step: &Step) -> bool {
        (&self.upgrade, &self.target, self.attempt) == (&step.upgrade, &step.target, step.attempt)
            && self.at >= step.at
    }
}

/// How the resource has fared at a version: a soak and a deadline count from here, whichever daemon looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The version.
    pub version: String,
    /// Since when it has been healthy, where that is not since its pods became Ready; absent while it is sick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it was first seen healthy for long enough after its last permitted restart; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Timestamp>,
    /// When it was first seen not to be so any more; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ill: Option<Timestamp>,
}

/// One step of an upgrade: this resource was given this version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The upgrade's name in the fleet file.
    pub upgrade: String,
    /// The version that was set.
    pub target: String,
    /// Which attempt of the upgrade.
    pub attempt: u32,
    /// The version before; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The highest finalised height of its nodes before; absent where they could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalized: Option<u64>,
    /// Who approved it, where its stage needs that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Whether the version is tried on a machine before the first pod restarts there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prepull: bool,
    /// Why the resource was taken back to the version before, if it was; the step has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// When; the progress deadline counts from here.
    pub at: Timestamp,
}

/// Permission to restart one pod of a role to the template with this hash; those above it had theirs before, or it is
/// broken and goes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The template's hash; any other template is not permitted.
    pub hash: String,
    /// The pod's ordinal.
    pub ordinal: i32,
    /// When.
    pub at: Timestamp,
    /// The pod would not have come up by itself: it got its permission out of turn.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mends: bool,
    /// It was given before, and nobody used it in time, as in a cluster that was paused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // So that serde can call it.
fn is_false(it: &bool) -> bool {
    !it
}

/// Reads a record from annotations. One that does not parse counts as absent: it is not ours to trust.
#[must_use]
pub fn read<T: DeserializeOwned>(annotations: &BTreeMap<String, String>, key: &str) -> Option<T> {
    annotations.get(key).and_then(|text| serde_json::from_str(text).ok())
}
