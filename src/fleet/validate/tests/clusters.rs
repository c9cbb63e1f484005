//! Clusters: their names, their kubeconfigs and what they override.

use super::{ONE, check, cluster, exactly};
use crate::fleet::file::Sources;
use crate::fleet::validate::load_all;
use crate::fleet::{ClusterName, Settings};

#[test]
fn one_cluster_needs_no_more_than_its_context() {
    let fleet = check(ONE).unwrap();
    assert_eq!(fleet.home, ClusterName::from("minikube"));
    assert_eq!(fleet.clusters[0].settings, Settings::default());
}

#[test]
fn several_clusters_need_a_home_and_names_of_their_own() {
    let problems = check("{version: 1, clusters: [{context: minikube}, {context: minikube}]}").unwrap_err();
    assert!(problems.iter().any(|problem| problem.contains("home")));
    assert!(problems.iter().any(|problem| problem.contains("clusters[1].name")));
}

#[test]
fn a_cluster_overrides_the_defaults() {
    let fleet = check(
        "{version: 1, defaults: {image: a/b, ports: {p2p: 1000}}, clusters: [{context: minikube, ports: {ws: 1001}}]}",
    )
    .unwrap();
    let settings = &fleet.clusters[0].settings;
    assert_eq!((settings.image.as_str(), settings.ports.p2p, settings.ports.ws), ("a/b", 1000, 1001));
}

#[test]
fn a_cluster_with_a_mistake_keeps_its_place_and_its_name() {
    exactly(
        "{version: 1, home: z, clusters: [{name: z, context: nope}, {name: a, context: minikube}, \
         {name: a, context: kind-eu-1}]}",
        &[],
        &["clusters[0].context", "clusters[2].name"],
    );
}

#[test]
fn one_cluster_under_two_names_is_refused() {
    exactly(
        "{version: 1, home: a, clusters: [{name: a, context: minikube}, {name: b, context: minikube}]}",
        &[],
        &["clusters[1].context: \"minikube\": is the same cluster as clusters[0]"],
    );
    let two = "{version: 1, home: a, clusters: [{name: a, inCluster: true}, {name: b, inCluster: true}]}";
    exactly(two, &[], &["clusters[1].inCluster: \"true\": is the same cluster as clusters[0]"]);
}

#[test]
fn a_kubeconfig_that_cannot_be_read_is_named() {
    let problems =
        check("{version: 1, clusters: [{context: minikube, kubeconfig: missing.yaml}]}").unwrap_err();
    assert!(
        problems[0].contains("clusters[0].kubeconfig") && problems[0].contains("missing.yaml"),
        "{problems:?}"
    );
}

#[test]
fn a_kubeconfig_shared_by_many_is_reported_once() {
    exactly(
        "{version: 1, home: a, clusters: [{name: a, context: x, kubeconfig: missing.yaml}, \
         {name: b, context: y, kubeconfig: missing.yaml}]}",
        &[],
        &["clusters[0].kubeconfig"],
    );
}

#[test]
fn a_kubeconfig_is_read_once_for_all_its_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(
        &file,
        "{version: 1, home: a, clusters: [{context: a, kubeconfig: k}, {context: b, kubeconfig: k}]}",
    )
    .unwrap();
    std::fs::write(folder.path().join("k"), "{contexts: [{name: a}, {name: b}]}").unwrap();
    let loaded = load_all(&Sources { file: Some(file), ..Sources::default() }, &[]);
    assert!(loaded.fleet.is_ok());
    assert_eq!(loaded.kubeconfigs, [(Some(folder.path().join("k")), Ok(()))].into());
}

