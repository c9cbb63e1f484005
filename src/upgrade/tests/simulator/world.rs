//! The clusters as they really are: what kubelets, workers and people do to them. The planner cannot bend it.
//!
//! [`shape`] is the fleet that it begins with, [`worker`] what the clusters' workers do.

mod shape;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Cluster, ClusterName, Connection, Fleet, Settings};
use crate::observed::{NodeView, ResourceView, Sample, Stuck, Tried};
use crate::polkadot::{Kind, ResourceId, Role};
use crate::upgrade::{Place, Write};

use super::schedule::{Fault, Shape};

pub(super) use self::shape::{DEADLINE, STABLE};
use self::shape::{fleet, resource};
use self::worker::{reconcile, settle, try_version};

/// One cluster.
#[derive(Clone, Default)]
pub(super) struct Truth {
    /// Its API server answers.
    pub(super) up: bool,
    /// Its nodes cannot be asked for their health.
    pub(super) deaf: bool,
    /// What its watches say comes late, so many ticks.
    pub(super) lags: u32,
    pub(super) resources: BTreeMap<ResourceId, ResourceView>,
    fates: BTreeMap<(ResourceId, Role, i32), Fate>,
    /// The step for which a version was tried last.
    tried: BTreeMap<ResourceId, Timestamp>,
    edits: BTreeMap<ResourceId, u32>,
}

/// What becomes of a pod.
#[derive(Clone, Default)]
struct Fate {
    /// When it becomes Ready.
    comes: Option<Timestamp>,
    /// Since when it finalises nothing.
    sick: Option<Timestamp>,
}

/// Everything.
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) clusters: BTreeMap<ClusterName, Truth>,
    pub(super) now: Timestamp,
    /// What goes wrong with the next restarts.
    pub(super) faults: Vec<Fault>,
    /// How the next trials of a version end: well, if nothing is said.
    pub(super) trials: Vec<Tried>,
    /// How far the daemon's clock is ahead of the true one, in seconds; the pods' times are the true one's.
    pub(super) ahead: i64,
    /// Whether it ever was.
    pub(super) was_ahead: bool,
    /// Since when the chain stands still.
    pub(super) chain_stands: Option<Timestamp>,
    stood: SignedDuration,
    resumed: Option<Timestamp>,
    shape: Shape,
    restarts: usize,
    joined: usize,
}

impl World {
    pub(super) fn new(shape: &Shape) -> Self {
        let mut world = Self {
            fleet: fleet(shape),
            clusters: BTreeMap::new(),
            now: Timestamp::from_second(1_000_000).unwrap(),
            faults: vec![],
            trials: vec![],
            ahead: 0,
            was_ahead: false,
            chain_stands: None,
            stood: SignedDuration::ZERO,
            resumed: None,
            shape: shape.clone(),
            restarts: 0,
            joined: 0,
        };
        for (stage, kinds) in &shape.clusters {
            world.join(*stage, kinds);
        }
        world.now += SignedDuration::from_secs(1000);
        world
    }

    /// A cluster joins the fleet, with resources that have run for long.
    pub(super) fn join(&mut self, stage: usize, kinds: &[(Kind, u8)]) {
        let name = ClusterName(format!("c{}", self.joined));
        self.joined += 1;
        self.fleet.clusters.push(Cluster {
            name: name.clone(),
            connection: Connection::InCluster,
            labels: [("stage".to_owned(), stage.to_string())].into(),
            namespaces: vec![],
            paused: false,
            lost: false,
            settings: Settings { max_nodes_in_flight: self.shape.nodes, ..Settings::default() },
        });
        let resources = kinds.iter().enumerate().map(|(index, (kind, sentries))| {
            let view = resource(*kind, *sentries, index, self.now);
            (view.id.clone(), view)
        });
        self.clusters.insert(name, Truth { up: true, resources: resources.collect(), ..Truth::default() });
    }

    /// What the daemon's clock shows.
    pub(super) fn shown(&self) -> Timestamp {
        self.now + SignedDuration::from_secs(self.ahead)
    }

    /// Somebody sets the daemon's clock, or home corrects it.
    pub(super) fn set_clock(&mut self, ahead: i64) {
        if self.shape.clocks {
            (self.ahead, self.was_ahead) = (ahead, self.was_ahead || ahead != 0);
        }
    }

