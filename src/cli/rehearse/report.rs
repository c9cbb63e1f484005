//! What a rehearsal has to say, for people and for programs. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::played::are_the_same;
use crate::cli::counted;
use crate::cli::plan::{empty_stages, in_words, waiting, waits, wave_in_words};
use crate::upgrade::waves::Wave;
use crate::upgrade::{Plan, progress};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every upgrade has passed.
    Passed,
    /// Something failed, and why.
    Halted(String),
    /// Nothing moves any more.
    Stuck,
}

/// What is told before anything else: who plays.
pub(super) fn opening(clusters: usize, resources: usize) -> String {
    let clusters = counted(clusters, "simulated cluster");
    let resources = counted(resources, "resource");
    format!("REHEARSAL: {clusters}, {resources}, no real one is changed\n")
}

/// What is told before the first step: what a person should know of how it was set up.
pub(super) fn set_up(remarks: &[String]) -> String {
    let mut text = String::new();
    for remark in remarks {
        let _ = writeln!(text, "  {remark}");
    }
    text
}

/// A wave as it happened, by its index.
pub(super) fn happened(index: usize, wave: &Wave) -> String {
    wave_in_words(index + 1, wave, &format!("after {}", in_words(wave.after_seconds)))
}

/// All of it.
pub(super) struct Report {
    pub(super) clusters: usize,
    pub(super) resources: usize,
    /// What a person should know of how it was set up.
    pub(super) remarks: Vec<String>,
    /// What was to fail, as it was asked for.
    pub(super) faults: Vec<String>,
    /// Whether every cluster could be read, if that was asked for.
    pub(super) complete: bool,
    pub(super) waves: Vec<Wave>,
    /// The waves that `plan` names for the fleet as it was before the first step.
    pub(super) predicted: Vec<Wave>,
    /// The fleet time that it took.
    pub(super) seconds: i64,
    pub(super) end: End,
    /// Pods that do not run, and the last that they wrote.
    pub(super) troubles: Vec<String>,
    /// The last plan.
    pub(super) plan: Plan,
}

impl Report {
    /// Whether all is well.
    pub(super) fn is_well(&self) -> bool {
        self.complete && self.end == End::Passed
    }

    pub(super) fn as_value(&self) -> Value {
        let stuck = self.unfinished();
        let (outcome, why) = match &self.end {
            End::Passed => ("passed", None),
            End::Halted(why) => ("halted", Some(why)),
            End::Stuck => ("stuck", Some(&stuck)),
        };
        json!({
            "outcome": outcome, "why": why, "complete": self.complete, "seconds": self.seconds,
            "clusters": self.clusters, "resources": self.resources, "remarks": self.remarks, "faults": self.faults,
            "waves": self.waves, "predicted": self.predicted, "asPlanned": are_the_same(&self.waves, &self.predicted),
            "troubles": self.troubles, "waits": waits(&self.plan.waits), "progress": self.plan.progress,
        })
    }

    /// What has not been told while it was played: the waves from the one of this index on, and how it ended.
    pub(super) fn rest(&self, told: usize) -> String {
        let mut text = String::new();
        if self.waves.is_empty() {
            text.push_str("No upgrade took a step.\n");
        }
        for (number, wave) in self.waves.iter().enumerate().skip(told) {
            text.push_str(&happened(number, wave));
        }
        text.push_str(&self.ending());
        text.push_str(self.comparison());
        text
    }

    fn ending(&self) -> String {
        let faults = match &self.faults[..] {
            [] => String::new(),
            faults => format!(", with {}", faults.join(", ")),
        };
        let time = in_words(self.seconds);
        let mut text = match &self.end {
            End::Passed => format!("PASSED in {time} of the fleet's time{faults}.\n"),
            End::Halted(why) => format!("HALTED after {time} of the fleet's time{faults}: {why}\n"),
            End::Stuck => {
                let unfinished = self.unfinished();
                format!(
                    "STUCK after {time} of the fleet's time{faults}: nothing moves any more; {unfinished}\n"
                )
            }
        };
        if self.end != End::Passed {
            for line in &self.troubles {
                let _ = writeln!(text, "{line}");
            }
        }
        text.push_str(&empty_stages(&self.plan));
        text.push_str(&waiting(&self.plan.waits));
        if !self.complete {
            text.push_str(
                "NOT THE WHOLE FLEET: some clusters or resources could not be read; they are named above.\n",
            );
        }
        text
    }

    /// What has not passed, and how far that is.
    fn unfinished(&self) -> String {
        let all = self.plan.progress.iter();
        let words: Vec<String> = all
            .filter_map(|one| Some(format!("upgrade {}: {}", one.upgrade, progress::in_words(one)?)))
            .collect();
        words.join("; ")
    }

    fn comparison(&self) -> &'static str {
        if !self.complete {
            return "They are not compared with those of plan, which sees another fleet.\n";
        }
        match (are_the_same(&self.waves, &self.predicted), &self.end) {
            (true, _) => "These are the waves that plan names.\n",
            (false, End::Passed) => {
                "These are not the waves that plan names, which takes every node to be up at once: compare with -o json.\n"
            }
            (false, _) => "These are not all the waves that plan names.\n",
        }
    }
}
