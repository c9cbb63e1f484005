use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::status::Pods;
use super::*;
use crate::observed::{RoleView, Stuck};
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
        machine: None,
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
    let mut found = Findings { roles, keys: &keys, trouble: None, pods: Pods::plain(), warnings: vec![] };
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
        let lost = said(polkadot, &[], |found| found.pods.keystore_kept = false);
        let message = &lost["EphemeralKeystore"].message;
        assert!(message.contains(words) && message.contains("session keys"), "{message}");
    }
    assert!(!said(&on, &[], |_| {}).contains_key("EphemeralKeystore"));
}

#[test]
fn a_node_that_nothing_asks_for_while_a_resource_is_held_is_not_down() {
    let roles = role(vec![node(0, Some("new"), true), node(1, Some("new"), true), node(2, None, false)]);
    let held = said(&sentries(), &roles, |found| found.pods.left_out = vec!["sentry-sset-2".into()]);
    assert!(!held["Degraded"].holds && !held["Progressing"].holds, "{held:?}");
    assert_eq!((held["Ready"].holds, held["Ready"].reason), (false, "LeftAsItIs"));
    let free = said(&sentries(), &roles, |_| {});
    assert!(free["Degraded"].holds && free["Progressing"].holds, "{free:?}");
}

/// The same resource with permission to restart one sentry with this template.
fn granted(polkadot: &Polkadot, hash: &str, ordinal: i32) -> Polkadot {
    let grant = Grant {
        role: Role::Sentry,
        hash: hash.into(),
        ordinal,
        at: Timestamp::UNIX_EPOCH,
        mends: false,
        again: false,
    };
    let annotation = (record::GRANT_ANNOTATION.to_owned(), serde_json::to_string(&grant).unwrap());
    let mut polkadot = polkadot.clone();
    polkadot.metadata.annotations = Some([annotation].into());
    polkadot
}

#[test]
fn a_resource_is_on_its_way_from_the_first_permission_of_a_roll_to_its_end() {
    let old = |ordinal| node(ordinal, Some("old"), true);
    let new = |ordinal| node(ordinal, Some("new"), true);
    let at = |nodes: Vec<NodeView>, granted: &Polkadot| {
        let said = said(granted, &role(nodes), |_| {});
        let progressing = &said["Progressing"];
        assert_eq!(said.contains_key("Reconciling"), progressing.holds, "kstatus reads the other one");
        (progressing.holds, progressing.reason)
    };
    let first = granted(&sentries(), "new", 2);
    let on_its_way = (true, "Rolling");
    assert_eq!(at(vec![old(0), old(1), old(2)], &sentries()), (false, "Settled"), "not permitted yet");
    assert_eq!(at(vec![old(0), old(1), old(2)], &granted(&sentries(), "newer", 2)), (false, "Settled"));
    assert_eq!(at(vec![old(0), old(1), old(2)], &first), on_its_way);
    assert_eq!(at(vec![old(0), old(1), new(2)], &first), on_its_way, "between two permissions");
    let last = granted(&sentries(), "new", 0);
    assert_eq!(at(vec![new(0), new(1), new(2)], &last), (false, "Settled"), "done");
    let mut stuck = node(2, Some("new"), false);
    stuck.stuck = Some(Stuck { reason: "ImagePullBackOff".into(), words: None, since: None });
    assert_eq!(at(vec![old(0), old(1), stuck], &first), (false, "NodesStuck"), "waiting will not mend it");
}

#[test]
fn one_pod_waits_and_two_pods_wait() {
    let pending =
        |nodes: Vec<NodeView>| said(&sentries(), &role(nodes), |_| {})["RollPending"].message.clone();
    let old = |ordinal| node(ordinal, Some("old"), true);
    assert!(pending(vec![old(0)]).starts_with("sentry-sset-0 waits for"));
    assert!(pending(vec![old(0), old(1)]).starts_with("sentry-sset-0, sentry-sset-1 wait for"));
}

#[test]
fn a_client_that_cannot_tell_safe_rpc_methods_apart_is_warned_of() {
    for (version, warned) in [("v0.7.28", true), ("v0.7.29", true), ("v0.8.0", false), ("stable2503", false)]
    {
        let sentries =
            polkadot(&format!("{{kind: Sentry, clientVersion: {version}, sentry: {{replicas: 1}}}}"));
        assert_eq!(said(&sentries, &[], |_| {}).contains_key("UnsafeRpc"), warned, "{version}");
    }
    let validator = polkadot("{kind: Validator, clientVersion: v0.7.28, validator: {}}");
    assert!(!said(&validator, &[], |_| {}).contains_key("UnsafeRpc"), "it serves none");
}
