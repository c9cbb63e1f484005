//! One cluster's worker: connects, watches, reconciles, notices that the cluster is gone, and starts again.
//!
//! [`attend`] is what it notices meanwhile. A session lasts as long as the cluster answers. When it stops answering, the
//! session ends, its last views stay on the Board as those of an unreachable cluster, and the next session begins with fresh
//! lists.

mod attend;
mod install;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};

use crate::clock::Clock;
use crate::fleet::{Cluster, ClusterName};
use crate::leader::fence::fenced;
use crate::leader::keep::{Keeping, keep};
use crate::leader::{Hold, MEMBER_LEASE};
use crate::observed::ClusterState;
use crate::reconcile::observe::Caches;

use self::attend::Signs;
use super::backoff::Pauses;
use super::board::BoardWriter;
use super::connect::{Connect, Connected};
use super::limits::Limits;
use super::probes::Probes;
use super::reconciler::{self, Context};
use super::renew::{Contents, Kubeconfig, Renewal};
use super::servers::{Servers, is_same};
use super::swap::Exchange;
use super::trouble::{self, Trouble};
use super::watches::{self, Scope};
use super::{Clients, LeasePlace, Leases, Lent};

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
    /// When the cluster last answered.
    pub(super) answered: Mutex<Option<Timestamp>>,
    /// Why no client could be made last.
    pub(super) no_client: Mutex<String>,
    /// Told when a kubeconfig changes.
    pub(super) kubeconfigs: Contents,
    /// Leave to list a cluster for the first time.
    pub(super) establishing: Arc<Semaphore>,
    /// The API server of the last session.
    pub(super) server: Mutex<Option<String>>,
    /// Those of all workers.
    pub(super) servers: Servers,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.servers.leave(&self.name);
    }
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

impl Tasks {
    /// Ends them all; when this returns, nothing of the session runs any more.
    async fn end(mut self) {
        self.watches.shutdown().await;
        self.controllers.shutdown().await;
        self.lease.shutdown().await;
    }
}

/// Why a session ended, and where.
#[derive(Debug)]
struct Ended {
    trouble: Trouble,
    at: String,
    /// For how long the cluster was looked after.
    lasted: Duration,
}

impl Ended {
    /// Before the cluster could be looked after.
    fn early(trouble: Trouble, at: String) -> Self {
        Self { trouble, at, lasted: Duration::ZERO }
    }
}

