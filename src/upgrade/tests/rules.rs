//! Single rules: what must not move and why, and what a permission, an attempt and a deadline mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::model::{Model, NEW, OLD, STABLE, Shape, code_of, one_canary, planned, resource, stepped_at};
use crate::fleet::{ClusterName, Unreachable};
use crate::observed::{Blocked, ClusterState, ClusterView, NodeHealth, NodeView, ResourceView, Stuck};
use crate::polkadot::{Grant, Kind, ResourceId, Role};
use crate::upgrade::chains::Chain;
use crate::upgrade::chart::Chart;
use crate::upgrade::rolls::{Next, is_outstanding, next};
use crate::upgrade::standing::{Standing, standing};
use crate::upgrade::survey::Survey;
use crate::upgrade::{self, Action, Code, Ground, Plan, Write};

type Edit = Box<dyn Fn(&mut Model)>;

/// The first step, and the first permission to restart.
fn begin(model: &mut Model) {
    for _ in 0..2 {
        let made = planned(model);
        model.act(&made);
    }
}

#[test]
fn what_must_not_move_does_not_and_says_why() {
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
    let plan = planned(&model);
    model.act(&plan);
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&name, &id, |view| {
        view.client_version = Some(OLD.into());
        view.roles[0].hash = OLD.into();
    });
    assert_eq!(code_of(&model), Some(Code::Contested));
    model.fleet.upgrades[0].attempt = 2;
    let plan = planned(&model);
    assert_eq!(plan.actions.len(), 1, "a person raised the attempt");
}

#[test]
fn a_validator_waits_while_the_state_of_a_member_is_unknown_unless_it_is_declared_lost() {
    let shape = Shape::of(vec![(0, vec![Kind::Validator]), (1, vec![])]);
    let mut model = Model::new(&shape);
    model.board.clusters.remove(&ClusterName::from("c1"));
    assert_eq!(code_of(&model), Some(Code::FleetUnknown));
    model.fleet.clusters[1].lost = true;
    let plan = planned(&model);
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
    assert_eq!(code_of(&model), Some(Code::DowngradeRefused));
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
        assert_eq!(code_of(&model), Some(Code::EphemeralKeystore));
        if owned {
            let mut allowed = one_canary();
            allowed.board = model.board.clone();
            allowed.fleet.upgrades[0].allow_ephemeral = true;
            let plan = upgrade::plan(&allowed.fleet, &allowed.board, &Ground::default(), allowed.now);
            assert_eq!(plan.actions.len(), 1, "a person's word: {plan:?}");
        }
        model.fleet.upgrades.clear();
    }
}

#[test]
fn a_permission_that_was_not_used_is_taken_back_when_its_template_is_no_longer_wanted() {
    let mut model = one_canary();
    model.fleet.upgrades.clear();
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let at = model.now;
    model.edit(&name, &id, |view| {
        view.grant = Some(Grant {
            role: Role::Validator,
            hash: "reverted".into(),
            ordinal: 0,
            at,
            mends: false,
            again: false,
        });
    });
    let plan = planned(&model);
    assert!(matches!(plan.actions[..], [Action { write: Write::Revoke, .. }]), "{plan:?}");
    model.act(&plan);
    assert!(planned(&model).actions.is_empty());
}

/// The chart of a resource that no upgrade owns, in a cluster whose pods cannot be asked: being Ready counts.
fn unasked(view: &ResourceView, now: Timestamp) -> Chart {
    let mut model = one_canary();
    let cluster = model.fleet.clusters.remove(0);
    let blocked =
        NodeHealth { blocked: Some(Blocked { at: now, why: "no way".into() }), ..NodeHealth::default() };
    let nodes = view.roles.iter().flat_map(|role| &role.nodes);
    let health = nodes.map(|node| ((view.id.namespace.clone(), node.pod.clone()), Arc::new(blocked.clone())));
    let seen = ClusterView {
        state: ClusterState::Ready,
        seen: true,
        remembered: false,
        concern: None,
        resources: BTreeMap::new(),
        health: Arc::new(health.collect()),
    };
    Chart::new(None, &cluster, &seen, now)
}

