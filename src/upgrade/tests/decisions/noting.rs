//! What is noted of how a resource fares, and what is not.

use jiff::SignedDuration;

use super::direct::view;
use super::{at, edit, finalises_nothing, says, two_validators, waits_for};
use crate::observed::NodeHealth;
use crate::polkadot::{Grant, Kind, Role, Stretch};
use crate::upgrade::tests::lapse::{halted, in_trouble, is_up, note, one_through_of_two, steps, through};
use crate::upgrade::tests::model::{Model, NEW, OLD, Shape, one_canary, planned};
use crate::upgrade::{Code, Write};

/// What is to be noted of the canary.
fn to_note(model: &Model) -> Option<Stretch> {
    planned(model).actions.iter().find_map(|action| match &action.write {
        Write::Health(stretch) if action.place == at("c0", "r0") => Some(stretch.clone()),
        _ => None,
    })
}

fn noted(model: &Model) -> Stretch {
    view(model, "c0").healthy.clone().unwrap()
}

fn has_no_peers(health: &mut NodeHealth) {
    health.samples.iter_mut().rev().take(5).for_each(|sample| sample.peers = Some(0));
}

/// The canary is edited, and its validator permitted to restart for it.
fn restarts_for_an_edit(model: &mut Model) {
    let now = model.now;
    edit(model, "c0", "r0", |view| {
        view.roles[0].hash = "edited".into();
        view.roles[0].nodes[0].hash = Some("edited".into());
        let grant = view.grant.as_mut().unwrap();
        (grant.hash, grant.at) = ("edited".into(), now);
    });
}

#[test]
fn a_node_that_is_ready_and_sick_for_long_enough_is_noted_as_ill_and_so_is_one_that_is_not_ready() {
    let (mut model, ..) = through();
    note(&mut model);
    assert_eq!(to_note(&model), None);
    says(&mut model, "c0", has_no_peers);
    assert_eq!(to_note(&model).unwrap().ill, Some(model.now));
    let (mut model, ..) = through();
    note(&mut model);
    // Its worker has not noticed yet.
    edit(&mut model, "c0", "r0", |view| view.roles[0].nodes[0].ready_since = None);
    assert_eq!(to_note(&model).unwrap().ill, Some(model.now));
}

#[test]
fn of_a_chain_that_went_on_a_moment_ago_nobody_is_noted_as_ill() {
    let shape = || Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]);
    let mut model = Model::new(&shape());
    model.play_until(|model| planned(model).progress[0].is_complete());
    model.pass(3_600);
    note(&mut model);
    let stood = |health: &mut NodeHealth| {
        finalises_nothing(health);
        health.samples.back_mut().unwrap().finalized += 1;
    };
    says(&mut model, "c0", stood);
    says(&mut model, "c1", finalises_nothing);
    let chain = view(&model, "c0").chain.clone();
    let chains = crate::upgrade::chains::Chains::new(&model.fleet, &model.board, model.now);
    assert!(chains.of(&chain).resumed.is_some());
    assert_eq!(planned(&model).actions, vec![]);
    model.fleet.upgrades[0].stages[0].soak = SignedDuration::ZERO;
    assert_eq!(planned(&model).actions, vec![], "nor where nothing soaks");
}

#[test]
fn a_chain_that_stands_still_holds_nothing_up_on_another() {
    let mut model = one_through_of_two(Shape::of((0..3).map(|_| (0, vec![Kind::Sentry])).collect()));
    model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(3);
    edit(&mut model, "c1", "r0", |view| view.chain = "kusama".into());
    model.pass(600);
    assert_eq!(steps(&model), 1);
    in_trouble(&mut model);
    // The third had no step, so it tells that all of it stands.
    for cluster in ["c0", "c2"] {
        says(&mut model, cluster, finalises_nothing);
    }
    assert_eq!((steps(&model), to_note(&model)), (1, None), "{:?}", planned(&model).waits);
}

#[test]
fn what_restarts_with_permission_is_not_noted_before_it_is_healthy_and_holds_up_nobody() {
    let mut model = one_through_of_two(Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]));
    model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(2);
    let before = noted(&model);
    restarts_for_an_edit(&mut model);
    let permitted = model.now;
    edit(&mut model, "c0", "r0", |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (None, None);
    });
    model.ask();
    assert_eq!((steps(&model), to_note(&model)), (1, None), "{:?}", planned(&model).waits);
    edit(&mut model, "c1", "r0", |view| view.held = Some("it is looked at".into()));
    is_up(&mut model, true);
    model.pass(600);
    note(&mut model);
    assert!(before.proven < Some(permitted) && noted(&model).proven >= Some(permitted), "{before:?}");
}

#[test]
fn what_was_noted_before_a_permitted_restart_is_not_said_of_it_afterwards() {
    let (mut model, ..) = through();
    note(&mut model);
    is_up(&mut model, false);
    assert!(noted(&model).ill.is_some());
    model.pass(60);
    restarts_for_an_edit(&mut model);
    let told = planned(&model).waits.first().map(|wait| wait.words.clone()).unwrap_or_default();
    assert!(told.starts_with("not healthy at the target yet"), "{told}");
}

#[test]
fn where_nothing_soaks_the_beginning_of_a_soak_is_not_noted_anew() {
    let mut model = one_through_of_two(Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]));
    edit(&mut model, "c1", "r0", |view| view.held = Some("it is looked at".into()));
    let before = noted(&model);
    is_up(&mut model, false);
    model.pass(600);
    is_up(&mut model, true);
    model.pass(600);
    note(&mut model);
    assert_eq!((noted(&model).since, noted(&model).ill), (before.since, None));
    assert_eq!(planned(&model).actions, vec![], "and once");
    // Another version is another matter.
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    model.play_until(|model| planned(model).progress[0].stages[0].healthy == 1);
    note(&mut model);
    assert!(noted(&model).since > before.since, "{:?}", noted(&model));
}

