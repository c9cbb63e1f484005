//! Takes over what the old operator made, without restarting anything. Pure.
//!
//! Its fields are recorded under its own name, so they would survive our apply: the root init container, the arguments.
//! So its entries in `managedFields` are first rewritten to ours, as client-go's `csaupgrade` does; what we then do not
//! apply goes away. Its StatefulSets' selectors cannot be changed; they stay, see [`Inherited`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use crate::desired::{self, ChildKind, Inherited};
use crate::polkadot::{
    ADOPTED_ANNOTATION, FIELD_MANAGER, INSTANCE_LABEL, Names, Polkadot, ResourceId, Role,
    TEMPLATE_HASH_ANNOTATION,
};

use super::observe::LiveChild;

/// How long somebody who writes our fields must have been quiet before we repair what they wrote: whoever repairs at
/// once fights, and every round of a fight restarts pods.
pub const CONTEST: SignedDuration = SignedDuration::from_mins(10);

/// The manager under which the API server files what was written before it kept records.
const BEFORE_RECORDS: &str = "before-first-apply";

/// Whether an object without an owner is one that the old operator made (its updates drop the owner): it selects by
/// the two labels that only that operator used alone.
#[must_use]
pub fn is_legacy(live: &LiveChild) -> bool {
    let spec = &live.value["spec"];
    let selector = match live.kind {
        ChildKind::StatefulSet => &spec["selector"]["matchLabels"],
        ChildKind::Service => &spec["selector"],
        ChildKind::NetworkPolicy => &spec["podSelector"]["matchLabels"],
        ChildKind::Secret | ChildKind::DisruptionBudget => return false,
    };
    Role::ALL.iter().any(|role| *selector == json!(legacy_selector(*role)))
}

