//! After a take-over, and by what home says: what is written before any step, and where nothing is.

use std::sync::Arc;

use jiff::SignedDuration;

use super::model::{Model, NEW, Shape};
use crate::fleet::{ClusterName, Count, Unreachable};
use crate::home::record::{Record, Remembered, remembered};
use crate::observed::{Board, ClusterState, ResourceView, Stuck, Tried};
use crate::polkadot::{Kind, ResourceId};
use crate::upgrade::overlay::announced;
use crate::upgrade::{self, Action, Code, Ground, Plan, Write};

/// Two clusters with a validator each, all at the old version.
fn two_clusters() -> Model {
    let kinds = || vec![Kind::Validator];
    let clusters = vec![(0, kinds()), (0, kinds())];
    Model::new(&Shape { width: 2, delays: vec![5], ..Shape::of(clusters) })
}

#[test]
fn after_a_take_over_every_resource_is_marked_before_any_step() {
    let mut model = two_clusters();
    let ground = Ground { epoch: 3, ..Ground::default() };
    let plan = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(plan.actions.len(), 2);
    assert!(plan.actions.iter().all(|action| action.write == Write::Epoch(3)), "{:?}", plan.actions);
    assert!(plan.waits.iter().all(|wait| wait.code == Code::TakingOver));
    model.act(&plan);
    let plan = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert!(matches!(plan.actions[..], [Action { write: Write::Step(_), .. }]), "{:?}", plan.actions);
}

#[test]
fn a_resource_that_cannot_be_marked_gets_no_step_and_stops_no_other() {
    let mut model = two_clusters();
    let places: Vec<_> = model
        .board
        .clusters
        .iter()
        .flat_map(|(name, view)| {
            view.resources.keys().map(|id| (name.clone(), id.clone())).collect::<Vec<_>>()
        })
        .collect();
    let ground = Ground { epoch: 3, unmarkable: [places[0].clone()].into(), ..Ground::default() };
    let plan = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert_eq!(plan.actions.len(), 1);
    model.act(&plan);
    let plan = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    let [step] = &plan.actions[..] else { panic!("{:?}", plan.actions) };
    assert_eq!(step.place, places[1]);
}

#[test]
fn nothing_is_written_to_a_cluster_that_home_does_not_know_yet() {
    let model = two_clusters();
    let ground = Ground { unrecorded: [ClusterName::from("c0")].into(), ..Ground::default() };
    let plan = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert!(plan.actions.iter().all(|action| action.place.0 == ClusterName::from("c1")));
    assert!(plan.waits.iter().any(|wait| wait.code == Code::RecordPending));
}

#[test]
fn who_does_not_lead_writes_nothing_and_says_why() {
    let model = two_clusters();
    let veto = (Code::Standby, "another daemon leads".to_owned());
    let ground = Ground { no_steps: Some(veto), epoch: 3, ..Ground::default() };
    let plan = upgrade::plan(&model.fleet, &model.board, &ground, model.now);
    assert!(plan.actions.is_empty());
    assert_eq!(plan.waits.len(), 2);
    assert!(plan.waits.iter().all(|wait| wait.code == Code::Standby));
}

/// What a daemon that starts while a member is down makes of what its predecessor wrote down of it.
fn after_a_restart(model: &Model, gone: &ClusterName) -> Plan {
    let view = &model.board.clusters[gone];
    let record = Arc::new(Record::of(view, None, &[], model.now));
    assert!(record.agrees_with(view), "it is written down once");
    let known = [(gone.clone(), Remembered { version: "1".into(), record })].into();
    let mut board = model.board.clone();
    Arc::make_mut(board.clusters.get_mut(gone).unwrap()).state = ClusterState::Unreachable("refused".into());
    Arc::make_mut(board.clusters.get_mut(gone).unwrap()).seen = false;
    Arc::make_mut(board.clusters.get_mut(gone).unwrap()).resources.clear();
    upgrade::plan(&model.fleet, &remembered(&board, &model.fleet, &known), &Ground::default(), model.now)
}

