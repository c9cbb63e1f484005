//! The published measure of `KubeFleet`: 100 clusters in three stages of 20, 30 and 50, half of a stage at once, without
//! gates. Played in time that passes only while somebody waits, so that it is the daemon's own waiting that is measured
//! and not the machine's speed; what the machine took is printed beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use polkafleet::clock::Clock;
use polkafleet::cluster::limits::Limits;
use polkafleet::daemon::Daemon;
use polkafleet::fleet::Fleet;
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load_alone;
use polkafleet::polkadot::Polkadot;
use polkafleet::polkadot::record::{STEP_ANNOTATION, Step, read};
use polkafleet::sandbox;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::connect::InProcess;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::world::prepare;

const STAGES: [(&str, usize); 3] = [("one", 20), ("two", 30), ("three", 50)];
const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";
/// What the project has set for itself.
const BOUND: f64 = 5.0;
/// How finely it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What is known of one cluster's step.
#[derive(Default)]
struct Seen {
    step: Option<Timestamp>,
    /// When its old pod began to go.
    goes: Option<Timestamp>,
    /// When its new pod was Ready.
    ready: Option<Timestamp>,
}

#[test]
#[ignore = "a benchmark: scripts/bench waves"]
fn a_hundred_clusters_in_six_waves_cost_little_beside_their_rollouts() {
    let begun = std::time::Instant::now();
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    let runtime = one_thread.enable_all().start_paused(true).build().unwrap();
    let seen = runtime.block_on(play());
    runtime.shutdown_background();
    let mut steps: Vec<&Seen> = seen.values().collect();
    steps.sort_by_key(|one| one.step);
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    let all = seconds(steps[0].step.unwrap(), steps.iter().filter_map(|one| one.ready).max().unwrap());
    let (mut rollouts, mut from) = (0.0, 0);
    for (stage, size) in STAGES {
        for _ in 0..2 {
            let wave = &steps[from..from + size / 2];
            from += size / 2;
            let longest = wave.iter().map(|one| seconds(one.goes.unwrap(), one.ready.unwrap()));
            let longest = longest.fold(0.0, f64::max);
            let at = seconds(steps[0].step.unwrap(), wave[0].step.unwrap());
            let since = |of: fn(&Seen) -> Option<Timestamp>| {
                let all: Vec<f64> =
                    wave.iter().map(|one| seconds(wave[0].step.unwrap(), of(one).unwrap())).collect();
                (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max))
            };
            let ((_, stepped), (goes, gone), (ready, last)) =
                (since(|one| one.step), since(|one| one.goes), since(|one| one.ready));
            eprintln!(
                "stage {stage}: {} clusters from {at:.1} s: steps within {stepped:.1} s, pods go after {goes:.1} to \
                 {gone:.1} s and are Ready after {ready:.1} to {last:.1} s; the longest rollout {longest:.1} s",
                wave.len()
            );
            rollouts += longest;
        }
    }
    let own = all - rollouts;
    eprintln!(
        "100 clusters in 6 waves: {all:.1} s, of which rollouts {rollouts:.1} s and our own time {own:.1} s; the machine \
         took {:.1?} for everything",
        begun.elapsed()
    );
    assert!(own < BOUND, "{own:.1} s of our own");
}

