//! A model of the clusters that plans are carried out on: the planner cannot bend its state.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{
    Cluster, ClusterName, Connection, Count, Fleet, Guard, Health, Settings, Stage, Telemetry, Unreachable,
    Upgrade, Validators,
};
use crate::observed::{
    Board, ClusterState, ClusterView, Healths, NodeHealth, NodeView, ResourceView, RoleView, Sample,
};
use crate::polkadot::{Kind, ResourceId, Role, Step};
use crate::upgrade::{self, Action, Code, Ground, Plan, Write};

pub(super) const OLD: &str = "stable2503-6";
pub(super) const NEW: &str = "stable2503-7";
pub(super) const STABLE: i64 = 60;
pub(super) const SOAK: i64 = 600;

/// The shape of a random fleet: for every cluster its stage and the kinds of its resources.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) clusters: Vec<(usize, Vec<Kind>)>,
    pub(super) width: u32,
    pub(super) nodes: u32,
    /// How long a restarted pod takes to become Ready, by turns, in seconds.
    pub(super) delays: Vec<i64>,
    /// The restart, counted from the start, after which a pod never becomes Ready.
    pub(super) broken: Option<usize>,
}

impl Shape {
    /// One node at a time, each Ready after ten seconds, all sound.
    pub(super) fn of(clusters: Vec<(usize, Vec<Kind>)>) -> Self {
        Self { clusters, width: 1, nodes: 1, delays: vec![10], broken: None }
    }
}

/// The clusters as they really are.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) fleet: Fleet,
    pub(super) board: Board,
    pub(super) stage_of: BTreeMap<ClusterName, usize>,
    /// Pods that become Ready, and when.
    pub(super) coming: Vec<(Timestamp, ClusterName, ResourceId, Role)>,
    delays: Vec<i64>,
    broken: Option<usize>,
    restarts: usize,
    pub(super) steps: BTreeMap<(ClusterName, ResourceId), usize>,
    /// Since when the daemon that looks has done so.
    pub(super) asked_since: Option<Timestamp>,
    pub(super) now: Timestamp,
}

fn fleet(shape: &Shape) -> Fleet {
    let selector = |stage: &str| [("stage".to_owned(), stage.to_owned())].into_iter().collect();
    let stage = |name: &str, soak: i64| Stage {
        name: name.into(),
        clusters: selector(name),
        optional: true,
        max_concurrent: Count::Number(shape.width),
        soak: SignedDuration::from_secs(soak),
        approval_required: false,
        approved_version: None,
        approver: None,
    };
    let clusters = shape.clusters.iter().enumerate().map(|(index, (stage, _))| Cluster {
        name: ClusterName(format!("c{index}")),
        connection: Connection::InCluster,
        labels: [("stage".to_owned(), ["canary", "production"][*stage].to_owned())].into(),
        namespaces: vec![],
        paused: false,
        lost: false,
        settings: Settings { max_nodes_in_flight: shape.nodes, ..Settings::default() },
    });
    Fleet {
        home: ClusterName::from("c0"),
        home_namespace: "polkafleet".into(),
        clusters: clusters.collect(),
        validators: Validators { max_unavailable: 1, guard: Guard::Strict },
        upgrades: vec![Upgrade {
            name: "u".into(),
            client_version: NEW.into(),
            selector: kube::core::Selector::default(),
            attempt: 1,
            paused: false,
            allow_downgrade: false,
            allow_ephemeral: false,
            expedite: None,
            stages: vec![stage("canary", SOAK), stage("production", 0)],
            max_failures: Count::Number(0),
            progress_deadline: SignedDuration::from_secs(1800),
            unreachable: Unreachable::Wait,
            health: Health { stable_for: SignedDuration::from_secs(STABLE), ..Health::default() },
            prepull: false,
        }],
        lease: SignedDuration::from_secs(15),
        telemetry: Telemetry::default(),
        admin: None,
    }
}

