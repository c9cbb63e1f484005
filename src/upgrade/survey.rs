//! One look at the whole fleet: who owns what, what is in flight where, which validators are unavailable. Pure.
//!
//! The gates ask the survey; every action that passes them is noted in it, so that the next candidate of the same
//! plan sees it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::core::SelectorExt as _;

use crate::fleet::{Cluster, ClusterName, Fleet, Upgrade};
use crate::observed::{Board, ClusterState, ClusterView, NodeView, ResourceView};
use crate::polkadot::{ResourceId, Role};

use super::chains::{Chain, Chains};
use super::chart::Chart;
use super::standing::{Standing, counts_from, has_validator, standing, waits_for_turn};
use super::{Code, Ground, Place};

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
}

/// Answers of gates that look at the whole fleet, kept for the other candidates of the plan.
#[derive(Default)]
pub struct Known {
    /// By upgrade.
    pub halted: RefCell<BTreeMap<String, Option<String>>>,
    /// By upgrade and stage.
    pub passed: RefCell<BTreeMap<(String, usize), Result<(), String>>>,
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
                let chart = Chart::new(upgrade_of(fleet, resource), cluster, view, now);
                let chain = chains.of(&resource.chain);
                let owner = owner(fleet, cluster, resource, &chart, chain);
                let unsettled = ground.unsettled.contains(&place);
                let rolling = unsettled || is_rolling(owner.as_ref(), resource, &chart, chain);
                let active = if unsettled { Some(Timestamp::MAX) } else { last_active(resource) };
                let view = Arc::clone(resource);
                resources.insert(place, Surveyed { cluster, view, owner, chart, rolling, active });
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

    /// Whether it was tried in vain to see the cluster as it is; not where that is only being begun.
    pub fn is_out_of_reach(&self, cluster: &Cluster) -> bool {
        use ClusterState::{Connecting, Ready, Standby, Syncing};
        let state = self.view(cluster).map(|view| &view.state);
        !matches!(state, None | Some(Connecting | Syncing | Ready | Standby(_)))
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

    /// Whether a cluster may have begun with this upgrade and is not through: it holds a slot of its stage.
    pub fn is_in_flight(&self, upgrade: &Upgrade, cluster: &Cluster) -> bool {
        self.is_half_way(upgrade, cluster, true)
    }

    /// Whether a cluster has certainly begun with the present target and is not through: it goes on although it would not be
    /// its turn.
    pub fn has_begun(&self, upgrade: &Upgrade, cluster: &Cluster) -> bool {
        self.is_half_way(upgrade, cluster, false)
    }

    fn is_half_way(&self, upgrade: &Upgrade, cluster: &Cluster, maybe: bool) -> bool {
        let begun = self.owned(upgrade, cluster).any(|(resource, standing)| match standing {
            // A write whose answer is not known yet may be its first step.
            _ if maybe && self.is_unsettled(&(cluster.name.clone(), resource.view.id.clone())) => true,
            Standing::InFlight { deadline } => deadline.is_some() || resource.rolling,
            Standing::Healthy(_) | Standing::Failed(_) => is_stepped(upgrade, &resource.view),
            // Another target on its way still holds the slot; the new one has its turn to wait for.
            standing if maybe && is_elsewhere(standing) => resource.rolling && resource.view.step.is_some(),
            _ => false,
        });
        let through = self.owned(upgrade, cluster).all(|(resource, standing)| {
            !resource.rolling
                && matches!(
                    standing,
                    Standing::Healthy(_) | Standing::Failed(_) | Standing::Ahead | Standing::Out(..)
                )
        });
        begun && !through
    }

    /// Other rolling resources of its cluster.
    pub fn rolling_besides(&self, place: &Place) -> Vec<String> {
        self.others_rolling(place).map(in_words).collect()
    }

    /// Those that go before a next permission for this one: all while it is not rolling itself, otherwise those that were
    /// active after it. What was through or given up, and counts as rolling again (by an edit, or because its chain goes
    /// on), waits for what has begun since.
    pub fn rolling_before(&self, place: &Place) -> Vec<String> {
        let others = self.others_rolling(place);
        others.filter(|(other, _)| self.goes_before(other, place)).map(in_words).collect()
    }

    /// Whether a rolling resource goes before another one: always, or, where that one rolls as well, if it was active
    /// later. So of any two, exactly one waits.
    fn goes_before(&self, place: &Place, other: &Place) -> bool {
        let turn = |place: &Place| self.resources.get(place).map(|one| (one.rolling, one.active));
        let (Some((_, active)), Some((is_rolling, others))) = (turn(place), turn(other)) else { return true };
        !is_rolling || (active, place) > (others, other)
    }

    fn others_rolling<'s>(&'s self, place: &'s Place) -> impl Iterator<Item = (&'s Place, &'s Surveyed<'a>)> {
        self.of_cluster(&place.0).filter(move |(other, resource)| *other != place && resource.rolling)
    }

