//! The writing of records: what a step in a member depends on is in home before the step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::fleet::{ClusterName, Fleet};
use crate::observed::{Board, ClusterState, ClusterView};
use crate::polkadot::ResourceId;

use super::kept::Kept;
use super::record::{Announcements, Outcome, Outcomes, Remembered};
use super::{ANSWER_BOUND, HomeView};

/// A record that could not be written is tried again after this time.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What records that are being written may take at the end.
const LAST_WRITES_BOUND: Duration = Duration::from_secs(2);

/// Outcomes without their words, which change: of which resource, at which attempt, and whether it failed.
type Briefly = BTreeMap<ResourceId, (u32, bool)>;

fn briefly(outcomes: &BTreeMap<ResourceId, Outcome>) -> Briefly {
    let brief = |outcome: &Outcome| (outcome.step.attempt, outcome.failure.is_some());
    outcomes.iter().map(|(id, outcome)| (id.clone(), brief(outcome))).collect()
}

/// The records: one write at a time for each member.
#[derive(Default)]
pub struct Records {
    /// Whether a view agrees with a version of its record; both are immutable.
    compared: BTreeMap<ClusterName, (Arc<ClusterView>, String, bool)>,
    /// Those under way, to be waited for.
    pub writes: JoinSet<(ClusterName, bool)>,
    under_way: BTreeSet<ClusterName>,
    /// Outcomes that were just written down: what a record has no room to tell is not written again and again.
    written: BTreeMap<ClusterName, Briefly>,
    /// When to try again what failed.
    retry: BTreeMap<ClusterName, Instant>,
}

impl Records {
    /// Members that are seen whole and of which home knows all that a step depends on.
    pub fn compare(&mut self, kept: &Kept, fleet: &Fleet, board: &Board) -> BTreeSet<ClusterName> {
        let records = kept.records();
        let mut recorded = BTreeSet::new();
        self.compared.retain(|name, _| fleet.cluster(name).is_some());
        for cluster in &fleet.clusters {
            let name = &cluster.name;
            let (Some(view), Some(known)) = (board.clusters.get(name), records.get(name)) else { continue };
            if view.state != ClusterState::Ready {
                continue;
            }
            let before = self.compared.get(name);
            let agrees = match before {
                Some((seen, version, agrees)) if Arc::ptr_eq(seen, view) && *version == known.version => {
                    *agrees
                }
                _ => known.record.agrees_with(view),
            };
            self.compared.insert(name.clone(), (Arc::clone(view), known.version.clone(), agrees));
            if agrees {
                recorded.insert(name.clone());
            }
        }
        recorded
    }

    /// Writes the records of members that are seen whole and are not as home remembers them, or where steps are wanted, or
    /// something has become of one, of which home does not know.
    pub fn keep(
        &mut self,
        kept: &Arc<Kept>,
        (fleet, board, view): (&Fleet, &Board, &HomeView),
        (wanted, outcomes): (&Announcements, &Outcomes),
        now: Timestamp,
    ) {
        let moment = Instant::now();
        self.retry.retain(|_, at| moment < *at);
        self.written.retain(|name, _| fleet.cluster(name).is_some());
        let nothing = BTreeMap::new();
        for cluster in &fleet.clusters {
            let name = &cluster.name;
            let Some(seen) = board.clusters.get(name).filter(|view| view.state == ClusterState::Ready) else {
                continue;
            };
            let wanted = wanted.get(name).map_or(&[][..], Vec::as_slice);
            let outcomes = outcomes.get(name).unwrap_or(&nothing);
            let announces = |known: &&Remembered| known.record.announces(seen, wanted, now);
            let known = view.records.get(name).filter(announces);
            let tells = known.is_some_and(|known| known.record.tells(outcomes, now));
            if tells {
                self.written.remove(name);
            }
            let is_told = tells || self.written.get(name) == Some(&briefly(outcomes));
            let is_known = view.recorded.contains(name) && known.is_some() && is_told;
            if is_known || self.retry.contains_key(name) || !self.under_way.insert(name.clone()) {
                continue;
            }
            let (kept, name, seen) = (Arc::clone(kept), name.clone(), Arc::clone(seen));
            let (wanted, outcomes) = (wanted.to_vec(), outcomes.clone());
            self.written.insert(name.clone(), briefly(&outcomes));
            self.writes.spawn(async move {
                let written =
                    tokio::time::timeout(ANSWER_BOUND, kept.remember(&name, &seen, &wanted, &outcomes, now))
                        .await;
                match written {
                    Ok(Ok(())) => return (name, true),
                    // Our cache is behind: the watch brings the newer one.
                    Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                    Ok(Err(error)) => {
                        warn!(cluster = %name, %error, "A member's record could not be written to home.");
                    }
                    Err(_) => {
                        debug!(cluster = %name, "Home did not answer in time; the record is written again.");
                    }
                }
                (name, false)
            });
        }
    }

    /// When something that failed is to be tried again.
    pub fn next_try(&self) -> Option<Instant> {
        self.retry.values().min().copied()
    }

    /// One write is over; `None` where its task broke off.
    pub fn finish(&mut self, written: Option<(ClusterName, bool)>) {
        let Some((name, well)) = written else {
            self.under_way.clear();
            self.written.clear();
            return;
        };
        self.under_way.remove(&name);
        if !well {
            self.written.remove(&name);
            self.retry.insert(name, Instant::now() + AFTER_FAILURE);
        }
    }

    /// Waits for what is being written. A home that hangs must not cost the daemon its orderly end: what a write comes to
    /// then, the next daemon reads.
    pub async fn end(mut self) {
        let written = async { while self.writes.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WRITES_BOUND, written).await.is_err() {
            self.writes.shutdown().await;
        }
    }
}
