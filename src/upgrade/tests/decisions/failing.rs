//! What has failed, what has not, and what is taken back.

use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::upgrade::Ground;
use crate::upgrade::tests::model::stepped_at;

#[test]
fn a_step_of_another_target_or_upgrade_is_not_taken_back() {
    for change in [
        |model: &mut Model| model.fleet.upgrades[0].client_version = "stable2503-9".into(),
        |model: &mut Model| model.fleet.upgrades[0].name = "v".into(),
    ] {
        let mut model = failed_trial(&Shape::of(vec![(0, vec![Kind::Validator])]));
        model.pass(300);
        assert!(is_taken_back(&model));
        change(&mut model);
        model.fleet.upgrades[0].stages[0].approval_required = true;
        assert_eq!(planned(&model).actions, vec![]);
    }
}

#[test]
fn nothing_is_taken_back_where_it_is_not_known_what_ran_before() {
    let mut model = failed_trial(&Shape::of(vec![(0, vec![Kind::Validator])]));
    model.pass(300);
    edit(&mut model, "c0", "r0", |view| view.roles[0].nodes[0].version = Some("stable2503-5".into()));
    assert!(!is_taken_back(&model), "another than that of the step");
    edit(&mut model, "c0", "r0", |view| {
        view.roles[0].nodes[0].version = None;
        view.step.as_mut().unwrap().previous = None;
    });
    assert!(!is_taken_back(&model), "nobody knows");
}

#[test]
fn what_came_up_and_went_down_before_it_was_healthy_has_failed_by_the_deadline() {
    let mut model = two_sentries();
    begin(&mut model);
    model.pass(20);
    edit(&mut model, "c0", "r0", |view| {
        view.settled_since = None;
        view.roles[0].nodes[0].ready_since = None;
    });
    model.pass(3_600);
    assert!(planned(&model).progress[0].halted.is_some());
}

#[test]
fn who_is_sick_or_in_trouble_does_not_just_wait_for_others_validators() {
    for in_trouble in [true, false] {
        let shape = Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (1, vec![Kind::Validator])]);
        let mut model = Model::new(&shape);
        begin(&mut model);
        let up = model.now;
        edit(&mut model, "c0", "r0", |view| {
            let node = &mut view.roles[0].nodes[0];
            (node.hash, node.version, node.ready_since) = (Some(NEW.into()), Some(NEW.into()), Some(up));
            (view.settled_since, view.reached) = (None, None);
        });
        Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c1")).unwrap()).state =
            ClusterState::Unreachable("refused".into());
        model.now += SignedDuration::from_hours(3);
        model.ask();
        assert!(planned(&model).progress[0].halted.is_none());
        if in_trouble {
            edit(&mut model, "c0", "r0", |view| view.trouble = Some("a volume cannot shrink".into()));
        } else {
            let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
            let health = Arc::make_mut(&mut view.health)
                .get_mut(&("n".to_owned(), "sentry-sset-0".to_owned()))
                .unwrap();
            Arc::make_mut(health).samples.iter_mut().for_each(|sample| sample.peers = Some(0));
        }
        assert!(planned(&model).progress[0].halted.is_some(), "{in_trouble}");
    }
}

#[test]
fn a_pod_that_is_held_back_by_a_scheduling_gate_has_not_failed() {
    let mut model = one_canary();
    begin(&mut model);
    let why = Stuck { reason: "SchedulingGated".into(), words: None, since: None };
    edit(&mut model, "c0", "r0", |view| view.roles[0].nodes[0].stuck = Some(why));
    assert_eq!(planned(&model).progress[0].halted, None);
}

#[test]
fn one_that_is_seen_well_for_too_short_again_is_not_failed_because_another_cannot_be_asked() {
    let mut model = long_after_its_step();
    let last = model.now;
    let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
    for (index, known) in Arc::make_mut(&mut view.health).values_mut().enumerate() {
        let known = Arc::make_mut(known);
        known.samples.retain(|sample| index == 1 && sample.at + SignedDuration::from_secs(119) >= last);
    }
    assert_eq!(planned(&model).progress[0].halted, None, "{:?}", planned(&model).progress);
}

