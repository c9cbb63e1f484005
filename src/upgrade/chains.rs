//! Whether whole chains stand still. Pure.
//!
//! The nodes that an upgrade has not touched are its control group: when they finalise nothing either, the chain stands
//! still, and no version is to blame for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::fleet::Fleet;
use crate::health::verdict::{
    Progress, SOMEWHAT_LATER, STANDSTILL, Standstill, rose_meanwhile, stands_still,
};
use crate::observed::{Board, ClusterState, ClusterView, NodeHealth, Sample};

use super::chart::nodes;
use super::survey::{is_stepped, upgrade_of};

/// How a chain fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Since when it has stood still, if it does.
    pub stalled: Option<Timestamp>,
    /// When it last went on after a standstill, as far back as anybody remembers.
    pub resumed: Option<Timestamp>,
    /// Whether nobody can tell yet: none of the nodes that answer has done so for long enough, or those that were not touched
    /// have not been asked since their cluster came back, or have leapt up to where others were minutes ago.
    pub is_unknown: bool,
}

/// Every chain of the fleet.
#[derive(Default)]
pub struct Chains(BTreeMap<String, Chain>);

impl Chains {
    /// Looks at all nodes that answer.
    pub fn new(fleet: &Fleet, board: &Board, now: Timestamp) -> Self {
        let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
        for cluster in &fleet.clusters {
            let Some(view) = board.clusters.get(&cluster.name) else { continue };
            if view.state != ClusterState::Ready {
                continue;
            }
            let (round, stale) = (last_round(view), cluster.settings.probe.stale());
            let is_asked = round.is_some_and(|round| now.duration_since(round) <= stale);
            for resource in view.resources.values() {
                let owner = upgrade_of(fleet, resource);
                let touched = owner.is_some_and(|upgrade| is_stepped(upgrade, resource));
                let seen = seen.entry(&resource.chain).or_default();
                for (_, node) in nodes(resource) {
                    let said = view.health.get(&(resource.id.namespace.clone(), node.pod.clone()));
                    if let Some((said, moves)) =
                        said.and_then(|said| Some((said, stands_still(said, stale, now)?)))
                    {
                        seen.nodes.push(Node { touched, moves, said });
                    } else {
                        let in_vain = is_asked && said.is_some();
                        seen.unasked |= !touched && node.ready_since.is_some() && !in_vain;
                    }
                }
            }
        }
        Self(seen.into_iter().map(|(chain, seen)| (chain.to_owned(), judge(&seen))).collect())
    }

    /// One of them.
    pub fn of(&self, chain: &str) -> &Chain {
        const FINE: &Chain = &Chain { stalled: None, resumed: None, is_unknown: false };
        self.0.get(chain).unwrap_or(FINE)
    }
}

/// The nodes of a chain.
#[derive(Default)]
struct Seen<'a> {
    nodes: Vec<Node<'a>>,
    /// Whether one that was not touched was not asked of late, as when its cluster has just come back.
    unasked: bool,
}

/// When some node of a cluster was asked last, in vain or not: in such a round they all are, one after the other.
fn last_round(view: &ClusterView) -> Option<Timestamp> {
    let asked = |said: &Arc<NodeHealth>| {
        let answered = said.samples.back().map(|sample| sample.at);
        answered.max(said.blocked.as_ref().map(|blocked| blocked.at))
    };
    view.health.values().filter_map(asked).max()
}

/// A node that answers.
struct Node<'a> {
    /// Whether a step was taken on its resource.
    touched: bool,
    moves: Progress,
    said: &'a NodeHealth,
}

