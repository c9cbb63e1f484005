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

use super::kept::Kept;
use super::record::{Announcements, Failures, Remembered};
use super::{ANSWER_BOUND, HomeView};

/// A record that could not be written is tried again after this time.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What records that are being written may take at the end.
const LAST_WRITES_BOUND: Duration = Duration::from_secs(2);

/// The records: one write at a time for each member.
#[derive(Default)]
pub struct Records {
    /// Whether a view agrees with a version of its record; both are immutable.
    compared: BTreeMap<ClusterName, (Arc<ClusterView>, String, bool)>,
    /// Those under way, to be waited for.
    pub writes: JoinSet<(ClusterName, bool)>,
    under_way: BTreeSet<ClusterName>,
    /// Failures that were written down: a record for whose history there is no room is not written again for them.
    failures: Failures,
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
    /// something failed, of which home does not know.
    pub fn keep(
        &mut self,
        kept: &Arc<Kept>,
        (fleet, board, view): (&Fleet, &Board, &HomeView),
        (wanted, failures): (&Announcements, &Failures),
        now: Timestamp,
    ) {
        let moment = Instant::now();
        self.retry.retain(|_, at| moment < *at);
        for cluster in &fleet.clusters {
            let name = &cluster.name;
            let Some(seen) = board.clusters.get(name).filter(|view| view.state == ClusterState::Ready) else {
                continue;
            };
            let wanted = wanted.get(name).map_or(&[][..], Vec::as_slice);
            let failed = failures.get(name);
            let tells = |known: &Remembered| {
                failed.is_none_or(|failed| known.record.tells(failed)) || self.failures.get(name) == failed
            };
            let announces = |known: &Remembered| known.record.announces(seen, wanted, now) && tells(known);
            let is_known = view.recorded.contains(name) && view.records.get(name).is_some_and(announces);
            if is_known || self.retry.contains_key(name) || !self.under_way.insert(name.clone()) {
                continue;
            }
            let (kept, name, seen) = (Arc::clone(kept), name.clone(), Arc::clone(seen));
            let (wanted, failed) = (wanted.to_vec(), failed.cloned().unwrap_or_default());
            self.failures.insert(name.clone(), failed.clone());
            self.writes.spawn(async move {
                let written =
                    tokio::time::timeout(ANSWER_BOUND, kept.remember(&name, &seen, &wanted, &failed, now))
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
            return;
        };
        self.under_way.remove(&name);
        if !well {
            self.failures.remove(&name);
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
