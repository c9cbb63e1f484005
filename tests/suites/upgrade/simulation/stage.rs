//! The simulated clusters, the fleet file that changes, and the daemons that come and go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use polkafleet::clock::Clock;
use polkafleet::daemon::Daemon;
use polkafleet::fleet::{self, Count};
use polkafleet::polkadot::Polkadot;
use polkafleet::sandbox;
use polkafleet::sandbox::cluster::Cluster;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::furniture::{NAMESPACE, fleet_of, furnish, name_of};
use super::ledger::Ledger;
use super::schedule::{Event, FIRST, Schedule, Shape, version};
use super::wire::{Line, Wire};

/// So many times as fast as transport time passes fleet time.
const PACE: f64 = 10.0;
/// What the rest of all upgrades may take once everything is mended, in fleet time.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// Everything.
pub(super) struct Stage {
    pub(super) simulated: sandbox::fleet::Fleet,
    pub(super) clock: Clock,
    pub(super) ledger: Arc<Ledger>,
    /// What the daemons follow.
    pub(super) fleets: watch::Sender<Arc<fleet::Fleet>>,
    pub(super) daemons: Vec<Running>,
    pub(super) shape: Shape,
    /// Clusters that have been members.
    pub(super) members: usize,
    /// Faults of a version so far.
    pub(super) faults: usize,
    /// Edits of a resource so far.
    pub(super) edits: usize,
    /// How far the clocks of daemons that start are ahead, in seconds.
    ahead: i64,
    started: usize,
    kubeconfigs: watch::Sender<BTreeMap<PathBuf, u64>>,
}

/// A daemon, and the line that it speaks through.
pub(super) struct Running {
    pub(super) daemon: Daemon,
    pub(super) line: Arc<Mutex<Line>>,
}

impl Stage {
    /// The fleet of a schedule at the first version, settled, its upgrades not begun.
    pub(super) async fn set(schedule: &Schedule) -> Self {
        let shape = schedule.shape.clone();
        let members = shape.clusters.len();
        let joiners = schedule.events.iter().filter(|(_, event)| matches!(event, Event::Join(_))).count();
        let names: Vec<String> = (0..members + joiners).map(name_of).collect();
        let clock = Clock::simulated(Timestamp::now(), PACE);
        let simulated =
            sandbox::fleet::Fleet::start(&names.iter().map(String::as_str).collect::<Vec<_>>(), &clock);
        let fleet = fleet_of(&shape);
        let mut resting = fleet.clone();
        resting.upgrades.clear();
        let ledger = Arc::new(Ledger::new(simulated.clusters.clone(), clock.clone(), &fleet));
        let mut stage = Self {
            simulated,
            clock,
            ledger,
            fleets: watch::Sender::new(Arc::new(resting)),
            daemons: vec![],
            shape,
            members,
            faults: 0,
            edits: 0,
            ahead: 0,
            started: 0,
            kubeconfigs: watch::Sender::new(BTreeMap::new()),
        };
        for (number, (_, resources)) in stage.shape.clusters.iter().enumerate() {
            furnish(&stage.simulated(&name_of(number)), number, resources).await;
        }
        stage.start_daemon();
        stage.settle().await;
        stage.follow(fleet);
        stage
    }

    /// The simulated cluster of a member.
    pub(super) fn simulated(&self, name: &str) -> Cluster {
        self.simulated.clusters.iter().find(|cluster| cluster.name() == name).unwrap().clone()
    }

    /// Somebody sets the clocks of the machines on which daemons start.
    pub(super) fn set_clocks(&mut self, ahead: i64) {
        if self.shape.clocks {
            self.ahead = ahead;
        }
    }

    /// Changes the lines of all daemons.
    pub(super) fn each_line(&self, change: impl Fn(&mut Line)) {
        for running in &self.daemons {
            change(&mut running.line.lock().unwrap());
        }
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
        let shown = self.clock.now() + SignedDuration::from_secs(self.ahead);
        let daemon = Daemon::start_on(fleets, kubeconfigs, Arc::new(wire), &Clock::simulated(shown, PACE));
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
    pub(super) async fn pass(&self, seconds: i64) {
        self.clock.sleep_until(self.clock.now() + SignedDuration::from_secs(seconds)).await;
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

    /// The resources of all members.
    pub(super) async fn polkadots(&self) -> Vec<(Cluster, Polkadot)> {
        let members: Vec<String> =
            self.fleets.borrow().clusters.iter().map(|member| member.name.0.clone()).collect();
        let mut all = vec![];
        for name in members {
            let cluster = self.simulated(&name);
            let api: Api<Polkadot> = Api::namespaced(cluster.backstage("stage"), NAMESPACE);
            let listed = api.list(&ListParams::default()).await.unwrap();
            all.extend(listed.items.into_iter().map(|polkadot| (cluster.clone(), polkadot)));
        }
        all
    }

    /// The chain nodes of a cluster.
    pub(super) async fn pods(&self, cluster: &Cluster) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(cluster.backstage("stage"), NAMESPACE);
        let listed = api.list(&ListParams::default()).await.unwrap();
        listed.items.into_iter().filter(|pod| pod.name_any().contains("-sset-")).collect()
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
        self.stall_chain(false);
        self.mend_all().await;
        for cluster in &self.simulated.clusters {
            self.mend_api(cluster.name());
            self.ledger.fares.pods(cluster.name(), false);
            cluster.set_faults(|faults| faults.pods_unreachable = false);
        }
        self.each_line(|line| *line = Line::default());
        for (cluster, polkadot) in self.polkadots().await {
            let patch = json!({"spec": {"hold": null}});
            self.edit(&cluster, &polkadot.name_any(), &patch).await;
        }
        let mut fleet = fleet::Fleet::clone(&self.fleets.borrow());
        for cluster in &mut fleet.clusters {
            (cluster.paused, cluster.lost) = (false, false);
        }
        for upgrade in &mut fleet.upgrades {
            (upgrade.paused, upgrade.max_failures, upgrade.expedite) = (false, Count::Number(0), None);
            upgrade.allow_ephemeral = true;
            // What somebody set back to before what it runs needs a version beyond both.
            upgrade.client_version = version(FIRST + 100);
            for stage in &mut upgrade.stages {
                // Without a resource it would never pass, rightly.
                (stage.optional, stage.approved_version) = (true, Some(upgrade.client_version.clone()));
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
            let target = version(FIRST + 100);
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