pub(super) fn resource(kind: Kind, index: usize, now: Timestamp) -> ResourceView {
    let node = |role: Role| NodeView {
        pod: format!("{role}-sset-0"),
        ordinal: 0,
        hash: Some(OLD.into()),
        version: Some(OLD.into()),
        ready_since: Some(now),
        stuck: None,
        machine: None,
    };
    let roles = Role::ALL.into_iter().filter(|role| kind.has(*role));
    ResourceView {
        id: ResourceId { namespace: "n".into(), name: format!("r{index}") },
        uid: "u".into(),
        resource_version: "1".into(),
        labels: BTreeMap::new(),
        kind,
        chain: "polkadot".into(),
        client_version: Some(OLD.into()),
        step: None,
        grant: None,
        healthy: None,
        failed: None,
        epoch: 0,
        roles: roles
            .map(|role| RoleView { role, hash: OLD.into(), nodes: vec![node(role)], volumes_added: false })
            .collect(),
        held: None,
        trouble: None,
        settled_since: Some(now),
        ever_settled: true,
        reached: None,
        keystore_kept: true,
        reserved_only: false,
        prepulls: BTreeMap::new(),
    }
}

/// What a sound node says from one moment to another, every minute.
fn answers(since: Timestamp, until: Timestamp) -> NodeHealth {
    let mut health = NodeHealth::default();
    let first = [since, since + SignedDuration::from_secs(1)];
    let minutes = (1..).map(|minute| since + SignedDuration::from_mins(minute));
    for at in first.into_iter().chain(minutes).take_while(|at| *at <= until) {
        let height = u64::try_from(at.as_second()).unwrap();
        health.note(
            Ok(Sample {
                at,
                version: None,
                best: height + 2,
                finalized: height,
                sync_target: Some(height + 2),
                is_major_syncing: false,
                peers: Some(12),
                roles: Some(4),
                started: u64::try_from(since.as_second()).ok(),
            }),
            SignedDuration::from_mins(1),
        );
    }
    health
}

