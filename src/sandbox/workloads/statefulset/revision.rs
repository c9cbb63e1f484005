//! The history of a set's template, as `ControllerRevision`s: found, made, renumbered, cut short.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::super::{Action, Kind, Object, Target, controller, selects};
use super::claims::Owner;
use super::members;

const HASH: &str = "controller.kubernetes.io/hash";
const HISTORY_LIMIT: i32 = 10;
/// The longest set name that leaves room for a dash and the hash.
const PREFIX_LENGTH: usize = 223;

/// The revisions that pods are made at, and those that are kept.
pub(super) struct History {
    /// The one that the last finished roll was to.
    pub(super) current: Revision,
    /// That of the template as it is now.
    pub(super) update: Revision,
    /// How often a hash was taken by another template.
    pub(super) collisions: i32,
    /// What was there before, oldest first.
    kept: Vec<Target>,
}

/// A template and the name it goes by.
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// Makes matching revisions that nobody owns the set's own.
pub(super) fn adopt_orphans(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    all: &[&ControllerRevision],
) -> Vec<Action> {
    if set.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let orphans = owned(set, spec, all).into_iter().filter(|one| controller(&one.metadata).is_none());
    let adopt = |orphan: &ControllerRevision| {
        let mut owners = orphan.metadata.owner_references.clone().unwrap_or_default();
        owners.push(Owner::set(set).reference());
        let patch = json!({"metadata": {"ownerReferences": owners}});
        Action::Patch(Target::new(Kind::Revision, &orphan.metadata), patch)
    };
    orphans.map(adopt).collect()
}

impl History {
    /// Finds the revision of the set's template, or makes it.
    pub(super) fn settle(
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        all: &[&ControllerRevision],
        actions: &mut Vec<Action>,
    ) -> Self {
        let kept = owned(set, spec, all);
        let data = data(spec);
        let mut collisions =
            set.status.as_ref().and_then(|status| status.collision_count).unwrap_or_default();
        let next = kept.last().map_or(1, |last| last.revision + 1);
        let update = match kept.iter().rposition(|one| holds(one, &data)) {
            Some(index) => {
                // A template that was had before is the newest again.
                if index + 1 < kept.len() {
                    let target = Target::new(Kind::Revision, &kept[index].metadata);
                    actions.push(Action::Patch(target, json!({"revision": next})));
                }
                name_of(kept[index])
            }
            None => create(set, spec, all, &data, next, &mut collisions, actions),
        };
        let update = Revision { name: update, template: spec.template.clone() };
        let current = set.status.as_ref().and_then(|status| status.current_revision.as_ref());
        let current = kept.iter().find(|one| Some(&name_of(one)) == current).map_or_else(
            || Revision { name: update.name.clone(), template: update.template.clone() },
            |one| Revision { name: name_of(one), template: template(one).unwrap_or_default() },
        );
        let kept = kept.iter().map(|one| Target::new(Kind::Revision, &one.metadata)).collect();
        Self { current, update, collisions, kept }
    }

    /// Deletes the oldest of the revisions that no pod is at, down to the limit.
    pub(super) fn truncate(
        &self,
        spec: &StatefulSetSpec,
        members: &[(i32, &Pod)],
        actions: &mut Vec<Action>,
    ) {
        let in_use = |name: &String| {
            *name == self.current.name
                || *name == self.update.name
                || members.iter().any(|(_, pod)| members::revision(pod) == Some(name))
        };
        let unused: Vec<_> = self.kept.iter().filter(|one| !in_use(&one.name)).collect();
        let limit = usize::try_from(spec.revision_history_limit.unwrap_or(HISTORY_LIMIT));
        let surplus = limit.map_or(0, |limit| unused.len().saturating_sub(limit));
        actions.extend(unused.into_iter().take(surplus).cloned().map(Action::Delete));
    }
}

/// The revisions that are the set's or could be, oldest first.
fn owned<'a>(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    all: &[&'a ControllerRevision],
) -> Vec<&'a ControllerRevision> {
    let ours = |one: &&ControllerRevision| {
        selects(&spec.selector, one.metadata.labels.as_ref())
            && controller(&one.metadata).is_none_or(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
    };
    let mut owned: Vec<_> = all.iter().copied().filter(ours).collect();
    owned.sort_by(|one, other| {
        let key = |one: &ControllerRevision| (one.revision, one.metadata.creation_timestamp.clone());
        key(one).cmp(&key(other)).then_with(|| name_of(one).cmp(&name_of(other)))
    });
    owned
}

/// Makes the revision of a new template; its name.
fn create(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    all: &[&ControllerRevision],
    data: &Value,
    revision: i64,
    collisions: &mut i32,
    actions: &mut Vec<Action>,
) -> String {
    // The label keeps the first hash, also where the name had to take another.
    let label = hash(data, *collisions);
    let prefix: String = set.metadata.name.iter().flat_map(|name| name.chars()).take(PREFIX_LENGTH).collect();
    let name = loop {
        let name = format!("{prefix}-{}", hash(data, *collisions));
        match all.iter().find(|one| name_of(one) == name) {
            Some(taken) if !holds(taken, data) => *collisions += 1,
            Some(_) => return name,
            None => break name,
        }
    };
    let template = spec.template.metadata.as_ref();
    let mut labels = template.and_then(|template| template.labels.clone()).unwrap_or_default();
    labels.insert(HASH.into(), label);
    actions.push(Action::Create(Object::Revision(Box::new(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![Owner::set(set).reference()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data.clone())),
        revision,
    }))));
    name
}

/// The patch that brings a template back.
fn data(spec: &StatefulSetSpec) -> Value {
    let mut template = serde_json::to_value(&spec.template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let RawExtension(data) = revision.data.as_ref()?;
    serde_json::from_value(data.pointer("/spec/template")?.clone()).ok()
}

fn holds(revision: &ControllerRevision, data: &Value) -> bool {
    revision.data.as_ref().is_some_and(|RawExtension(held)| held == data)
}

fn name_of(revision: &ControllerRevision) -> String {
    revision.metadata.name.clone().unwrap_or_default()
}

/// The real controller's hash: 32 bits of FNV-1 over the patch as Go writes it and the collisions so far, in decimal,
/// each digit replaced by a letter or digit that spells no words.
fn hash(data: &Value, collisions: i32) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // These occur within strings only, and Go escapes them there.
    let data = data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let hash = data
        .bytes()
        .chain(collisions.to_string().bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_the_name_that_the_real_controller_gave_it() {
        let data = json!({"spec": {"template": {
            "$patch": "replace",
            "metadata": {"annotations": {"a": "b"}, "labels": {"app": "a", "extra": "v"}},
            "spec": {
                "containers": [{
                    "image": "good:1", "imagePullPolicy": "IfNotPresent", "name": "main", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 1,
            },
        }}});
        assert_eq!(hash(&data, 0), "5d6f876976");
        let RawExtension(data) = RawExtension(json!({"spec": {"template": {
            "$patch": "replace",
            "metadata": {"annotations": {"a": "b<c"}, "labels": {"app": "full", "extra": "v"}},
            "spec": {
                "containers": [{
                    "image": "good:1", "imagePullPolicy": "IfNotPresent", "name": "main", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "volumeMounts": [{"mountPath": "/data", "name": "data"}],
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
                "volumes": [{"emptyDir": {}, "name": "tmp"}],
            },
        }}}));
        assert_eq!(hash(&data, 0), "7cc5767c65");
        assert_ne!(hash(&data, 1), hash(&data, 0));
    }
}
