//! How long a failure stops others: until its resource is healthy, or a person asks for another try.

use jiff::SignedDuration;

use super::decisions::{at, edit, steps};
use super::health::{finalises_nothing, says};
use super::lapse::{halted, is_up, note as take_notes, one_through_of_two};
use super::model::{Model, NEW, OLD, Shape, planned};
use crate::fleet::Count;
use crate::observed::Stuck;
use crate::polkadot::{Failed, Kind, Role};
use crate::upgrade::{Code, StageState, Write};

/// The first cluster's resource crashes at the target, which is noted; the second one's may begin as far as the width goes.
fn noted(kind: Kind) -> Model {
    let mut model = Model::new(&Shape::of(vec![(0, vec![kind]), (0, vec![Kind::Sentry])]));
    model.fleet.upgrades[0].stages[0].max_concurrent = Count::Number(2);
    edit(&mut model, "c1", "r0", |view| view.held = Some("it is looked at".into()));
    for _ in 0..2 {
        let made = planned(&model);
        model.act(&made);
    }
    model.coming.clear();
    crashes(&mut model);
    let made = planned(&model);
    assert!(matches!(made.actions[..], [crate::upgrade::Action { write: Write::Failed(Some(_)), .. }]));
    model.act(&made);
    edit(&mut model, "c1", "r0", |view| view.held = None);
    assert!(halted(&model).is_some() && steps(&planned(&model)).is_empty());
    model
}

/// The first node of the first cluster ends as soon as it is started.
fn crashes(model: &mut Model) {
    let why = Stuck { reason: "CrashLoopBackOff".into(), words: None, since: None };
    edit(model, "c0", "r0", |view| view.roles[0].nodes[0].stuck = Some(why));
    model.pass(60);
}

/// Somebody deletes its pod, and there is another one.
fn is_deleted(model: &mut Model) {
    edit(model, "c0", "r0", |view| view.roles[0].nodes[0].stuck = None);
    model.pass(30);
}

fn comes_up(model: &mut Model) {
    let id = at("c0", "r0").1;
    let role = model.board.clusters[&at("c0", "r0").0].resources[&id].roles[0].role;
    model.coming.push((model.now, "c0".into(), id, role));
    model.pass(0);
}

fn note(model: &Model) -> Option<Failed> {
    model.views().find(|(name, _)| name.0 == "c0").unwrap().1.failed.clone()
}

#[test]
fn who_deletes_the_pod_that_failed_lifts_no_halt() {
    let mut model = noted(Kind::Sentry);
    is_deleted(&mut model);
    let made = planned(&model);
    let halt = made.progress[0].halted.clone().unwrap();
    let words = "c0 n/r0: sentry-sset-0 cannot start: CrashLoopBackOff (that was at 1970-01-12T14:04:20Z, and it has not been \
                 healthy since)";
    assert!(halt.contains(words), "{halt}");
    assert!(made.actions.is_empty(), "{:?}", made.actions);
    let stage = &made.progress[0].stages[0];
    assert_eq!((stage.failed, stage.in_flight, &stage.state), (0, 1, &StageState::Halted));
    let codes: Vec<_> = made.waits.iter().map(|wait| (wait.place.0.0.as_str(), wait.code)).collect();
    assert_eq!(codes, [("c0", Code::Failed), ("c1", Code::Halted)]);
}

#[test]
fn nor_does_a_chain_that_stands_for_a_while_or_a_longer_deadline() {
    let mut model = noted(Kind::Sentry);
    is_deleted(&mut model);
    model.pass(3_600);
    assert!(
        halted(&model)
            .is_some_and(|why| why.contains("CrashLoopBackOff; ") || why.contains("CrashLoopBackOff)"))
    );
    let mut stands = model.clone();
    says(&mut stands, "c1", finalises_nothing);
    assert!(halted(&stands).is_some_and(|why| why.contains("that was at")));
    model.fleet.upgrades[0].progress_deadline = SignedDuration::from_hours(5);
    assert!(halted(&model).is_some_and(|why| why.contains("that was at")));
}

