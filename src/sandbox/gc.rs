//! Garbage collection by owner references, in the background, in the foreground, or letting go of the dependents.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::{FOREGROUND, ORPHAN, State, from_storage, key, metadata_mut, text};
use super::controllers::operation;
use super::kinds::Kind;
use super::store::{Change, Key, Stored};

/// The controller's name, as field manager.
const NAME: &str = "kube-controller-manager";

/// Acts on one change.
pub fn collect(state: &mut State, change: &Change, now: Timestamp) {
    match (&change.before, &change.after) {
        (Some(gone), None) => {
            for (at, dependent) in dependents(state, &gone.uid) {
                abandon(state, &at, &dependent, now);
            }
            // Somebody may have waited for this one.
            for owner in &gone.owners {
                if let Some((at, owner)) = by_uid(state, owner) {
                    finish(state, &at, &owner, now);
                }
            }
        }
        (_, Some(now_there)) => {
            if change.before.is_none() && !now_there.owners.is_empty() {
                abandon(state, &change.key, now_there, now);
            }
            if now_there.json.contains("deletionTimestamp") {
                finish(state, &change.key, now_there, now);
            }
        }
        (None, None) => {}
    }
}

fn dependents(state: &State, uid: &str) -> Vec<(Key, Arc<Stored>)> {
    let is_one = |stored: &Arc<Stored>| stored.owners.iter().any(|owner| owner == uid);
    let all = state.store.all().filter(|(_, stored)| is_one(stored));
    all.map(|(key, stored)| (key.clone(), Arc::clone(stored))).collect()
}

fn by_uid(state: &State, uid: &str) -> Option<(Key, Arc<Stored>)> {
    let (key, stored) = state.store.all().find(|(_, stored)| *stored.uid == *uid)?;
    Some((key.clone(), Arc::clone(stored)))
}

fn kind_of(state: &State, at: &Key) -> Option<Arc<Kind>> {
    state.kinds().find(|kind| kind.storage == at.resource).cloned()
}

/// Deletes an object none of whose owners is there any more; one that is only waited for does not count.
fn abandon(state: &mut State, at: &Key, stored: &Stored, now: Timestamp) {
    let Some(kind) = kind_of(state, at) else { return };
    let is_there = |uid: &String| by_uid(state, uid).is_some();
    if stored.owners.iter().any(is_there) {
        return;
    }
    let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": &*stored.uid}});
    let _ = state.delete(&operation(&kind, &at.namespace, &at.name, "", NAME, now), &options);
}

/// Carries on with the deletion of an object that waits for its dependents, or lets go of them.
fn finish(state: &mut State, at: &Key, stored: &Stored, now: Timestamp) {
    let Some(kind) = kind_of(state, at) else { return };
    let object = stored.value();
    if object["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let waits = |finalizer: &str| {
        object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
    };
    if waits(FOREGROUND) {
        let dependents = dependents(state, &stored.uid);
        let blocking = |dependent: &Stored| {
            let value = dependent.value();
            let owners = value["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            owners.iter().any(|owner| owner["uid"] == *stored.uid && owner["blockOwnerDeletion"] == true)
        };
        if !dependents.iter().any(|(_, dependent)| blocking(dependent)) {
            drop_finalizer(state, &kind, at, FOREGROUND, now);
        }
        for (at, dependent) in dependents {
            let Some(kind) = kind_of(state, &at) else { continue };
            if !dependent.json.contains("deletionTimestamp") {
                let options = json!({"propagationPolicy": "Foreground"});
                let _ = state.delete(&operation(&kind, &at.namespace, &at.name, "", NAME, now), &options);
            }
        }
    } else if waits(ORPHAN) {
        for (at, dependent) in dependents(state, &stored.uid) {
            let Some(kind) = kind_of(state, &at) else { continue };
            change(state, &kind, &at, now, |object| {
                let owners = metadata_mut(object).get_mut("ownerReferences").and_then(Value::as_array_mut);
                if let Some(owners) = owners {
                    owners.retain(|owner| owner["uid"] != *stored.uid);
                }
            });
            drop(dependent);
        }
        drop_finalizer(state, &kind, at, ORPHAN, now);
    }
}

/// Takes a finalizer away; the object goes with its last.
pub fn drop_finalizer(state: &mut State, kind: &Kind, at: &Key, finalizer: &str, now: Timestamp) {
    change(state, kind, at, now, |object| {
        let metadata = metadata_mut(object);
        if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|one| one != finalizer);
        }
    });
}

fn change(state: &mut State, kind: &Kind, at: &Key, now: Timestamp, edit: impl FnOnce(&mut Value)) {
    let Some(stored) = state.store.get(&key(kind, &at.namespace, &at.name)).cloned() else { return };
    let mut object = from_storage(kind, stored.value());
    edit(&mut object);
    let name = text(&object, &["metadata", "name"]).to_owned();
    let _ = state.update(&operation(kind, &at.namespace, &name, "", NAME, now), object);
}
