use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::polkadot::{PolkadotSpec, PolkadotStatus};

fn polkadot(spec: &str) -> Polkadot {
    let spec: PolkadotSpec = serde_yaml::from_str(spec).unwrap();
    Polkadot::new("one", spec)
}

const SENTRIES: &str = "{kind: Sentry, clientVersion: stable2503, sentry: {replicas: 3}}";

/// Sentries of a resource that was settled once.
fn sentries() -> Polkadot {
    let mut polkadot = polkadot(SENTRIES);
    let first_settled = Some(Time(Timestamp::UNIX_EPOCH));
    polkadot.status = Some(PolkadotStatus { first_settled, ..PolkadotStatus::default() });
    polkadot
}

/// A node with a pod of this template, or without one.
fn node(ordinal: i32, hash: Option<&str>, is_ready: bool) -> NodeView {
    NodeView {
        pod: format!("sentry-sset-{ordinal}"),
        ordinal,
        hash: hash.map(Into::into),
        version: hash.map(|_| "stable2503".into()),
        ready_since: is_ready.then_some(Timestamp::UNIX_EPOCH),
        stuck: None,
    }
}

fn role(nodes: Vec<NodeView>) -> [RoleView; 1] {
    [RoleView { role: Role::Sentry, hash: "new".into(), nodes, volumes_added: false }]
}

/// What is said of a resource, by type.
fn said(
    polkadot: &Polkadot,
    roles: &[RoleView],
    change: impl FnOnce(&mut Findings<'_>),
) -> BTreeMap<&'static str, Verdict> {
    let keys = Keys::new();
    let mut found = Findings {
        roles,
        keys: &keys,
        trouble: None,
        keystore_kept: true,
        left_out: vec![],
        warnings: vec![],
    };
    change(&mut found);
    verdicts(polkadot, &found).into_iter().map(|verdict| (verdict.type_, verdict)).collect()
}

#[test]
fn a_validator_whose_keystore_goes_with_its_pod_is_warned_of_and_told_what_to_do() {
    let off = polkadot("{kind: Validator, clientVersion: stable2503, validator: {}}");
    let on = polkadot(
        "{kind: Validator, clientVersion: stable2503, validator: {dataPersistenceSupport: {enabled: true, \
         persistentVolumeClaim: {metadata: {name: data}, spec: {}}}}}",
    );
    for (polkadot, words) in [(&off, "set enabled: true"), (&on, "begins empty")] {
        let lost = said(polkadot, &[], |found| found.keystore_kept = false);
        let message = &lost["EphemeralKeystore"].message;
        assert!(message.contains(words) && message.contains("session keys"), "{message}");
    }
    assert!(!said(&on, &[], |_| {}).contains_key("EphemeralKeystore"));
}

#[test]
fn a_node_that_nothing_asks_for_while_a_resource_is_held_is_not_down() {
    let roles = role(vec![node(0, Some("new"), true), node(1, Some("new"), true), node(2, None, false)]);
    let held = said(&sentries(), &roles, |found| found.left_out = vec!["sentry-sset-2".into()]);
    assert!(!held["Degraded"].holds && !held["Progressing"].holds, "{held:?}");
    assert_eq!((held["Ready"].holds, held["Ready"].reason), (false, "LeftAsItIs"));
    let free = said(&sentries(), &roles, |_| {});
    assert!(free["Degraded"].holds && free["Progressing"].holds, "{free:?}");
}
