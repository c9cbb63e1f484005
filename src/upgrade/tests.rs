//! Property tests: random fleets rolled out by the planner against a model of the clusters. After every plan the
//! invariants are checked on the model's own state, which the planner cannot bend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::gates::{Gate, STEP_GATES};
use super::plan::plan_with;
use super::{Ground, Plan, Unsettled, Write};
use crate::fleet::{
    Cluster, ClusterName, Connection, Count, Fleet, Guard, Health, Settings, Stage, Telemetry, Unreachable,
    Upgrade, Validators,
};
use crate::observed::{
    Board, ClusterState, ClusterView, Healths, NodeHealth, NodeView, ResourceView, RoleView, Sample,
};

use crate::polkadot::{Kind, ResourceId, Role};

mod health;

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";
const STABLE: i64 = 60;
const SOAK: i64 = 600;

/// The shape of a random fleet: for every cluster its stage and the kinds of its resources.
#[derive(Clone, Debug)]
struct Shape {
    clusters: Vec<(usize, Vec<Kind>)>,
    width: u32,
    nodes: u32,
    /// How long a restarted pod takes to become Ready, by turns, in seconds.
    delays: Vec<i64>,
    /// The restart, counted from the start, after which a pod never becomes Ready.
    broken: Option<usize>,
}

fn shapes(broken: bool) -> impl Strategy<Value = Shape> {
    let kind = prop_oneof![Just(Kind::Sentry), Just(Kind::Validator), Just(Kind::SentryAndValidator)];
    let cluster = (0..2_usize, prop::collection::vec(kind, 1..4));
    let fault = if broken { (0..6_usize).prop_map(Some).boxed() } else { Just(None).boxed() };
    (prop::collection::vec(cluster, 1..7), 1..3_u32, 1..3_u32, prop::collection::vec(5..240_i64, 1..8), fault)
        .prop_map(|(mut clusters, width, nodes, delays, broken)| {
            clusters[0].0 = 0;
            Shape { clusters, width, nodes, delays, broken }
        })
}

/// The clusters as they really are.
struct Model {
    fleet: Fleet,
    board: Board,
    stage_of: BTreeMap<ClusterName, usize>,
    /// Pods that become Ready, and when.
    coming: Vec<(Timestamp, ClusterName, ResourceId, Role)>,
    delays: Vec<i64>,
    broken: Option<usize>,
    restarts: usize,
    steps: BTreeMap<(ClusterName, ResourceId), usize>,
    now: Timestamp,
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

fn resource(kind: Kind, index: usize, now: Timestamp) -> ResourceView {
    let node = |role: Role| NodeView {
        pod: format!("{role}-sset-0"),
        ordinal: 0,
        hash: Some(OLD.into()),
        version: Some(OLD.into()),
        ready_since: Some(now),
        stuck: None,
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
        epoch: 0,
        roles: roles
            .map(|role| RoleView { role, hash: OLD.into(), nodes: vec![node(role)], volumes_added: false })
            .collect(),
        held: None,
        trouble: None,
        settled_since: Some(now),
        ever_settled: true,
        keystore_kept: true,
        reserved_only: false,
    }
}

/// What a sound node says from one moment to another, every minute.
fn answers(since: Timestamp, until: Timestamp) -> NodeHealth {
    let mut health = NodeHealth::default();
    let first = [since, since + SignedDuration::from_secs(1)];
    let minutes = (1..).map(|minute| since + SignedDuration::from_mins(minute));
    for at in first.into_iter().chain(minutes).take_while(|at| *at <= until) {
        let height = u64::try_from(at.as_second()).unwrap();
        health.note(Ok(Sample {
            at,
            version: None,
            best: height + 2,
            finalized: height,
            sync_target: Some(height + 2),
            is_major_syncing: false,
            peers: Some(12),
            roles: Some(1),
            started: u64::try_from(since.as_second()).ok(),
        }));
    }
    health
}

impl Model {
    fn new(shape: &Shape) -> Self {
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
            now: now + SignedDuration::from_secs(1000),
        };
        model.ask();
        model
    }