#[test]
fn a_permission_for_a_broken_sentry_is_for_just_it_and_moot_when_it_comes_back_by_itself() {
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
    view.grant = Some(Grant {
        role: Role::Sentry,
        hash: "new".into(),
        ordinal: 0,
        at: now,
        mends: true,
        again: false,
    });
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

#[test]
fn a_pod_that_fits_on_no_machine_has_failed_only_when_none_was_added_for_a_while() {
    let mut model = one_canary();
    let begun = model.now;
    let plan = upgrade::plan(&model.fleet, &model.board, &Ground::default(), begun);
    model.act(&plan);
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&name, &id, |view| {
        view.settled_since = None;
        let hash = view.roles[0].hash.clone();
        let node = &mut view.roles[0].nodes[0];
        let why = Stuck { reason: "Unschedulable".into(), words: None, since: Some(begun) };
        (node.hash, node.version) = (Some(hash), Some(NEW.into()));
        (node.ready_since, node.stuck) = (None, Some(why));
    });
    let view = &model.board.clusters[&name].resources[&id];
    let chain = Chain::default();
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
    begin(&mut model);
    model.fleet.upgrades[0].attempt = 2;
    let is_step = |plan: &Plan| plan.actions.iter().any(|action| matches!(action.write, Write::Step(_)));
    let plan = planned(&model);
    assert!(!is_step(&plan), "{:?}", plan.actions);
    // What does not come up by the deadline has failed.
    model.now += SignedDuration::from_secs(1800);
    model.ask();
    let plan = planned(&model);
    assert!(is_step(&plan), "{:?} {:?}", plan.actions, plan.waits);
}

#[test]
fn an_empty_stage_says_so_and_one_whose_turn_has_come_waits_for_nobody() {
    use crate::upgrade::StageState;
    let shape = Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]);
    let mut model = Model::new(&shape);
    model.fleet.upgrades[0].paused = true;
    let states = |model: &Model| {
        let plan = planned(model);
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

#[test]
fn what_does_not_start_fails_again_after_a_retry_only_once_the_kubelet_has_tried_again() {
    let mut model = one_canary();
    begin(&mut model);
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let why = Stuck { reason: "ImagePullBackOff".into(), words: None, since: None };
    model.edit(&name, &id, |view| view.roles[0].nodes[0].stuck = Some(why));
    let is_halted = |model: &Model| planned(model).progress[0].halted.is_some();
    assert!(is_halted(&model));
    model.fleet.upgrades[0].attempt = 2;
    let made = planned(&model);
    assert!(matches!(made.actions[..], [Action { write: Write::Step(_), .. }]), "{:?}", made.waits);
    model.act(&made);
    assert!(!is_halted(&model), "its image may be there now");
    model.now += SignedDuration::from_mins(10);
    assert!(is_halted(&model));
}

#[test]
fn an_edit_of_what_came_up_at_an_earlier_target_waits_for_its_turn_and_holds_up_nobody() {
    let mut model = one_canary();
    begin(&mut model);
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let now = model.now + SignedDuration::from_secs(STABLE / 2);
    model.now = now;
    model.edit(&name, &id, |view| {
        let node = &mut view.roles[0].nodes[0];
        (node.hash, node.version) = (Some(NEW.into()), Some(NEW.into()));
        (node.ready_since, view.settled_since, view.reached) = (Some(now), Some(now), Some(now));
        view.roles[0].hash = NEW.into();
    });
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    let rolls = |model: &Model| {
        let ground = Ground::default();
        let survey = Survey::new(&model.fleet, &model.board, &ground, model.now);
        survey.resources[&(name.clone(), id.clone())].rolling
    };
    assert!(rolls(&model), "it has not been healthy for long enough yet");
    model.edit(&name, &id, |view| {
        (view.roles[0].hash, view.settled_since) = ("edited".into(), None);
    });
    assert!(!rolls(&model));
}

#[test]
fn i01_under_skip_a_cluster_that_is_only_being_connected_is_waited_for() {
    let shape = Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]);
    let mut model = Model::new(&shape);
    model.fleet.home = ClusterName::from("c1");
    model.fleet.upgrades[0].unreachable = Unreachable::Skip;
    let begins = |state: ClusterState| {
        let mut board = model.board.clone();
        Arc::make_mut(board.clusters.get_mut(&ClusterName::from("c0")).unwrap()).state = state;
        let plan = upgrade::plan(&model.fleet, &board, &Ground::default(), model.now);
        plan.actions.iter().any(|action| matches!(action.write, Write::Step(_)))
    };
    assert!(begins(ClusterState::Unreachable("refused".into())));
    assert!(begins(ClusterState::NoCrd(None)));
    for state in [ClusterState::Connecting, ClusterState::Syncing, ClusterState::Standby("another".into())] {
        assert!(!begins(state.clone()), "{state}");
    }
}

#[test]
fn i01_a_new_target_waits_for_its_turn_also_in_a_cluster_that_is_in_flight_with_the_one_before() {
    let shape =
        Shape { nodes: 2, ..Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry, Kind::Sentry])]) };
    let mut model = Model::new(&shape);
    let (canary, production) = (ClusterName::from("c0"), ClusterName::from("c1"));
    let in_flight = ResourceId { namespace: "n".into(), name: "r0".into() };
    let at = model.now;
    model.edit(&production, &in_flight, |view| {
        view.client_version = Some(NEW.into());
        view.roles[0].hash = NEW.into();
        view.settled_since = None;
        view.step = Some(stepped_at(at));
    });
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    let plan = planned(&model);
    let steps: Vec<_> = plan.actions.iter().filter(|action| matches!(action.write, Write::Step(_))).collect();
    assert!(steps.iter().all(|action| action.place.0 == canary), "{steps:?}");
    assert_eq!(steps.len(), 1, "{:?}", plan.waits);
}