#[test]
fn once_it_is_healthy_the_halt_is_over_and_so_is_the_note() {
    let mut model = noted(Kind::Sentry);
    is_deleted(&mut model);
    comes_up(&mut model);
    model.pass(30);
    assert!(halted(&model).is_some(), "for too short a time");
    model.pass(60);
    let made = planned(&model);
    assert_eq!((made.progress[0].halted.clone(), steps(&made)), (None, vec!["c1 r0".to_owned()]));
    model.act(&made);
    let made = planned(&model);
    model.act(&made);
    assert_eq!(note(&model), None);
    // The next time is another one.
    edit(&mut model, "c0", "r0", |view| {
        (view.roles[0].nodes[0].ready_since, view.settled_since) = (None, None);
    });
    model.ask();
    assert_eq!(halted(&model), None);
}

#[test]
fn a_retry_or_another_target_ends_the_halt() {
    for change in [
        |model: &mut Model| model.fleet.upgrades[0].attempt = 2,
        |model: &mut Model| model.fleet.upgrades[0].client_version = "stable2503-8".into(),
    ] {
        let mut model = noted(Kind::Sentry);
        is_deleted(&mut model);
        change(&mut model);
        assert_eq!(halted(&model), None);
        assert!(steps(&planned(&model)).contains(&"c1 r0".to_owned()), "{:?}", planned(&model).waits);
    }
}

#[test]
fn what_was_noted_before_a_step_says_nothing_of_it_also_where_it_goes_to_the_same_target() {
    let mut model = noted(Kind::Sentry);
    is_deleted(&mut model);
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| view.step.as_mut().unwrap().at = now);
    assert_eq!(halted(&model), None);
    crashes(&mut model);
    let made = planned(&model);
    model.act(&made);
    assert_eq!((note(&model).map(|note| note.at), halted(&model).is_some()), (Some(model.now), true));
}

#[test]
fn a_restart_that_was_permitted_since_is_another_try_and_its_failure_is_noted_again() {
    let mut model = noted(Kind::Sentry);
    is_deleted(&mut model);
    // Somebody mends its arguments.
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| {
        view.roles[0].hash = "mended".into();
        view.roles[0].nodes[0].hash = Some("mended".into());
        let grant = view.grant.as_mut().unwrap();
        (grant.hash, grant.at) = ("mended".into(), now);
    });
    assert_eq!(halted(&model), None);
    crashes(&mut model);
    let made = planned(&model);
    model.act(&made);
    is_deleted(&mut model);
    assert!(halted(&model).is_some_and(|why| why.contains("that was at")), "{:?}", note(&model));
    assert!(note(&model).is_some_and(|note| note.at > now), "{:?}", note(&model));
}

#[test]
fn where_what_failed_is_well_and_the_rest_waits_for_its_turn_the_upgrade_goes_on() {
    let mut model = noted(Kind::SentryAndValidator);
    is_deleted(&mut model);
    assert!(halted(&model).is_some());
    comes_up(&mut model);
    model.pass(90);
    // While another validator is down.
    let mut waits = model.clone();
    waits.fleet.validators.max_unavailable = 0;
    let made = planned(&waits);
    waits.act(&made);
    assert_eq!((made.progress[0].halted.clone(), note(&waits)), (None, None), "{:?}", made.actions);
    let made = planned(&model);
    let grants = made.actions.iter().filter_map(|action| match &action.write {
        Write::Grant(grant) => Some(grant.role),
        _ => None,
    });
    assert_eq!(grants.collect::<Vec<_>>(), [Role::Validator], "{:?}", made.waits);
    assert_eq!(made.progress[0].halted, None);
    // What it is permitted now has its own time.
    model.act(&made);
    model.pass(5);
    assert_eq!(halted(&model), None);
}

#[test]
fn who_is_up_again_and_not_known_to_be_sick_yet_is_not_healthy_by_that() {
    let mut model = noted(Kind::SentryAndValidator);
    is_deleted(&mut model);
    comes_up(&mut model);
    model.pass(90);
    says(&mut model, "c0", |health| health.samples.iter_mut().for_each(|sample| sample.peers = Some(0)));
    let made = planned(&model);
    assert!(made.progress[0].halted.is_some() && steps(&made).is_empty(), "{:?}", made.actions);
    model.act(&made);
    assert!(note(&model).is_some());
}

