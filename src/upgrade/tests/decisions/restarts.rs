//! Which pod may restart next, and whose budget it takes.

use super::*;

#[test]
fn no_permission_is_taken_back_in_a_paused_cluster() {
    let mut model = one_canary();
    model.fleet.upgrades.clear();
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| {
        view.grant = Some(Grant {
            role: Role::Validator,
            hash: "reverted".into(),
            ordinal: 0,
            at: now,
            mends: false,
            again: false,
        });
    });
    model.fleet.clusters[0].paused = true;
    assert_eq!(planned(&model).actions, vec![]);
}

#[test]
fn a_sentrys_restart_takes_nothing_of_the_validators_budget() {
    let mut model =
        Model::new(&Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (0, vec![Kind::Validator])]));
    model.fleet.upgrades[0].paused = true;
    edit(&mut model, "c1", "r0", |view| view.roles[0].nodes[0].ready_since = None);
    edit(&mut model, "c0", "r0", |view| {
        view.settled_since = None;
        view.roles.iter_mut().find(|role| role.role == Role::Sentry).unwrap().hash = "edited".into();
    });
    let made = planned(&model);
    assert!(matches!(&made.actions[..], [Action { write: Write::Grant(_), .. }]), "{:?}", made.waits);
}

#[test]
fn sentries_get_their_step_before_validators() {
    let model = Model::new(&Shape::of(vec![(0, vec![Kind::Validator, Kind::Sentry])]));
    assert_eq!(steps(&planned(&model)), ["c0 r1"]);
}

#[test]
fn a_sentry_gets_a_volume() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry])]));
    model.fleet.upgrades.clear();
    edit(&mut model, "c0", "r0", |view| {
        view.roles[0].hash = "with a volume".into();
        view.roles[0].volumes_added = true;
    });
    assert!(matches!(planned(&model).actions[..], [Action { write: Write::Grant(_), .. }]));
}

#[test]
fn a_downgrade_is_done_where_it_is_allowed() {
    let mut model = one_canary();
    edit(&mut model, "c0", "r0", |view| {
        view.client_version = Some("stable2509".into());
        view.roles[0].nodes[0].version = Some("stable2509".into());
    });
    assert_eq!(steps(&planned(&model)), Vec::<String>::new());
    model.fleet.upgrades[0].allow_downgrade = true;
    let made = planned(&model);
    assert_eq!(steps(&made), ["c0 r0"]);
    model.act(&made);
    assert!(
        matches!(planned(&model).actions[..], [Action { write: Write::Grant(_), .. }]),
        "{:?}",
        planned(&model).waits
    );
}

#[test]
fn a_validator_of_an_unknown_kind_of_resource_counts() {
    let mut model = two_validators();
    edit(&mut model, "c1", "r0", |view| {
        view.kind = Kind::Unknown;
        view.roles[0].nodes[0].ready_since = None;
    });
    let made = planned(&model);
    assert!(!steps(&made).contains(&"c0 r0".to_owned()), "{:?}", made.actions);
    assert!(waits_for(&made, Code::ValidatorBudget), "{:?}", made.waits);
}

#[test]
fn a_roll_of_sentries_only_reserves_no_validator() {
    let mut model = Model::new(&Shape {
        width: 2,
        ..Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (0, vec![Kind::Validator])])
    });
    let labels: std::collections::BTreeMap<String, String> = [("team".to_owned(), "a".to_owned())].into();
    model.fleet.upgrades[0].selector = labels.clone().into_iter().collect();
    edit(&mut model, "c1", "r0", |view| view.labels = labels);
    edit(&mut model, "c0", "r0", |view| {
        view.settled_since = None;
        view.roles.iter_mut().find(|role| role.role == Role::Sentry).unwrap().hash = "edited".into();
    });
    model.fleet.upgrades[0].paused = true;
    let made = planned(&model);
    assert!(matches!(&made.actions[..], [Action { write: Write::Grant(_), .. }]), "{:?}", made.waits);
    model.act(&made);
    model.fleet.upgrades[0].paused = false;
    assert_eq!(steps(&planned(&model)), ["c1 r0"], "{:?}", planned(&model).waits);
}

#[test]
fn a_permission_has_its_time_before_it_is_given_once_more() {
    let mut model = one_canary();
    for _ in 0..2 {
        let nodes = model.views().next().unwrap().1.roles[0].nodes.clone();
        let made = planned(&model);
        model.act(&made);
        model.coming.clear();
        edit(&mut model, "c0", "r0", |view| view.roles[0].nodes = nodes);
    }
    assert!(model.views().next().unwrap().1.grant.is_some());
    model.pass(600);
    assert_eq!(planned(&model).actions, vec![]);
}

#[test]
fn a_cluster_that_has_begun_goes_on_before_another_begins() {
    let mut model = Model::new(&Shape {
        width: 2,
        ..Shape::of(vec![(0, vec![Kind::Validator]), (0, vec![Kind::Validator, Kind::Validator])])
    });
    model.fleet.clusters[0].paused = true;
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
    model.fleet.clusters[0].paused = false;
    model.play_until(|model| model.steps.len() == 2);
    assert!(model.steps.contains_key(&at("c1", "r1")), "{:?}", model.steps);
}

#[test]
fn only_what_is_stuck_itself_is_mended_out_of_turn() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry])]));
    model.fleet.upgrades.clear();
    edit(&mut model, "c0", "r0", |view| {
        view.ever_settled = false;
        view.roles[0].hash = "edited".into();
        let mut other = view.roles[0].nodes[0].clone();
        (other.ordinal, other.pod, other.hash, other.ready_since) =
            (1, "sentry-sset-1".into(), Some("edited".into()), None);
        other.stuck = Some(Stuck { reason: "CrashLoopBackOff".into(), words: None, since: None });
        view.roles[0].nodes.push(other);
    });
    let made = planned(&model);
    let [Action { write: Write::Grant(grant), .. }] = &made.actions[..] else { panic!("{:?}", made.waits) };
    assert_eq!((grant.ordinal, grant.mends), (0, false));
}
