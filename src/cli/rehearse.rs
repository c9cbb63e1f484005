//! `polkafleet rehearse`: the user's own fleet file, played on simulated clusters by the real daemon.
//!
//! [`cast`] makes up who plays, or [`read`] copies the real resources ([`copied`] leaves out every key); [`scene`] sets up
//! the clusters, [`rhythm`] says what time may be jumped over, [`played`] puts the waves together as they happened, and
//! [`report`] tells them. Here is the play.

mod cast;
mod copied;
mod played;
mod read;
mod report;
mod rhythm;
mod scene;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use tokio::sync::watch;

use super::picture::facts;
use super::plan::Format;
use super::play::{cause, fault, fault_help, known, speed, troubles};
use crate::clock::Clock;
use crate::cluster::limits::Limits;
use crate::daemon::Daemon;
use crate::fleet::Fleet;
use crate::fleet::file::Sources;
use crate::fleet::validate::{load, load_alone};
use crate::observed::Board;
use crate::sandbox::connect::InProcess;
use crate::sandbox::faults::Wanted;
use crate::upgrade::Plan;
use crate::upgrade::waves::{by_readiness, waves};

use self::cast::invented;
use self::copied::chains;
use self::played::Played;
use self::report::{End, Report};
use self::rhythm::{Jump, Rhythm, all_asked, is_calm};
use self::scene::{Scene, approved, before_the_curtain, simulated};

/// What the end of the daemon may take.
const END_BOUND: Duration = Duration::from_secs(10);
/// Where the machine does not keep up with the questions, time goes so much slower until it does.
const SLOWER: f64 = 16.0;
/// How often it is looked whether time may jump.
const TICK: Duration = Duration::from_millis(20);
/// All is quiet when no resource has changed for so long and every node runs or cannot…
const QUIET: Duration = Duration::from_millis(80);
/// …or for so long, whatever the nodes do.
const LONG_QUIET: Duration = Duration::from_secs(1);

/// Play a fleet file on simulated clusters, in seconds, before it is carried out on real ones
///
/// The clusters, labels, stages, settings and timers are those of the file; the API servers, pods and chains are those
/// of the sandbox, in this process, and time runs fast and jumps over soaks. The daemon is the real one. Approvals are
/// given at once. Nothing listens, and no kubeconfig is looked at, but with --from-clusters, which only reads.
/// Exit code 0: every upgrade has passed; 1: something halted or is stuck, or a cluster could not be read; 2: the fleet
/// file, or what was asked for, is wrong.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RehearseArgs {
    /// The fleet file.
    #[arg(value_name = "FLEET_FILE")]
    file: PathBuf,
    /// Play with the Polkadot resources that the file's clusters have now, without keys; a cluster that does not answer
    /// within 15 s plays without resources, and the exit code is then 1.
    #[arg(long)]
    from_clusters: bool,
    /// What goes wrong during the upgrades, for example eu-1=crash-loop. May be given more than once.
    #[arg(long, value_name = "CLUSTER=FAULT", value_parser = fault, long_help = fault_help("those of the fleet file"))]
    fail: Vec<(String, Wanted)>,
    /// How much faster than real time the simulated time runs between its jumps; default: as fast as every node can be
    /// asked for its health in time.
    #[arg(long, value_name = "X", value_parser = speed)]
    speed: Option<f64>,
    /// The version that the made-up resources run at first; default: the release before each upgrade's target.
    #[arg(long, value_name = "VERSION", conflicts_with = "from_clusters")]
    from: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
