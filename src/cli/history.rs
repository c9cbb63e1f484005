//! `polkafleet status --history`: what was done to which node, when, and on whose approval, and what people decided, as home
//! keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::leader::Leader;
use super::plan::Format;
use super::terminal::{laid_out, say};
use super::time::Ahead;
use crate::cluster::connect::{self, Kubernetes};
use crate::fleet::{ClusterName, Fleet};
use crate::home::control::{Did, Made};
use crate::home::history::{Entry, What};
use crate::home::kept::{CONTROL, decisions, records};

/// What home may take.
const BOUND: Duration = Duration::from_secs(15);

/// What an entry may tell, for programs: what it does not tell is `null`.
const FIELDS: [&str; 9] =
    ["from", "to", "version", "role", "ordinal", "template", "why", "approvedBy", "upgrade"];

/// The whole fleet's history.
struct History {
    /// By time; what happened at once, in the order of the clusters' names.
    entries: Vec<(ClusterName, Entry)>,
    /// What people decided; `None` where it cannot be understood.
    decisions: Option<Vec<Made>>,
    /// Clusters whose records cannot be understood.
    unreadable: Vec<ClusterName>,
    /// The upgrades that the daemon that leads follows, where it had to be asked for them and says so.
    followed: Vec<String>,
}

#[allow(clippy::print_stderr)]
pub(super) fn run(fleet: &Fleet, upgrade: Option<&str>, output: Format) -> ExitCode {
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let read = runtime.block_on(read(fleet, upgrade));
    let code = tell(fleet, read, upgrade, output);
    super::end(runtime);
    code
}

#[allow(clippy::print_stderr)]
fn tell(fleet: &Fleet, read: Result<History, String>, upgrade: Option<&str>, output: Format) -> ExitCode {
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
    let mut told = upgrades(&history.entries);
    told.extend(history.decisions.iter().flatten().map(|made| made.upgrade.clone()));
    let is_of = |entry: &Entry, name: &str| entry.upgrade.as_ref().is_some_and(|cause| cause.name == name);
    history.entries.retain(|(_, entry)| upgrade.is_none_or(|name| is_of(entry, name)));
    let is_undecided = history.decisions.is_none();
    let is_whole = history.unreadable.is_empty() && !is_undecided;
    let mut decisions = history.decisions.unwrap_or_default();
    decisions.retain(|made| upgrade.is_none_or(|name| made.upgrade == name));
    // What stands in a record that cannot be read is not known.
    let silent = upgrade.filter(|name| !told.contains(*name) && is_whole);
    let is_there = |name: &&str| is_in(fleet, name) || history.followed.iter().any(|one| one == name);
    let unknown = silent.filter(|name| !is_there(name));
    // For programs an empty list is a list.
    if !output.print(&as_value(&history.entries, &decisions)) {
        match (upgrade, silent) {
            (_, Some(name)) if unknown.is_none() => say(&laid_out(&nothing_yet(name))),
            (Some(_), _) if history.entries.is_empty() && decisions.is_empty() => {}
            _ => say(&laid_out(&as_text(fleet, &history.entries, &decisions))),
        }
    }
    if let Some(name) = unknown {
        eprintln!("error: {}", no_such(name, &told));
    }
    for cluster in &history.unreadable {
        eprintln!(
            "error: the ConfigMap fleet-record-{cluster} in {} of cluster {} cannot be read; the daemon that leads writes \
             it anew, and its history with it",
            fleet.home_namespace, fleet.home
        );
    }
    if is_undecided {
        eprintln!(
            "error: the ConfigMap {CONTROL} in {} of cluster {} cannot be read: no decision is told, and every upgrade is paused \
             by that. Mend its JSON; to delete it would end every pause and forget every approval and retry",
            fleet.home_namespace, fleet.home
        );
    }
    if is_whole && unknown.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The upgrades that anything was done for.
fn upgrades(entries: &[(ClusterName, Entry)]) -> BTreeSet<String> {
    entries.iter().filter_map(|(_, entry)| Some(entry.upgrade.as_ref()?.name.clone())).collect()
}

fn is_in(fleet: &Fleet, name: &str) -> bool {
    fleet.upgrades.iter().any(|upgrade| upgrade.name == name)
}

/// That an upgrade which there is has not begun.
fn nothing_yet(name: &str) -> String {
    format!("Upgrade {name} has done nothing yet, or nothing that home still tells of.\n")
}

/// That nothing is told of an upgrade, and of which there is.
fn no_such(name: &str, told: &BTreeSet<String>) -> String {
    let told = match told.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => "no upgrade has done anything yet".to_owned(),
        names => format!("it tells of: {}", names.join(", ")),
    };
    format!(
        "the history tells of no upgrade {name:?}, nor does the fleet file or a daemon that leads: the name is wrong, or what it \
         did was too long ago; {told}"
    )
}

