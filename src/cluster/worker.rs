//! One cluster's worker: connects, watches, reconciles, notices that the cluster is gone, and starts again.
//!
//! A session lasts as long as the cluster answers. When it stops answering, the session ends, its last views stay on
//! the Board as those of an unreachable cluster, and the next session begins with fresh lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, warn};

use crate::clock::Clock;
use crate::fleet::{Cluster, ClusterName};
use crate::leader::fence::fenced;
use crate::leader::keep::{Keeping, keep};
use crate::leader::{Hold, MEMBER_LEASE, State};
use crate::observed::ClusterState;
use crate::polkadot::ResourceId;
use crate::reconcile::observe::Caches;

use super::board::BoardWriter;
use super::connect::Connect;
use super::limits::Limits;
use super::reconciler::{self, Context};
use super::watches::{self, Report, Scope};
use super::{Clients, LeasePlace, Leases, Lent};

/// Answers missed in a row before a cluster counts as unreachable.
const HEARTBEATS_MISSED: u32 = 2;
/// What a stopping worker gives its reconciles to finish.
const DRAIN_BOUND: Duration = Duration::from_secs(20);

/// Numbers the sessions of all workers.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// What a worker is made of.
pub(super) struct Worker {
    pub(super) name: ClusterName,
    pub(super) cluster: watch::Receiver<Arc<Cluster>>,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) board: BoardWriter,
    pub(super) clients: Clients,
    pub(super) clock: Clock,
    pub(super) leases: Leases,
    pub(super) lease: LeasePlace,
    pub(super) hold: Hold,
    pub(super) stop: CancellationToken,
}

