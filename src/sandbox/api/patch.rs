//! The patch formats: JSON merge patch, JSON patch, strategic merge patch and apply.

use serde_json::Value;

use super::status::Status;
use super::{go, strategic};
use crate::sandbox::kinds::Kind;

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
            serde_json::from_slice(body).map_err(|error| {
                Status::bad_request(format!("error decoding patch: {}", go::json_error(body, &error)))
            })
        };
        match content_type {
            MERGE => Ok(Self::Merge(value()?)),
            STRATEGIC if kind.custom.is_none() => match value()? {
                Value::Object(patch) => Ok(Self::Strategic(patch.into())),
                other => Err(Status::bad_request(format!(
                    "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                    go::word(&other)
                ))),
            },
            JSON => match value()? {
                // An operation that nobody knows is found out when it is to be done.
                operations @ Value::Array(_) => {
                    serde_json::from_value(operations).map(Self::Json).map_err(|_| Status::unprocessable())
                }
                other => Err(Status::bad_request(format!(
                    "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                    go::word(&other)
                ))),
            },
            APPLY => {
                let value: Value = serde_yaml::from_slice(body).map_err(|error| {
                    Status::bad_request(format!(
                        "error decoding YAML: error converting YAML to JSON: {}",
                        go::yaml_error(&error)
                    ))
                })?;
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
        Patch::Merge(patch) => {
            let mut patch = patch.clone();
            drop_nulls_in_lists(&mut patch, false);
            json_patch::merge(&mut live, &patch);
        }
        Patch::Json(operations) => {
            json_patch::patch(&mut live, operations).map_err(|_| Status::unprocessable())?;
        }
        Patch::Strategic(patch) => strategic::merge(&mut live, patch, &kind.shape)?,
        Patch::Apply(_) => {}
    }
    Ok(live)
}

/// What the server says of a patched object that cannot be decoded: it shows the object, or a strategic patch.
pub fn undecodable(kind: &Kind, patch: &Patch, object: &Value, status: Status) -> Status {
    let Some((_, why)) = status.message.split_once(&format!("cannot be handled as a {}: ", kind.kind)) else {
        return status;
    };
    let mut why = why.to_owned();
    let shown = match patch {
        Patch::Strategic(patch) => {
            // Another decoder has read it, with words of its own for plain values.
            if let Some((_, of_type)) = why.rsplit_once(" of type ")
                && ["int32", "int64", "bool", "string"].contains(&of_type)
            {
                why = format!("unrecognized type: {of_type}");
            }
            go::printed(patch)
        }
        _ if kind.custom.is_some() => object.to_string(),
        Patch::Merge(patch) => go::encoded(object, patch),
        _ => go::encoded(object, &Value::Null),
    };
    Status::undecodable_patch(&shown, &why)
}

/// A null in a merge patch says that a field is to go. In the items of a list, which are taken whole, it says nothing.
fn drop_nulls_in_lists(patch: &mut Value, in_list: bool) {
    match patch {
        Value::Object(fields) => {
            fields.retain(|_, value| !(in_list && value.is_null()));
            fields.values_mut().for_each(|value| drop_nulls_in_lists(value, in_list));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_nulls_in_lists(item, true)),
        _ => {}
    }
}