#[test]
fn i06_what_failed_in_a_member_that_is_down_still_halts_after_a_restart() {
    let tried: fn(&mut ResourceView) = |view| {
        view.step.as_mut().unwrap().prepull = true;
        view.roles[0].nodes[0].machine = Some("m1".into());
        let words = "x:1 cannot be started on machine m1: back-off 10s".to_owned();
        view.prepulls = [("m1".to_owned(), Tried::Failed(words))].into();
    };
    let pulls: fn(&mut ResourceView) = |view| {
        let node = &mut view.roles[0].nodes[0];
        (node.hash, node.version) = (Some(NEW.into()), Some(NEW.into()));
        node.ready_since = None;
        let words = Some("back-off 10s".to_owned());
        node.stuck = Some(Stuck { reason: "ErrImagePull".into(), words, since: None });
    };
    for fails in [tried, pulls] {
        let mut model = two_clusters();
        model.fleet.home = ClusterName::from("c1");
        model.fleet.upgrades[0].unreachable = Unreachable::Skip;
        model.fleet.upgrades[0].prepull = true;
        model.fleet.validators.max_unavailable = 5;
        let place = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
        let plan = upgrade::plan(&model.fleet, &model.board, &Ground::default(), model.now);
        let first = plan.actions.iter().find(|action| action.place == place).unwrap().clone();
        model.act(&Plan { actions: vec![first], ..Plan::default() });
        let plan = after_a_restart(&model, &place.0);
        assert!(plan.progress[0].halted.is_none());
        assert!(plan.actions.iter().any(|action| matches!(action.write, Write::Step(_))), "{:?}", plan.waits);
        model.edit(&place.0, &place.1, fails);
        let plan = after_a_restart(&model, &place.0);
        assert!(plan.progress[0].halted.is_some(), "{:?}", plan.progress);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    }
}

#[test]
fn a_change_of_words_alone_is_not_written_down_again() {
    let mut model = two_clusters();
    let (name, id) = (ClusterName::from("c0"), ResourceId { namespace: "n".into(), name: "r0".into() });
    let pulls = |reason: &str, words: &str| {
        let stuck = Some(Stuck { reason: reason.into(), words: Some(words.into()), since: None });
        move |view: &mut ResourceView| view.roles[0].nodes[0].stuck = stuck
    };
    model.edit(&name, &id, pulls("ErrImagePull", "not found"));
    let record = Record::of(&model.board.clusters[&name], None, &[], model.now);
    model.edit(&name, &id, pulls("ImagePullBackOff", "back-off 20s"));
    assert!(record.agrees_with(&model.board.clusters[&name]));
    model.edit(&name, &id, |view| view.roles[0].nodes[0].stuck = None);
    assert!(!record.agrees_with(&model.board.clusters[&name]));
}

#[test]
fn i02_a_step_that_was_announced_counts_as_taken_by_who_starts_while_its_cluster_is_away() {
    let mut model = two_clusters();
    model.fleet.home = ClusterName::from("c1");
    model.fleet.upgrades[0].stages[0].max_concurrent = Count::Number(1);
    model.fleet.validators.max_unavailable = 5;
    let plan = upgrade::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    let [step] = &plan.actions[..] else { panic!("{:?}", plan.actions) };
    let wanted = [announced(step).unwrap()];
    let away = step.place.0.clone();
    assert_eq!(away, ClusterName::from("c0"));
    // The step is under way, home remembers its cluster as it was before, and nobody has seen what came of it.
    let view = &model.board.clusters[&away];
    let known = |wanted: &[_]| {
        let record = Arc::new(Record::of(view, None, wanted, model.now));
        assert!(record.agrees_with(view));
        [(away.clone(), Remembered { version: "1".into(), record })].into()
    };
    let mut board = model.board.clone();
    let gone = Arc::make_mut(board.clusters.get_mut(&away).unwrap());
    (gone.state, gone.seen) = (ClusterState::Unreachable("refused".into()), false);
    gone.resources.clear();
    let plan_of = |board: &Board| upgrade::plan(&model.fleet, board, &Ground::default(), model.now);
    let after = plan_of(&remembered(&board, &model.fleet, &known(&[])));
    assert_eq!(after.actions.len(), 1, "without it the other one would begin: {:?}", after.waits);
    let after = plan_of(&remembered(&board, &model.fleet, &known(&wanted)));
    let others = after.waits.iter().find(|wait| wait.place.0 != away);
    assert_eq!((after.actions, others.map(|wait| wait.code)), (vec![], Some(Code::Width)));
}

