//! What is noted on a resource of how it fares at its version, so that whoever looks after us counts the soak and the deadline
//! from the same moments. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::observed::health::DIP;
use crate::observed::{NodeView, ResourceView, RoleView};
use crate::polkadot::Stretch;

use super::chains::Chain;
use super::chart::{Chart, nodes};
use super::standing::{Standing, counts_from, own_step, permitted, well_since};
use super::survey::Owner;

/// From when the deadline counts of what was healthy once since it was permitted to restart: from when it was first seen not
/// to be so any more; from now until that is noted. `None` where it was not healthy yet.
pub fn since(resource: &ResourceView, permitted: Timestamp, chart: &Chart) -> Option<Timestamp> {
    let noted = through(resource, permitted)?;
    Some(noted.ill.unwrap_or(chart.now))
}

/// Since when it is noted that it is not healthy any more, if it was since it was permitted to restart.
pub fn noted_since(resource: &ResourceView, permitted: Timestamp) -> Option<Timestamp> {
    through(resource, permitted)?.ill
}

/// Whether it was healthy for long enough since it was permitted to restart last.
pub fn was_proven(resource: &ResourceView) -> bool {
    let step = resource.step.as_ref();
    step.is_some_and(|step| through(resource, permitted(resource, step)).is_some())
}

/// Whether it is noted that it was healthy since it was permitted to restart last, and is not any more.
pub fn has_lapsed(resource: &ResourceView) -> bool {
    let step = resource.step.as_ref();
    step.is_some_and(|step| noted_since(resource, permitted(resource, step)).is_some())
}

/// Whether it was healthy at its upgrade's target and is not any more, and that is to be noted and has not been yet. Until it
/// is, nobody knows how long it has been so after a restart of ours.
pub fn is_unnoted(owner: &Owner<'_>, resource: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    chain.stalled.is_none()
        && own_step(owner.upgrade, resource).is_some()
        && was_proven(resource)
        && noted(resource).is_some_and(|noted| noted.ill.is_none())
        && is_ill(resource, chart, chain)
}

/// What has to be noted on a resource at its upgrade's target. A dip, or a start that took no longer than one, is not worth it
/// for the soak.
pub fn to_note(owner: &Owner<'_>, resource: &ResourceView, chart: &Chart, chain: &Chain) -> Option<Stretch> {
    let version = resource.client_version.as_ref()?;
    let before = noted(resource);
    let (proven, ill) = proof(owner, resource, chart, chain);
    let soaks = owner.stage.is_some_and(|stage| owner.upgrade.stages[stage].soak > SignedDuration::ZERO);
    let since = if soaks && is_sick(resource, chart, chain) {
        None
    } else if let Some(anchor) = soaks.then(|| recovered(resource, chart)).flatten() {
        Some(anchor)
    } else if let Some(before) = before {
        before.since
    } else {
        // Only what is proven is noted, and that is well.
        Some(proven.and_then(|_| well_since(resource, chart))?.1)
    };
    let stretch = Stretch { version: version.clone(), since, proven, ill };
    (before != Some(&stretch)).then_some(stretch)
}

/// What is noted of a resource that was healthy for long enough since it was permitted to restart.
fn through(resource: &ResourceView, permitted: Timestamp) -> Option<&Stretch> {
    noted(resource).filter(|noted| noted.proven >= Some(permitted))
}

fn noted(resource: &ResourceView) -> Option<&Stretch> {
    let version = resource.client_version.as_ref()?;
    resource.healthy.as_ref().filter(|stretch| stretch.version == *version)
}

fn is_sick(resource: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let mut running = nodes(resource).filter(|(_, node)| node.version == resource.client_version);
    running.any(|(role, node)| chart.is_sick(resource, role, node, chain.resumed))
}

/// Since when its soak counts, where that is not known from its pods.
fn recovered(resource: &ResourceView, chart: &Chart) -> Option<Timestamp> {
    let (_, anchor) = well_since(resource, chart)?;
    let was_sick = noted(resource).is_some() || anchor >= resource.settled_since? + DIP;
    was_sick.then_some(anchor)
}

/// When it was first healthy for long enough after its last permitted restart, and since when it is so no more: that is noted
/// at once, and holds until it was healthy for long enough again, so that what comes and goes has its deadline too.
fn proof(
    owner: &Owner<'_>,
    resource: &ResourceView,
    chart: &Chart,
    chain: &Chain,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let (proven, ill) = noted(resource).map_or((None, None), |noted| (noted.proven, noted.ill));
    let Some(step) = own_step(owner.upgrade, resource) else { return (proven, ill) };
    let permitted = permitted(resource, step);
    let current = proven.filter(|proven| *proven >= permitted);
    match owner.standing {
        Standing::Healthy(_) => (current.or(Some(chart.now.max(permitted))), None),
        _ if is_unnoted(owner, resource, chart, chain) => (proven, Some(chart.now)),
        _ => (proven, ill),
    }
}

/// Whether it is known not to be well, and not for a moment only; not where all that it lacks is an answer or time, or
/// permission to restart.
fn is_ill(resource: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let sick = |(role, node): (&RoleView, &NodeView)| {
        node.ready_since.is_none() || chart.is_sick(resource, role, node, chain.resumed)
    };
    let waits =
        resource.step.as_ref().is_some_and(|step| counts_from(resource, step, chart, chain).is_none());
    !waits && (resource.settled_since.is_none() || nodes(resource).any(sick))
}
