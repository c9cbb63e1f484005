//! Makes one `Polkadot` resource so: observe, decide, apply, prune, report — level-triggered, from caches.
//!
//! The decisions are elsewhere: what should exist in [`crate::desired`], whether it already does in [`compare`],
//! what of the old operator's is taken over in [`adopt`], what may restart in [`roll`], where a
//! version is tried first in [`prepull`], what to report in [`status`]. When nothing differs, no request is sent. This is
//! also where the planner's word arrives: as annotations on the resource, see [`crate::polkadot::record`].

pub mod adopt;
mod altered;
mod apply;
mod begin;
mod claims;
pub mod compare;
pub mod conditions;
pub mod events;
mod image;
mod keys;
mod last_client;
mod make;
mod names;
pub mod observe;
pub mod prepull;
pub mod roll;
pub mod status;
mod tell;

pub use self::tell::tell;
pub mod volumes;

use kube::core::Status;
use kube::{Client, ResourceExt as _};
use tracing::{debug, warn};

use crate::desired::{self, ChildKind, Template};
use crate::fleet::Settings;
use crate::identity::masked;
use crate::observed::{ResourceView, RoleView, Tried};
use crate::polkadot::{Grant, Names, Polkadot, PolkadotStatus, ResourceId, record};

pub use self::begin::Beginnings;
use self::conditions::Verdict;
use self::events::Deed;
use self::make::{Made, make};
use self::observe::{Caches, LiveChild, Observed, observe};
use self::status::{Findings, Pods};

pub(crate) use self::apply::REQUEST_BOUND;

/// How long after a Secret with a key was not there to look again.
const LOOK_FOR_KEY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// How long after a pod's machine was not Ready to look again.
const LOOK_FOR_HOST: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

/// How long after a name was taken to look again.
const LOOK_FOR_NAME: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// Why a reconcile stopped half-way; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("could not {what}")]
    Api {
        /// What we were about to do.
        what: String,
        /// Its answer.
        source: kube::Error,
    },
    /// The API server did not answer within the bound of a request.
    #[error("the API server did not answer within {} s", REQUEST_BOUND.as_secs())]
    Timeout,
}

impl Error {
    /// What went wrong, with the server's own words: they name the field, and may repeat a key that stood in it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let words = match self {
            Self::Api { source: kube::Error::Api(status), .. } if is_missing_right(status) => {
                format!("{self}: {}; grant it (deploy/rbac.yaml has all that is needed)", status.message)
            }
            Self::Api { source: kube::Error::Api(status), .. } => format!("{self}: {}", status.message),
            Self::Api { source, .. } => format!("{self}: {source}"),
            Self::Timeout => self.to_string(),
        };
        masked(&words)
    }

    /// Whether the API server refused in earnest, so that trying again may not help: not one that is busy, on its way down
    /// or not to be reached.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => {
                (400..=500).contains(&status.code) && !matches!(status.code, 401 | 409 | 429)
            }
            _ => false,
        }
    }

    /// Whether somebody was faster: the view was old, and the next one is on its way.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 409)
    }
}

/// Whether it is RBAC that refuses, and not a quota, a policy or a webhook, which say what to do themselves.
fn is_missing_right(status: &Status) -> bool {
    status.code == 403 && status.message.contains("forbidden: User ")
}

type Result<T> = std::result::Result<T, Error>;

/// What a reconcile needs to know beside the resource.
pub struct Inputs<'a> {
    /// The cluster's client.
    pub client: &'a Client,
    /// Its caches.
    pub caches: &'a Caches,
    /// Whose objects are being made for the first time.
    pub beginnings: &'a Beginnings,
    /// Its settings.
    pub settings: &'a Settings,
    /// Whether it is paused: then nothing is changed, the status neither.
    pub paused: bool,
    /// Now.
    pub now: jiff::Timestamp,
}

impl Inputs<'_> {
    /// Whether the cluster or the resource is to be left exactly as it is.
    fn changes_nothing(&self, polkadot: &Polkadot) -> bool {
        self.paused || polkadot.spec.hold.is_some()
    }
}