/// The tasks of a session; dropped, they end.
#[derive(Default)]
struct Tasks {
    watches: JoinSet<()>,
    controllers: JoinSet<()>,
    lease: JoinSet<()>,
    /// Ends the task that keeps the Lease, which lets it go.
    let_go: CancellationToken,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connect(#[from] super::connect::Error),
    #[error("{}", shortly(.0))]
    NoAnswer(kube::Error),
    #[error("no answer within {0:?}")]
    Silence(Duration),
    #[error("a task of the worker ended: {0}")]
    Crashed(String),
}

impl Ended {
    fn crashed(ended: Result<(), tokio::task::JoinError>) -> Self {
        Self::Crashed(ended.err().map_or_else(|| "early end".into(), |error| error.to_string()))
    }
}

impl Worker {
    /// Runs sessions until stopped.
    pub(super) async fn run(self) {
        let mut attempt = 0;
        self.board.set_state(&self.name, &ClusterState::Connecting);
        loop {
            let mut tasks = Tasks::default();
            let session = self.session(&mut tasks);
            let ended = tokio::select! {
                ended = session => ended,
                () = self.stop.cancelled() => Ok(()),
            };
            self.clients.remove(&self.name);
            let Err(ended) = ended else {
                self.drain(tasks.controllers).await;
                // Last: until here what was begun could be finished.
                tasks.let_go.cancel();
                while tasks.lease.join_next().await.is_some() {}
                return;
            };
            drop(tasks);
            if self.board.set_state(&self.name, &ClusterState::Unreachable(ended.to_string())) {
                warn!(cluster = %self.name, why = %ended, "The cluster is unreachable; other clusters go on.");
                attempt = 0;
            }
            let limits = self.connect.limits();
            let pause = backoff(attempt, limits.first_pause, limits.longest_pause);
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// From a client to the end of the cluster's answers.
    async fn session(&self, tasks: &mut Tasks) -> Result<(), Ended> {
        let cluster = self.cluster.borrow().clone();
        let client = self.connect.connect(&cluster.connection).await?;
        let limits = self.connect.limits();
        is_there(&client, &limits).await?;
        self.board.set_state(&self.name, &ClusterState::Syncing);
        let unfenced = client;
        let client = fenced(unfenced.clone(), &self.hold, MEMBER_LEASE);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let lent = Lent { client: client.clone(), unfenced: unfenced.clone(), session };
        self.clients.insert(self.name.clone(), lent);
        self.keep_lease(&unfenced, tasks);

        let (report, mut reports) = mpsc::channel(16);
        let namespaces: Vec<Option<&str>> = match &cluster.namespaces[..] {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let scopes: Vec<Scope> = namespaces
            .iter()
            .map(|namespace| watches::start(&client, *namespace, &limits, &report, &mut tasks.watches))
            .collect();
        let caches: Vec<Caches> = scopes.iter().map(|scope| scope.caches.clone()).collect();
        let context = Arc::new(Context::new(self, client.clone()));
        for scope in scopes {
            tasks
                .controllers
                .spawn(reconciler::control(scope, Arc::clone(&context), self.stop.clone()).in_current_span());
        }
        self.attend(&client, &context, &caches, &mut reports, tasks).await
    }

    /// Keeps the cluster's Lease, if the daemon that leads is this one.
    fn keep_lease(&self, client: &Client, tasks: &mut Tasks) {
        let keeping = Keeping {
            namespace: self.lease.namespace.clone(),
            name: MEMBER_LEASE,
            me: self.leases.me.clone(),
            duration: self.lease.duration,
        };
        let (hold, wish) = (self.hold.clone(), self.leases.wish.clone());
        let keeping = keep(client.clone(), keeping, hold, wish, tasks.let_go.clone());
        tasks.lease.spawn(keeping.in_current_span());
    }

    /// Keeps the state on the Board true while the session lasts.
    async fn attend(
        &self,
        client: &Client,
        context: &Context,
        caches: &[Caches],
        reports: &mut mpsc::Receiver<Report>,
        tasks: &mut Tasks,
    ) -> Result<(), Ended> {
        let mut failing: BTreeMap<&'static str, (ClusterState, Instant)> = BTreeMap::new();
        let limits = self.connect.limits();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + limits.heartbeat, limits.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut missed = 0;
        let mut held = self.hold.follow();
        loop {
            held.mark_unchanged();
            let lasting =
                failing.values().find(|(_, since)| *since <= Instant::now()).map(|(state, _)| state.clone());
            let state = lasting.unwrap_or_else(|| match self.hold.state() {
                _ if !context.all_seen(caches) => ClusterState::Syncing,
                State::Ours(_) => ClusterState::Ready,
                State::Others(other) => ClusterState::Standby(format!("its Lease is with {other}")),
                State::Unknown => ClusterState::Standby("waiting for its Lease".into()),
            });
            if self.board.set_state(&self.name, &state) {
                info!(cluster = %self.name, %state, "The cluster's state changed.");
            }
            tokio::select! {
                // The stop first: the tasks end with it, and that is no crash.
                biased;
                () = self.stop.cancelled() => return Ok(()),
                report = reports.next() => match report {
                    Some(Report::Works(kind)) => drop(failing.remove(kind)),
                    Some(Report::SetChanged) => self.forget_deleted(context, caches),
                    Some(Report::Failed(kind, error)) => {
                        debug!(cluster = %self.name, kind, %error, "A watch failed and is tried again.");
                        let (state, at_once) = watches::state_after(kind, &error);
                        if !at_once && missed == 0 && failing.is_empty() {
                            heartbeat.reset_after(limits.in_doubt);
                        }
                        let counts = Instant::now() + if at_once { Duration::ZERO } else { limits.watch_grace };
                        let known = failing.entry(kind).or_insert((state.clone(), counts));
                        if at_once {
                            *known = (state, counts);
                        }
                    }
                    None => return Err(Ended::Crashed("all watches ended".into())),
                },
                () = context.reconciled.notified() => {}
                _ = held.changed() => {}
                _ = heartbeat.tick() => match is_there(client, &limits).await {
                    Ok(()) => missed = 0,
                    Err(_) if missed + 1 < HEARTBEATS_MISSED => {
                        missed += 1;
                        heartbeat.reset_after(limits.in_doubt);
                    }
                    Err(ended) => return Err(ended),
                },
                Some(ended) = tasks.watches.join_next() => return Err(Ended::crashed(ended)),
                Some(ended) = tasks.lease.join_next() => return Err(Ended::crashed(ended)),
                Some(ended) = tasks.controllers.join_next() => return Err(Ended::crashed(ended)),
            }
        }
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

    /// Lets running reconciles finish, within a bound.
    async fn drain(&self, mut controllers: JoinSet<()>) {
        let finish = async { while controllers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_BOUND, finish).await.is_err() {
            warn!(cluster = %self.name, "Stopped before every reconcile had finished.");
        }
    }
}

/// Whether the API server answers.
async fn is_there(client: &Client, limits: &Limits) -> Result<(), Ended> {
    match tokio::time::timeout(limits.heartbeat_answer, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Ended::NoAnswer(error)),
        Err(_) => Err(Ended::Silence(limits.heartbeat_answer)),
    }
}

/// The innermost cause: the layers above it say only that something went wrong.
fn shortly(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// An exponential pause with full jitter, so that many clusters that return at once do not come back in step.
pub(super) fn backoff(attempt: u32, first: Duration, longest: Duration) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(longest);
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
