//! Deleting objects: at once, after a pod's grace period, or when the last finalizer is gone.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::state::{State, key, text};
use super::status::Status;
use super::write::{Done, Operation};
use super::{stored, types};

/// The finalizer of an object that waits for its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that lets go of its dependents first.
pub const ORPHAN: &str = "orphan";

/// Namespaces that every cluster keeps.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl State {
    /// DELETE of one object, with `DeleteOptions`.
    pub fn delete(&mut self, on: &Operation<'_>, options: &Value) -> Result<Done, Status> {
        let kind = on.kind;
        let live = self.find(kind, on.namespace, on.name)?;
        let old = stored::from_storage(kind, live.value());
        if kind.kind == "Namespace" && IMMORTAL.contains(&on.name) {
            return Err(Status::forbidden(kind, on.name, "this namespace may not be deleted"));
        }
        check_preconditions(on, options, &old)?;
        if kind.kind == "CustomResourceDefinition" && kind.custom.is_none() {
            return Ok(self.terminate_crd(on, old));
        }
        let mut new = old.clone();
        set_policy_finalizers(&mut new, options);
        let grace = grace_period(kind.kind == "Pod" && kind.group.is_empty(), options, &old);
        let at = key(kind, on.namespace, on.name);
        if types::has_finalizers(kind, &new) || grace > 0 {
            mark(&mut new, &old, on, grace);
            if kind.kind == "Namespace" {
                new["status"]["phase"] = json!("Terminating");
            }
            if on.dry_run || new == old {
                return Ok(Done { code: 200, object: new, warnings: vec![] });
            }
            let object = self.store.put(at, stored::to_storage(kind, new));
            return Ok(Done { code: 200, object: stored::from_storage(kind, object), warnings: vec![] });
        }
        if kind.kind == "Pod" {
            mark(&mut new, &old, on, grace);
        }
        if !on.dry_run {
            self.store.remove(&at);
            types::metadata_mut(&mut new)
                .insert("resourceVersion".into(), json!(self.store.revision().to_string()));
        }
        let object = if types::is_returned_when_deleted(kind) { new } else { success(on, &old) };
        Ok(Done { code: 200, object, warnings: vec![] })
    }

    /// A definition goes when its resources are gone; until then it says so.
    fn terminate_crd(&mut self, on: &Operation<'_>, mut new: Value) -> Done {
        if !types::is_being_deleted(&new) {
            let metadata = types::metadata_mut(&mut new);
            metadata.insert("deletionTimestamp".into(), json!(types::time(on.now)));
            let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(finalizers) = finalizers.as_array_mut() {
                finalizers.push(json!(super::CRD_FINALIZER));
            }
            if let Some(conditions) = new["status"]["conditions"].as_array_mut() {
                conditions.push(json!({
                    "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
                    "lastTransitionTime": types::time(on.now),
                    "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
                }));
            }
            if !on.dry_run {
                let at = key(on.kind, on.namespace, on.name);
                new = self.store.put(at, stored::to_storage(on.kind, new));
            }
        }
        Done { code: 200, object: stored::from_storage(on.kind, new), warnings: vec![] }
    }

    /// Removes an object whose time has come, whatever it says of a grace period.
    pub fn remove(&mut self, on: &Operation<'_>) {
        self.store.remove(&key(on.kind, on.namespace, on.name));
    }
}

fn check_preconditions(on: &Operation<'_>, options: &Value, old: &Value) -> Result<(), Status> {
    let rules = [
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ];
    for (field, name, guess) in rules {
        let asked = text(options, &["preconditions", field]);
        let is = text(old, &["metadata", field]);
        if !asked.is_empty() && asked != is {
            let why = format!(
                "the {name} in the precondition ({asked}) does not match the {name} in record ({is}). {guess}"
            );
            return Err(Status::conflict_of_kind(on.kind, on.name, &why));
        }
    }
    Ok(())
}

fn set_policy_finalizers(new: &mut Value, options: &Value) {
    let policy = match options["orphanDependents"].as_bool() {
        Some(true) => "Orphan",
        Some(false) => "Background",
        None => text(options, &["propagationPolicy"]),
    };
    let wanted = match policy {
        "Foreground" => Some(FOREGROUND),
        "Orphan" => Some(ORPHAN),
        "Background" => None,
        _ => return,
    };
    let metadata = types::metadata_mut(new);
    let given = metadata.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut finalizers: Vec<Value> =
        given.into_iter().filter(|one| *one != FOREGROUND && *one != ORPHAN).collect();
    finalizers.extend(wanted.map(|one| json!(one)));
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

/// Seconds: only a pod that a kubelet has to stop is given any.
fn grace_period(is_pod: bool, options: &Value, old: &Value) -> i64 {
    let over = matches!(text(old, &["status", "phase"]), "Succeeded" | "Failed");
    if !is_pod || over || text(old, &["spec", "nodeName"]).is_empty() {
        return 0;
    }
    let wanted = options["gracePeriodSeconds"].as_i64();
    wanted.or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}

/// Says since when, or until when, the object is being deleted; once said, only a shorter grace changes it.
fn mark(new: &mut Value, old: &Value, on: &Operation<'_>, grace: i64) {
    let known = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let begun = types::is_being_deleted(old).then(|| known.unwrap_or(0));
    if begun.is_some_and(|known| known <= grace) {
        return;
    }
    let end = on.now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(on.now);
    let metadata = types::metadata_mut(new);
    metadata.insert("deletionTimestamp".into(), json!(types::time(end)));
    if on.kind.kind != "Namespace" {
        metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
    }
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".into(), json!(generation + 1));
    }
}

fn success(on: &Operation<'_>, old: &Value) -> Value {
    let mut details = json!({"name": on.name, "kind": on.kind.plural, "uid": old["metadata"]["uid"]});
    if !on.kind.group.is_empty() {
        details["group"] = json!(on.kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
