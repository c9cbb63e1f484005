//! One cluster's worker: connects, watches, reconciles, notices that the cluster is gone, and starts again.
//!
//! A session lasts as long as the cluster answers. When it stops answering, the session ends, its last views stay on
//! the Board as those of an unreachable cluster, and the next session begins with fresh lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, warn};

use crate::clock::Clock;
use crate::fleet::{Cluster, ClusterName};
use crate::observed::ClusterState;
use crate::polkadot::ResourceId;
use crate::reconcile::observe::Caches;

use super::Clients;
use super::board::BoardWriter;
use super::connect::{Connect, Connected};
use super::limits::Limits;
use super::reconciler::{self, Context};
use super::trouble::{self, Trouble};
use super::watches::{self, Report, Scope};

/// Answers missed in a row before a cluster counts as unreachable.
const HEARTBEATS_MISSED: u32 = 2;
/// What a stopping worker gives its reconciles to finish.
const DRAIN_BOUND: Duration = Duration::from_secs(20);

/// What a worker is made of.
pub(super) struct Worker {
    pub(super) name: ClusterName,
    pub(super) cluster: watch::Receiver<Arc<Cluster>>,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) board: BoardWriter,
    pub(super) clients: Clients,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    /// When the cluster last answered.
    pub(super) answered: Mutex<Option<Timestamp>>,
}

/// The tasks of a session; dropped, they end.
#[derive(Default)]
struct Tasks {
    watches: JoinSet<()>,
    controllers: JoinSet<()>,
}

/// Why a session ended, and where.
#[derive(Debug)]
struct Ended {
    trouble: Trouble,
    at: String,
}

impl Worker {
    /// Runs sessions until stopped.
    pub(super) async fn run(self) {
        let mut attempt = 0;
        let mut answered = None;
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
                return;
            };
            drop(tasks);
            let since = self.last_answer();
            if since != answered {
                answered = since;
                attempt = 0;
            }
            let state = ended.trouble.state(&ended.at, since);
            if self.board.set_state(&self.name, &state) {
                match &state {
                    ClusterState::Unreachable(outage) => {
                        warn!(cluster = %self.name, why = %outage, "The cluster is unreachable; other clusters go on.");
                    }
                    _ => {
                        warn!(cluster = %self.name, %state, "The cluster cannot be looked after; other clusters go on.")
                    }
                }
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
        let place = trouble::place(&cluster.connection);
        let connected = self.connect.connect(&cluster.connection).await;
        let Connected { client, server } = connected
            .map_err(|error| Ended { trouble: Trouble::Other(error.to_string()), at: place.clone() })?;
        let at = format!("{server} ({place})");
        let limits = self.connect.limits();
        self.is_there(&client, &limits).await.map_err(|trouble| Ended { trouble, at: at.clone() })?;
        self.board.set_state(&self.name, &ClusterState::Syncing);
        self.clients.insert(self.name.clone(), client.clone());

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
        let ended = self.attend(&client, &at, &context, &caches, &mut reports, tasks).await;
        ended.map_err(|trouble| Ended { trouble, at })
    }

    /// Keeps the state on the Board true while the session lasts.
    async fn attend(
        &self,
        client: &Client,
        at: &str,
        context: &Context,
        caches: &[Caches],
        reports: &mut mpsc::Receiver<Report>,
        tasks: &mut Tasks,
    ) -> Result<(), Trouble> {
        let mut failing: BTreeMap<&'static str, (ClusterState, Instant)> = BTreeMap::new();
        let limits = self.connect.limits();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + limits.heartbeat, limits.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            let lasting =
                failing.values().find(|(_, since)| *since <= Instant::now()).map(|(state, _)| state.clone());
            let state = lasting.unwrap_or_else(|| {
                if context.all_seen(caches) { ClusterState::Ready } else { ClusterState::Syncing }
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
                        let (trouble, at_once) = Trouble::of_watch(kind, &error);
                        let state = trouble.state(at, Some(self.clock.now()));
                        if !at_once && missed == 0 && failing.is_empty() {
                            heartbeat.reset_after(limits.in_doubt);
                        }
                        let counts = Instant::now() + if at_once { Duration::ZERO } else { limits.watch_grace };
                        let known = failing.entry(kind).or_insert((state.clone(), counts));
                        if at_once {
                            *known = (state, counts);
                        }
                    }
                    None => return Err(crashed(None)),
                },
                () = context.reconciled.notified() => {}
                _ = heartbeat.tick() => match self.is_there(client, &limits).await {
                    Ok(()) => missed = 0,
                    Err(_) if missed + 1 < HEARTBEATS_MISSED => {
                        missed += 1;
                        heartbeat.reset_after(limits.in_doubt);
                    }
                    Err(ended) => return Err(ended),
                },
                Some(ended) = tasks.watches.join_next() => return Err(crashed(ended.err())),
                Some(ended) = tasks.controllers.join_next() => return Err(crashed(ended.err())),
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

    /// Whether the API server answers. Without the right to ask for its version it is there all the same.
    async fn is_there(&self, client: &Client, limits: &Limits) -> Result<(), Trouble> {
        let asked = tokio::time::timeout(limits.heartbeat_answer, client.apiserver_version()).await;
        let trouble = match asked {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                Some(Trouble::of(&error)).filter(|trouble| !matches!(trouble, Trouble::Forbidden(_)))
            }
            Err(_) => Some(Trouble::Hung(limits.heartbeat_answer)),
        };
        if trouble.is_none() {
            *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
        }
        trouble.map_or(Ok(()), Err)
    }

    fn last_answer(&self) -> Option<Timestamp> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets running reconciles finish, within a bound.
    async fn drain(&self, mut controllers: JoinSet<()>) {
        let finish = async { while controllers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_BOUND, finish).await.is_err() {
            warn!(cluster = %self.name, "Stopped before every reconcile had finished.");
        }
    }
}

fn crashed(error: Option<tokio::task::JoinError>) -> Trouble {
    let why = error.map_or_else(|| "early end".into(), |error| error.to_string());
    Trouble::Other(format!("a task of the worker ended ({why}) and is started again"))
}

/// An exponential pause with full jitter, so that many clusters that return at once do not come back in step.
pub(super) fn backoff(attempt: u32, first: Duration, longest: Duration) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(longest);
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
