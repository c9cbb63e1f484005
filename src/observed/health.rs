//! What nodes said when they were asked for their health: plain data, a bounded window for each.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// Answers that are remembered of a node.
pub const WINDOW: usize = 300;
/// So many of them, the last, are remembered as they came; of those before, only as many as show that there was no gap.
const RECENT: usize = 60;

/// A dip shorter than this does not end a healthy stretch (design section 5, anchors).
pub const DIP: SignedDuration = SignedDuration::from_mins(2);

/// One answer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it came.
    pub at: Timestamp,
    /// The version that the node reports of itself: `1.18.0-0d1f2e3c`; answers that say the same share it.
    pub version: Option<Arc<str>>,
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
    /// Remembers an answer, or why there was none, of a node that is asked every `interval`, or more often for a while.
    pub fn note(&mut self, answer: Result<Sample, Blocked>, interval: SignedDuration) {
        match answer {
            Ok(mut sample) => {
                self.blocked = None;
                if let Some(last) = self.samples.back().filter(|last| last.version == sample.version) {
                    sample.version.clone_from(&last.version);
                }
                if self.samples.len() == WINDOW {
                    self.forget_one(interval);
                }
                self.samples.push_back(sample);
            }
            Err(blocked) => self.blocked = Some(blocked),
        }
    }

    /// Makes room: without an answer that stands closest between two others, as long as those are not so far apart that it
    /// would look like a gap; otherwise without the oldest.
    fn forget_one(&mut self, interval: SignedDuration) {
        let between = |index: usize| {
            let (before, after) = (&self.samples[index - 1], &self.samples[index + 1]);
            after.at.duration_since(before.at)
        };
        let earlier = 1..self.samples.len().saturating_sub(RECENT);
        let closest = earlier.map(|index| (between(index), index)).min();
        match closest.filter(|(gap, _)| *gap <= interval * 2) {
            Some((_, index)) => drop(self.samples.remove(index)),
            None => drop(self.samples.pop_front()),
        }
    }

    /// The version it reported last.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.samples.back()?.version.as_deref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(second: i64) -> Sample {
        Sample {
            at: Timestamp::from_second(second).unwrap(),
            version: None,
            best: 0,
            finalized: 0,
            sync_target: None,
            is_major_syncing: false,
            peers: None,
            roles: None,
            started: None,
        }
    }

    #[test]
    fn however_quickly_a_node_is_asked_it_is_remembered_without_a_gap_for_many_times_the_slow_pace() {
        let interval = SignedDuration::from_mins(1);
        let mut health = NodeHealth::default();
        for step in 0..20_000 {
            health.note(Ok(sample(step * 6)), interval);
        }
        let at: Vec<_> = health.samples.iter().map(|sample| sample.at).collect();
        assert_eq!(at.len(), WINDOW);
        let all = at[at.len() - 1].duration_since(at[0]);
        assert!(all >= interval * crate::fleet::ANSWERS_REMEMBERED, "{all:#}");
        let widest = at.windows(2).map(|two| two[1].duration_since(two[0])).max().unwrap();
        assert!(widest <= interval * 2, "{widest:#}");
        let recent = &at[at.len() - RECENT..];
        assert!(recent.windows(2).all(|two| two[1].duration_since(two[0]).as_secs() == 6));
    }
}
