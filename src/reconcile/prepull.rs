//! Where the version of an upgrade's step has to be tried before a pod restarts for it, and what came of it. Pure.
//!
//! A trial is wanted as long as a pod waits to restart on its machine; its pod stays as long, since it is what remembers the
//! outcome. Nothing is kept in the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::desired::{self, Template};
use crate::observed::{RoleView, Stuck, Tried, machines};
use crate::polkadot::{Polkadot, Step, record};

use super::observe;

/// A pod that its machine refused is made anew after this time; so is one that could not be made.
pub const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// One machine on which the version has to be tried.
pub struct Trial {
    /// The machine.
    pub machine: String,
    /// The name of its pod.
    pub name: String,
    /// The pod as it should be made.
    pub body: Value,
    /// The pod, once it is there.
    pub live: Option<Arc<Pod>>,
}

/// The step that wants its version tried first.
#[must_use]
pub fn step(polkadot: &Polkadot) -> Option<Step> {
    let step: Option<Step> = record::read(polkadot.annotations(), record::STEP_ANNOTATION);
    step.filter(|step| step.prepull && polkadot.spec.client_version.as_ref() == Some(&step.target))
}

/// The trials that are wanted now.
#[must_use]
pub fn trials(
    polkadot: &Polkadot,
    step: &Step,
    roles: &[RoleView],
    templates: &[Template],
    pods: &[Arc<Pod>],
) -> Vec<Trial> {
    let trial = |machine: &str| {
        let waits = |role: &&RoleView| role.outdated().any(|node| node.machine.as_deref() == Some(machine));
        let role = roles.iter().find(waits)?.role;
        let template = templates.iter().find(|template| template.role == role)?;
        let (name, body) = desired::prepull::pod(polkadot, template, machine, step.attempt);
        let live = pods.iter().find(|pod| pod.name_any() == name).cloned();
        Some(Trial { machine: machine.to_owned(), name, body, live })
    };
    machines(roles, &step.target).into_iter().filter_map(trial).collect()
}

/// What came of the trials; `refused` is why a pod could not be made.
#[must_use]
pub fn outcomes(trials: &[Trial], refused: Option<&str>) -> BTreeMap<String, Tried> {
    let outcome = |trial: &Trial| match (&trial.live, refused) {
        (Some(pod), _) => of(pod, &trial.machine),
        (None, Some(why)) => Tried::Unable(format!(
            "{} could not be tried on machine {}: {why}",
            image(&trial.body),
            trial.machine
        )),
        (None, None) => Tried::Pending,
    };
    trials.iter().map(|trial| (trial.machine.clone(), outcome(trial))).collect()
}

fn image(body: &Value) -> &str {
    body["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// What came of one pod.
fn of(pod: &Pod, machine: &str) -> Tried {
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let image = pod.spec.iter().flat_map(|spec| &spec.containers).find_map(|one| one.image.as_deref());
    let image = image.unwrap_or_default();
    let container = status.container_statuses.iter().flatten().next();
    match status.phase.as_deref() {
        Some("Succeeded") => Tried::Succeeded,
        Some("Failed") => failed(status, container, &format!("{image} on machine {machine}")),
        _ => match container.and_then(observe::waits_for).filter(Stuck::is_hopeless) {
            Some(why) => Tried::Failed(format!("{image} cannot be started on machine {machine}: {why}")),
            None => Tried::Pending,
        },
    }
}

fn failed(status: &PodStatus, container: Option<&ContainerStatus>, what: &str) -> Tried {
    let reason = status.reason.as_deref().unwrap_or_default();
    let message = observe::cut(status.message.as_deref().unwrap_or_default());
    // What could not be pulled in all that time is no better for the end of its pod.
    if reason == "DeadlineExceeded" {
        return Tried::Failed(format!("{what} did not print its version in time: {message}"));
    }
    let ended = container.and_then(|one| one.state.as_ref()?.terminated.as_ref());
    match ended.filter(|ended| ended.exit_code != 0) {
        // Without a reason of the pod's own, the client ended by itself.
        Some(ended) if reason.is_empty() => {
            let words = observe::cut(ended.message.as_deref().unwrap_or_default().trim());
            let colon = if words.is_empty() { "" } else { ": " };
            Tried::Failed(format!("{what} does not run: exit code {}{colon}{words}", ended.exit_code))
        }
        _ => Tried::Unable(format!("{what} could not be tried: {reason}: {message}")),
    }
}

/// The pods that are no longer wanted, or that are to be made anew.
#[must_use]
pub fn surplus(trials: &[Trial], pods: &[Arc<Pod>], now: Timestamp) -> Vec<Arc<Pod>> {
    let wanted: BTreeSet<&str> = trials.iter().map(|trial| trial.name.as_str()).collect();
    let again: BTreeSet<&str> =
        trials.iter().filter(|trial| is_due(trial, now)).map(|one| &*one.name).collect();
    let name = |pod: &Arc<Pod>| pod.name_any();
    let is_surplus = |pod: &&Arc<Pod>| !wanted.contains(&*name(pod)) || again.contains(&*name(pod));
    pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter(is_surplus).cloned().collect()
}

fn is_due(trial: &Trial, now: Timestamp) -> bool {
    let Some(pod) = &trial.live else { return false };
    let made = pod.creation_timestamp().map_or(now, |time| time.0);
    matches!(of(pod, &trial.machine), Tried::Unable(_)) && now.duration_since(made) >= AGAIN
}

#[cfg(test)]
mod tests;
