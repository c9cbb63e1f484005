//! What counts against a deadline, and what does not.

use std::sync::Arc;

use jiff::SignedDuration;

use super::model::{Model, NEW, Shape, moves, one_canary, planned, stepped_at};
use crate::fleet::ClusterName;
use crate::observed::{Healths, NodeView, Stuck, UNSCHEDULABLE};
use crate::polkadot::{Grant, Kind, ResourceId, Role};
use crate::upgrade::{self, Action, Ground, Plan, StageState, Write};

/// A cluster whose worker has not used the permission that it was given, and the deadline has passed.
fn permitted_in_vain() -> Model {
    let mut model = one_canary();
    // The step, and the permission.
    for _ in 0..2 {
        let before = nodes(&model);
        act_in_vain(&mut model, before);
    }
    late(&mut model);
    model
}

fn nodes(model: &Model) -> Vec<NodeView> {
    let view = model.board.clusters[&ClusterName::from("c0")].resources.values().next().unwrap();
    view.roles[0].nodes.clone()
}

/// What is planned is written, and no pod restarts by it.
fn act_in_vain(model: &mut Model, before: Vec<NodeView>) -> Plan {
    let made = planned(model);
    model.act(&made);
    model.coming.clear();
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&ClusterName::from("c0"), &id, |view| view.roles[0].nodes = before);
    made
}

fn late(model: &mut Model) {
    model.now += SignedDuration::from_mins(31);
    model.ask();
}

#[test]
fn a_permission_that_was_not_used_in_time_is_given_once_more_and_then_it_has_failed() {
    let mut model = permitted_in_vain();
    assert_eq!(planned(&model).progress[0].halted, None);
    let before = nodes(&model);
    let made = act_in_vain(&mut model, before);
    assert!(
        matches!(&made.actions[..], [Action { write: Write::Grant(Grant { again: true, .. }), .. }]),
        "{:?} {:?}",
        made.actions,
        made.waits
    );
    assert_eq!(planned(&model).actions, vec![]);
    late(&mut model);
    let made = planned(&model);
    assert!(made.progress[0].halted.is_some(), "{:?}", made.progress);
    assert!(moves(&made).is_empty(), "{:?}", made.actions);
}

#[test]
fn what_could_not_restart_because_its_cluster_was_paused_has_a_deadline_of_its_own_afterwards() {
    let mut model = permitted_in_vain();
    model.fleet.clusters[0].paused = true;
    assert_eq!(planned(&model).progress[0].halted, None);
    assert_eq!(planned(&model).actions, vec![]);
    late(&mut model);
    model.fleet.clusters[0].paused = false;
    let made = planned(&model);
    assert_eq!((made.progress[0].halted.clone(), made.actions.len()), (None, 1), "{:?}", made.waits);
    model.act(&made);
    model.pass(600);
    assert_eq!(planned(&model).progress[0].halted, None);
    assert_eq!(planned(&model).progress[0].stages[0].healthy, 1, "{:?}", planned(&model).progress);
}

#[test]
fn what_was_permitted_to_a_pod_that_came_back_by_itself_takes_no_second_chance_from_another() {
    let mut model = one_canary();
    let (cluster, now) = (ClusterName::from("c0"), model.now);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&cluster, &id, |view| {
        view.client_version = Some(NEW.into());
        let role = &mut view.roles[0];
        role.hash = NEW.into();
        let above = NodeView { ordinal: 1, pod: "validator-sset-1".into(), ..role.nodes[0].clone() };
        role.nodes.push(above);
        // It was down when it was permitted to restart, and came back on the old template.
        view.grant = Some(Grant {
            role: Role::Validator,
            hash: NEW.into(),
            ordinal: 0,
            at: now - SignedDuration::from_hours(1),
            mends: false,
            again: false,
        });
    });
    model.fleet.upgrades.clear();
    model.ask();
    let made = planned(&model);
    let [Action { write: Write::Grant(grant), .. }] = &made.actions[..] else { panic!("{:?}", made.waits) };
    assert_eq!((grant.ordinal, grant.again), (1, false));
}

/// The pod runs a newer version than was set, as when somebody set it back for a moment only.
fn newer_than_set(model: &mut Model) {
    let (cluster, now) = (ClusterName::from("c0"), model.now);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&cluster, &id, |view| {
        (view.client_version, view.settled_since) = (Some(NEW.into()), None);
        view.roles[0].hash = NEW.into();
        let node = &mut view.roles[0].nodes[0];
        (node.version, node.hash) = (Some("stable2503-8".into()), Some("stable2503-8".into()));
        view.step = Some(stepped_at(now));
    });
    model.ask();
}

