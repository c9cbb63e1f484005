//! `polkafleet sandbox`: the daemon on a simulated fleet, so that the main job can be seen without a cluster.
//!
//! [`scene`] sets the stage, [`view`] says what is to be seen; here is the play, from the curtain to the exit code.

mod scene;
mod view;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::cluster::limits::Limits;
use crate::daemon::Daemon;
use crate::fleet::file::Sources;
use crate::fleet::problem::Problem;
use crate::fleet::validate::load;
use crate::sandbox::connect::InProcess;
use crate::sandbox::faults::Wanted;
use crate::telemetry;
use crate::upgrade::Plan;
use crate::version::{ClientVersion, Order, not_newer};

use self::scene::{OLD, Scene};
use self::view::View;
use super::play::{INTERRUPTED, STALLED, fault, fault_help, hung_up, interrupted, speed, troubles};

/// What the end of the daemon may take.
const END_BOUND: Duration = Duration::from_secs(10);
/// What is said of a play that somebody ended.
const ENDED_BEFORE: &str = "SIMULATION: ended before the upgrade was.";
/// How often it is looked whether there is something to show.
const TICK: Duration = Duration::from_millis(250);

/// Run the daemon on a simulated fleet: no cluster, no container, no real chain
///
/// SIMULATED: the Kubernetes API servers (embedded, on loopback, for the kinds that the product uses), the StatefulSet
/// controller, kubelets, volumes, and a chain node per pod, which checks its command line as its client version would.
/// Not simulated: access rights (everybody may do everything), networks, disks, and the load of a real chain. The
/// daemon is the real one, and its upgrades are gated by what the simulated nodes say of themselves.
/// Exit code 0: the upgrade has come everywhere; 1: it cannot; 2: what was asked for is wrong; 130: somebody ended it
/// before.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SandboxArgs {
    /// How many clusters: one canary, the others production.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clusters: u16,
    /// How many chain nodes in each cluster: one validator, the others sentries.
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,
    /// The client version to upgrade to, from stable2503-6.
    #[arg(long, value_name = "VERSION", value_parser = super::release, default_value = "stable2503-7")]
    upgrade: String,
    /// What goes wrong during the upgrade, for example production-1=crash-loop. May be given more than once.
    #[arg(long, value_name = "CLUSTER=FAULT", value_parser = fault, long_help = fault_help("canary, production-1, production-2, …"))]
    fail: Vec<(String, Wanted)>,
    /// How much faster than real time the simulated time runs. On a
    /// busy machine a high speed makes nodes late that are not: progressDeadline is 15 simulated minutes.
    #[arg(long, value_name = "X", default_value_t = 60.0, value_parser = speed)]
    speed: f64,
    /// Stay after the upgrade has ended, to look around with kubectl; on a terminal that is so anyway.
    #[arg(long)]
    keep: bool,
}

/// How the play ended.
enum End {
    /// The upgrade has come everywhere.
    Done,
    /// It cannot, and why.
    Cannot(String),
    /// Somebody ended it.
    Interrupted,
}

