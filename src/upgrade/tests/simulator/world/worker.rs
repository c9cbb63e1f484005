//! What a cluster's worker does with a resource: templates, permitted restarts, trials of versions, and its status.

use std::collections::btree_map::Entry;

use jiff::Timestamp;

use crate::observed::{ResourceView, Tried};
use crate::polkadot::{ResourceId, Role};

/// Makes the templates what the spec asks for, and restarts the pod that may; returns the pods that restart.
pub(super) fn reconcile(view: &mut ResourceView, edits: u32) -> Vec<(Role, i32)> {
    let wanted = format!("{}#{edits}", view.client_version.clone().unwrap_or_default());
    let (version, grant) = (view.client_version.clone(), view.grant.clone());
    let mut restarted = vec![];
    for role in &mut view.roles {
        role.hash.clone_from(&wanted);
        let Some(grant) = grant.as_ref().filter(|grant| grant.role == role.role && grant.hash == wanted)
        else {
            continue;
        };
        for node in role.nodes.iter_mut().filter(|node| node.ordinal == grant.ordinal) {
            if node.is_outdated(&wanted) {
                (node.hash, node.ready_since, node.stuck) = (Some(wanted.clone()), None, None);
                node.version.clone_from(&version);
                restarted.push((role.role, node.ordinal));
            }
        }
    }
    restarted
}

/// Tries the version of the step where it has to be tried; another step is another trial.
pub(super) fn try_version(
    view: &mut ResourceView,
    last: Entry<'_, ResourceId, Timestamp>,
    outcomes: &mut Vec<Tried>,
) {
    let Some(at) = view.step.as_ref().map(|step| step.at) else { return };
    let last = last.or_insert(at);
    if std::mem::replace(last, at) != at {
        view.prepulls.clear();
    }
    let untried = view.trials().filter(|(_, tried)| matches!(tried, Tried::Pending | Tried::Unable(_)));
    let machines: Vec<String> = untried.map(|(machine, _)| machine.to_owned()).collect();
    for machine in machines {
        let known = view.prepulls.get(&machine).cloned();
        // It takes its time.
        let next = known.map_or(Tried::Pending, |_| outcomes.pop().unwrap_or(Tried::Succeeded));
        view.prepulls.insert(machine, next);
    }
}

/// As the worker's status has it, but that every dip counts.
pub(super) fn settle(view: &mut ResourceView, now: Timestamp, shown: Timestamp) {
    let version = view.client_version.clone();
    let nodes = view.roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node)));
    let since: Option<Vec<Timestamp>> = nodes
        .map(|(role, node)| node.settled_since(&role.hash).filter(|_| node.version == version))
        .collect();
    view.settled_since = since.and_then(|all| all.into_iter().max()).map(|since| since.min(now));
    view.ever_settled |= view.settled_since.is_some();
    let step = view.step.as_ref().filter(|step| Some(&step.target) == view.client_version.as_ref());
    let begun = step.map_or(Timestamp::MIN, |step| step.at);
    if view.settled_since.is_some() && view.reached.is_none_or(|reached| reached < begun) {
        view.reached = Some(shown);
    }
}
