//! Invariants of the design (section 5), checked when a planner's write has been made, against what is true in the
//! clusters at that moment: pods, specs and annotations, read past every fault. Nothing here asks the planner's parts.
//!
//! Each of them is checked in some part, as far as can be told from outside; I10 in that daemons are killed, I13 by the end of
//! every play. What the planner alone can be held to is checked by its own simulator.
//!
//! What a daemon could not know is not held against it: pods that others deleted or that fail of themselves, and edits
//! of the fleet file in the last seconds.

use std::collections::BTreeSet;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use kube::core::SelectorExt as _;
use polkafleet::clock::Clock;
use polkafleet::fleet::{Fleet, Unreachable, Upgrade};
use polkafleet::polkadot::TEMPLATE_HASH_ANNOTATION;
use polkafleet::polkadot::record::{GRANT_ANNOTATION, STEP_ANNOTATION};
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::version::{ClientVersion, Order};
use serde_json::Value;
use tokio::time::Instant;

use super::fares::{Fares, OVERTAKEN, SEEN};
use super::truth::{Truth, is_announced, is_hopeless, is_ready, is_stuck, made, truth, version_of};

/// What the planners wrote, and what was wrong with it.
pub(super) struct Ledger {
    clusters: Vec<Cluster>,
    clock: Clock,
    known: Mutex<Known>,
    /// How the clusters and nodes fare.
    pub(super) fares: Fares,
}

#[derive(Default)]
struct Known {
    /// The fleet files, with when each was put in force.
    fleets: Vec<(Instant, Fleet)>,
    /// Steps that were taken: cluster, resource, upgrade, target, attempt.
    given: BTreeSet<(String, String, String, String, u64)>,
    steps: usize,
    broken: Vec<String>,
}

impl Ledger {
    pub(super) fn new(clusters: Vec<Cluster>, clock: Clock, fleet: &Fleet) -> Self {
        let known = Known { fleets: vec![(Instant::now(), fleet.clone())], ..Known::default() };
        Self { clusters, fares: Fares::new(clock.clone()), clock, known: Mutex::new(known) }
    }

    pub(super) fn follow(&self, fleet: &Fleet) {
        let mut known = self.known.lock().unwrap();
        for upgrade in &fleet.upgrades {
            let is_it = |one: &&Upgrade| one.name == upgrade.name;
            let last = known.fleets.last().and_then(|(_, last)| last.upgrades.iter().find(is_it));
            if last.is_some_and(|last| last.client_version != upgrade.client_version) {
                // A target that comes back may be given again.
                known.given.retain(|(_, _, name, ..)| *name != upgrade.name);
            }
        }
        known.fleets.push((Instant::now(), fleet.clone()));
    }

    pub(super) fn broken(&self) -> Vec<String> {
        self.known.lock().unwrap().broken.clone()
    }

    pub(super) fn steps(&self) -> usize {
        self.known.lock().unwrap().steps
    }

    /// A write was made: what holds then is checked.
    pub(super) fn wrote(&self, daemon: usize, cluster: &str, uri: &str, body: &[u8]) {
        let patch: Value = serde_json::from_slice(body).unwrap();
        let name = uri.rsplit('/').next().unwrap().to_owned();
        let annotations = &patch["metadata"]["annotations"];
        let written =
            |key: &str| annotations[key].as_str().map(|text| serde_json::from_str::<Value>(text).unwrap());
        let (step, grant) = (written(STEP_ANNOTATION), written(GRANT_ANNOTATION));
        let all = truth(&self.clusters);
        let Some(own) = all.iter().find(|one| one.cluster == cluster && one.name == name) else { return };
        let mut known = self.known.lock().unwrap();
        let wrong = match (&step, &grant) {
            (Some(step), _) if step["rolled_back"].is_null() => {
                known.steps += 1;
                let given = (
                    cluster.to_owned(),
                    name.clone(),
                    step["upgrade"].as_str().unwrap().to_owned(),
                    step["target"].as_str().unwrap().to_owned(),
                    step["attempt"].as_u64().unwrap(),
                );
                let again = !known.given.insert(given);
                let mut wrong = known.holding(|fleet| self.step(fleet, step, own, &all));
                if again {
                    wrong.push("I12: a step was taken twice");
                }
                if !is_announced(&self.clusters[0], own, step) {
                    wrong.push("I10: a step that home was not told of");
                }
                wrong
            }
            (Some(step), _) => known.holding(|fleet| Self::taken_back(fleet, step, own)),
            (_, Some(grant)) => known.holding(|fleet| self.grant(fleet, grant, own, &all)),
            _ => known.holding(|fleet| Self::open(fleet, own)),
        };
        if !wrong.is_empty() {
            let of_fleet: Vec<String> = all.iter().map(Truth::in_words).collect();
            let words = format!(
                "{wrong:?} by daemon {daemon} at {}: {cluster} {name} {patch}, in {of_fleet:#?}",
                self.clock.now()
            );
            known.broken.push(words);
        }
    }

