use super::*;
use crate::fleet::{ClusterName, Guard, Health, OtlpProtocol, Settings};

fn fake_contexts(path: Option<&Path>) -> Result<Vec<String>, String> {
    match path {
        Some(path) if path.ends_with("missing.yaml") => Err("no such file".into()),
        _ => Ok(["kind-eu-canary", "kind-eu-1", "kind-us-1", "minikube"]
            .map(String::from)
            .into_iter()
            .chain((1..=12).map(|number| format!("prod-{number}")))
            .collect()),
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
    let schema = file::json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=./fleet.schema.json\n"), "{path:?}");
        if let Err(problems) = check(&text) {
            panic!("{path:?}: {problems:#?}");
        }
        let written: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let wrong: Vec<String> = validator.iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{path:?}: {wrong:?}");
        seen.insert(path.file_name().unwrap().to_owned());
    }
    let names = ["big.yaml", "fleet.yaml", "in-cluster.yaml", "minikube.yaml"];
    assert_eq!(seen, names.into_iter().map(Into::into).collect());
}

/// Every key of the schema, with the keys above it.
fn keys(schema: &serde_json::Value, at: &serde_json::Value, above: &str, found: &mut BTreeSet<String>) {
    let at = at["$ref"].as_str().map_or(at, |to| schema.pointer(&to[1..]).unwrap());
    if at["items"].is_object() {
        keys(schema, &at["items"], above, found);
    }
    for (key, below) in at["properties"].as_object().into_iter().flatten() {
        let path = format!("{above}.{key}");
        keys(schema, below, &path, found);
        found.insert(path);
    }
}

/// Every key of what is written, with the keys above it.
fn written_keys(at: &serde_json::Value, above: &str, found: &mut BTreeSet<String>) {
    for item in at.as_array().into_iter().flatten() {
        written_keys(item, above, found);
    }
    for (key, below) in at.as_object().into_iter().flatten() {
        let path = format!("{above}.{key}");
        written_keys(below, &path, found);
        found.insert(path);
    }
}

#[test]
fn the_example_that_explains_every_field_has_every_field() {
    let (schema, mut known, mut written) = (file::json_schema(), BTreeSet::new(), BTreeSet::new());
    keys(&schema, &schema, "", &mut known);
    let text = include_str!("../../../fleet/fleet.yaml");
    written_keys(&serde_yaml::from_str(text).unwrap(), "", &mut written);
    // What a cluster may override is explained where it stands for all of them.
    let elsewhere = |key: &&String| {
        key.strip_prefix(".clusters").is_some_and(|key| written.contains(&format!(".defaults{key}")))
    };
    let missing: Vec<_> = known.difference(&written).filter(|key| !elsewhere(key)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
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
    assert_eq!(fleet.upgrades[0].health.stable_for.as_secs(), 90);
    for wrong in ["0s", "-5m", "30", "1 month", "400d", "soon"] {
        exactly(&upgrade(&format!("progressDeadline: '{wrong}'")), &[], &["upgrades[0].progressDeadline"]);
    }
}

#[test]
fn a_duration_without_a_unit_is_told_the_same_with_and_without_quotes() {
    for number in ["30", "'30'"] {
        let says = "is a duration without a unit; write 30s, 30m or 30h";
        exactly(&upgrade(&format!("progressDeadline: {number}")), &[], &[says]);
        exactly(&upgrade(&format!("health: {{stableFor: {number}}}")), &[], &[says]);
        exactly(&cluster(&format!("probe: {{interval: {number}}}")), &[], &[says]);
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

/// Everything of the file's head that is said once for the whole fleet.
fn with(more: &str) -> String {
    format!("{{version: 1, clusters: [{{context: minikube}}], {more}}}")
}

#[test]
fn what_is_not_said_has_its_usual_value() {
    let fleet = check(&upgrade("")).unwrap();
    assert_eq!((fleet.home_namespace.as_str(), fleet.lease.as_secs(), fleet.admin), ("polkafleet", 15, None));
    assert_eq!((fleet.validators.max_unavailable, fleet.validators.guard), (1, Guard::Strict));
    assert_eq!((fleet.telemetry.otlp_protocol, fleet.telemetry.trace_url), (OtlpProtocol::Grpc, None));
    assert_eq!((fleet.upgrades[0].health, fleet.upgrades[0].prepull), (Health::default(), true));
    let settings = &fleet.clusters[0].settings;
    let probe = (settings.probe.interval.as_secs(), settings.probe.timeout.as_secs());
    assert_eq!((probe, settings.install_crd), ((60, 5), false));
}

#[test]
fn what_is_said_of_the_whole_fleet_is_taken() {
    let fleet = check(&with(
        "homeNamespace: ops, lease: {duration: 1m}, validators: {guard: relaxed}, admin: {listen: '[::1]:9100'}, \
         telemetry: {otlp: {endpoint: 'http://[::1]:4318', protocol: http}, traceUrl: 'https://x.example/{traceId}'}",
    ))
    .unwrap();
    assert_eq!((fleet.home_namespace.as_str(), fleet.lease.as_secs()), ("ops", 60));
    assert_eq!((fleet.validators.guard, fleet.telemetry.otlp_protocol), (Guard::Relaxed, OtlpProtocol::Http));
    assert_eq!(fleet.admin.unwrap().port(), 9100);
    let fleet =
        check(&upgrade("prepull: false, health: {minPeers: 0, maxSyncLag: 1, maxFinalityLag: 2}")).unwrap();
    let health = Health { min_peers: 0, max_sync_lag: 1, max_finality_lag: 2, ..Health::default() };
    assert_eq!((fleet.upgrades[0].health, fleet.upgrades[0].prepull), (health, false));
}

#[test]
fn what_is_wrong_of_the_whole_fleet_is_told_at_its_place() {
    exactly(&with("homeNamespace: A"), &[], &["homeNamespace: \"A\": is not a DNS label"]);
    for wrong in ["2s", "6m"] {
        exactly(&with(&format!("lease: {{duration: {wrong}}}")), &[], &["lease.duration"]);
    }
    exactly(&with("lease: {duration: soon}"), &[], &["lease.duration: \"soon\": is not a duration"]);
    exactly(&with("validators: {guard: strickt}"), &[], &["did you mean strict?"]);
    exactly(
        &with("telemetry: {otlp: {endpoint: 'http://a:1', protocol: htp}}"),
        &[],
        &["did you mean http?"],
    );
    for wrong in ["https://x.example/", "{traceId}", "ftp://x.example/{traceId}"] {
        exactly(&with(&format!("telemetry: {{traceUrl: '{wrong}'}}")), &[], &["telemetry.traceUrl"]);
    }
    for wrong in ["9100", "':9100'", "localhost:9100", "127.0.0.1:0"] {
        exactly(&with(&format!("admin: {{listen: {wrong}}}")), &[], &["admin.listen"]);
    }
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
fn what_has_no_effect_yet_is_said_in_a_line_each() {
    assert_eq!(check(ONE).unwrap().without_effect(), Vec::<String>::new());
    let fleet = check(include_str!("../../../fleet/fleet.yaml")).unwrap();
    let lines = fleet.without_effect();
    for part in ["guard", "prepull", "traceUrl", "admin.listen"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:#?}");
    }
    let fleet = check(&with(
        "defaults: {probe: {interval: 1h}}, \
         telemetry: {otlp: {endpoint: 'http://a:1', protocol: http}}",
    ))
    .unwrap();
    assert_eq!(fleet.without_effect().len(), 1, "{:?}", fleet.without_effect());
}
