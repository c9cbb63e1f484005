//! The file as a whole: its shape, the environment, and what is said once for the fleet.

use super::{ONE, Sources, check, check_with, exactly, file, upgrade, with};
use crate::fleet::{Guard, Health, OtlpProtocol};

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
fn a_key_written_twice_is_refused_with_its_place() {
    let twice = "version: 1\nclusters: [{context: minikube}]\nclusters: [{context: kind-eu-1}]\n";
    exactly(twice, &[], &["has the key \"clusters\" twice, on lines 2 and 3"]);
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
fn a_kubeconfig_in_place_of_its_path_is_refused_and_not_repeated() {
    let text = "version: 1\nclusters:\n- context: minikube\n  kubeconfig: |\n    users:\n    - user: {token: SECRET}\n";
    let problems = check_with(text, &[]).unwrap_err();
    assert!(
        problems.iter().any(|one| one.contains("is a text of several lines, and no path")),
        "{problems:?}"
    );
    assert!(!problems.concat().contains("SECRET"), "{problems:?}");
}

#[test]
fn a_tab_and_another_edition_of_the_file_are_called_so() {
    let tab = "version: 1\nlease:\n\tduration: 15s\nclusters: [{context: minikube}]\n";
    exactly(tab, &[], &["line 3 begins with a tab; indent it with spaces"]);
    let edition = "{version: 2, clusters: [{context: minikube}]}";
    exactly(edition, &[], &["version: 2: is not known to this polkafleet; write 1"]);
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
fn a_variable_that_makes_a_value_misfit_is_named_and_not_the_file() {
    let of = |name: &str, value: &str, part: &str| {
        exactly(&upgrade(""), &[(name, value)], &[&format!("environment variable {name}: {part}")]);
    };
    of(
        "POLKAFLEET__UPGRADES__0__PAUSED",
        "true",
        "upgrades: {\"0\":{\"paused\":true}}: has the wrong type; a variable \
        cannot reach into a list",
    );
    of(
        "POLKAFLEET__HOME__NAME",
        "minikube",
        "home: {\"name\":\"minikube\"}: has the wrong type; write a text",
    );
    let list = "[{name: u, clientVersion: stable2503-7, stages: [{name: all, soak: 5}]}]";
    of("POLKAFLEET__UPGRADES", list, "upgrades[0].stages[0].soak: 5: is a duration without a unit");
}

#[test]
fn yes_and_no_are_told_to_be_texts() {
    let paused = |value: &str| format!("{{version: 1, clusters: [{{context: minikube, paused: {value}}}]}}");
    for (value, remedy) in [
        ("yes", "paused: \"yes\": has the wrong type; write true: yes and on are texts"),
        ("Off", "write false: no and off are texts"),
        ("'true'", "write it without quotes"),
        ("7", "paused: 7: has the wrong type; write true or false"),
    ] {
        exactly(&paused(value), &[], &[remedy]);
    }
    exactly(&upgrade("attempt: '2'"), &[], &["write it without quotes: this is a number"]);
    exactly(&upgrade("attempt: two"), &[], &["has the wrong type; write a whole number"]);
}

#[test]
fn what_is_no_text_file_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let says =
        |file: std::path::PathBuf| match file::read(&Sources { file: Some(file), ..Sources::default() }) {
            Ok(_) => panic!("it was read"),
            Err(problem) => problem.to_string(),
        };
    assert!(says(folder.path().into()).ends_with("is a directory; name the fleet file in it"));
    assert!(says(folder.path().join("none")).ends_with("is not there; name a fleet file that is there"));
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"version: 1\n# Z\xfcrich\n").unwrap();
    assert!(says(latin).contains("is not UTF-8 text, from line 2 on; save it as UTF-8"));
}