impl Worker {
    /// Runs sessions until stopped.
    pub(super) async fn sessions(&self) {
        let mut pauses = Pauses::default();
        let connection = self.cluster.borrow().connection.clone();
        let mut kubeconfig = Kubeconfig::of(&connection, self.kubeconfigs.clone());
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
            tasks.end().await;
            let state = ended.trouble.state(&ended.at, self.last_answer());
            if self.board.set_state(&self.name, &state) {
                match &state {
                    ClusterState::Unreachable(outage) => {
                        warn!(cluster = %self.name, why = %outage, "The cluster is unreachable; other clusters go on.");
                    }
                    _ => {
                        warn!(cluster = %self.name, %state, "The cluster cannot be looked after; other clusters go on.");
                    }
                }
            }
            let pause = pauses.after(ended.lasted, &self.connect.limits());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = kubeconfig.changed() => info!(cluster = %self.name, "The kubeconfig has changed; trying again."),
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// A client of a cluster that answers and is nobody else's, and where that is, for people.
    async fn connected(&self, cluster: &Cluster) -> Result<(Connected, String), Ended> {
        let connected = self.connect.connect(&cluster.connection).await.map_err(|error| {
            self.tell_no_client(&error);
            let trouble = Trouble::NoClient(error.for_others());
            Ended::early(trouble, trouble::place(&cluster.connection))
        })?;
        let at = connected.at(&cluster.connection);
        let ended = |trouble| Ended::early(trouble, at.clone());
        self.is_there(&connected.client, &self.connect.limits()).await.map_err(ended)?;
        // A lost cluster is in nobody's way: another one may have been built in its place.
        let before = if cluster.lost {
            vec![]
        } else {
            self.servers.come(&connected.server, connected.way.as_deref(), &self.name)
        };
        for other in before {
            if is_same(&connected.client, &self.clients, &other, &self.lease.namespace).await {
                self.servers.leave(&self.name);
                return Err(ended(Trouble::Twice(other.to_string())));
            }
        }
        self.comes_to(&connected.server);
        Ok((connected, at))
    }

    /// From a client to the end of the cluster's answers.
    async fn session(&self, tasks: &mut Tasks) -> Result<(), Ended> {
        let cluster = self.cluster.borrow().clone();
        // Before it is read, so that no change is missed.
        let kubeconfig = Kubeconfig::of(&cluster.connection, self.kubeconfigs.clone());
        let (Connected { client, server, valid_until, .. }, at) = self.connected(&cluster).await?;
        let limits = self.connect.limits();
        // Only now: a cluster that is dead takes nobody's place.
        let establishing = Arc::clone(&self.establishing).acquire_owned().await.ok();
        let begun = Instant::now();
        let exchange = Exchange::new(client);
        // What was said of an earlier session's credentials.
        self.board.set_concern(&self.name, None);
        let client = exchange.client(&limits);
        self.board.set_state(&self.name, &ClusterState::Syncing);
        let unfenced = exchange.unlimited();
        let client = fenced(client, &self.hold, MEMBER_LEASE);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let lent = Lent { client: client.clone(), unfenced: unfenced.clone(), session };
        self.clients.insert(self.name.clone(), lent);
        self.keep_lease(&unfenced, tasks);

        let (renewed, renewals) = watch::channel(0);
        let (ways, at) = watch::channel(at);
        let unauthorized = Arc::new(Notify::new());
        let (leaves, elsewhere) = oneshot::channel();
        let renewal = Renewal {
            name: self.name.clone(),
            board: self.board.clone(),
            connection: cluster.connection.clone(),
            connect: Arc::clone(&self.connect),
            exchange: exchange.clone(),
            server,
            at: ways,
            kubeconfig,
            valid_until,
            unauthorized: Arc::clone(&unauthorized),
            renewed: renewed.clone(),
        };
        let renewing = async move {
            let _ = leaves.send(renewal.keep_fresh().await);
            // The session ends by the word, and this with it.
            std::future::pending::<()>().await;
        };
        tasks.watches.spawn(renewing.in_current_span());
        let (report, reports) = mpsc::channel(16);
        let scopes: Vec<Scope> = cluster
            .scopes()
            .iter()
            .map(|namespace| {
                watches::start(&client, *namespace, &limits, &report, &renewals, &mut tasks.watches)
            })
            .collect();
        let caches: Vec<Caches> = scopes.iter().map(|scope| scope.caches.clone()).collect();
        let context = Arc::new(Context::new(self, client.clone()));
        for scope in scopes {
            tasks
                .controllers
                .spawn(reconciler::control(scope, Arc::clone(&context), self.stop.clone()).in_current_span());
        }
        tasks.watches.spawn(self.probes(&client, &context).run(self.stop.clone()).in_current_span());
        let mut signs = Signs {
            at: at.clone(),
            exchange,
            reports,
            unauthorized,
            elsewhere,
            renewed: renewals,
            retry: renewed,
            establishing,
        };
        let ended = self.attend(&mut signs, &context, &caches, tasks).await;
        ended.map_err(|trouble| Ended { trouble, at: at.borrow().clone(), lasted: begun.elapsed() })
    }

    /// A session with `server` begins: a Lease that was held on another one says nothing of this one.
    fn comes_to(&self, server: &str) {
        let mut last = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref().is_some_and(|last| last != server) {
            self.hold.forget();
        }
        *last = Some(server.to_owned());
    }

    /// What asks the cluster's nodes for their health.
    fn probes(&self, client: &Client, context: &Context) -> Probes {
        Probes {
            name: self.name.clone(),
            client: client.clone(),
            cluster: self.cluster.clone(),
            board: self.board.clone(),
            clock: self.clock.clone(),
            came_up: Arc::clone(&context.came_up),
        }
    }

    /// Keeps the cluster's Lease, if the daemon that leads is this one.
    fn keep_lease(&self, client: &Client, tasks: &mut Tasks) {
        let keeping = Keeping {
            namespace: self.lease.namespace.clone(),
            name: MEMBER_LEASE,
            me: self.leases.me.clone(),
            duration: self.lease.duration,
            words: |error| trouble::in_words(error, "the cluster"),
            says: None,
            hears: None,
        };
        let (hold, wish) = (self.hold.clone(), self.leases.wish.clone());
        let keeping = keep(client.clone(), keeping, hold, wish, tasks.let_go.clone());
        tasks.lease.spawn(keeping.in_current_span());
    }

    /// What others are not told, once.
    fn tell_no_client(&self, error: &super::connect::Error) {
        let words = error.to_string();
        let mut told = self.no_client.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != words && words != error.for_others() {
            warn!(cluster = %self.name, error = words, "No client could be made.");
        }
        *told = words;
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

    pub(super) fn last_answer(&self) -> Option<Timestamp> {
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
