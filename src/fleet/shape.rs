//! Compares what was written with the schema: unknown keys, wrong types, values out of range — all of them at once.
//!
//! What is wrong is taken out, so that the rest can be judged for sense in the same go. Pure.

use std::fmt::Write as _;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::{Value, json};

use super::file::{Written, json_schema};
use super::problem::Problem;
use super::raw::RawFleet;

/// What to do where a variable names an item of a list, as by `…__CLUSTERS__0__…`.
const OF_A_LIST: &str = "a variable cannot reach into a list: change it in the fleet file, or write the whole list, \
    [{…}, {…}], into a variable that ends with the list's name";

/// The raw fleet without what does not fit its shape, and what does not.
pub(super) fn check(written: &Written) -> (RawFleet, Vec<Problem>) {
    let schema = json_schema();
    let mut problems: Vec<Problem> = vec![];
    let mut rest = written.value.clone();
    let Ok(validator) = jsonschema::validator_for(&schema) else {
        return (RawFleet::default(), vec![of_ours(written, "the schema of the fleet file is broken")]);
    };
    for error in validator.iter_errors(&written.value) {
        let path = path_of(error.instance_path());
        // The schema around the keyword that was violated.
        let around = error.schema_path().as_str().rsplit_once('/').map_or("", |(around, _)| around);
        let around = schema.pointer(around).unwrap_or(&Value::Null);
        if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
            for key in unexpected {
                problems.push(unknown_key(written, &path, key, around));
                remove_key(&mut rest, error.instance_path(), key);
            }
            continue;
        }
        // One value of a wrong type usually violates more than one keyword.
        if problems.iter().any(|problem| problem.path == path) {
            continue;
        }
        let (what, remedy) = words(error.kind(), error.instance(), around, &error.to_string());
        let value = Some(error.instance().to_string());
        let is_misfit = matches!(error.kind(), ValidationErrorKind::Type { .. });
        let by_item = is_misfit && error.instance().is_object() && written.has_parts_from_env(&path);
        let remedy = if by_item && around["type"] == "array" { OF_A_LIST.to_owned() } else { remedy };
        let source = if is_misfit { written.source_of_misfit(&path) } else { written.source_of(&path) };
        problems.push(Problem { source, path, value, what, remedy });
        replace(&mut rest, error.instance_path(), around);
    }
    let raw = serde_json::from_value(rest).unwrap_or_else(|error| {
        problems.push(of_ours(written, &error.to_string()));
        RawFleet::default()
    });
    (raw, problems)
}

/// Schema and raw shape are generated from one type and agree; if they ever do not, the file is refused all the same.
fn of_ours(written: &Written, what: &str) -> Problem {
    Problem {
        source: written.source.clone(),
        path: "(file)".into(),
        value: None,
        what: what.to_owned(),
        remedy: "polkafleet schema prints what may stand here".into(),
    }
}

fn unknown_key(written: &Written, path: &str, key: &str, around: &Value) -> Problem {
    let at = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let known: Vec<String> =
        around["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let remedy = suggestion(key, &known, &format!("remove it; the keys here are {}", known.join(", ")));
    Problem {
        source: written.source_of_misfit(&at),
        path: at,
        value: None,
        what: "is not a key that may stand here".into(),
        remedy,
    }
}

/// "did you mean …", or another remedy where nothing known is near.
pub(super) fn suggestion(given: &str, known: &[String], otherwise: &str) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&given.to_lowercase(), &known.to_lowercase()), known))
        .min()
        .filter(|(distance, _)| *distance <= 1 + given.chars().count() / 4);
    near.map_or_else(|| otherwise.to_owned(), |(_, known)| format!("did you mean {known}?"))
}

/// What is wrong, and what to do about it.
fn words(kind: &ValidationErrorKind, value: &Value, around: &Value, message: &str) -> (String, String) {
    if value.is_null() {
        return ("has no value".into(), "give it one, or remove the key".into());
    }
    match kind {
        // Only durations have examples in the schema.
        ValidationErrorKind::Type { .. } if value.is_number() && around["examples"].is_array() => {
            ("is a duration without a unit".into(), with_a_unit(&value.to_string()))
        }
        ValidationErrorKind::Type { kind } => ("has the wrong type".into(), expected(kind, value)),
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(String::from)
                .collect();
            let all = options.join(", ");
            let remedy = suggestion(value.as_str().unwrap_or_default(), &options, &format!("write {all}"));
            (format!("is none of: {all}"), remedy)
        }
        ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => {
            let bound = |name: &str| around[name].to_string();
            if around["minimum"] == around["maximum"] {
                return ("is not known to this polkafleet".into(), format!("write {}", bound("minimum")));
            }
            (
                "is out of range".into(),
                format!("write a number from {} to {}", bound("minimum"), bound("maximum")),
            )
        }
        ValidationErrorKind::AnyOf { .. } => (
            "is neither a count nor a percentage".into(),
            "write a whole number, or a percentage such as 25%".into(),
        ),
        _ => (message.to_owned(), "polkafleet schema prints what may stand here".into()),
    }
}

/// What to write in place of a number that should be a duration.
pub(super) fn with_a_unit(number: &str) -> String {
    format!("write {number}s, {number}m or {number}h")
}

fn expected(kind: &TypeKind, value: &Value) -> String {
    let TypeKind::Single(expected) = kind else {
        return "polkafleet schema prints what may stand here".into();
    };
    match expected.to_string().as_str() {
        "string" if value.is_number() || value.is_boolean() => "put it in quotes: this is a text".into(),
        "string" => "write a text".into(),
        "integer" if value.as_str().is_some_and(|text| text.parse::<i64>().is_ok()) => {
            "write it without quotes: this is a number".into()
        }
        "integer" => "write a whole number".into(),
        "boolean" => match value.as_str().map(str::to_lowercase).as_deref() {
            Some("yes" | "on" | "y") => "write true: yes and on are texts here".into(),
            Some("no" | "off" | "n") => "write false: no and off are texts here".into(),
            Some("true" | "false") => "write it without quotes and in small letters".into(),
            _ => "write true or false".into(),
        },
        "array" => "write a list: [a, b], or lines that begin with a dash".into(),
        _ => "write keys and values".into(),
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

fn remove_key(value: &mut Value, location: &Location, key: &str) {
    if let Some(Value::Object(object)) = value.pointer_mut(location.as_str()) {
        object.remove(key);
    }
}

/// Takes out the value at `location`. An item of a list becomes an empty one instead: its neighbours keep their places.
fn replace(value: &mut Value, location: &Location, around: &Value) {
    let (parent, last) = location.as_str().rsplit_once('/').unwrap_or_default();
    match value.pointer_mut(parent) {
        Some(Value::Object(object)) => {
            object.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(item) = last.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                *item = if around["type"] == "object" { json!({}) } else { json!("") };
            }
        }
        _ => {}
    }
}
