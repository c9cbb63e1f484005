//! The members of the fleet at run time: one worker per cluster, engaged and disengaged as the fleet changes.
//!
//! [`connect`] makes a client ([`exec`] runs its plugin), [`swap`] holds it within [`limits`], [`servers`] knows whose is
//! which, [`renew`] exchanges it, [`worker`] keeps one cluster watched and reconciled ([`supervise`] starts it again, after a
//! [`backoff`]), [`watches`] fills its caches, [`trouble`] names what is wrong, [`rights`] is what a cluster must allow,
//! [`board`] is where workers publish what they see. No worker waits for another; the registry waits for none.

pub mod address;
mod backoff;
pub mod board;
pub mod connect;
mod exec;
pub mod limits;
mod probes;
mod reconciler;
mod renew;
pub mod rights;
mod servers;
mod supervise;
mod swap;
pub mod trouble;
mod watches;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashmap::DashMap;
use kube::Client;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span};

use crate::clock::Clock;
use crate::fleet::{Cluster, ClusterName, Fleet};
use crate::leader::Hold;
use crate::leader::lease::Wish;
use crate::observed::ClusterState;

use self::board::BoardWriter;
use self::connect::Connect;
use self::servers::Servers;

pub use self::renew::Contents as Kubeconfigs;

/// Sessions that list their cluster for the first time at once: fifty clusters that return together come one after the
/// other, and none of them that is dead or slow holds up the next for long.
const ESTABLISHING: usize = 16;

/// The clients of the clusters that are connected, lent to whoever writes the planner's decisions.
pub type Clients = Arc<DashMap<ClusterName, Lent>>;

/// A connected cluster's client.
#[derive(Clone)]
pub struct Lent {
    /// Writes only while the cluster's Lease is ours.
    pub client: Client,
    /// Writes always: for the Leases themselves, and for what is kept in home.
    pub unfenced: Client,
    /// Counts the connections; another one means other credentials, perhaps another server.
    pub session: u64,
}

/// What the workers need to know of the other daemons.
#[derive(Clone)]
pub struct Leases {
    /// Who we are.
    pub me: String,
    /// What is wanted with the Leases of the members.
    pub wish: watch::Receiver<Wish>,
}

/// Follows the fleet: a worker for every member, and none for what is no member.
pub struct Registry {
    connect: Arc<dyn Connect>,
    board: BoardWriter,
    clients: Clients,
    clock: Clock,
    leases: Leases,
    kubeconfigs: Kubeconfigs,
    establishing: Arc<Semaphore>,
    servers: Servers,
    workers: BTreeMap<ClusterName, Engaged>,
    /// Workers that were told to stop and may still be finishing.
    leaving: BTreeMap<ClusterName, JoinHandle<()>>,
}

