//! Random `Polkadot` resources: everything that the schema lets through, sensible or not.

use polkafleet::polkadot::Polkadot;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// `count` resources, the same in every run.
pub fn resources(count: usize) -> Vec<Polkadot> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| resource().new_tree(&mut runner).unwrap().current()).collect()
}

/// Any resource.
pub fn resource() -> impl Strategy<Value = Polkadot> {
    let versions = [
        "v0.7.28",
        "v0.8.0",
        "v0.8.28",
        "v0.8.30",
        "v0.9.16",
        "v0.9.42",
        "v0.9.43",
        "v1.0.0",
        "v1.4.0",
        "v1.11.0",
        "v1.14.0",
        "stable2407",
        "stable2409-3",
        "stable2503-7",
        "latest",
        "my-own_build.1",
    ];
    let whole = (
        select(vec!["Sentry", "Validator", "SentryAndValidator"]),
        option::weighted(0.95, select(versions.to_vec())),
        option::of("[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?"),
        option::of("[a-z]([-a-z0-9]{0,28}[a-z0-9])?"),
        (any::<bool>(), any::<bool>()),
        vec("[a-z0-9]{1,20}", 0..3),
    );
    let sentry = (0..4_i32, node(), option::of("[1-9A-HJ-NP-Za-km-z]{1,64}"));
    let validator = (node(), any::<bool>(), any::<bool>());
    (
        "[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?",
        whole,
        option::weighted(0.95, sentry),
        option::weighted(0.95, validator),
    )
        .prop_map(
            |(name, (kind, version, chain, prefix, (secure, metrics), secrets), sentry, validator)| {
                let mut spec = json!({
                    "kind": kind, "clientVersion": version, "chain": chain, "namePrefix": prefix,
                    "secureCommunicationSupport": {"enabled": secure}, "metricsSupport": {"enabled": metrics},
                    "imagePullSecrets": secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
                });
                if let Some((replicas, mut node, id)) = sentry {
                    node["replicas"] = json!(replicas);
                    node["reservedValidatorID"] = json!(id);
                    spec["sentry"] = node;
                }
                if let Some((mut node, insecure, budget)) = validator {
                    node["insecureValidator"] = json!(insecure);
                    node["podDisruptionBudget"] = json!(budget);
                    spec["validator"] = node;
                }
                drop_nulls(&mut spec);
                let mut polkadot = Polkadot::new(&name, serde_json::from_value(spec).unwrap());
                polkadot.metadata.namespace = Some("default".into());
                polkadot.metadata.uid = Some("00000000-0000-4000-8000-000000000000".into());
                polkadot
            },
        )
}

fn node() -> impl Strategy<Value = Value> {
    let identity = (
        option::of("[A-Za-z0-9 _é-]{1,63}"),
        // Either of them, or none.
        prop_oneof![
            Just((None, None)),
            "[0-9a-fA-F]{64}".prop_map(|key| (Some(key), None)),
            Just((None, Some(json!({"name": "keys", "key": "node-key"})))),
        ],
    );
    let data = (
        option::of(persistence()),
        option::weighted(0.3, select(vec!["archive", "archive-canonical", "256", "1"])),
        option::weighted(0.3, select(vec!["auto", "rocksdb", "paritydb", "paritydb-experimental"])),
    );
    let arguments = (
        arguments(),
        subsequence(vec!["/dns/$(POD_NAME).example.org/tcp/30333", "/ip4/192.0.2.1/tcp/1"], 0..=2),
    );
    let services = (option::of(service()), option::of(service()));
    let placing = (
        labels(),
        subsequence(
            vec![json!({"key": "dedicated", "operator": "Exists"}), json!({"operator": "Exists"})],
            0..=2,
        ),
        option::of(Just(affinity())),
        labels(),
        option::of(select(vec![json!({}), json!({"limits": {"cpu": "500m", "memory": "1Gi"}})])),
    );
    (identity, data, arguments, services, placing).prop_map(
        |(
            (name, (key, key_ref)),
            (persistence, pruning, database),
            (more, addresses),
            (service, p2p),
            (selector, tolerations, affinity, annotations, resources),
        )| {
            json!({
                "clientName": name, "nodeKey": key, "nodeKeySecretRef": key_ref,
                "dataPersistenceSupport": persistence, "pruning": pruning, "database": database, "extraArgs": more,
                "publicAddr": addresses, "service": service, "p2pServices": p2p, "nodeSelector": selector,
                "tolerations": tolerations, "affinity": affinity, "podAnnotations": annotations,
                "resources": resources,
            })
        },
    )
}

/// Mostly fine ones.
fn arguments() -> impl Strategy<Value = Vec<&'static str>> {
    let fine = subsequence(vec!["--no-telemetry", "--in-peers=10", "-lsync=debug"], 0..=3);
    let clashing = select(vec!["--name=x", "--ws-external", "x 0", "-d/tmp", "purge-chain"]);
    (fine, option::weighted(0.05, clashing)).prop_map(|(mut all, more)| {
        all.extend(more);
        all
    })
}

fn persistence() -> impl Strategy<Value = Value> {
    let claim = ("[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", 1..2000_u32, option::of(Just("standard")), labels());
    (any::<bool>(), option::weighted(0.95, claim), any::<bool>()).prop_map(|(enabled, claim, kept)| {
        let claim = claim.map(|(name, size, class, labels)| {
            json!({
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                    "resources": {"requests": {"storage": format!("{size}Gi")}},
                },
            })
        });
        let retention = (!kept).then(|| json!({"whenDeleted": "Delete", "whenScaled": "Retain"}));
        json!({"enabled": enabled, "persistentVolumeClaim": claim, "retentionPolicy": retention})
    })
}

fn service() -> impl Strategy<Value = Value> {
    let type_ = option::of(select(vec!["ClusterIP", "NodePort", "LoadBalancer"]));
    (type_, labels()).prop_map(|(type_, annotations)| json!({"type": type_, "annotations": annotations}))
}

/// Keys and values that are good for labels and annotations.
fn labels() -> impl Strategy<Value = Value> {
    btree_map("(example\\.org/)?[a-z]{1,20}", "[a-z0-9]{0,20}", 0..3).prop_map(|all| json!(all))
}

fn affinity() -> Value {
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "polkadot"}}, "topologyKey": "kubernetes.io/hostname"},
    ]}})
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
