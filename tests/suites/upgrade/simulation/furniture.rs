//! What a play begins with: the fleet file and the resources, by the shape of its schedule.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::{Api, CustomResourceExt as _};
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load_alone;
use polkafleet::fleet::{self, ClusterName};
use polkafleet::polkadot::{Kind, Polkadot};
use polkafleet::sandbox::cluster::Cluster;
use serde_json::{Value, json};

use super::schedule::{FIRST, Shape, version};

/// More clusters than these are not played.
pub(super) const CLUSTERS: usize = 4;
/// More sentries than these no resource has.
const SENTRIES: u8 = 2;
/// The namespace of everything.
pub(super) const NAMESPACE: &str = "n";

/// A member of the fleet by its number.
pub(super) fn name_of(number: usize) -> String {
    format!("c{number}")
}

/// The fleet file.
pub(super) fn fleet_of(shape: &Shape) -> fleet::Fleet {
    let clusters: Vec<Value> =
        shape.clusters.iter().enumerate().map(|(number, (stage, _))| member(shape, number, *stage)).collect();
    let stages: Vec<Value> = shape
        .stages
        .iter()
        .enumerate()
        .map(|(stage, (width, soak, approval))| {
            let mut written = json!({
                "name": format!("s{stage}"), "optional": shape.optional, "soak": format!("{soak}s"),
                "maxConcurrent": width,
                "clusters": {"matchLabels": {"stage": stage.to_string()}},
            });
            if shape.percent {
                written["maxConcurrent"] = json!(format!("{}%", (34 * width).min(100)));
            }
            if *approval {
                written["approval"] = json!("required");
            }
            written
        })
        .collect();
    let upgrade = |team: usize| {
        let mut upgrade = json!({
            "name": format!("u{team}"), "clientVersion": version(FIRST + 1), "stages": stages,
            "maxFailures": shape.max_failures, "progressDeadline": "20m",
            "unreachable": if shape.skip { "skip" } else { "wait" },
            "health": {"minPeers": 1, "stableFor": "60s"}, "prepull": shape.prepull,
        });
        if shape.two {
            upgrade["selector"] = json!({"matchLabels": {"team": team.to_string()}});
        }
        upgrade
    };
    let upgrades: Vec<Value> = (0..if shape.two { 2 } else { 1 }).map(upgrade).collect();
    let flags = json!({
        "version": 1, "home": name_of(0), "homeNamespace": NAMESPACE, "clusters": clusters,
        "validators": {"maxUnavailable": shape.budget}, "upgrades": upgrades,
    });
    load_alone(&Sources { flags: Some(flags), ..Sources::default() }).unwrap()
}

fn member(shape: &Shape, number: usize, stage: usize) -> Value {
    json!({
        "name": name_of(number), "context": name_of(number), "maxNodesInFlight": shape.nodes,
        "labels": {"stage": stage.to_string()}, "probe": {"interval": "20s", "timeout": "5s"},
    })
}

/// A member that joins, as its entry of the fleet file has it.
pub(super) fn joiner(shape: &Shape, number: usize, stage: usize) -> fleet::Cluster {
    let alone = json!({
        "version": 1, "home": name_of(number), "homeNamespace": NAMESPACE,
        "clusters": [member(shape, number, stage)],
    });
    let fleet = load_alone(&Sources { flags: Some(alone), ..Sources::default() }).unwrap();
    fleet.cluster(&ClusterName(name_of(number))).unwrap().clone()
}

/// The CRD and the resources of a cluster.
pub(super) async fn furnish(cluster: &Cluster, number: usize, resources: &[(Kind, u8)]) {
    let client = cluster.backstage("stage");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &Polkadot::crd()).await.unwrap();
    let polkadots: Api<Polkadot> = Api::namespaced(client, NAMESPACE);
    // The CRD is served a moment after it has been taken.
    while polkadots.list(&ListParams::default()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (index, (kind, sentries)) in resources.iter().enumerate() {
        let on_volume = (3 * number + index) % 7 != 6;
        let resource = resource(index, *kind, (*sentries).min(SENTRIES), on_volume);
        polkadots.create(&PostParams::default(), &resource).await.unwrap();
    }
}

/// A resource; of a validator without a volume, the session keys are gone with its pod.
fn resource(index: usize, kind: Kind, sentries: u8, on_volume: bool) -> Polkadot {
    let storage = json!({"enabled": true, "persistentVolumeClaim": {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }});
    let name = format!("r{index}");
    let mut spec = json!({"clientVersion": version(FIRST), "kind": kind, "namePrefix": name});
    if kind != Kind::Validator {
        spec["sentry"] =
            json!({"replicas": sentries, "clientName": "sentry", "dataPersistenceSupport": storage});
    }
    if kind != Kind::Sentry {
        spec["validator"] = json!({"clientName": "validator", "dataPersistenceSupport": storage});
        if !on_volume {
            spec["validator"]["dataPersistenceSupport"] = json!({"enabled": false});
        }
    }
    serde_json::from_value(json!({
        "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"team": (index % 2).to_string()}},
        "spec": spec,
    }))
    .unwrap()
}
