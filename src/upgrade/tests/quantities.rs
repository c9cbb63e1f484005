//! How much of it at once, and in what order: the fast lane, percentages, the validators of several chains and of several
//! upgrades; clusters of no stage, and versions of one line.

use super::decisions::{at, edit, steps, waits_for};
use super::model::{Model, NEW, OLD, SOAK, STABLE, Shape, planned};
use crate::fleet::{Count, Expedite};
use crate::polkadot::Kind;
use crate::upgrade::{Code, Plan, Write};

/// The next version.
const NEWER: &str = "stable2503-8";

/// So many clusters of the first stage with one resource each, `width` of them at once.
fn side_by_side(kind: Kind, clusters: usize, width: u32) -> Model {
    Model::new(&Shape { width, ..Shape::of(vec![(0, vec![kind]); clusters]) })
}

fn expedite(model: &mut Model, version: &str) {
    let reason = "a hole in it is being used".to_owned();
    model.fleet.upgrades[0].expedite = Some(Expedite { version: version.into(), reason });
}

/// A cluster in each stage, of which the second wants approval.
fn guarded() -> Model {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::Sentry]), (1, vec![Kind::Sentry])]));
    model.fleet.upgrades[0].stages[1].approval_required = true;
    model
}

/// Until all of the first cluster's pods are Ready at the new version.
fn until_the_first_is_up(model: &mut Model) {
    model.play_until(|model| {
        let resource = &model.board.clusters[&at("c0", "r0").0].resources[&at("c0", "r0").1];
        resource.settled_since.is_some() && resource.client_version.as_deref() == Some(NEW)
    });
}

/// Why a cluster's resource waits.
fn why(plan: &Plan, cluster: &str) -> (Option<Code>, String) {
    let wait = plan.waits.iter().find(|wait| wait.place == at(cluster, "r0"));
    (wait.map(|wait| wait.code), wait.map_or_else(String::new, |wait| wait.words.clone()))
}

#[test]
fn the_fast_lane_waits_for_health_and_for_neither_soak_nor_approval() {
    let mut model = guarded();
    expedite(&mut model, NEW);
    until_the_first_is_up(&mut model);
    let up = model.board.clusters[&at("c0", "r0").0].resources[&at("c0", "r0").1].settled_since.unwrap();
    let made = planned(&model);
    assert!(steps(&made).is_empty(), "it has not been well for long enough");
    assert_eq!(why(&made, "c1").0, Some(Code::EarlierStage));
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
    let waited = model.now.duration_since(up).as_secs();
    assert!((STABLE..SOAK).contains(&waited), "{waited} s");
}

#[test]
fn the_fast_lane_is_for_exactly_one_version() {
    for version in [OLD, NEWER] {
        let mut model = guarded();
        expedite(&mut model, version);
        until_the_first_is_up(&mut model);
        model.pass(SOAK - STABLE);
        let made = planned(&model);
        assert_eq!(why(&made, "c1").0, Some(Code::EarlierStage), "it soaks: {:?}", made.waits);
        model.pass(2 * STABLE + 40);
        let made = planned(&model);
        assert_eq!(why(&made, "c1").0, Some(Code::Approval), "it is not approved: {:?}", made.waits);
    }
}

#[test]
fn the_fast_lane_has_the_same_width_and_the_same_validators_budget() {
    for (kind, width, code) in [(Kind::Sentry, 1, Code::Width), (Kind::Validator, 2, Code::ValidatorBudget)] {
        let mut model = side_by_side(kind, 2, width);
        expedite(&mut model, NEW);
        let made = planned(&model);
        assert_eq!(steps(&made), ["c0 r0"]);
        assert_eq!(why(&made, "c1").0, Some(code), "{:?}", made.waits);
    }
}

#[test]
fn a_share_of_a_stages_clusters_is_rounded_down_and_is_one_at_least() {
    for (percent, clusters, expected) in
        [(100, 3, 3), (50, 4, 2), (50, 5, 2), (25, 7, 1), (25, 8, 2), (25, 3, 1), (1, 2, 1), (0, 2, 1)]
    {
        let mut model = side_by_side(Kind::Sentry, clusters, 1);
        model.fleet.upgrades[0].stages[0].max_concurrent = Count::Percent(percent);
        let made = planned(&model);
        let others: Vec<_> = made.waits.iter().map(|wait| wait.code).collect();
        assert_eq!(
            (steps(&made).len(), others),
            (expected, vec![Code::Width; clusters - expected]),
            "{percent}% of {clusters}"
        );
    }
}

