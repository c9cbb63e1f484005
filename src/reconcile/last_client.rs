//! Which version of the client last used a volume: noted on its claim, so that an older one is not started on it. Pure.
//!
//! A running pod says what it runs. Where none is there, because a role comes back, or a resource or its StatefulSet is made
//! anew over volumes that were kept, only the claim remembers; and a client does not open the database of a newer one.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use crate::polkadot::{Grant, LAST_CLIENT_ANNOTATION, Names, Polkadot, Role, record};
use crate::version::{is_floating, not_newer};

use super::observe::{Observed, has_started, mounts, node_view};
use super::volumes::Claim;

/// Claims on which a version is to be noted: the first time and with a newer one as soon as its client has started, with an
/// older one when that has come up.
pub(super) fn to_note(observed: &Observed) -> Vec<(Claim, String)> {
    let of_pod = |pod: &Pod| {
        let node = node_view(pod.name_any(), 0, Some(pod));
        let version = node.version.filter(|version| !is_floating(version))?;
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

/// Why a role may not begin with the version of the spec: it has no pod, nobody has permitted it, and a volume that it
/// would get was last used by a newer version.
pub(super) fn refusal(polkadot: &Polkadot, observed: &Observed, role: Role, hash: &str) -> Option<String> {
    let names = Names::of(polkadot);
    let wanted = polkadot.spec.client_version.as_deref().filter(|version| !is_floating(version))?;
    let template = &polkadot.claim(role)?.metadata.name;
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    let is_permitted = grant.is_some_and(|grant| grant.role == role && grant.hash == hash);
    let pods: Vec<String> = (0..polkadot.replicas(role)).map(|ordinal| names.pod(role, ordinal)).collect();
    if is_permitted || observed.pods.iter().any(|pod| pods.contains(&pod.name_any())) {
        return None;
    }
    let mut claims = pods.iter().filter_map(|pod| {
        observed.claims.iter().find(|claim| claim.name_any() == format!("{template}-{pod}"))
    });
    claims.find_map(|claim| {
        let last = noted(claim)?;
        let how = not_newer(wanted, last)?;
        let name = claim.name_any();
        Some(format!(
            "{wanted} {how} {last}, which last used the volume {name}, and a client does not open the database of a newer \
             one; set spec.clientVersion to {last} or later. To begin anew, delete that claim (with a validator's keystore \
             on it); to start {wanted} on it all the same, remove the claim's annotation {LAST_CLIENT_ANNOTATION}"
        ))
    })
}

fn noted(claim: &PersistentVolumeClaim) -> Option<&String> {
    claim.annotations().get(LAST_CLIENT_ANNOTATION)
}
