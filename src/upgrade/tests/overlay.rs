//! Writes that the view does not show yet, and what they, home and the clock leave the plan to respect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use kube::ResourceExt as _;

use super::model::{Model, NEW, OLD, Shape, one_canary, planned, stepped_at};
use crate::fleet::ClusterName;
use crate::home::record::{Announcements, Record};
use crate::home::{HomeView, NoSteps};
use crate::observed::{ResourceView, Tried};
use crate::polkadot::record::STEP_ANNOTATION;
use crate::polkadot::{Grant, Kind, Polkadot, PolkadotSpec, ResourceId, Role, Step};
use crate::upgrade::overlay::{Overlays, announced, ground};
use crate::upgrade::{Action, Code, Ground, Place, Plan, Write, plan};

fn step(model: &Model) -> Step {
    stepped_at(model.now)
}

fn grant(model: &Model) -> Grant {
    Grant { role: Role::Validator, hash: OLD.into(), ordinal: 0, at: model.now, mends: false, again: false }
}

fn place(model: &Model) -> Place {
    let (cluster, view) = model.views().next().unwrap();
    (cluster.clone(), view.id.clone())
}

fn begun(model: &Model, write: Write) -> Overlays {
    let mut overlays = Overlays::default();
    overlays.begin(&Action {
        place: place(model),
        uid: "u".into(),
        resource_version: "1".into(),
        write,
        step: None,
    });
    overlays
}

/// The resource as the API server answers after the step.
fn stepped(model: &Model) -> Polkadot {
    let spec = PolkadotSpec { client_version: Some(NEW.into()), ..PolkadotSpec::default() };
    let mut polkadot = Polkadot::new("r0", spec);
    polkadot.metadata.resource_version = Some("2".into());
    polkadot.annotations_mut().insert(STEP_ANNOTATION.into(), serde_json::to_string(&step(model)).unwrap());
    polkadot
}

fn view(model: &Model, overlays: &mut Overlays, at: Instant) -> Arc<ResourceView> {
    let (cluster, id) = place(model);
    overlays.applied_to(&model.board, at).clusters[&cluster].resources[&id].clone()
}

/// What the overlays leave the plan to respect, where home is as it should be.
fn respected(model: &Model, overlays: &Overlays, clock_has_jumped: bool) -> Ground {
    let recorded = model.fleet.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let home = HomeView { recorded, ..HomeView::default() };
    ground(&model.fleet, &home, overlays, clock_has_jumped)
}

#[test]
fn what_was_written_stands_in_for_the_view_until_that_is_another() {
    let (mut model, now) = (one_canary(), Instant::now());
    let mut overlays = begun(&model, Write::Step(step(&model)));
    overlays.finish(&place(&model), Some(&stepped(&model)), now);
    let seen = view(&model, &mut overlays, now);
    assert_eq!((seen.resource_version.as_str(), seen.client_version.as_deref()), ("2", Some(NEW)));
    assert_eq!(seen.step, Some(step(&model)));
    assert_eq!(seen.roles[0].hash, OLD, "the templates are still to be made");
    let (cluster, id) = place(&model);
    model.edit(&cluster, &id, |view| view.resource_version = "3".into());
    assert_eq!(
        view(&model, &mut overlays, now).client_version.as_deref(),
        Some(OLD),
        "what came later is right"
    );
    assert!(overlays.is_empty());
}

#[test]
fn what_was_tried_for_another_step_is_not_what_is_tried_for_this_one() {
    let (mut model, now) = (one_canary(), Instant::now());
    let (cluster, id) = place(&model);
    let tried = |model: &Model| {
        let mut overlays = begun(model, Write::Step(step(model)));
        overlays.finish(&place(model), Some(&stepped(model)), now);
        view(model, &mut overlays, now).prepulls.len()
    };
    model.edit(&cluster, &id, |view| drop(view.prepulls.insert("m1".into(), Tried::Succeeded)));
    assert_eq!(tried(&model), 0);
    let same = step(&model);
    model.edit(&cluster, &id, |view| view.step = Some(same));
    assert_eq!(tried(&model), 1);
}

#[test]
fn a_write_without_an_answer_is_remembered_whatever_the_view_shows() {
    let (mut model, now) = (one_canary(), Instant::now());
    let mut overlays = begun(&model, Write::Step(step(&model)));
    let (cluster, id) = place(&model);
    model.edit(&cluster, &id, |view| view.resource_version = "3".into());
    assert_eq!(view(&model, &mut overlays, now).resource_version, "3");
    assert!(respected(&model, &overlays, false).unsettled.contains(&place(&model)));
}

#[test]
fn what_was_refused_is_believed_again_after_its_moment() {
    let (model, now) = (one_canary(), Instant::now());
    let mut overlays = begun(&model, Write::Step(step(&model)));
    overlays.finish(&place(&model), None, now + Duration::from_secs(1));
    view(&model, &mut overlays, now);
    let until = respected(&model, &overlays, false);
    assert!(until.unsettled.contains(&place(&model)));
    assert!(until.to_be_set.is_empty(), "nothing will be set by it");
    view(&model, &mut overlays, now + Duration::from_secs(1));
    assert!(respected(&model, &overlays, false).unsettled.is_empty());
}

