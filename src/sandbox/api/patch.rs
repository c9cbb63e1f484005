//! The patch formats: JSON merge patch, JSON patch, strategic merge patch and apply.

use serde_json::{Map, Value};

use super::go;
use super::status::Status;
use crate::sandbox::kinds::Kind;
use crate::sandbox::shape::Shape;

/// Content types, as the server lists them.
pub const JSON: &str = "application/json-patch+json";
/// See above.
pub const MERGE: &str = "application/merge-patch+json";
/// See above.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// See above.
pub const APPLY: &str = "application/apply-patch+yaml";
/// See above; only refused.
pub const APPLY_CBOR: &str = "application/apply-patch+cbor";

/// Whether it is the content type of any patch.
#[must_use]
pub fn is_known(content_type: &str) -> bool {
    [JSON, MERGE, STRATEGIC, APPLY, APPLY_CBOR].contains(&content_type)
}

/// A patch, read.
#[derive(Debug)]
pub enum Patch {
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Kubernetes' own.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

impl Patch {
    /// Reads a body by its content type.
    pub fn read(kind: &Kind, content_type: &str, body: &[u8]) -> Result<Self, Status> {
        let value = || -> Result<Value, Status> {
            serde_json::from_slice(body)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
        };
        match content_type {
            MERGE => Ok(Self::Merge(value()?)),
            STRATEGIC if kind.custom.is_none() => Ok(Self::Strategic(value()?)),
            JSON => serde_json::from_slice(body)
                .map(Self::Json)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}"))),
            APPLY => {
                let value: Value = serde_yaml::from_slice(body)
                    .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
                Ok(Self::Apply(value))
            }
            _ => {
                let mut accepted = vec![JSON, MERGE];
                if kind.custom.is_none() {
                    accepted.push(STRATEGIC);
                }
                accepted.push(APPLY);
                if kind.custom.is_none() {
                    accepted.push(APPLY_CBOR);
                }
                Err(Status::unsupported_media(&accepted))
            }
        }
    }
}

/// `live` with a patch in it.
pub fn patched(kind: &Kind, mut live: Value, patch: &Patch) -> Result<Value, Status> {
    match patch {
        Patch::Merge(patch) => json_patch::merge(&mut live, patch),
        Patch::Json(operations) => {
            json_patch::patch(&mut live, operations).map_err(|_| Status::unprocessable())?;
        }
        Patch::Strategic(patch) => strategic(&mut live, patch, &kind.shape),
        Patch::Apply(_) => {}
    }
    Ok(live)
}

/// What the server says of a patched object that cannot be decoded: it shows the object, or a strategic patch.
pub fn undecodable(kind: &Kind, patch: &Patch, object: &Value, status: Status) -> Status {
    let Some((_, why)) = status.message.split_once(&format!("cannot be handled as a {}: ", kind.kind)) else {
        return status;
    };
    let shown = match patch {
        Patch::Strategic(patch) => go::printed(patch),
        _ if kind.custom.is_some() => object.to_string(),
        Patch::Merge(patch) => go::encoded(object, patch),
        _ => go::encoded(object, &Value::Null),
    };
    Status::undecodable_patch(&shown, why)
}

/// Merges by shape: maps by key, keyed lists by their first key, everything else replaced; `$patch` and
/// `$deleteFromPrimitiveList` as kubectl sends them, other directives are dropped.
fn strategic(live: &mut Value, patch: &Value, shape: &Shape) {
    let Value::Object(patch) = patch else {
        *live = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") || !live.is_object() {
        *live = Value::Object(Map::new());
    }
    let Value::Object(fields) = live else { return };
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(items)) = fields.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        let inner = shape.under(name).unwrap_or(&Shape::Any);
        let deleted = value.get("$patch").is_some_and(|directive| directive == "delete");
        match value {
            Value::Null => drop(fields.remove(name)),
            _ if deleted => drop(fields.remove(name)),
            Value::Object(_) => strategic(fields.entry(name).or_insert(Value::Null), value, inner),
            Value::Array(items) => merge_list(fields.entry(name).or_insert(Value::Null), items, inner),
            _ => drop(fields.insert(name.clone(), value.clone())),
        }
    }
}

fn merge_list(live: &mut Value, patch: &[Value], shape: &Shape) {
    let plain = |items: &[Value]| items.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
    let (Some(key), Value::Array(items)) = (shape.merge_key(), &mut *live) else {
        let known = live.as_array().cloned().unwrap_or_default();
        let mut new: Vec<Value> = plain(patch);
        if matches!(shape, Shape::Set(_)) {
            new = known.into_iter().chain(new).fold(vec![], |mut all, item| {
                if !all.contains(&item) {
                    all.push(item);
                }
                all
            });
        }
        *live = new.into();
        return;
    };
    if patch.iter().any(|item| item["$patch"] == "replace") {
        *items = plain(patch);
        return;
    }
    for item in patch {
        let known = items.iter().position(|known| known[key] == item[key]);
        match (known, item["$patch"] == "delete") {
            (Some(at), true) => drop(items.remove(at)),
            (Some(at), false) => strategic(&mut items[at], item, shape.item()),
            (None, true) => {}
            (None, false) => items.push(item.clone()),
        }
    }
}