/// The managed fields of `live` with those of the old operator made ours; `None` where there are none to be rewritten. So
/// are ports that somebody else wrote and that have the name of one of ours: a server takes no two of one name.
#[must_use]
pub fn rewritten(live: &LiveChild, desired: &Value) -> Option<Vec<ManagedFieldsEntry>> {
    let shadowed = live.kind == ChildKind::Service && has_shadowed_port(desired, &live.value);
    let is_theirs = |entry: &ManagedFieldsEntry| is_creators(live.kind, entry) || is_rivals(entry);
    let (theirs, mut rest): (Vec<_>, Vec<_>) = live.managed.iter().cloned().partition(is_theirs);
    let mut fields = json!({});
    let mut version = theirs.first().map(|entry| entry.api_version.clone());
    // Of those who wrote ports, only the ports: the rest is theirs.
    for entry in rest.iter_mut().filter(|entry| shadowed && !is_ours(entry)) {
        let spec = entry.fields_v1.as_mut().and_then(|fields| fields.0.get_mut("f:spec")?.as_object_mut());
        if let Some(ports) = spec.and_then(|spec| spec.remove("f:ports")) {
            unite(&mut fields, &json!({"f:spec": {"f:ports": ports}}));
            version.get_or_insert_with(|| entry.api_version.clone());
        }
    }
    let version = version?;
    let known = rest.iter().position(is_ours);
    let known = known.map(|index| rest.remove(index));
    for entry in theirs.iter().chain(&known) {
        if let Some(FieldsV1(more)) = &entry.fields_v1 {
            unite(&mut fields, more);
        }
    }
    rest.push(ManagedFieldsEntry {
        manager: Some(FIELD_MANAGER.into()),
        operation: Some("Apply".into()),
        api_version: version,
        fields_type: Some("FieldsV1".into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    });
    Some(rest)
}

/// Who writes what is ours, and since when: a live old operator compares its `version` label and puts it back.
/// `None` once they have been quiet for [`CONTEST`].
#[must_use]
pub fn contested(live: &LiveChild, now: Timestamp) -> Option<&str> {
    let rival = live.managed.iter().find(|entry| is_rivals(entry))?;
    let adopted = live.managed.iter().any(is_ours);
    let recent = rival.time.as_ref().is_some_and(|time| now.duration_since(time.0) < CONTEST);
    (adopted && recent).then(|| rival.manager.as_deref().unwrap_or("somebody"))
}

/// What the live StatefulSets and pods impose on what should exist.
#[must_use]
pub fn inherited(
    polkadot: &Polkadot,
    sets: &BTreeMap<String, Arc<StatefulSet>>,
    pods: &[Arc<Pod>],
) -> Inherited {
    let (id, names) = (ResourceId::of(polkadot), Names::of(polkadot));
    let mut inherited = Inherited::default();
    for role in Role::ALL {
        let set = sets.get(&names.stateful_set(role));
        let spec = set.and_then(|set| set.spec.as_ref());
        let mut own = pods.iter().filter(|pod| is_pod_of(&names, role, pod));
        let unlabelled = own.any(|pod| !pod.labels().contains_key(INSTANCE_LABEL));
        let selector = match spec {
            Some(spec) => spec.selector.match_labels.clone(),
            // Pods that their StatefulSet has left behind: the new one has to find them.
            None => unlabelled.then(|| legacy_selector(role)),
        };
        if let Some(selector) = selector.filter(|selector| *selector != desired::selector(&id, role)) {
            inherited.selectors.insert(role, selector);
        }
        if let Some(kept) = set.and_then(|set| kept_template(polkadot, set)) {
            inherited.templates.insert(role, kept);
        }
        if unlabelled {
            inherited.unlabelled.insert(role);
        }
    }
    inherited
}

/// The template of a StatefulSet that is not of our making, while the resource is as it was when it was taken over.
fn kept_template(polkadot: &Polkadot, set: &StatefulSet) -> Option<(Value, i64)> {
    let template = &set.spec.as_ref()?.template;
    let annotations = template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    if annotations.is_some_and(|all| all.contains_key(TEMPLATE_HASH_ANNOTATION)) {
        return None;
    }
    let now = polkadot.metadata.generation.unwrap_or_default();
    let then = set.annotations().get(ADOPTED_ANNOTATION).map_or(Some(now), |text| text.parse().ok());
    (then == Some(now)).then(|| Some((serde_json::to_value(template).ok()?, now)))?
}

/// Whether a pod is one of the role's StatefulSet, or was until that was deleted to be made again around it.
#[must_use]
pub fn is_pod_of(names: &Names, role: Role, pod: &Pod) -> bool {
    let set = names.stateful_set(role);
    match pod.owner_references() {
        [] => {
            names.ordinal(role, &pod.name_any()).is_some()
                && legacy_selector(role).iter().all(|(key, value)| pod.labels().get(key) == Some(value))
        }
        owners => owners.iter().any(|owner| owner.kind == "StatefulSet" && owner.name == set),
    }
}

/// What the old operator selects the pods of a role by.
fn legacy_selector(role: Role) -> BTreeMap<String, String> {
    [("app", "polkadot"), ("role", role.as_str())].map(|(key, value)| (key.into(), value.into())).into()
}

/// Whether an entry is that of our applies.
pub(super) fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn is_update(entry: &ManagedFieldsEntry) -> bool {
    entry.operation.as_deref() == Some("Update")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
        && entry.manager.as_deref() != Some(FIELD_MANAGER)
}

/// Whether an entry is of whoever created the object: only they own what selects its pods.
fn is_creators(kind: ChildKind, entry: &ManagedFieldsEntry) -> bool {
    let selects = match kind {
        ChildKind::NetworkPolicy => "f:podSelector",
        _ => "f:selector",
    };
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0["f:spec"]);
    is_update(entry)
        && (entry.manager.as_deref() == Some(BEFORE_RECORDS)
            || fields.is_some_and(|spec| spec.get(selects).is_some()))
}