#[test]
fn a_node_that_still_runs_the_version_before_begins_no_soak_anew() {
    let (mut model, ..) = through();
    note(&mut model);
    edit(&mut model, "c0", "r0", |view| {
        let node = &mut view.roles[0].nodes[0];
        (node.version, node.hash) = (Some(OLD.into()), Some(OLD.into()));
    });
    model.ask();
    says(&mut model, "c0", has_no_peers);
    model.fleet.upgrades[0].paused = true;
    let stretch = to_note(&model).unwrap_or_else(|| noted(&model));
    assert_eq!(stretch.since, noted(&model).since);
}

#[test]
fn what_another_upgrade_or_a_person_brought_to_the_target_is_left_as_it_was_noted() {
    let (mut model, ..) = through();
    note(&mut model);
    model.fleet.upgrades[0].name = "renamed".into();
    assert_eq!(planned(&model).actions, vec![]);
    let (mut model, ..) = through();
    edit(&mut model, "c0", "r0", |view| {
        view.healthy = None;
        view.step.as_mut().unwrap().target = "stable2503-5".into();
    });
    assert_eq!(planned(&model).actions, vec![]);
}

#[test]
fn by_a_clock_that_is_behind_it_is_noted_once_and_what_falls_ill_then_is_noted_too() {
    let (mut model, ..) = through();
    let ahead = model.now + SignedDuration::from_secs(20);
    edit(&mut model, "c0", "r0", |view| {
        view.healthy = None;
        view.step.as_mut().unwrap().at = ahead;
        view.grant.as_mut().unwrap().at = ahead;
    });
    assert_eq!(to_note(&model).unwrap().proven, Some(ahead));
    note(&mut model);
    assert_eq!(planned(&model).actions, vec![]);
    is_up(&mut model, false);
    assert_eq!((noted(&model).ill, halted(&model)), (Some(model.now), None));
}

#[test]
fn what_only_waits_for_permission_to_restart_for_an_edit_is_not_noted_as_ill() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Validator]), (0, vec![Kind::Validator])]));
    model.play_until(|model| planned(model).progress[0].is_complete());
    model.pass(3_600);
    note(&mut model);
    edit(&mut model, "c1", "r0", |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (None, None);
    });
    model.ask();
    note(&mut model);
    edit(&mut model, "c0", "r0", |view| {
        let role = view.roles.iter_mut().find(|role| role.role == Role::Validator).unwrap();
        role.hash = "edited".into();
        view.settled_since = None;
    });
    assert!(waits_for(&planned(&model), Code::ValidatorBudget), "{:?}", planned(&model).waits);
    assert_eq!(to_note(&model), None);
}

/// The canary falls ill while the second waits for its turn.
fn ill_beside_another() -> Model {
    let mut model = one_through_of_two(Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]));
    model.fleet.upgrades[0].stages[0].max_concurrent = crate::fleet::Count::Number(2);
    edit(&mut model, "c0", "r0", |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (None, None);
    });
    model.ask();
    assert_eq!(steps(&model), 0);
    model
}

#[test]
fn where_a_person_forbids_to_write_a_note_nobody_waits_for_one() {
    let mut model = ill_beside_another();
    model.fleet.clusters[0].paused = true;
    assert_eq!(steps(&model), 1, "{:?}", planned(&model).waits);
    let mut model = ill_beside_another();
    edit(&mut model, "c0", "r0", |view| view.held = Some("it is looked at".into()));
    assert_eq!(steps(&model), 1, "{:?}", planned(&model).waits);
}

#[test]
fn the_first_of_two_that_restart_for_an_edit_and_never_comes_up_has_failed_by_the_deadline() {
    let (mut model, ..) = through();
    note(&mut model);
    restarts_for_an_edit(&mut model);
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| {
        (view.settled_since, view.reached) = (None, Some(now));
        let first = &mut view.roles[0].nodes[0];
        first.ready_since = None;
        let mut second = first.clone();
        (second.ordinal, second.pod, second.hash) = (1, "validator-sset-1".into(), Some(NEW.into()));
        second.ready_since = Some(now);
        view.roles[0].nodes.push(second);
    });
    model.pass(29 * 60);
    assert_eq!(halted(&model), None);
    model.pass(60);
    assert!(halted(&model).is_some(), "{:?}", planned(&model).waits);
}

#[test]
fn a_permission_for_what_is_not_wanted_any_more_is_no_longer_time_for_what_is() {
    let mut model = one_canary();
    let made = planned(&model);
    model.act(&made);
    let later = model.now + SignedDuration::from_mins(20);
    edit(&mut model, "c0", "r0", |view| {
        let node = &mut view.roles[0].nodes[0];
        (node.hash, node.version, node.ready_since) = (Some(NEW.into()), Some(NEW.into()), None);
        let (role, hash) = (Role::Validator, "moot".into());
        view.grant = Some(Grant { role, hash, ordinal: 0, at: later, mends: false, again: false });
    });
    model.pass(31 * 60);
    assert!(halted(&model).is_some(), "{:?}", planned(&model).waits);
}

#[test]
fn a_validator_that_nobody_could_ask_since_its_step_keeps_the_budget() {
    let mut model = two_validators();
    model.play_until(|model| view(model, "c0").roles[0].nodes[0].version.as_deref() == Some(NEW));
    model.pass(600);
    std::sync::Arc::make_mut(model.board.clusters.get_mut(&at("c0", "r0").0).unwrap()).health =
        crate::observed::Healths::default();
    assert!(waits_for(&planned(&model), Code::ValidatorBudget), "{:?}", planned(&model));
}
