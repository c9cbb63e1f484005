use super::*;
use crate::fleet::Settings;

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
    validate(&written, None, &fake_contexts, &[])
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

/// Exactly these problems, each known by some part of its text: nothing is hidden, nothing is made up.
fn exactly(text: &str, env: &[(&str, &str)], expected: &[&str]) {
    let problems = check_with(text, env).expect_err(text);
    assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
    for part in expected {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part} of {text}\n{problems:#?}");
    }
}

/// A file with one upgrade, to which `more` is added.
fn upgrade(more: &str) -> String {
    format!(
        "{{version: 1, clusters: [{{context: minikube}}], upgrades: [{{name: u, clientVersion: stable2503-7, \
         stages: [{{name: all}}], {more}}}]}}"
    )
}

/// A file with one cluster, to which `more` is added.
fn cluster(more: &str) -> String {
    format!("{{version: 1, clusters: [{{context: minikube, {more}}}]}}")
}

#[test]
fn a_key_written_twice_is_refused_with_its_place() {
    let twice = "version: 1\nclusters: [{context: minikube}]\nclusters: [{context: kind-eu-1}]\n";
    exactly(twice, &[], &["duplicate entry with key \"clusters\""]);
    exactly(
        "version: 1\nclusters:\n  - {context: minikube, paused: true, paused: false}\n",
        &[],
        &["line 3"],
    );
}

#[test]
fn what_is_no_mapping_is_told_as_such() {
    exactly("", &[], &["is empty"]);
    exactly("# only a remark\n", &[], &["is empty"]);
    exactly("[1]", &[], &["is not a mapping"]);
}

#[test]
fn a_key_of_another_place_is_unknown_here() {
    let text = "{version: 1, clusters: [{context: minikube}], defaults: {paused: true}}";
    exactly(
        text,
        &[],
        &["defaults.paused: is not a key that may stand here; remove it; the keys here are image"],
    );
    exactly(&upgrade("selector: {matchLabel: {a: b}}"), &[], &["upgrades[0].selector.matchLabel"]);
}

#[test]
fn a_misshapen_value_is_one_problem_and_hides_no_other() {
    exactly(
        "{version: 1, validators: {maxUnavailable: 5000000000}, clusters: [{context: nope}], telemetri: {}}",
        &[],
        &[
            "validators.maxUnavailable: 5000000000: is out of range",
            "clusters[0].context",
            "did you mean telemetry?",
        ],
    );
    exactly("{version: 1, home: minikube, clusters: [5, {context: minikube}]}", &[], &["clusters[0]: 5"]);
    exactly("{version: 1, clusters: [{name: a, context: 5}]}", &[], &["clusters[0].context: 5"]);
    exactly(
        &upgrade("selector: {matchExpressions: [5]}"),
        &[],
        &["upgrades[0].selector.matchExpressions[0]: 5"],
    );
    exactly(&upgrade("unreachable: skipp"), &[], &["did you mean skip?"]);
    exactly(&upgrade("maxFailures: -1"), &[], &["upgrades[0].maxFailures: -1"]);
}

#[test]
fn a_number_where_a_text_belongs_should_be_quoted() {
    let text = "{version: 1, clusters: [{context: minikube}], \
                upgrades: [{name: u, clientVersion: 1.10, stages: [{name: all}]}]}";
    exactly(text, &[], &["upgrades[0].clientVersion: 1.1: has the wrong type; put it in quotes"]);
}

#[test]
fn a_key_without_a_value_is_a_mistake() {
    exactly(
        "version: 1\nclusters: [{context: minikube}]\nupgrades:\n",
        &[],
        &["upgrades: null: has no value"],
    );
    let stage = "{version: 1, clusters: [{context: minikube}], upgrades: [{name: u, clientVersion: v1.0.0, \
                 stages: [{name: a, approval: }]}]}";
    exactly(stage, &[], &["stages[0].approval: null: has no value"]);
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
    exactly(two, &[], &["clusters[1].context"]);
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
fn a_selector_that_says_less_than_it_seems_to_is_refused() {
    let expression = |text: &str| upgrade(&format!("selector: {{matchExpressions: [{{{text}}}]}}"));
    // Without its key this one would have selected every resource.
    exactly(&expression("operator: DoesNotExist"), &[], &["matchExpressions[0].key"]);
    exactly(&expression("key: a, operator: Exists, vals: [x]"), &[], &["matchExpressions[0].vals"]);
    exactly(&expression("key: a, operator: In, values: []"), &[], &["does not go with In"]);
    exactly(&expression("key: a, operator: Exists, values: [x]"), &[], &["does not go with Exists"]);
    exactly(&expression("key: a, operator: in, values: [x]"), &[], &["did you mean In?"]);
    exactly(&expression("key: a"), &[], &["matchExpressions[0].operator: is missing"]);
    let fleet = check(&expression("key: a, operator: NotIn, values: [y, x]")).unwrap();
    assert_eq!(fleet.upgrades[0].selector.to_string(), "a notin (x,y)");
}

#[test]
fn versions_of_all_kinds_must_be_releases_and_must_matter() {
    exactly(&upgrade("expedite: {version: latest, reason: x}"), &[], &["upgrades[0].expedite.version"]);
    exactly(&upgrade("expedite: {version: v1.0.0}"), &[], &["upgrades[0].expedite.reason"]);
    let approved = "{version: 1, clusters: [{context: minikube}], upgrades: [{name: u, clientVersion: v1.0.0, \
                    stages: [{name: a, approvedVersion: v1.0.0}]}]}";
    exactly(approved, &[], &["stages[0].approvedVersion: \"v1.0.0\": has no effect"]);
}

#[test]
fn durations_may_be_days_and_deadlines_may_not_be_nothing() {
    let fleet = check(&upgrade("progressDeadline: 1d 2h, health: {stableFor: 90s}")).unwrap();
    assert_eq!(fleet.upgrades[0].progress_deadline.as_secs(), 26 * 3600);
    assert_eq!(fleet.upgrades[0].stable_for.as_secs(), 90);
    for wrong in ["0s", "-5m", "30", "1 month", "400d", "soon"] {
        exactly(&upgrade(&format!("progressDeadline: '{wrong}'")), &[], &["upgrades[0].progressDeadline"]);
    }
}

#[test]
fn a_clash_of_ports_is_told_where_a_person_wrote_it() {
    exactly(ONE, &[("P2P_PORT", "9944")], &["environment variable P2P_PORT: defaults.ports.p2p: \"9944\""]);
    exactly(&cluster("ports: {rpc: 30333}"), &[], &["fleet.yaml: clusters[0].ports.rpc"]);
}

#[test]
fn an_unknown_variable_is_named() {
    exactly(
        ONE,
        &[("POLKAFLEET__DEFAULT__IMAGE", "a")],
        &["environment variable POLKAFLEET__DEFAULT__IMAGE: default"],
    );
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    assert!(check_with(ONE, &[("P2P_PORT", ""), ("IMAGE_CLIENT", "")]).is_ok());
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
