//! What people decided at the command line: approvals, pauses and retries, with who and why. Pure.
//!
//! They add to what the fleet file says and never take away: a pause of either holds, an approval of either counts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;

use super::record::readable;

/// All decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Control {
    /// By upgrade, then stage: the version that may go there.
    pub approvals: BTreeMap<String, BTreeMap<String, Decision>>,
    /// By upgrade: it starts nothing.
    pub pauses: BTreeMap<String, Decision>,
    /// By upgrade: the attempt that is wanted, if the file's is lower.
    pub attempts: BTreeMap<String, Attempt>,
    /// What was decided, oldest first: also what does not hold any more.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    pub made: Vec<Made>,
    /// What is written there cannot be read: it may have been a pause.
    #[serde(skip)]
    pub is_unreadable: bool,
}

/// So many decisions are kept that were made.
const NEWEST: usize = 100;
/// More letters of a reason are not kept there.
const LONGEST_REASON: usize = 400;

/// A decision that was made, for the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// What was done.
    pub what: Did,
    /// To which upgrade.
    pub upgrade: String,
    /// To which of its stages, if to one.
    #[serde(default)]
    pub stage: Option<String>,
    /// Which attempt was asked for, if one was.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// For which target, by whom, when and why.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Did {
    /// A stage may begin.
    Approved,
    /// Nothing new begins.
    Paused,
    /// It goes on.
    Resumed,
    /// What failed is tried again.
    Retried,
}

/// One decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decision {
    /// The target that it is about; a pause is about any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The Kubernetes user.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in the user's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// The attempt.
    pub number: u32,
    /// For this target, by whom, when and why.
    #[serde(flatten)]
    pub decision: Decision,
}

impl Control {
    /// Stands in for decisions that nobody can read.
    #[must_use]
    pub fn unreadable() -> Self {
        Self { is_unreadable: true, ..Self::default() }
    }

    /// Notes what was decided; what came long before is forgotten.
    pub fn note(&mut self, mut made: Made) {
        made.decision.reason = made.decision.reason.chars().take(LONGEST_REASON).collect();
        self.made.push(made);
        self.made.drain(..self.made.len().saturating_sub(NEWEST));
    }

    /// The fleet with the decisions in it.
    #[must_use]
    pub fn applied_to(&self, fleet: &Fleet) -> Fleet {
        let mut fleet = fleet.clone();
        for upgrade in &mut fleet.upgrades {
            let target = Some(&upgrade.client_version);
            if self.is_unreadable || self.pauses.contains_key(&upgrade.name) {
                upgrade.paused = true;
            }
            if let Some(attempt) = self.attempts.get(&upgrade.name)
                && attempt.decision.version.as_ref() == target
            {
                upgrade.attempt = upgrade.attempt.max(attempt.number);
            }
            let approved = self.approvals.get(&upgrade.name);
            for stage in &mut upgrade.stages {
                let decision = approved.and_then(|stages| stages.get(&stage.name));
                if let Some(decision) = decision.filter(|decision| decision.version.as_ref() == target) {
                    stage.approved_version = Some(upgrade.client_version.clone());
                    stage.approver = Some(decision.by.clone());
                }
            }
        }
        fleet
    }
}