    /// Every resource.
    pub(super) fn places(&self) -> Vec<Place> {
        let of = |(name, truth): (&ClusterName, &Truth)| {
            truth.resources.keys().map(|id| (name.clone(), id.clone())).collect::<Vec<_>>()
        };
        self.clusters.iter().flat_map(of).collect()
    }

    pub(super) fn view(&self, (cluster, id): &Place) -> Option<&ResourceView> {
        self.clusters.get(cluster)?.resources.get(id)
    }

    /// Changes a resource, which gets another version by it.
    pub(super) fn edit(&mut self, (cluster, id): &Place, change: impl FnOnce(&mut ResourceView)) {
        let Some(view) = self.clusters.get_mut(cluster).and_then(|truth| truth.resources.get_mut(id)) else {
            return;
        };
        edited(view, change);
    }

    /// Another setting in the spec: its pods are to be made from another template.
    pub(super) fn edit_template(&mut self, (cluster, id): &Place) {
        if let Some(truth) = self.clusters.get_mut(cluster) {
            *truth.edits.entry(id.clone()).or_default() += 1;
        }
    }

    /// Makes a node sick, or well again.
    pub(super) fn sicken(&mut self, (cluster, id): &Place, role: Role, ordinal: i32, is_sick: bool) {
        let now = self.now;
        if let Some(truth) = self.clusters.get_mut(cluster) {
            let fate = truth.fates.entry((id.clone(), role, ordinal)).or_default();
            fate.sick = is_sick.then(|| fate.sick.unwrap_or(now));
        }
    }

    /// A node's pod ends, by itself or because somebody deletes it, and another one comes up or not; what kept the one before from
    /// starting is not seen of it.
    pub(super) fn crash(&mut self, place: &Place, role: Role, ordinal: i32, comes: Option<i64>) {
        let comes = comes.map(|seconds| self.now + SignedDuration::from_secs(seconds));
        let Some(truth) = self.clusters.get_mut(&place.0) else { return };
        truth.fates.entry((place.1.clone(), role, ordinal)).or_default().comes = comes;
        self.edit(place, |view| {
            let node = node_mut(view, role, ordinal);
            (node.ready_since, node.stuck) = (None, None);
        });
    }

    /// Everything that is wrong with nodes is mended.
    pub(super) fn mend(&mut self) {
        let soon = self.now + SignedDuration::from_secs(5);
        for truth in self.clusters.values_mut() {
            for (id, view) in &mut truth.resources {
                edited(view, |view| {
                    // What could not be had can be had now, and its trial goes on by itself.
                    view.prepulls.values_mut().for_each(|tried| *tried = Tried::Succeeded);
                    for role in &mut view.roles {
                        for node in &mut role.nodes {
                            let fate = truth.fates.entry((id.clone(), role.role, node.ordinal)).or_default();
                            fate.sick = None;
                            node.stuck = None;
                            if node.ready_since.is_none() {
                                fate.comes.get_or_insert(soon);
                            }
                        }
                    }
                });
            }
        }
    }

    pub(super) fn chain_goes_on(&mut self) {
        if let Some(since) = self.chain_stands.take() {
            self.stood += self.now.duration_since(since);
            self.resumed = Some(self.now);
        }
    }

    /// Whether deadlines may count from when the chain went on.
    pub(super) fn stood_lately(&self) -> bool {
        let lately = |at: Timestamp| self.now.duration_since(at) <= SignedDuration::from_secs(2 * DEADLINE);
        self.resumed.is_some_and(lately)
    }