#[test]
fn a_share_is_of_the_stages_clusters_and_not_of_the_fleets() {
    let sentry = |stage| (stage, vec![Kind::Sentry]);
    let shape = Shape::of(vec![sentry(0), sentry(0), sentry(1), sentry(1), sentry(1), sentry(1)]);
    let mut model = Model::new(&shape);
    model.fleet.upgrades[0].stages[0].max_concurrent = Count::Percent(50);
    assert_eq!(steps(&planned(&model)), ["c0 r0"]);
}

#[test]
fn a_share_of_failures_is_of_the_upgrades_resources_and_may_be_none() {
    for (percent, clusters, tolerated) in [(100, 1, 1), (50, 4, 2), (50, 3, 1), (40, 2, 0), (99, 1, 0)] {
        let mut model = side_by_side(Kind::Sentry, clusters, 1);
        model.fleet.upgrades[0].max_failures = Count::Percent(percent);
        for failed in 1..=clusters {
            fails(&mut model, &format!("c{}", failed - 1));
            let halted = planned(&model).progress[0].halted.clone();
            let words = format!("{failed} failed, {tolerated} tolerated");
            assert_eq!(halted.is_some(), failed > tolerated, "{percent}% of {clusters}: {words}: {halted:?}");
            assert!(halted.is_none_or(|said| said.contains(&words)), "{words}");
        }
    }
}

/// It got its version, and crashes.
fn fails(model: &mut Model, cluster: &str) {
    let step = super::model::stepped_at(model.now);
    edit(model, cluster, "r0", |view| {
        (view.client_version, view.step, view.settled_since) = (Some(NEW.into()), Some(step), None);
        view.roles[0].hash = NEW.into();
        let node = &mut view.roles[0].nodes[0];
        (node.hash, node.version, node.ready_since) = (Some(NEW.into()), Some(NEW.into()), None);
        let why = crate::observed::Stuck { reason: "CrashLoopBackOff".into(), words: None, since: None };
        node.stuck = Some(why);
    });
}

#[test]
fn each_chain_has_a_validators_budget_of_its_own() {
    let mut model = side_by_side(Kind::Validator, 4, 4);
    for cluster in ["c1", "c3"] {
        edit(&mut model, cluster, "r0", |view| view.chain = "kusama".into());
    }
    let made = planned(&model);
    assert_eq!(steps(&made), ["c0 r0", "c1 r0"]);
    for (cluster, chain) in [("c2", "polkadot"), ("c3", "kusama")] {
        let (code, words) = why(&made, cluster);
        assert_eq!(
            (code, words.contains(&format!("of chain {chain}'s"))),
            (Some(Code::ValidatorBudget), true)
        );
    }
    // To the end never two of one chain; what one chain does is nothing to the other.
    for _ in 0..60 {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
        let down = |chain: &str| {
            let theirs = model.views().filter(|(_, view)| view.chain == chain);
            theirs.filter(|(_, view)| view.roles[0].nodes[0].ready_since.is_none()).count()
        };
        assert!(down("polkadot") <= 1 && down("kusama") <= 1);
    }
    assert_eq!(model.steps.values().copied().collect::<Vec<_>>(), [1; 4]);
}

/// The validators of two clusters, each under an upgrade of its own.
fn two_upgrades() -> Model {
    let mut model = side_by_side(Kind::Validator, 2, 2);
    let mut second = model.fleet.upgrades[0].clone();
    second.name = "v".into();
    for (upgrade, group) in [(&mut second, "b"), (&mut model.fleet.upgrades[0], "a")] {
        upgrade.selector = [("group".to_owned(), group.to_owned())].into_iter().collect();
    }
    model.fleet.upgrades.push(second);
    for (cluster, group) in [("c0", "a"), ("c1", "b")] {
        edit(&mut model, cluster, "r0", |view| drop(view.labels.insert("group".into(), group.into())));
    }
    model
}