    fn taken_back(fleet: &Fleet, step: &Value, own: &Truth) -> Vec<&'static str> {
        let mut wrong = Self::open(fleet, own);
        let target = step["target"].as_str().unwrap();
        if own.pods.iter().any(|pod| version_of(pod) == target) {
            wrong.push("I14: a version was taken back that a pod was restarted for");
        }
        wrong
    }

    fn step(&self, fleet: &Fleet, step: &Value, own: &Truth, all: &[Truth]) -> Vec<&'static str> {
        let mut wrong = Self::open(fleet, own);
        let mut expect = |holds: bool, what: &'static str| {
            if !holds {
                wrong.push(what);
            }
        };
        let target = step["target"].as_str().unwrap();
        let Some(upgrade) = owner(fleet, own).filter(|owner| owner.name == step["upgrade"]) else {
            return vec!["a step of an upgrade that does not own it"];
        };
        let owned = |one: &&Truth| owner(fleet, one).is_some_and(|owner| owner.name == upgrade.name);
        let Some(stage) = stage_of(fleet, upgrade, &own.cluster) else { return vec!["a step in no stage"] };
        let rules = &upgrade.stages[stage];
        expect(target == upgrade.client_version, "I9: a step to a target that was replaced");
        expect(!upgrade.paused, "I11: a step of a paused upgrade");
        expect(step["attempt"] == upgrade.attempt, "I9: a step of an attempt that was replaced");
        let is_approved = rules.approved_version.as_deref() == Some(target) || upgrade.is_expedited();
        expect(!rules.approval_required || is_approved, "I11: a step without approval");
        expect(upgrade.allow_ephemeral || !own.is_ephemeral(), "I15: a step that loses a keystore");
        expect(!self.is_seen_to_stand(fleet, own, all), "a step while the chain stands still");
        let newer = |running: &str| order(target, running) == Order::Newer || running == target;
        expect(
            own.pods.iter().map(version_of).all(|running| newer(&running)),
            "I7: a step to an older version",
        );
        if own.has_run() {
            let owned = || all.iter().filter(owned);
            let tolerated = upgrade.max_failures.of(owned().count());
            let failed = owned().filter(|one| !is_lost(fleet, one) && self.has_failed(upgrade, one)).count();
            expect(failed <= tolerated, "I6: a step after too many failures");
        }
        let others = || all.iter().filter(|one| (&one.cluster, &one.name) != (&own.cluster, &own.name));
        let in_cluster =
            others().filter(|one| one.cluster == own.cluster && self.is_moving(upgrade, one)).count();
        let cluster = fleet.cluster(&own.cluster.as_str().into());
        let turns = cluster.map_or(1, |cluster| cluster.settings.max_nodes_in_flight as usize);
        expect(in_cluster < turns, "I3: too many resources of a cluster roll");
        if own.validator().is_some_and(|pod| is_ready(pod) && !self.may_be_sick(own, pod)) {
            let moving = others().filter(|one| {
                one.validator().is_some() && !is_lost(fleet, one) && self.is_moving(upgrade, one)
            });
            let budget = fleet.validators.max_unavailable as usize;
            expect(moving.count() < budget, "I4: too many validators down by a step");
        }
        let is_its =
            |one: &Truth| one.step(target).is_some_and(|step| step["upgrade"] == upgrade.name.as_str());
        let begun = others().filter(owned).any(|one| one.cluster == own.cluster && is_its(one));
        if !begun && own.has_run() {
            let others: Vec<&Truth> = others().filter(owned).collect();
            wrong.extend(self.first_step(fleet, upgrade, stage, own, &others));
        }
        wrong
    }

    /// The first step of a target in a cluster, among the upgrade's other resources: I1 and I2.
    fn first_step(
        &self,
        fleet: &Fleet,
        upgrade: &Upgrade,
        stage: usize,
        own: &Truth,
        others: &[&Truth],
    ) -> Vec<&'static str> {
        let (target, mut wrong) = (upgrade.client_version.as_str(), vec![]);
        let in_stage = |one: &Truth| stage_of(fleet, upgrade, &one.cluster);
        let before = || others.iter().filter(|one| in_stage(one).is_some_and(|other| other < stage));
        let counts = |one: &&&Truth| !self.is_excused(fleet, upgrade, one);
        if before().filter(counts).any(|one| !one.is_at(target)) {
            wrong.push("I1: a step before its stage's turn");
        }
        if before().filter(counts).any(|one| self.fares.is_seen_sick(one, target)) {
            wrong.push("I1: a step past a sick node");
        }
        let is_flying = |one: &&&Truth| {
            let member = fleet.cluster(&one.cluster.as_str().into());
            one.cluster != own.cluster
                && in_stage(one) == Some(stage)
                && member.is_some_and(|cluster| !cluster.paused && !cluster.lost)
                && self.is_moving(upgrade, one)
        };
        let flying: BTreeSet<&str> = others.iter().filter(is_flying).map(|one| &*one.cluster).collect();
        let members = fleet.clusters.iter().filter(|one| upgrade.stage_of(one) == Some(stage)).count();
        if flying.len() >= upgrade.stages[stage].max_concurrent.of(members).max(1) {
            wrong.push("I2: too many clusters in flight");
        }
        wrong
    }

    fn grant(&self, fleet: &Fleet, grant: &Value, own: &Truth, all: &[Truth]) -> Vec<&'static str> {
        let mut wrong = Self::open(fleet, own);
        let role = grant["role"].as_str().unwrap().to_lowercase();
        let pod_name = format!("{}-{role}-sset-{}", own.name, grant["ordinal"]);
        let is_it = |pod: &&Value| pod["metadata"]["name"] == pod_name.as_str();
        let target = own.pods.iter().find(is_it);
        let was_well = target.is_some_and(is_ready);
        // Those that this roll has restarted already, and that have not come up.
        let unready = own.pods.iter().any(|pod| {
            !is_it(&pod)
                && !is_ready(pod)
                && pod["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] == grant["hash"]
        });
        if was_well && unready && grant["mends"] != true {
            wrong.push("I3: a second pod of a resource before the first is Ready");
        }
        if self.is_seen_to_stand(fleet, own, all) {
            wrong.push("a restart while the chain stands still");
        }
        if role == "validator" && target.is_some_and(|pod| is_ready(pod) && !self.may_be_sick(own, pod)) {
            let rolled = all
                .iter()
                .filter(|one| !is_lost(fleet, one))
                .filter(|one| (&one.cluster, &one.name) != (&own.cluster, &own.name))
                .filter(|one| {
                    let granted = one.grant();
                    let own_hash = |pod: &Value| {
                        granted.as_ref().is_some_and(|granted| {
                            granted["role"]
                                .as_str()
                                .is_some_and(|role| role.eq_ignore_ascii_case("validator"))
                                && (pod["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
                                    != granted["hash"]
                                    || !is_ready(pod))
                                && self.is_recent(granted)
                        })
                    };
                    one.validator().is_some_and(own_hash)
                });
            if rolled.count() >= fleet.validators.max_unavailable as usize {
                wrong.push("I4: too many validators down by permissions");
            }
        }
        wrong
    }

    /// Whether every daemon sees that its chain (there is one) stands still: by nodes that are asked and no step was taken on.
    /// Those at a new version may be sick by that, so where all have had their step, a new daemon cannot know.
    fn is_seen_to_stand(&self, fleet: &Fleet, own: &Truth, all: &[Truth]) -> bool {
        let is_stepped = |one: &Truth| {
            owner(fleet, one).is_some_and(|upgrade| {
                one.step(&upgrade.client_version).is_some_and(|step| step["upgrade"] == upgrade.name)
            })
        };
        let is_witness = |one: &Truth| {
            !is_lost(fleet, one)
                && !is_stepped(one)
                && self.fares.stands_still(&one.cluster)
                && one.pods.iter().any(|pod| is_ready(pod) && made(pod) < self.clock.now() - SEEN)
        };
        own.has_run() && self.fares.stands_still(&own.cluster) && all.iter().any(is_witness)
    }

    fn may_be_sick(&self, own: &Truth, pod: &Value) -> bool {
        self.fares.may_be_sick(&own.cluster, &version_of(pod))
    }

    fn open(fleet: &Fleet, own: &Truth) -> Vec<&'static str> {
        let mut wrong = vec![];
        match fleet.cluster(&own.cluster.as_str().into()) {
            None => wrong.push("I8: a write to a cluster that has left"),
            Some(cluster) if cluster.lost => wrong.push("I5: a write to a lost cluster"),
            Some(cluster) if cluster.paused => wrong.push("I5: a write to a paused cluster"),
            Some(_) => {}
        }
        if !own.object["spec"]["hold"].is_null() {
            wrong.push("I5: a write to what is held");
        }
        wrong
    }

    /// Whether it was given a version by a step and certainly is not there yet, and may still come there.
    fn is_moving(&self, upgrade: &Upgrade, one: &Truth) -> bool {
        let Some(step) = one.any_step() else { return false };
        let target = step["target"].as_str().unwrap();
        let at: Timestamp = step["at"].as_str().unwrap().parse().unwrap();
        one.object["spec"]["clientVersion"] == target
            && one.object["spec"]["hold"].is_null()
            && self.clock.now() < at + upgrade.progress_deadline
            && !one.is_at(target)
            && !one.pods.iter().any(is_stuck)
            && one.reached(target).is_none_or(|reached| reached < at)
            // A trial may have failed.
            && (step["prepull"] != true || one.pods.iter().any(|pod| version_of(pod) == target))
    }

    /// Whether it certainly failed by this target and attempt, and every daemon has had time to see it.
    fn has_failed(&self, upgrade: &Upgrade, one: &Truth) -> bool {
        let Some(step) = one.step(&upgrade.client_version) else { return false };
        let at: Timestamp = step["at"].as_str().unwrap().parse().unwrap();
        // After a retry the kubelet has to try once more.
        let again = if step["previous"] == step["target"] { SignedDuration::from_mins(11) } else { SEEN };
        step["attempt"].as_u64() == Some(upgrade.attempt.into())
            && one.object["spec"]["clientVersion"] == step["target"]
            && one.object["spec"]["hold"].is_null()
            && self.clock.now() >= at + again
            && !self.fares.is_ill(&one.cluster)
            && one.pods.iter().any(|pod| {
                version_of(pod) == upgrade.client_version && is_hopeless(pod, self.clock.now() - SEEN)
            })
    }

    fn is_recent(&self, granted: &Value) -> bool {
        let at: Timestamp = granted["at"].as_str().unwrap().parse().unwrap();
        self.clock.now() < at + SignedDuration::from_mins(20)
    }

    /// What does not hold later stages, as far as can be said from outside.
    fn is_excused(&self, fleet: &Fleet, upgrade: &Upgrade, one: &Truth) -> bool {
        let out = fleet.cluster(&one.cluster.as_str().into()).is_none_or(|cluster| {
            let may_skip = upgrade.unreachable == Unreachable::Skip && self.fares.is_ill(&one.cluster);
            cluster.paused || cluster.lost || may_skip
        });
        let stepped = one.step(&upgrade.client_version);
        let failed = stepped.as_ref().is_some_and(|step| {
            let at: Timestamp = step["at"].as_str().unwrap().parse().unwrap();
            !step["rolled_back"].is_null() || at + upgrade.progress_deadline <= self.clock.now()
        });
        let set_back =
            stepped.is_some() && one.object["spec"]["clientVersion"] != upgrade.client_version.as_str();
        let ahead = one.object["spec"]["clientVersion"]
            .as_str()
            .is_some_and(|version| order(version, &upgrade.client_version) == Order::Newer);
        out || failed
            || !one.has_run()
            || set_back
            || ahead
            || (one.is_ephemeral() && !upgrade.allow_ephemeral)
            || !one.object["spec"]["hold"].is_null()
            || one.pods.iter().any(is_stuck)
    }
}

