//! `polkafleet validate`: everything about a fleet file that needs no network, and, if asked, whether its clusters answer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use kube::Client;

use super::choose::FleetArgs;
use super::counted;
use super::terminal::say;
use crate::cluster::connect::{self, Kubernetes};
use crate::cluster::rights::{self, Missing};
use crate::fleet::file::Sources;
use crate::fleet::remarks::remarks;
use crate::fleet::validate::load;
use crate::fleet::{Cluster, ClusterName, Connection, Fleet};
use crate::polkadot::Polkadot;

/// Clusters that are asked at once.
const AT_ONCE: usize = 16;
/// How long one may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// Check a fleet file without touching any cluster; exit 2 with every mistake if it is wrong.
#[derive(Args)]
pub(super) struct ValidateArgs {
    /// The fleet file, as --fleet names it.
    #[arg(value_name = "FLEET_FILE", conflicts_with_all = ["fleet", "context", "in_cluster"])]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// Also ask each cluster's API server for its version, and for the rights that the daemon needs there; exit 1 if one
    /// does not answer or grant them.
    #[arg(long)]
    pub(super) connect: bool,
}

#[allow(clippy::print_stderr)]
pub(super) fn run(sources: &Sources, connect: bool) -> ExitCode {
    let fleet = match load(sources) {
        Ok(fleet) => fleet,
        Err(problems) => return super::refuse(&problems),
    };
    let valid = format!(
        "valid: {}, home {}, {}\n",
        counted(fleet.clusters.len(), "cluster"),
        fleet.home,
        counted(fleet.upgrades.len(), "upgrade"),
    );
    say(&valid);
    for line in fleet.without_effect() {
        say(&format!("without effect in this version: {line}\n"));
    }
    for line in remarks(&fleet) {
        say(&format!("is this meant? {line}\n"));
    }
    if !connect {
        return ExitCode::SUCCESS;
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let answered = runtime.block_on(all_answer(&fleet));
            super::end(runtime);
            if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: the threads cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks every cluster and prints what it says, in the file's order.
#[allow(clippy::print_stderr)]
async fn all_answer(fleet: &Fleet) -> bool {
    let asking =
        futures::stream::iter(&fleet.clusters).map(async |cluster| (cluster, ask(fleet, cluster).await));
    let mut answers = asking.buffered(AT_ONCE);
    let mut all = true;
    while let Some((cluster, answer)) = answers.next().await {
        match answer {
            Ok((version, rights)) => {
                say(&format!("cluster {}: answers, Kubernetes {version}\n", cluster.name));
                all &= has_all(&cluster.name, rights);
            }
            Err(why) => {
                all = false;
                let how = match &cluster.connection {
                    Connection::Kubeconfig { context, .. } => format!("context {context}"),
                    Connection::InCluster => "in-cluster credentials".into(),
                };
                eprintln!("error: cluster {} ({how}): {why}", cluster.name);
            }
        }
    }
    all
}

/// What a cluster says of our rights; or why it does not.
type Rights = Result<Missing, String>;

/// The version of a cluster that answers, and our rights there.
async fn ask(fleet: &Fleet, cluster: &Cluster) -> Result<(String, Rights), String> {
    let (version, client) = connect::ask(&Kubernetes, &cluster.connection, ANSWER_BOUND).await?;
    let asking = tokio::time::timeout(ANSWER_BOUND, rights::missing(&client, fleet, cluster)).await;
    let rights = match asking {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_BOUND.as_secs())),
    };
    if !cluster.settings.install_crd && !knows_polkadots(&client).await {
        return Err(
            "the Polkadot CRD is not installed there; kubectl apply --server-side -f deploy/crd.yaml, or \
                    installCrd: true in the fleet file"
                .into(),
        );
    }
    Ok((version, rights))
}

/// Whether the cluster has our CRD; it may also not tell us.
async fn knows_polkadots(client: &Client) -> bool {
    let api_version = <Polkadot as kube::Resource>::api_version(&());
    let asking = client.list_api_group_resources(&api_version);
    let answer = tokio::time::timeout(ANSWER_BOUND, asking).await;
    !matches!(answer, Ok(Err(kube::Error::Api(status))) if status.code == 404)
}

/// Prints what is missing; whether that is nothing that the daemon cannot do without.
#[allow(clippy::print_stderr)]
fn has_all(cluster: &ClusterName, rights: Rights) -> bool {
    let missing = match rights {
        Ok(missing) => missing,
        // It may still be well: not every cluster tells.
        Err(why) => {
            say(&format!("cluster {cluster}: does not say what we may do there ({why})\n"));
            return true;
        }
    };
    for line in &missing.needed {
        eprintln!("error: cluster {cluster}: we may not {line}");
    }
    for line in &missing.useful {
        say(&format!("cluster {cluster}: we may not {line}\n"));
    }
    if missing == Missing::default() {
        say(&format!("cluster {cluster}: grants every right that is needed\n"));
    } else {
        say(&format!(
            "cluster {cluster}: kubectl apply -f deploy/rbac.yaml grants these rights to the service account polkafleet \
             of namespace polkafleet; bind its roles to whom the kubeconfig names\n"
        ));
    }
    missing.needed.is_empty()
}