#[test]
fn several_upgrades_share_the_validators_budget_of_a_chain() {
    let mut model = two_upgrades();
    let made = planned(&model);
    assert_eq!(steps(&made), ["c0 r0"]);
    assert_eq!(why(&made, "c1").0, Some(Code::ValidatorBudget), "{:?}", made.waits);
    // What holds it back is the first one's validator, until that is well.
    until_the_first_is_up(&mut model);
    assert!(waits_for(&planned(&model), Code::ValidatorBudget));
    model.play_until(|model| model.steps.contains_key(&at("c1", "r0")));
    let of = |cluster: &str| {
        let resource = &model.board.clusters[&at(cluster, "r0").0].resources[&at(cluster, "r0").1];
        resource.step.clone().unwrap().upgrade
    };
    assert_eq!((of("c0").as_str(), of("c1").as_str()), ("u", "v"));
}

#[test]
fn several_upgrades_of_two_chains_go_side_by_side() {
    let mut model = two_upgrades();
    edit(&mut model, "c1", "r0", |view| view.chain = "kusama".into());
    assert_eq!(steps(&planned(&model)), ["c0 r0", "c1 r0"]);
}

#[test]
fn a_cluster_of_no_stage_is_left_alone_told_and_waited_for_by_nobody() {
    let mut model = Model::new(&Shape::of(vec![
        (0, vec![Kind::Sentry]),
        (0, vec![Kind::Sentry]),
        (1, vec![Kind::Sentry]),
    ]));
    model.fleet.clusters[1].labels.clear();
    let (code, words) = why(&planned(&model), "c1");
    assert_eq!((code, words.as_str()), (Some(Code::NoStage), "cluster c1 is in no stage of upgrade u"));
    model.play_until(|model| planned(model).progress[0].is_complete());
    assert_eq!(model.steps.keys().cloned().collect::<Vec<_>>(), [at("c0", "r0"), at("c2", "r0")]);
    // Labelled, it has a turn like any other.
    model.fleet.clusters[1].labels = model.fleet.clusters[0].labels.clone();
    assert_eq!(steps(&planned(&model)), ["c1 r0"]);
}

#[test]
fn of_two_versions_of_one_line_neither_is_the_newer_and_a_person_has_to_say_that_it_is_wanted() {
    // Each is a release of the line 1.18, in another notation.
    for (runs, target) in [(OLD, "v1.18.7"), ("v1.18.6", NEW)] {
        let mut model = side_by_side(Kind::Sentry, 1, 1);
        model.fleet.upgrades[0].client_version = target.into();
        edit(&mut model, "c0", "r0", |view| {
            view.client_version = Some(runs.into());
            view.roles[0].nodes[0].version = Some(runs.into());
        });
        let made = planned(&model);
        assert_eq!(made.actions, vec![]);
        let (code, words) = why(&made, "c0");
        assert_eq!(code, Some(Code::VersionOrderUnknown), "{runs} and {target}");
        for part in [runs, target, "allowDowngrade: true"] {
            assert!(words.contains(part), "{part:?} in {words}");
        }
        model.fleet.upgrades[0].allow_downgrade = true;
        assert_eq!(steps(&planned(&model)), ["c0 r0"], "{runs} and {target}");
    }
}

#[test]
fn a_tag_of_the_same_release_is_no_step_and_another_line_is_newer_in_any_notation() {
    let mut model = side_by_side(Kind::Sentry, 1, 1);
    model.fleet.upgrades[0].client_version = format!("polkadot-{OLD}");
    let made = planned(&model);
    assert_eq!((made.actions.len(), why(&made, "c0").0), (0, Some(Code::Ahead)), "{:?}", made.waits);
    model.fleet.upgrades[0].client_version = "v1.19.0".into();
    let made = planned(&model);
    assert!(matches!(&made.actions[..], [one] if matches!(one.write, Write::Step(_))), "{:?}", made.waits);
    model.fleet.upgrades[0].client_version = "v1.17.9".into();
    assert_eq!(why(&planned(&model), "c0").0, Some(Code::Ahead));
}
