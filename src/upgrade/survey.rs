//! One look at the whole fleet: who owns what, what is in flight where ([`flight`]), which validators are unavailable
//! ([`validators`]). Pure.
//!
//! The gates ask the survey; every action that passes them is noted in it, so that the next candidate of the same
//! plan sees it.

mod flight;
mod validators;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::core::SelectorExt as _;

use crate::fleet::{Cluster, ClusterName, Fleet, Upgrade};
use crate::observed::{Board, ClusterState, ClusterView, ResourceView};
use crate::polkadot::ResourceId;

use super::chains::{Chain, Chains};
use super::chart::Chart;
use super::lapse;
use super::standing::{
    Standing, counts_from, failure, is_hopeless, may_go_on, noted_failure, own_step, standing, waits_for_turn,
};
use super::{Ground, Place};

use self::flight::is_elsewhere;
pub use self::validators::proven_at;

/// How long a node may take where no upgrade owns the resource: the default of an upgrade.
pub const PROGRESS_DEADLINE: SignedDuration = SignedDuration::from_mins(30);

/// One resource, where it is and who owns it.
#[derive(Clone)]
pub struct Surveyed<'a> {
    /// Its cluster.
    pub cluster: &'a Cluster,
    /// Its view.
    pub view: Arc<ResourceView>,
    /// The upgrade that owns it, with the stage of its cluster, and where it stands in it.
    pub owner: Option<Owner<'a>>,
    /// The health of its nodes.
    pub chart: Chart,
    /// Whether a roll of it is under way.
    pub rolling: bool,
    /// When something was last begun with it: a step, or the restart of a pod, if not out of turn.
    pub active: Option<Timestamp>,
    /// Whether it was healthy since it was permitted to restart last: of that, nothing is to come.
    pub is_through: bool,
}

/// What a resource has from the upgrade that owns it.
#[derive(Clone)]
pub struct Owner<'a> {
    /// The upgrade.
    pub upgrade: &'a Upgrade,
    /// The index of the cluster's stage; `None` where its cluster is in no stage.
    pub stage: Option<usize>,
    /// Where it stands.
    pub standing: Standing,
    /// Why it has failed, as far as that stops others; what has may be on its way again.
    pub failure: Option<String>,
}

/// Answers of gates that look at the whole fleet, kept for the other candidates of the plan.
#[derive(Default)]
pub struct Known {
    /// By upgrade.
    pub halted: RefCell<BTreeMap<String, Option<String>>>,
    /// By upgrade.
    pub unnoted: RefCell<BTreeMap<String, Option<String>>>,
    /// By upgrade and stage.
    pub passed: RefCell<BTreeMap<(String, usize), Result<(), String>>>,
    /// By upgrade and stage.
    pub soaks: RefCell<BTreeMap<(String, usize), Option<Timestamp>>>,
}

/// The whole fleet at one instant.
pub struct Survey<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// Everything that was ever seen, by place.
    pub resources: BTreeMap<Place, Surveyed<'a>>,
    /// Now.
    pub now: Timestamp,
    /// What was found out of it already.
    pub known: Known,
    chains: Chains,
    board: &'a Board,
    ground: &'a Ground,
}

impl<'a> Survey<'a> {
    /// Looks at everything once.
    pub fn new(fleet: &'a Fleet, board: &'a Board, ground: &'a Ground, now: Timestamp) -> Self {
        let chains = Chains::new(fleet, board, now);
        let mut resources = BTreeMap::new();
        for cluster in &fleet.clusters {
            let Some(view) = board.clusters.get(&cluster.name) else { continue };
            for (id, resource) in &view.resources {
                let place = (cluster.name.clone(), id.clone());
                let mut chart = Chart::new(upgrade_of(fleet, resource), cluster, view, now);
                chart.is_unmade = ground.to_be_set.contains(&place);
                let chain = chains.of(&resource.chain);
                let owner = owner(fleet, cluster, resource, &chart, chain);
                let unsettled = ground.unsettled.contains(&place);
                let rolling = unsettled || is_rolling(owner.as_ref(), resource, &chart, chain);
                let active = if unsettled { Some(Timestamp::MAX) } else { last_active(resource) };
                let view = Arc::clone(resource);
                let is_through = lapse::was_proven(&view);
                resources
                    .insert(place, Surveyed { cluster, view, owner, chart, rolling, active, is_through });
            }
        }
        Self { fleet, resources, now, known: Known::default(), chains, board, ground }
    }