impl Known {
    /// What is wrong by every fleet file that the decision may have been made by.
    fn holding(&self, check: impl Fn(&Fleet) -> Vec<&'static str>) -> Vec<&'static str> {
        let now = Instant::now();
        let mut wrong: Option<BTreeSet<&'static str>> = None;
        let mut next: Option<Instant> = None;
        for (since, fleet) in self.fleets.iter().rev() {
            if next.is_some_and(|until| now.duration_since(until) > OVERTAKEN) {
                break;
            }
            next = Some(*since);
            let found: BTreeSet<_> = check(fleet).into_iter().collect();
            wrong = Some(wrong.map_or_else(|| found.clone(), |known| &known & &found));
        }
        wrong.unwrap_or_default().into_iter().collect()
    }
}

fn is_lost(fleet: &Fleet, one: &Truth) -> bool {
    fleet.cluster(&one.cluster.as_str().into()).is_none_or(|cluster| cluster.lost)
}

fn stage_of(fleet: &Fleet, upgrade: &Upgrade, cluster: &str) -> Option<usize> {
    let cluster = fleet.cluster(&cluster.into())?;
    upgrade.stage_of(cluster)
}

fn owner<'a>(fleet: &'a Fleet, one: &Truth) -> Option<&'a Upgrade> {
    let labels = one.labels();
    fleet.upgrades.iter().find(|upgrade| upgrade.selector.matches(&labels))
}

fn order(one: &str, other: &str) -> Order {
    ClientVersion::parse(one).order(&ClientVersion::parse(other))
}
