//! What happens to the fleet, at random.

use std::time::Duration;

use kube::ResourceExt as _;
use polkafleet::fleet::Fleet;
use polkafleet::sandbox::faults::{ApiFault, VersionFault};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::stage::{FIRST, Stage, version};

impl Stage {
    /// One event; what it was.
    pub(super) async fn happen(&mut self, random: &mut StdRng) -> String {
        match random.random_range(0..18) {
            0 | 1 => self.kill_one(random),
            2 => self.stand_by(),
            3 | 4 => self.break_api(random),
            5 => self.mend_apis(),
            6 => self.deafen(random),
            7 => self.break_version(random),
            8 => self.stall_chain(random),
            9 => self.crash(random).await,
            10 => self.edit_resource(random).await,
            11 => self.set_back(random).await,
            12 | 13 => self.slow_down(random),
            14 => self.pause_cluster(random),
            15 => self.lose_cluster(random),
            _ => self.edit_upgrade(random),
        }
    }

    fn kill_one(&mut self, random: &mut StdRng) -> String {
        if random.random_bool(0.3) {
            self.start_daemon();
        }
        self.kill();
        "a daemon dies".into()
    }

    fn stand_by(&mut self) -> String {
        if self.daemons.len() < 2 {
            self.start_daemon();
        }
        "another daemon stands by".into()
    }

    fn break_api(&mut self, random: &mut StdRng) -> String {
        let faults = [
            ApiFault::Unreachable,
            ApiFault::Hangs,
            ApiFault::Slow(Duration::from_secs(2)),
            ApiFault::Refuses(500),
            ApiFault::Refuses(429),
            ApiFault::Expired,
            ApiFault::Stale,
            ApiFault::DropsWatches,
            ApiFault::Compacts,
        ];
        let (fault, cluster) =
            (faults.choose(random).unwrap(), self.simulated.clusters.choose(random).unwrap());
        self.ledger.fares.api(cluster.name(), true);
        cluster.set_faults(|faults| faults.api = fault.clone());
        format!("{}: {fault:?}", cluster.name())
    }

    fn mend_apis(&mut self) -> String {
        for cluster in &self.simulated.clusters {
            self.ledger.fares.api(cluster.name(), false);
            self.ledger.fares.pods(cluster.name(), false);
            cluster.set_faults(|faults| (faults.api, faults.pods_unreachable) = (ApiFault::None, false));
        }
        "all API servers are well".into()
    }

    fn deafen(&mut self, random: &mut StdRng) -> String {
        let cluster = self.simulated.clusters.choose(random).unwrap();
        cluster.set_faults(|faults| {
            faults.pods_unreachable = !faults.pods_unreachable;
            self.ledger.fares.pods(cluster.name(), faults.pods_unreachable);
        });
        format!("{}: the way to its pods changes", cluster.name())
    }

    fn break_version(&mut self, random: &mut StdRng) -> String {
        let faults = [
            VersionFault::None,
            VersionFault::CrashLoop,
            VersionFault::NeverSyncs,
            VersionFault::StallsFinality,
            VersionFault::NoImage,
        ];
        let (fault, cluster) =
            (*faults.choose(random).unwrap(), self.simulated.clusters.choose(random).unwrap());
        let tag = self.fleets.borrow().upgrades[0].client_version.clone();
        self.ledger.fares.stalls_finality(cluster.name(), &tag, fault == VersionFault::StallsFinality);
        cluster.set_faults(|faults| {
            faults.versions.insert(tag, fault);
        });
        format!("{}: the target {fault:?}", cluster.name())
    }

    fn stall_chain(&mut self, random: &mut StdRng) -> String {
        let (now, stalls) = (self.clock.now(), random.random_bool(0.4));
        let change = |chain: &mut polkafleet::sandbox::chain::Chain| {
            if stalls { chain.stall(now) } else { chain.resume(now) }
        };
        self.simulated.chains.with("polkadot", now, change);
        self.ledger.fares.chain_stands(stalls);
        format!("the chain stalls: {stalls}")
    }

