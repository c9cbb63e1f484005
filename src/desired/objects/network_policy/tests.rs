//! What the policy lets through, seen from whoever knocks: judged by a small evaluator of NetworkPolicies.

use std::net::IpAddr;

use serde_json::Value;

use super::*;
use crate::desired::{Inherited, Keys, Labels, selector};
use crate::fleet::Settings;
use crate::polkadot::{INSTANCE_LABEL, Polkadot, ResourceId};
use crate::version::ClientVersion;

const SAMPLE: &str = include_str!("../../../../tests/samples/sentry-and-validator.yaml");
const P2P: u16 = 30333;
const METRICS: u16 = 9615;
const RPC: u16 = 9944;

/// Somebody on the network: a pod of the policy's namespace, or an address that no pod has.
enum Party {
    Pod(Labels),
    Address(&'static str),
}

/// Whether `policy` lets traffic of its pod with `peer` through; the direction is its `ingress` or `egress`.
fn allows(policy: &Value, direction: &str, peer: &Party, protocol: &str, port: u16) -> bool {
    policy["spec"][direction].as_array().unwrap().iter().any(|rule| {
        let peers = rule["from"].as_array().or(rule["to"].as_array());
        let ports = rule["ports"].as_array();
        peers.is_none_or(|peers| peers.iter().any(|one| is_peer(one, peer)))
            && ports.is_none_or(|ports| {
                ports.iter().any(|one| one["protocol"] == protocol && one["port"] == port)
            })
    })
}

fn is_peer(rule: &Value, peer: &Party) -> bool {
    match peer {
        Party::Pod(labels) => selects(&rule["podSelector"], labels),
        Party::Address(address) => {
            rule["ipBlock"]["cidr"].as_str().is_some_and(|cidr| is_within(address.parse().unwrap(), cidr))
        }
    }
}

/// Without a selector there are no pods; with an empty one there are all.
fn selects(selector: &Value, labels: &Labels) -> bool {
    selector.is_object()
        && selector["matchLabels"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
}

fn is_within(address: IpAddr, cidr: &str) -> bool {
    let (network, bits) = cidr.split_once('/').unwrap();
    let (IpAddr::V4(address), IpAddr::V4(network)) = (address, network.parse().unwrap()) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits.parse::<u32>().unwrap()).unwrap_or(0);
    u32::from(address) & mask == u32::from(network) & mask
}

fn sample() -> Polkadot {
    let mut polkadot: Polkadot = serde_yaml::from_str(SAMPLE).unwrap();
    polkadot.metadata.namespace = Some("polkadot".into());
    polkadot
}

fn policy(polkadot: &Polkadot, settings: &Settings, inherited: &Inherited) -> Option<Value> {
    let (keys, version) = (Keys::new(), ClientVersion::parse("stable2503"));
    around_validator(&Basis { polkadot, settings, keys: &keys, version, inherited }).map(|child| child.body)
}

fn usual() -> Value {
    policy(&sample(), &Settings::default(), &Inherited::default()).unwrap()
}

fn own(role: Role) -> Party {
    Party::Pod(selector(&ResourceId::of(&sample()), role))
}

#[test]
fn the_own_sentry_reaches_the_validators_peer_to_peer_port_and_not_its_rpc() {
    for direction in ["ingress", "egress"] {
        assert!(allows(&usual(), direction, &own(Role::Sentry), "TCP", P2P));
        assert!(!allows(&usual(), direction, &own(Role::Sentry), "TCP", RPC));
        assert!(!allows(&usual(), direction, &own(Role::Sentry), "UDP", P2P));
    }
}

#[test]
fn another_resources_sentry_in_the_same_namespace_is_a_stranger() {
    let mut other = sample();
    other.metadata.name = Some("other".into());
    let sentry = Party::Pod(selector(&ResourceId::of(&other), Role::Sentry));
    assert!(!allows(&usual(), "ingress", &sentry, "TCP", P2P));
    assert!(!allows(&usual(), "egress", &sentry, "TCP", P2P));
}

#[test]
fn the_api_servers_proxy_which_is_no_pod_reaches_the_metrics_and_nothing_else() {
    let proxy = Party::Address("10.0.0.7");
    assert!(allows(&usual(), "ingress", &proxy, "TCP", METRICS));
    assert!(!allows(&usual(), "ingress", &proxy, "TCP", P2P));
    assert!(!allows(&usual(), "ingress", &proxy, "TCP", RPC));
    let settings = Settings { metrics_from: vec!["10.0.0.0/24".into()], ..Settings::default() };
    let narrow = policy(&sample(), &settings, &Inherited::default()).unwrap();
    assert!(allows(&narrow, "ingress", &proxy, "TCP", METRICS));
    assert!(!allows(&narrow, "ingress", &Party::Address("10.0.1.7"), "TCP", METRICS));
}

#[test]
fn the_validator_asks_any_dns_server_and_reaches_nobody_else_outside() {
    for server in [Party::Address("169.254.20.10"), Party::Pod(Labels::new())] {
        for protocol in ["UDP", "TCP"] {
            assert!(allows(&usual(), "egress", &server, protocol, 53));
            assert!(allows(&usual(), "egress", &server, protocol, 5353), "OpenShift's DNS pods");
        }
        assert!(!allows(&usual(), "egress", &server, "TCP", P2P));
        assert!(!allows(&usual(), "egress", &server, "TCP", 443));
    }
}

#[test]
fn the_policy_is_about_the_own_validator_in_both_directions() {
    let selected = &usual()["spec"]["podSelector"];
    let Party::Pod(validator) = own(Role::Validator) else { unreachable!() };
    let Party::Pod(sentry) = own(Role::Sentry) else { unreachable!() };
    assert!(selects(selected, &validator) && !selects(selected, &sentry));
    assert_eq!(usual()["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
}

#[test]
fn an_adopted_sentry_without_our_label_is_let_through_until_it_has_been_rolled() {
    let inherited = Inherited { unlabelled: [Role::Sentry].into(), ..Inherited::default() };
    let during = policy(&sample(), &Settings::default(), &inherited).unwrap();
    let Party::Pod(mut labels) = own(Role::Sentry) else { unreachable!() };
    labels.remove(INSTANCE_LABEL);
    let adopted = Party::Pod(labels);
    assert!(allows(&during, "ingress", &adopted, "TCP", P2P));
    assert!(!allows(&usual(), "ingress", &adopted, "TCP", P2P));
}

#[test]
fn without_sentries_of_its_own_or_switched_off_there_is_no_policy() {
    let mut polkadot = sample();
    polkadot.spec.secure_communication_support.enabled = false;
    assert_eq!(policy(&polkadot, &Settings::default(), &Inherited::default()), None);
    let mut polkadot = sample();
    polkadot.spec.kind = Kind::Validator;
    assert_eq!(policy(&polkadot, &Settings::default(), &Inherited::default()), None);
}
