//! Who owns which fields: what the server does with `metadata.managedFields`, and server-side apply.
//!
//! Every write but an apply is tracked: what it changed becomes the writer's ([`track_update`]). An apply says what its
//! manager wants and no more: [`apply`] merges it into the object, takes out what the manager wanted before and nobody
//! else does, and refuses to change what others own. Both follow structured-merge-diff. They see an object after its
//! defaults are filled in and before the server adds values of its own; what the request may not write (the status of
//! the object, or everything but the status) the caller has put back, or taken out of the configuration. Pure.

mod compare;
mod entries;
mod merge;
mod misfit;
mod parts;
mod remove;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::compare::compare;
use self::entries::{Id, Managed, Operation};
use super::fields::{Element, FieldSet};
use super::shape::Shape;

/// As many managers that update are kept apart; the oldest beyond them become one.
const MAX_UPDATERS: usize = 10;

/// Who writes, through what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager the request names, or the first part of its user agent.
    pub manager: &'a str,
    /// Empty, `status` or `scale`.
    pub subresource: &'a str,
    /// The group and version of the object in the request.
    pub api_version: &'a str,
    /// The top-level fields that the request may not write.
    pub not_written: &'a [&'a str],
    /// The time of the request.
    pub now: Timestamp,
}

/// Why a configuration was not applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that the configuration would change: 409, with reason `Conflict` and [`causes`].
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The configuration does not fit the type: 500, without a reason.
    #[error("{0}")]
    Misfit(String),
    /// Ownership may not be written: 400, with reason `BadRequest`.
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsGiven,
}

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner, as the server describes it: `"other" using v1`.
    pub manager: String,
    /// The field: `.data.a`.
    pub path: String,
}

impl Writer<'_> {
    fn id(&self, operation: Operation) -> Id {
        Id {
            manager: self.manager.to_owned(),
            operation,
            // An applier stays the same when it moves on to another version of the type.
            api_version: if operation == Operation::Apply {
                String::new()
            } else {
                self.api_version.to_owned()
            },
            subresource: self.subresource.to_owned(),
        }
    }

    /// The server loses the time on the way from the scale to what is scaled.
    fn touch(&self, managed: &mut Managed, id: &Id) {
        if self.subresource != "scale" {
            managed.touch(id, self.now);
        }
    }
}

/// Writes down in `new` that the writer changed whatever differs from `live`; a new object has no live one.
pub fn track_update(live: Option<&Value>, new: &mut Value, shape: &Shape, writer: &Writer<'_>) {
    let given = take_ownership(new).filter(|_| writer.subresource.is_empty());
    let mut managed = match given {
        Some(given) if is_reset(&given) => Managed::default(),
        // Clients that know nothing of ownership leave it out, and lose nothing by it.
        given => {
            let given = given.as_ref().and_then(Managed::decode).filter(|managed| !managed.is_empty());
            given.or_else(|| live.and_then(ownership)).unwrap_or_default()
        }
    };
    // An object that nobody is known to have written stays so, until somebody applies to it.
    if managed.is_empty() && live.is_some() {
        return;
    }
    update(live, new, shape, writer, &mut managed);
    managed.merge_oldest(MAX_UPDATERS);
    put_ownership(new, &managed);
}

/// The live object with a configuration applied to it; equal to the live object if there was nothing to do.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    shape: &Shape,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    if config["metadata"]["managedFields"].is_array() {
        return Err(ApplyError::ManagedFieldsGiven);
    }
    if let Some(misfit) = misfit::message(config, shape) {
        return Err(ApplyError::Misfit(misfit));
    }
    let mut old = live.cloned().unwrap_or_else(|| json!({}));
    take_ownership(&mut old);
    let mut managed = live.and_then(ownership).unwrap_or_default();
    if managed.is_empty() && live.is_some() {
        let mut known = old.clone();
        if let Some(fields) = known.as_object_mut() {
            fields.retain(|key, _| !writer.not_written.contains(&&**key));
        }
        update(None, &known, shape, &Writer { manager: "before-first-apply", ..*writer }, &mut managed);
    }

    let id = writer.id(Operation::Apply);
    let own = parts::fields_of(config, shape);
    let last = managed.replace_fields(&id, writer.api_version, own.clone());
    let merged = merge::merge(shape, Some(&old), Some(config)).unwrap_or_default();
    let mut new = remove::abandoned(merged, &last, &managed.all(), shape);

    let difference = compare(shape, &old, &new);
    let conflicts = managed.owned_by_others(&id, &difference.set());
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    managed.release(Some(&id), &difference.set().union(&difference.removed));
    managed.replace_fields(&id, writer.api_version, without_identity(&own));
    // The time is that of a change: a manager that wants what is there already gets none.
    if new != old {
        writer.touch(&mut managed, &id);
    }
    put_ownership(&mut new, &managed);
    if let Some(live) = live {
        settle_times(live, &mut new);
    }
    Ok(new)
}

