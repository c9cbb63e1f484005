//! Single rules, asked directly: what they tell apart is hard to come by in a whole plan.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::fleet::Probe;
use crate::observed::Sample;
use crate::polkadot::Stretch;
use crate::upgrade::Ground;
use crate::upgrade::chains::Chain;
use crate::upgrade::chart::Chart;
use crate::upgrade::lapse;
use crate::upgrade::standing::{Standing, healthy_at, may_go_on, waits_for_turn};
use crate::upgrade::survey::{Survey, is_stepped};
use crate::upgrade::tests::model::{OLD, STABLE, stepped_at};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn chart(model: &Model, cluster: usize) -> Chart {
    let cluster = &model.fleet.clusters[cluster];
    Chart::new(model.fleet.upgrades.first(), cluster, &model.board.clusters[&cluster.name], model.now)
}

pub(super) fn view(model: &Model, cluster: &str) -> Arc<ResourceView> {
    model.board.clusters[&ClusterName::from(cluster)].resources[&id("r0")].clone()
}

/// What one node of the first cluster has said.
fn samples(model: &mut Model, pod: &str, change: impl FnOnce(&mut NodeHealth)) {
    let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
    let health = Arc::make_mut(&mut view.health).get_mut(&("n".to_owned(), pod.to_owned())).unwrap();
    change(Arc::make_mut(health));
}

/// It had no peers from `from` until `until`, so many seconds ago.
fn was_alone(health: &mut NodeHealth, now: Timestamp, (from, until): (i64, i64)) {
    let alone = |sample: &&mut Sample| {
        let ago = now.duration_since(sample.at).as_secs();
        ago <= from && ago > until
    };
    health.samples.iter_mut().filter(alone).for_each(|sample| sample.peers = Some(0));
}

fn with_a_sentry() -> Model {
    let mut model = Model::new(&Shape::of(vec![(0, vec![Kind::SentryAndValidator])]));
    model.pass(2_000);
    model
}

#[test]
fn an_answer_is_old_when_three_more_were_due_and_had_their_time() {
    let probe = Probe { interval: SignedDuration::from_secs(60), timeout: SignedDuration::from_secs(5) };
    assert_eq!(probe.stale(), SignedDuration::from_secs(185));
}

#[test]
fn who_was_sick_for_a_while_after_the_deadline_is_well_now_and_only_the_other_is_not_asked() {
    let mut model = with_a_sentry();
    let now = model.now;
    samples(&mut model, "sentry-sset-0", |health| *health = NodeHealth::default());
    samples(&mut model, "validator-sset-0", |health| was_alone(health, now, (700, 300)));
    let deadline = now - SignedDuration::from_mins(9);
    assert!(chart(&model, 0).only_unasked(&view(&model, "c0"), deadline));
}

#[test]
fn who_was_well_by_the_deadline_and_was_not_looked_at_for_a_while_is_no_failure_of_the_one_that_cannot_be_asked()
 {
    let mut model = with_a_sentry();
    let now = model.now;
    samples(&mut model, "sentry-sset-0", |health| *health = NodeHealth::default());
    samples(&mut model, "validator-sset-0", |health| {
        let ago = |sample: &Sample| now.duration_since(sample.at).as_secs();
        health.samples.retain(|sample| ago(sample) < STABLE || ago(sample) > 900);
    });
    let (chart, resource) = (chart(&model, 0), view(&model, "c0"));
    let up = resource.roles[0].nodes[0].ready_since.unwrap();
    let until = |deadline| chart.only_unasked(&resource, deadline);
    assert!(until(up + chart.stable_for()));
    assert!(!until(up + chart.stable_for() - SECOND), "it had not been up for long enough by then");
}

#[test]
fn what_came_up_just_now_is_no_reason_to_say_that_all_the_rest_waits_for_its_turn() {
    let mut model = with_a_sentry();
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| {
        (view.client_version, view.settled_since) = (Some(NEW.into()), None);
        view.roles.iter_mut().for_each(|role| role.hash = NEW.into());
        let sentry = &mut view.roles.iter_mut().find(|role| role.role == Role::Sentry).unwrap().nodes[0];
        (sentry.hash, sentry.version) = (Some(NEW.into()), Some(NEW.into()));
    });
    for (ago, waits) in [(STABLE - 1, false), (STABLE, true)] {
        edit(&mut model, "c0", "r0", |view| {
            let sentry = view.roles.iter_mut().find(|role| role.role == Role::Sentry).unwrap();
            sentry.nodes[0].ready_since = Some(now - SECOND * i32::try_from(ago).unwrap());
        });
        let (upgrade, chart) = (&model.fleet.upgrades[0], chart(&model, 0));
        assert_eq!(waits_for_turn(upgrade, &view(&model, "c0"), &chart, &Chain::default()), waits, "{ago}");
    }
}

