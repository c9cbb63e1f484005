//! What counts as in flight, for the width of a stage and for the resources of a cluster.

use jiff::SignedDuration;

use super::model::{Model, NEW, Shape, planned};
use crate::fleet::{ClusterName, Count};
use crate::observed::Stuck;
use crate::polkadot::{Kind, ResourceId};
use crate::upgrade::{self, Action, Code, Ground, Plan, Write};

#[test]
fn what_is_on_its_way_to_a_newer_version_still_counts_when_the_target_is_set_back() {
    let shape =
        Shape { delays: vec![600], ..Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]) };
    let mut model = Model::new(&shape);
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
    }
    model.fleet.upgrades[0].client_version = NEW.into();
    let made = planned(&model);
    assert!(made.actions.is_empty(), "{:?}", made.actions);
    assert!(made.waits.iter().any(|wait| wait.code == Code::Width), "{:?}", made.waits);
}

#[test]
fn a_write_under_way_in_a_cluster_of_a_later_stage_does_not_make_it_one_that_has_begun() {
    let shape = Shape {
        nodes: 2,
        delays: vec![600],
        ..Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry, Kind::Sentry])])
    };
    let model = Model::new(&shape);
    // Permission to restart a pod for somebody's own edit, say.
    let place = (ClusterName::from("c1"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let ground = Ground { unsettled: [place].into(), ..Ground::default() };
    let made = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    let steps: Vec<_> = made.actions.iter().map(|action| action.place.0.to_string()).collect();
    assert_eq!(steps, ["c0"], "{:?}", made.waits);
}

#[test]
fn what_was_through_and_is_edited_waits_for_what_has_begun_since_but_not_to_be_mended() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry, Kind::Sentry])]));
    let place =
        |name: &str| (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: name.into() });
    let is_stepped = |model: &Model, name: &str| model.steps.contains_key(&place(name));
    while !is_stepped(&model, "r1") {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
    }
    let (cluster, first) = place("r0");
    let edit = |model: &mut Model| {
        model.edit(&cluster, &first, |view| {
            view.roles[0].hash = "another template".into();
            view.settled_since = None;
        });
    };
    edit(&mut model);
    let granted = |plan: &Plan| {
        let grants = plan.actions.iter().filter(|action| matches!(action.write, Write::Grant(_)));
        grants.map(|action: &Action| action.place.1.name.clone()).collect::<Vec<_>>()
    };
    let made = planned(&model);
    assert_eq!(granted(&made), ["r1"], "{:?}", made.waits);
    model.act(&made);
    let made = planned(&model);
    assert_eq!(granted(&made), Vec::<String>::new());
    assert!(made.waits.iter().any(|wait| wait.code == Code::NodesInFlight), "{:?}", made.waits);
    let down = {
        let why = Stuck { reason: "CrashLoopBackOff".into(), words: None, since: None };
        model.edit(&cluster, &first, |view| {
            let node = &mut view.roles[0].nodes[0];
            (node.ready_since, node.stuck) = (None, Some(why));
        });
        planned(&model)
    };
    assert_eq!(granted(&down), ["r0"], "its node is down: {:?}", down.waits);
}

#[test]
fn what_came_up_after_its_step_is_not_late_when_it_is_edited_and_waits_or_when_its_restart_has_its_time() {
    let mut model = Model::new(&Shape { broken: Some(1), ..Shape::of(vec![(0, vec![Kind::Sentry])]) });
    for _ in 0..4 {
        let made = planned(&model);
        model.act(&made);
        model.pass(60);
    }
    model.pass(7_200);
    let (cluster, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&cluster, &id, |view| {
        view.roles[0].hash = "another template".into();
        view.settled_since = None;
    });
    let is_halted = |model: &Model| planned(model).progress[0].halted.is_some();
    assert!(!is_halted(&model));
    // Its restart never comes up: that counts from the restart.
    let made = planned(&model);
    assert!(matches!(made.actions[..], [Action { write: Write::Grant(_), .. }]), "{:?}", made.waits);
    model.act(&made);
    model.pass(1_700);
    assert!(!is_halted(&model));
    model.pass(200);
    assert!(is_halted(&model));
}

#[test]
fn of_two_that_reserve_their_validators_from_each_other_the_one_that_began_later_goes_first() {
    let mut model = Model::new(&Shape {
        width: 2,
        // The sentry of the first.
        broken: Some(0),
        ..Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (0, vec![Kind::SentryAndValidator])])
    });
    model.fleet.upgrades[0].max_failures = Count::Number(1);
    let place =
        |cluster: &str| (ClusterName::from(cluster), ResourceId { namespace: "n".into(), name: "r0".into() });
    let runs_new = |model: &Model, cluster: &str| {
        let resource = &model.board.clusters[&ClusterName::from(cluster)].resources[&place(cluster).1];
        resource.roles.iter().all(|role| role.nodes[0].version.as_deref() == Some(NEW))
    };
    model.play_until(|model| model.steps.contains_key(&place("c1")));
    // The first had failed by then; with more time it is on its way again, and its validator's turn is still to come.
    model.fleet.upgrades[0].progress_deadline = SignedDuration::from_hours(12);
    model.play_until(|model| runs_new(model, "c1"));
    assert!(!runs_new(&model, "c0"));
}

#[test]
fn of_two_clusters_that_are_half_way_beyond_the_width_the_one_that_took_the_last_step_goes_on() {
    let mut model = Model::new(&Shape::of(vec![
        (0, vec![Kind::Sentry, Kind::Sentry]),
        (0, vec![Kind::Sentry, Kind::Sentry]),
    ]));
    let place = |cluster: &str, name: &str| {
        (ClusterName::from(cluster), ResourceId { namespace: "n".into(), name: name.into() })
    };
    let is_stepped =
        |model: &Model, cluster: &str, name: &str| model.steps.contains_key(&place(cluster, name));
    model.play_until(|model| is_stepped(model, "c0", "r0"));
    // While one is paused the other one takes its turn.
    model.fleet.clusters[0].paused = true;
    model.play_until(|model| is_stepped(model, "c1", "r0"));
    model.fleet.clusters[0].paused = false;
    model.play_until(|model| is_stepped(model, "c1", "r1"));
    assert!(!is_stepped(&model, "c0", "r1"));
    model.play_until(|model| is_stepped(model, "c0", "r1"));
}

#[test]
fn a_stage_has_not_passed_while_a_write_to_what_is_ahead_may_take_it_back() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]));
    let place = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    model.edit(&place.0, &place.1, |view| view.client_version = Some("stable2509".into()));
    assert_eq!(planned(&model).actions.len(), 1, "what is ahead is done");
    // Permission to restart, or a note of its health, does not.
    let mut ground = Ground { unsettled: [place.clone()].into(), ..Ground::default() };
    let made = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(made.actions.len(), 1, "{:?}", made.waits);
    ground.to_be_set.insert(place);
    let made = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(made.actions, vec![]);
    assert!(made.waits.iter().any(|wait| wait.code == Code::EarlierStage), "{:?}", made.waits);
}