    /// Every node says that it is well, since it has been Ready.
    fn ask(&mut self) {
        let now = self.now;
        for view in self.board.clusters.values_mut() {
            let view = Arc::make_mut(view);
            let nodes = view.resources.values().flat_map(|one| one.roles.iter().map(move |role| (one, role)));
            let ready =
                nodes.filter_map(|(one, role)| Some((one, &role.nodes[0], role.nodes[0].ready_since?)));
            let health = ready.map(|(one, node, since)| {
                ((one.id.namespace.clone(), node.pod.clone()), Arc::new(answers(since, now)))
            });
            view.health = Arc::new(health.collect());
        }
    }

    fn edit(&mut self, cluster: &ClusterName, id: &ResourceId, edit: impl FnOnce(&mut ResourceView)) {
        let view = Arc::make_mut(self.board.clusters.get_mut(cluster).unwrap());
        edit(Arc::make_mut(view.resources.get_mut(id).unwrap()));
    }

    /// Lets time pass: pods become Ready, workers notice.
    fn pass(&mut self, seconds: i64) {
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
            });
        }
        self.ask();
    }

    /// Does what the plan says, as the workers would.
    fn act(&mut self, plan: &Plan) {
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
                Write::Epoch(epoch) => {
                    let epoch = *epoch;
                    self.edit(&cluster, &id, |view| view.epoch = epoch);
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

    fn views(&self) -> impl Iterator<Item = (&ClusterName, &ResourceView)> {
        self.board
            .clusters
            .iter()
            .flat_map(|(name, view)| view.resources.values().map(move |one| (name, &**one)))
    }

    /// Whether the resource is at the target and has been for `seconds`.
    fn is_done(&self, view: &ResourceView, seconds: i64) -> bool {
        let since = view.settled_since.filter(|_| view.client_version.as_deref() == Some(NEW));
        since.is_some_and(|since| since + SignedDuration::from_secs(seconds) <= self.now)
    }

    /// What a plan would break if it were carried out; checked on the true state, before and after.
    fn violations(&mut self, plan: &Plan) -> Vec<&'static str> {
        let mut broken = vec![];
        let in_flight = |model: &Self| -> BTreeSet<ClusterName> {
            let moving =
                model.views().filter(|(_, view)| view.step.is_some() && !model.is_done(view, STABLE));
            moving.map(|(name, _)| name.clone()).collect()
        };
        let begun = in_flight(self);
        let steps: Vec<_> =
            plan.actions.iter().filter(|action| matches!(action.write, Write::Step(_))).collect();
        let failed = self.views().any(|(_, view)| {
            view.step.as_ref().is_some_and(|step| step.at + SignedDuration::from_secs(1800) <= self.now)
                && !self.is_done(view, STABLE)
        });
        if failed && !steps.is_empty() {
            broken.push("I6");
        }
        for step in steps {
            let held = self.stage_of[&step.place.0] == 1 && !begun.contains(&step.place.0);
            // A production cluster whose resources are partly done is half-way through, not new.
            let half_way = self.views().any(|(name, view)| *name == step.place.0 && view.step.is_some());
            let canary = |name: &ClusterName| self.stage_of[name] == 0;
            if held
                && !half_way
                && self.views().any(|(name, view)| canary(name) && !self.is_done(view, STABLE + SOAK))
            {
                broken.push("I1");
            }
        }
        self.act(plan);
        for stage in 0..2 {
            let Count::Number(width) = self.fleet.upgrades[0].stages[stage].max_concurrent else {
                unreachable!()
            };
            let flying = in_flight(self).into_iter().filter(|name| self.stage_of[name] == stage).count();
            if flying > width as usize {
                broken.push("I2");
            }
        }
        for cluster in &self.fleet.clusters {
            let rolling = self.views().filter(|(name, view)| {
                let late = view
                    .step
                    .as_ref()
                    .is_some_and(|step| step.at + SignedDuration::from_secs(1800) <= self.now);
                **name == cluster.name && view.step.is_some() && !self.is_done(view, STABLE) && !late
            });
            if rolling.count() > cluster.settings.max_nodes_in_flight as usize {
                broken.push("I3");
            }
        }
        // A validator counts from its step on: its budget is reserved before the first pod of its resource restarts.
        let taken = self.views().filter(|(_, view)| {
            let late =
                view.step.as_ref().is_some_and(|step| step.at + SignedDuration::from_secs(1800) <= self.now);
            let reserved = view.step.is_some() && !self.is_done(view, STABLE) && !late;
            view.validator().is_some_and(|one| one.ready_since.is_none() || reserved)
        });
        if taken.count() > 1 {
            broken.push("I4");
        }
        if self.steps.values().any(|count| *count > 1) {
            broken.push("I10");
        }
        broken
    }
}

