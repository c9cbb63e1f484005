//! Whether whole chains stand still. Pure.
//!
//! The nodes that an upgrade has not touched are its control group: when they finalise nothing either, the chain stands
//! still, and no version is to blame for it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::fleet::Fleet;
use crate::health::verdict::{Progress, STANDSTILL, stands_still};
use crate::observed::{Board, ClusterState};

use super::chart::{Chart, nodes};
use super::survey::{is_stepped, upgrade_of};

/// How a chain fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Since when it has stood still, if it does.
    pub stalled: Option<Timestamp>,
    /// When it last went on after a standstill, as far back as anybody remembers.
    pub resumed: Option<Timestamp>,
    /// Whether nodes answer, and none of them for long enough to tell.
    pub is_unknown: bool,
}

/// Every chain of the fleet.
#[derive(Default)]
pub struct Chains(BTreeMap<String, Chain>);

impl Chains {
    /// Looks at all nodes that answer.
    pub fn new(fleet: &Fleet, board: &Board, now: Timestamp) -> Self {
        let mut seen: BTreeMap<&str, Vec<(bool, Progress)>> = BTreeMap::new();
        for cluster in &fleet.clusters {
            let Some(view) = board.clusters.get(&cluster.name) else { continue };
            if view.state != ClusterState::Ready || view.health.is_empty() {
                continue;
            }
            for resource in view.resources.values() {
                let owner = upgrade_of(fleet, resource);
                let touched = owner.is_some_and(|upgrade| is_stepped(upgrade, resource));
                let chart = Chart::new(owner, cluster, view, now);
                let said = nodes(resource).filter_map(|(_, node)| chart.of(resource, node));
                let moves = said.filter_map(|health| stands_still(health, chart.stale, now));
                seen.entry(&resource.chain).or_default().extend(moves.map(|one| (touched, one)));
            }
        }
        Self(seen.into_iter().map(|(chain, nodes)| (chain.to_owned(), judge(&nodes))).collect())
    }

    /// One of them.
    pub fn of(&self, chain: &str) -> &Chain {
        const FINE: &Chain = &Chain { stalled: None, resumed: None, is_unknown: false };
        self.0.get(chain).unwrap_or(FINE)
    }
}

fn judge(all: &[(bool, Progress)]) -> Chain {
    // One that rises up to where the others are only catches up with them.
    let unknown = all.iter().filter(|(_, one)| one.is_unknown()).map(|(_, one)| one.height).max();
    let moves = |one: &Progress| one.moves() && Some(one.height) > unknown;
    let is_unknown = unknown.is_some() && !all.iter().any(|(_, one)| moves(one));
    let nodes: Vec<&(bool, Progress)> = all.iter().filter(|(_, one)| !one.is_silent()).collect();
    let untouched = nodes.iter().any(|(touched, _)| !touched);
    // When all were touched, those that finalised something since can tell: a version that cannot never did.
    let control: Vec<&Progress> = nodes
        .iter()
        .filter(|(touched, one)| if untouched { !touched } else { one.rose_ever })
        .map(|(_, one)| one)
        .collect();
    let top = nodes.iter().filter(|(_, one)| one.stands.is_some()).map(|(_, one)| one.height).max();
    let all_stand = nodes.iter().all(|(_, one)| one.stands.is_some() || Some(one.height) <= top);
    let stalled = control.iter().filter_map(|one| one.stands).max().filter(|_| all_stand);
    Chain { stalled, resumed: resumed(&control).or_else(|| went_on(&nodes, &control)), is_unknown }
}

/// When the control group went on, if it stood.
fn resumed(control: &[&Progress]) -> Option<Timestamp> {
    // One that still stands was not asked since, or is sick by itself.
    let moving = || control.iter().filter(|one| one.stands.is_none());
    let ended = moving().filter_map(|one| one.ended).min()?;
    // Who never stood was not there long enough before to see it, or it was not the chain that stood.
    let was_there = |one: &&&Progress| one.ended.is_none() && one.first + STANDSTILL * 2 <= ended;
    (!moving().any(|one| was_there(&one))).then_some(ended)
}

/// When some node went on, if the control group all stands and was in part not asked since: it may go on as well.
fn went_on(nodes: &[&(bool, Progress)], control: &[&Progress]) -> Option<Timestamp> {
    let ended =
        nodes.iter().filter(|(_, one)| one.stands.is_none()).filter_map(|(_, one)| one.ended).min()?;
    let all_stand = control.iter().all(|one| one.stands.is_some());
    (all_stand && control.iter().any(|one| one.last < ended)).then_some(ended)
}