/// Gives `new` the times of `live` where nothing but the times of ownership differs, so that writing it changes
/// nothing. For the end of every request that writes, when all values are in place.
pub fn settle_times(live: &Value, new: &mut Value) {
    if is_same_but_times(live, new) {
        new.clone_from(live);
    }
}

fn is_same_but_times(one: &Value, other: &Value) -> bool {
    fn without<'a>(
        object: &'a Value,
        left_out: &'static str,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        object.as_object().into_iter().flatten().filter(move |(key, _)| *key != left_out)
    }
    let entries = |object: &Value| object["metadata"]["managedFields"].as_array().map_or(0, Vec::len);
    let [mine, others] = [one, other].map(|object| &object["metadata"]["managedFields"]);
    without(one, "metadata").eq(without(other, "metadata"))
        && without(&one["metadata"], "managedFields").eq(without(&other["metadata"], "managedFields"))
        && entries(one) == entries(other)
        && (0..entries(one)).all(|entry| without(&mine[entry], "time").eq(without(&others[entry], "time")))
}

/// The message of the status that reports conflicts.
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [Conflict { manager, path }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut message = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut lines: Vec<String> = vec![];
    for same in conflicts.chunk_by(|a, b| a.manager == b.manager) {
        lines.push(format!("conflicts with {}:", same[0].manager));
        lines.extend(same.iter().map(|conflict| format!("- {}", conflict.path)));
    }
    message.push_str(&lines.join("\n"));
    message
}

/// The `details.causes` of the status that reports conflicts.
pub fn causes(conflicts: &[Conflict]) -> Vec<Value> {
    let cause = |Conflict { manager, path }: &Conflict| {
        json!({
            "reason": "FieldManagerConflict",
            "message": format!("conflict with {manager}"),
            "field": path,
        })
    };
    conflicts.iter().map(cause).collect()
}

/// Makes the writer the owner of what differs, and of what differs or is gone nobody else.
fn update(live: Option<&Value>, new: &Value, shape: &Shape, writer: &Writer<'_>, managed: &mut Managed) {
    let difference = compare(shape, live.unwrap_or(&json!({})), new);
    let changed = difference.set();
    managed.release(None, &changed.union(&difference.removed));
    let own = without_identity(&changed);
    if !own.is_empty() {
        let id = writer.id(Operation::Update);
        let own = managed.fields(&id).union(&own);
        managed.replace_fields(&id, writer.api_version, own);
        writer.touch(managed, &id);
    }
}

/// Nobody owns what an object is called, nor what the server alone writes.
fn without_identity(fields: &FieldSet) -> FieldSet {
    let [api_version, kind, metadata] = ["apiVersion", "kind", "metadata"].map(Element::field);
    let mut identity = FieldSet::default();
    for path in [&api_version, &kind, &metadata] {
        identity.insert(std::slice::from_ref(path));
    }
    let named = ["name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation"];
    for name in named.into_iter().chain(["managedFields", "resourceVersion"]) {
        identity.insert(&[metadata.clone(), Element::field(name)]);
    }
    fields.difference(&identity)
}

fn ownership(object: &Value) -> Option<Managed> {
    Managed::decode(&object["metadata"]["managedFields"])
}

fn take_ownership(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

fn put_ownership(object: &mut Value, managed: &Managed) {
    take_ownership(object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && !managed.is_empty()
    {
        metadata.insert("managedFields".into(), managed.encode());
    }
}

/// Users who want the server to forget all owners send an empty list, or one with an empty entry.
fn is_reset(given: &Value) -> bool {
    *given == json!([]) || *given == json!([{}])
}