/// A running worker.
struct Engaged {
    lease: LeasePlace,
    cluster: watch::Sender<Arc<Cluster>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Where the Leases are, and how long they count as held.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeasePlace {
    namespace: String,
    duration: Duration,
}

impl Registry {
    /// A registry without workers.
    #[must_use]
    pub fn new(
        connect: Arc<dyn Connect>,
        board: BoardWriter,
        clients: Clients,
        clock: Clock,
        leases: Leases,
    ) -> Self {
        Self {
            connect,
            board,
            clients,
            clock,
            leases,
            kubeconfigs: watch::channel(BTreeMap::new()).1,
            establishing: Arc::new(Semaphore::new(ESTABLISHING)),
            servers: Servers::default(),
            workers: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// The same, told when a kubeconfig has changed; without it, a worker finds out when its credentials fail.
    #[must_use]
    pub fn with_kubeconfigs(mut self, kubeconfigs: Kubeconfigs) -> Self {
        self.kubeconfigs = kubeconfigs;
        self
    }

    /// Follows `fleet` until `stop`, then stops every worker and waits for it.
    pub async fn follow(mut self, mut fleet: watch::Receiver<Arc<Fleet>>, stop: CancellationToken) {
        loop {
            let current = fleet.borrow_and_update().clone();
            self.engage(&current, &stop);
            tokio::select! {
                () = stop.cancelled() => break,
                changed = fleet.changed() => if changed.is_err() { break },
            }
        }
        for (name, worker) in &self.workers {
            self.stops(name, worker);
        }
        let working = self.workers.into_iter().map(|(name, worker)| (name, worker.task));
        for (name, task) in working.chain(self.leaving) {
            if let Err(failure) = task.await {
                error!(cluster = %name, %failure, "A worker ended badly while stopping.");
            }
        }
    }

    /// Makes the set of workers that of `fleet`: only those whose cluster changed are touched, and only a changed
    /// connection makes a new worker.
    fn engage(&mut self, fleet: &Fleet, stop: &CancellationToken) {
        let duration = fleet.lease.unsigned_abs() / self.connect.limits().lease_divisor;
        let lease = LeasePlace { namespace: fleet.home_namespace.clone(), duration };
        let gone: Vec<_> = self
            .workers
            .iter()
            .filter(|(name, engaged)| {
                fleet
                    .cluster(name)
                    .is_none_or(|cluster| needs_new_worker(cluster, engaged) || engaged.lease != lease)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(engaged) = self.workers.remove(&name) {
                info!(cluster = %name, "Disengaging a cluster.");
                self.stops(&name, &engaged);
                if fleet.cluster(&name).is_none() {
                    self.board.remove(&name);
                }
                self.leaving.insert(name, engaged.task);
            }
        }
        for cluster in &fleet.clusters {
            match self.workers.get(&cluster.name) {
                Some(engaged) => {
                    engaged.cluster.send_if_modified(|current| {
                        let changed = **current != *cluster;
                        *current = Arc::new(cluster.clone());
                        changed
                    });
                }
                None => self.start(cluster, &lease, stop),
            }
        }
    }

    /// A worker finishes what it has begun; what it saw is not looked after from now on.
    fn stops(&self, name: &ClusterName, worker: &Engaged) {
        worker.stop.cancel();
        let state = ClusterState::Stopping;
        if self.board.set_state(name, &state) {
            info!(cluster = %name, %state, "The cluster's state changed.");
        }
    }

    fn start(&mut self, cluster: &Cluster, lease: &LeasePlace, stop: &CancellationToken) {
        info!(cluster = %cluster.name, "Engaging a cluster.");
        let (sender, receiver) = watch::channel(Arc::new(cluster.clone()));
        let stop = stop.child_token();
        let worker = worker::Worker {
            name: cluster.name.clone(),
            cluster: receiver,
            connect: Arc::clone(&self.connect),
            board: self.board.until(stop.clone()),
            clients: Arc::clone(&self.clients),
            clock: self.clock.clone(),
            leases: self.leases.clone(),
            lease: lease.clone(),
            hold: Hold::new(&self.leases.me),
            stop: stop.clone(),
            answered: Mutex::default(),
            no_client: Mutex::default(),
            kubeconfigs: self.kubeconfigs.clone(),
            establishing: Arc::clone(&self.establishing),
            server: Mutex::default(),
            servers: self.servers.clone(),
        };
        let span = info_span!(target: "polkafleet::log", "cluster", name = %cluster.name);
        let before = self.leaving.remove(&cluster.name);
        let run = async move {
            // Two of us in one cluster would take each other's Lease for their own.
            if let Some(before) = before {
                let _ = before.await;
            }
            worker.run().await;
        };
        let task = tokio::spawn(run.instrument(span));
        self.workers
            .insert(cluster.name.clone(), Engaged { lease: lease.clone(), cluster: sender, stop, task });
    }
}

fn needs_new_worker(cluster: &Cluster, engaged: &Engaged) -> bool {
    let current = engaged.cluster.borrow();
    engaged.task.is_finished()
        || current.connection != cluster.connection
        || current.namespaces != cluster.namespaces
}
