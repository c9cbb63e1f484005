//! `polkafleet run`: the daemon.

use std::process::ExitCode;
use std::sync::Arc;

use tracing::warn;

use super::choose;
use crate::cluster::connect::Kubernetes;
use crate::fleet::file::Sources;
use crate::fleet::remarks::remarks;
use crate::fleet::validate::load;
use crate::{daemon, telemetry};

#[allow(clippy::print_stderr)]
pub(super) fn run(sources: Sources, is_named: bool) -> ExitCode {
    let fleet = match load(&sources) {
        Ok(fleet) => fleet,
        Err(problems) => return super::refuse(&problems),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the threads of the daemon cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let guard = runtime.block_on(async { telemetry::init(&fleet.telemetry) });
    if let (false, Some(only)) = (is_named, fleet.clusters.first()) {
        warn!("{}", choose::taken(&only.connection));
    }
    for line in fleet.without_effect() {
        warn!("Without effect in this version: {line}.");
    }
    for line in remarks(&fleet) {
        warn!("In the fleet file: {line}.");
    }
    let ended = runtime.block_on(daemon::run(fleet, sources, Arc::new(Kubernetes)));
    guard.flush();
    let code = match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: signals cannot be received: {error}");
            ExitCode::FAILURE
        }
    };
    super::end(runtime);
    code
}
