//! `polkafleet rehearse`: the user's own fleet file, played on simulated clusters by the real daemon.
//!
//! [`cast`] makes up who plays, or [`read`] copies the real resources ([`copied`] leaves out every key); [`scene`] sets up
//! the clusters, [`rhythm`] says what time may be jumped over, [`played`] puts the waves together as they happened,
//! [`teller`] tells them meanwhile, and [`report`] says what is said. Here is the play.

mod cast;
mod copied;
mod played;
mod read;
mod report;
mod rhythm;
mod scene;
mod teller;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::picture::facts;
use super::plan::Format;
use super::play::{INTERRUPTED, cause, fault, fault_help, interrupted, known, troubles};
use super::terminal::{laid_out, say};
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

use self::cast::{Cast, invented};
use self::copied::chains;
use self::played::Played;
use self::report::{End, Report, opening, set_up};
use self::rhythm::{Rhythm, is_calm};
use self::scene::{Scene, approved, before_the_curtain, simulated};
use self::teller::Teller;

/// So many times as fast as the time in which requests are limited and Leases last runs the fleet's. More would be cheaper
/// to play, and an answer that never comes would take too much of the fleet's time.
const PACE: f64 = 10.0;
/// What the end of the daemon may take.
const END_BOUND: Duration = Duration::from_secs(10);
/// How often it is looked whether a soak may be jumped over.
const TICK: Duration = Duration::from_secs(1);
/// All is quiet when no resource has changed for so long and every node runs or cannot…
const QUIET: Duration = Duration::from_secs(2);
/// …or for so long, whatever the nodes do: no write is expected any more.
const LONG_QUIET: Duration = Duration::from_secs(60);

