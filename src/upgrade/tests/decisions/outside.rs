//! What stands outside the order of an upgrade, and what does not hold it up: lost and paused members, what never ran, what
//! is held.

use super::*;

#[test]
fn a_required_stage_passes_once_a_resource_has_soaked() {
    let mut model = two_sentries();
    model.fleet.upgrades[0].stages[0].optional = false;
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
}

#[test]
fn a_paused_cluster_holds_up_no_later_stage() {
    let sentry = |stage| (stage, vec![Kind::Sentry]);
    let mut model = Model::new(&Shape::of(vec![sentry(0), sentry(0), sentry(1)]));
    model.fleet.clusters[1].paused = true;
    model.play_until(|model| model.steps.contains_key(&at("c2", "r0")));
}

#[test]
fn what_failed_in_a_lost_cluster_halts_nobody() {
    let mut model = Model::new(&Shape {
        broken: Some(0),
        ..Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])])
    });
    begin(&mut model);
    model.pass(1_900);
    assert!(planned(&model).progress[0].halted.is_some());
    model.fleet.clusters[0].lost = true;
    assert_eq!(planned(&model).progress[0].halted, None);
}

#[test]
fn a_missing_version_is_no_trouble_that_keeps_from_the_step() {
    let mut model = one_canary();
    edit(&mut model, "c0", "r0", |view| {
        (view.client_version, view.trouble) = (None, Some("it has no version".into()));
    });
    assert_eq!(steps(&planned(&model)), ["c0 r0"]);
}

#[test]
fn what_never_ran_gets_its_step_although_the_upgrade_is_halted_and_it_is_not_its_stages_turn() {
    let mut model = Model::new(&Shape {
        broken: Some(0),
        ..Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])])
    });
    begin(&mut model);
    model.pass(1_900);
    assert!(planned(&model).progress[0].halted.is_some());
    assert_eq!(steps(&planned(&model)), Vec::<String>::new());
    edit(&mut model, "c1", "r0", never_ran);
    assert_eq!(steps(&planned(&model)), ["c1 r0"]);
}

#[test]
fn what_never_ran_gets_its_step_although_its_chain_stands_still() {
    let mut model = two_sentries();
    model.pass(600);
    for cluster in ["c0", "c1"] {
        says(&mut model, cluster, finalises_nothing);
    }
    edit(&mut model, "c1", "r0", never_ran);
    let made = planned(&model);
    assert!(waits_for(&made, Code::ChainStalled));
    assert_eq!(steps(&made), ["c1 r0"]);
}

#[test]
fn what_never_came_up_holds_up_no_later_stage() {
    let mut model =
        Model::new(&Shape::of(vec![(0, vec![Kind::Sentry, Kind::Sentry]), (1, vec![Kind::Sentry])]));
    edit(&mut model, "c0", "r1", |view| {
        never_ran(view);
        view.client_version = Some(NEW.into());
        let role = &mut view.roles[0];
        role.hash = NEW.into();
        (role.nodes[0].hash, role.nodes[0].version) = (Some(NEW.into()), Some(NEW.into()));
    });
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
}

#[test]
fn what_failed_holds_no_slot_where_that_is_tolerated() {
    let mut model = Model::new(&Shape {
        broken: Some(0),
        ..Shape::of(vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])])
    });
    model.fleet.upgrades[0].max_failures = Count::Number(1);
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
}

#[test]
fn what_failed_where_it_was_tried_holds_neither_its_stage_nor_its_cluster() {
    let two = [
        (vec![(0, vec![Kind::Sentry, Kind::Sentry])], "c0 r1"),
        (vec![(0, vec![Kind::Sentry]), (0, vec![Kind::Sentry])], "c1 r0"),
    ];
    for (clusters, next) in two {
        let mut model = failed_trial(&Shape::of(clusters));
        model.fleet.upgrades[0].max_failures = Count::Number(1);
        model.pass(60);
        assert_eq!(steps(&planned(&model)), [next], "{:?}", planned(&model).waits);
    }
}

#[test]
fn what_is_held_on_its_way_does_not_hold_up_its_cluster() {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry, Kind::Sentry])]));
    let made = planned(&model);
    model.act(&made);
    edit(&mut model, "c0", "r0", |view| view.held = Some("forensics".into()));
    assert_eq!(steps(&planned(&model)), ["c0 r1"], "{:?}", planned(&model).waits);
}

#[test]
fn without_a_lease_nothing_is_marked() {
    let mut model = one_canary();
    edit(&mut model, "c0", "r0", |view| view.epoch = 3);
    assert_eq!(steps(&planned(&model)), ["c0 r0"]);
}
