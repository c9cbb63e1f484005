use std::collections::BTreeMap;

use super::refusals::refusals;
use super::*;
use crate::desired::{Inherited, Keys, given_key};
use crate::fleet::Settings;
use crate::identity::NodeKey;
use crate::polkadot::Polkadot;

const SAMPLE: &str = include_str!("../../../tests/samples/sentry-and-validator.yaml");
/// One client of every era, and the newest.
const CLIENTS: [&str; 5] = ["v0.7.28", "v0.8.28", "v0.9.42", "v1.0.0", "stable2503-7"];

fn sample(tag: &str) -> Polkadot {
    let mut polkadot: Polkadot = serde_yaml::from_str(SAMPLE).unwrap();
    polkadot.spec.client_version = Some(tag.into());
    polkadot
}

fn rendered(polkadot: &Polkadot, role: Role) -> Vec<String> {
    let keys: Keys = Role::ALL
        .into_iter()
        .flat_map(|role| (0..polkadot.replicas(role)).map(move |ordinal| (role, ordinal)))
        .map(|(role, ordinal)| {
            let key = given_key(polkadot, role, ordinal).unwrap_or_else(|| NodeKey::from_seed([7; 32]));
            ((role, ordinal), key)
        })
        .collect();
    let version = ClientVersion::parse(polkadot.spec.client_version.as_deref().unwrap());
    let (settings, inherited) = (Settings::default(), Inherited::default());
    arguments(&Basis { polkadot, settings: &settings, keys: &keys, version, inherited: &inherited }, role)
}

#[test]
fn the_command_lines_of_every_era_and_role_are_the_golden_ones() {
    let all: BTreeMap<String, Vec<String>> = CLIENTS
        .into_iter()
        .flat_map(|tag| Role::ALL.map(|role| (format!("{tag} {role}"), rendered(&sample(tag), role))))
        .collect();
    insta::assert_yaml_snapshot!(all);
}

#[test]
fn a_key_is_on_no_command_line_and_a_validators_rpc_is_open_to_nobody() {
    for tag in CLIENTS.into_iter().chain(["latest"]) {
        let polkadot = sample(tag);
        for role in Role::ALL {
            let line = rendered(&polkadot, role).join(" ");
            let key = given_key(&polkadot, role, 0).unwrap().to_hex();
            assert!(!line.contains(&key) && !line.contains("unsafe"), "{tag} {role}: {line}");
            assert!(line.contains("-external "), "the metrics always are: {line}");
            assert_eq!(line.contains("rpc-external"), role == Role::Sentry, "{tag} {role}: {line}");
        }
    }
}

#[test]
fn peers_are_named_in_the_encoding_of_the_client() {
    for (tag, start) in [("v0.7.28", "/p2p/Qm"), ("v0.8.0", "/p2p/12D3KooW"), ("latest", "/p2p/12D3KooW")] {
        let line = rendered(&sample(tag), Role::Sentry).join(" ");
        assert!(line.contains(start), "{tag}: {line}");
    }
}

#[test]
fn more_arguments_that_clash_with_ours_are_refused_with_what_to_do_instead() {
    for (given, remedy) in [
        (vec!["--node-key=00"], "nodeKeySecretRef"),
        (vec!["--name", "x"], "clientName"),
        (vec!["-d", "/tmp"], "where the volume is"),
        (vec!["-d/tmp"], "where the volume is"),
        (vec!["--unsafe-rpc-external"], "decided by its role"),
        (vec!["--ws-max-connections=5"], "gone since v0.9.43"),
        (vec!["purge-chain"], "neither an argument"),
        (vec!["--no-telemetry", "purge-chain"], "a subcommand does not run"),
        (vec!["--log debug"], "a space in it"),
        (vec!["--db=paritydb"], "set database beside it"),
    ] {
        let mut polkadot = sample("stable2503");
        polkadot.spec.sentry.as_mut().unwrap().node.extra_args =
            given.iter().map(|one| (*one).into()).collect();
        let words = refusals(&polkadot, &ClientVersion::parse("stable2503"));
        assert!(words.len() == 1 && words[0].contains(remedy), "{given:?}: {words:?}");
        assert!(words[0].starts_with("spec.sentry.extraArgs: "), "{words:?}");
    }
    let mut polkadot = sample("stable2503");
    let fine = ["--in-peers", "10", "--bootnodes=/dns/a/tcp/1/p2p/x", "-lsync=debug"];
    polkadot.spec.sentry.as_mut().unwrap().node.extra_args = fine.map(String::from).into();
    assert_eq!(refusals(&polkadot, &ClientVersion::parse("stable2503")), Vec::<String>::new());
    assert!(rendered(&polkadot, Role::Sentry).ends_with(&fine.map(String::from)));
}

#[test]
fn a_key_among_more_arguments_is_in_no_refusal() {
    let key = "13ab".repeat(16);
    for given in [
        vec![format!("--node-key {key}")],
        vec![format!("--node-key={key}")],
        vec!["--node-key".into(), key.clone()],
        vec![format!("--node-key\t{key} --name x")],
        vec![format!("--nodekey {key}")],
        vec![format!("--{key} x")],
        vec![key.clone()],
        vec![format!("node-key {key}")],
        vec![format!("-k {key}")],
    ] {
        let mut polkadot = sample("stable2503");
        polkadot.spec.sentry.as_mut().unwrap().node.extra_args = given.clone();
        let words = refusals(&polkadot, &ClientVersion::parse("stable2503")).join("; ");
        assert!(!words.is_empty() && !words.contains("13ab"), "{given:?}: {words}");
    }
}

#[test]
fn a_name_is_as_long_as_its_client_takes_it() {
    let mut polkadot = sample("v0.9.42");
    polkadot.spec.sentry.as_mut().unwrap().node.client_name = Some("x".repeat(32));
    let words = refusals(&polkadot, &ClientVersion::parse("v0.9.42"));
    assert!(words[0].contains("spec.sentry.clientName") && words[0].contains("31"), "{words:?}");
    assert!(refusals(&polkadot, &ClientVersion::parse("stable2503")).is_empty());
}

#[test]
fn liveness_never_asks_for_sync_and_a_start_may_take_an_hour() {
    for tag in CLIENTS {
        for role in Role::ALL {
            let probes = probes(&ClientVersion::parse(tag), role);
            assert_ne!(probes["livenessProbe"]["httpGet"]["path"], "/health/readiness");
            let startup = &probes["startupProbe"];
            let seconds =
                startup["periodSeconds"].as_i64().unwrap() * startup["failureThreshold"].as_i64().unwrap();
            assert!(seconds >= 3600, "{tag} {role}");
        }
    }
    let ready = &probes(&ClientVersion::parse("stable2503"), Role::Sentry)["readinessProbe"];
    assert_eq!(ready["httpGet"]["path"], "/health/readiness");
}

#[test]
fn a_client_older_than_all_that_are_known_is_refused_by_its_version_alone() {
    let refused = |tag: &str| refusals(&sample(tag), &ClientVersion::parse(tag));
    let words = refused("v0.6.0");
    assert!(
        words.len() == 1 && words[0].starts_with("spec.clientVersion: v0.6.0 is older than v0.7"),
        "{words:?}"
    );
    for tag in ["v0.7.0", "latest"] {
        assert!(!refused(tag).iter().any(|words| words.contains("older than")), "{tag}");
    }
}