/// Rolls out until nothing more happens; the violations on the way, and the model at the end.
fn roll_out(shape: &Shape, gates: &[Gate]) -> (Vec<&'static str>, Model) {
    let mut model = Model::new(shape);
    let mut broken = vec![];
    for _ in 0..500 {
        let plan = plan_with(gates, &model.fleet, &model.board, &Ground::default(), model.now);
        // A daemon that has just been started plans the same: nothing is kept between calls.
        assert_eq!(plan, plan_with(gates, &model.fleet, &model.board, &Ground::default(), model.now));
        // Until the answers are known nothing more may start: what is under way holds its slot and its budget.
        let unsettled: Unsettled = plan.actions.iter().map(|action| action.place.clone()).collect();
        let under_way = Ground { unsettled, ..Ground::default() };
        let more = plan_with(gates, &model.fleet, &model.board, &under_way, model.now);
        assert_eq!(more.actions, vec![], "beside {:?}", plan.actions);
        broken.extend(model.violations(&plan));
        if plan.actions.is_empty() && model.views().all(|(_, view)| model.is_done(view, STABLE + SOAK)) {
            break;
        }
        model.pass(20);
    }
    (broken, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_healthy_fleet_is_rolled_out_whole_in_order_and_within_its_limits(shape in shapes(false)) {
        let (broken, model) = roll_out(&shape, &STEP_GATES);
        prop_assert_eq!(broken, Vec::<&str>::new());
        let unfinished: Vec<_> = model.views().filter(|(_, view)| !model.is_done(view, 0)).collect();
        prop_assert!(unfinished.is_empty(), "{:#?}", unfinished);
    }

    #[test]
    fn a_node_that_never_becomes_ready_halts_the_upgrade_within_its_limits(shape in shapes(true)) {
        let (broken, _) = roll_out(&shape, &STEP_GATES);
        prop_assert_eq!(broken, Vec::<&str>::new());
    }
}

/// Every gate is needed: with one left out, some random fleet breaks the invariant that it guards.
#[test]
fn each_gate_left_out_breaks_its_invariant() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    for (left_out, invariant, faulty) in
        [(3, "I6", true), (4, "I1", false), (6, "I2", false), (7, "I4", false)]
    {
        let gates: Vec<Gate> = STEP_GATES
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out)
            .map(|(_, gate)| *gate)
            .collect();
        let mut runner = TestRunner::deterministic();
        let found = (0..200).any(|_| {
            let shape = shapes(faulty).new_tree(&mut runner).unwrap().current();
            roll_out(&shape, &gates).0.contains(&invariant)
        });
        assert!(found, "without gate {left_out} nothing breaks {invariant}");
    }
}

fn one_canary() -> Model {
    Model::new(&Shape {
        clusters: vec![(0, vec![Kind::Validator])],
        width: 1,
        nodes: 1,
        delays: vec![10],
        broken: None,
    })
}

fn code_of(model: &Model) -> Option<super::Code> {
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    plan.waits.first().map(|wait| wait.code)
}

type Edit = Box<dyn Fn(&mut Model)>;

