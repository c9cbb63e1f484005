//! What changed from one fleet to the next, for the log. Pure.

use std::fmt::Display;

use super::{ClusterName, Fleet, Guard, Validators};

mod clusters;
mod upgrades;

/// The difference in words, one line per cluster and upgrade that changed, and one for each other part of the file.
pub fn lines(old: &Fleet, new: &Fleet) -> Vec<String> {
    let mut lines = vec![];
    for cluster in &new.clusters {
        lines.extend(match old.cluster(&cluster.name) {
            None => Some(format!("cluster {} joins", cluster.name)),
            Some(known) => clusters::difference(known, cluster),
        });
    }
    let gone = |name: &ClusterName| new.cluster(name).is_none();
    lines.extend(
        old.clusters
            .iter()
            .filter(|cluster| gone(&cluster.name))
            .map(|cluster| format!("cluster {} leaves; its nodes are left as they are", cluster.name)),
    );
    lines.extend(upgrades::difference(&old.upgrades, &new.upgrades));
    lines.extend(validators(old.validators, new.validators));
    if (&old.home, &old.home_namespace, old.lease) != (&new.home, &new.home_namespace, new.lease) {
        lines.push(format!(
            "home is {}, its namespace {}, the lease {:#}",
            new.home, new.home_namespace, new.lease
        ));
    }
    if old.home != new.home {
        lines.push(format!(
            "what was decided by polkafleet pause, approve and retry stays behind in {}, with the history: decide it anew, \
             or change home back",
            old.home
        ));
    }
    if old.telemetry != new.telemetry || old.admin != new.admin {
        lines.push("telemetry or admin changed: that takes effect at the next start of the daemon".into());
    }
    lines
}

/// The limits on validators, old and new.
fn validators(old: Validators, new: Validators) -> Option<String> {
    let Validators { max_unavailable, guard } = new;
    let word = |guard: Guard| match guard {
        Guard::Strict => "strict",
        Guard::Relaxed => "relaxed",
    };
    let parts = joined([
        moved("maxUnavailable", &old.max_unavailable, &max_unavailable),
        moved("guard", &word(old.guard), &word(guard)),
    ]);
    parts.map(|parts| format!("validators: {parts}"))
}

/// What differs, if anything does.
fn joined<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A field with its old value and its new one, if they differ.
fn moved<T: PartialEq + Display>(word: &str, old: &T, new: &T) -> Option<String> {
    (old != new).then(|| format!("{word} {old} -> {new}"))
}

#[cfg(test)]
mod tests;