#[test]
fn a_roll_that_is_refused_as_a_downgrade_waits_for_no_turn_and_has_failed_by_its_deadline() {
    let mut model = one_canary();
    newer_than_set(&mut model);
    assert_eq!(planned(&model).progress[0].halted, None);
    late(&mut model);
    let made = planned(&model);
    let halted = made.progress[0].halted.clone().unwrap_or_default();
    assert!(halted.contains("stable2503-7 is older than stable2503-8"), "{halted:?} {:?}", made.waits);
}

#[test]
fn what_is_refused_as_a_downgrade_under_an_earlier_target_holds_up_no_other_validator_for_ever() {
    let shape = Shape::of(vec![(0, vec![Kind::Validator]), (1, vec![Kind::Validator])]);
    let mut model = Model::new(&shape);
    newer_than_set(&mut model);
    model.fleet.upgrades[0].client_version = "stable2503-9".into();
    // Somebody edits the other one, which has to restart for it.
    let (cluster, id) = (ClusterName::from("c1"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&cluster, &id, |view| view.roles[0].hash = "edited".into());
    model.fleet.upgrades[0].paused = true;
    let grants = |model: &Model| {
        let granted = |action: &Action| matches!(action.write, Write::Grant(_)) && action.place.0 == cluster;
        planned(model).actions.iter().filter(|action| granted(action)).count()
    };
    assert_eq!(grants(&model), 0, "the first may be on its way");
    late(&mut model);
    assert_eq!(grants(&model), 1, "{:?}", planned(&model).waits);
}

#[test]
fn what_a_tag_that_moves_stands_for_is_not_refused_before_its_node_was_asked() {
    let mut model = one_canary();
    newer_than_set(&mut model);
    let (cluster, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&cluster, &id, |view| view.roles[0].nodes[0].version = Some("latest".into()));
    late(&mut model);
    // The daemon has just started.
    Arc::make_mut(model.board.clusters.get_mut(&cluster).unwrap()).health = Healths::default();
    let made = planned(&model);
    assert_eq!(made.progress[0].halted, None, "{:?}", made.waits);
}

/// A cluster that has come to the target, some hours ago.
fn through() -> (Model, ClusterName, ResourceId) {
    let mut model = one_canary();
    model.play_until(|model| planned(model).progress[0].is_complete());
    for _ in 0..6 {
        late(&mut model);
    }
    (model, ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() })
}

#[test]
fn the_deadline_counts_from_the_last_permission_also_when_all_of_it_has_come_up() {
    let (mut model, cluster, id) = through();
    // As if its many sentries had taken hours, and the last node had restarted a minute ago.
    let (step, minute) =
        (model.now - SignedDuration::from_hours(3), model.now - SignedDuration::from_mins(1));
    model.edit(&cluster, &id, |view| {
        view.step.as_mut().unwrap().at = step;
        view.grant.as_mut().unwrap().at = minute;
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (Some(minute), Some(minute));
        view.reached = Some(minute);
    });
    model.asked_since = Some(minute);
    model.ask();
    let made = planned(&model);
    assert_eq!((made.progress[0].halted.as_deref(), made.progress[0].is_complete()), (None, false));
    model.pass(600);
    assert!(planned(&model).progress[0].is_complete(), "{:?}", planned(&model).waits);
}

/// Its validator is up or not from now on, and what there is to note of it is noted.
fn is_up(model: &mut Model, is_up: bool) {
    let (cluster, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let since = is_up.then_some(model.now);
    model.edit(&cluster, &id, |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (since, since);
    });
    model.ask();
    note(model);
}

fn note(model: &mut Model) {
    let made = planned(model);
    assert!(
        made.actions.iter().all(|action| matches!(action.write, Write::Health(_) | Write::Failed(_))),
        "{made:?}"
    );
    model.act(&made);
}

fn halted(model: &Model) -> Option<String> {
    planned(model).progress[0].halted.clone()
}

