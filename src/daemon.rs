//! The composition root: starts the parts, waits for the end, and stops them in order.
//!
//! Data goes round one ring. The fleet file is followed by the registry (which engages a worker per cluster) and by the
//! planner; the planner's decisions are writes on resources in their clusters; workers make them so and publish what
//! they see to the Board; the planner reads the Board.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::cluster::board::BoardWriter;
use crate::cluster::connect::Connect;
use crate::cluster::{Clients, Leases, Registry};
use crate::fleet::Fleet;
use crate::fleet::file::Sources;
use crate::fleet::watch::{self as files, Credentials, follow};
use crate::home::HomeView;
use crate::home::agreement::Agreement;
use crate::home::lead::Lead;
use crate::home::said::Standings;
use crate::leader::Hold;
use crate::leader::lease::Wish;
use crate::observed::Board;
use crate::upgrade::execute::Reach;
use crate::upgrade::{Plan, execute};

/// What is in flight in the clusters gets this long of it.
const TASKS_BOUND: Duration = Duration::from_secs(15);
/// What is in flight gets this long to finish after the first signal.
const DRAIN_BOUND: Duration = Duration::from_secs(25);

/// A running daemon: its parts, and what may be looked at from outside.
pub struct Daemon {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when a part has ended, as at a stop, or by a fault of ours.
    died: CancellationToken,
    /// Who plans goes last: until then no other daemon may begin.
    lead: TaskTracker,
    let_go: CancellationToken,
    /// The name by which other daemons know it: the holder of its Leases.
    pub name: String,
    /// The fleet in force.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// What the workers see.
    pub board: watch::Receiver<Arc<Board>>,
    /// What the planner makes of it.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// What home says.
    pub home: watch::Receiver<Arc<HomeView>>,
    /// Edits that it does not follow, and why.
    pub refused: watch::Receiver<Vec<String>>,
}

impl Daemon {
    /// Starts every part; they run until [`Daemon::stop`].
    pub fn start(fleet: Fleet, sources: Sources, connect: Arc<dyn Connect>, clock: &Clock) -> Self {
        let (credentials, kubeconfigs) = watch::channel(files::credentials(&fleet));
        let (fleet, followed) = watch::channel(Arc::new(fleet));
        let (refused, told) = watch::channel(vec![]);
        let daemon = Self::start_with((followed, kubeconfigs, told), connect, clock);
        let (died, stop) = (daemon.died.clone(), daemon.stop.clone());
        daemon.tasks.spawn(vital("fleet file", died, follow(sources, fleet, credentials, refused, stop)));
        daemon
    }

    /// The same on a fleet that somebody else changes, and no file: who holds the other ends.
    pub fn start_on(
        followed: watch::Receiver<Arc<Fleet>>,
        kubeconfigs: watch::Receiver<Credentials>,
        connect: Arc<dyn Connect>,
        clock: &Clock,
    ) -> Self {
        let (_, refused) = watch::channel(vec![]);
        Self::start_with((followed, kubeconfigs, refused), connect, clock)
    }

    fn start_with(
        (followed, kubeconfigs, refused): (
            watch::Receiver<Arc<Fleet>>,
            watch::Receiver<Credentials>,
            watch::Receiver<Vec<String>>,
        ),
        connect: Arc<dyn Connect>,
        clock: &Clock,
    ) -> Self {
        let stop = CancellationToken::new();
        let (writer, board) = BoardWriter::new();
        let clients = Clients::default();
        let (made, plans) = watch::channel(Arc::new(Plan::default()));

        let tasks = TaskTracker::new();
        let (wishes, wish) = watch::channel(Wish::default());
        let (views, home) = watch::channel(Arc::new(HomeView::unseen()));
        let me = identity();
        let hold = Hold::new(&me);
        announce(&me, &followed.borrow());
        let (announcing, announced) = watch::channel(Arc::default());
        let (standing, standings) = watch::channel(Standings::default());
        let lead = Lead {
            fleet: followed.clone(),
            board: board.clone(),
            announced,
            standings,
            refused: refused.clone(),
            clients: Arc::clone(&clients),
            clock: clock.clone(),
            me: me.clone(),
            hold: hold.clone(),
            limits: connect.limits(),
            agreement: Agreement::default(),
            ending: stop.clone(),
        };
        let (let_go, died) = (CancellationToken::new(), CancellationToken::new());
        let leading = TaskTracker::new();
        leading.spawn(vital("leading", died.clone(), lead.run(views, wishes, let_go.clone())));
        leading.close();
        let leases = Leases { me: me.clone(), wish };
        let registry = Registry::new(connect, writer, Arc::clone(&clients), clock.clone(), leases)
            .with_kubeconfigs(kubeconfigs);
        tasks.spawn(vital("registry", died.clone(), registry.follow(followed.clone(), stop.clone())));
        let fleet = followed.clone();
        let inputs = (followed, board.clone(), home.clone());
        let reach = Reach { clients, hold };
        tasks.spawn(vital(
            "planner",
            died.clone(),
            execute::run(inputs, reach, clock.clone(), (made, announcing, standing), stop.clone()),
        ));
        tasks.close();
        Self { name: me, tasks, stop, died, lead: leading, let_go, fleet, board, plans, home, refused }
    }

    /// Stops every part; returns when all have finished what was in flight.
    pub async fn stop(&self) {
        self.stop.cancel();
        // A cluster that hangs must not cost the others the hand-over.
        let finished = tokio::time::timeout(TASKS_BOUND, self.tasks.wait()).await.is_ok();
        if !finished {
            warn!("Some cluster did not finish in time; its Lease runs out by itself.");
        }
        self.let_go.cancel();
        self.lead.wait().await;
    }
}

fn announce(daemon: &str, fleet: &Fleet) {
    let (clusters, upgrades) = (fleet.clusters.len(), fleet.upgrades.len());
    info!(daemon, clusters, upgrades, home = %fleet.home, "Starting.");
}

/// Runs a part without which the others must not go on: its end, also by a panic, is told.
async fn vital(part: &'static str, died: CancellationToken, run: impl Future<Output = ()>) {
    let _told = died.drop_guard();
    run.await;
    debug!(part, "A part of the daemon has ended.");
}

/// A name that no other daemon has, nor this one after a restart: what an earlier one left has to run out.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("polkafleet");
    format!("{host}_{:08x}", rand::random::<u32>())
}

/// Runs until SIGTERM or SIGINT; with a second signal it waits for nothing more. Returns whether everything ended in time.
pub async fn run(fleet: Fleet, sources: Sources, connect: Arc<dyn Connect>) -> std::io::Result<bool> {
    let daemon = Daemon::start(fleet, sources, connect, &Clock::machine());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = daemon.died.cancelled() => {
            error!("A part of the daemon has died; ending, so that another daemon, or this one started anew, takes over.");
            let _ = tokio::time::timeout(DRAIN_BOUND, daemon.stop()).await;
            return Ok(false);
        }
    };
    info!(
        signal = first,
        "Stopping: what is in flight is finished first; after a second signal it is not waited for."
    );
    let in_time = tokio::select! {
        () = daemon.stop() => true,
        () = tokio::time::sleep(DRAIN_BOUND) => false,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    if !in_time {
        warn!("Stopped before everything had finished; the next start goes on from what the clusters say.");
    }
    Ok(in_time)
}