    /// Time passes.
    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        for truth in self.clusters.values_mut() {
            let now = self.now;
            truth.lags = truth.lags.saturating_sub(1);
            for (id, view) in &mut truth.resources {
                edited(view, |view| {
                    for role in &mut view.roles {
                        for node in &mut role.nodes {
                            let Some(fate) = truth.fates.get_mut(&(id.clone(), role.role, node.ordinal))
                            else {
                                continue;
                            };
                            if let Some(comes) = fate.comes.take_if(|comes| *comes <= now) {
                                (node.ready_since, node.stuck) = (Some(comes), None);
                            }
                        }
                    }
                });
            }
        }
    }

    /// What the workers of a daemon do in every cluster that it reaches.
    pub(super) fn work(&mut self) {
        let paused: BTreeSet<ClusterName> = self
            .fleet
            .clusters
            .iter()
            .filter(|cluster| cluster.paused)
            .map(|cluster| cluster.name.clone())
            .collect();
        let members: BTreeSet<ClusterName> =
            self.fleet.clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let (now, shown) = (self.now, self.shown());
        for (name, truth) in &mut self.clusters {
            if !truth.up || !members.contains(name) {
                continue;
            }
            for (id, view) in &mut truth.resources {
                let edits = truth.edits.get(id).copied().unwrap_or(0);
                let mut restarted = vec![];
                edited(view, |view| {
                    if view.held.is_none() && !paused.contains(name) {
                        restarted = reconcile(view, edits);
                        try_version(view, truth.tried.entry(id.clone()), &mut self.trials);
                    }
                    settle(view, now, shown);
                });
                for (role, ordinal) in restarted {
                    let delay = self.shape.delays[self.restarts % self.shape.delays.len()];
                    self.restarts += 1;
                    let comes = Some(now + SignedDuration::from_secs(delay));
                    let mut fate = Fate { comes, sick: None };
                    match self.faults.pop() {
                        Some(Fault::NeverReady) => fate.comes = None,
                        Some(Fault::NoImage) => {
                            fate.comes = None;
                            let reason = "ImagePullBackOff".into();
                            let stuck = Stuck { reason, words: None, since: Some(now) };
                            edited(view, |view| node_mut(view, role, ordinal).stuck = Some(stuck));
                        }
                        Some(Fault::FinalisesNothing) => fate.sick = Some(now),
                        None => {}
                    }
                    truth.fates.insert((id.clone(), role, ordinal), fate);
                }
            }
        }
    }

    /// What a Ready node says of itself.
    pub(super) fn sample(&self, (cluster, id): &Place, role: Role, node: &NodeView) -> Option<Sample> {
        let ready = node.ready_since?;
        let fate = self.clusters[cluster].fates.get(&(id.clone(), role, node.ordinal));
        let height = |at: Timestamp| {
            let at = self.chain_stands.map_or(at, |since| since.min(at));
            u64::try_from((at - self.stood).as_second()).unwrap()
        };
        let finalized = fate.and_then(|fate| fate.sick).map_or(height(self.now), height);
        let best = height(self.now).min(finalized + 2);
        Some(Sample {
            at: self.shown(),
            version: None,
            best,
            finalized,
            sync_target: Some(best),
            is_major_syncing: false,
            peers: Some(12),
            roles: Some(4),
            started: u64::try_from(ready.as_second()).ok(),
        })
    }

    pub(super) fn is_sick(&self, (cluster, id): &Place, role: Role, ordinal: i32) -> bool {
        let fate = self.clusters[cluster].fates.get(&(id.clone(), role, ordinal));
        fate.is_some_and(|fate| fate.sick.is_some())
    }
}

/// Applies a write of the planner to a view.
pub(super) fn apply(view: &mut ResourceView, write: &Write) {
    if matches!(write, Write::Step(_) | Write::Rollback(_)) {
        // Those were of an earlier attempt.
        view.prepulls.clear();
    }
    match write.clone() {
        Write::Step(step) => {
            view.client_version = Some(step.target.clone());
            view.step = Some(step);
        }
        Write::Rollback(step) => {
            view.client_version.clone_from(&step.previous);
            view.step = Some(step);
        }
        Write::Grant(grant) => view.grant = Some(grant),
        Write::Health(stretch) => view.healthy = Some(stretch),
        Write::Epoch(epoch) => view.epoch = epoch,
        Write::Failed(failed) => view.failed = failed,
        Write::Revoke => view.grant = None,
    }
}

fn edited(view: &mut ResourceView, change: impl FnOnce(&mut ResourceView)) {
    let before = view.clone();
    change(view);
    if before != *view {
        let version: u64 = view.resource_version.parse().unwrap();
        view.resource_version = (version + 1).to_string();
    }
}

fn node_mut(view: &mut ResourceView, role: Role, ordinal: i32) -> &mut NodeView {
    let role = view.roles.iter_mut().find(|known| known.role == role).unwrap();
    role.nodes.iter_mut().find(|node| node.ordinal == ordinal).unwrap()
}
