//! What changed from one fleet to the next, for the log. Pure.

use super::{ClusterName, Fleet};

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
    if old.validators != new.validators {
        lines.push("the limits on validators changed".into());
    }
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

#[cfg(test)]
mod tests;
