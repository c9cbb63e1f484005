//! What a worker does of itself when it has crashed: a fault of ours must not leave its cluster Ready on the Board, with
//! nobody behind it.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::time::Instant;
use tracing::error;

use super::backoff::backoff;
use super::trouble::{CRASHED, said};
use super::worker::Worker;
use crate::observed::{ClusterState, Outage};

impl Worker {
    /// Runs until stopped, whatever happens: a fault of ours in one cluster's worker is that cluster's alone, is told, and
    /// begins it anew.
    pub(super) async fn run(self) {
        let limits = self.connect.limits();
        let mut attempt = 0;
        loop {
            let begun = Instant::now();
            let Err(panic) = AssertUnwindSafe(self.sessions()).catch_unwind().await else { return };
            self.clients.remove(&self.name);
            let why = said(&*panic);
            error!(cluster = %self.name, why, "The cluster's worker has crashed and is started again; please report this.");
            let outage = Outage { since: self.last_answer(), why: CRASHED.into() };
            self.board.set_state(&self.name, &ClusterState::Unreachable(outage));
            if begun.elapsed() > limits.longest_pause * 2 {
                attempt = 0;
            }
            let pause = backoff(attempt, limits.first_pause, limits.longest_pause);
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}
