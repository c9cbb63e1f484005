//! The command line: one subcommand per file, and the exit codes. 0 is well, 1 is a failure, 2 is a wrong fleet file or argument, 3
//! that there is something to do; what a signal ended before it was through exits with 130.

mod choose;
mod crd;
mod decide;
mod history;
mod leader;
mod look;
mod picture;
mod plan;
mod play;
mod rehearse;
mod run;
mod sandbox;
mod status;
mod terminal;
mod time;
mod validate;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::choose::{FleetArgs, NoFleet};
use self::decide::{ApproveArgs, DecideArgs, What};
use crate::cluster::trouble::in_words;
use crate::fleet::file::Sources;
use crate::fleet::problem::Problem;
use crate::fleet::validate::{load, load_alone};
use crate::fleet::{ClusterName, Fleet};
use crate::version::{RELEASE_WANTED, is_release};

/// So long a command that is over waits for its threads.
const END_BOUND: Duration = Duration::from_secs(2);

/// One daemon that looks after Polkadot nodes on many Kubernetes clusters.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: one worker per cluster of the fleet file, and upgrades across them.
    ///
    /// Without --fleet, --context and --in-cluster it looks after one cluster, that of the kubeconfig's current context,
    /// wherever it leads; a warning at the start says which that is.
    Run(FleetArgs),
    Sandbox(sandbox::SandboxArgs),
    Validate(validate::ValidateArgs),
    Plan(plan::PlanArgs),
    Rehearse(rehearse::RehearseArgs),
    Status(status::StatusArgs),
    Approve(decide::ApproveArgs),
    /// Let an upgrade start nothing new; what is in flight finishes.
    Pause(decide::DecideArgs),
    /// Let a paused upgrade go on.
    Resume(decide::DecideArgs),
    /// Try again what failed at the version that the fleet file has now.
    Retry(decide::DecideArgs),
    /// Print the Polkadot CRD, to be applied with kubectl apply --server-side -f -
    Crd,
    /// Print the JSON Schema of the fleet file.
    Schema,
}

/// Parses the arguments and runs what they ask for.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(fleet) => {
            let is_named = fleet.is_named();
            fleet.sources().map_or_else(no_fleet, |sources| run::run(sources, is_named))
        }
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Validate(args) => {
            let connect = args.connect;
            let fleet = args.file.map_or(args.fleet, FleetArgs::of_file);
            fleet.sources().map_or_else(no_fleet, |sources| validate::run(&sources, connect))
        }
        Command::Plan(args) => with(&args.fleet, |sources| plan::run(&args, sources)),
        Command::Rehearse(args) => rehearse::run(&args),
        Command::Status(args) => with(&args.fleet, |sources| status::run(&args, sources)),
        Command::Approve(ApproveArgs { decide: args, stage }) => decided(&What::Approve(stage), &args),
        Command::Pause(args) => decided(&What::Pause, &args),
        Command::Resume(args) => decided(&What::Resume, &args),
        Command::Retry(args) => decided(&What::Retry, &args),
        Command::Crd => crd::run(),
        Command::Schema => crd::schema(),
    }
}

fn with(fleet: &FleetArgs, run: impl FnOnce(&Sources) -> ExitCode) -> ExitCode {
    fleet.clone().sources().map_or_else(no_fleet, |sources| run(&sources))
}

fn decided(what: &What, args: &DecideArgs) -> ExitCode {
    with(&args.fleet, |sources| decide::run(what, args, sources))
}

/// The threads of a command.
#[allow(clippy::print_stderr)]
fn runtime() -> Option<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new()
        .inspect_err(|error| eprintln!("error: the threads of the command cannot be started: {error}"))
        .ok()
}

/// Ends what still runs on the threads of a command, and the plugins that it waits for; its answer is to stand before. Not
/// for longer than a moment: a disk may hang.
fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(END_BOUND);
}

#[allow(clippy::print_stderr, clippy::needless_pass_by_value)]
fn no_fleet(why: NoFleet) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(2)
}

/// Tells every mistake of a fleet file.
#[allow(clippy::print_stderr)]
fn refuse(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    eprintln!(
        "{} found; nothing was started or changed.",
        match problems.len() {
            1 => "1 mistake was".to_owned(),
            count => format!("{count} mistakes were"),
        }
    );
    ExitCode::from(2)
}

/// Reads a version that an upgrade may have, as the fleet file would take it.
fn release(text: &str) -> Result<String, String> {
    if is_release(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("is not a release tag; {RELEASE_WANTED}"))
    }
}

/// So many of a thing, in words.
fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The fleet that a command looks at. In a file, a kubeconfig that cannot be read is no reason not to reach the other clusters;
/// a context that somebody names has to be there.
fn load_to_look(sources: &Sources) -> Result<Fleet, Vec<Problem>> {
    if sources.file.is_some() { load_alone(sources) } else { load(sources) }
}

/// Why home refuses a command, in the server's own words, and who may grant what is missing.
fn home_in_words(error: &kube::Error, home: &ClusterName) -> String {
    let words = in_words(error, &format!("the home cluster {home}"));
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{words}; a command needs the Role polkafleet-home of deploy/rbac.yaml")
        }
        _ => words,
    }
}