#[test]
fn what_must_not_move_does_not_and_says_why() {
    use super::Code;
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    let name = ClusterName::from("c0");
    let edit = |change: fn(&mut ResourceView)| -> Edit {
        let (name, id) = (name.clone(), id.clone());
        Box::new(move |model| model.edit(&name, &id, change))
    };
    let cases: Vec<(Code, Edit)> = vec![
        (Code::UpgradePaused, Box::new(|model| model.fleet.upgrades[0].paused = true)),
        (Code::ClusterPaused, Box::new(|model| model.fleet.clusters[0].paused = true)),
        (Code::ClusterLost, Box::new(|model| model.fleet.clusters[0].lost = true)),
        (Code::Approval, Box::new(|model| model.fleet.upgrades[0].stages[0].approval_required = true)),
        (Code::Ahead, edit(|view| view.client_version = Some("stable2509".into()))),
        (Code::VersionOrderUnknown, edit(|view| view.client_version = Some("latest".into()))),
        (Code::VersionOrderUnknown, edit(|view| view.client_version = Some("sha-0d1f".into()))),
        (Code::EphemeralKeystore, edit(|view| view.keystore_kept = false)),
        (Code::Trouble, edit(|view| view.trouble = Some("a name is taken".into()))),
    ];
    for (code, change) in cases {
        let mut model = one_canary();
        change(&mut model);
        assert_eq!(code_of(&model), Some(code));
    }
    let mut model = one_canary();
    Arc::make_mut(model.board.clusters.get_mut(&name).unwrap()).state =
        ClusterState::Unreachable("gone".into());
    assert_eq!(code_of(&model), Some(Code::HomeUnreachable));
}

#[test]
fn a_version_that_somebody_sets_back_is_contested_and_not_set_again() {
    let mut model = one_canary();
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    model.act(&plan);
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&name, &id, |view| {
        view.client_version = Some(OLD.into());
        view.roles[0].hash = OLD.into();
    });
    assert_eq!(code_of(&model), Some(super::Code::Contested));
    model.fleet.upgrades[0].attempt = 2;
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    assert_eq!(plan.actions.len(), 1, "a person raised the attempt");
}

#[test]
fn a_validator_waits_while_the_state_of_a_member_is_unknown_unless_it_is_declared_lost() {
    let shape = Shape {
        clusters: vec![(0, vec![Kind::Validator]), (1, vec![])],
        width: 1,
        nodes: 1,
        delays: vec![10],
        broken: None,
    };
    let mut model = Model::new(&shape);
    model.board.clusters.remove(&ClusterName::from("c1"));
    assert_eq!(code_of(&model), Some(super::Code::FleetUnknown));
    model.fleet.clusters[1].lost = true;
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    assert_eq!(plan.actions.len(), 1);
}

#[test]
fn a_spec_older_than_what_runs_is_not_rolled_out() {
    let mut model = one_canary();
    model.fleet.upgrades.clear();
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&name, &id, |view| {
        view.client_version = Some("stable2412".into());
        view.roles[0].hash = "older".into();
    });
    assert_eq!(code_of(&model), Some(super::Code::DowngradeRefused));
}

#[test]
fn a_validator_is_not_rolled_off_the_keystore_of_its_pod_onto_an_empty_volume() {
    let mut model = one_canary();
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    // The volume was switched on while the pod runs without one.
    model.edit(&name, &id, |view| {
        view.client_version = Some(NEW.into());
        view.keystore_kept = false;
        view.roles[0].hash = "with a volume".into();
        view.roles[0].volumes_added = true;
    });
    for owned in [true, false] {
        assert_eq!(code_of(&model), Some(super::Code::EphemeralKeystore));
        if owned {
            let mut allowed = one_canary();
            allowed.board = model.board.clone();
            allowed.fleet.upgrades[0].allow_ephemeral = true;
            let plan = super::plan(&allowed.fleet, &allowed.board, &Ground::default(), allowed.now);
            assert_eq!(plan.actions.len(), 1, "a person's word: {plan:?}");
        }
        model.fleet.upgrades.clear();
    }
}

#[test]
fn a_permission_that_was_not_used_is_taken_back_when_its_template_is_no_longer_wanted() {
    use crate::polkadot::Grant;
    let mut model = one_canary();
    model.fleet.upgrades.clear();
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let at = model.now;
    model.edit(&name, &id, |view| {
        view.grant = Some(Grant { role: Role::Validator, hash: "reverted".into(), ordinal: 0, at });
    });
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    assert!(matches!(plan.actions[..], [super::Action { write: Write::Revoke, .. }]), "{plan:?}");
    model.act(&plan);
    assert!(super::plan(&model.fleet, &model.board, &Ground::default(), model.now).actions.is_empty());
}

