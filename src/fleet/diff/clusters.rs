//! What changed of a cluster, in one line that names the fields. Pure.

use super::super::{Cluster, Connection, Settings};

/// The difference in words, if there is one.
pub(super) fn difference(old: &Cluster, new: &Cluster) -> Option<String> {
    let parts: Vec<String> = parts(old, new).into_iter().flatten().collect();
    let again = old.connection != new.connection || old.namespaces != new.namespaces;
    let how = if again { " (connected anew)" } else { "" };
    (!parts.is_empty()).then(|| format!("cluster {}: {}{how}", new.name, parts.join(", ")))
}

/// What is other, most important first.
fn parts(old: &Cluster, new: &Cluster) -> [Option<String>; 11] {
    let switched = |word: &str, before: bool, now: bool| {
        (before != now).then(|| if now { word.to_owned() } else { format!("no longer {word}") })
    };
    let moved = |word: &str, old: String, new: String| (old != new).then(|| format!("{word} {old} -> {new}"));
    let (was, is): (&Settings, &Settings) = (&old.settings, &new.settings);
    // Whoever adds a field finds this place.
    let Cluster { name: _, connection: _, labels: _, namespaces: _, paused: _, lost: _, settings: _ } = old;
    let Settings { image: _, ports: _, metrics_from: _, probe: _, max_nodes_in_flight: _, install_crd: _ } =
        was;
    let ports = |of: &Settings| {
        let ports = of.ports;
        format!("p2p {} rpc {} ws {} metrics {}", ports.p2p, ports.rpc, ports.ws, ports.metrics)
    };
    let probe = |of: &Settings| format!("every {:#} within {:#}", of.probe.interval, of.probe.timeout);
    let namespaces =
        |of: &Cluster| if of.namespaces.is_empty() { "all".into() } else { list(&of.namespaces) };
    let labels = |of: &Cluster| {
        list(&of.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>())
    };
    [
        switched("paused", old.paused, new.paused),
        switched("lost", old.lost, new.lost),
        moved("reached by", place(&old.connection), place(&new.connection)),
        moved("namespaces", namespaces(old), namespaces(new)),
        moved("labels", labels(old), labels(new)),
        moved("image", was.image.clone(), is.image.clone()),
        moved("maxNodesInFlight", was.max_nodes_in_flight.to_string(), is.max_nodes_in_flight.to_string()),
        moved("ports", ports(was), ports(is)),
        moved("probe", probe(was), probe(is)),
        moved("metricsFrom", list(&was.metrics_from), list(&is.metrics_from)),
        switched("installCrd", was.install_crd, is.install_crd),
    ]
}

fn place(connection: &Connection) -> String {
    match connection {
        Connection::InCluster => "in-cluster credentials".into(),
        Connection::Kubeconfig { path: Some(path), context } => {
            format!("context {context} of {}", path.display())
        }
        Connection::Kubeconfig { path: None, context } => format!("context {context}"),
    }
}

fn list(all: &[String]) -> String {
    if all.is_empty() { "none".into() } else { all.join(" ") }
}
