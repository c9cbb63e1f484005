//! Which fleet is meant: a file, or one cluster that a flag, the kubeconfig or the pod names.

use std::path::PathBuf;

use clap::Args;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::cluster::address::shown_of;
use crate::fleet::Connection;
use crate::fleet::file::Sources;
use crate::fleet::validate::cluster_name;

/// Which fleet: a file, or one cluster; without any of these, the kubeconfig's current context, or the cluster that this
/// pod runs in.
#[derive(Args, Clone)]
pub(super) struct FleetArgs {
    /// The fleet file; default: that of the environment variable `POLKAFLEET_FILE`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["context", "in_cluster"])]
    fleet: Option<PathBuf>,
    /// Instead of a fleet file: one cluster, by its kubeconfig context.
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Instead of a fleet file: the cluster that this pod runs in.
    #[arg(long, conflicts_with = "context")]
    in_cluster: bool,
}

/// Why no fleet is meant, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoFleet {
    /// Nothing names a cluster.
    #[error(
        "no fleet: no fleet file was given, there is no kubeconfig, and this is not a pod; \
         give --fleet FILE, or --context CONTEXT with a kubeconfig (KUBECONFIG, or ~/.kube/config)"
    )]
    Nothing,
    /// Somebody means the cluster of a pod that we are not in.
    #[error(
        "no fleet: --in-cluster is for a pod, and this is none (KUBERNETES_SERVICE_HOST is not set); \
         give --context CONTEXT or --fleet FILE"
    )]
    NoPod,
    /// There is a kubeconfig, and it is of no use.
    #[error("no fleet: the kubeconfig cannot be read: {0}; mend it, set KUBECONFIG, or give --fleet FILE")]
    Unreadable(String),
    /// There is a kubeconfig without a current context.
    #[error(
        "no fleet: the kubeconfig has no current context; give --context with one of: {0}; or --fleet FILE; \
         or choose one for good with kubectl config use-context"
    )]
    NoCurrent(String),
}

/// What the kubeconfig says, if there is one: its current context, and all of them.
type Found = Result<(Option<String>, Vec<String>), String>;

impl FleetArgs {
    /// As --fleet with this file.
    pub(super) fn of_file(file: PathBuf) -> Self {
        Self { fleet: Some(file), context: None, in_cluster: false }
    }

    /// Whether somebody said which fleet is meant.
    pub(super) fn is_named(&self) -> bool {
        self.context.is_some() || self.in_cluster || self.fleet.is_some() || file_of_environment().is_some()
    }

    /// What is read: the file, or a fleet of one.
    pub(super) fn sources(self) -> Result<Sources, NoFleet> {
        // A flag wins over the environment, also where it names a cluster instead of a file.
        let named = self.context.is_some() || self.in_cluster;
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let file = self.fleet.or_else(|| if named { None } else { file_of_environment() });
        let cluster = match (&file, self.context, self.in_cluster) {
            (Some(_), _, _) => None,
            (None, Some(context), _) => Some(of_context(&context)),
            (None, None, true) if in_pod => Some(of_pod()),
            (None, None, true) => return Err(NoFleet::NoPod),
            (None, None, false) => Some(usual(in_pod, kubeconfig())?),
        };
        let flags = cluster.map(|cluster| json!({"version": 1, "clusters": [cluster]}));
        Ok(Sources { file, env: std::env::vars().collect(), flags })
    }
}

fn file_of_environment() -> Option<PathBuf> {
    std::env::var_os("POLKAFLEET_FILE").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// What was taken where nobody said which fleet is meant, and how to say it.
pub(super) fn taken(connection: &Connection) -> String {
    let what = match connection {
        Connection::InCluster => "the cluster that this pod runs in".to_owned(),
        Connection::Kubeconfig { context, .. } => {
            let server = Kubeconfig::read().ok().and_then(|read| server_of(&read, context));
            let server = server.as_deref().map_or_else(|| "a server that it does not name".into(), shown_of);
            format!("the kubeconfig's current context {context}, at {server}")
        }
    };
    format!("No fleet was named: looking after {what}; --context CONTEXT or --fleet FILE chooses.")
}

fn server_of(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let named = kubeconfig.contexts.iter().find(|one| one.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|one| one.name == named.cluster)?;
    cluster.cluster.as_ref()?.server.clone()
}

/// The usual kubeconfig, `None` where there is none.
fn kubeconfig() -> Option<Found> {
    let files = crate::fleet::watch::usual_kubeconfigs();
    // `Kubeconfig::read` does not say whether a file is missing or wrong.
    files.iter().any(|file| file.exists()).then(|| {
        let read = Kubeconfig::read().map_err(|error| crate::fleet::kubeconfig::in_words(&error))?;
        Ok((read.current_context, read.contexts.into_iter().map(|context| context.name).collect()))
    })
}

/// The cluster that is meant where nobody says which. A kubeconfig in a pod was put there on purpose.
fn usual(in_pod: bool, kubeconfig: Option<Found>) -> Result<Value, NoFleet> {
    match kubeconfig {
        None if in_pod => Ok(of_pod()),
        None => Err(NoFleet::Nothing),
        Some(Err(why)) => Err(NoFleet::Unreadable(why)),
        Some(Ok((Some(current), _))) if !current.is_empty() => Ok(of_context(&current)),
        Some(Ok((_, all))) => Err(NoFleet::NoCurrent(all.join(", "))),
    }
}

fn of_context(context: &str) -> Value {
    json!({"name": cluster_name(context), "context": context})
}

fn of_pod() -> Value {
    json!({"name": "cluster", "inCluster": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(current: Option<&str>) -> (Option<String>, Vec<String>) {
        (current.map(String::from), vec!["minikube".into(), "kind-a".into()])
    }

    #[test]
    fn a_kubeconfig_comes_before_the_pod() {
        let expected = json!({"name": "minikube", "context": "minikube"});
        assert_eq!(usual(true, Some(Ok(found(Some("minikube"))))), Ok(expected));
        assert_eq!(usual(true, None), Ok(json!({"name": "cluster", "inCluster": true})));
    }

    #[test]
    fn a_context_that_is_no_dns_label_is_called_cluster() {
        let context = "arn:aws:eks:eu-1:1:cluster/prod";
        let expected = json!({"name": "cluster", "context": context});
        assert_eq!(usual(false, Some(Ok(found(Some(context))))), Ok(expected));
    }

    #[test]
    fn the_server_of_a_context_is_found() {
        let kubeconfig: Kubeconfig = serde_yaml::from_str(
            "{clusters: [{name: far, cluster: {server: 'https://far:6443'}}], \
              contexts: [{name: here, context: {cluster: far}}]}",
        )
        .unwrap();
        assert_eq!(server_of(&kubeconfig, "here").as_deref(), Some("https://far:6443"));
        assert_eq!(server_of(&kubeconfig, "there"), None);
        assert!(
            taken(&Connection::InCluster).contains("this pod runs in; --context CONTEXT or --fleet FILE")
        );
    }

    #[test]
    fn what_names_no_cluster_says_what_to_do() {
        let says = |in_pod, kubeconfig| usual(in_pod, kubeconfig).unwrap_err().to_string();
        assert!(says(false, None).contains("give --fleet FILE"));
        for current in [None, Some("")] {
            assert!(says(true, Some(Ok(found(current)))).contains("--context with one of: minikube, kind-a"));
        }
        assert!(says(true, Some(Err("line 3".into()))).contains("cannot be read: line 3"));
    }
}
