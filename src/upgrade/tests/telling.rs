//! What is written down and told of an upgrade: heights, approvers, how far its stages are; and what a stage without a node is.

use std::sync::Arc;

use jiff::SignedDuration;

use super::model::{Model, NEW, Shape, one_canary, planned};
use crate::fleet::ClusterName;
use crate::observed::Stuck;
use crate::polkadot::{Failed, Kind, ResourceId, Step};
use crate::upgrade::waves::{by_readiness, waves};
use crate::upgrade::{StageState, Write};

fn two_stages() -> Model {
    Model::new(&Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (1, vec![Kind::Sentry])]))
}

fn first_step(model: &Model) -> Step {
    let made = planned(model);
    let mut steps = made.actions.iter().filter_map(|action| match &action.write {
        Write::Step(step) => Some(step.clone()),
        _ => None,
    });
    steps.next_back().unwrap_or_else(|| panic!("{:?}", made.waits))
}

fn states(model: &Model) -> Vec<StageState> {
    planned(model).progress[0].stages.iter().map(|stage| stage.state).collect()
}

#[test]
fn a_step_notes_the_highest_finalised_height_of_its_resource() {
    let mut model = two_stages();
    let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
    for (ahead, health) in Arc::make_mut(&mut view.health).values_mut().enumerate() {
        for sample in &mut Arc::make_mut(health).samples {
            sample.best += 2 * ahead as u64;
            sample.finalized += 2 * ahead as u64;
        }
    }
    let health = &model.board.clusters[&ClusterName::from("c0")].health;
    let highest = health.values().map(|one| one.samples.back().unwrap().finalized).max();
    assert_eq!(first_step(&model).finalized, highest);
}

#[test]
fn a_step_names_who_approved_it_where_that_was_needed() {
    let approver = |change: fn(&mut Model)| {
        let mut model = one_canary();
        change(&mut model);
        first_step(&model).approver
    };
    assert_eq!(approver(|_| {}), None);
    let in_file = |model: &mut Model| {
        let stage = &mut model.fleet.upgrades[0].stages[0];
        (stage.approval_required, stage.approved_version) = (true, Some(NEW.into()));
    };
    assert_eq!(approver(in_file).as_deref(), Some("the fleet file"));
    let by_person = |model: &mut Model| {
        let stage = &mut model.fleet.upgrades[0].stages[0];
        (stage.approval_required, stage.approved_version) = (true, Some(NEW.into()));
        stage.approver = Some("ada".into());
    };
    assert_eq!(approver(by_person).as_deref(), Some("ada"));
    let expedited = |model: &mut Model| {
        model.fleet.upgrades[0].stages[0].approval_required = true;
        model.fleet.upgrades[0].expedite =
            Some(crate::fleet::Expedite { version: NEW.into(), reason: "a hole".into() });
    };
    assert_eq!(approver(expedited).as_deref(), Some("the fleet file (expedite: a hole)"));
}

#[test]
fn a_stage_is_next_then_rolling_then_soaking_if_it_has_to_then_passed() {
    use StageState::{Next, Passed, Rolling, Soaking, Waiting};
    let mut model = two_stages();
    model.fleet.upgrades[0].paused = true;
    assert_eq!(states(&model), [Next, Waiting]);
    model.fleet.upgrades[0].paused = false;
    let mut seen = vec![];
    for _ in 0..400 {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
        let now = states(&model);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    seen.retain(|states| states != &[Passed, Next]);
    let wanted = [[Rolling, Waiting], [Soaking, Waiting], [Passed, Rolling], [Passed, Passed]];
    assert_eq!(seen, wanted.map(|states| states.to_vec()));
}

#[test]
fn a_stage_with_a_failure_that_is_not_tolerated_is_halted() {
    let mut model = Model::new(&Shape {
        broken: Some(0),
        ..Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])])
    });
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
    }
    model.pass(1_900);
    assert_eq!(states(&model), [StageState::Halted, StageState::Waiting]);
    model.fleet.upgrades[0].max_failures = crate::fleet::Count::Number(1);
    assert_ne!(states(&model)[0], StageState::Halted);
}

#[test]
fn a_resource_without_a_node_lets_no_stage_pass_by_itself() {
    let mut model = two_stages();
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    let now = model.now;
    model.edit(&ClusterName::from("c0"), &id, |view| {
        view.client_version = Some(NEW.into());
        view.settled_since = Some(now - SignedDuration::from_hours(24));
        view.roles.iter_mut().for_each(|role| {
            role.hash = NEW.into();
            role.nodes.clear();
        });
    });
    model.fleet.upgrades[0].stages[0].optional = false;
    assert_eq!(planned(&model).actions, vec![]);
    model.fleet.upgrades[0].stages[0].optional = true;
    assert_eq!(planned(&model).actions.len(), 1);
}

