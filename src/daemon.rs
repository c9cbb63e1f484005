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

use crate::cluster::board::BoardWriter;
use crate::cluster::connect::Connect;
use crate::cluster::{Clients, Registry};
use crate::fleet::Fleet;
use crate::fleet::file::Sources;
use crate::fleet::watch::follow;
use crate::upgrade::{Plan, execute};

/// What is in flight gets this long to finish after the first signal.
const DRAIN_BOUND: Duration = Duration::from_secs(25);

/// Runs until SIGTERM or SIGINT; a second signal ends at once. Returns whether everything ended in time.
pub async fn run(fleet: Fleet, sources: Sources, connect: Arc<dyn Connect>) -> std::io::Result<bool> {
    info!(clusters = fleet.clusters.len(), upgrades = fleet.upgrades.len(), home = %fleet.home, "Starting.");
    let stop = CancellationToken::new();
    let (fleet, followed) = watch::channel(Arc::new(fleet));
    let (board, seen) = BoardWriter::new();
    let clients = Clients::default();
    let (plans, _) = watch::channel(Arc::new(Plan::default()));

    let tasks = TaskTracker::new();
    let registry = Registry::new(connect, board, Arc::clone(&clients));
    tasks.spawn(registry.follow(followed.clone(), stop.clone()));
    tasks.spawn(execute::run(followed, seen, clients, plans, stop.clone()));
    tasks.spawn(follow(sources, fleet, stop.clone()));
    tasks.close();

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = first, "Stopping: what is in flight is finished first; a second signal ends at once.");
    stop.cancel();
    let in_time = tokio::select! {
        () = tasks.wait() => true,
        () = tokio::time::sleep(DRAIN_BOUND) => false,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    if !in_time {
        warn!("Stopped before everything had finished; the next start goes on from what the clusters say.");
    }
    Ok(in_time)
}
