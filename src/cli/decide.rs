//! `polkafleet approve`, `pause`, `resume`, `retry`: what a person decides, written to the home cluster under his name.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use super::choose::FleetArgs;
use crate::cluster::connect::{Connect as _, Kubernetes};
use crate::fleet::file::Sources;
use crate::fleet::validate::load_alone;
use crate::fleet::{Fleet, Upgrade};
use crate::home::control::{Attempt, Control, Decision};
use crate::home::kept::{CONTROL, Error, decide};

/// What home may take.
const BOUND: Duration = Duration::from_secs(20);

/// Which upgrade, and why.
#[derive(Args)]
pub(super) struct DecideArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// The upgrade's name in the fleet file.
    upgrade: String,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Let a stage begin that needs approval, for the version that the fleet file has now.
#[derive(Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    pub(super) decide: DecideArgs,
    /// The stage's name.
    pub(super) stage: String,
}

/// What is decided.
pub(super) enum What {
    /// The stage may begin.
    Approve(String),
    /// Nothing new begins.
    Pause,
    /// It goes on.
    Resume,
    /// What failed is tried again.
    Retry,
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
pub(super) fn run(what: &What, args: &DecideArgs, sources: &Sources) -> ExitCode {
    // A kubeconfig that cannot be read is no reason not to reach the other clusters.
    let fleet = match load_alone(sources) {
        Ok(fleet) => fleet,
        Err(problems) => return super::refuse(&problems),
    };
    let upgrade = match chosen(&fleet, what, &args.upgrade) {
        Ok(upgrade) => upgrade,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let done = runtime.block_on(async {
        let deciding = write(&fleet, upgrade, what, &args.reason);
        let late = || format!("the home cluster {} does not answer within {} s", fleet.home, BOUND.as_secs());
        tokio::time::timeout(BOUND, deciding).await.unwrap_or_else(|_| Err(late()))
    });
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}; nothing was decided");
            ExitCode::FAILURE
        }
    }
}

fn chosen<'a>(fleet: &'a Fleet, what: &What, name: &str) -> Result<&'a Upgrade, String> {
    let names: Vec<&str> = fleet.upgrades.iter().map(|upgrade| upgrade.name.as_str()).collect();
    let upgrade = fleet.upgrades.iter().find(|upgrade| upgrade.name == name);
    let upgrade = upgrade.ok_or_else(|| {
        format!("there is no upgrade {name:?} in the fleet file; there are: {}", names.join(", "))
    })?;
    if let What::Approve(stage) = what {
        let stages: Vec<&str> = upgrade.stages.iter().map(|stage| stage.name.as_str()).collect();
        let found = upgrade.stages.iter().find(|known| known.name == *stage);
        let found = found
            .ok_or_else(|| format!("there is no stage {stage:?} in it; there are: {}", stages.join(", ")))?;
        if !found.approval_required {
            return Err(format!("stage {stage} needs no approval (approval: required is not set)"));
        }
    }
    Ok(upgrade)
}

async fn write(fleet: &Fleet, upgrade: &Upgrade, what: &What, reason: &str) -> Result<String, String> {
    let home = fleet.cluster(&fleet.home).ok_or("home is no member of the fleet")?;
    let client = Kubernetes.connect(&home.connection).await.map_err(|error| error.to_string())?.client;
    let by = user(&client).await;
    let (target, at) = (upgrade.client_version.clone(), Timestamp::now());
    let decision = Decision { version: Some(target.clone()), by: by.clone(), at, reason: reason.to_owned() };
    let change = |control: &mut Control| change(control, upgrade, what, &decision);
    let control = decide(&client, &fleet.home_namespace, change).await.map_err(|error| {
        format!(
            "the ConfigMap {CONTROL} in {} of cluster {}: {}",
            fleet.home_namespace,
            home.name,
            match &error {
                Error::Api(error) => super::home_in_words(error),
                error => error.to_string(),
            }
        )
    })?;
    let name = &upgrade.name;
    Ok(match what {
        What::Approve(stage) => format!("{by} approved {target} for stage {stage} of upgrade {name}."),
        What::Pause => format!("{by} paused upgrade {name}: what is in flight finishes, nothing new begins."),
        What::Resume if upgrade.paused => {
            format!("{by} resumed upgrade {name}, but the fleet file says paused: true; change that, too.")
        }
        What::Resume => format!("{by} resumed upgrade {name}."),
        What::Retry => {
            let attempt = control.attempts.get(name).map_or(upgrade.attempt, |attempt| attempt.number);
            format!("{by} wants attempt {attempt} of upgrade {name}: what failed at {target} is tried again.")
        }
    })
}

fn change(control: &mut Control, upgrade: &Upgrade, what: &What, decision: &Decision) {
    let name = upgrade.name.clone();
    match what {
        What::Approve(stage) => {
            control.approvals.entry(name).or_default().insert(stage.clone(), decision.clone());
        }
        What::Pause => drop(control.pauses.insert(name, decision.clone())),
        What::Resume => drop(control.pauses.remove(&name)),
        What::Retry => {
            let known =
                control.attempts.get(&name).filter(|known| known.decision.version == decision.version);
            let number = known.map_or(upgrade.attempt, |known| known.number.max(upgrade.attempt)) + 1;
            control.attempts.insert(name, Attempt { number, decision: decision.clone() });
        }
    }
}

/// Who we are to the home cluster.
async fn user(client: &Client) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok();
    let user = review.and_then(|review| review.status?.user_info?.username);
    user.unwrap_or_else(|| "somebody whom the cluster does not name".into())
}
