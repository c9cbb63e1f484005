use jiff::SignedDuration;

use super::*;
use crate::fleet::file::Sources;
use crate::fleet::validate::load;
use crate::fleet::{Connection, Guard};

/// A fleet of clusters that are made up of nothing but their names.
fn fleet(names: &[&str]) -> Fleet {
    let flags = serde_json::json!({"version": 1, "clusters": [{"name": "a", "inCluster": true}]});
    let mut fleet = load(&Sources { flags: Some(flags), ..Sources::default() }).unwrap();
    let one = fleet.clusters[0].clone();
    let cluster = |name: &&str| crate::fleet::Cluster { name: ClusterName::from(*name), ..one.clone() };
    fleet.clusters = names.iter().map(cluster).collect();
    fleet
}

#[test]
fn a_fleet_that_did_not_change_says_nothing() {
    assert_eq!(lines(&fleet(&["a", "b"]), &fleet(&["a", "b"])), Vec::<String>::new());
    assert_eq!(
        lines(&fleet(&["a", "b"]), &fleet(&["b", "a"])),
        Vec::<String>::new(),
        "the order is no matter"
    );
}

#[test]
fn every_changed_cluster_has_one_line_and_the_others_have_none() {
    let (old, mut new) = (fleet(&["a", "b", "c", "d"]), fleet(&["a", "b", "c", "e"]));
    new.clusters[0].paused = true;
    new.clusters[0].settings.max_nodes_in_flight = 7;
    new.clusters[1].connection = Connection::Kubeconfig { path: None, context: "x".into() };
    new.clusters[1].paused = true;
    let expected = [
        "cluster a: paused, maxNodesInFlight 1 -> 7",
        "cluster b: paused, reached by in-cluster credentials -> context x (connected anew)",
        "cluster e joins",
        "cluster d leaves; its nodes are left as they are",
    ];
    assert_eq!(lines(&old, &new), expected);
}

#[test]
fn every_field_of_a_cluster_is_told_by_its_name() {
    type Change = fn(&mut crate::fleet::Cluster);
    let changes: [(Change, &str); 9] = [
        (|one| one.lost = true, "cluster a: lost"),
        (|one| one.namespaces = vec!["x".into(), "y".into()], "namespaces all -> x y (connected anew)"),
        (|one| one.labels = [("stage".into(), "canary".into())].into(), "labels none -> stage=canary"),
        (|one| one.settings.image = "x/y".into(), "image parity/polkadot -> x/y"),
        (|one| one.settings.ports.ws = 1, "ws 9944 metrics 9615 -> p2p 30333 rpc 9933 ws 1 metrics 9615"),
        (
            |one| one.settings.probe.interval = SignedDuration::from_secs(9),
            "probe every 1m within 5s -> every 9s",
        ),
        (|one| one.settings.metrics_from = vec!["10.0.0.0/8".into()], "metricsFrom none -> 10.0.0.0/8"),
        (|one| one.settings.install_crd = true, "cluster a: installCrd"),
        (|one| one.paused = true, "cluster a: paused"),
    ];
    for (change, words) in changes {
        let (old, mut new) = (fleet(&["a"]), fleet(&["a"]));
        change(&mut new.clusters[0]);
        let lines = lines(&old, &new);
        assert!(lines.len() == 1 && lines[0].contains(words), "{words:?} in {lines:?}");
    }
}

#[test]
fn every_other_part_has_a_line() {
    let (old, mut new) = (fleet(&["a"]), fleet(&["a"]));
    new.validators.guard = Guard::Relaxed;
    new.lease = SignedDuration::from_mins(1);
    new.admin = Some(([127, 0, 0, 1], 9100).into());
    let lines = lines(&old, &new);
    let parts = ["validators: guard strict -> relaxed", "the lease 1m", "at the next start"];
    assert_eq!(lines.len(), parts.len());
    for (line, part) in lines.iter().zip(parts) {
        assert!(line.contains(part), "{line}");
    }
}
