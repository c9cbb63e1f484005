//! What was healthy at the target and falls ill later.

use std::sync::Arc;

use jiff::SignedDuration;

use super::deadlines::late;
use super::model::{Model, Shape, one_canary, planned};
use crate::fleet::ClusterName;
use crate::observed::{Healths, Stuck, UNSCHEDULABLE};
use crate::polkadot::{Kind, ResourceId, Role};
use crate::upgrade::{self, Action, Code, Ground, Plan, StageState, Write};

/// A cluster that has come to the target, some hours ago.
pub(super) fn through() -> (Model, ClusterName, ResourceId) {
    let mut model = one_canary();
    model.play_until(|model| planned(model).progress[0].is_complete());
    for _ in 0..6 {
        late(&mut model);
    }
    (model, ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() })
}

/// Its validator is up or not from now on, and what there is to note of it is noted.
pub(super) fn is_up(model: &mut Model, is_up: bool) {
    let (cluster, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let since = is_up.then_some(model.now);
    model.edit(&cluster, &id, |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (since, since);
    });
    model.ask();
    note(model);
}

pub(super) fn note(model: &mut Model) {
    let made = planned(model);
    assert!(
        made.actions.iter().all(|action| matches!(action.write, Write::Health(_) | Write::Failed(_))),
        "{made:?}"
    );
    model.act(&made);
}

pub(super) fn halted(model: &Model) -> Option<String> {
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
pub(super) fn in_trouble(model: &mut Model) {
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

/// Clusters of a stage that go one after the other, the first of them through for hours; beyond two, they are held.
pub(super) fn one_through_of_two(shape: Shape) -> Model {
    let mut model = Model::new(&Shape { width: 1, ..shape });
    model.fleet.upgrades[0].stages[0].soak = SignedDuration::ZERO;
    let (second, id) = (ClusterName::from("c1"), ResourceId { namespace: "n".into(), name: "r0".into() });
    for cluster in model.fleet.clusters.clone().into_iter().skip(1) {
        model.edit(&cluster.name, &id, |view| view.held = Some("it is looked at".into()));
    }
    let is_healthy = |model: &Model| planned(model).progress[0].stages[0].healthy == 1;
    model.play_until(is_healthy);
    note(&mut model);
    for _ in 0..6 {
        late(&mut model);
    }
    model.edit(&second, &id, |view| view.held = None);
    model
}

pub(super) fn steps(model: &Model) -> usize {
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
    let told = |plan: &Plan| plan.waits.iter().any(|wait| wait.code == Code::NotePending);
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