    /// Validators of a chain that are unavailable or about to be, without that of `except`; where that one `goes_on`, without
    /// those that it goes before, too.
    pub fn validators_down(&self, chain: &str, except: &Place, goes_on: bool) -> Vec<String> {
        self.resources
            .iter()
            .filter(|(place, resource)| {
                *place != except
                    && has_validator(&resource.view)
                    && resource.view.chain == chain
                    && !resource.cluster.lost
            })
            .filter(|(place, resource)| {
                // A permission that was given holds until it is used, however late: its worker may be the slow one.
                let open = grants_validator(&resource.view)
                    && super::rolls::is_outstanding(&resource.chart, &resource.view);
                // A write under way may be the step that moves it.
                let waits = || goes_on && !self.goes_before(place, except);
                let to_come = resource.rolling && moves_validator(resource) && !waits();
                let reserved = open || self.is_unsettled(place) || to_come || is_unproven(resource);
                reserved
                    || (resource.view.ever_settled
                        && (!self.is_available(resource) || self.was_sick(resource)))
            })
            .map(|(place, _)| format!("{} {}", place.0, place.1))
            .collect()
    }

    /// Whether the resource's validator is known to be running, Ready, and not known to be sick.
    pub fn is_available(&self, resource: &Surveyed<'_>) -> bool {
        let view = &resource.view;
        let role = view.role(Role::Validator);
        self.is_ready(resource.cluster)
            && role.and_then(|role| Some((role, role.nodes.first()?))).is_some_and(|(role, validator)| {
                validator.ready_since.is_some()
                    && !(resource.chart.owned
                        && resource.chart.is_sick(view, role, validator, self.chain(view).resumed))
            })
    }

    /// Whether the resource's validator was sick when it last answered: until it says otherwise, others do not count on it.
    fn was_sick(&self, resource: &Surveyed<'_>) -> bool {
        let (view, chart) = (&resource.view, &resource.chart);
        let role = view.role(Role::Validator).filter(|_| chart.owned);
        role.and_then(|role| Some((role, role.nodes.first()?)))
            .is_some_and(|(role, node)| chart.was_sick(view, role, node, self.chain(view).resumed))
    }