/// The chart of a resource that no upgrade owns, in a cluster whose pods cannot be asked: being Ready counts.
fn unasked(view: &ResourceView, now: Timestamp) -> super::chart::Chart {
    use crate::observed::Blocked;
    let mut model = one_canary();
    let cluster = model.fleet.clusters.remove(0);
    let blocked =
        NodeHealth { blocked: Some(Blocked { at: now, why: "no way".into() }), ..NodeHealth::default() };
    let nodes = view.roles.iter().flat_map(|role| &role.nodes);
    let health = nodes.map(|node| ((view.id.namespace.clone(), node.pod.clone()), Arc::new(blocked.clone())));
    let seen = ClusterView {
        state: ClusterState::Ready,
        seen: true,
        resources: BTreeMap::new(),
        health: Arc::new(health.collect()),
    };
    super::chart::Chart::new(None, &cluster, &seen, now)
}

#[test]
fn a_permission_for_a_broken_sentry_is_for_just_it_and_moot_when_it_comes_back_by_itself() {
    use super::rolls::{Next, is_outstanding, next};
    use crate::polkadot::Grant;
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
    let long_ago = Some(Timestamp::UNIX_EPOCH);
    let mut view = resource(Kind::Sentry, 0, now);
    let first = view.roles[0].nodes[0].clone();
    view.roles[0].hash = "new".into();
    view.roles[0].nodes =
        (0..3).map(|ordinal| NodeView { ordinal, ready_since: long_ago, ..first.clone() }).collect();
    view.roles[0].nodes[0].ready_since = None;
    let of = |view: &ResourceView| match next(&unasked(view, now), view) {
        Some(Next::Pod { ordinal, .. }) => Some(ordinal),
        _ => None,
    };
    assert_eq!(of(&view), Some(0), "it has nothing to lose");
    view.grant = Some(Grant { role: Role::Sentry, hash: "new".into(), ordinal: 0, at: now });
    assert!(is_outstanding(&unasked(&view, now), &view));
    let mut back = view.clone();
    back.roles[0].nodes[0].ready_since = long_ago;
    assert!(!is_outstanding(&unasked(&back, now), &back));
    assert_eq!(of(&back), Some(2));
    view.roles[0].nodes[0] = NodeView { hash: Some("new".into()), ready_since: Some(now), ..first };
    assert!(is_outstanding(&unasked(&view, now), &view), "not long enough");
    view.roles[0].nodes[0].ready_since = long_ago;
    assert!(!is_outstanding(&unasked(&view, now), &view), "the others wait for permissions of their own");
    assert_eq!(of(&view), Some(2));
}

/// Two clusters with a validator each, all at the old version, after `epoch` take-overs.
fn two_clusters() -> Model {
    let kinds = || vec![Kind::Validator];
    let clusters = vec![(0, kinds()), (0, kinds())];
    Model::new(&Shape { clusters, width: 2, nodes: 1, delays: vec![5], broken: None })
}

#[test]
fn after_a_take_over_every_resource_is_marked_before_any_step() {
    let mut model = two_clusters();
    let ground = Ground { epoch: 3, ..Ground::default() };
    let plan = super::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(plan.actions.len(), 2);
    assert!(plan.actions.iter().all(|action| action.write == Write::Epoch(3)), "{:?}", plan.actions);
    assert!(plan.waits.iter().all(|wait| wait.code == super::Code::TakingOver));
    model.act(&plan);
    let plan = super::plan(&model.fleet, &model.board, &ground, model.now);
    assert!(matches!(plan.actions[..], [super::Action { write: Write::Step(_), .. }]), "{:?}", plan.actions);
}

#[test]
fn a_resource_that_cannot_be_marked_gets_no_step_and_stops_no_other() {
    let mut model = two_clusters();
    let places: Vec<_> = model
        .board
        .clusters
        .iter()
        .flat_map(|(name, view)| {
            view.resources.keys().map(|id| (name.clone(), id.clone())).collect::<Vec<_>>()
        })
        .collect();
    let ground = Ground { epoch: 3, unmarkable: [places[0].clone()].into(), ..Ground::default() };
    let plan = super::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(plan.actions.len(), 1);
    model.act(&plan);
    let plan = super::plan(&model.fleet, &model.board, &ground, model.now);
    let [step] = &plan.actions[..] else { panic!("{:?}", plan.actions) };
    assert_eq!(step.place, places[1]);
}