/// Whether a Service has a port with the name of one that is wanted, and another number.
fn has_shadowed_port(desired: &Value, live: &Value) -> bool {
    let ports = |of: &Value| of["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let (wanted, there) = (ports(desired), ports(live));
    let is_wanted = |port: &Value| wanted.iter().any(|one| one["port"] == port["port"]);
    let shadows = |port: &Value| wanted.iter().any(|one| one["name"] == port["name"]) && !is_wanted(port);
    there.iter().any(shadows)
}

/// Whether an entry is of an old operator: it writes the `version` label together with the template. (A person who
/// labels a StatefulSet is no rival.)
fn is_rivals(entry: &ManagedFieldsEntry) -> bool {
    let Some(FieldsV1(fields)) = &entry.fields_v1 else { return false };
    let has = |path: [&str; 3]| path.iter().try_fold(fields, |at, key| at.get(key)).is_some();
    is_update(entry)
        && has(["f:metadata", "f:labels", "f:version"])
        && has(["f:spec", "f:template", "f:spec"])
}

/// The union of two field sets.
fn unite(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else { return };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    if let Value::Object(into) = into {
        for (key, value) in from {
            unite(into.entry(key).or_insert_with(|| json!({})), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some("Update".into()),
            api_version: Some("apps/v1".into()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn of_the_old_operator() -> ManagedFieldsEntry {
        entry(
            "polkadot-operator",
            json!({"f:metadata": {"f:labels": {"f:version": {}}}, "f:spec": {
                "f:selector": {}, "f:template": {"f:spec": {"f:initContainers": {}}},
            }}),
        )
    }

    fn set(managed: Vec<ManagedFieldsEntry>) -> LiveChild {
        LiveChild {
            kind: ChildKind::StatefulSet,
            name: "sentry-sset".into(),
            uid: "uid".into(),
            resource_version: "1".into(),
            owner: None,
            managed,
            value: json!({"spec": {"selector": {"matchLabels": {"app": "polkadot", "role": "sentry"}}}}),
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_port_that_somebody_wrote_over_ours_becomes_ours_and_nothing_else_of_theirs() {
        let ports =
            |number: u16| json!({"spec": {"ports": [{"name": "p2p", "port": number, "protocol": "TCP"}]}});
        let key = r#"k:{"port":31333,"protocol":"TCP"}"#;
        let person = entry(
            "kubectl-patch",
            json!({"f:spec": {"f:loadBalancerSourceRanges": {}, "f:ports": {key: {"f:port": {}}}}}),
        );
        let service =
            LiveChild { kind: ChildKind::Service, value: ports(31_333), ..set(vec![person.clone()]) };
        let managed = rewritten(&service, &ports(30_333)).unwrap();
        let fields = |index: usize| managed[index].fields_v1.as_ref().unwrap().0.clone();
        assert_eq!(fields(0), json!({"f:spec": {"f:loadBalancerSourceRanges": {}}}));
        assert_eq!(managed[1].manager.as_deref(), Some(FIELD_MANAGER));
        assert!(fields(1)["f:spec"]["f:ports"].get(key).is_some());
        assert_eq!(rewritten(&service, &ports(31_333)), None, "a port of their own is theirs");
    }

    #[test]
    fn the_old_operators_fields_become_ours_and_nobody_elses() {
        let person = entry("kubectl-edit", json!({"f:metadata": {"f:annotations": {"f:note": {}}}}));
        let status = ManagedFieldsEntry {
            subresource: Some("status".into()),
            ..entry("kube-controller-manager", json!({"f:status": {"f:replicas": {}}}))
        };
        let managed =
            rewritten(&set(vec![of_the_old_operator(), person.clone(), status.clone()]), &Value::Null)
                .unwrap();
        assert_eq!(managed[..2], [person, status]);
        assert_eq!(managed[2].manager.as_deref(), Some(FIELD_MANAGER));
        assert_eq!(managed[2].operation.as_deref(), Some("Apply"));
        assert_eq!(managed[2].fields_v1, of_the_old_operator().fields_v1);
        assert_eq!(rewritten(&set(managed), &Value::Null), None, "once is enough");
    }

    #[test]
    fn what_was_written_before_there_were_records_is_taken_over_as_well() {
        let before = entry(BEFORE_RECORDS, json!({"f:spec": {"f:template": {}}}));
        let managed = rewritten(&set(vec![before]), &Value::Null).unwrap();
        assert_eq!(managed.len(), 1);
    }

    #[test]
    fn a_live_old_operator_is_left_alone_until_it_has_been_quiet() {
        let adopted = rewritten(&set(vec![of_the_old_operator()]), &Value::Null).unwrap();
        let again = ManagedFieldsEntry {
            time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0))),
            ..entry(
                "polkadot-operator",
                json!({"f:metadata": {"f:labels": {"f:version": {}}}, "f:spec": {"f:template": {"f:spec": {}}}}),
            )
        };
        let live = set(adopted.into_iter().chain([again]).collect());
        assert_eq!(contested(&live, at(9)), Some("polkadot-operator"));
        assert_eq!(contested(&live, at(10)), None);
        assert_eq!(rewritten(&live, &Value::Null).unwrap().len(), 1, "then its fields are ours again");
        let fresh = set(vec![of_the_old_operator()]);
        assert_eq!(contested(&fresh, at(0)), None, "the first time there is nothing to fight about");
    }

    #[test]
    fn only_the_old_operators_selectors_are_legacy() {
        let mut live = set(vec![]);
        assert!(is_legacy(&live));
        live.value["spec"]["selector"]["matchLabels"]["team"] = json!("other");
        assert!(!is_legacy(&live));
        live.kind = ChildKind::Secret;
        assert!(!is_legacy(&live));
    }
}
