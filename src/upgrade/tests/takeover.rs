//! After a take-over, and by what home says: what is written before any step, and where nothing is.

use super::model::{Model, Shape};
use crate::fleet::ClusterName;
use crate::polkadot::Kind;
use crate::upgrade::{self, Action, Code, Ground, Write};

/// Two clusters with a validator each, all at the old version.
fn two_clusters() -> Model {
    let kinds = || vec![Kind::Validator];
    let clusters = vec![(0, kinds()), (0, kinds())];
    Model::new(&Shape { clusters, width: 2, nodes: 1, delays: vec![5], broken: None })
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