#[test]
fn by_a_clock_that_is_behind_it_is_noted_once_and_counts() {
    let mut model = noted(Kind::Sentry);
    let ahead = model.now + SignedDuration::from_secs(20);
    edit(&mut model, "c0", "r0", |view| {
        (view.grant.as_mut().unwrap().at, view.failed) = (ahead, None);
    });
    let made = planned(&model);
    model.act(&made);
    assert_eq!(note(&model).map(|note| note.at), Some(ahead));
    assert!(planned(&model).actions.is_empty());
    is_deleted(&mut model);
    assert!(halted(&model).is_some());
}

#[test]
fn a_stage_does_not_soak_while_what_failed_in_it_and_is_tolerated_begins_anew() {
    let mut model = one_through_of_two(Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])]));
    model.play_until(|model| planned(model).progress[0].stages[0].healthy == 2);
    model.fleet.upgrades[0].stages[0].soak = SignedDuration::from_hours(9);
    model.fleet.upgrades[0].max_failures = Count::Number(1);
    is_up(&mut model, false);
    crashes(&mut model);
    take_notes(&mut model);
    assert_eq!(planned(&model).progress[0].stages[0].state, StageState::Soaking);
    is_deleted(&mut model);
    let stage = &planned(&model).progress[0].stages[0];
    assert_eq!((stage.failed, stage.in_flight, &stage.state), (0, 1, &StageState::Recovering));
}

#[test]
fn what_another_upgrade_or_target_failed_at_halts_nobody() {
    for change in [
        |model: &mut Model| model.fleet.upgrades[0].name = "renamed".into(),
        |model: &mut Model| {
            // By the same hand, in the fleet file and in the resource.
            model.fleet.upgrades[0].client_version = "stable2503-8".into();
            edit(model, "c0", "r0", |view| view.client_version = Some("stable2503-8".into()));
        },
    ] {
        let mut model = noted(Kind::Sentry);
        is_deleted(&mut model);
        assert!(halted(&model).is_some());
        change(&mut model);
        assert_eq!(halted(&model), None, "{:?}", planned(&model).progress);
    }
}

#[test]
fn what_was_taken_back_and_set_again_by_a_person_is_noted_when_it_fails_once_more() {
    let mut model = noted(Kind::Sentry);
    edit(&mut model, "c0", "r0", |view| {
        view.step.as_mut().unwrap().rolled_back = Some("there was no image".into());
        view.failed = None;
    });
    let made = planned(&model);
    model.act(&made);
    assert!(note(&model).is_some(), "{:?}", made.actions);
    edit(&mut model, "c0", "r0", |view| view.client_version = Some(OLD.into()));
    is_deleted(&mut model);
    assert!(halted(&model).is_some_and(|why| why.contains("taken back")), "that says so itself");
}

#[test]
fn what_somebody_set_back_or_holds_halts_nobody() {
    let mut model = noted(Kind::Sentry);
    is_deleted(&mut model);
    edit(&mut model, "c0", "r0", |view| view.held = Some("it is looked at".into()));
    assert_eq!(halted(&model), None);
    edit(&mut model, "c0", "r0", |view| (view.held, view.client_version) = (None, Some(OLD.into())));
    assert_eq!((halted(&model), note(&model).unwrap().target), (None, NEW.to_owned()));
}

#[test]
fn home_remembers_that_it_was_noted() {
    let mut model = noted(Kind::Sentry);
    let record = |model: &Model| {
        let view = &model.board.clusters[&at("c0", "r0").0];
        crate::home::record::Record::of(view, None, &[], model.now)
    };
    let before = record(&model);
    assert_eq!(before.resources[0].failed, note(&model));
    edit(&mut model, "c0", "r0", |view| view.failed = None);
    assert!(!before.agrees_with(&model.board.clusters[&at("c0", "r0").0]));
}