#[test]
fn nothing_is_noted_of_what_is_not_at_the_target_or_does_not_soak() {
    let mut model = one_canary();
    model.fleet.upgrades[0].paused = true;
    model.pass(600);
    says(&mut model, "c0", |health| health.samples.iter_mut().for_each(|sample| sample.peers = Some(0)));
    assert_eq!(planned(&model).actions, vec![]);
    let mut model = two_sentries();
    begin(&mut model);
    model.pass(300);
    says(&mut model, "c0", finalises_nothing);
    assert_eq!(planned(&model).actions.len(), 1);
    model.fleet.upgrades[0].stages[0].soak = SignedDuration::ZERO;
    assert_eq!(planned(&model).actions, vec![]);
}

/// The second cluster's sentry crashes at the new version, its validator runs on at the old one; then there is a newer target.
fn crashes_under_a_target_that_is_replaced() -> Model {
    let shape = Shape::of(vec![(0, vec![Kind::Validator]), (1, vec![Kind::SentryAndValidator])]);
    let (mut model, now) = (Model::new(&shape), Model::new(&shape).now);
    edit(&mut model, "c1", "r0", |view| {
        (view.client_version, view.step, view.settled_since) =
            (Some(NEW.into()), Some(stepped_at(now)), None);
        let (role, hash) = (Role::Sentry, NEW.to_owned());
        view.grant = Some(Grant { role, hash, ordinal: 0, at: now, mends: false, again: false });
        for role in &mut view.roles {
            role.hash = NEW.into();
            if role.role == Role::Sentry {
                let node = &mut role.nodes[0];
                (node.hash, node.version, node.ready_since) = (Some(NEW.into()), Some(NEW.into()), None);
                node.stuck = Some(Stuck { reason: "CrashLoopBackOff".into(), words: None, since: None });
            }
        }
    });
    model.ask();
    model
}

#[test]
fn what_failed_under_a_target_that_was_replaced_holds_up_no_other_validator() {
    let mut model = crashes_under_a_target_that_is_replaced();
    assert!(planned(&model).progress[0].halted.is_some());
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    assert_eq!(steps(&planned(&model)), ["c0 r0"], "{:?}", planned(&model).waits);
    // What is on its way there is waited for, until it has failed; what failed before, and is tried again, too.
    let sentry = |view: &mut ResourceView| {
        view.roles.iter_mut().find(|role| role.role == Role::Sentry).unwrap().nodes[0].stuck = None;
    };
    edit(&mut model, "c1", "r0", sentry);
    assert_eq!(steps(&planned(&model)), Vec::<String>::new());
    assert!(waits_for(&planned(&model), Code::ValidatorBudget), "{:?}", planned(&model).waits);
    let (upgrade, target, why) = ("u".to_owned(), NEW.to_owned(), "it crashes".to_owned());
    let failed = crate::polkadot::Failed { upgrade, target, attempt: 1, why, at: model.now };
    edit(&mut model, "c1", "r0", |view| view.failed = Some(failed));
    assert_eq!(steps(&planned(&model)), ["c0 r0"], "{:?}", planned(&model).waits);
}

#[test]
fn a_pod_that_crashes_at_another_version_than_was_just_set_says_nothing_of_that() {
    let mut model = crashes_under_a_target_that_is_replaced();
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    let now = model.now;
    // The step is taken, and its worker has not made the templates yet.
    edit(&mut model, "c1", "r0", |view| {
        let target = "stable2503-8".to_owned();
        view.client_version = Some(target.clone());
        view.step = Some(crate::polkadot::Step { target, ..stepped_at(now) });
    });
    let ground = Ground { to_be_set: [at("c1", "r0")].into(), ..Ground::default() };
    let made = crate::upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!((made.progress[0].halted.as_deref(), made.progress[0].stages[1].failed), (None, 0));
    let made = planned(&model);
    assert!(made.progress[0].halted.is_some(), "made, and it crashes still");
}

#[test]
fn the_node_that_others_wait_for_is_named_and_not_one_that_waits() {
    let mut model = crashes_under_a_target_that_is_replaced();
    edit(&mut model, "c1", "r0", |view| view.roles.reverse());
    let survey = Ground::default();
    let survey = crate::upgrade::survey::Survey::new(&model.fleet, &model.board, &survey, model.now);
    let resource = &survey.resources[&at("c1", "r0")];
    assert_eq!(resource.chart.ill(&resource.view).map(|(pod, _)| pod).as_deref(), Some("sentry-sset-0"));
}