#[test]
fn what_is_only_remembered_may_go_on_where_a_pod_or_a_template_is_behind() {
    let mut model = one_canary();
    Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap()).remembered = true;
    let may = |model: &Model| may_go_on(&view(model, "c0"), &chart(model, 0));
    assert!(!may(&model), "all is as it should be");
    edit(&mut model, "c0", "r0", |view| view.client_version = Some(NEW.into()));
    assert!(may(&model), "announced: the template is the one of before");
    edit(&mut model, "c0", "r0", |view| {
        (view.client_version, view.roles[0].hash) = (Some(OLD.into()), "edited".into());
    });
    assert!(may(&model), "edited at the same version");
}

#[test]
fn nodes_of_a_tag_that_moves_have_to_agree_about_what_it_stands_for() {
    let mut model = two_sentries();
    edit(&mut model, "c0", "r0", |view| {
        view.client_version = Some("latest".into());
        let first = &mut view.roles[0].nodes[0];
        first.version = Some("latest".into());
        let second = NodeView { ordinal: 1, pod: "sentry-sset-1".into(), ..first.clone() };
        view.roles[0].nodes.push(second);
    });
    let reports = |model: &mut Model, second: &str| {
        let view = Arc::make_mut(model.board.clusters.get_mut(&ClusterName::from("c0")).unwrap());
        let health = Arc::make_mut(&mut view.health);
        let mut said = (*health[&("n".to_owned(), "sentry-sset-0".to_owned())]).clone();
        for (pod, version) in [("sentry-sset-0", "1.17.0-0d1f"), ("sentry-sset-1", second)] {
            said.samples.iter_mut().for_each(|sample| sample.version = Some(version.into()));
            health.insert(("n".to_owned(), pod.to_owned()), Arc::new(said.clone()));
        }
    };
    reports(&mut model, "1.17.0-0d1f");
    assert_eq!(steps(&planned(&model)), ["c0 r0"], "{:?}", planned(&model).waits);
    reports(&mut model, "1.24.0-0d1f");
    assert!(waits_for(&planned(&model), Code::VersionOrderUnknown), "{:?}", planned(&model).actions);
}

#[test]
fn a_bad_stretch_moves_the_soak_and_is_noted_also_where_nothing_was_before() {
    let mut model = one_canary();
    model.pass(2_000);
    let now = model.now;
    let anchor = |model: &Model| healthy_at(&view(model, "c0"), &chart(model, 0)).unwrap().1;
    let before = anchor(&model);
    samples(&mut model, "validator-sset-0", |health| was_alone(health, now, (700, 300)));
    assert!(anchor(&model) > before + SignedDuration::from_mins(10));
    let resource = view(&model, "c0");
    let note = |survey: &mut Survey<'_>| {
        let one = &survey.resources[&at("c0", "r0")];
        lapse::to_note(one.owner.as_ref().unwrap(), &one.view, &one.chart, &Chain::default())
    };
    let noted = surveyed(&model, note);
    let since = anchor(&model) - chart(&model, 0).stable_for();
    assert_eq!(noted, Some(Stretch { version: OLD.into(), since: Some(since), ..Stretch::default() }));
    assert_eq!(resource.healthy, None);
}

#[test]
fn a_step_is_of_one_upgrade_and_one_target() {
    let mut model = one_canary();
    let stepped = |model: &Model| is_stepped(&model.fleet.upgrades[0], &view(model, "c0"));
    assert!(!stepped(&model));
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| view.step = Some(stepped_at(now)));
    assert!(stepped(&model));
    model.fleet.upgrades[0].name = "another".into();
    assert!(!stepped(&model));
    model.fleet.upgrades[0].name = "u".into();
    model.fleet.upgrades[0].client_version = "stable2503-8".into();
    assert!(!stepped(&model));
}