impl Model {
    pub(super) fn new(shape: &Shape) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let fleet = fleet(shape);
        let mut board = Board::default();
        let mut stage_of = BTreeMap::new();
        for (cluster, (stage, kinds)) in fleet.clusters.iter().zip(&shape.clusters) {
            let resources = kinds.iter().enumerate().map(|(index, kind)| resource(*kind, index, now));
            let resources = resources.map(|view| (view.id.clone(), Arc::new(view))).collect();
            stage_of.insert(cluster.name.clone(), *stage);
            board.clusters.insert(
                cluster.name.clone(),
                Arc::new(ClusterView {
                    state: ClusterState::Ready,
                    seen: true,
                    remembered: false,
                    concern: None,
                    resources,
                    health: Healths::default(),
                }),
            );
        }
        let mut model = Self {
            fleet,
            board,
            stage_of,
            coming: vec![],
            delays: shape.delays.clone(),
            broken: shape.broken,
            restarts: 0,
            steps: BTreeMap::new(),
            asked_since: None,
            now: now + SignedDuration::from_secs(1000),
        };
        model.ask();
        model
    }

    /// Every node says that it is well, since it has been Ready.
    pub(super) fn ask(&mut self) {
        let (now, asked_since) = (self.now, self.asked_since);
        for view in self.board.clusters.values_mut() {
            let view = Arc::make_mut(view);
            let nodes = view.resources.values().flat_map(|one| one.roles.iter().map(move |role| (one, role)));
            let ready =
                nodes.filter_map(|(one, role)| Some((one, &role.nodes[0], role.nodes[0].ready_since?)));
            let health = ready.map(|(one, node, since)| {
                let since = asked_since.map_or(since, |asked| asked.max(since));
                ((one.id.namespace.clone(), node.pod.clone()), Arc::new(answers(since, now)))
            });
            view.health = Arc::new(health.collect());
        }
    }

    pub(super) fn edit(
        &mut self,
        cluster: &ClusterName,
        id: &ResourceId,
        edit: impl FnOnce(&mut ResourceView),
    ) {
        let view = Arc::make_mut(self.board.clusters.get_mut(cluster).unwrap());
        edit(Arc::make_mut(view.resources.get_mut(id).unwrap()));
    }

    /// Lets time pass: pods become Ready, workers notice.
    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        let now = self.now;
        let (due, rest) = std::mem::take(&mut self.coming).into_iter().partition(|(at, ..)| *at <= now);
        self.coming = rest;
        let due: Vec<(Timestamp, ClusterName, ResourceId, Role)> = due;
        for (at, cluster, id, role) in due {
            self.edit(&cluster, &id, |view| {
                let role = view.roles.iter_mut().find(|known| known.role == role).unwrap();
                role.nodes[0].ready_since = Some(at);
                let since = |role: &RoleView| role.nodes[0].settled_since(&role.hash);
                let all: Option<Vec<_>> = view.roles.iter().map(since).collect();
                view.settled_since = all.and_then(|all| all.into_iter().max());
                let begun = view.step.as_ref().map_or(Timestamp::MIN, |step| step.at);
                if view.settled_since.is_some() && view.reached.is_none_or(|reached| reached < begun) {
                    view.reached = Some(now);
                }
            });
        }
        self.ask();
    }

    /// Does what the plan says, as the workers would.
    pub(super) fn act(&mut self, plan: &Plan) {
        for action in &plan.actions {
            let (cluster, id) = action.place.clone();
            match &action.write {
                Write::Step(step) => {
                    *self.steps.entry(action.place.clone()).or_default() += 1;
                    let step = step.clone();
                    self.edit(&cluster, &id, |view| {
                        view.client_version = Some(step.target.clone());
                        view.roles.iter_mut().for_each(|role| role.hash.clone_from(&step.target));
                        view.step = Some(step);
                        view.settled_since = None;
                    });
                }
                Write::Rollback(step) => {
                    let step = step.clone();
                    self.edit(&cluster, &id, |view| {
                        view.client_version.clone_from(&step.previous);
                        let hash = step.previous.clone().unwrap();
                        view.roles.iter_mut().for_each(|role| role.hash.clone_from(&hash));
                        view.step = Some(step);
                        view.prepulls.clear();
                    });
                }
                Write::Health(stretch) => {
                    let stretch = stretch.clone();
                    self.edit(&cluster, &id, |view| view.healthy = Some(stretch));
                }
                Write::Epoch(epoch) => {
                    let epoch = *epoch;
                    self.edit(&cluster, &id, |view| view.epoch = epoch);
                }
                Write::Failed(failed) => {
                    let failed = failed.clone();
                    self.edit(&cluster, &id, |view| view.failed = failed);
                }
                Write::Revoke => self.edit(&cluster, &id, |view| view.grant = None),
                Write::Grant(grant) => {
                    let delay = self.delays[self.restarts % self.delays.len()];
                    if self.broken != Some(self.restarts) {
                        let at = self.now + SignedDuration::from_secs(delay);
                        self.coming.push((at, cluster.clone(), id.clone(), grant.role));
                    }
                    self.restarts += 1;
                    let grant = grant.clone();
                    self.edit(&cluster, &id, |view| {
                        let version = view.client_version.clone();
                        let role = view.roles.iter_mut().find(|known| known.role == grant.role).unwrap();
                        assert_eq!(role.hash, grant.hash, "a grant is for the template that is wanted");
                        let hash = Some(role.hash.clone());
                        let node = &mut role.nodes[0];
                        (node.hash, node.version, node.ready_since) = (hash, version, None);
                        view.settled_since = None;
                        view.grant = Some(grant);
                    });
                }
            }
        }
    }

    /// Plans and acts, every twenty seconds, until it is so.
    pub(super) fn play_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..200 {
            if done(self) {
                return;
            }
            let made = planned(self);
            self.act(&made);
            self.pass(20);
        }
        panic!("{:#?}", planned(self).waits);
    }

    pub(super) fn views(&self) -> impl Iterator<Item = (&ClusterName, &ResourceView)> {
        self.board
            .clusters
            .iter()
            .flat_map(|(name, view)| view.resources.values().map(move |one| (name, &**one)))
    }
}

/// The upgrade's step from the old version, taken then.
pub(super) fn stepped_at(at: Timestamp) -> Step {
    Step {
        upgrade: "u".into(),
        target: NEW.into(),
        attempt: 1,
        previous: Some(OLD.into()),
        finalized: None,
        approver: None,
        prepull: false,
        rolled_back: None,
        at,
    }
}

/// A cluster with a validator, at the old version.
pub(super) fn one_canary() -> Model {
    Model::new(&Shape::of(vec![(0, vec![Kind::Validator])]))
}

/// What is to be done now, if nothing is in the way.
pub(super) fn planned(model: &Model) -> Plan {
    upgrade::plan(&model.fleet, &model.board, &Ground::default(), model.now)
}

/// What is done but for notes that something failed, which move nothing.
pub(super) fn moves(plan: &Plan) -> Vec<&Action> {
    plan.actions.iter().filter(|action| !matches!(action.write, Write::Failed(_))).collect()
}

/// Why nothing is done.
pub(super) fn code_of(model: &Model) -> Option<Code> {
    let plan = planned(model);
    assert!(moves(&plan).is_empty(), "{:?}", plan.actions);
    plan.waits.first().map(|wait| wait.code)
}
