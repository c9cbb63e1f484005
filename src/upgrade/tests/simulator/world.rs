//! The clusters as they really are: what kubelets, workers and people do to them. The planner cannot bend it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{
    Cluster, ClusterName, Connection, Count, Fleet, Guard, Health, Settings, Stage, Telemetry, Unreachable,
    Upgrade, Validators,
};
use crate::observed::{NodeView, ResourceView, RoleView, Sample, Stuck, Tried};
use crate::polkadot::{Kind, ResourceId, Role};
use crate::upgrade::tests::model;
use crate::upgrade::{Place, Write};

/// The version that everything runs at first.
pub(super) const FIRST: u32 = 6;
/// How long all must have been well.
pub(super) const STABLE: i64 = 60;
/// A clock is wrong by no more than so many seconds.
pub(super) const DRIFT: i64 = 15;
/// Each upgrade's deadline.
pub(super) const DEADLINE: i64 = 1800;

pub(super) fn version(patch: u32) -> String {
    format!("stable2503-{patch}")
}

/// The shape of a random fleet.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a coin that is tossed for itself.
pub(super) struct Shape {
    /// For every cluster its stage and its resources: the kind and how many sentries.
    pub(super) clusters: Vec<(usize, Vec<(Kind, u8)>)>,
    /// For every stage: width, soak in seconds, whether it needs approval.
    pub(super) stages: Vec<(u32, i64, bool)>,
    pub(super) nodes: u32,
    pub(super) budget: u32,
    pub(super) max_failures: u32,
    pub(super) skip: bool,
    /// How long a restarted pod takes to become Ready, by turns, in seconds.
    pub(super) delays: Vec<i64>,
    /// Two upgrades side by side instead of one.
    pub(super) two: bool,
    /// Whether a version is tried before a pod restarts for it.
    pub(super) prepull: bool,
    /// Whether the daemon's clock is set now and then: then nothing can be said to the second.
    pub(super) clocks: bool,
}

/// What goes wrong with the pods that restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NeverReady,
    NoImage,
    FinalisesNothing,
}

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

pub(super) fn fleet(shape: &Shape) -> Fleet {
    let selector = |key: &str, value: String| [(key.to_owned(), value)].into_iter().collect();
    let stages: Vec<Stage> = shape
        .stages
        .iter()
        .enumerate()
        .map(|(index, (width, soak, approval))| Stage {
            name: format!("s{index}"),
            clusters: selector("stage", index.to_string()),
            optional: true,
            max_concurrent: Count::Number(*width),
            soak: SignedDuration::from_secs(*soak),
            approval_required: *approval,
            approved_version: None,
            approver: None,
        })
        .collect();
    let upgrade = |team: usize| Upgrade {
        name: format!("u{team}"),
        client_version: version(FIRST + 1),
        selector: if shape.two {
            selector("team", team.to_string())
        } else {
            kube::core::Selector::default()
        },
        attempt: 1,
        paused: false,
        allow_downgrade: false,
        allow_ephemeral: false,
        expedite: None,
        stages: stages.clone(),
        max_failures: Count::Number(shape.max_failures),
        progress_deadline: SignedDuration::from_secs(DEADLINE),
        unreachable: if shape.skip { Unreachable::Skip } else { Unreachable::Wait },
        health: Health { stable_for: SignedDuration::from_secs(STABLE), ..Health::default() },
        prepull: shape.prepull,
    };
    Fleet {
        home: ClusterName::from("c0"),
        home_namespace: "polkafleet".into(),
        clusters: vec![],
        validators: Validators { max_unavailable: shape.budget, guard: Guard::Strict },
        upgrades: (0..if shape.two { 2 } else { 1 }).map(upgrade).collect(),
        lease: SignedDuration::from_secs(15),
        telemetry: Telemetry::default(),
        admin: None,
    }
}

