//! The claims of a set's pods, and who owns them under the retention policy.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::members;

/// What may own a claim, or a pod: the set, or the pod.
pub(super) struct Owner {
    api_version: &'static str,
    kind: &'static str,
    name: String,
    pub(super) uid: String,
}

impl Owner {
    pub(super) fn set(set: &StatefulSet) -> Self {
        Self {
            api_version: "apps/v1",
            kind: "StatefulSet",
            name: set.metadata.name.clone().unwrap_or_default(),
            uid: set.metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// A pod that is not made yet has no uid.
    pub(super) fn pod(name: String, uid: Option<String>) -> Self {
        Self { api_version: "v1", kind: "Pod", name, uid: uid.unwrap_or_default() }
    }

    pub(super) fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.into(),
            kind: self.kind.into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    fn named_in(&self, owner: &OwnerReference) -> bool {
        owner.api_version == self.api_version && owner.kind == self.kind && owner.name == self.name
    }

    /// Whether the claim belongs to an earlier object of this name.
    fn stale_in(&self, claim: &PersistentVolumeClaim) -> bool {
        owners_of(claim).any(|owner| self.named_in(owner) && owner.uid != self.uid)
    }
}

/// The claims that the pod of an ordinal needs.
pub(super) fn wanted(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    ordinal: i32,
) -> impl Iterator<Item = PersistentVolumeClaim> {
    templates(spec).map(move |template| {
        let mut claim = template.clone();
        claim.metadata.name = Some(name(set, template, ordinal));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        let selected = spec.selector.match_labels.clone().unwrap_or_default();
        claim.metadata.labels.get_or_insert_default().extend(selected);
        claim
    })
}

pub(super) fn templates(spec: &StatefulSetSpec) -> impl Iterator<Item = &PersistentVolumeClaim> {
    spec.volume_claim_templates.iter().flatten()
}

pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}", template.metadata.name.as_deref().unwrap_or_default(), members::name(set, ordinal))
}

pub(super) fn find<'a>(
    claims: &[&'a PersistentVolumeClaim],
    name: Option<&str>,
) -> Option<&'a PersistentVolumeClaim> {
    claims.iter().copied().find(|claim| claim.metadata.name.as_deref() == name)
}

/// Whether a claim of the ordinal still goes the way of an earlier pod, which a new one has to wait for.
pub(super) fn stale(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    claims: &[&PersistentVolumeClaim],
    ordinal: i32,
) -> bool {
    let pod = Owner::pod(members::name(set, ordinal), None);
    policy(spec).1
        && templates(spec)
            .filter_map(|template| find(claims, Some(&name(set, template, ordinal))))
            .any(|claim| pod.stale_in(claim))
}

/// The owners that a claim should have where it has others; `None` where they are right, or not ours to touch.
pub(super) fn owners(
    spec: &StatefulSetSpec,
    claim: &PersistentVolumeClaim,
    set: &Owner,
    pod: &Owner,
    surplus: bool,
) -> Option<Vec<OwnerReference>> {
    if set.stale_in(claim) || pod.stale_in(claim) {
        return None;
    }
    let (ours, mut owners): (Vec<_>, Vec<_>) =
        owners_of(claim).cloned().partition(|owner| set.named_in(owner) || pod.named_in(owner));
    let managed_by_another = owners.iter().any(|owner| owner.controller == Some(true));
    let wanted = match policy(spec) {
        (false, false) => None,
        _ if managed_by_another => None,
        (_, true) if surplus => Some(pod),
        (true, _) => Some(set),
        (false, true) => None,
    }
    .map(Owner::reference);
    let right = ours.iter().all(|owner| owner.controller == Some(true))
        && ours.iter().map(|owner| &owner.uid).eq(wanted.iter().map(|owner| &owner.uid));
    owners.extend(wanted);
    (!right).then_some(owners)
}

fn owners_of(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &OwnerReference> {
    claim.metadata.owner_references.iter().flatten()
}

/// Whether claims go when the set is deleted, and when it is scaled down.
fn policy(spec: &StatefulSetSpec) -> (bool, bool) {
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    (
        deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
        deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
    )
}
