//! Which validators cannot be relied on: those that are down, sick, on their way, or back for too short a time.

use jiff::Timestamp;

use crate::observed::{NodeView, ResourceView};
use crate::polkadot::Role;
use crate::upgrade::standing::{Standing, has_validator};
use crate::upgrade::{Place, rolls};

use super::{Owner, Survey, Surveyed};

impl Survey<'_> {
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
                    && rolls::is_outstanding(&resource.chart, &resource.view);
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
}

/// Whether a roll of the resource restarts its validator: by the version it is going to, or by a changed template.
fn moves_validator(resource: &Surveyed<'_>) -> bool {
    let view = &resource.view;
    let in_flight = |owner: &Owner<'_>| matches!(owner.standing, Standing::InFlight { .. });
    let is_through = resource.is_through;
    let by_step = !is_through && resource.owner.as_ref().is_some_and(in_flight);
    let granted = !is_through && grants_validator(view);
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
