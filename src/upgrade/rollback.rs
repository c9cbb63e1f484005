//! Taking an upgrade's step back by itself, where that is certain to touch nothing. Pure.
//!
//! A client that has started may have written a database that the one before cannot read, so what was started is never
//! taken back without a person's word. That a container never started can be told for certain only where no pod was
//! restarted: one that is waiting for its image now may be the second of its name. So it is exactly this that is taken
//! back: a version that failed where it was tried first, before any permission to restart.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::Upgrade;
use crate::observed::ResourceView;
use crate::polkadot::Step;

use super::{chart, prepull};

/// What was a registry's moment of weakness is over by then, and the trial has gone on by itself.
const NO_MOMENT: SignedDuration = SignedDuration::from_mins(5);

/// The step with which the resource is taken back, and from when on, where it failed before it touched anything.
pub fn of(upgrade: &Upgrade, resource: &ResourceView) -> Option<(Step, Timestamp)> {
    let step = resource.step.as_ref().filter(|step| {
        step.upgrade == upgrade.name
            && step.target == upgrade.client_version
            && step.attempt == upgrade.attempt
            // Whoever set the target again since then wants it.
            && step.rolled_back.is_none()
    })?;
    let why = prepull::failed(upgrade, resource)?;
    let permitted = resource.grant.as_ref().is_some_and(|grant| grant.at >= step.at);
    let untouched = chart::nodes(resource).all(|(role, node)| {
        node.is_outdated(&role.hash) && node.version.is_some() && node.version == step.previous
    });
    (untouched && !permitted)
        .then(|| (Step { rolled_back: Some(why.to_owned()), ..step.clone() }, step.at + NO_MOMENT))
}

/// Why the resource, which is at `version`, was taken back from a step; it has failed until a person wants another try.
pub fn taken(step: &Step, version: &str) -> Option<String> {
    let why = step.rolled_back.as_ref().filter(|_| step.previous.as_deref() == Some(version))?;
    Some(format!("{why}; taken back to {version}, no pod was restarted"))
}