    async fn crash(&mut self, random: &mut StdRng) -> String {
        let cluster = self.simulated.clusters.choose(random).unwrap().clone();
        let pods = self.pods(&cluster).await;
        let Some(pod) = pods.choose(random) else { return "no pod".into() };
        self.delete_pod(&cluster, pod).await;
        format!("{}: {pod} is deleted", cluster.name())
    }

    async fn edit_resource(&mut self, random: &mut StdRng) -> String {
        let all = self.polkadots().await;
        let (cluster, polkadot) = all.choose(random).unwrap();
        let name = polkadot.name_any();
        let (what, patch) = match (random.random_range(0..3), polkadot.spec.hold.is_some()) {
            (0, false) => ("is held", json!({"spec": {"hold": "a person looks at it"}})),
            (_, true) => ("is held no more", json!({"spec": {"hold": null}})),
            _ => {
                let number: u32 = random.random();
                ("gets another template", json!({"spec": {"podAnnotations": {"edited": number.to_string()}}}))
            }
        };
        self.edit(cluster, &name, &patch).await;
        format!("{} {name} {what}", cluster.name())
    }

    /// As `GitOps` does that has an older version in Git.
    async fn set_back(&mut self, random: &mut StdRng) -> String {
        let all = self.polkadots().await;
        let (cluster, polkadot) = all.choose(random).unwrap();
        self.edit(cluster, &polkadot.name_any(), &json!({"spec": {"clientVersion": version(FIRST)}})).await;
        format!("{} {} is set back to the first version", cluster.name(), polkadot.name_any())
    }

    fn slow_down(&mut self, random: &mut StdRng) -> String {
        let running = self.daemons.choose(random).unwrap();
        let mut line = running.line.lock().unwrap();
        line.latency = Duration::from_secs(*[0, 1, 5, 12].choose(random).unwrap());
        line.loses = random.random_range(0..3);
        format!("writes take {:?}, {} answers are lost", line.latency, line.loses)
    }

    fn pause_cluster(&mut self, random: &mut StdRng) -> String {
        let mut fleet = Fleet::clone(&self.fleets.borrow());
        let index = random.random_range(0..fleet.clusters.len());
        let cluster = &mut fleet.clusters[index];
        cluster.paused = !cluster.paused;
        let what = format!("{} paused: {}", cluster.name, cluster.paused);
        self.follow(fleet);
        what
    }

    /// Not home: without it nothing goes on, lost or not.
    fn lose_cluster(&mut self, random: &mut StdRng) -> String {
        let mut fleet = Fleet::clone(&self.fleets.borrow());
        let index = random.random_range(1..fleet.clusters.len());
        let cluster = &mut fleet.clusters[index];
        cluster.lost = !cluster.lost;
        let what = format!("{} lost: {}", cluster.name, cluster.lost);
        if cluster.lost && random.random_bool(0.7) {
            self.ledger.fares.api(&cluster.name.0, true);
            self.simulated.clusters[index].set_faults(|faults| faults.api = ApiFault::Unreachable);
        }
        self.follow(fleet);
        what
    }

    fn edit_upgrade(&mut self, random: &mut StdRng) -> String {
        let mut fleet = Fleet::clone(&self.fleets.borrow());
        let upgrade = &mut fleet.upgrades[0];
        let what = match random.random_range(0..6) {
            5 => {
                upgrade.allow_ephemeral = !upgrade.allow_ephemeral;
                format!("it may take keystores that are on no volume: {}", upgrade.allow_ephemeral)
            }
            0 => {
                upgrade.paused = !upgrade.paused;
                format!("the upgrade is paused: {}", upgrade.paused)
            }
            1 => {
                let patch: u32 = upgrade.client_version.rsplit('-').next().unwrap().parse().unwrap();
                upgrade.client_version = version(patch + 1);
                format!("its target is {}", upgrade.client_version)
            }
            2 => {
                upgrade.attempt += 1;
                format!("its attempt is {}", upgrade.attempt)
            }
            _ => {
                let target = upgrade.client_version.clone();
                for stage in upgrade.stages.iter_mut().filter(|stage| stage.approval_required) {
                    stage.approved_version = Some(target.clone());
                }
                format!("{target} is approved")
            }
        };
        self.follow(fleet);
        what
    }
}
