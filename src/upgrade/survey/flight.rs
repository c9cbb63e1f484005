//! What is on its way: which clusters hold a slot of their stage, and which resources of a cluster roll before others.

use std::collections::BTreeSet;

use crate::fleet::{Cluster, Upgrade};
use crate::upgrade::standing::{Standing, may_go_on};
use crate::upgrade::{Code, Place};

use super::{Survey, Surveyed, is_stepped};

impl<'a> Survey<'a> {
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
            let is_through = match standing {
                Standing::Healthy(_) | Standing::Ahead | Standing::Out(..) => true,
                Standing::Failed(_) => !may_go_on(&resource.view, &resource.chart),
                Standing::NotStarted | Standing::InFlight { .. } => false,
            };
            is_through && !resource.rolling
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
    pub(super) fn goes_before(&self, place: &Place, other: &Place) -> bool {
        let turn = |place: &Place| self.resources.get(place).map(|one| (one.rolling, one.active));
        let (Some((_, active)), Some((is_rolling, others))) = (turn(place), turn(other)) else { return true };
        !is_rolling || (active, place) > (others, other)
    }

    fn others_rolling<'s>(&'s self, place: &'s Place) -> impl Iterator<Item = (&'s Place, &'s Surveyed<'a>)> {
        self.of_cluster(&place.0).filter(move |(other, resource)| *other != place && resource.rolling)
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

/// Whether it is not at the target, and may be on its way to another one; what is held goes nowhere.
pub(super) fn is_elsewhere(standing: &Standing) -> bool {
    match standing {
        Standing::NotStarted | Standing::Ahead => true,
        Standing::Out(code, _) => *code != Code::Held,
        Standing::InFlight { .. } | Standing::Healthy(_) | Standing::Failed(_) => false,
    }
}
