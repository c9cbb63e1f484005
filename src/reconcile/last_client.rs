//! Which version of the client last used a volume: noted on its claim, so that an older one is not started on it. Pure.
//!
//! A running pod says what it runs. Where none is there, because a role comes back, or a resource or its StatefulSet is made
//! anew over volumes that were kept, only the claim remembers; and a client does not open the database of a newer one. A
//! template that is older than either is kept from the StatefulSet altogether: a pod that is drained behind a partition
//! comes back from it as soon as the controller has taken it for the current one.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use crate::desired::Template;
use crate::observed::RoleView;
use crate::polkadot::{Grant, LAST_CLIENT_ANNOTATION, Names, Polkadot, Role, Step, record};
use crate::version::{is_floating, not_newer, or_later};

use super::observe::{Observed, has_started, mounts, node_view};
use super::volumes::Claim;

/// Claims on which a version is to be noted: the first time and with a newer one as soon as its client has started, with an
/// older one when that has come up.
pub(super) fn to_note(observed: &Observed, roles: &[RoleView]) -> Vec<(Claim, String)> {
    let of_pod = |pod: &Pod| {
        let version = version(pod, roles)?;
        let claim = observed.claims.iter().find(|claim| mounts(pod, &claim.name_any()))?;
        let is_ready = || node_view(pod.name_any(), 0, Some(pod)).ready_since.is_some();
        let news = match noted(claim) {
            _ if !has_started(pod) => false,
            None => true,
            Some(noted) => *noted != version && (is_ready() || not_newer(&version, noted).is_none()),
        };
        news.then(|| (Claim::of(claim), version))
    };
    observed.pods.iter().filter_map(|pod| of_pod(pod)).collect()
}

/// The version that a pod runs; `None` where nobody knows.
fn version(pod: &Pod, roles: &[RoleView]) -> Option<String> {
    let mut nodes = roles.iter().flat_map(|role| &role.nodes);
    match nodes.find(|node| node.pod == pod.name_any()) {
        Some(node) => node.version.clone(),
        None => node_view(pod.name_any(), 0, Some(pod)).version,
    }
}

/// A pod that has not started runs no version: what counts is which one its volume has seen. Where that is not noted, its tag
/// stays: what has used the volume before is not known.
pub(super) fn stand_in(view: &mut RoleView, pods: &[Arc<Pod>], claims: &[Arc<PersistentVolumeClaim>]) {
    for node in &mut view.nodes {
        let Some(pod) = pods.iter().find(|pod| pod.name_any() == node.pod) else { continue };
        if !has_started(pod) {
            let claim = claims.iter().find(|claim| mounts(pod, &claim.name_any()));
            node.version = claim.and_then(|claim| noted(claim).cloned().or(node.version.take()));
        }
    }
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
    roles: &[RoleView],
    template: &Template,
) -> Option<Refusal> {
    let role = template.role;
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    if grant.is_some_and(|grant| grant.role == role && grant.hash == template.hash) {
        return None;
    }
    let names = Names::of(polkadot);
    let pods: Vec<String> = (0..polkadot.replicas(role)).map(|ordinal| names.pod(role, ordinal)).collect();
    let runs = pods.iter().find_map(|name| running(polkadot, observed, roles, name));
    let left = || {
        let words = pods.iter().find_map(|name| left_behind(polkadot, observed, role, name));
        words.map(|words| Refusal { words: Some(words) })
    };
    runs.or_else(left)
}

/// How the version of the spec stands to `other`, where it is not known to be newer; `None` where it is, or where the
/// planner took the step from just that one to it, which it does only with `allowDowngrade`.
fn goes_back(polkadot: &Polkadot, other: &str) -> Option<&'static str> {
    let wanted = polkadot.spec.client_version.as_deref()?;
    let step: Option<Step> = record::read(polkadot.annotations(), record::STEP_ANNOTATION);
    let is_step = |step: &Step| step.target == wanted && step.previous.as_deref() == Some(other);
    not_newer(wanted, other).filter(|_| !step.as_ref().is_some_and(is_step))
}

fn running(polkadot: &Polkadot, observed: &Observed, roles: &[RoleView], name: &str) -> Option<Refusal> {
    let wanted = polkadot.spec.client_version.as_deref()?;
    let pod = observed.pods.iter().find(|pod| pod.name_any() == name && has_started(pod))?;
    let runs = version(pod, roles)?;
    let how = goes_back(polkadot, &runs)?;
    let words = format!(
        "{wanted} {how} {runs}, which {name} runs, and a client does not open the database of a newer one: it is not rolled \
         out, unless an upgrade with allowDowngrade: true owns this resource; set spec.clientVersion to {}",
        or_later(&runs)
    );
    // What a tag that moves stands for, only the node itself knows.
    let may_be_newer = is_floating(&runs) && !is_floating(wanted);
    Some(Refusal { words: (!may_be_newer).then_some(words) })
}

fn left_behind(polkadot: &Polkadot, observed: &Observed, role: Role, name: &str) -> Option<String> {
    let wanted = polkadot.spec.client_version.as_deref()?;
    let claim = format!("{}-{name}", polkadot.claim(role)?.metadata.name);
    let last = noted(observed.claims.iter().find(|found| found.name_any() == claim)?)?;
    let how = goes_back(polkadot, last)?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The version of a pod that has not started, by the note on its claim; without a claim, if that is null.
    fn seen(annotations: &serde_json::Value) -> Option<String> {
        let pod = json!({
            "metadata": {"name": "sentry-sset-0"},
            "spec": {
                "containers": [{"name": "polkadot", "image": "parity/polkadot:stable2503-99"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-sentry-sset-0"}}],
            },
        });
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).unwrap());
        let claim = json!({"metadata": {"name": "data-sentry-sset-0", "annotations": annotations}});
        let claims =
            if annotations.is_null() { vec![] } else { vec![serde_json::from_value(claim).unwrap()] };
        let node = node_view("sentry-sset-0".into(), 0, Some(&pod));
        let mut view =
            RoleView { role: Role::Sentry, hash: "new".into(), nodes: vec![node], volumes_added: false };
        stand_in(&mut view, &[pod], &claims.into_iter().map(Arc::new).collect::<Vec<_>>());
        view.nodes.remove(0).version
    }

    #[test]
    fn what_never_started_counts_as_what_its_volume_has_seen_and_as_its_tag_where_that_is_not_noted() {
        let noted = json!({LAST_CLIENT_ANNOTATION: "stable2503-7"});
        assert_eq!(seen(&noted).as_deref(), Some("stable2503-7"));
        assert_eq!(seen(&json!({})).as_deref(), Some("stable2503-99"));
        assert_eq!(seen(&serde_json::Value::Null), None, "there is no database");
    }
}
