//! What would happen if everything went well: the planner's own steps, played forward on a copy of the Board. Pure.
//!
//! Nothing here knows a rule: each wave is what [`plan()`] allows at once, done and healthy before the next is asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Fleet, Probing};
use crate::observed::{Blocked, Board, NodeHealth, ResourceView};
use crate::polkadot::Step;

use super::standing::Standing;
use super::survey::{Survey, Surveyed};
use super::{Code, Ground, Place, Plan, Write, plan};

/// More rounds than any fleet needs: a bound, should the planner ever go round in a circle.
const LONGEST: usize = 10_000;

/// Resources that get their version at the same time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// The upgrade.
    pub upgrade: String,
    /// The stage.
    pub stage: String,
    /// How long after now it would begin, in seconds, if every node were healthy as soon as it may count as such.
    pub after_seconds: i64,
    /// Whether somebody has to approve the stage first.
    pub needs_approval: bool,
    /// Cluster, namespace/name, from, to.
    pub steps: Vec<WaveStep>,
}

/// One resource of a wave.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveStep {
    /// The cluster.
    pub cluster: String,
    /// Namespace and name.
    pub resource: String,
    /// The version that it has; absent where it has none.
    pub from: Option<String>,
    /// The version that it gets.
    pub to: String,
}

/// The waves to come, in order, of a fleet that is seen [`by_readiness`]; a wave of one instant is split by upgrade and
/// stage.
#[must_use]
pub fn waves(fleet: &Fleet, board: &Board, now: Timestamp) -> Vec<Wave> {
    let (mut fleet, mut board, mut at) = (fleet.clone(), board.clone(), now);
    let mut approvals = BTreeSet::new();
    let mut waves = vec![];
    let ground = &Ground::default();
    bring_home(&fleet, &mut board, at);
    for _ in 0..LONGEST {
        let made = plan(&fleet, &board, ground, at);
        if made.actions.is_empty() {
            if let Some(wake) = made.wake.filter(|wake| *wake > at) {
                at = wake;
            } else if !approve_next(&mut fleet, &made, &mut approvals) {
                break;
            }
            continue;
        }
        add(&mut waves, &fleet, &made, &approvals, at.duration_since(now).as_secs());
        for action in &made.actions {
            edit(&mut board, &action.place, |view| carry_out(view, &action.write, at));
            unask(&mut board, &action.place);
        }
        at += SignedDuration::from_secs(1);
    }
    waves
}

/// What is on its way now arrives.
fn bring_home(fleet: &Fleet, board: &mut Board, at: Timestamp) {
    let ground = Ground::default();
    let survey = Survey::new(fleet, board, &ground, at);
    let on_its_way = |resource: &Surveyed<'_>| {
        matches!(resource.owner.as_ref().map(|owner| &owner.standing), Some(Standing::InFlight { .. }))
    };
    let places = survey.resources.iter().filter(|(_, resource)| on_its_way(resource));
    let places: Vec<Place> = places.map(|(place, _)| place.clone()).collect();
    for place in places {
        edit(board, &place, |view| settle(view, at));
        unask(board, &place);
    }
}

/// Assumes the approval that the plan waits for; returns whether there was one.
fn approve_next(fleet: &mut Fleet, made: &Plan, approvals: &mut BTreeSet<(String, String)>) -> bool {
    let waits = made.waits.iter().filter(|wait| wait.code == Code::Approval);
    let clusters: BTreeSet<_> = waits.map(|wait| wait.place.0.clone()).collect();
    let clusters: Vec<_> =
        fleet.clusters.iter().filter(|cluster| clusters.contains(&cluster.name)).cloned().collect();
    let mut any = false;
    for upgrade in &mut fleet.upgrades {
        for cluster in &clusters {
            let Some(index) = upgrade.stage_of(cluster) else { continue };
            let (target, stage) = (upgrade.client_version.clone(), &mut upgrade.stages[index]);
            if stage.approval_required && stage.approved_version.as_ref() != Some(&target) {
                stage.approved_version = Some(target);
                approvals.insert((upgrade.name.clone(), stage.name.clone()));
                any = true;
            }
        }
    }
    any
}