fn judge(seen: &Seen<'_>) -> Chain {
    let all = &seen.nodes;
    // One that rises up to where the others are only catches up with them.
    let heights = |that: fn(&Progress) -> bool| {
        let those = all.iter().filter(move |one| that(&one.moves));
        those.map(|one| one.moves.height).max()
    };
    let unknown = heights(Progress::is_unknown);
    let moves = |one: &Node<'_>| one.moves.moves() && Some(one.moves.height) > unknown;
    let nodes: Vec<&Node<'_>> = all.iter().filter(|one| !one.moves.is_silent()).collect();
    let untouched = nodes.iter().any(|one| !one.touched);
    let cannot_tell = unknown.is_some() || (seen.unasked && all.iter().all(|one| one.touched));
    let may_move = all.iter().any(moves);
    // When all were touched, those that finalised something since can tell: a version that cannot never did.
    let tells = |one: &&&Node<'_>| if untouched { !one.touched } else { one.moves.rose_ever };
    let control: Vec<&Node<'_>> = nodes.iter().filter(tells).copied().collect();
    let top = heights(|one| one.stands.is_some());
    let all_stand = nodes.iter().all(|one| one.moves.stands.is_some() || Some(one.moves.height) <= top);
    let stalled = control.iter().filter_map(|one| one.moves.stands).max().filter(|_| all_stand);
    let only_catches_up = stalled.is_none()
        && !control.is_empty()
        && !control.iter().any(|one| rises_steadily(one.said))
        && was_there_before(all);
    let is_unknown = (cannot_tell && !may_move) || only_catches_up;
    Chain { stalled, resumed: resumed(&nodes, &control).or_else(|| went_on(&nodes, &control)), is_unknown }
}

/// Whether a node that does not stand rose a while ago already. One that was sick and is mended leaps up to where its chain is,
/// once; one that syncs is not waited for: it may take days.
fn rises_steadily(said: &NodeHealth) -> bool {
    let mut samples = said.samples.iter().rev();
    let Some(last) = samples.next() else { return false };
    let mut earlier = |than: &Sample| samples.find(|one| than.at.duration_since(one.at) >= STANDSTILL);
    let between = earlier(last);
    let first = between.and_then(&mut earlier);
    first.zip(between).is_some_and(|(first, between)| first.finalized < between.finalized)
}

/// Whether no node is seen beyond where one of them was minutes ago: whoever rises only comes up to there.
fn was_there_before(all: &[Node<'_>]) -> bool {
    let Some(top) = all.iter().map(|one| one.moves.height).max() else { return false };
    let samples = all.iter().flat_map(|one| &one.said.samples);
    let first = samples.filter(|sample| sample.finalized >= top).map(|sample| sample.at).min();
    let last = all.iter().map(|one| one.moves.last).max();
    first.zip(last).is_some_and(|(first, last)| last.duration_since(first) >= STANDSTILL)
}

/// When the control group went on, if it stood.
fn resumed(nodes: &[&Node<'_>], control: &[&Node<'_>]) -> Option<Timestamp> {
    // One that still stands was not asked since, or is sick by itself.
    let moving = || control.iter().filter(|one| one.moves.stands.is_none());
    // Who never stood, although it was there for long enough to see it, tells that it was not the chain.
    let was_there = |one: &Node<'_>, stood: &Standstill| {
        one.moves.ended.is_none() && one.moves.first + STANDSTILL * 2 <= stood.ended
    };
    let of_chain =
        |stood: &Standstill| !moving().any(|one| was_there(one, stood)) && !is_denied(nodes, stood);
    moving().filter_map(|one| one.moves.ended).filter(of_chain).map(|stood| stood.ended).min()
}

/// Whether some node tells that it was not the chain that stood, because it rose meanwhile: also one that was touched.
fn is_denied(nodes: &[&Node<'_>], stood: &Standstill) -> bool {
    // Up to where the last of those is that stood all the while, one may only have caught up.
    let began = stood.since + SOMEWHAT_LATER;
    let heights = nodes.iter().filter_map(|one| match (one.moves.stands, one.moves.ended) {
        (Some(since), _) => (since <= began).then_some(one.moves.height),
        (None, other) => other.filter(|other| other.since <= began).map(|other| other.height),
    });
    let top = heights.max().map_or(stood.height, |top| top.max(stood.height));
    nodes.iter().any(|one| rose_meanwhile(one.said, &Standstill { height: top, ..*stood }))
}

/// When some node went on, if the control group all stands and was in part not asked since: it may go on as well.
fn went_on(nodes: &[&Node<'_>], control: &[&Node<'_>]) -> Option<Timestamp> {
    let all_stand = control.iter().all(|one| one.moves.stands.is_some());
    let may = |stood: &Standstill| {
        control.iter().any(|one| one.moves.last < stood.ended) && !is_denied(nodes, stood)
    };
    let moving = nodes.iter().filter(|one| one.moves.stands.is_none());
    let ended = moving.filter_map(|one| one.moves.ended).filter(may).map(|stood| stood.ended).min();
    ended.filter(|_| all_stand)
}