#[test]
fn what_was_healthy_and_falls_ill_long_after_its_step_has_failed_by_a_deadline_of_its_own() {
    let (mut model, ..) = through();
    note(&mut model);
    is_up(&mut model, false);
    assert_eq!(halted(&model), None);
    assert_eq!(planned(&model).progress[0].stages[0].state, StageState::Recovering);
    model.pass(29 * 60);
    note(&mut model);
    assert_eq!((halted(&model), planned(&model).progress[0].is_complete()), (None, false));
    model.pass(60);
    let halt = halted(&model).unwrap();
    assert!(halt.contains("it was healthy at first, and has not been so again within 30m since"), "{halt}");
    // Whoever begins to look now says the same.
    model.asked_since = Some(model.now);
    model.ask();
    assert!(halted(&model).is_some());
    is_up(&mut model, true);
    model.pass(1_200);
    for _ in 0..2 {
        note(&mut model);
    }
    assert_eq!((halted(&model), planned(&model).progress[0].is_complete()), (None, true));
    // The next time is another one.
    is_up(&mut model, false);
    assert_eq!(halted(&model), None);
}

#[test]
fn what_comes_and_goes_and_is_never_healthy_for_long_enough_has_failed_by_its_deadline_too() {
    let (mut model, ..) = through();
    note(&mut model);
    for minute in 0..30 {
        is_up(&mut model, minute % 2 == 1);
        assert_eq!(halted(&model), None, "{minute}");
        model.pass(60);
    }
    is_up(&mut model, false);
    assert!(halted(&model).is_some(), "{:?}", planned(&model).waits);
}

#[test]
fn a_note_that_was_refused_a_moment_ago_is_not_tried_again_and_holds_nothing_up() {
    let (mut model, cluster, id) = through();
    model.edit(&cluster, &id, |view| view.healthy = None);
    let ground = Ground { unnotable: [(cluster, id)].into(), ..Ground::default() };
    let made = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!((made.actions.len(), made.progress[0].is_complete()), (0, true), "{:?}", made.actions);
    assert_eq!(planned(&model).actions.len(), 1);
}

#[test]
fn who_only_was_not_asked_since_a_start_of_the_daemon_is_not_noted_as_ill() {
    let (mut model, ..) = through();
    note(&mut model);
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap()).health =
        Healths::default();
    assert_eq!(planned(&model).actions, vec![]);
    model.asked_since = Some(model.now);
    model.ask();
    assert_eq!((halted(&model), planned(&model).actions), (None, vec![]));
}

#[test]
fn a_permitted_restart_of_what_was_healthy_has_the_whole_deadline_whatever_was_noted_before() {
    let (mut model, cluster, id) = through();
    note(&mut model);
    is_up(&mut model, false);
    model.pass(20 * 60);
    // Somebody edits it, which it is permitted to restart for.
    let now = model.now;
    model.edit(&cluster, &id, |view| {
        view.roles[0].hash = "edited".into();
        view.roles[0].nodes[0].hash = Some("edited".into());
        let grant = view.grant.as_mut().unwrap();
        (grant.hash, grant.at) = ("edited".into(), now);
    });
    model.pass(29 * 60);
    assert_eq!(halted(&model), None);
    model.pass(60);
    let halt = halted(&model).unwrap();
    assert!(halt.contains("not healthy within 30m"), "{halt}");
}

/// The canary's worker cannot make it so any more, while its validator goes on.
fn in_trouble(model: &mut Model) {
    let (cluster, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&cluster, &id, |view| {
        (view.settled_since, view.trouble) = (None, Some("its node key is gone".into()));
    });
}

#[test]
fn what_was_healthy_and_is_in_trouble_has_failed_by_its_deadline_although_its_nodes_are_well() {
    let (mut model, ..) = through();
    in_trouble(&mut model);
    model.ask();
    note(&mut model);
    assert_eq!(halted(&model), None);
    let told = planned(&model).waits.first().map(|wait| wait.words.clone()).unwrap_or_default();
    assert_eq!(told, "healthy at the target before, and not now: its node key is gone");
    model.pass(30 * 60);
    assert!(halted(&model).unwrap().contains("its node key is gone"));
}

/// The last answer of the canary's validator, and how long ago that was.
fn says(model: &mut Model, peers: u64) {
    super::health::says(model, "c0", |health| health.samples.back_mut().unwrap().peers = Some(peers));
}

#[test]
fn a_bad_answer_now_and_then_is_noted_by_nobody() {
    let (mut model, ..) = through();
    for minute in 0..20 {
        model.pass(60);
        says(&mut model, if minute % 2 == 0 { 0 } else { 12 });
        assert_eq!(planned(&model).actions, vec![], "{minute}");
    }
}