    /// A member of which nothing is known: neither seen since the start, nor declared lost.
    pub fn unknown_member(&self) -> Option<&'a Cluster> {
        self.fleet
            .clusters
            .iter()
            .find(|cluster| !cluster.lost && !self.view(cluster).is_some_and(|view| view.seen))
    }

    /// Notes that a resource will move by this plan.
    pub fn note_step(&mut self, place: &Place) {
        if let Some(resource) = self.resources.get_mut(place) {
            (resource.rolling, resource.active) = (true, Some(self.now));
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

    /// Every cluster's name that holds a slot in a stage, without `except`; where that one has begun itself, without those
    /// that wait for it. (Of two that have begun beyond the width, as after a pause, the one that took the last step goes on
    /// and the other waits.)
    pub fn slots_taken(&self, upgrade: &'a Upgrade, stage: usize, except: &Cluster) -> BTreeSet<&'a str> {
        let last_step = |cluster: &'a Cluster| {
            let owned = self.owned(upgrade, cluster).filter(|(one, _)| is_stepped(upgrade, &one.view));
            (owned.filter_map(|(one, _)| Some(one.view.step.as_ref()?.at)).max(), &cluster.name)
        };
        let own = self.fleet.cluster(&except.name).filter(|own| self.has_begun(upgrade, own)).map(last_step);
        let waits =
            |cluster| own.is_some_and(|own| self.has_begun(upgrade, cluster) && last_step(cluster) < own);
        self.clusters_of(upgrade, stage)
            .into_iter()
            .filter(|cluster| cluster.name != except.name && !cluster.paused && !cluster.lost)
            .filter(|cluster| self.is_in_flight(upgrade, cluster))
            .filter(|cluster| !waits(cluster))
            .map(|cluster| cluster.name.0.as_str())
            .collect()
    }
}

/// A rolling resource, and what it is not through for.
fn in_words((place, resource): (&Place, &Surveyed<'_>)) -> String {
    let why = resource.chart.ill(&resource.view);
    why.map_or_else(|| place.1.to_string(), |(pod, why)| format!("{} ({pod}: {why})", place.1))
}

/// Whether this upgrade's step to its target was taken on the resource.
pub fn is_stepped(upgrade: &Upgrade, resource: &ResourceView) -> bool {
    resource
        .step
        .as_ref()
        .is_some_and(|step| step.upgrade == upgrade.name && step.target == upgrade.client_version)
}

/// Whether a roll of the resource restarts its validator: by the version it is going to, or by a changed template.
fn moves_validator(resource: &Surveyed<'_>) -> bool {
    let by_step =
        resource.owner.as_ref().is_some_and(|owner| matches!(owner.standing, Standing::InFlight { .. }));
    let granted = grants_validator(&resource.view);
    let view = &resource.view;
    // In a cluster that is paused the template is still the one of before.
    let is_behind = |node: &NodeView| node.version.is_some() && node.version != view.client_version;
    let pending = view
        .role(Role::Validator)
        .is_some_and(|role| role.outdated().next().is_some() || role.nodes.iter().any(is_behind));
    by_step || granted || pending
}

fn grants_validator(view: &ResourceView) -> bool {
    view.grant.as_ref().is_some_and(|grant| grant.role == Role::Validator)
}

/// When a validator that was restarted by permission has been up for long enough to be relied on, whatever has been decided
/// about it since; `None` where it was not, or is not up.
pub fn proven_at(resource: &Surveyed<'_>) -> Option<Timestamp> {
    let view = &resource.view;
    let up = view.role(Role::Validator).and_then(|role| role.nodes.first()?.ready_since)?;
    let restarted = view.grant.as_ref().filter(|_| grants_validator(view))?.at;
    (up >= restarted).then(|| up + resource.chart.stable_for())
}

fn is_unproven(resource: &Surveyed<'_>) -> bool {
    proven_at(resource).is_some_and(|at| resource.chart.now < at)
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
    Some(Owner { upgrade, stage: upgrade.stage_of(cluster), standing })
}

fn last_active(view: &ResourceView) -> Option<Timestamp> {
    let grant = view.grant.as_ref().filter(|grant| !grant.mends);
    view.step.as_ref().map(|step| step.at).max(grant.map(|grant| grant.at))
}

/// Whether a roll is under way: a step not yet healthy, a permission not yet used up, or pods still to come.
fn is_rolling(owner: Option<&Owner<'_>>, view: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let stepped =
        matches!(owner.map(|owner| &owner.standing), Some(Standing::InFlight { deadline: Some(_) }));
    stepped
        || super::rolls::is_under_way(owner.map(|owner| owner.upgrade), chart, view)
        || superseded(owner, view, chart, chain)
}

/// Whether it is not at the target, and may be on its way to another one; what is held goes nowhere.
fn is_elsewhere(standing: &Standing) -> bool {
    match standing {
        Standing::NotStarted | Standing::Ahead => true,
        Standing::Out(code, _) => *code != Code::Held,
        Standing::InFlight { .. } | Standing::Healthy(_) | Standing::Failed(_) => false,
    }
}

/// Another target of an upgrade, on its way when this one was set: it counts until healthy, re-targeted or late, but not
/// for an edit that waits for its turn.
fn superseded(owner: Option<&Owner<'_>>, view: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let (Some(owner), Some(step)) = (owner, &view.step) else { return false };
    let current = view.client_version.as_deref() == Some(&step.target);
    let healthy = super::standing::healthy_at(view, chart).is_some_and(|(at, _)| at <= chart.now);
    is_elsewhere(&owner.standing)
        && current
        && !healthy
        && counts_from(view, step, chart, chain).is_some_and(|from| {
            let late = from + owner.upgrade.progress_deadline <= chart.now;
            !late || waits_for_turn(owner.upgrade, view, chart, chain)
        })
}