#[test]
fn a_validator_that_talks_to_its_sentries_only_needs_no_more_peers_than_those() {
    let mut model = two_stages();
    let id = ResourceId { namespace: "n".into(), name: "r0".into() };
    model.edit(&ClusterName::from("c0"), &id, |view| view.reserved_only = true);
    let few = |model: &mut Model, pod: &str| {
        let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
        let health = Arc::make_mut(&mut view.health).get_mut(&("n".to_owned(), pod.to_owned())).unwrap();
        Arc::make_mut(health).samples.iter_mut().for_each(|sample| sample.peers = Some(1));
    };
    let sick = |model: &Model| {
        let view = &model.board.clusters[&ClusterName::from("c0")];
        let resource = &view.resources[&id];
        let (fleet, now) = (&model.fleet, model.now);
        let chart =
            crate::upgrade::chart::Chart::new(Some(&fleet.upgrades[0]), &fleet.clusters[0], view, now);
        chart.ill(resource).map(|(pod, _)| pod)
    };
    few(&mut model, "validator-sset-0");
    assert_eq!(sick(&model), None);
    few(&mut model, "sentry-sset-0");
    assert_eq!(sick(&model).as_deref(), Some("sentry-sset-0"), "all the world is open to it");
}

/// What a plan notes of a failure, if it does; nothing where it wipes that off.
fn noted(model: &Model) -> Vec<Option<Failed>> {
    let notes = planned(model).actions.into_iter().filter_map(|action| match action.write {
        Write::Failed(note) => Some(note),
        _ => None,
    });
    notes.collect()
}

#[test]
fn a_failure_is_noted_once_on_its_resource_and_wiped_off_when_it_is_healthy() {
    let mut model = one_canary();
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
    }
    assert_eq!(noted(&model), [], "it is on its way");
    let place = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let stuck = Stuck { reason: "ImagePullBackOff".into(), words: None, since: None };
    model.edit(&place.0, &place.1, |view| view.roles[0].nodes[0].stuck = Some(stuck));
    model.now += SignedDuration::from_mins(40);
    let [Some(failed)] = &noted(&model)[..] else { panic!("{:?}", planned(&model)) };
    assert_eq!((failed.upgrade.as_str(), failed.target.as_str(), failed.attempt), ("u", NEW, 1));
    assert!(failed.why.contains("ImagePullBackOff"), "{failed:?}");
    // Nothing is written where nothing may be.
    model.edit(&place.0, &place.1, |view| view.held = Some("why".into()));
    assert_eq!(noted(&model), []);
    model.edit(&place.0, &place.1, |view| view.held = None);
    model.fleet.clusters[0].paused = true;
    assert_eq!(noted(&model), []);
    model.fleet.clusters[0].paused = false;
    let made = planned(&model);
    model.act(&made);
    assert_eq!(noted(&model), [], "told once");
    let upgrade = &mut model.fleet.upgrades[0];
    (upgrade.attempt, upgrade.paused) = (2, true);
    assert_eq!(noted(&model), [], "it failed no more, and is not healthy yet");
    let upgrade = &mut model.fleet.upgrades[0];
    (upgrade.attempt, upgrade.paused) = (1, false);
    model.edit(&place.0, &place.1, |view| view.roles[0].nodes[0].stuck = None);
    model.play_until(|model| planned(model).progress[0].is_complete());
    // That it is healthy is noted first.
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
    }
    let view = model.board.clusters[&place.0].resources[&place.1].clone();
    assert_eq!((view.failed.clone(), noted(&model)), (None, vec![]), "{view:?}");
}

#[test]
fn what_is_played_forward_goes_through_every_stage_however_long_it_soaks() {
    let mut model = Model::new(&Shape::of((0..4).map(|stage| (stage / 2, vec![Kind::Validator])).collect()));
    model.fleet.upgrades[0].stages[0].soak = SignedDuration::from_hours(24);
    let (mut fleet, mut board) = (model.fleet.clone(), model.board.clone());
    by_readiness(&mut fleet, &mut board);
    let waves = waves(&fleet, &board, model.now);
    let clusters: Vec<_> = waves.iter().map(|wave| wave.steps[0].cluster.as_str()).collect();
    assert_eq!(clusters, ["c0", "c1", "c2", "c3"]);
    assert!(waves[2].after_seconds > 24 * 3600, "{waves:?}");
}
