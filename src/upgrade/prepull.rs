//! A version is tried on the machines concerned before the first pod restarts for it: what that means for a plan. Pure.
//!
//! The worker tries it, with a short-lived pod on each machine; what came of it is in the view.

use crate::fleet::Upgrade;
use crate::observed::{ResourceView, Tried};

/// Why no pod restarts yet: on some machine the step's version has not been tried with success. All of them come before
/// the first restart, so that what fails on one touches nothing.
pub fn untried(owner: Option<&Upgrade>, resource: &ResourceView) -> Option<String> {
    let mut trials = wanted(owner, resource).filter(|(_, tried)| **tried != Tried::Succeeded);
    trials.next().map(|(machine, tried)| match tried {
        Tried::Failed(words) => words.clone(),
        Tried::Unable(words) => {
            format!("{words}; it is tried again, and prepull: false in the upgrade leaves it out")
        }
        Tried::Pending | Tried::Succeeded => {
            let version = resource.client_version.as_deref().unwrap_or_default();
            format!("{version} is tried on machine {machine} first, by a short-lived pod")
        }
    })
}

/// Why waiting will not help: the version cannot be had, or does not run.
pub fn failed<'a>(upgrade: &Upgrade, resource: &'a ResourceView) -> Option<&'a str> {
    wanted(Some(upgrade), resource).find_map(|(_, tried)| match tried {
        Tried::Failed(words) => Some(words.as_str()),
        _ => None,
    })
}

fn wanted<'a>(
    owner: Option<&Upgrade>,
    resource: &'a ResourceView,
) -> impl Iterator<Item = (&'a str, &'a Tried)> {
    // A person who switches it off does not wait for it.
    let is_wanted = owner.is_none_or(|upgrade| upgrade.prepull);
    resource.trials().filter(move |_| is_wanted)
}
