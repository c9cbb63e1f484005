//! The simulated clusters, the fleet file that changes, and the daemons that come and go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use polkafleet::clock::Clock;
use polkafleet::daemon::Daemon;
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load_alone;
use polkafleet::fleet::{self, Count};
use polkafleet::polkadot::Polkadot;
use polkafleet::sandbox;
use polkafleet::sandbox::cluster::Cluster;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ledger::Ledger;
use super::wire::{Line, Wire};

/// What everything runs at first.
pub(super) const FIRST: u32 = 6;
/// The namespace of everything.
pub(super) const NAMESPACE: &str = "n";
/// So many times as fast as transport time passes fleet time.
const PACE: f64 = 10.0;
/// What the rest of all upgrades may take once everything is mended, in fleet time.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn version(patch: u32) -> String {
    format!("stable2503-{patch}")
}

/// Everything.
pub(super) struct Stage {
    pub(super) simulated: sandbox::fleet::Fleet,
    pub(super) clock: Clock,
    pub(super) ledger: Arc<Ledger>,
    /// What the daemons follow.
    pub(super) fleets: watch::Sender<Arc<fleet::Fleet>>,
    pub(super) daemons: Vec<Running>,
    started: usize,
    kubeconfigs: watch::Sender<BTreeMap<PathBuf, u64>>,
}

/// A daemon, and the line that it speaks through.
pub(super) struct Running {
    pub(super) daemon: Daemon,
    pub(super) line: Arc<Mutex<Line>>,
}

impl Stage {
    /// A random fleet at the first version, settled, its upgrades not begun.
    pub(super) async fn set(random: &mut StdRng) -> Self {
        let count = random.random_range(2..5);
        let names: Vec<String> = (1..=count).map(|number| format!("c{number}")).collect();
        let clock = Clock::simulated(Timestamp::now(), PACE);
        let simulated =
            sandbox::fleet::Fleet::start(&names.iter().map(String::as_str).collect::<Vec<_>>(), &clock);
        let fleet = fleet_of(&names, random);
        let mut resting = fleet.clone();
        resting.upgrades.clear();
        let ledger = Arc::new(Ledger::new(simulated.clusters.clone(), clock.clone(), &fleet));
        let mut stage = Self {
            simulated,
            clock,
            ledger,
            fleets: watch::Sender::new(Arc::new(resting)),
            daemons: vec![],
            started: 0,
            kubeconfigs: watch::Sender::new(BTreeMap::new()),
        };
        for cluster in stage.simulated.clusters.clone() {
            furnish(&cluster, random).await;
        }
        stage.start_daemon();
        stage.settle().await;
        stage.follow(fleet);
        stage
    }

    /// Puts another fleet file in force.
    pub(super) fn follow(&self, fleet: fleet::Fleet) {
        self.ledger.follow(&fleet);
        self.fleets.send_replace(Arc::new(fleet));
    }

    pub(super) fn start_daemon(&mut self) {
        let line = Arc::new(Mutex::new(Line::default()));
        self.started += 1;
        let wire = Wire {
            clusters: self.simulated.clusters.clone(),
            line: Arc::clone(&line),
            ledger: Arc::clone(&self.ledger),
            daemon: self.started,
        };
        let (fleets, kubeconfigs) = (self.fleets.subscribe(), self.kubeconfigs.subscribe());
        let daemon = Daemon::start_on(fleets, kubeconfigs, Arc::new(wire), &self.clock);
        self.daemons.push(Running { daemon, line });
    }

    /// The oldest daemon dies at once; another one takes its place if there is none.
    pub(super) fn kill(&mut self) {
        let dead = self.daemons.remove(0);
        dead.line.lock().unwrap().is_cut = true;
        // What goes on of it in this process reaches nothing any more.
        tokio::spawn(async move { dead.daemon.stop().await });
        if self.daemons.is_empty() {
            self.start_daemon();
        }
    }

    /// Lets so many seconds of fleet time pass.
    pub(super) async fn pass(&self, seconds: u64) {
        self.clock.sleep_until(self.clock.now() + SignedDuration::from_secs(seconds.cast_signed())).await;
    }

    /// Waits until every resource has settled.
    async fn settle(&self) {
        let until = self.clock.now() + SignedDuration::from_hours(1);
        loop {
            let all = self.polkadots().await;
            let is_settled = |polkadot: &Polkadot| {
                let status = serde_json::to_value(&polkadot.status).unwrap();
                status["settled"].is_object() && status["settled"]["interrupted"].is_null()
            };
            if all.iter().all(|(_, polkadot)| is_settled(polkadot)) {
                return;
            }
            assert!(self.clock.now() < until, "the fleet does not come up");
            self.pass(5).await;
        }
    }

    pub(super) async fn polkadots(&self) -> Vec<(Cluster, Polkadot)> {
        let mut all = vec![];
        for cluster in &self.simulated.clusters {
            let api: Api<Polkadot> = Api::namespaced(cluster.backstage("stage"), NAMESPACE);
            let listed = api.list(&ListParams::default()).await.unwrap();
            all.extend(listed.items.into_iter().map(|polkadot| (cluster.clone(), polkadot)));
        }
        all
    }

    pub(super) async fn pods(&self, cluster: &Cluster) -> Vec<String> {
        let api: Api<Pod> = Api::namespaced(cluster.backstage("stage"), NAMESPACE);
        let listed = api.list(&ListParams::default()).await.unwrap();
        let nodes = listed.items.iter().filter(|pod| pod.name_any().contains("-sset-"));
        nodes.map(kube::ResourceExt::name_any).collect()
    }

