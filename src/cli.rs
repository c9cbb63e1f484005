//! The command line: one subcommand per file, and the exit codes. 0 is well, 1 is a failure, 2 is a wrong fleet file.

mod crd;
mod run;
mod sandbox;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::fleet::file::Sources;
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
    /// Check a fleet file without touching any cluster; exit 2 with every mistake if it is wrong.
    Validate(FleetArgs),
    /// Print the Polkadot CRD, to be applied with kubectl apply --server-side -f -
    Crd,
    /// Print the JSON Schema of the fleet file.
    Schema,
}

/// Which fleet: a file, or one cluster; without any of these, the kubeconfig's current context.
#[derive(Args)]
struct FleetArgs {
    /// The fleet file.
    #[arg(long, value_name = "FILE", env = "POLKAFLEET_FILE", conflicts_with_all = ["context", "in_cluster"])]
    fleet: Option<PathBuf>,
    /// Instead of a fleet file: one cluster, by its kubeconfig context.
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Instead of a fleet file: the cluster that this pod runs in.
    #[arg(long, conflicts_with = "context")]
    in_cluster: bool,
}

impl FleetArgs {
    /// What is read: the file, or a fleet of one; `None` where nothing names a cluster.
    fn sources(self) -> Option<Sources> {
        use serde_json::json;
        let cluster = match (&self.fleet, self.context, self.in_cluster) {
            (Some(_), _, _) => None,
            (None, Some(context), _) => Some(json!({"name": "cluster", "context": context})),
            (None, None, true) => Some(json!({"name": "cluster", "inCluster": true})),
            (None, None, false) => Some(json!({"name": "cluster", "context": current_context()?})),
        };
        let flags = cluster.map(|cluster| json!({"version": 1, "clusters": [cluster]}));
        Some(Sources { file: self.fleet, env: std::env::vars().collect(), flags })
    }
}

fn current_context() -> Option<String> {
    kube::config::Kubeconfig::read().ok()?.current_context
}

/// Parses the arguments and runs what they ask for.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(fleet) => fleet.sources().map_or_else(no_fleet, run::run),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Validate(fleet) => fleet.sources().map_or_else(no_fleet, |sources| validate::run(&sources)),
        Command::Crd => crd::run(),
        Command::Schema => crd::schema(),
    }
}

#[allow(clippy::print_stderr)]
fn no_fleet() -> ExitCode {
    eprintln!(
        "error: no fleet: give --fleet FILE, --context CONTEXT or --in-cluster, or a kubeconfig with a current context"
    );
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
