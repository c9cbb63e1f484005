//! What the events of a schedule do to simulated clusters and to the daemons that look after them.
//!
//! Two have no counterpart here, and nothing happens by them: a worker that cannot make a resource so, and a keystore that is
//! taken off its volume (some resources begin without one). Others are less fine than they are for the planner alone: what befalls
//! a node befalls all of its cluster at its version from their next start on, what goes wrong with a restart or a trial does so until it is mended, a
//! watch that is late is one of the ways in which watches fail, and a clock is that of the daemons that start from then on.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;
use polkafleet::fleet::Fleet;
use polkafleet::polkadot::{Kind, Polkadot};
use polkafleet::sandbox::chain::Chain;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::faults::{ApiFault, VersionFault};
use serde_json::json;

use super::furniture::{furnish, joiner, name_of};
use super::schedule::{ClusterEvent, Event, FIRST, Fault, ResourceEvent, UpgradeEvent, version};
use super::stage::Stage;
use super::truth::version_of;

impl Stage {
    /// One event.
    pub(super) async fn happens(&mut self, event: &Event) {
        match event {
            Event::Nothing => {}
            Event::Sicken(who, is_sick) => {
                if let Some((cluster, _, version)) = self.node(*who).await {
                    let fault = if *is_sick { VersionFault::StallsFinality } else { VersionFault::None };
                    self.break_version(&cluster, version, fault);
                }
            }
            Event::Crash(who, comes_back) => {
                if let Some((cluster, pod, version)) = self.node(*who).await {
                    if !comes_back {
                        self.break_version(&cluster, version, VersionFault::CrashLoop);
                    }
                    self.delete_pod(&cluster, &pod).await;
                }
            }
            Event::Fault(fault) => self.break_target(match fault {
                Fault::NeverReady => VersionFault::NeverSyncs,
                Fault::NoImage => VersionFault::NoImage,
                Fault::FinalisesNothing => VersionFault::StallsFinality,
            }),
            Event::Trial(_) => self.break_target(VersionFault::NoImage),
            Event::Mend => self.mend_all().await,
            Event::Cluster(who, what) => self.cluster(*who, what),
            Event::Upgrade(who, what) => self.upgrade(*who, what),
            Event::Resource(who, what) => self.resource(*who, what).await,
            Event::Join(who) => self.join(*who).await,
            Event::Chain(stands) => self.stall_chain(*stands),
            // First another one stands by, to take over when this one dies; else the next start does.
            Event::Kill(late) if *late > 0 && self.daemons.len() < 2 => self.start_daemon(),
            Event::Kill(_) => self.kill(),
            Event::Latency(ticks) => {
                let latency = Duration::from_secs([0, 2, 10][*ticks as usize % 3]);
                self.each_line(|line| line.latency = latency);
            }
            Event::LoseAnswers(lost) => self.each_line(|line| line.loses = if *lost { 2 } else { 0 }),
            Event::Clock(ahead) => self.set_clocks(*ahead),
        }
    }

    /// A pod of a chain node, where it is, and its version.
    async fn node(&self, who: u16) -> Option<(Cluster, String, String)> {
        let (cluster, _) = self.one(who).await?;
        let pods = self.pods(&cluster).await;
        let pod = pods.get(usize::from(who / 7) % pods.len().max(1))?;
        let version = version_of(&serde_json::to_value(pod).unwrap());
        Some((cluster, pod.name_any(), version))
    }

    /// A resource of a member.
    async fn one(&self, who: u16) -> Option<(Cluster, Polkadot)> {
        let mut all = self.polkadots().await;
        let count = all.len().max(1);
        (!all.is_empty()).then(|| all.swap_remove(usize::from(who) % count))
    }

    fn break_version(&self, cluster: &Cluster, version: String, fault: VersionFault) {
        self.ledger.fares.stalls_finality(cluster.name(), &version, fault == VersionFault::StallsFinality);
        cluster.set_faults(|faults| {
            faults.versions.insert(version, fault);
        });
    }

    /// The target is bad in the next of the clusters.
    fn break_target(&mut self, fault: VersionFault) {
        self.faults += 1;
        let fleet = self.fleets.borrow().clone();
        let upgrade = &fleet.upgrades[self.faults % fleet.upgrades.len()];
        let member = &fleet.clusters[self.faults % fleet.clusters.len()];
        self.break_version(&self.simulated(&member.name.0), upgrade.client_version.clone(), fault);
    }

    pub(super) async fn mend_all(&self) {
        for cluster in &self.simulated.clusters {
            self.mend_versions(cluster).await;
        }
    }

