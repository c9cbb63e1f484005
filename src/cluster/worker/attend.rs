//! What a worker notices while a session lasts: watches that fail and work again, heartbeats, its Lease, other credentials,
//! another server; it keeps the cluster's state on the Board true by that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::cluster::limits::ANSWER_BOUND;
use crate::cluster::reconciler::Context;
use crate::cluster::swap::Exchange;
use crate::cluster::trouble::Trouble;
use crate::cluster::watches::Report;
use crate::leader::State;
use crate::observed::ClusterState;
use crate::polkadot::ResourceId;
use crate::reconcile::observe::Caches;

use super::install::Installing;
use super::{Tasks, Worker};

/// Answers missed in a row before a cluster counts as unreachable.
const HEARTBEATS_MISSED: u32 = 2;
/// Stands beside the kinds that are watched.
const HEARTBEAT: &str = "version";
/// What a session needs to notice and to report.
pub(super) struct Signs {
    /// Where the cluster is, and how it is reached at present.
    pub(super) at: watch::Receiver<String>,
    pub(super) exchange: Exchange,
    pub(super) reports: mpsc::Receiver<Report>,
    /// Rung when the cluster does not accept our credentials.
    pub(super) unauthorized: Arc<Notify>,
    /// Another API server, where the kubeconfig has come to lead to one.
    pub(super) elsewhere: oneshot::Receiver<String>,
    pub(super) renewed: watch::Receiver<u64>,
    /// Lets watches that pause try again at once.
    pub(super) retry: watch::Sender<u64>,
    /// Held until the first lists are complete, or have taken too long.
    pub(super) establishing: Option<OwnedSemaphorePermit>,
}

/// With new credentials: of them nothing is known yet, and what was refused to the old ones says nothing.
fn begin_anew(
    failing: &mut BTreeMap<&'static str, (ClusterState, Instant)>,
    heartbeat: &mut tokio::time::Interval,
) {
    failing.retain(|_, (state, _)| !matches!(state, ClusterState::Unauthorized(_)));
    heartbeat.reset_immediately();
}

impl Worker {
    fn tell(&self, state: &ClusterState) {
        // Those wait for a person.
        use ClusterState::{Forbidden, NoCrd, NoLease, Unauthorized};
        if matches!(state, Unauthorized(_) | Forbidden(_) | NoCrd(_) | NoLease(_)) {
            warn!(cluster = %self.name, %state, "The cluster's state changed.");
        } else {
            info!(cluster = %self.name, %state, "The cluster's state changed.");
        }
    }