    pub(super) async fn delete_pod(&self, cluster: &Cluster, pod: &str) {
        let api: Api<Pod> = Api::namespaced(cluster.backstage("stage"), NAMESPACE);
        // It may have gone meanwhile.
        let _ = api.delete(pod, &DeleteParams::default()).await;
    }

    pub(super) async fn edit(&self, cluster: &Cluster, name: &str, patch: &Value) {
        let api: Api<Polkadot> = Api::namespaced(cluster.backstage("stage"), NAMESPACE);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Everything is mended and approved; what does not come to its end is returned.
    pub(super) async fn ends(&mut self) -> Vec<String> {
        let now = self.clock.now();
        self.simulated.chains.with("polkadot", now, |chain| chain.resume(now));
        self.ledger.fares.chain_stands(false);
        for cluster in &self.simulated.clusters {
            self.ledger.fares.api(cluster.name(), false);
            self.ledger.fares.pods(cluster.name(), false);
            cluster.set_faults(|faults| *faults = polkafleet::sandbox::faults::Faults::default());
        }
        for running in &self.daemons {
            *running.line.lock().unwrap() = Line::default();
        }
        for (cluster, polkadot) in self.polkadots().await {
            let patch = json!({"spec": {"hold": null}});
            self.edit(&cluster, &polkadot.name_any(), &patch).await;
        }
        let mut fleet = fleet::Fleet::clone(&self.fleets.borrow());
        for cluster in &mut fleet.clusters {
            (cluster.paused, cluster.lost) = (false, false);
        }
        for upgrade in &mut fleet.upgrades {
            (upgrade.paused, upgrade.max_failures) = (false, Count::Percent(100));
            upgrade.allow_ephemeral = true;
            // What somebody set back to before what it runs needs a version beyond both.
            upgrade.client_version = version(FIRST + 50);
            for stage in &mut upgrade.stages {
                stage.approved_version = Some(upgrade.client_version.clone());
            }
        }
        self.follow(fleet);
        let until = now + LONGEST;
        loop {
            let unfinished = self.unfinished().await;
            if unfinished.is_empty() || self.clock.now() > until {
                return unfinished;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    async fn unfinished(&self) -> Vec<String> {
        let mut unfinished = vec![];
        for (cluster, polkadot) in self.polkadots().await {
            let target = version(FIRST + 50);
            let status = serde_json::to_value(&polkadot.status).unwrap();
            let is_done = polkadot.spec.client_version.as_ref() == Some(&target)
                && status["version"] == target.as_str()
                && status["settled"].is_object();
            if !is_done {
                let plan = self.daemons.iter().map(|running| running.daemon.plans.borrow().waits.clone());
                unfinished.push(format!(
                    "{} {}: {:?} {}; {:?}",
                    cluster.name(),
                    polkadot.name_any(),
                    polkadot.spec.client_version,
                    status["conditions"],
                    plan.collect::<Vec<_>>()
                ));
            }
        }
        unfinished
    }
}

fn fleet_of(names: &[String], random: &mut StdRng) -> fleet::Fleet {
    let stages = random.random_range(1..3);
    let clusters: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            json!({
                "name": name, "context": name, "maxNodesInFlight": random.random_range(1..3),
                "labels": {"stage": if index == 0 { 0 } else { stages - 1 }.to_string()},
                "probe": {"interval": "20s", "timeout": "5s"},
            })
        })
        .collect();
    let written: Vec<Value> = (0..stages)
        .map(|stage| {
            let mut written = json!({
                "name": format!("s{stage}"), "optional": true, "maxConcurrent": random.random_range(1..3),
                "soak": format!("{}s", random.random_range(0..300)),
                "clusters": {"matchLabels": {"stage": stage.to_string()}},
            });
            if random.random_bool(0.3) {
                written["approval"] = json!("required");
            }
            written
        })
        .collect();
    let upgrade = json!({
        "name": "u", "clientVersion": version(FIRST + 1), "stages": written,
        "maxFailures": random.random_range(0..2), "progressDeadline": "20m",
        "unreachable": if random.random_bool(0.5) { "skip" } else { "wait" },
        "health": {"minPeers": 1, "stableFor": "60s"}, "prepull": random.random_bool(0.5),
    });
    let flags = json!({
        "version": 1, "home": names[0], "homeNamespace": NAMESPACE, "clusters": clusters,
        "validators": {"maxUnavailable": random.random_range(1..3)}, "upgrades": [upgrade],
    });
    load_alone(&Sources { flags: Some(flags), ..Sources::default() }).unwrap()
}

/// The CRD and some resources.
async fn furnish(cluster: &Cluster, random: &mut StdRng) {
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
    for number in 0..random.random_range(1..4) {
        let resource = resource(&format!("r{number}"), random);
        polkadots.create(&PostParams::default(), &resource).await.unwrap();
    }
}

fn resource(name: &str, random: &mut StdRng) -> Polkadot {
    let storage = json!({"enabled": true, "persistentVolumeClaim": {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }});
    let kind = ["Sentry", "Validator", "SentryAndValidator"][random.random_range(0..3)];
    let mut spec = json!({"clientVersion": version(FIRST), "kind": kind, "namePrefix": name});
    if kind != "Validator" {
        let replicas = random.random_range(1..3);
        spec["sentry"] =
            json!({"replicas": replicas, "clientName": "sentry", "dataPersistenceSupport": storage});
    }
    if kind != "Sentry" {
        spec["validator"] = json!({"clientName": "validator", "dataPersistenceSupport": storage});
        if random.random_bool(0.15) {
            // Its session keys are gone with its pod.
            spec["validator"]["dataPersistenceSupport"] = json!({"enabled": false});
        }
    }
    serde_json::from_value(json!({
        "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    }))
    .unwrap()
}
