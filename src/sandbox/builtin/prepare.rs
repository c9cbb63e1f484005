//! What of a request the API server takes: a status is nobody's on creation and only the status subresource's after
//! it, and the generation counts the changes of what is wanted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{entries, fill, items, object, quantity::Quantity, text};
use crate::sandbox::structural::crd;

/// Prepares a new object of a kind of Kubernetes.
pub fn prepare_create(kind: &str, new: &mut Value) {
    let status = match kind {
        "StatefulSet" => Some(json!({ "replicas": 0, "availableReplicas": 0 })),
        "Pod" => Some(json!({ "phase": "Pending", "qosClass": quality(new) })),
        "Service" => Some(json!({ "loadBalancer": {} })),
        "PersistentVolumeClaim" => Some(json!({ "phase": "Pending" })),
        "PodDisruptionBudget" => Some(
            json!({ "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 }),
        ),
        "Namespace" => Some(json!({ "phase": "Active" })),
        "CustomResourceDefinition" => Some(crd::initial_status(new)),
        _ => None,
    };
    if let Some(status) = status {
        new["status"] = status;
    }
    match kind {
        "Namespace" => super::defaults::add(&mut new["spec"], "finalizers", &json!("kubernetes")),
        "Service" => {
            normalize_addresses(new, None);
            families(new);
        }
        "NetworkPolicy" => _ = remove(new, "status"),
        _ => {}
    }
    drop_disabled(kind, new);
    if counts(kind) {
        set(new, "generation", Some(json!(1)));
    }
}

/// Drops the fields of features that are off in the version that is played.
fn drop_disabled(kind: &str, new: &mut Value) {
    match kind {
        "StatefulSet" => {
            if let Some(rolling) = new.pointer_mut("/spec/updateStrategy/rollingUpdate") {
                remove(rolling, "maxUnavailable");
            }
        }
        "Lease" => {
            for key in ["strategy", "preferredHolder"] {
                remove(&mut new["spec"], key);
            }
        }
        _ => {}
    }
}

/// Prepares a changed object of a kind of Kubernetes.
pub fn prepare_update(kind: &str, new: &mut Value, old: &Value) {
    keep_identity(new, old);
    let with_status = [
        "StatefulSet",
        "Pod",
        "Service",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Namespace",
        "Node",
        "CustomResourceDefinition",
    ];
    if with_status.contains(&kind) {
        copy(new, old, "status");
    }
    match kind {
        "Namespace" => copy(new, old, "spec"),
        "CustomResourceDefinition" => crd::add_stored_version(new),
        _ => {}
    }
    drop_disabled(kind, new);
    if counts(kind) && new.get("spec") != old.get("spec") {
        count_up(new, old);
    }
}

/// What the server changes of a changed object after it has written down who owns what.
pub fn complete_update(kind: &str, new: &mut Value, old: &Value) {
    if kind == "Service" {
        service(new, old);
    }
}

/// Prepares a changed status of a kind of Kubernetes.
pub fn prepare_status(kind: &str, new: &mut Value, old: &Value) {
    keep_identity(new, old);
    copy(new, old, "spec");
    match kind {
        "Pod" => {
            set(new, "ownerReferences", old.pointer("/metadata/ownerReferences").cloned());
            if let Some(class) = old.pointer("/status/qosClass") {
                fill(&mut new["status"], "qosClass", class.clone());
            }
        }
        "CustomResourceDefinition" => keep_metadata(new, old),
        _ => {}
    }
}

/// Prepares a new custom resource; `has_status` is whether its definition has the status subresource.
pub fn prepare_custom_create(new: &mut Value, has_status: bool) {
    if has_status {
        remove(new, "status");
    }
    set(new, "generation", Some(json!(1)));
}

/// Prepares a changed custom resource.
pub fn prepare_custom_update(new: &mut Value, old: &Value, has_status: bool) {
    keep_identity(new, old);
    if has_status {
        copy(new, old, "status");
    }
    let content = |object: &Value| {
        let mut object = object.clone();
        remove(&mut object, "metadata");
        object
    };
    if content(new) != content(old) {
        count_up(new, old);
    }
}

/// Prepares a changed status of a custom resource: everything else is the old object's.
pub fn prepare_custom_status(new: &mut Value, old: &Value) {
    let status = remove(new, "status");
    let managed = new.pointer("/metadata/managedFields").cloned();
    *new = old.clone();
    set(new, "managedFields", managed);
    remove(new, "status");
    if let (Some(fields), Some(status)) = (new.as_object_mut(), status) {
        fields.insert("status".to_owned(), status);
    }
}

/// The kinds whose generation is counted.
fn counts(kind: &str) -> bool {
    ["StatefulSet", "NetworkPolicy", "PodDisruptionBudget", "Pod", "CustomResourceDefinition"].contains(&kind)
}

fn count_up(new: &mut Value, old: &Value) {
    let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
    set(new, "generation", Some(json!(generation + 1)));
}

/// Metadata that no update changes, whatever it says.
fn keep_identity(new: &mut Value, old: &Value) {
    let field = |key: &str| old.pointer(&format!("/metadata/{key}")).cloned();
    set(new, "generation", field("generation"));
    set(new, "creationTimestamp", field("creationTimestamp"));
    if let Some(uid) = field("uid") {
        fill(&mut new["metadata"], "uid", uid);
    }
    if let Some(deleted) = field("deletionTimestamp") {
        set(new, "deletionTimestamp", Some(deleted));
    }
    if let Some(grace) = field("deletionGracePeriodSeconds") {
        fill(&mut new["metadata"], "deletionGracePeriodSeconds", grace);
    }
}

fn keep_metadata(new: &mut Value, old: &Value) {
    for key in ["labels", "annotations", "ownerReferences", "finalizers"] {
        set(new, key, old.pointer(&format!("/metadata/{key}")).cloned());
    }
}

fn set(target: &mut Value, key: &str, value: Option<Value>) {
    let Some(metadata) = object(target, "metadata") else { return };
    match value {
        Some(value) => _ = metadata.insert(key.to_owned(), value),
        None => _ = metadata.remove(key),
    }
}

fn remove(object: &mut Value, key: &str) -> Option<Value> {
    object.as_object_mut()?.remove(key)
}

fn copy(new: &mut Value, old: &Value, key: &str) {
    remove(new, key);
    if let (Some(fields), Some(value)) = (new.as_object_mut(), old.get(key)) {
        fields.insert(key.to_owned(), value.clone());
    }
}

// === Service ===

/// Keeps the addresses and ports that were handed out, and lets go of those that the type no longer has.
fn service(new: &mut Value, old: &Value) {
    let addressed = |service: &Value| text(service, "/spec/type") != "ExternalName";
    let ported = |service: &Value| ["NodePort", "LoadBalancer"].contains(&text(service, "/spec/type"));
    if addressed(old) && addressed(new) {
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if new["spec"].get(key).is_none_or(Value::is_null) {
                take(new, old, &[key]);
            }
        }
        if text(new, "/spec/clusterIP").is_empty() {
            take(new, old, &["clusterIP"]);
        }
        if items(new, "/spec/clusterIPs").is_empty()
            && text(new, "/spec/clusterIP") == text(old, "/spec/clusterIP")
        {
            take(new, old, &["clusterIPs"]);
        }
    }
    let before = items(old, "/spec/ports");
    let handed_out = |service: &Value| -> BTreeSet<i64> {
        items(service, "/spec/ports").iter().filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    let drop_ports = ported(old) && !ported(new) && handed_out(new) == handed_out(old);
    for port in new.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if drop_ports {
            remove(port, "nodePort");
        } else if ported(old)
            && let Some(node) = before
                .iter()
                .find(|other| other["protocol"] == port["protocol"] && other["port"] == port["port"])
                .and_then(|other| other.get("nodePort"))
        {
            fill(port, "nodePort", node.clone());
        }
    }
    normalize_addresses(new, Some(old));
    if addressed(old) && !addressed(new) {
        let_go(
            new,
            old,
            &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"],
        );
    }
    if ported(old) && !ported(new) {
        let_go(new, old, &["externalTrafficPolicy"]);
    }
    families(new);
    if text(new, "/spec/type") != "LoadBalancer" {
        let_go(new, old, &["allocateLoadBalancerNodePorts"]);
        new["status"] = json!({ "loadBalancer": {} });
    }
}

/// The kinds of addresses of a Service that has any; one without a selector may have pods of both.
fn families(new: &mut Value) {
    if text(new, "/spec/type") == "ExternalName" {
        return;
    }
    let open = text(new, "/spec/clusterIP") == "None" && entries(new, "/spec/selector").next().is_none();
    let spec = &mut new["spec"];
    let fresh = spec.get("ipFamilies").is_none_or(Value::is_null);
    fill(spec, "ipFamilies", if open { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) });
    fill(spec, "ipFamilyPolicy", if open && fresh { "RequireDualStack" } else { "SingleStack" });
}