async fn read(fleet: &Fleet, upgrade: Option<&str>) -> Result<History, String> {
    let home = fleet.cluster(&fleet.home).ok_or("it is no member of the fleet")?;
    let (_, client) = connect::ask(&Kubernetes, &home.connection, BOUND).await?;
    let reading = tokio::time::timeout(BOUND, records(&client, &fleet.home_namespace)).await;
    let late = |_| format!("no answer within {} s; look at its API server", BOUND.as_secs());
    let found = reading.map_err(late)?.map_err(|error| super::home_in_words(&error, &fleet.home))?;
    let reading = tokio::time::timeout(BOUND, decisions(&client, &fleet.home_namespace)).await;
    let control = reading.map_err(late)?.map_err(|error| super::home_in_words(&error, &fleet.home))?;
    let decisions = control.map(|control| control.made);
    let mut history = History { entries: vec![], decisions, unreadable: vec![], followed: vec![] };
    for (cluster, record) in found {
        match record {
            Some(record) => {
                history.entries.extend(record.history.into_iter().map(|entry| (cluster.clone(), entry)));
            }
            None => history.unreadable.push(cluster),
        }
    }
    history.entries.sort_by_key(|(_, entry)| entry.at);
    let is_known = |name: &str| upgrades(&history.entries).contains(name) || is_in(fleet, name);
    if upgrade.is_some_and(|name| !is_known(name)) {
        // Who cannot be asked follows nothing, as far as that is known.
        let ahead = Ahead::of(&client).await;
        let leader = tokio::time::timeout(BOUND, Leader::read(&client, fleet, ahead)).await;
        let leader = leader.ok().and_then(Result::ok);
        let follows = leader.iter().filter_map(Leader::follows).flatten();
        history.followed = follows.map(|upgrade| upgrade.name.clone()).collect();
    }
    Ok(history)
}

fn as_value(entries: &[(ClusterName, Entry)], decisions: &[Made]) -> Value {
    let entry = |(cluster, entry): &(ClusterName, Entry)| {
        let mut value = json!(FIELDS.iter().map(|field| (*field, Value::Null)).collect::<BTreeMap<_, _>>());
        let told = json!(entry);
        for (field, told) in told.as_object().into_iter().flatten() {
            value[field] = told.clone();
        }
        value["cluster"] = json!(cluster);
        value
    };
    json!({"history": entries.iter().map(entry).collect::<Vec<_>>(), "decisions": decisions})
}

fn as_text(fleet: &Fleet, entries: &[(ClusterName, Entry)], decisions: &[Made]) -> String {
    if entries.is_empty() && decisions.is_empty() {
        return format!(
            "Nothing was done yet, as far as cluster {} (namespace {}) knows, if that is home.\n",
            fleet.home, fleet.home_namespace
        );
    }
    let done = entries.iter().map(|(cluster, entry)| (entry.at, done(cluster, entry)));
    let mut lines: Vec<(Timestamp, String)> = done.collect();
    lines.extend(decisions.iter().map(|made| (made.decision.at, decided(made))));
    lines.sort_by_key(|(at, _)| *at);
    let mut text = String::new();
    for (at, line) in lines {
        let _ = writeln!(text, "{at:.0} {line}");
    }
    text
}

/// What was done to a resource, for people.
fn done(cluster: &ClusterName, entry: &Entry) -> String {
    let mut of = String::new();
    if let Some(cause) = &entry.upgrade {
        let _ = write!(of, ", upgrade {}", cause.name);
        if cause.attempt > 1 {
            let _ = write!(of, " attempt {}", cause.attempt);
        }
    }
    if let Some(who) = &entry.approved_by {
        let _ = write!(of, ", approved by {who}");
    }
    match &entry.what {
        // What comes after a reason would look as if it were part of it.
        What::Failed { why } => format!("{cluster} {} FAILED{of}: {why}", entry.resource),
        what => format!("{cluster} {} {what}{of}", entry.resource),
    }
}

/// What somebody decided, for people.
fn decided(made: &Made) -> String {
    let Made { what, upgrade, stage, attempt, decision } = made;
    let by = &decision.by;
    let mut text = match what {
        Did::Approved => {
            let (stage, version) =
                (stage.as_deref().unwrap_or("?"), decision.version.as_deref().unwrap_or("?"));
            format!("{by} approved {version} for stage {stage} of upgrade {upgrade}")
        }
        Did::Paused => format!("{by} paused upgrade {upgrade}"),
        Did::Resumed => format!("{by} resumed upgrade {upgrade}"),
        Did::Retried => {
            format!("{by} asked for attempt {} of upgrade {upgrade}", attempt.unwrap_or_default())
        }
    };
    if !decision.reason.is_empty() {
        let _ = write!(text, ": {}", decision.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_upgrade_that_the_history_does_not_know_it_is_said_which_ones_it_does() {
        let known = ["kusama".to_owned(), "polkadot".to_owned()].into();
        let said = no_such("polkadto", &known);
        assert!(
            said.contains("no upgrade \"polkadto\"") && said.ends_with("it tells of: kusama, polkadot"),
            "{said}"
        );
        assert!(no_such("x", &BTreeSet::new()).ends_with("no upgrade has done anything yet"));
    }
}
