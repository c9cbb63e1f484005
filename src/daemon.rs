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
use tracing::{info, warn};

use crate::clock::Clock;
use crate::cluster::board::BoardWriter;
use crate::cluster::connect::Connect;
use crate::cluster::{Clients, Registry};
use crate::fleet::Fleet;
use crate::fleet::file::Sources;
use crate::fleet::watch::{self as files, follow};
use crate::observed::Board;
use crate::upgrade::{Plan, execute};

/// What is in flight gets this long to finish after the first signal.
const DRAIN_BOUND: Duration = Duration::from_secs(25);

/// A running daemon: its parts, and what may be looked at from outside.
pub struct Daemon {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What the workers see.
    pub board: watch::Receiver<Arc<Board>>,
    /// What the planner makes of it.
    pub plans: watch::Receiver<Arc<Plan>>,
}

impl Daemon {
    /// Starts every part; they run until [`Daemon::stop`].
    pub fn start(fleet: Fleet, sources: Sources, connect: Arc<dyn Connect>, clock: &Clock) -> Self {
        info!(clusters = fleet.clusters.len(), upgrades = fleet.upgrades.len(), home = %fleet.home, "Starting.");
        let stop = CancellationToken::new();
        // Nobody follows them yet: a changed kubeconfig is seen at the next session of its clusters.
        let (credentials, _) = watch::channel(files::credentials(&fleet));
        let (fleet, followed) = watch::channel(Arc::new(fleet));
        let (writer, board) = BoardWriter::new();
        let clients = Clients::default();
        let (made, plans) = watch::channel(Arc::new(Plan::default()));

        let tasks = TaskTracker::new();
        let registry = Registry::new(connect, writer, Arc::clone(&clients), clock.clone());
        tasks.spawn(registry.follow(followed.clone(), stop.clone()));
        tasks.spawn(execute::run(followed, board.clone(), clients, clock.clone(), made, stop.clone()));
        tasks.spawn(follow(sources, fleet, credentials, stop.clone()));
        tasks.close();
        Self { tasks, stop, board, plans }
    }

    /// Stops every part; returns when all have finished what was in flight.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Runs until SIGTERM or SIGINT; a second signal ends at once. Returns whether everything ended in time.
pub async fn run(fleet: Fleet, sources: Sources, connect: Arc<dyn Connect>) -> std::io::Result<bool> {
    let daemon = Daemon::start(fleet, sources, connect, &Clock::machine());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = first, "Stopping: what is in flight is finished first; a second signal ends at once.");
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