fn take(new: &mut Value, old: &Value, keys: &[&str]) {
    for key in keys {
        if let (Some(spec), Some(value)) = (object(new, "spec"), old["spec"].get(key)) {
            spec.insert((*key).to_owned(), value.clone());
        }
    }
}

fn let_go(new: &mut Value, old: &Value, keys: &[&str]) {
    for key in keys.iter().filter(|key| old["spec"].get(**key) == new["spec"].get(**key)).collect::<Vec<_>>()
    {
        remove(&mut new["spec"], key);
    }
}

/// Makes the one address and the list of them say the same, going by the one that changed.
fn normalize_addresses(new: &mut Value, old: Option<&Value>) {
    let first = text(new, "/spec/clusterIP").to_owned();
    let list = items(new, "/spec/clusterIPs").to_vec();
    let Some(spec) = object(new, "spec") else { return };
    let changed = old.is_none_or(|old| text(old, "/spec/clusterIP") != first);
    let list_changed = old.is_none_or(|old| items(old, "/spec/clusterIPs") != list);
    if first.is_empty() && changed && !list_changed {
        spec.remove("clusterIPs");
    } else if !first.is_empty() && changed && (list.is_empty() || !list_changed) {
        spec.insert("clusterIPs".to_owned(), json!([first]));
    } else if !changed && list_changed && old.is_some() {
        match list.first() {
            Some(address) => _ = spec.insert("clusterIP".to_owned(), address.clone()),
            None => _ = spec.remove("clusterIP"),
        }
    }
}

// === Pod ===

/// How safe a pod is when memory runs out.
fn quality(pod: &Value) -> &'static str {
    let mut all = items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
    let amount = |container: &Value, part: &str, name: &str| {
        Quantity::parse(text(container, &format!("/resources/{part}/{name}")))
            .filter(|amount| amount.is_positive())
    };
    let names = ["cpu", "memory"];
    let any = |container: &Value| {
        names
            .iter()
            .any(|name| ["limits", "requests"].iter().any(|part| amount(container, part, name).is_some()))
    };
    let exact = |container: &Value| {
        names.iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && limit == amount(container, "requests", name)
        })
    };
    if !all.clone().any(any) {
        "BestEffort"
    } else if all.all(exact) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
