//! Why something waits: one reason for each resource, what ends it, and who is not waited for at all.

use std::sync::Arc;

use jiff::SignedDuration;

use super::decisions::{at, edit, never_ran, steps, waits_for};
use super::model::{Model, NEW, OLD, SOAK, STABLE, Shape, one_canary, planned, stepped_at};
use crate::fleet::ClusterName;
use crate::observed::ClusterState;
use crate::polkadot::Kind;
use crate::upgrade::waits::ended_by;
use crate::upgrade::{Code, StageState, Wait, Write};

fn two_stages() -> Model {
    Model::new(&Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]))
}

/// Why this resource waits.
fn wait(model: &Model, cluster: &str) -> Wait {
    let waits = planned(model).waits;
    waits.iter().find(|wait| wait.place == at(cluster, "r0")).unwrap_or_else(|| panic!("{waits:?}")).clone()
}

#[test]
fn who_waits_for_a_soak_is_told_when_it_is_over() {
    let mut model = two_stages();
    model.play_until(|model| planned(model).progress[0].stages[0].state == StageState::Soaking);
    model.pass(STABLE);
    let healthy = model.board.clusters[&ClusterName::from("c0")].resources[&at("c0", "r0").1].settled_since;
    let over = healthy.unwrap() + SignedDuration::from_secs(SOAK + STABLE);
    let waits = wait(&model, "c1");
    assert_eq!(waits.code, Code::EarlierStage);
    let until = waits.until.unwrap();
    // By when all is well, each node may have another opinion of half a minute.
    assert!((until - SignedDuration::from_secs(2 * STABLE)..=over).contains(&until), "{until} {over}");
    model.now = until - SignedDuration::from_secs(1);
    model.ask();
    assert!(!steps(&planned(&model)).contains(&"c1 r0".into()), "not yet");
    model.now = until;
    model.ask();
    assert_eq!(steps(&planned(&model)), ["c1 r0"]);
}

#[test]
fn who_waits_for_more_than_time_is_not_told_a_time() {
    let mut model = two_stages();
    let made = planned(&model);
    model.act(&made);
    let waits = wait(&model, "c1");
    assert_eq!((waits.code, waits.until), (Code::EarlierStage, None), "the canary is not healthy yet");
}

#[test]
fn what_is_not_healthy_yet_is_told_when_its_time_is_up() {
    let mut model = Model::new(&Shape { broken: Some(0), ..Shape::of(vec![(0, vec![Kind::Sentry])]) });
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
    }
    let waits = wait(&model, "c0");
    assert_eq!(waits.code, Code::NotHealthyYet);
    model.now = waits.until.unwrap();
    assert_eq!(wait(&model, "c0").code, Code::Failed);
}

#[test]
fn a_resource_has_one_reason_the_one_that_needs_a_person_before_others() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry, Kind::Sentry])]));
    let now = model.now;
    // One rolls, so that the other one's edit waits; and somebody set the other one back.
    edit(&mut model, "c0", "r1", |view| {
        view.client_version = Some(NEW.into());
        (view.roles[0].hash, view.step, view.settled_since) = (NEW.into(), Some(stepped_at(now)), None);
    });
    edit(&mut model, "c0", "r0", |view| {
        (view.roles[0].hash, view.settled_since) = ("edited".into(), None);
        view.step = Some(stepped_at(now - SignedDuration::from_mins(60)));
    });
    let waits = planned(&model).waits;
    let codes: Vec<Code> =
        waits.iter().filter(|wait| wait.place == at("c0", "r0")).map(|wait| wait.code).collect();
    assert_eq!(codes, [Code::Contested], "{waits:?}");
}

#[test]
fn every_reason_tells_what_ends_it() {
    for code in [Code::Width, Code::Approval, Code::FleetUnknown] {
        assert!(ended_by(code).len() > 10, "{code:?}");
    }
    assert!(ended_by(Code::Approval).contains("polkafleet approve"));
}

/// A home with a CRD-less cluster, and a canary with a validator.
fn home_without_crd() -> Model {
    let mut model = Model::new(&Shape::of(vec![(0, vec![]), (0, vec![Kind::Validator])]));
    let home = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
    (home.state, home.seen) = (ClusterState::NoCrd(None), false);
    model
}

#[test]
fn a_home_without_the_crd_holds_no_validator_and_no_stage_up() {
    let mut model = home_without_crd();
    model.fleet.upgrades[0].stages[0].optional = false;
    assert_eq!(steps(&planned(&model)), ["c1 r0"], "{:?}", planned(&model).waits);
    model.play_until(|model| planned(model).progress[0].is_complete());
}

#[test]
fn a_cluster_that_had_validators_and_now_has_no_crd_counts_with_them() {
    let mut model = home_without_crd();
    let remembered = model.board.clusters[&ClusterName::from("c1")].resources.clone();
    let home = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
    (home.resources, home.seen, home.remembered) = (remembered, true, true);
    assert_eq!(steps(&planned(&model)), Vec::<String>::new());
    assert!(waits_for(&planned(&model), Code::ValidatorBudget), "{:?}", planned(&model).waits);
}

#[test]
fn a_validator_that_never_ran_gets_its_first_version_although_its_keystore_is_on_no_volume() {
    let mut model = one_canary();
    edit(&mut model, "c0", "r0", |view| {
        never_ran(view);
        (view.keystore_kept, view.client_version) = (false, None);
    });
    assert_eq!(steps(&planned(&model)), ["c0 r0"], "{:?}", planned(&model).waits);
    let mut runs = one_canary();
    edit(&mut runs, "c0", "r0", |view| view.keystore_kept = false);
    assert!(waits_for(&planned(&runs), Code::EphemeralKeystore));
}

#[test]
fn i12_what_somebody_takes_beyond_the_target_after_our_step_is_ahead_and_done() {
    let mut model = two_stages();
    model.fleet.upgrades[0].stages[0].optional = false;
    model.play_until(|model| model.steps.contains_key(&at("c0", "r0")));
    edit(&mut model, "c0", "r0", |view| view.client_version = Some("stable2503-8".into()));
    assert_eq!(wait(&model, "c0").code, Code::Ahead);
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
    // Back is something else, and so is beyond where the upgrade goes down.
    for (version, down) in [(OLD, false), ("stable2503-8", true)] {
        edit(&mut model, "c0", "r0", |view| view.client_version = Some(version.into()));
        model.fleet.upgrades[0].allow_downgrade = down;
        assert_eq!(wait(&model, "c0").code, Code::Contested, "{version}");
    }
}

#[test]
fn a_permission_is_in_the_trace_of_the_step_that_it_is_for_and_not_one_for_an_edit() {
    let mut model = one_canary();
    let mut grants = vec![];
    for round in 0..60 {
        let made = planned(&model);
        let ours = made.actions.iter().filter(|action| matches!(action.write, Write::Grant(_)));
        grants.extend(ours.map(|grant| grant.step.as_ref().map(|step| step.target.clone())));
        model.act(&made);
        model.pass(20);
        if round == 30 {
            assert!(planned(&model).progress[0].stages[0].healthy == 1, "{:?}", planned(&model).waits);
            edit(&mut model, "c0", "r0", |view| {
                (view.roles[0].hash, view.settled_since) = ("edited".into(), None);
            });
        }
    }
    assert_eq!(grants, [Some(NEW.to_owned()), None]);
}

#[test]
fn a_lost_clusters_resources_are_in_no_stages_total() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]));
    assert_eq!(planned(&model).progress[0].stages[0].total, 2);
    model.fleet.clusters[1].lost = true;
    assert_eq!(planned(&model).progress[0].stages[0].total, 1);
}
