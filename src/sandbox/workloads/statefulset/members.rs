//! The pods of a set: which they are, and what a new one looks like.

use std::ops::Range;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::super::{Action, Kind, Target, controller, selects};
use super::claims::{self, Owner};
use super::revision::History;

pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
pub(super) const REVISION: &str = "controller-revision-hash";

/// The set's pods by ordinal. Orphans that fit are adopted, pods that no longer fit are released.
pub(super) fn gather<'a>(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pods: &[&'a Pod],
    actions: &mut Vec<Action>,
) -> Vec<(i32, &'a Pod)> {
    let deleting = set.metadata.deletion_timestamp.is_some();
    let owner = Owner::set(set);
    let mut members = Vec::new();
    for pod in pods {
        let metadata = &pod.metadata;
        let ordinal = ordinal(set, pod).filter(|_| selects(&spec.selector, metadata.labels.as_ref()));
        let mut owners = metadata.owner_references.clone().unwrap_or_default();
        match (controller(metadata), ordinal) {
            (Some(other), _) if other.uid != owner.uid => continue,
            (Some(_), Some(ordinal)) => {
                members.push((ordinal, *pod));
                continue;
            }
            (Some(_), None) if !deleting => owners.retain(|other| other.uid != owner.uid),
            (None, Some(ordinal)) if !deleting && metadata.deletion_timestamp.is_none() => {
                members.push((ordinal, *pod));
                owners.push(owner.reference());
            }
            _ => continue,
        }
        let patch = json!({"metadata": {"ownerReferences": owners}});
        actions.push(Action::Patch(Target::new(Kind::Pod, metadata), patch));
    }
    members.sort_by_key(|(ordinal, _)| *ordinal);
    members
}

/// The pod of an ordinal as the template of its revision makes it.
pub(super) fn pod(set: &StatefulSet, spec: &StatefulSetSpec, history: &History, ordinal: i32) -> Pod {
    // Behind the partition also a pod that is made again stays as it was.
    let current = ordinal < start(spec) + partition(spec);
    let revision = if current { &history.current } else { &history.update };
    let template = revision.template.metadata.clone().unwrap_or_default();
    let name = name(set, ordinal);
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(POD_NAME.into(), name.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    labels.insert(REVISION.into(), revision.name.clone());
    let mut pod = revision.template.spec.clone().unwrap_or_default();
    pod.hostname = Some(name.clone());
    pod.subdomain = spec.service_name.clone().filter(|service| !service.is_empty());
    pod.volumes = volumes(set, spec, ordinal, pod.volumes.unwrap_or_default());
    Pod {
        metadata: ObjectMeta {
            generate_name: set.metadata.name.as_ref().map(|set| format!("{set}-")),
            name: Some(name),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: template.annotations,
            finalizers: template.finalizers,
            owner_references: Some(vec![Owner::set(set).reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(pod),
        status: None,
    }
}

/// The claims' volumes, then those of the template that none of them replaces.
fn volumes(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    ordinal: i32,
    template: Vec<Volume>,
) -> Option<Vec<Volume>> {
    let volume = |name: String, claim_name| Volume {
        name,
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name, read_only: None }),
        ..Volume::default()
    };
    let mut volumes: Vec<_> = claims::templates(spec)
        .map(|claim| {
            volume(claim.metadata.name.clone().unwrap_or_default(), claims::name(set, claim, ordinal))
        })
        .collect();
    let replaced: Vec<_> = volumes.iter().map(|volume| volume.name.clone()).collect();
    volumes.extend(template.into_iter().filter(|volume| !replaced.contains(&volume.name)));
    Some(volumes).filter(|volumes| !volumes.is_empty())
}

pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The number in the name of a pod that may belong to `set`.
fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let ordinal = pod.metadata.name.as_deref()?.rsplit_once('-')?.1.parse().ok()?;
    (pod.metadata.name.as_deref() == Some(&name(set, ordinal))).then_some(ordinal)
}

pub(super) fn revision(pod: &Pod) -> Option<&String> {
    pod.metadata.labels.as_ref()?.get(REVISION)
}

pub(super) fn replicas(spec: &StatefulSetSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

pub(super) fn start(spec: &StatefulSetSpec) -> i32 {
    spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default()
}

pub(super) fn ordinals(spec: &StatefulSetSpec) -> Range<i32> {
    start(spec)..start(spec) + replicas(spec)
}

/// How many of the lowest ordinals a roll leaves alone.
pub(super) fn partition(spec: &StatefulSetSpec) -> i32 {
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    rolling.and_then(|rolling| rolling.partition).unwrap_or_default()
}