fn add(
    waves: &mut Vec<Wave>,
    fleet: &Fleet,
    made: &Plan,
    approvals: &BTreeSet<(String, String)>,
    after_seconds: i64,
) {
    let first = waves.len();
    for action in &made.actions {
        let Write::Step(step) = &action.write else { continue };
        let stage = stage_name(fleet, &action.place, step);
        let known =
            waves[first..].iter().position(|wave| wave.upgrade == step.upgrade && wave.stage == stage);
        let index = known.map_or_else(
            || {
                let needs_approval = approvals.contains(&(step.upgrade.clone(), stage.clone()));
                let upgrade = step.upgrade.clone();
                waves.push(Wave { upgrade, stage, after_seconds, needs_approval, steps: vec![] });
                waves.len() - 1
            },
            |index| first + index,
        );
        waves[index].steps.push(WaveStep {
            cluster: action.place.0.to_string(),
            resource: action.place.1.to_string(),
            from: step.previous.clone(),
            to: step.target.clone(),
        });
    }
}

fn stage_name(fleet: &Fleet, (cluster, _): &Place, step: &Step) -> String {
    let cluster = fleet.cluster(cluster);
    let upgrade = fleet.upgrades.iter().find(|upgrade| upgrade.name == step.upgrade);
    let stage = upgrade.zip(cluster).and_then(|(upgrade, cluster)| {
        upgrade.stage_of(cluster).map(|index| upgrade.stages[index].name.clone())
    });
    stage.unwrap_or_default()
}

fn edit(board: &mut Board, (cluster, id): &Place, change: impl FnOnce(&mut ResourceView)) {
    if let Some(view) = board.clusters.get_mut(cluster)
        && let Some(resource) = Arc::make_mut(view).resources.get_mut(id)
    {
        change(Arc::make_mut(resource));
    }
}

/// Makes every node's health that of its pod: for who has not looked long enough to say more, and for what is played
/// forward, where nobody can be asked.
pub fn by_readiness(fleet: &mut Fleet, board: &mut Board) {
    fleet.upgrades.iter_mut().for_each(|upgrade| upgrade.health.probe = Probing::Optional);
    let places = board.clusters.iter().flat_map(|(cluster, view)| {
        view.resources.keys().map(|id| (cluster.clone(), id.clone())).collect::<Vec<Place>>()
    });
    for place in places.collect::<Vec<_>>() {
        unask(board, &place);
    }
}

/// What its nodes said before says nothing of those that came after: they are asked in vain, for as long as it is played.
fn unask(board: &mut Board, (cluster, id): &Place) {
    let Some(view) = board.clusters.get_mut(cluster) else { return };
    let view = Arc::make_mut(view);
    let Some(resource) = view.resources.get(id) else { return };
    let health = Arc::make_mut(&mut view.health);
    for node in resource.roles.iter().flat_map(|role| &role.nodes) {
        let blocked = Some(Blocked { at: Timestamp::MAX, why: "it is not there yet".into() });
        let unasked = NodeHealth { blocked, ..NodeHealth::default() };
        health.insert((id.namespace.clone(), node.pod.clone()), Arc::new(unasked));
    }
}

/// A resource after a write that went well: every node is what is wanted, Ready.
fn carry_out(view: &mut ResourceView, write: &Write, at: Timestamp) {
    match write {
        Write::Step(step) => {
            view.client_version = Some(step.target.clone());
            view.step = Some(step.clone());
            settle(view, at);
        }
        Write::Rollback(step) => {
            view.client_version.clone_from(&step.previous);
            view.step = Some(step.clone());
        }
        Write::Grant(grant) => {
            view.grant = Some(grant.clone());
            settle(view, at);
        }
        Write::Epoch(epoch) => view.epoch = *epoch,
        Write::Health(stretch) => view.healthy = Some(stretch.clone()),
        Write::Failed(failed) => view.failed.clone_from(failed),
        Write::Revoke => view.grant = None,
    }
}

fn settle(view: &mut ResourceView, at: Timestamp) {
    let version = view.client_version.clone();
    for role in &mut view.roles {
        for node in &mut role.nodes {
            node.hash = Some(role.hash.clone());
            node.version.clone_from(&version);
            node.ready_since = Some(at);
            node.stuck = None;
        }
    }
    view.prepulls.clear();
    view.settled_since = Some(at);
    view.ever_settled = true;
}