    /// How the resource's chain fares.
    pub fn chain(&self, resource: &ResourceView) -> &Chain {
        self.chains.of(&resource.chain)
    }

    /// The cluster's view, where its worker has published one.
    pub fn view(&self, cluster: &Cluster) -> Option<&ClusterView> {
        self.board.clusters.get(&cluster.name).map(AsRef::as_ref)
    }

    /// Whether the cluster's state is known and current.
    pub fn is_ready(&self, cluster: &Cluster) -> bool {
        self.view(cluster).is_some_and(|view| view.state == ClusterState::Ready)
    }

    /// Whether the cluster answers, does not know our kind of resource, and nothing is remembered of it: so it has none.
    pub fn is_without_resources(&self, cluster: &Cluster) -> bool {
        self.view(cluster)
            .is_some_and(|view| matches!(view.state, ClusterState::NoCrd(_)) && view.resources.is_empty())
    }

    /// Whether it was tried in vain to see the cluster as it is; not where that is only being begun.
    pub fn is_out_of_reach(&self, cluster: &Cluster) -> bool {
        use ClusterState::{Connecting, Ready, Standby, Stopping, Syncing};
        let state = self.view(cluster).map(|view| &view.state);
        !matches!(state, None | Some(Connecting | Syncing | Ready | Standby(_) | Stopping))
    }

    /// How it is with the cluster, in words.
    pub fn state_of(&self, cluster: &Cluster) -> String {
        self.view(cluster).map_or_else(|| "not connected yet".into(), |view| view.state.to_string())
    }

    /// Whether a write is under way there.
    pub fn is_unsettled(&self, place: &Place) -> bool {
        self.ground.unsettled.contains(place)
    }

    /// Whether a write may set another version there, or has, and the view is still the one of before.
    pub fn may_be_set(&self, place: &Place) -> bool {
        self.ground.to_be_set.contains(place)
    }

    /// Whether it was tried in vain to mark a resource with the planner that writes now.
    pub fn is_unmarkable(&self, place: &Place) -> bool {
        self.ground.unmarkable.contains(place)
    }

    /// Whether a note was refused there a moment ago.
    pub fn is_unnotable(&self, place: &Place) -> bool {
        self.ground.unnotable.contains(place)
    }

    /// Whether home knows all of a member that a step in it depends on.
    pub fn is_recorded(&self, cluster: &ClusterName) -> bool {
        !self.ground.unrecorded.contains(cluster)
    }

    /// The clusters of a stage; a cluster that two stages select belongs to the first.
    pub fn clusters_of(&self, upgrade: &'a Upgrade, stage: usize) -> Vec<&'a Cluster> {
        self.fleet.clusters.iter().filter(|cluster| upgrade.stage_of(cluster) == Some(stage)).collect()
    }

    /// The resources of `upgrade` in a cluster.
    pub fn owned<'s>(
        &'s self,
        upgrade: &'s Upgrade,
        cluster: &'s Cluster,
    ) -> impl Iterator<Item = (&'s Surveyed<'a>, &'s Standing)> {
        self.of_cluster(&cluster.name).filter_map(move |(_, resource)| {
            let owner = resource.owner.as_ref()?;
            (owner.upgrade.name == upgrade.name).then_some((resource, &owner.standing))
        })
    }