#[test]
fn no_pod_restarts_between_the_write_of_a_version_and_its_templates() {
    let (mut model, now) = (one_canary(), Instant::now());
    let (cluster, id) = place(&model);
    // Something else was edited, and its restart is due.
    model.edit(&cluster, &id, |view| view.roles[0].hash = "edited".into());
    let mut overlays = begun(&model, Write::Step(step(&model)));
    assert!(respected(&model, &overlays, false).to_be_set.contains(&place(&model)), "on its way");
    overlays.finish(&place(&model), Some(&stepped(&model)), now);
    let board = overlays.applied_to(&model.board, now);
    let made = plan(&model.fleet, &board, &respected(&model, &overlays, false), model.now);
    assert_eq!(made.actions, vec![], "the template that is seen is the one of before");
    assert_eq!(made.waits[0].code, Code::WriteUnderWay);
    let granted = begun(&model, Write::Grant(grant(&model)));
    assert!(respected(&model, &granted, false).to_be_set.is_empty(), "a permission sets no version");
}

#[test]
fn after_a_jump_of_the_clock_no_step_is_taken_and_homes_own_reason_comes_first() {
    let model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry])]));
    let made = |ground: &Ground| plan(&model.fleet, &model.board, ground, model.now);
    assert_eq!(made(&respected(&model, &Overlays::default(), false)).actions.len(), 1);
    let jumped = made(&respected(&model, &Overlays::default(), true));
    assert_eq!((jumped.actions, jumped.waits[0].code), (vec![], Code::ClockSkew));
    let standby = HomeView { no_steps: Some(NoSteps::Standby("other".into())), ..HomeView::default() };
    let ground = ground(&model.fleet, &standby, &Overlays::default(), true);
    assert_eq!(ground.no_steps.map(|(code, _)| code), Some(Code::Standby));
}

#[test]
fn members_that_home_does_not_know_are_named() {
    let model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]));
    let recorded = [place(&model).0].into();
    let home = HomeView { recorded, epoch: 7, ..HomeView::default() };
    let ground = ground(&model.fleet, &home, &Overlays::default(), false);
    assert_eq!(ground.unrecorded, ["c1".into()].into());
    assert_eq!(ground.epoch, 7);
}

#[test]
fn a_step_is_announced_as_it_was_first_until_the_view_shows_it_or_it_was_refused() {
    let (mut model, now) = (one_canary(), Instant::now());
    let action = |model: &Model| {
        let write = Write::Step(step(model));
        Action { place: place(model), uid: "u".into(), resource_version: "1".into(), write, step: None }
    };
    let planned = |model: &Model| Plan { actions: vec![action(model)], ..Plan::default() };
    let (cluster, first) = (place(&model).0, step(&model));
    let mut known = Overlays::default().to_announce(&planned(&model), &Announcements::new());
    assert_eq!(known[&cluster][0].step, first);
    model.pass(60);
    known = Overlays::default().to_announce(&planned(&model), &known);
    assert_eq!(known[&cluster][0].step, first, "what home knows is no news");
    let mut overlays = Overlays::default();
    overlays.begin(&action(&model));
    let nothing = Plan::default();
    assert_eq!(overlays.to_announce(&nothing, &known), known, "on its way");
    overlays.finish(&place(&model), Some(&stepped(&model)), now);
    overlays.applied_to(&model.board, now);
    assert_eq!(overlays.to_announce(&nothing, &known), known, "made, and not seen");
    let id = place(&model).1;
    model.edit(&cluster, &id, |view| view.resource_version = "2".into());
    overlays.applied_to(&model.board, now);
    assert!(overlays.to_announce(&nothing, &known).is_empty(), "seen");
    let mut overlays = begun(&model, Write::Step(step(&model)));
    overlays.finish(&place(&model), None, now);
    assert!(overlays.to_announce(&nothing, &known).is_empty(), "refused");
}

#[test]
fn an_announcement_is_of_one_step_on_one_resource() {
    let model = Model::new(&Shape { nodes: 2, ..Shape::of(vec![(0, vec![Kind::Sentry, Kind::Sentry])]) });
    let made = planned(&model);
    let all: Vec<_> = made.actions.iter().filter_map(announced).collect();
    assert_eq!(all.len(), 2);
    let view = model.board.clusters[&ClusterName::from("c0")].clone();
    let record = Record::of(&view, None, &all[..1], model.now);
    let later = Record::of(&view, Some(&record), &all[1..], model.now + SignedDuration::from_mins(1));
    assert!(all.iter().all(|one| later.announced.contains(one)), "another resource's");
    let mut other = all[0].clone();
    other.step.target = "stable2503-8".into();
    let later = Record::of(&view, Some(&record), &[other.clone()], model.now + SignedDuration::from_mins(1));
    assert!([&all[0], &other].iter().all(|one| later.announced.contains(one)), "another target's");
    let mut model = model;
    let mut step = other.step.clone();
    step.at = model.now + SignedDuration::from_mins(1);
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&ClusterName::from("c0"), &id, |view| view.step = Some(step));
    let view = model.board.clusters[&ClusterName::from("c0")].clone();
    let later = Record::of(&view, Some(&record), &[], model.now + SignedDuration::from_mins(1));
    assert!(later.announced.contains(&all[0]), "another step is seen");
}
