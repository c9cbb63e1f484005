//! What nodes said when they were asked for their health: plain data, a bounded window for each.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// Answers that are remembered of a node. At the quick pace of a roll that is half an hour.
pub const WINDOW: usize = 300;

/// A dip shorter than this does not end a healthy stretch (design section 5, anchors).
pub const DIP: SignedDuration = SignedDuration::from_mins(2);

/// One answer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it came.
    pub at: Timestamp,
    /// The version that the node reports of itself: `1.18.0-0d1f2e3c`.
    pub version: Option<String>,
    /// The height of its best block.
    pub best: u64,
    /// The height of its last finalised block.
    pub finalized: u64,
    /// The height of the best block that it has heard of.
    pub sync_target: Option<u64>,
    /// Whether it calls itself far behind.
    pub is_major_syncing: bool,
    /// Its peers.
    pub peers: Option<u64>,
    /// Its roles as a number: 1 a full node, 4 an authority.
    pub roles: Option<u64>,
    /// When its process was started, in Unix seconds; clients before 0.7.29 do not say.
    pub started: Option<u64>,
}

/// What a node has said of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Its answers, oldest first.
    pub samples: VecDeque<Sample>,
    /// The last time it was asked in vain, if that was the last time it was asked.
    pub blocked: Option<Blocked>,
}

/// Why a node could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// When.
    pub at: Timestamp,
    /// In words.
    pub why: String,
}

impl NodeHealth {
    /// Remembers an answer, or why there was none.
    pub fn note(&mut self, answer: Result<Sample, Blocked>) {
        match answer {
            Ok(sample) => {
                self.blocked = None;
                if self.samples.len() == WINDOW {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
            Err(blocked) => self.blocked = Some(blocked),
        }
    }

    /// The version it reported last.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.samples.back()?.version.as_deref()
    }
}