    /// Every version is good in a cluster from now on. A node is as it was when it started: those at a version that may have been
    /// bad start anew.
    async fn mend_versions(&self, cluster: &Cluster) {
        let mut bad = BTreeMap::new();
        cluster.set_faults(|faults| bad = std::mem::take(&mut faults.versions));
        self.ledger.fares.finalises(cluster.name());
        if bad.is_empty() {
            return;
        }
        for pod in self.pods(cluster).await {
            if bad.contains_key(&version_of(&serde_json::to_value(&pod).unwrap())) {
                self.delete_pod(cluster, &pod.name_any()).await;
            }
        }
    }

    fn cluster(&self, who: u16, what: &ClusterEvent) {
        let mut fleet = Fleet::clone(&self.fleets.borrow());
        let index = usize::from(who) % fleet.clusters.len();
        let name = fleet.clusters[index].name.0.clone();
        match what {
            ClusterEvent::Down => {
                let faults = [
                    ApiFault::Unreachable,
                    ApiFault::Hangs,
                    ApiFault::Slow(Duration::from_secs(2)),
                    ApiFault::Refuses(500),
                    ApiFault::Refuses(429),
                    ApiFault::Expired,
                ];
                self.break_api(&name, &faults[usize::from(who / 16) % faults.len()]);
            }
            ClusterEvent::Up => self.mend_api(&name),
            ClusterEvent::Lag(ticks) => {
                let faults = [ApiFault::Stale, ApiFault::DropsWatches, ApiFault::Compacts];
                self.break_api(&name, &faults[*ticks as usize % 3]);
            }
            ClusterEvent::Deaf(deaf) => {
                self.ledger.fares.pods(&name, *deaf);
                self.simulated(&name).set_faults(|faults| faults.pods_unreachable = *deaf);
            }
            ClusterEvent::Pause(paused) => fleet.clusters[index].paused = *paused,
            // Without home nothing goes on, lost or not.
            ClusterEvent::Lost(lost) => fleet.clusters[index].lost = *lost && index > 0,
            ClusterEvent::Leave if index > 0 && fleet.clusters.len() > 2 => {
                fleet.clusters.remove(index);
            }
            ClusterEvent::Leave => {}
        }
        self.follow(fleet);
    }

    fn break_api(&self, name: &str, fault: &ApiFault) {
        self.ledger.fares.api(name, true);
        self.simulated(name).set_faults(|faults| faults.api = fault.clone());
    }

    pub(super) fn mend_api(&self, name: &str) {
        self.ledger.fares.api(name, false);
        self.simulated(name).set_faults(|faults| faults.api = ApiFault::None);
    }

    fn upgrade(&self, who: u16, what: &UpgradeEvent) {
        let mut fleet = Fleet::clone(&self.fleets.borrow());
        let count = fleet.upgrades.len();
        what.happens_to(&mut fleet.upgrades[usize::from(who) % count]);
        self.follow(fleet);
    }

    async fn resource(&mut self, who: u16, what: &ResourceEvent) {
        let Some((cluster, polkadot)) = self.one(who).await else { return };
        self.edits += 1;
        let patch = match what {
            // As `GitOps` does that has an older version in Git.
            ResourceEvent::Revert => json!({"spec": {"clientVersion": version(FIRST)}}),
            ResourceEvent::Edit => json!({"spec": {"podAnnotations": {"edited": self.edits.to_string()}}}),
            ResourceEvent::Hold(true) => json!({"spec": {"hold": "a person looks at it"}}),
            ResourceEvent::Hold(false) => json!({"spec": {"hold": null}}),
            ResourceEvent::Trouble(_) | ResourceEvent::Ephemeral => return,
        };
        self.edit(&cluster, &polkadot.name_any(), &patch).await;
    }

    /// A cluster joins, with resources that nobody has looked after.
    async fn join(&mut self, who: u16) {
        let mut fleet = Fleet::clone(&self.fleets.borrow());
        let (number, stage) = (self.members, usize::from(who) % self.shape.stages.len());
        self.members += 1;
        let cluster = self.simulated(&name_of(number));
        furnish(&cluster, number, &[(Kind::Validator, 1), (Kind::Sentry, 1)]).await;
        fleet.clusters.push(joiner(&self.shape, number, stage));
        self.follow(fleet);
    }

    pub(super) fn stall_chain(&self, stands: bool) {
        let now = self.clock.now();
        let change = |chain: &mut Chain| if stands { chain.stall(now) } else { chain.resume(now) };
        self.simulated.chains.with("polkadot", now, change);
        self.ledger.fares.chain_stands(stands);
    }
}