#[test]
fn names_labels_namespaces_and_images_are_checked() {
    exactly(
        &cluster("namespaces: [A, x, x]"),
        &[],
        &["namespaces[0]", "namespaces[2]: \"x\": stands here twice"],
    );
    exactly(&cluster("labels: {'a b': c, d: 'e f', example.com/g: h}"), &[], &["labels.a b", "labels.d"]);
    exactly(&cluster("image: 'a b'"), &[], &["clusters[0].image"]);
    assert!(check(&cluster("image: 'localhost:5000/parity/polkadot'")).is_ok());
    exactly("{version: 1, clusters: [{inCluster: true}]}", &[], &["clusters[0].name: is missing"]);
    exactly(
        "{version: 1, clusters: [{name: a, inCluster: true, kubeconfig: x}]}",
        &[],
        &["clusters[0].kubeconfig: \"x\": is not used"],
    );
    exactly(
        "{version: 1, clusters: [{context: minikube}], \
         upgrades: [{name: '', clientVersion: v1.0.0, stages: [{name: A}]}]}",
        &[],
        &["upgrades[0].name", "upgrades[0].stages[0].name"],
    );
}

#[test]
fn each_bad_cidr_is_reported() {
    let at = "clusters[0].networkPolicy.metricsFrom";
    let parts = [format!("{at}[0]"), format!("{at}[2]")];
    exactly(
        &cluster("networkPolicy: {metricsFrom: [a, fd00::/8, b]}"),
        &[],
        &parts.each_ref().map(String::as_str),
    );
}

#[test]
fn a_clash_of_ports_is_told_where_a_person_wrote_it() {
    exactly(ONE, &[("P2P_PORT", "9944")], &["environment variable P2P_PORT: defaults.ports.p2p: \"9944\""]);
    exactly(&cluster("ports: {rpc: 30333}"), &[], &["fleet.yaml: clusters[0].ports.rpc"]);
}

#[test]
fn probes_are_overridden_key_by_key_and_must_leave_time() {
    let text = |defaults: &str, own: &str| {
        format!(
            "{{version: 1, home: a, defaults: {{installCrd: true, probe: {{{defaults}}}}}, clusters: [{{name: a, \
             context: minikube}}, {{name: b, context: kind-eu-1, installCrd: false, probe: {{{own}}}}}]}}"
        )
    };
    let fleet = check(&text("interval: 30s", "timeout: 10s")).unwrap();
    let of = |index: usize| {
        let settings = &fleet.clusters[index].settings;
        (settings.probe.interval.as_secs(), settings.probe.timeout.as_secs(), settings.install_crd)
    };
    assert_eq!((of(0), of(1)), ((30, 5, true), (30, 10, false)));
    exactly(&text("interval: 5s", ""), &[], &["defaults.probe.interval: \"5s\": leaves no time"]);
    exactly(&text("", "timeout: 60s"), &[], &["clusters[1].probe.timeout: \"60s\": leaves no time"]);
    exactly(&text("interval: 0s, timeout: 0s", ""), &[], &["defaults.probe.interval: \"0s\": is too short"]);
    exactly(&text("timeout: 0s", ""), &[], &["defaults.probe.timeout: \"0s\": would fail every probe"]);
    exactly(&text("timeout: soon", ""), &[], &["defaults.probe.timeout: \"soon\": is not a duration"]);
}

#[test]
fn one_context_is_one_cluster_however_its_kubeconfig_is_written() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(folder.path().join("k"), folder.path().join("link")).unwrap();
    std::fs::write(folder.path().join("k"), "").unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let usual = crate::fleet::watch::usual_kubeconfigs();
    let usual = usual[0].display().to_string();
    let two = |one: &str, other: &str| {
        format!(
            "{{version: 1, home: a, clusters: [{{name: a, context: minikube{one}}}, {{name: b, context: minikube{other}}}]}}"
        )
    };
    let written = |path: &str| format!(", kubeconfig: '{path}'");
    for (one, other) in [
        (String::new(), String::new()),
        (String::new(), written(&usual)),
        (written(&at("k")), written(&at("link"))),
        (written(&at("k")), written(&at("./k"))),
    ] {
        exactly(&two(&one, &other), &[], &["is the same cluster as clusters[0]"]);
    }
    assert!(check(&two("", &written(&at("k")))).is_ok());
}