pub(super) fn run(args: &RehearseArgs) -> ExitCode {
    let sources =
        Sources { file: Some(args.file.clone()), env: std::env::vars().collect(), ..Sources::default() };
    let loaded = if args.from_clusters { load(&sources) } else { load_alone(&sources) };
    let fleet = match loaded {
        Ok(fleet) => fleet,
        Err(problems) => return super::refuse(&problems),
    };
    let names: Vec<String> = fleet.clusters.iter().map(|cluster| cluster.name.to_string()).collect();
    if let Err(wrong) = known(&args.fail, &names) {
        eprintln!("error: {wrong}");
        return ExitCode::from(2);
    }
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let played = runtime.block_on(rehearse(args, &fleet));
    runtime.shutdown_background();
    match played {
        Ok(report) => {
            if !args.output.print(&report.as_value()) {
                print!("{}", report.as_text());
            }
            if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: a simulated cluster refused what it was to begin with: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn rehearse(args: &RehearseArgs, written: &Fleet) -> Result<Report, kube::Error> {
    let (cast, complete) = if args.from_clusters {
        read::read(written).await
    } else {
        (invented(written, args.from.as_deref()).map_err(kube::Error::SerdeError)?, true)
    };
    let resources = cast.parts.len();
    let rhythm = Rhythm::of(written);
    let pace = args.speed.unwrap_or_else(|| rhythm.pace(resources));
    let clock = Clock::simulated(Timestamp::now(), pace);
    let fleet = simulated(written);
    let scene = Scene::set(&fleet, cast, &clock).await?;
    let mut play = Play::begin(scene, &fleet, rhythm, (clock, pace));
    let mut remarks = std::mem::take(&mut play.scene.cast.remarks);
    remarks.extend(play.comes_up().await);

    let began = play.clock.now();
    let predicted = predicted(&fleet, &play.daemon.board.borrow(), began);
    let (fleet, approvals) = approved(&fleet);
    remarks.extend(approvals);
    play.scene.hold().await?;
    let versions: Vec<&str> = fleet.upgrades.iter().map(|upgrade| upgrade.client_version.as_str()).collect();
    let on: Vec<&str> = chains(&play.scene.cast.parts).into_iter().collect();
    cause(&play.scene.clusters, &args.fail, &versions, &on, began);
    play.fleets.send_replace(Arc::new(fleet.clone()));
    let mut played = Played::new(began);
    let (end, last) = play.watch(&fleet, &mut played).await;
    let report = Report {
        clusters: fleet.clusters.len(),
        resources,
        remarks,
        faults: args.fail.iter().map(|(cluster, wanted)| format!("{cluster}={wanted}")).collect(),
        complete,
        waves: played.waves(written),
        predicted,
        seconds: play.clock.now().duration_since(played.began()).as_secs(),
        end,
        troubles: troubles(&play.scene.clusters).await,
        plan: Plan::clone(&last),
    };
    // In a simulation nothing is lost by an end that takes too long.
    let _ = tokio::time::timeout(END_BOUND, play.daemon.stop()).await;
    Ok(report)
}

/// What `plan` says of the fleet as it is now.
fn predicted(fleet: &Fleet, board: &Board, now: Timestamp) -> Vec<crate::upgrade::waves::Wave> {
    let (mut fleet, mut board) = (fleet.clone(), board.clone());
    by_readiness(&mut fleet, &mut board, now);
    waves(&fleet, &board, now)
}

/// The daemon at work in its scene.
struct Play {
    scene: Scene,
    daemon: Daemon,
    clock: Clock,
    /// How fast the clock runs where the machine keeps up.
    pace: f64,
    rhythm: Rhythm,
    fleets: watch::Sender<Arc<Fleet>>,
    /// Nobody changes them; a daemon wants them all the same.
    _kubeconfigs: watch::Sender<BTreeMap<PathBuf, u64>>,
}

/// What was seen last, and since when it is so.
struct Seen {
    board: Board,
    facts: BTreeMap<String, String>,
    /// In real time: nothing of a resource has changed since.
    unchanged: Instant,
    /// In fleet time: nothing that a person would be told has changed since, jumps over soaks aside.
    moved: Timestamp,
    jumped: Timestamp,
    /// Whether the clock was slowed down.
    is_slow: bool,
}

impl Play {
    fn begin(scene: Scene, fleet: &Fleet, rhythm: Rhythm, (clock, pace): (Clock, f64)) -> Self {
        let (fleets, followed) = watch::channel(Arc::new(before_the_curtain(fleet)));
        let (kubeconfigs, unchanging) = watch::channel(BTreeMap::new());
        // Nobody else is there to take over: a Lease lasts a second, whatever the file says.
        let lease_divisor = u32::try_from(fleet.lease.as_secs()).unwrap_or(1).max(1);
        let limits = Limits { lease_divisor, ..Limits::default() };
        let connect = Arc::new(InProcess { clusters: scene.clusters.clusters.clone(), limits });
        let daemon = Daemon::start_on(followed, unchanging, connect, &clock);
        Self { scene, daemon, clock, pace, rhythm, fleets, _kubeconfigs: kubeconfigs }
    }

    /// Waits until every resource is up; what is not after a while is named, and plays as it is.
    async fn comes_up(&self) -> Vec<String> {
        let (mut board, mut home) = (self.daemon.board.clone(), self.daemon.home.clone());
        let patience = self.clock.now() + self.rhythm.patience;
        let up = async {
            let _ = board.wait_for(|board| self.scene.missing(board).is_empty()).await;
            // A Lease takes its real time, which would count as the fleet's.
            let _ = home.wait_for(|home| home.no_steps.is_none()).await;
        };
        tokio::select! {
            () = up => vec![],
            () = self.clock.sleep_until(patience) => {
                let missing = self.scene.missing(&self.daemon.board.borrow());
                missing.iter().map(|(cluster, id)| format!("did not come up before the upgrades: {cluster} {id}")).collect()
            }
        }
    }

    /// Lets it play until it ends.
    async fn watch(&self, fleet: &Fleet, played: &mut Played) -> (End, Arc<Plan>) {
        let (mut board, mut plans) = (self.daemon.board.clone(), self.daemon.plans.clone());
        let mut tick = tokio::time::interval(TICK);
        let began = played.began();
        let mut seen = Seen {
            board: Board::default(),
            facts: BTreeMap::new(),
            unchanged: Instant::now(),
            moved: began,
            jumped: began,
            is_slow: false,
        };
        loop {
            let (now_seen, plan) = (board.borrow_and_update().clone(), plans.borrow_and_update().clone());
            let now = self.clock.now();
            played.see(&now_seen);
            seen.note(&now_seen, &plan, now);
            let is_of_fleet = plan.progress.len() == fleet.upgrades.len();
            let still = now.duration_since(seen.moved);
            if let Some(end) = outcome(&plan, still > self.rhythm.patience).filter(|_| is_of_fleet) {
                return (end, plan);
            }
            self.keep_up(&mut seen, now);
            if is_of_fleet && seen.is_quiet() {
                self.jump(&plan, &mut seen);
            }
            tokio::select! {
                _ = tick.tick() => {}
                _ = plans.changed() => {}
                _ = board.changed() => {}
            }
        }
    }

    /// Slows the clock down while the nodes are not asked as often as they would be on a machine that keeps up.
    fn keep_up(&self, seen: &mut Seen, now: Timestamp) {
        let is_behind = self.rhythm.is_behind(&seen.board, now);
        if is_behind != seen.is_slow {
            seen.is_slow = is_behind;
            self.clock.set_speed(if is_behind { self.pace / SLOWER } else { self.pace });
        }
    }

    fn jump(&self, plan: &Plan, seen: &mut Seen) {
        let long_quiet = seen.unchanged.elapsed() > LONG_QUIET;
        let by = match self.rhythm.jump(plan, self.clock.now(), long_quiet) {
            Jump::Near(by) if all_asked(&seen.board, seen.jumped) => by,
            Jump::Far(by) => {
                seen.moved += by;
                by
            }
            _ => return,
        };
        self.clock.advance(by);
        seen.jumped = self.clock.now();
    }
}

impl Seen {
    fn note(&mut self, board: &Board, plan: &Plan, now: Timestamp) {
        let facts = facts(board, plan);
        if facts != self.facts {
            (self.facts, self.moved) = (facts, now);
        }
        let same = board.clusters.len() == self.board.clusters.len()
            && board.clusters.iter().all(|(name, view)| {
                let known = self.board.clusters.get(name);
                known.is_some_and(|known| known.state == view.state && known.resources == view.resources)
            });
        if !same {
            self.unchanged = Instant::now();
        }
        self.board = board.clone();
    }

    fn is_quiet(&self) -> bool {
        let quiet = self.unchanged.elapsed();
        quiet > LONG_QUIET || (quiet > QUIET && is_calm(&self.board))
    }
}

/// How it ended, if it did: every upgrade has passed or is halted, what was in flight through; or nothing moves.
fn outcome(plan: &Plan, stalled: bool) -> Option<End> {
    let halted: Vec<String> = plan
        .progress
        .iter()
        .filter_map(|progress| Some(format!("upgrade {}: {}", progress.upgrade, progress.halted.as_ref()?)))
        .collect();
    let through = plan.progress.iter().all(|progress| {
        let in_flight: usize = progress.stages.iter().map(|stage| stage.in_flight).sum();
        progress.is_complete() || (progress.halted.is_some() && in_flight == 0)
    });
    match (halted.is_empty(), through, stalled) {
        (true, true, _) => Some(End::Passed),
        (false, true, _) | (false, _, true) => Some(End::Halted(halted.join("; "))),
        (true, false, true) => Some(End::Stuck),
        (_, false, false) => None,
    }
}
