//! `polkafleet status --history`: what was done to which node, when, and on whose approval, as home keeps it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::Format;
use crate::cluster::connect::{self, Kubernetes};
use crate::fleet::{ClusterName, Fleet};
use crate::home::history::Entry;
use crate::home::kept::records;

/// What home may take.
const BOUND: Duration = Duration::from_secs(15);

/// The whole fleet's history.
struct History {
    /// By time; what happened at once, in the order of the clusters' names.
    entries: Vec<(ClusterName, Entry)>,
    /// Clusters whose records cannot be understood.
    unreadable: Vec<ClusterName>,
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
pub(super) fn run(fleet: &Fleet, upgrade: Option<&str>, output: Format) -> ExitCode {
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let read = runtime.block_on(read(fleet));
    runtime.shutdown_background();
    let mut history = match read {
        Ok(history) => history,
        Err(why) => {
            eprintln!(
                "error: the history is kept in the home cluster {}, which cannot be read: {why}; polkafleet validate \
                 --connect tells more",
                fleet.home
            );
            return ExitCode::FAILURE;
        }
    };
    let is_of = |entry: &Entry, name: &str| entry.upgrade.as_ref().is_some_and(|cause| cause.name == name);
    history.entries.retain(|(_, entry)| upgrade.is_none_or(|name| is_of(entry, name)));
    if !output.print(&as_value(&history.entries)) {
        print!("{}", as_text(&history.entries));
    }
    for cluster in &history.unreadable {
        eprintln!(
            "error: the ConfigMap fleet-record-{cluster} in {} of cluster {} cannot be read; the daemon that leads writes \
             it anew, and its history with it",
            fleet.home_namespace, fleet.home
        );
    }
    if history.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn read(fleet: &Fleet) -> Result<History, String> {
    let home = fleet.cluster(&fleet.home).ok_or("it is no member of the fleet")?;
    let (_, client) = connect::ask(&Kubernetes, &home.connection, BOUND).await?;
    let reading = tokio::time::timeout(BOUND, records(&client, &fleet.home_namespace)).await;
    let late = |_| format!("no answer within {} s; look at its API server", BOUND.as_secs());
    let found = reading.map_err(late)?.map_err(|error| super::home_in_words(&error, &fleet.home))?;
    let mut history = History { entries: vec![], unreadable: vec![] };
    for (cluster, record) in found {
        match record {
            Some(record) => {
                history.entries.extend(record.history.into_iter().map(|entry| (cluster.clone(), entry)));
            }
            None => history.unreadable.push(cluster),
        }
    }
    history.entries.sort_by_key(|(_, entry)| entry.at);
    Ok(history)
}

fn as_value(entries: &[(ClusterName, Entry)]) -> Value {
    let entry = |(cluster, entry): &(ClusterName, Entry)| {
        let mut value = json!(entry);
        value["cluster"] = json!(cluster);
        value
    };
    json!({"history": entries.iter().map(entry).collect::<Vec<_>>()})
}

fn as_text(entries: &[(ClusterName, Entry)]) -> String {
    if entries.is_empty() {
        return "Nothing was done yet, as far as home knows.\n".into();
    }
    let mut text = String::new();
    for (cluster, entry) in entries {
        let _ = write!(text, "{:.0} {cluster} {} {}", entry.at, entry.resource, entry.what);
        if let Some(cause) = &entry.upgrade {
            let _ = write!(text, ", upgrade {}", cause.name);
            if cause.attempt > 1 {
                let _ = write!(text, " attempt {}", cause.attempt);
            }
        }
        if let Some(who) = &entry.approved_by {
            let _ = write!(text, ", approved by {who}");
        }
        text.push('\n');
    }
    text
}