/// What a survey says of the first resource.
fn surveyed<T>(model: &Model, what: impl FnOnce(&mut Survey<'_>) -> T) -> T {
    let ground = Ground::default();
    what(&mut Survey::new(&model.fleet, &model.board, &ground, model.now))
}

#[test]
fn what_is_healthy_at_an_earlier_target_rolls_no_more() {
    let mut model = one_canary();
    begin(&mut model);
    let rolls = |model: &mut Model| {
        model.fleet.upgrades[0].client_version = "stable2503-8".into();
        let rolls = surveyed(model, |survey| survey.resources[&at("c0", "r0")].rolling);
        model.fleet.upgrades[0].client_version = NEW.into();
        rolls
    };
    assert!(rolls(&mut model));
    model.pass(600);
    assert!(!rolls(&mut model));
}

#[test]
fn what_is_restarted_at_the_target_without_a_step_has_begun() {
    let mut model = one_canary();
    let now = model.now;
    edit(&mut model, "c0", "r0", |view| {
        (view.client_version, view.settled_since) = (Some(NEW.into()), None);
        let role = &mut view.roles[0];
        role.hash = NEW.into();
        let (hash, role) = (role.hash.clone(), role.role);
        view.grant = Some(Grant { role, hash, ordinal: 0, at: now, mends: false, again: false });
    });
    surveyed(&model, |survey| {
        let (upgrade, cluster) = (&model.fleet.upgrades[0], &model.fleet.clusters[0]);
        let standing = &survey.resources[&at("c0", "r0")].owner.as_ref().unwrap().standing;
        assert_eq!(*standing, Standing::InFlight { deadline: None });
        assert!(survey.has_begun(upgrade, cluster));
    });
}

#[test]
fn a_pod_that_is_mended_out_of_turn_does_not_put_its_resource_first() {
    let model = one_canary();
    let active = |out_of_turn| {
        surveyed(&model, |survey| {
            survey.note_roll(&at("c0", "r0"), out_of_turn);
            survey.resources[&at("c0", "r0")].active
        })
    };
    assert_eq!((active(true), active(false)), (None, Some(model.now)));
}

#[test]
fn up_to_where_the_highest_of_those_that_stood_is_a_node_only_catches_up() {
    use crate::upgrade::chains::Chains;
    let mut model = Model::new(&Shape::of((0..3).map(|_| (0, vec![Kind::Sentry])).collect()));
    model.pass(600);
    let last = top(&model, "c0");
    says(&mut model, "c0", |health| {
        finalises_nothing(health);
        health.samples.back_mut().unwrap().finalized += 1;
    });
    says(&mut model, "c1", finalises_nothing);
    says(&mut model, "c2", |health| drop(health.samples.drain(..health.samples.len() - 4)));
    let chain = view(&model, "c0").chain.clone();
    let resumed = |model: &Model| Chains::new(&model.fleet, &model.board, model.now).of(&chain).resumed;
    assert_eq!(resumed(&model), None, "the third rose beyond both");
    says(&mut model, "c1", |health| health.samples.iter_mut().for_each(|one| one.finalized = last + 100));
    assert!(resumed(&model).is_some(), "it may catch up with the second");
    says(&mut model, "c1", |health| {
        let rises = health.samples.len() - 2;
        health
            .samples
            .iter_mut()
            .take(rises)
            .enumerate()
            .for_each(|(index, one)| one.finalized = index as u64);
    });
    assert_eq!(resumed(&model), None, "the second began to stand when the first went on");
}

#[test]
fn an_upgrade_is_said_to_be_through_when_it_is_and_not_before() {
    let mut model = two_sentries();
    let words = |model: &Model| crate::upgrade::progress::in_words(&planned(model).progress[0]);
    let first = planned(&model).progress[0].stages[0].stage.clone();
    assert!(words(&model).unwrap().starts_with(&format!("stage {first} ")));
    for _ in 0..20 {
        let made = planned(&model);
        model.act(&made);
        model.pass(600);
    }
    assert_eq!(words(&model), None);
}

#[test]
fn a_node_that_has_its_step_and_rises_tells_that_those_without_one_are_sick_by_themselves() {
    use crate::upgrade::chains::Chains;
    let mut model = Model::new(&Shape::of((0..3).map(|_| (0, vec![Kind::Sentry])).collect()));
    model.pass(600);
    says(&mut model, "c0", |health| {
        finalises_nothing(health);
        health.samples.back_mut().unwrap().finalized += 1;
    });
    says(&mut model, "c1", finalises_nothing);
    let now = model.now;
    edit(&mut model, "c2", "r0", |view| view.step = Some(stepped_at(now)));
    let chain = view(&model, "c0").chain.clone();
    let resumed = |model: &Model| Chains::new(&model.fleet, &model.board, model.now).of(&chain).resumed;
    assert_eq!(resumed(&model), None, "the chain went on all the while");
    says(&mut model, "c2", finalises_nothing);
    assert!(resumed(&model).is_some(), "nobody tells otherwise");
}