    /// Keeps the state on the Board true while the session lasts.
    pub(super) async fn attend(
        &self,
        signs: &mut Signs,
        context: &Context,
        caches: &[Caches],
        tasks: &mut Tasks,
    ) -> Result<(), Trouble> {
        let mut failing: BTreeMap<&'static str, (ClusterState, Instant)> = BTreeMap::new();
        let limits = self.connect.limits();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + limits.heartbeat, limits.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut missed = 0;
        let mut held = self.hold.follow();
        let mut renewals = signs.renewed.clone();
        let mut installing = Installing::at_once();
        let established_by = Instant::now() + ANSWER_BOUND;
        loop {
            held.mark_unchanged();
            let lasting = failing.values().find(|(_, since)| *since <= Instant::now());
            let mut state = lasting.map_or_else(|| self.state(context, caches), |(state, _)| state.clone());
            let installs = matches!(state, ClusterState::NoCrd(_)) && self.may_install();
            if installs {
                state = self.install(&mut installing, signs).await;
            }
            if self.board.set_state(&self.name, &state) {
                self.tell(&state);
            }
            if matches!(state, ClusterState::Unauthorized(_)) {
                signs.unauthorized.notify_one();
            }
            if state != ClusterState::Syncing {
                signs.establishing = None;
            }
            tokio::select! {
                // The stop first: the tasks end with it, and that is no crash.
                biased;
                () = self.stop.cancelled() => return Ok(()),
                report = signs.reports.next() => match report {
                    Some(Report::Works(kind)) => drop(failing.remove(kind)),
                    Some(Report::SetChanged) => self.forget_deleted(context, caches),
                    Some(Report::Failed(kind, error)) => {
                        let first = missed == 0 && failing.is_empty();
                        if self.note_failure(&mut failing, kind, &error, &signs.at.borrow()) && first {
                            heartbeat.reset_after(limits.in_doubt);
                        }
                    }
                    None => return Err(crashed(None)),
                },
                () = context.reconciled.notified() => {}
                _ = held.changed() => {}
                () = tokio::time::sleep_until(installing.again), if installs => {}
                () = tokio::time::sleep_until(established_by), if signs.establishing.is_some() => {
                    signs.establishing = None;
                }
                moved = &mut signs.elsewhere => return Err(moved.map_or_else(|_| crashed(None), Trouble::Moved)),
                Ok(()) = renewals.changed() => begin_anew(&mut failing, &mut heartbeat),
                _ = heartbeat.tick() => match self.is_there(&signs.exchange.inside(), &limits).await {
                    Ok(()) => {
                        missed = 0;
                        failing.remove(HEARTBEAT);
                    }
                    // It is there, and its caches are worth keeping.
                    Err(trouble @ Trouble::Unauthorized(_)) => {
                        missed = 0;
                        failing.insert(HEARTBEAT, (trouble.state(&signs.at.borrow(), None), Instant::now()));
                    }
                    Err(_) if missed + 1 < HEARTBEATS_MISSED => {
                        missed += 1;
                        heartbeat.reset_after(limits.in_doubt);
                    }
                    Err(ended) => return Err(ended),
                },
                Some(ended) = tasks.watches.join_next() => return Err(crashed(ended.err())),
                Some(ended) = tasks.lease.join_next() => return Err(crashed(ended.err())),
                Some(ended) = tasks.controllers.join_next() => return Err(crashed(ended.err())),
            }
        }
    }

    /// Where we stand as long as nothing fails.
    fn state(&self, context: &Context, caches: &[Caches]) -> ClusterState {
        if !context.all_seen(caches) {
            return ClusterState::Syncing;
        }
        match self.hold.state() {
            State::Ours(_) => ClusterState::Ready,
            State::Others(other) => ClusterState::Standby(format!("its Lease is with {other}")),
            State::Failed(why) if why.starts_with("cannot ") => ClusterState::Forbidden(why),
            State::Failed(why) => ClusterState::NoLease(why),
            State::Unknown => ClusterState::Standby("waiting for its Lease".into()),
        }
    }

    /// Notes what a failed watch says of the cluster; returns whether it has to last before it counts.
    fn note_failure(
        &self,
        failing: &mut BTreeMap<&'static str, (ClusterState, Instant)>,
        kind: &'static str,
        error: &kube::runtime::watcher::Error,
        at: &str,
    ) -> bool {
        debug!(cluster = %self.name, kind, %error, "A watch failed and is tried again.");
        let (trouble, at_once) = Trouble::of_watch(kind, error);
        let state = trouble.state(at, Some(self.clock.now()));
        let grace = if at_once { Duration::ZERO } else { self.connect.limits().watch_grace };
        let counts = Instant::now() + grace;
        let known = failing.entry(kind).or_insert((state.clone(), counts));
        if at_once {
            *known = (state, counts);
        }
        !at_once
    }

    /// Takes resources off the Board that are no longer in the cluster.
    fn forget_deleted(&self, context: &Context, caches: &[Caches]) {
        let there: BTreeSet<ResourceId> = caches
            .iter()
            .flat_map(|caches| caches.polkadots.state())
            .map(|found| ResourceId::of(&*found))
            .collect();
        // Before the first list is complete the caches say nothing.
        if context.is_filled(caches) {
            self.board.retain(&self.name, |id| there.contains(id));
        }
    }
}

fn crashed(error: Option<tokio::task::JoinError>) -> Trouble {
    let why = match error {
        // What its panic said may hold a part of an answer.
        Some(error) if error.is_panic() => "it crashed; why, is in the daemon's log",
        _ => "early end",
    };
    Trouble::Other(format!("a task of the worker ended ({why}) and is started again"))
}
