//! Compares what was written with the schema: unknown keys, wrong types, values out of range — all of them at once.
//!
//! What is wrong is taken out, so that the rest can be judged for sense in the same go. Pure.

use std::fmt::Write as _;

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use serde_json::Value;

use super::file::{RawFleet, Written, json_schema};
use super::problem::Problem;

/// The raw fleet without what does not fit its shape, and what does not.
pub(super) fn check(written: &Written) -> (RawFleet, Vec<Problem>) {
    let schema = json_schema();
    let mut problems = vec![];
    let mut rest = written.value.clone();
    let Ok(validator) = jsonschema::validator_for(&schema) else {
        // The schema is generated from our own types and covered by a test.
        return (RawFleet::default(), vec![]);
    };
    for error in validator.iter_errors(&written.value) {
        let path = path_of(error.instance_path());
        if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
            for key in unexpected {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                problems.push(Problem {
                    source: written.source_of_unknown(&at),
                    path: at,
                    value: None,
                    what: "is not a key of the fleet file".into(),
                    remedy: suggestion(
                        key,
                        &keys_of(&schema),
                        "remove it; polkafleet schema prints what may stand here",
                    ),
                });
                remove(&mut rest, error.instance_path(), Some(key));
            }
            continue;
        }
        problems.push(Problem {
            source: written.source_of(&path),
            value: Some(error.instance().to_string()),
            what: what(error.kind(), &error.to_string()),
            remedy: "polkafleet schema prints what may stand here".into(),
            path,
        });
        remove(&mut rest, error.instance_path(), None);
    }
    let raw = serde_json::from_value(rest).unwrap_or_else(|error| {
        if problems.is_empty() {
            problems.push(Problem {
                source: written.source.clone(),
                path: "(file)".into(),
                value: None,
                what: error.to_string(),
                remedy: "polkafleet schema prints what may stand here".into(),
            });
        }
        RawFleet::default()
    });
    (raw, problems)
}

/// "did you mean …", or another remedy where nothing known is near.
pub(super) fn suggestion(given: &str, known: &[String], otherwise: &str) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&given.to_lowercase(), &known.to_lowercase()), known))
        .min()
        .filter(|(distance, _)| *distance <= 1 + given.len() / 4);
    near.map_or_else(|| otherwise.to_owned(), |(_, known)| format!("did you mean {known}?"))
}

fn what(kind: &ValidationErrorKind, message: &str) -> String {
    match kind {
        ValidationErrorKind::Type { .. } => "has the wrong type".into(),
        ValidationErrorKind::Enum { options } => format!("is none of {options}"),
        ValidationErrorKind::Minimum { limit } => format!("is less than {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("is more than {limit}"),
        ValidationErrorKind::AnyOf { .. } => "is not of a form that may stand here".into(),
        _ => message.to_owned(),
    }
}

/// `clusters[2].context`, as a person would write it.
fn path_of(location: &Location) -> String {
    let mut path = String::new();
    for segment in location {
        match segment {
            LocationSegment::Property(key) if path.is_empty() => path.push_str(&key),
            LocationSegment::Property(key) => {
                let _ = write!(path, ".{key}");
            }
            LocationSegment::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
        }
    }
    path
}

/// Takes out the value at `location`, or `key` of the object there; an item of a list becomes null and drops out.
fn remove(value: &mut Value, location: &Location, key: Option<&str>) {
    let mut here = value;
    let segments: Vec<_> = location.iter().collect();
    let last = if key.is_some() { segments.len() } else { segments.len().saturating_sub(1) };
    for segment in &segments[..last] {
        let next = match segment {
            LocationSegment::Property(key) => here.get_mut(key.as_ref()),
            LocationSegment::Index(index) => here.get_mut(*index),
        };
        let Some(next) = next else { return };
        here = next;
    }
    match (key, segments.last()) {
        (Some(key), _) => drop(here.as_object_mut().and_then(|object| object.remove(key))),
        (None, Some(LocationSegment::Property(key))) => {
            drop(here.as_object_mut().and_then(|object| object.remove(key.as_ref())));
        }
        (None, Some(LocationSegment::Index(_)) | None) => *here = Value::Array(vec![]),
    }
}

fn keys_of(schema: &Value) -> Vec<String> {
    let mut keys: Vec<String> = match schema {
        Value::Object(object) => {
            let own = object.get("properties").and_then(Value::as_object);
            let own = own.into_iter().flat_map(|properties| properties.keys().cloned());
            own.chain(object.values().flat_map(keys_of)).collect()
        }
        Value::Array(items) => items.iter().flat_map(keys_of).collect(),
        _ => vec![],
    };
    keys.sort();
    keys.dedup();
    keys
}
