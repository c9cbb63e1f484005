//! Which pod of a resource may restart next, and whether the last permission is used up. Pure.
//!
//! Sentries first, one by one from the highest ordinal (a partition reaches from its ordinal up), each healthy before
//! the next, then the validator. A node that is broken on an unwanted template goes first: it has nothing to lose.

use crate::fleet::Upgrade;
use crate::observed::{NodeView, ResourceView, RoleView};
use crate::polkadot::{Grant, Role};
use crate::version::{ClientVersion, not_newer, or_later};

use super::chart::{Chart, nodes};
use super::survey::PROGRESS_DEADLINE;

/// The next permission the resource needs; `None` when no pod is outdated.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This pod.
    Pod {
        /// Its role.
        role: Role,
        /// The template's hash.
        hash: String,
        /// Its ordinal.
        ordinal: i32,
    },
    /// First this node, on its new template, must become healthy.
    After(String),
}

/// The next pod to restart.
pub fn next(chart: &Chart, resource: &ResourceView) -> Option<Next> {
    let role = resource.roles.iter().find(|role| role.outdated().next().is_some())?;
    let pod = |node: &NodeView| Next::Pod { role: role.role, hash: role.hash.clone(), ordinal: node.ordinal };
    if let Some(broken) = role.outdated().find(|node| node.ready_since.is_none()) {
        return Some(pod(broken));
    }
    // Before it was ever healthy as a whole, one sick part must not keep another from being mended.
    if resource.ever_settled
        && let Some(sick) = unhealthy(chart, resource)
    {
        return Some(Next::After(sick.pod.clone()));
    }
    if role.volumes_added {
        return role.outdated().min_by_key(|node| node.ordinal).map(pod);
    }
    role.outdated().max_by_key(|node| node.ordinal).map(pod)
}

/// A node on the wanted template that has not been healthy long enough.
fn unhealthy<'a>(chart: &Chart, resource: &'a ResourceView) -> Option<&'a NodeView> {
    nodes(resource).find_map(|(role, node)| {
        let on_wanted = !node.is_outdated(&role.hash);
        (on_wanted && !chart.is_healthy(resource, role, node)).then_some(node)
    })
}

/// Whether a permission is being used, or more of the same roll is to come.
///
/// It ends with health, or with the deadline: what failed to come up must not hold up its cluster for ever.
pub fn is_under_way(owner: Option<&Upgrade>, chart: &Chart, resource: &ResourceView) -> bool {
    let Some(grant) = &resource.grant else { return false };
    let Some(role) = current(resource, grant) else { return false };
    chart.now < grant.at + deadline(owner)
        && (is_open(chart, resource, grant, role) || resource.roll_pending())
}

/// Whether the pods that the last permission is for are not yet healthy on their template.
pub fn is_outstanding(chart: &Chart, resource: &ResourceView) -> bool {
    let Some(grant) = &resource.grant else { return false };
    current(resource, grant).is_some_and(|role| is_open(chart, resource, grant, role))
}

/// Whether the pod that a permission is for has not restarted by it.
pub fn is_unused(resource: &ResourceView, grant: &Grant) -> bool {
    current(resource, grant).is_some_and(|role| role.outdated().any(|node| node.ordinal == grant.ordinal))
}

/// Whether the last permission was not used in time, for the first time: it is given once more. One that is moot was not
/// meant to be used any more.
pub fn is_late(owner: Option<&Upgrade>, chart: &Chart, resource: &ResourceView) -> bool {
    is_outstanding(chart, resource)
        && resource.grant.as_ref().is_some_and(|grant| {
            !grant.again && is_unused(resource, grant) && grant.at + deadline(owner) <= chart.now
        })
}

fn deadline(owner: Option<&Upgrade>) -> jiff::SignedDuration {
    owner.map_or(PROGRESS_DEADLINE, |upgrade| upgrade.progress_deadline)
}

fn is_open(chart: &Chart, resource: &ResourceView, grant: &Grant, role: &RoleView) -> bool {
    // Those above had permissions of their own, or will: a broken pod goes before them.
    role.nodes.iter().filter(|node| node.ordinal == grant.ordinal).any(|node| {
        let replaced = node.hash.as_deref() == Some(&role.hash);
        let is_done = replaced && (chart.is_healthy(resource, role, node) || !resource.ever_settled);
        !is_done && !is_moot(role, node)
    })
}

/// Whether a broken pod came back by itself before its permission was used: then no worker uses it any more, and the pod
/// waits for its turn like any other.
fn is_moot(role: &RoleView, node: &NodeView) -> bool {
    let healthy = node.is_outdated(&role.hash) && node.ready_since.is_some();
    healthy && !role.volumes_added && role.outdated().any(|other| other.ordinal > node.ordinal)
}

/// Whether the last permission is for a template that is not wanted (any more).
pub fn is_stale(resource: &ResourceView) -> bool {
    resource.trouble.is_none()
        && resource.grant.as_ref().is_some_and(|grant| current(resource, grant).is_none())
}

/// The role of a permission, if it is for the template that is wanted now.
pub fn current<'a>(resource: &'a ResourceView, grant: &Grant) -> Option<&'a RoleView> {
    resource.role(grant.role).filter(|role| role.hash == grant.hash)
}

/// Whether the next pod of this role is a validator's that runs without the volume it is to get: its session keys would
/// stay behind. A node that never was healthy has none.
pub fn loses_keystore(owner: Option<&Upgrade>, resource: &ResourceView, role: Role) -> bool {
    role == Role::Validator
        && resource.has_run()
        && resource.role(role).is_some_and(|role| role.volumes_added)
        && !owner.is_some_and(|upgrade| upgrade.allow_ephemeral)
}

/// Why rolling to the version of the spec would be a downgrade, or might be one; `None` where it is not.
///
/// A database that a newer client has written cannot be read by an older one, so a spec that somebody set back is
/// not followed without a person's word. A node that never was healthy has nothing to lose.
pub fn downgrade(owner: Option<&Upgrade>, chart: &Chart, resource: &ResourceView) -> Option<String> {
    if owner.is_some_and(|upgrade| upgrade.allow_downgrade) || !resource.has_run() {
        return None;
    }
    let wanted = resource.client_version.as_deref()?;
    let nodes = resource.roles.iter().flat_map(RoleView::outdated);
    let others = nodes.filter(|node| node.version.as_deref() != Some(wanted));
    others.filter_map(|node| Some((node, chart.running(resource, node)?))).find_map(
        |(node, running)| {
            let how = not_newer(wanted, running)?;
            let pod = &node.pod;
            let (what, instead) = if node.version.as_deref() == Some(running) {
                (format!("{running}, which {pod} runs or ran last"), or_later(running))
            } else {
                let line = ClientVersion::parse(running).line();
                let line = line.map(|line| format!(" (of the line {line})")).unwrap_or_default();
                (format!("{running}{line}, as which {pod} reports itself"), "a release after that".into())
            };
            Some(format!(
                "{wanted} {how} {what}; set spec.clientVersion to {instead}, or let an upgrade with allowDowngrade: true \
                 own this resource"
            ))
        },
    )
}