/// What came of a reconcile.
pub struct Outcome {
    /// The view for the Board.
    pub view: ResourceView,
    /// How many objects were written.
    pub changes: usize,
    /// When to look again although nothing happens.
    pub next_look: Option<jiff::SignedDuration>,
}

/// Reconciles one resource.
pub async fn reconcile(polkadot: &Polkadot, inputs: &Inputs<'_>) -> Result<Outcome> {
    if polkadot.metadata.deletion_timestamp.is_some() {
        // The garbage collector takes the children; whoever made them again would make it another node.
        let view = view_of_failed(polkadot, inputs, "it is being deleted".into());
        return Ok(Outcome { view, changes: 0, next_look: None });
    }
    let observed = observe(polkadot, inputs.caches);
    let mut made = Made::default();
    let result = change(polkadot, &observed, inputs, &mut made).await;
    // Nobody else will tell of it: not the next look, which finds it done, and no status that could not be written.
    tell(inputs.client, polkadot, &events::deeds(&made.done), inputs.now).await;
    result?;
    let pods = pods(polkadot, &observed, &made.roles, inputs, made.refused.as_deref());
    report(polkadot, made, pods, inputs).await
}

async fn change(
    polkadot: &Polkadot,
    observed: &Observed,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<()> {
    make(polkadot, observed, inputs, made).await?;
    if made.trouble.is_none() && !inputs.changes_nothing(polkadot) {
        prune(polkadot, observed, inputs, made).await?;
        delete_blocked(polkadot, observed, inputs, made).await?;
        try_version(polkadot, observed, inputs, made).await?;
        for (claim, version) in last_client::to_note(observed, &made.roles) {
            match apply::note_client(inputs.client, &ResourceId::of(polkadot), &claim, &version).await {
                Err(error) if error.is_refusal() => made.warnings.push(Verdict::warning(
                    "ClaimNotNoted",
                    format!(
                        "an older client would not be kept off the volume of {}: {}",
                        claim.name,
                        error.in_words()
                    ),
                )),
                noted => noted?,
            }
        }
    }
    Ok(())
}

/// Makes the pods that try a version where it has to be tried first, and removes those that are no longer wanted.
async fn try_version(
    polkadot: &Polkadot,
    observed: &Observed,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<()> {
    let id = ResourceId::of(polkadot);
    let trials = trials(polkadot, observed, &made.roles, inputs);
    for pod in prepull::surplus(&trials, &observed.prepulls, inputs.now) {
        if apply::delete_prepull(inputs.client, &id, &pod).await? {
            made.did(Deed::Deleted, format!("Pod {}", pod.name_any()));
        }
    }
    for trial in trials.iter().filter(|trial| trial.live.is_none()) {
        match apply::create_prepull(inputs.client, &id, trial).await {
            Ok(()) => made.did(Deed::Created, format!("Pod {} on machine {}", trial.name, trial.machine)),
            // A quota, a policy, a right that is not there: the rest of the resource is none the worse for it.
            Err(error) if error.is_refusal() => made.refused = Some(error.in_words()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where the version of the step has to be tried first.
fn trials(
    polkadot: &Polkadot,
    observed: &Observed,
    roles: &[RoleView],
    inputs: &Inputs<'_>,
) -> Vec<prepull::Trial> {
    // Most of the time there is none.
    let Some(step) =
        prepull::step(polkadot).filter(|_| roles.iter().any(|role| role.outdated().next().is_some()))
    else {
        return vec![];
    };
    let Ok(version) = desired::client(polkadot) else { return vec![] };
    let templates = desired::templates(&make::basis(polkadot, inputs, observed, &observed.keys, version));
    prepull::trials(polkadot, &step, roles, &templates, &observed.prepulls)
}

/// The view of a resource whose reconcile failed with `trouble`: what the caches say, without a request.
#[must_use]
pub fn view_of_failed(polkadot: &Polkadot, inputs: &Inputs<'_>, trouble: String) -> ResourceView {
    failed(polkadot, inputs, trouble).1
}

/// Says of a reconcile that the API server refused, on the resource itself: its owner sees no log of ours. As well as it
/// can be said; the next look tries it again.
pub async fn report_refused(polkadot: &Polkadot, inputs: &Inputs<'_>, error: &Error) -> ResourceView {
    let (status, view) = failed(polkadot, inputs, error.in_words());
    if error.is_refusal() && !inputs.paused && polkadot.status.as_ref() != Some(&status) {
        let before = polkadot.status.clone().unwrap_or_default();
        match apply::write_status(inputs.client, polkadot, &status).await {
            Ok(()) => {
                let happenings = events::changes(&before, &status);
                tell(inputs.client, polkadot, &happenings, inputs.now).await;
            }
            Err(error) => debug!(why = error.in_words(), "Could not write why a reconcile failed."),
        }
    }
    view
}

fn failed(polkadot: &Polkadot, inputs: &Inputs<'_>, trouble: String) -> (PolkadotStatus, ResourceView) {
    let observed = observe(polkadot, inputs.caches);
    let roles = match desired::client(polkadot) {
        Ok(version) => roles(
            polkadot,
            &observed,
            &desired::templates(&make::basis(polkadot, inputs, &observed, &observed.keys, version)),
        ),
        Err(_) => observe::live_roles(polkadot, &observed),
    };
    let trouble = Some(("Failed", trouble));
    let pods = pods(polkadot, &observed, &roles, inputs, None);
    let keys = &observed.keys;
    let found = Findings { roles: &roles, keys, trouble, pods, warnings: vec![] };
    let status = status::derive(polkadot, &found, inputs.now);
    let view = status::view(polkadot, &found, &status, inputs.now);
    (status, view)
}

fn pods(
    polkadot: &Polkadot,
    observed: &Observed,
    roles: &[RoleView],
    inputs: &Inputs<'_>,
    refused: Option<&str>,
) -> Pods {
    let is_left = inputs.changes_nothing(polkadot);
    Pods {
        keystore_kept: observe::keystore_kept(polkadot, &observed.pods, &observed.stateful_sets),
        left_out: if is_left { observe::unasked(polkadot, observed, roles) } else { vec![] },
        not_started: observe::not_started(&observed.pods),
        prepulls: prepull::outcomes(&trials(polkadot, observed, roles, inputs), refused),
    }
}

fn roles(polkadot: &Polkadot, observed: &Observed, templates: &[Template]) -> Vec<RoleView> {
    let names = Names::of(polkadot);
    let view = |template: &Template| {
        let replicas = polkadot.replicas(template.role);
        let mut view = observe::role_view(polkadot, template.role, &template.hash, replicas, &observed.pods);
        let set = observed.stateful_sets.get(&names.stateful_set(template.role));
        let image = template.body["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        altered::mark(&mut view, image, set.map(AsRef::as_ref), &observed.pods);
        last_client::stand_in(&mut view, &observed.pods, &observed.claims);
        view
    };
    templates.iter().map(view).collect()
}

/// Removes what we own and no longer want: the other role after a change of kind, the policy after its end.
async fn prune(polkadot: &Polkadot, observed: &Observed, inputs: &Inputs<'_>, made: &mut Made) -> Result<()> {
    let uid = polkadot.uid();
    let is_wanted =
        |live: &LiveChild| made.wanted.iter().any(|(kind, name)| *kind == live.kind && *name == live.name);
    let unwanted: Vec<_> = observed
        .children
        .iter()
        .filter(|live| live.owner == uid && !is_wanted(live))
        // Keys go with their resource and never before: a role that comes back must be the same node.
        .filter(|live| live.kind != ChildKind::Secret)
        // On its way out already.
        .filter(|live| !live.is_going())
        .collect();
    for live in unwanted {
        if apply::delete(inputs.client, &ResourceId::of(polkadot), live).await? {
            made.did(Deed::Deleted, format!("{} {}", live.kind.api().1, live.name));
        }
    }
    Ok(())
}

async fn delete_blocked(
    polkadot: &Polkadot,
    observed: &Observed,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<()> {
    let names = Names::of(polkadot);
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    for role in made.roles.clone() {
        let Some(node) = roll::blocked(&role, grant.as_ref()) else { continue };
        // As it was seen: after a change, the next look decides.
        let set = observed.stateful_sets.get(&names.stateful_set(role.role));
        if !set.is_some_and(|set| roll::comes_back_on(set, &role.hash, node.ordinal)) {
            continue;
        }
        let seen = observed.pods.iter().find(|pod| pod.name_any() == node.pod);
        let Some(uid) = seen.and_then(|pod| pod.uid()) else { continue };
        match apply::delete_blocked_pod(inputs.client, &ResourceId::of(polkadot), node, &role, &uid).await? {
            apply::Blocked::Deleted => made.did(Deed::Restarted, format!("Pod {}", node.pod)),
            apply::Blocked::HostNotReady(host) => made.warnings.push(Verdict::warning(
                "PodBlocked",
                format!(
                    "{} may restart, but its machine {host} is not known to be Ready, and the old process may still run \
                     there; when it is certain that it does not, delete the pod by hand (or let polkafleet get nodes, \
                     see deploy/rbac.yaml)",
                    node.pod
                ),
            )),
            apply::Blocked::NoMore => {}
        }
    }
    Ok(())
}

/// Writes the status where it changed, tells of what happened, and makes the view.
async fn report(polkadot: &Polkadot, made: Made, pods: Pods, inputs: &Inputs<'_>) -> Result<Outcome> {
    let Made { roles, keys, trouble, warnings, .. } = &made;
    let (trouble, warnings) = (trouble.clone(), warnings.clone());
    let found = Findings { roles, keys, trouble, pods, warnings };
    let status = status::derive(polkadot, &found, inputs.now);
    let changed = polkadot.status.as_ref() != Some(&status) && !inputs.paused;
    if changed {
        if let Some((_, words)) = &found.trouble {
            warn!(why = words, "Could not make the resource so.");
        }
        apply::write_status(inputs.client, polkadot, &status).await?;
        let before = polkadot.status.clone().unwrap_or_default();
        tell(inputs.client, polkadot, &events::changes(&before, &status), inputs.now).await;
    }
    let unable = found.pods.prepulls.values().any(|tried| matches!(tried, Tried::Unable(_)));
    let look = found.trouble.as_ref().and_then(|(reason, _)| look_after(reason));
    // Nobody watches machines: whether one is Ready again has to be asked.
    let blocked = found.warnings.iter().any(|warning| warning.type_ == "PodBlocked");
    let look =
        look.into_iter().chain(unable.then_some(prepull::AGAIN)).chain(blocked.then_some(LOOK_FOR_HOST));
    Ok(Outcome {
        view: status::view(polkadot, &found, &status, inputs.now),
        changes: made.done.len() + usize::from(changed),
        next_look: status::next_look(&status, inputs.now).into_iter().chain(look).min(),
    })
}

/// When to look again at what no watch will tell of.
fn look_after(reason: &str) -> Option<jiff::SignedDuration> {
    match reason {
        // A person's Secret is not watched: that would be the right to read every Secret.
        "NodeKeyMissing" => Some(LOOK_FOR_KEY),
        // Nor is what has one of our names and none of our labels.
        "NameConflict" => Some(LOOK_FOR_NAME),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_servers_words_keep_the_field_and_lose_the_key() {
        let key = "a1".repeat(32);
        let message = format!("Polkadot is invalid: spec.validator.nodeKey: Invalid value: \"0x{key}\"");
        let status = kube::core::Status::failure(&message, "Invalid").with_code(422);
        let error = Error::Api { what: "write the status".into(), source: kube::Error::Api(status.boxed()) };
        let words = error.in_words();
        assert!(words.contains("spec.validator.nodeKey") && !words.contains("a1a1"), "{words}");
    }
}