#[test]
fn what_ran_well_and_finds_no_machine_has_its_deadline_and_what_crashes_again_and_again_has_failed() {
    let stuck = |model: &mut Model, reason: &str| {
        let (cluster, id) =
            (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
        let stuck = Stuck { reason: reason.into(), words: None, since: Some(model.now) };
        model.edit(&cluster, &id, |view| view.roles[0].nodes[0].stuck = Some(stuck));
    };
    for reason in [UNSCHEDULABLE, "ImagePullBackOff"] {
        let (mut model, ..) = through();
        is_up(&mut model, false);
        stuck(&mut model, reason);
        model.pass(29 * 60);
        assert_eq!(halted(&model), None, "{reason}");
        model.pass(60);
        assert!(halted(&model).is_some(), "{reason}");
    }
    let (mut model, ..) = through();
    is_up(&mut model, false);
    stuck(&mut model, "CrashLoopBackOff");
    assert!(halted(&model).unwrap().contains("cannot start: CrashLoopBackOff"));
}

/// Two clusters of a stage that go one after the other, the first of them through for hours.
fn one_through_of_two(shape: Shape) -> Model {
    let mut model = Model::new(&Shape { width: 1, ..shape });
    model.fleet.upgrades[0].stages[0].soak = SignedDuration::ZERO;
    let (second, id) = (ClusterName::from("c1"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&second, &id, |view| view.held = Some("it is looked at".into()));
    let is_healthy = |model: &Model| planned(model).progress[0].stages[0].healthy == 1;
    model.play_until(is_healthy);
    note(&mut model);
    for _ in 0..6 {
        late(&mut model);
    }
    model.edit(&second, &id, |view| view.held = None);
    model
}

fn steps(model: &Model) -> usize {
    planned(model).actions.iter().filter(|action| matches!(action.write, Write::Step(_))).count()
}

#[test]
fn nothing_begins_before_it_is_noted_that_something_is_not_healthy_any_more_nor_beside_it_then() {
    let mut model = one_through_of_two(Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]));
    model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(2);
    assert_eq!(steps(&model), 1);
    let first = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&first.0, &first.1, |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (None, None);
    });
    model.ask();
    assert_eq!(steps(&model), 0);
    let ground = Ground { unnotable: [first].into(), ..Ground::default() };
    let made = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(made.actions, vec![], "where it cannot be noted, nothing begins at all");
    let told = |plan: &Plan| plan.waits.iter().any(|wait| wait.words.contains("before that is noted on it"));
    assert!(told(&made), "{:?}", made.waits);
    let made = planned(&model);
    model.act(&made);
    assert_eq!(steps(&model), 1, "it holds one of two places");
    model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(1);
    assert_eq!(steps(&model), 0);
    // Another target frees no place of what is down.
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    let taken: Vec<_> = planned(&model).actions.iter().map(|action| action.place.0.to_string()).collect();
    assert_eq!(taken, ["c0"], "it has nothing to lose");
}

#[test]
fn a_sentry_that_falls_ill_long_after_the_step_takes_no_place_of_a_validator() {
    let kinds = || vec![Kind::SentryAndValidator];
    let mut model = one_through_of_two(Shape::of(vec![(0, kinds()), (0, kinds())]));
    model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(2);
    let first = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&first.0, &first.1, |view| {
        let sentry = view.roles.iter_mut().find(|role| role.role == Role::Sentry).unwrap();
        (sentry.nodes[0].ready_since, view.settled_since) = (None, None);
    });
    model.ask();
    let made = planned(&model);
    model.act(&made);
    assert_eq!(model.fleet.validators.max_unavailable, 1);
    assert_eq!(steps(&model), 1, "{:?}", planned(&model).waits);
}

#[test]
fn what_is_noted_by_nobody_holds_nothing_up() {
    let two = || Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]);
    let first = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let falls_ill = |model: &mut Model| {
        model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(2);
        model.edit(&first.0, &first.1, |view| {
            (view.roles[0].nodes[0].ready_since, view.settled_since) = (None, None);
            view.roles[0].nodes[0].stuck =
                Some(Stuck { reason: "CrashLoopBackOff".into(), words: None, since: None });
        });
        model.ask();
    };
    // A step of an upgrade that has another name now.
    let mut model = one_through_of_two(two());
    model.fleet.upgrades[0].name = "renamed".into();
    falls_ill(&mut model);
    assert_eq!(steps(&model), 1, "{:?}", planned(&model).waits);
    // One of an attempt before: it is noted, then tried again.
    let mut model = one_through_of_two(two());
    model.fleet.upgrades[0].attempt = 2;
    falls_ill(&mut model);
    let made = planned(&model);
    assert!(matches!(&made.actions[..], [Action { write: Write::Health(_), .. }]), "{:?}", made.actions);
    model.act(&made);
    assert_ne!(steps(&model), 0, "{:?}", planned(&model).waits);
}