#[test]
fn an_announcement_is_kept_until_the_step_is_seen_or_was_not_wanted_for_a_while() {
    let mut model = two_clusters();
    let plan = upgrade::plan(&model.fleet, &model.board, &Ground::default(), model.now);
    let place = plan.actions[0].place.clone();
    let wanted = [announced(&plan.actions[0]).unwrap()];
    let (now, name) = (model.now, ClusterName::from("c0"));
    let later = |seconds| now + SignedDuration::from_secs(seconds);
    let view = model.board.clusters[&name].clone();
    let record = Record::of(&view, None, &wanted, now);
    assert!(record.announced.contains(&wanted[0]) && record.announces(&view, &wanted, later(600)));
    // Wanted no more, as by a daemon that has just taken over: the step may still be on its way.
    assert!(record.announces(&view, &[], later(60)));
    assert!(Record::of(&view, Some(&record), &[], later(60)).announced.contains(&wanted[0]));
    assert!(!record.announces(&view, &[], later(180)));
    assert!(!Record::of(&view, Some(&record), &[], later(180)).announced.contains(&wanted[0]));
    // Seen.
    model.act(&Plan { actions: vec![plan.actions[0].clone()], ..Plan::default() });
    let view = model.board.clusters[&name].clone();
    assert_eq!(Record::of(&view, Some(&record), &wanted, later(1)).announced, vec![]);
    // Another resource of the same name knows nothing of it.
    model.edit(&name, &place.1, |view| (view.uid, view.step) = ("another".into(), None));
    let view = model.board.clusters[&name].clone();
    assert_eq!(Record::of(&view, Some(&record), &wanted, later(1)).announced, vec![]);
}

#[test]
fn i02_what_may_have_waited_for_its_turn_when_its_cluster_went_away_holds_its_place_after_a_restart_and_counts_as_late()
 {
    let mut model =
        Model::new(&Shape::of(vec![(0, vec![Kind::SentryAndValidator]), (0, vec![Kind::Sentry])]));
    model.fleet.home = ClusterName::from("c1");
    let upgrade = &mut model.fleet.upgrades[0];
    (upgrade.unreachable, upgrade.max_failures) = (Unreachable::Skip, Count::Number(1));
    let gone = ClusterName::from("c0");
    let sentry_is_well = |model: &Model| {
        let view = model.board.clusters[&gone].resources.values().next().unwrap();
        let sentry = &view.roles[0];
        sentry.hash == NEW && sentry.nodes.iter().all(|node| node.settled_since(NEW).is_some())
    };
    model.play_until(sentry_is_well);
    // Its validator was not restarted yet, and the deadline has passed since.
    model.pass(3_600);
    let with = |tolerated: u32, model: &mut Model| {
        model.fleet.upgrades[0].max_failures = Count::Number(tolerated);
        let plan = after_a_restart(model, &gone);
        assert_eq!(plan.actions, vec![]);
        plan.waits.iter().find(|wait| wait.place.0 != gone).map(|wait| wait.code)
    };
    assert_eq!(with(0, &mut model), Some(Code::Halted));
    assert_eq!(with(1, &mut model), Some(Code::Width));
}
