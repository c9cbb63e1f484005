//! The command line: one subcommand per file, and the exit codes. 0 is well, 1 is a failure, 2 is a wrong fleet file.

mod choose;
mod crd;
mod run;
mod sandbox;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::choose::{FleetArgs, NoFleet};
use crate::fleet::problem::Problem;

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
    Run(FleetArgs),
    Sandbox(sandbox::SandboxArgs),
    Validate(validate::ValidateArgs),
    /// Print the Polkadot CRD, to be applied with kubectl apply --server-side -f -
    Crd,
    /// Print the JSON Schema of the fleet file.
    Schema,
}

/// Parses the arguments and runs what they ask for.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(fleet) => fleet.sources().map_or_else(no_fleet, run::run),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Validate(args) => {
            let connect = args.connect;
            args.fleet.sources().map_or_else(no_fleet, |sources| validate::run(&sources, connect))
        }
        Command::Crd => crd::run(),
        Command::Schema => crd::schema(),
    }
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