    /// The resources of a cluster: they stand together in the order of places.
    fn of_cluster<'s>(
        &'s self,
        cluster: &'s ClusterName,
    ) -> impl Iterator<Item = (&'s Place, &'s Surveyed<'a>)> {
        let first = (cluster.clone(), ResourceId { namespace: String::new(), name: String::new() });
        self.resources.range(first..).take_while(move |(place, _)| place.0 == *cluster)
    }

    /// A member of which nothing is known: neither seen since the start, nor declared lost.
    pub fn unknown_member(&self) -> Option<&'a Cluster> {
        self.fleet
            .clusters
            .iter()
            .filter(|cluster| !cluster.lost && !self.is_without_resources(cluster))
            .find(|cluster| !self.view(cluster).is_some_and(|view| view.seen))
    }

    /// Notes that a resource will move by this plan.
    pub fn note_step(&mut self, place: &Place) {
        if let Some(resource) = self.resources.get_mut(place) {
            (resource.rolling, resource.active, resource.is_through) = (true, Some(self.now), false);
            if let Some(owner) = &mut resource.owner {
                let deadline = Some(self.now + owner.upgrade.progress_deadline);
                owner.standing = Standing::InFlight { deadline };
            }
        }
    }

    /// Notes that a pod of a resource will restart by this plan.
    pub fn note_roll(&mut self, place: &Place, out_of_turn: bool) {
        if let Some(resource) = self.resources.get_mut(place) {
            resource.rolling = true;
            if !out_of_turn {
                resource.active = Some(self.now);
            }
        }
    }
}

/// Whether this upgrade's step to its target was taken on the resource.
pub fn is_stepped(upgrade: &Upgrade, resource: &ResourceView) -> bool {
    own_step(upgrade, resource).is_some()
}

/// The upgrade that owns a resource: the first whose selector matches.
pub fn upgrade_of<'a>(fleet: &'a Fleet, view: &ResourceView) -> Option<&'a Upgrade> {
    fleet.upgrades.iter().find(|upgrade| upgrade.selector.matches(&view.labels))
}

fn owner<'a>(
    fleet: &'a Fleet,
    cluster: &Cluster,
    view: &ResourceView,
    chart: &Chart,
    chain: &Chain,
) -> Option<Owner<'a>> {
    let upgrade = upgrade_of(fleet, view)?;
    let standing = standing(upgrade, view, chart, chain);
    let failure = failure(upgrade, view, &standing, chart, chain);
    Some(Owner { upgrade, stage: upgrade.stage_of(cluster), standing, failure })
}

fn last_active(view: &ResourceView) -> Option<Timestamp> {
    let grant = view.grant.as_ref().filter(|grant| !grant.mends);
    view.step.as_ref().map(|step| step.at).max(grant.map(|grant| grant.at))
}

/// Whether a roll is under way: a step not yet healthy, a permission not yet used up, or pods still to come.
fn is_rolling(owner: Option<&Owner<'_>>, view: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let stepped =
        matches!(owner.map(|owner| &owner.standing), Some(Standing::InFlight { deadline: Some(_) }));
    let given_up = owner.is_some_and(|owner| is_given_up(owner, view, chart));
    stepped
        || (!given_up && super::rolls::is_under_way(owner.map(|owner| owner.upgrade), chart, view))
        || superseded(owner, view, chart, chain)
}

/// Whether it failed under another target: then it is not waited for, whatever it was permitted there.
fn is_given_up(owner: &Owner<'_>, view: &ResourceView, chart: &Chart) -> bool {
    let step = view.step.as_ref().filter(|_| !is_stepped(owner.upgrade, view));
    is_elsewhere(&owner.standing)
        && step.is_some_and(|step| is_hopeless(view, step, chart) || noted_failure(view, step).is_some())
}

/// Another target of an upgrade, on its way when this one was set: it counts until healthy, re-targeted, failed or late, but
/// not for an edit that waits for its turn.
fn superseded(owner: Option<&Owner<'_>>, view: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let (Some(owner), Some(step)) = (owner, &view.step) else { return false };
    let current = view.client_version.as_deref() == Some(&step.target);
    let healthy = super::standing::healthy_at(view, chart).is_some_and(|(at, _)| at <= chart.now);
    is_elsewhere(&owner.standing)
        && current
        && !healthy
        && counts_from(view, step, chart, chain).is_some_and(|permitted| {
            let from = lapse::noted_since(view, permitted).unwrap_or(permitted);
            let late = from + owner.upgrade.progress_deadline <= chart.now;
            let given_up = late || is_hopeless(view, step, chart) || is_given_up(owner, view, chart);
            !given_up || waits_for_turn(owner.upgrade, view, chart, chain) || may_go_on(view, chart)
        })
}