fn resource(kind: Kind, sentries: u8, index: usize, now: Timestamp) -> ResourceView {
    let hash = format!("{}#0", version(FIRST));
    let node = |role: Role, ordinal: i32| NodeView {
        pod: format!("r{index}-{role}-{ordinal}"),
        ordinal,
        hash: Some(hash.clone()),
        version: Some(version(FIRST)),
        ready_since: Some(now),
        stuck: None,
        machine: Some(format!("m{index}-{role}-{ordinal}")),
    };
    let count = |role: Role| if role == Role::Sentry { i32::from(sentries) } else { 1 };
    let role = |role: Role| RoleView {
        role,
        hash: hash.clone(),
        nodes: (0..count(role)).map(|ordinal| node(role, ordinal)).collect(),
        volumes_added: false,
    };
    ResourceView {
        uid: format!("u{index}"),
        labels: [("team".to_owned(), (index % 2).to_string())].into(),
        client_version: Some(version(FIRST)),
        roles: Role::ALL.into_iter().filter(|one| kind.has(*one)).map(role).collect(),
        ..model::resource(kind, index, now)
    }
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

    /// A node's process ends, and begins again or not.
    pub(super) fn crash(&mut self, place: &Place, role: Role, ordinal: i32, comes: Option<i64>) {
        let comes = comes.map(|seconds| self.now + SignedDuration::from_secs(seconds));
        let Some(truth) = self.clusters.get_mut(&place.0) else { return };
        truth.fates.entry((place.1.clone(), role, ordinal)).or_default().comes = comes;
        self.edit(place, |view| {
            let node = node_mut(view, role, ordinal);
            node.ready_since = None;
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

/// Makes the templates what the spec asks for, and restarts the pod that may; returns the pods that restart.
fn reconcile(view: &mut ResourceView, edits: u32) -> Vec<(Role, i32)> {
    let wanted = format!("{}#{edits}", view.client_version.clone().unwrap_or_default());
    let (version, grant) = (view.client_version.clone(), view.grant.clone());
    let mut restarted = vec![];
    for role in &mut view.roles {
        role.hash.clone_from(&wanted);
        let Some(grant) = grant.as_ref().filter(|grant| grant.role == role.role && grant.hash == wanted)
        else {
            continue;
        };
        for node in role.nodes.iter_mut().filter(|node| node.ordinal == grant.ordinal) {
            if node.is_outdated(&wanted) {
                (node.hash, node.ready_since, node.stuck) = (Some(wanted.clone()), None, None);
                node.version.clone_from(&version);
                restarted.push((role.role, node.ordinal));
            }
        }
    }
    restarted
}

/// Tries the version of the step where it has to be tried; another step is another trial.
fn try_version(view: &mut ResourceView, last: Entry<'_, ResourceId, Timestamp>, outcomes: &mut Vec<Tried>) {
    let Some(at) = view.step.as_ref().map(|step| step.at) else { return };
    let last = last.or_insert(at);
    if std::mem::replace(last, at) != at {
        view.prepulls.clear();
    }
    let untried = view.trials().filter(|(_, tried)| matches!(tried, Tried::Pending | Tried::Unable(_)));
    let machines: Vec<String> = untried.map(|(machine, _)| machine.to_owned()).collect();
    for machine in machines {
        let known = view.prepulls.get(&machine).cloned();
        // It takes its time.
        let next = known.map_or(Tried::Pending, |_| outcomes.pop().unwrap_or(Tried::Succeeded));
        view.prepulls.insert(machine, next);
    }
}

/// As the worker's status has it, but that every dip counts.
fn settle(view: &mut ResourceView, now: Timestamp, shown: Timestamp) {
    let version = view.client_version.clone();
    let nodes = view.roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node)));
    let since: Option<Vec<Timestamp>> = nodes
        .map(|(role, node)| node.settled_since(&role.hash).filter(|_| node.version == version))
        .collect();
    view.settled_since = since.and_then(|all| all.into_iter().max()).map(|since| since.min(now));
    view.ever_settled |= view.settled_since.is_some();
    let step = view.step.as_ref().filter(|step| Some(&step.target) == view.client_version.as_ref());
    let begun = step.map_or(Timestamp::MIN, |step| step.at);
    if view.settled_since.is_some() && view.reached.is_none_or(|reached| reached < begun) {
        view.reached = Some(shown);
    }
}
