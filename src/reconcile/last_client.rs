//! Which version of the client last used a volume: noted on its claim, so that an older one is not started on it. Pure.
//!
//! A running pod says what it runs. Where none is there, because a role comes back, or a resource or its StatefulSet is made
//! anew over volumes that were kept, only the claim remembers; and a client does not open the database of a newer one. A
//! template that is older than either is kept from the StatefulSet altogether: a pod that is drained behind a partition
//! comes back from it as soon as the controller has taken it for the current one.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use crate::desired::Template;
use crate::polkadot::{Grant, LAST_CLIENT_ANNOTATION, Names, Polkadot, Role, Step, record};
use crate::version::{is_floating, not_newer, or_later};

use super::altered;
use super::observe::{Observed, has_started, mounts, node_view};
use super::volumes::Claim;

/// Claims on which a version is to be noted: the first time and with a newer one as soon as its client has started, with an
/// older one when that has come up.
pub(super) fn to_note(observed: &Observed, image: &str) -> Vec<(Claim, String)> {
    let of_pod = |pod: &Pod| {
        let node = node_view(pod.name_any(), 0, Some(pod));
        let version = version(pod, image)?;
        let claim = observed.claims.iter().find(|claim| mounts(pod, &claim.name_any()))?;
        let is_newer = |noted: &String| not_newer(&version, noted).is_none();
        let news = match noted(claim) {
            None => has_started(pod),
            Some(noted) if *noted == version => false,
            Some(noted) => node.ready_since.is_some() || (has_started(pod) && is_newer(noted)),
        };
        news.then(|| (Claim::of(claim), version))
    };
    observed.pods.iter().filter_map(|pod| of_pod(pod)).collect()
}

/// Why a template is not permitted.
pub(super) struct Refusal {
    /// For a person; `None` where the planner may still find out that it is newer, by asking the nodes.
    pub(super) words: Option<String>,
}

/// Whether a role may not be made from a template of the version of the spec, as nobody has permitted that: a pod of it
/// runs, or a volume of it was last used by, a version that is newer, or may be. That a pod is on its way out changes
/// nothing: its volume stays.
pub(super) fn refusal(
    polkadot: &Polkadot,
    observed: &Observed,
    template: &Template,
    image: &str,
) -> Option<Refusal> {
    let wanted = polkadot.spec.client_version.as_deref()?;
    let role = template.role;
    if is_permitted(polkadot, role, &template.hash, wanted) {
        return None;
    }
    let names = Names::of(polkadot);
    let pods: Vec<String> = (0..polkadot.replicas(role)).map(|ordinal| names.pod(role, ordinal)).collect();
    let runs = pods.iter().find_map(|name| running(observed, name, wanted, image));
    let left = || {
        let words = pods.iter().find_map(|name| left_behind(polkadot, observed, role, name, wanted));
        words.map(|words| Refusal { words: Some(words) })
    };
    runs.or_else(left)
}

/// By the planner: for this template, or by a step back, which it takes only with `allowDowngrade`.
fn is_permitted(polkadot: &Polkadot, role: Role, hash: &str, wanted: &str) -> bool {
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    let step: Option<Step> = record::read(polkadot.annotations(), record::STEP_ANNOTATION);
    let is_back = |step: &Step| step.previous.as_ref().is_some_and(|from| not_newer(wanted, from).is_some());
    grant.is_some_and(|grant| grant.role == role && grant.hash == hash)
        || step.is_some_and(|step| step.target == wanted && is_back(&step))
}

/// The version that a pod runs; `None` for an image of somebody else's, whose tag says nothing of the client.
fn version(pod: &Pod, ours: &str) -> Option<String> {
    let image = altered::image(pod.spec.as_ref()?)?;
    altered::tag(image).filter(|_| !altered::is_foreign(image, ours)).map(str::to_owned)
}

fn running(observed: &Observed, name: &str, wanted: &str, image: &str) -> Option<Refusal> {
    let pod = observed.pods.iter().find(|pod| pod.name_any() == name && has_started(pod))?;
    let runs = version(pod, image)?;
    let how = not_newer(wanted, &runs)?;
    let words = format!(
        "{wanted} {how} {runs}, which {name} runs, and a client does not open the database of a newer one: it is not rolled \
         out, unless an upgrade with allowDowngrade: true owns this resource; set spec.clientVersion to {}",
        or_later(&runs)
    );
    // What a tag that moves stands for, only the node itself knows.
    let may_be_newer = is_floating(&runs) && !is_floating(wanted);
    Some(Refusal { words: (!may_be_newer).then_some(words) })
}

fn left_behind(
    polkadot: &Polkadot,
    observed: &Observed,
    role: Role,
    name: &str,
    wanted: &str,
) -> Option<String> {
    let claim = format!("{}-{name}", polkadot.claim(role)?.metadata.name);
    let last = noted(observed.claims.iter().find(|found| found.name_any() == claim)?)?;
    let how = not_newer(wanted, last)?;
    Some(format!(
        "{wanted} {how} {last}, which last used the volume of {claim}, and a client does not open the database of a newer \
         one: set spec.clientVersion to {}. To start {wanted} on it all the same, remove the claim's annotation \
         {LAST_CLIENT_ANNOTATION}; to begin with an empty volume, delete the claim, which also deletes the session keys of a \
         validator",
        or_later(last)
    ))
}

fn noted(claim: &PersistentVolumeClaim) -> Option<&String> {
    claim.annotations().get(LAST_CLIENT_ANNOTATION)
}
