//! Custom resources: what the schema of their definition makes of them, in the order and the words of the server.
//!
//! A schema is compiled once, and then sets defaults, drops what it does not know and finds mistakes. Definitions
//! themselves are checked and completed in [`crd`]. Nothing here reads or stores an object.

mod cel;
pub mod crd;
mod format;
mod openapi;
mod scale;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::builtin::validate::metadata;
pub use super::cause::{Cause, message};
use super::kinds::Scale;
use schema::{Additional, Schema};

/// Schemas by their text: the clusters of a fleet have the same definitions, and to compile one takes longer than most
/// of what is done with it.
static COMPILED: Mutex<VecDeque<(String, Arc<Schema>)>> = Mutex::new(VecDeque::new());
const MOST_COMPILED: usize = 8;

/// The compiled schema of one version of a custom resource.
#[derive(Debug)]
pub struct Structural {
    root: Arc<Schema>,
    scale: Option<Scale>,
}

impl Structural {
    /// Compiles what stands under `openAPIV3Schema`; the mistakes in it are said as the server says them of a
    /// definition with one version.
    pub fn compile(open_api_v3_schema: &Value) -> Result<Self, Vec<Cause>> {
        Self::compile_at(open_api_v3_schema, "spec.validation.openAPIV3Schema")
    }

    fn compile_at(open_api_v3_schema: &Value, path: &str) -> Result<Self, Vec<Cause>> {
        let text = format!("{path} {open_api_v3_schema}");
        // A panic in here leaves the list as it was.
        let mut known = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, root)) = known.iter().find(|(other, _)| *other == text) {
            return Ok(Self { root: Arc::clone(root), scale: None });
        }
        let root = Arc::new(Schema::compile(open_api_v3_schema, path)?);
        if known.len() == MOST_COMPILED {
            known.pop_front();
        }
        known.push_back((text, Arc::clone(&root)));
        Ok(Self { root, scale: None })
    }

    /// The same, of a version that can be scaled.
    #[must_use]
    pub fn with_scale(self, scale: Option<Scale>) -> Self {
        Self { scale, ..self }
    }

    /// Drops the fields that the schema does not know; returns their paths, in the words of strict validation.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        prune(&self.root, object, "", true, &mut dropped);
        dropped
    }

    /// Sets the defaults: for fields that are missing or null and may not be; other nulls of that kind are dropped.
    /// Nothing is set below a field that is not there.
    pub fn default(&self, object: &mut Value) {
        whole_numbers(object);
        drop_nulls(&self.root, object);
        default(&self.root, object);
    }

    /// The mistakes in `new`, which replaces `old`.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = match old {
            Some(old) => [metadata::common_update(new, old), metadata::validate_update(new, old)].concat(),
            None => metadata::validate(new, metadata::Name::Subdomain),
        };
        openapi::check(&self.root, new, old, "", &mut causes);
        causes.extend(self.scale.iter().flat_map(|scale| scale::check(scale, new)));
        openapi::check_embedded(&self.root, new, "", &mut causes);
        self.finish(new, old, causes)
    }

    /// The mistakes in the status of `new`; the rest of it is `old`'s.
    pub fn validate_status(&self, new: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = [metadata::common_update(new, old), metadata::validate_update(new, old)].concat();
        if let (Some(schema), Some(status)) = (self.root.properties.get("status"), new.get("status")) {
            let from = causes.len();
            openapi::check(schema, status, old.get("status"), "", &mut causes);
            for cause in &mut causes[from..] {
                cause.field = match cause.field.as_str() {
                    "<nil>" => "status".to_owned(),
                    field => format!("status.{field}"),
                };
            }
        }
        causes.extend(self.scale.iter().flat_map(|scale| scale::check(scale, new)));
        self.finish(new, Some(old), causes)
    }

    fn finish(&self, new: &Value, old: Option<&Value>, mut causes: Vec<Cause>) -> Vec<Cause> {
        let lists = |object| openapi::check_lists(&self.root, object, "");
        if old.is_none_or(|old| lists(old).is_empty()) {
            causes.extend(lists(new));
        }
        if causes.iter().any(blocks_rules) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing \
                          errors to complete validation";
            causes.push(Cause::invalid("", &Value::Null, detail));
        } else {
            cel::check(&self.root, new, old, &mut causes);
        }
        causes
    }
}

/// A rule is not asked about a value that has not even the form it expects.
fn blocks_rules(cause: &Cause) -> bool {
    ["NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid"]
        .iter()
        .any(|end| cause.reason.strip_prefix("FieldValue") == Some(end))
}

/// The item of the old list that `item` replaces: known only where the list says what its keys are.
fn correlated<'a>(schema: &Schema, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if schema.list_type != "map" {
        return None;
    }
    let same = |other: &&Value| schema.list_keys.iter().all(|key| other.get(key) == item.get(key));
    old?.as_array()?.iter().find(same)
}

fn prune(schema: &Schema, value: &mut Value, path: &str, resource: bool, dropped: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let typed = resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
                if let Some(child) = schema.child(key).filter(|_| !typed) {
                    prune(child, value, &path, child.embedded, dropped);
                    return true;
                }
                let kept = typed
                    || schema.preserve_unknown
                    || matches!(schema.additional_properties, Some(Additional::Any(true)));
                if !kept {
                    dropped.push(path);
                }
                kept
            });
        }
        Value::Array(items) => {
            let Some(child) = &schema.items else { return };
            for (index, item) in items.iter_mut().enumerate() {
                prune(child, item, &format!("{path}[{index}]"), child.embedded, dropped);
            }
        }
        _ => {}
    }
}

/// Writes numbers without a fraction as integers, as Go does.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            #[allow(clippy::cast_possible_truncation)] // only where nothing is cut off
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15)
            {
                *value = Value::from(whole as i64);
            }
        }
        _ => {}
    }
}

fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|key, value| {
            let Some(child) = schema.child(key) else { return true };
            drop_nulls(child, value);
            !value.is_null() || child.nullable || child.default.is_some()
        }),
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                for item in items {
                    drop_nulls(child, item);
                }
            }
        }
        _ => {}
    }
}

fn default(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => default_fields(schema, fields),
        Value::Array(items) => {
            let Some(child) = &schema.items else { return };
            for item in items {
                default_null(child, item);
                default(child, item);
            }
        }
        _ => {}
    }
}

fn default_fields(schema: &Schema, fields: &mut Map<String, Value>) {
    for (key, child) in &schema.properties {
        if let (Some(default), false) = (&child.default, fields.contains_key(key)) {
            fields.insert(key.clone(), default.clone());
        }
    }
    for (key, value) in fields {
        if let Some(child) = schema.child(key) {
            default_null(child, value);
            default(child, value);
        }
    }
}

fn default_null(schema: &Schema, value: &mut Value) {
    if let (Some(default), true, false) = (&schema.default, value.is_null(), schema.nullable) {
        *value = default.clone();
    }
}