/// What can go wrong before it begins.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("the sandbox's folder {0} cannot be written: {1}")]
    Folder(PathBuf, #[source] std::io::Error),
    #[error("the sandbox cannot listen on loopback: {0}")]
    Listen(#[source] std::io::Error),
    #[error("a simulated cluster refused its first objects: {0}")]
    Furnish(#[from] kube::Error),
    #[error("the sandbox's own fleet file is wrong")]
    Fleet(Vec<Problem>),
    #[error("signals cannot be received: {0}")]
    Signal(#[source] std::io::Error),
}

#[allow(clippy::print_stderr)]
pub(super) fn run(args: &SandboxArgs) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the threads of the sandbox cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(play(args));
    runtime.shutdown_background();
    match ended {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Cannot(_)) => ExitCode::FAILURE,
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Error::Fleet(problems)) => super::refuse(&problems),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

async fn play(args: &SandboxArgs) -> Result<End, Error> {
    if ClientVersion::parse(&args.upgrade).order(&ClientVersion::parse(OLD)) != Order::Newer {
        let how = not_newer(&args.upgrade, OLD).unwrap_or("is");
        let what = format!(
            "--upgrade {}: {how} {OLD}, which the fleet runs at first: nothing would be upgraded; give a newer release, such as \
             stable2503-7",
            args.upgrade
        );
        return Err(Error::Usage(what));
    }
    let clock = Clock::simulated(Timestamp::now(), args.speed);
    // From the first moment on, so that the folder is removed whenever it is ended.
    let is_live = std::io::stdout().is_terminal();
    // From here on SIGHUP does not end it by itself, and leave its folder behind.
    let _hung_up = signal(SignalKind::hangup()).map_err(Error::Signal)?;
    let mut end = std::pin::pin!(ended(is_live));
    let scene = tokio::select! {
        // It listens once it was asked: before the folder is made.
        biased;
        interrupted = &mut end => {
            interrupted.map_err(Error::Signal)?;
            View::new(is_live, args.speed).say(ENDED_BEFORE);
            return Ok(End::Interrupted);
        }
        scene = Scene::set(args, &clock) => scene?,
    };
    telemetry::logs::to_file(&scene.path("daemon.log"))
        .map_err(|error| Error::Folder(scene.folder.clone(), error))?;
    let sources = Sources { file: Some(scene.path("fleet.yaml")), ..Sources::default() };
    let fleet = load(&sources).map_err(Error::Fleet)?;
    // Nobody else is there to take over: a Lease is short, so that the first one is not waited for.
    let limits = Limits { lease_divisor: 30, ..Limits::default() };
    let connect = Arc::new(InProcess { clusters: scene.fleet.clusters.clone(), limits });
    let daemon = Daemon::start(fleet, sources, connect, &clock);
    let mut view = View::new(is_live, args.speed);
    view.say(&scene.introduction());

    let ended = watch(&scene, &daemon, &clock, &mut view, args, end.as_mut()).await?;
    match &ended {
        End::Done => view.say(&format!("SIMULATION: the upgrade to {} has come everywhere.", args.upgrade)),
        End::Cannot(why) => {
            view.say(&format!("SIMULATION: the upgrade to {} cannot end: {why}", args.upgrade));
            for line in troubles(&scene.fleet).await {
                view.say(&line);
            }
            if !(args.keep || view.is_live()) {
                view.say("Run it again with --keep to look around, mend what holds it up and go on.");
            }
        }
        End::Interrupted => view.say(ENDED_BEFORE),
    }
    let stays = (args.keep || view.is_live()) && !matches!(ended, End::Interrupted);
    if stays {
        view.say(
            "The fleet stays up to look around (the commands are above), and the daemon follows its fleet file; Ctrl-C ends it.",
        );
        stay(&daemon, &clock, &mut view, end).await?;
    }
    if tokio::time::timeout(END_BOUND, daemon.stop()).await.is_err() {
        view.say("The daemon was still busy and is cut off; in a simulation nothing is lost by that.");
    }
    Ok(ended)
}

/// Shows what happens until the upgrade ends, or cannot.
async fn watch(
    scene: &Scene,
    daemon: &Daemon,
    clock: &Clock,
    view: &mut View,
    args: &SandboxArgs,
    mut end: Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Result<End, Error> {
    let mut plans = daemon.plans.clone();
    let mut tick = tokio::time::interval(TICK);
    let mut upgrading = false;
    let mut moved = clock.now();
    loop {
        let (seen, plan) = (daemon.board.borrow().clone(), plans.borrow_and_update().clone());
        view.follow(&daemon.fleet.borrow());
        if view.show(&seen, &plan, &daemon.refused.borrow(), clock.now()) {
            moved = clock.now();
        }
        if !upgrading && scene.is_settled(&seen) {
            upgrading = true;
            view.say(&format!(
                "The fleet is up. fleet.yaml is edited now: clientVersion {}, canary first.",
                args.upgrade
            ));
            scene.begin_upgrade(args, clock)?;
        }
        if !upgrading && clock.now().duration_since(moved) > STALLED {
            let minutes = STALLED.as_mins();
            return Ok(End::Cannot(format!("the fleet has not come up within {minutes} simulated minutes")));
        }
        if upgrading && let Some(ended) = outcome(&plan, clock.now().duration_since(moved), args) {
            return Ok(ended);
        }
        tokio::select! {
            interrupted = &mut end => return interrupted.map(|()| End::Interrupted).map_err(Error::Signal),
            _ = tick.tick() => {}
            _ = plans.changed() => {}
        }
    }
}

/// Shows what happens after that, until somebody ends it.
async fn stay(
    daemon: &Daemon,
    clock: &Clock,
    view: &mut View,
    mut end: Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Result<(), Error> {
    let mut plans = daemon.plans.clone();
    let mut tick = tokio::time::interval(TICK);
    view.come_to_rest();
    loop {
        let plan = plans.borrow_and_update().clone();
        view.follow(&daemon.fleet.borrow());
        view.show(&daemon.board.borrow().clone(), &plan, &daemon.refused.borrow(), clock.now());
        tokio::select! {
            ended = &mut end => return ended.map_err(Error::Signal),
            _ = tick.tick() => {}
            Ok(()) = plans.changed() => {}
        }
    }
}

/// Returns when it is to end: at SIGINT and SIGTERM, and when its terminal is closed. Without one SIGHUP says to look at the
/// fleet file, as it does to a daemon.
async fn ended(is_live: bool) -> std::io::Result<()> {
    tokio::select! {
        ended = interrupted() => ended,
        ended = hung_up(), if is_live => ended,
    }
}

fn outcome(plan: &Plan, still: SignedDuration, args: &SandboxArgs) -> Option<End> {
    let progress = plan.progress.iter().find(|progress| progress.target == args.upgrade)?;
    if let Some(why) = &progress.halted {
        // What is in flight finishes first.
        let in_flight: usize = progress.stages.iter().map(|stage| stage.in_flight).sum();
        return (in_flight == 0 || still > STALLED).then(|| End::Cannot(why.clone()));
    }
    if progress.is_complete() {
        return Some(End::Done);
    }
    let waits: Vec<String> =
        plan.waits.iter().map(|wait| format!("{} {}: {}", wait.place.0, wait.place.1, wait.words)).collect();
    let minutes = STALLED.as_mins();
    (still > STALLED).then(|| {
        End::Cannot(format!("nothing has moved for {minutes} simulated minutes. {}", waits.join(". ")))
    })
}

/// Writes a file as an editor does: beside it, then renamed.
fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::File::create(&new)?.write_all(text.as_bytes())?;
    std::fs::rename(new, path)
}