#[test]
fn i04_a_validator_that_came_up_just_now_counts_until_it_has_been_well_whatever_was_decided_since() {
    let shape = Shape { width: 2, ..Shape::of(vec![(0, vec![Kind::Validator]), (0, vec![Kind::Validator])]) };
    let mut model = Model::new(&shape);
    begin(&mut model);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    let first = model.board.clusters.iter().find(|(_, view)| view.resources[&id].grant.is_some());
    let first = first.unwrap().0.clone();
    model.now += SignedDuration::from_secs(20);
    let up = model.now;
    // It is Ready on its version, the target is another by now, and an edit of it cannot be carried out.
    model.edit(&first, &id, |view| {
        let node = &mut view.roles[0].nodes[0];
        (node.hash, node.version, node.ready_since) = (Some(NEW.into()), Some(NEW.into()), Some(up));
        (view.roles[0].hash, view.reached) = ("edited".into(), Some(up));
        view.trouble = Some("a volume cannot shrink".into());
    });
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    let steps = |model: &Model| {
        planned(model).actions.iter().filter(|action| matches!(action.write, Write::Step(_))).count()
    };
    model.now += SignedDuration::from_secs(STABLE / 2);
    model.ask();
    assert_eq!(steps(&model), 0, "{:?}", planned(&model).waits);
    model.now += SignedDuration::from_secs(STABLE);
    model.ask();
    assert_eq!(steps(&model), 1, "{:?}", planned(&model).waits);
}

#[test]
fn i06_who_waits_for_others_validators_is_not_late() {
    let shape = Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (1, vec![Kind::Validator])]);
    let mut model = Model::new(&shape);
    begin(&mut model);
    let (canary, other) = (ClusterName::from("c0"), ClusterName::from("c1"));
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    assert!(model.board.clusters[&canary].resources[&id].grant.is_some());
    // Its sentry is through; then a validator elsewhere goes away, and takes the budget.
    let up = model.now;
    model.edit(&canary, &id, |view| {
        let node = &mut view.roles[0].nodes[0];
        (node.hash, node.version, node.ready_since) = (Some(NEW.into()), Some(NEW.into()), Some(up));
        (view.settled_since, view.reached) = (None, None);
    });
    Arc::make_mut(model.board.clusters.get_mut(&other).unwrap()).state =
        ClusterState::Unreachable("refused".into());
    model.now += SignedDuration::from_hours(3);
    model.ask();
    let plan = planned(&model);
    assert!(plan.progress[0].halted.is_none(), "{:?}", plan.progress);
    assert!(plan.waits.iter().any(|wait| wait.code == Code::ValidatorBudget), "{:?}", plan.waits);
    // When it is back, it goes on, with all the time that a restart has.
    Arc::make_mut(model.board.clusters.get_mut(&other).unwrap()).state = ClusterState::Ready;
    let made = planned(&model);
    assert!(made.actions.iter().any(|action| matches!(action.write, Write::Grant(_))), "{:?}", made.waits);
    model.act(&made);
    model.now += SignedDuration::from_mins(29);
    assert!(planned(&model).progress[0].halted.is_none());
}

#[test]
fn a_stage_in_which_only_a_resource_made_at_the_target_comes_up_has_not_begun() {
    use crate::upgrade::StageState;
    let shape = Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]);
    let mut model = Model::new(&shape);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    let now = model.now;
    for cluster in ["c0", "c1"] {
        model.edit(&ClusterName::from(cluster), &id, |view| {
            view.client_version = Some(NEW.into());
            let node = &mut view.roles[0].nodes[0];
            (node.version, node.ready_since, view.settled_since) = (Some(NEW.into()), Some(now), Some(now));
        });
    }
    model.ask();
    let plan = planned(&model);
    let states: Vec<_> = plan.progress[0].stages.iter().map(|stage| stage.state).collect();
    assert_eq!(states, [StageState::Next, StageState::Waiting], "{:?}", plan.progress);
    assert_eq!(plan.progress[0].stages[0].healthy, 0);
}

#[test]
fn an_upgrade_that_owns_no_resource_says_why() {
    let mut model = one_canary();
    let why = |model: &Model| planned(model).progress.last().unwrap().owns_nothing.clone();
    assert_eq!(why(&model), None);
    let mut second = model.fleet.upgrades[0].clone();
    second.name = "later".into();
    model.fleet.upgrades.push(second);
    assert!(why(&model).unwrap().ends_with("upgrades that stand before it: u"));
    model.fleet.upgrades.remove(0);
    model.fleet.upgrades[0].selector = [("chain".to_owned(), "kusama".to_owned())].into_iter().collect();
    assert!(why(&model).unwrap().contains("(chain=kusama) matches none of the resources"));
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap()).resources.clear();
    assert!(why(&model).unwrap().contains("no Polkadot resource is seen"));
}
