use super::*;

fn fake_contexts(path: Option<&Path>) -> Result<Vec<String>, String> {
    match path {
        Some(path) if path.ends_with("missing.yaml") => Err("no such file".into()),
        _ => Ok(["kind-eu-canary", "kind-eu-1", "kind-us-1", "minikube"].map(String::from).to_vec()),
    }
}

fn check_with(text: &str, env: &[(&str, &str)]) -> Result<Fleet, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let written = match file::read(&Sources { file: Some(file), env, flags: None }) {
        Ok(written) => written,
        Err(problem) => return Err(vec![problem.to_string()]),
    };
    validate(&written, None, &fake_contexts)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn check(text: &str) -> Result<Fleet, Vec<String>> {
    check_with(text, &[])
}

const ONE: &str = "{version: 1, clusters: [{context: minikube}]}";

#[test]
fn the_shipped_examples_are_valid() {
    for example in [include_str!("../../../fleet/fleet.yaml"), include_str!("../../../fleet/minikube.yaml")] {
        if let Err(problems) = check(example) {
            panic!("{problems:#?}");
        }
    }
}

#[test]
fn the_shipped_schema_is_the_generated_one() {
    let shipped: serde_json::Value =
        serde_json::from_str(include_str!("../../../fleet/fleet.schema.json")).unwrap();
    assert_eq!(shipped, file::json_schema(), "run: polkafleet schema > fleet/fleet.schema.json");
}

#[test]
fn one_cluster_needs_no_more_than_its_context() {
    let fleet = check(ONE).unwrap();
    assert_eq!(fleet.home, ClusterName::from("minikube"));
    assert_eq!(fleet.clusters[0].settings, Settings::default());
}

#[test]
fn three_mistakes_are_reported_at_once_with_file_field_value_and_remedy() {
    let problems = check(
        "{version: 1, home: eu, clusters: [{name: eu, context: kind-eu-cannary}, {name: us, context: kind-us-1, \
         pausd: true}], upgrades: [{name: u, clientVersion: latest, stages: [{name: all}]}]}",
    )
    .unwrap_err();
    let has = |parts: &[&str]| {
        assert!(
            problems.iter().any(|problem| parts.iter().all(|part| problem.contains(part))),
            "{parts:?} in {problems:#?}"
        );
    };
    has(&["fleet.yaml", "clusters[0].context", "kind-eu-cannary", "did you mean kind-eu-canary?"]);
    has(&["fleet.yaml", "clusters[1].pausd", "did you mean paused?"]);
    has(&["fleet.yaml", "upgrades[0].clientVersion", "latest", "release tag"]);
}

#[test]
fn wrong_types_and_values_do_not_hide_mistakes_of_sense() {
    let problems = check(
        "{version: 2, clusters: [{name: Eu_1, context: minikube, maxNodesInFlight: none}], \
         defaults: {ports: {p2p: 0}, image: 'a/b:c', networkPolicy: {metricsFrom: [10.0.0.0/99]}}, \
         telemetry: {otlp: {endpoint: nowhere}}, \
         upgrades: [{name: u, clientVersion: stable2503, unreachable: maybe, progressDeadline: soon, maxFailures: 101%, \
         stages: [{name: a, maxConcurrent: 0%}, {name: a}]}]}",
    )
    .unwrap_err();
    for path in [
        "version",
        "clusters[0].name",
        "clusters[0].maxNodesInFlight",
        "defaults.ports.p2p",
        "defaults.image",
        "defaults.networkPolicy.metricsFrom",
        "telemetry.otlp.endpoint",
        "upgrades[0].unreachable",
        "upgrades[0].progressDeadline",
        "upgrades[0].maxFailures",
        "upgrades[0].stages[0].maxConcurrent",
        "upgrades[0].stages[1].name",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(&format!(": {path}"))),
            "{path} in {problems:#?}"
        );
    }
}

#[test]
fn yaml_that_does_not_parse_is_one_problem_with_its_place() {
    let problems = check("version: 1\nclusters: [").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("line"), "{problems:?}");
}

#[test]
fn several_clusters_need_a_home_and_names_of_their_own() {
    let problems = check("{version: 1, clusters: [{context: minikube}, {context: minikube}]}").unwrap_err();
    assert!(problems.iter().any(|problem| problem.contains("home")));
    assert!(problems.iter().any(|problem| problem.contains("clusters[1].name")));
}

#[test]
fn the_environment_overrides_the_file_and_is_named_in_errors() {
    let env = [
        ("POLKAFLEET__DEFAULTS__MAXNODESINFLIGHT", "3"),
        ("METRICS_PORT", "9616"),
        ("WS_PORT", "tcp://10.0.0.1:80"),
    ];
    let settings = check_with(ONE, &env).unwrap().clusters[0].settings.clone();
    assert_eq!((settings.max_nodes_in_flight, settings.ports.metrics, settings.ports.ws), (3, 9616, 9944));
    let problems = check_with(ONE, &[("IMAGE_CLIENT", "parity/polkadot:latest")]).unwrap_err();
    assert!(problems[0].contains("environment variable IMAGE_CLIENT"), "{problems:?}");
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
fn a_kubeconfig_that_cannot_be_read_is_named() {
    let problems =
        check("{version: 1, clusters: [{context: minikube, kubeconfig: missing.yaml}]}").unwrap_err();
    assert!(
        problems[0].contains("clusters[0].kubeconfig") && problems[0].contains("missing.yaml"),
        "{problems:?}"
    );
}