/// Upgrades the fleet, and tells when what was.
async fn play() -> BTreeMap<String, Seen> {
    let clock = Clock::simulated(Timestamp::now(), 1.0);
    let names: Vec<String> = (0..100).map(|number| format!("c{number:02}")).collect();
    let simulated =
        sandbox::fleet::Fleet::start(&names.iter().map(String::as_str).collect::<Vec<_>>(), &clock);
    for cluster in &simulated.clusters {
        prepare(&cluster.backstage("bench"), "n").await;
        polkadots(cluster).create(&PostParams::default(), &sentry()).await.unwrap();
        // No gates: Ready is enough. Where nodes can be asked, each wave takes about ten seconds more, until they have
        // shown twice that they follow the chain.
        cluster.set_faults(|faults| faults.pods_unreachable = true);
    }
    let fleet = fleet(&names);
    let resting = Fleet { upgrades: vec![], ..fleet.clone() };
    let (fleets, followed) = watch::channel(Arc::new(resting));
    let (_kubeconfigs, unchanging) = watch::channel(BTreeMap::new());
    let connect = Arc::new(InProcess { clusters: simulated.clusters.clone(), limits: Limits::default() });
    let daemon = Daemon::start_on(followed, unchanging, connect, &clock);
    let is_at = async |version: &str| {
        for cluster in &simulated.clusters {
            let status = serde_json::to_value(polkadots(cluster).get("node").await.unwrap().status).unwrap();
            if status["settled"]["version"] != version || !status["settled"]["interrupted"].is_null() {
                return false;
            }
        }
        true
    };
    while !is_at(OLD).await {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    // So that every Lease is held and everything written down.
    tokio::time::sleep(Duration::from_secs(120)).await;
    fleets.send_replace(Arc::new(fleet));
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    while seen.len() < 100 || seen.values().any(|one| one.ready.is_none()) {
        for cluster in &simulated.clusters {
            look(cluster, seen.entry(cluster.name().to_owned()).or_default()).await;
        }
        tokio::time::sleep(LOOK).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(60), daemon.stop()).await;
    seen
}

async fn look(cluster: &Cluster, seen: &mut Seen) {
    if seen.ready.is_some() {
        return;
    }
    let now = cluster.now();
    if seen.step.is_none() {
        let polkadot = polkadots(cluster).get("node").await.unwrap();
        let annotations = polkadot.metadata.annotations.unwrap_or_default();
        seen.step = read::<Step>(&annotations, STEP_ANNOTATION).map(|step| step.at);
    }
    if seen.step.is_none() {
        return;
    }
    let pods: Api<Pod> = Api::namespaced(cluster.backstage("bench"), "n");
    let pods = pods.list(&ListParams::default()).await.unwrap().items;
    let pods: Vec<Value> = pods.iter().map(|pod| serde_json::to_value(pod).unwrap()).collect();
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    let runs_old =
        pods.iter().any(|pod| image(pod).ends_with(OLD) && pod["metadata"]["deletionTimestamp"].is_null());
    if !runs_old {
        seen.goes.get_or_insert(now);
    }
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    if pods.iter().any(|pod| image(pod).ends_with(NEW) && is_ready(pod)) {
        seen.ready = Some(now);
    }
}

fn polkadots(cluster: &Cluster) -> Api<Polkadot> {
    Api::namespaced(cluster.backstage("bench"), "n")
}

fn sentry() -> Polkadot {
    serde_json::from_value(json!({
        "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
        "metadata": {"name": "node", "namespace": "n"},
        "spec": {"clientVersion": OLD, "kind": "Sentry", "sentry": {"replicas": 1, "clientName": "sentry"}},
    }))
    .unwrap()
}

fn fleet(names: &[String]) -> Fleet {
    let stage_of = |index: usize| match index {
        0..20 => "one",
        20..50 => "two",
        _ => "three",
    };
    let clusters: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"name": name, "context": name, "labels": {"stage": stage_of(index)}}))
        .collect();
    let stages: Vec<Value> = STAGES
        .iter()
        .map(|(name, _)| {
            json!({"name": name, "clusters": {"matchLabels": {"stage": name}}, "maxConcurrent": "50%"})
        })
        .collect();
    let upgrade = json!({
        "name": "u", "clientVersion": NEW, "stages": stages, "prepull": false,
        "health": {"stableFor": "0s", "minPeers": 0, "probe": "optional"},
    });
    let flags = json!({
        "version": 1, "home": names[0], "homeNamespace": "n", "clusters": clusters, "upgrades": [upgrade],
    });
    load_alone(&Sources { flags: Some(flags), ..Sources::default() }).unwrap()
}