/// Play a fleet file on simulated clusters, in seconds, before it is carried out on real ones
///
/// The clusters, labels, stages, settings and timers are those of the file; the API servers, pods and chains are those
/// of the sandbox, in this process. Time passes only while nobody has anything to do, so that the outcome is the same
/// on a slow machine, and jumps over soaks. The daemon is the real one. Approvals are given at once. Nothing listens,
/// and no kubeconfig is looked at, but with --from-clusters, which only reads.
/// Exit code 0: every upgrade has passed; 1: something halted or is stuck, or a cluster could not be read; 2: the fleet
/// file, or what was asked for, is wrong, or there is no upgrade in it; 130: somebody ended it.
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
    /// The version that the made-up resources run at first; default: the release before each upgrade's target.
    #[arg(long, value_name = "VERSION", value_parser = super::release, conflicts_with = "from_clusters")]
    from: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[allow(clippy::print_stderr)]
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
    if fleet.upgrades.is_empty() {
        eprintln!(
            "error: {} has no upgrade: there is nothing to rehearse; add one under upgrades, as in fleet/fleet.yaml",
            args.file.display()
        );
        return ExitCode::from(2);
    }
    match prepared(args, &fleet).and_then(|(cast, complete)| play(args, &fleet, cast, complete)) {
        Ok(None) => {
            eprintln!("REHEARSAL: ended before the upgrades were; no real cluster was changed.");
            ExitCode::from(INTERRUPTED)
        }
        Ok(Some((report, told))) => {
            if !args.output.print(&report.as_value()) {
                say(&laid_out(&report.rest(told)));
            }
            if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who plays, and whether that is everybody who should.
fn prepared(args: &RehearseArgs, fleet: &Fleet) -> Result<(Cast, bool), String> {
    if !args.from_clusters {
        let cast = invented(fleet, args.from.as_deref());
        return cast.map(|cast| (cast, true)).map_err(|error| error.to_string());
    }
    let runtime = tokio::runtime::Runtime::new().map_err(cannot_start)?;
    let cast = runtime.block_on(read::read(fleet));
    super::end(runtime);
    Ok(cast)
}

/// Plays on one thread, on which time passes only while everybody waits for it. Also says how many waves it told already;
/// `None` if somebody ended it.
fn play(
    args: &RehearseArgs,
    fleet: &Fleet,
    cast: Cast,
    complete: bool,
) -> Result<Option<(Report, usize)>, String> {
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    let runtime = one_thread.enable_all().start_paused(true).build().map_err(cannot_start)?;
    let played = runtime.block_on(async {
        tokio::select! {
            // It listens before the first word is said.
            biased;
            Ok(()) = interrupted() => Ok(None),
            played = rehearse(args, fleet, cast, complete) => played.map(Some),
        }
    });
    runtime.shutdown_background();
    played.map_err(|error| format!("a simulated cluster refused what it was to begin with: {error}"))
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn cannot_start(error: std::io::Error) -> String {
    format!("the threads of the command cannot be started: {error}")
}

async fn rehearse(
    args: &RehearseArgs,
    written: &Fleet,
    cast: Cast,
    complete: bool,
) -> Result<(Report, usize), kube::Error> {
    let resources = cast.parts.len();
    let mut teller = Teller::new(args.output);
    teller.tell(&opening(written.clusters.len(), resources));
    teller.pass("its simulated clusters come up");
    let rhythm = Rhythm::of(written);
    let clock = Clock::simulated(Timestamp::now(), PACE);
    let fleet = simulated(written);
    let scene = Scene::set(&fleet, cast, &clock).await?;
    let mut play = Play::begin(scene, &fleet, rhythm, clock);
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
    teller.tell(&set_up(&remarks));
    let (end, last) = play.watch(&fleet, written, &mut played, &mut teller).await;
    let report = Report {
        clusters: fleet.clusters.len(),
        resources,
        remarks,
        faults: args.fail.iter().map(|(cluster, wanted)| format!("{cluster}={wanted}")).collect(),
        complete,
        waves: played.waves(written).into_iter().map(|happened| happened.wave).collect(),
        predicted,
        seconds: play.clock.now().duration_since(played.began()).as_secs(),
        end,
        troubles: troubles(&play.scene.clusters).await,
        plan: Plan::clone(&last),
    };
    // In a simulation nothing is lost by an end that takes too long.
    let _ = tokio::time::timeout(END_BOUND, play.daemon.stop()).await;
    teller.wipe();
    Ok((report, teller.told))
}

/// What `plan` says of the fleet as it is now.
fn predicted(fleet: &Fleet, board: &Board, now: Timestamp) -> Vec<crate::upgrade::waves::Wave> {
    let (mut fleet, mut board) = (fleet.clone(), board.clone());
    by_readiness(&mut fleet, &mut board);
    waves(&fleet, &board, now)
}

/// The daemon at work in its scene.
struct Play {
    scene: Scene,
    daemon: Daemon,
    clock: Clock,
    rhythm: Rhythm,
    fleets: watch::Sender<Arc<Fleet>>,
    /// Nobody changes them; a daemon wants them all the same.
    _kubeconfigs: watch::Sender<BTreeMap<PathBuf, u64>>,
}

/// What was seen last, and since when it is so.
struct Seen {
    board: Board,
    facts: BTreeMap<String, String>,
    /// Nothing of a resource has changed since.
    unchanged: Instant,
    /// In fleet time: nothing that a person would be told has changed since, jumps over soaks aside.
    moved: Timestamp,
}

impl Play {
    fn begin(scene: Scene, fleet: &Fleet, rhythm: Rhythm, clock: Clock) -> Self {
        let (fleets, followed) = watch::channel(Arc::new(before_the_curtain(fleet)));
        let (kubeconfigs, unchanging) = watch::channel(BTreeMap::new());
        let connect =
            Arc::new(InProcess { clusters: scene.clusters.clusters.clone(), limits: Limits::default() });
        let daemon = Daemon::start_on(followed, unchanging, connect, &clock);
        Self { scene, daemon, clock, rhythm, fleets, _kubeconfigs: kubeconfigs }
    }

    /// Waits until every resource is up; what is not after a while is named, and plays as it is.
    async fn comes_up(&self) -> Vec<String> {
        let (mut board, mut home) = (self.daemon.board.clone(), self.daemon.home.clone());
        let patience = self.clock.now() + self.rhythm.patience;
        let up = async {
            let _ = board.wait_for(|board| self.scene.missing(board).is_empty()).await;
            // So that the time until it leads does not count.
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

    /// Lets it play until it ends; whenever something has happened, it is told.
    async fn watch(
        &self,
        fleet: &Fleet,
        written: &Fleet,
        played: &mut Played,
        teller: &mut Teller,
    ) -> (End, Arc<Plan>) {
        let (mut board, mut plans) = (self.daemon.board.clone(), self.daemon.plans.clone());
        let mut tick = tokio::time::interval(TICK);
        let began = played.began();
        let mut seen =
            Seen { board: Board::default(), facts: BTreeMap::new(), unchanged: Instant::now(), moved: began };
        loop {
            let (now_seen, plan) = (board.borrow_and_update().clone(), plans.borrow_and_update().clone());
            let now = self.clock.now();
            if played.see(&now_seen) {
                teller.waves(&played.waves(written));
            }
            teller.standing(&plan, now.duration_since(began));
            seen.note(&now_seen, &plan, now);
            let is_of_fleet = plan.progress.len() == fleet.upgrades.len();
            let still = now.duration_since(seen.moved);
            if let Some(end) = outcome(&plan, still > self.rhythm.patience).filter(|_| is_of_fleet) {
                return (end, plan);
            }
            if is_of_fleet && seen.is_quiet() {
                let long_quiet = seen.unchanged.elapsed() > LONG_QUIET;
                if let Some(by) = self.rhythm.jump(&plan, now, long_quiet) {
                    self.clock.advance(by);
                    seen.moved += by;
                }
            }
            tokio::select! {
                _ = tick.tick() => {}
                _ = plans.changed() => {}
                _ = board.changed() => {}
            }
        }
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