#[test]
fn nothing_is_written_to_a_cluster_that_home_does_not_know_yet() {
    let model = two_clusters();
    let ground = Ground { unrecorded: [ClusterName::from("c0")].into(), ..Ground::default() };
    let plan = super::plan(&model.fleet, &model.board, &ground, model.now);
    assert!(plan.actions.iter().all(|action| action.place.0 == ClusterName::from("c1")));
    assert!(plan.waits.iter().any(|wait| wait.code == super::Code::RecordPending));
}

#[test]
fn who_does_not_lead_writes_nothing_and_says_why() {
    let model = two_clusters();
    let veto = (super::Code::Standby, "another daemon leads".to_owned());
    let ground = Ground { no_steps: Some(veto), epoch: 3, ..Ground::default() };
    let plan = super::plan(&model.fleet, &model.board, &ground, model.now);
    assert!(plan.actions.is_empty());
    assert_eq!(plan.waits.len(), 2);
    assert!(plan.waits.iter().all(|wait| wait.code == super::Code::Standby));
}

#[test]
fn a_pod_that_fits_on_no_machine_has_failed_only_when_none_was_added_for_a_while() {
    use super::standing::{Standing, standing};
    use crate::observed::Stuck;
    let mut model = one_canary();
    let begun = model.now;
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), begun);
    model.act(&plan);
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&name, &id, |view| {
        view.settled_since = None;
        let hash = view.roles[0].hash.clone();
        let node = &mut view.roles[0].nodes[0];
        let why = Stuck { reason: "Unschedulable".into(), words: None, since: Some(begun) };
        (node.hash, node.ready_since, node.stuck) = (Some(hash), None, Some(why));
    });
    let view = &model.board.clusters[&name].resources[&id];
    let chain = super::chains::Chain::default();
    let after = |minutes| {
        let now = begun + SignedDuration::from_mins(minutes);
        standing(&model.fleet.upgrades[0], view, &unasked(view, now), &chain)
    };
    let deadline = Some(begun + SignedDuration::from_mins(5));
    assert_eq!(after(4), Standing::InFlight { deadline });
    assert!(matches!(after(5), Standing::Failed(why) if why.contains("Unschedulable")));
}

#[test]
fn a_higher_attempt_tries_again_what_failed_and_disturbs_nothing_that_is_on_its_way() {
    let mut model = one_canary();
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    model.act(&plan);
    model.fleet.upgrades[0].attempt = 2;
    let is_step = |plan: &Plan| plan.actions.iter().any(|action| matches!(action.write, Write::Step(_)));
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    assert!(!is_step(&plan), "{:?}", plan.actions);
    // Past the deadline of its step it has failed.
    model.now += SignedDuration::from_secs(1800);
    model.ask();
    let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    assert!(is_step(&plan), "{:?} {:?}", plan.actions, plan.waits);
}

#[test]
fn an_empty_stage_says_so_and_one_whose_turn_has_come_waits_for_nobody() {
    use super::StageState;
    let shape = Shape {
        clusters: vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])],
        width: 1,
        nodes: 1,
        delays: vec![10],
        broken: None,
    };
    let mut model = Model::new(&shape);
    model.fleet.upgrades[0].paused = true;
    let states = |model: &Model| {
        let plan = super::plan(&model.fleet, &model.board, &Ground::default(), model.now);
        plan.progress[0].stages.iter().map(|stage| stage.state).collect::<Vec<_>>()
    };
    model.fleet.upgrades[0].stages[0].optional = false;
    model.fleet.upgrades[0].stages[1].optional = false;
    assert_eq!(states(&model), [StageState::Next, StageState::Empty]);
    for cluster in &mut model.fleet.clusters {
        cluster.labels = [("stage".to_owned(), "production".to_owned())].into();
    }
    assert_eq!(states(&model), [StageState::Empty, StageState::Waiting]);
    for cluster in &mut model.fleet.clusters {
        cluster.labels = [("stage".to_owned(), "canary".to_owned())].into();
    }
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap()).resources.clear();
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c1")).unwrap()).resources.clear();
    assert_eq!(states(&model)[0], StageState::Empty);
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c1")).unwrap()).state =
        ClusterState::Syncing;
    assert_eq!(states(&model)[0], StageState::Next, "nobody knows yet");
}
