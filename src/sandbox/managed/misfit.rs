//! What in an applied configuration does not fit its type, in the server's words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::parts::element_of;
use crate::sandbox::fields::Element;
use crate::sandbox::shape::{Scalar, Shape};

/// The server's message for a configuration that does not fit.
pub(super) fn message(config: &Value, shape: &Shape) -> Option<String> {
    let mut misfits = vec![];
    check(config, shape, "", &mut misfits);
    let misfits = match misfits.as_slice() {
        [] => return None,
        [misfit] => misfit.clone(),
        all => format!("errors:\n  {}", all.join("\n  ")),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&config["metadata"]["name"]), text(&config["metadata"]["namespace"]));
    let (api_version, kind) = (text(&config["apiVersion"]), text(&config["kind"]));
    let group_version = if api_version.contains('/') { api_version } else { format!("/{api_version}") };
    Some(format!(
        "failed to create typed patch object ({namespace}/{name}; {group_version}, Kind={kind}): {misfits}"
    ))
}

fn check(value: &Value, shape: &Shape, path: &str, misfits: &mut Vec<String>) {
    let mut misfit = |what: String| {
        misfits.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    match (shape, value) {
        (Shape::Any, _) | (_, Value::Null) => {}
        (Shape::Atomic(inner), _) => check(value, inner, path, misfits),
        (Shape::Scalar(scalar), value) => {
            if let Some(what) = scalar_misfit(*scalar, value) {
                misfit(what);
            }
        }
        (Shape::Struct(_) | Shape::Map(_), Value::Object(map)) => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                let Some(shape) = shape.under(key) else {
                    misfits.push(format!("{path}: field not declared in schema"));
                    return; // as the server does, which looks no further in this map
                };
                check(value, shape, &path, misfits);
            }
        }
        (Shape::Struct(_) | Shape::Map(_), other) => {
            misfit(format!("expected map, got &{{{}}}", plain(other)));
        }
        (_, Value::Array(items)) => check_items(items, shape, path, misfits),
        (_, other) => misfit(format!("expected list, got &{{{}}}", plain(other))),
    }
}

fn check_items(items: &[Value], shape: &Shape, path: &str, misfits: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let element = if matches!(shape, Shape::List(_)) {
            Element::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match element_of(shape, item) {
                Ok(element) => element,
                Err(what) => {
                    misfits.push(format!("{path}: element {index}: {what}"));
                    return;
                }
            }
        };
        let at = format!("{path}{element}");
        if !seen.insert(element.clone()) {
            misfits.push(format!("{path}: duplicate entries for key {element}"));
        }
        check(item, shape.item(), &at, misfits);
    }
}

fn scalar_misfit(scalar: Scalar, value: &Value) -> Option<String> {
    let fits = match scalar {
        Scalar::String => value.is_string(),
        Scalar::Number => value.is_number(),
        Scalar::Bool => value.is_boolean(),
        Scalar::Untyped => !value.is_object() && !value.is_array(),
    };
    (!fits).then(|| match scalar {
        Scalar::String => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", literal(value))
        }
        Scalar::Number => format!("expected numeric (int or float), got {}", go_type(value)),
        Scalar::Bool => format!("expected boolean, got &{{{}}}", plain(value)),
        Scalar::Untyped => format!("expected any scalar, got &{{{}}}", plain(value)),
    })
}

/// The value as Go's `%v` writes it.
fn plain(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(plain).collect())),
        Value::Object(map) => {
            format!(
                "map[{}]",
                joined(map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect())
            )
        }
        other => other.to_string(),
    }
}

/// The value as Go's `%#v` writes it.
fn literal(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Array(items) => {
            format!("{}{{{}}}", go_type(value), joined(items.iter().map(literal).collect()))
        }
        Value::Object(map) => {
            let parts = map.iter().map(|(key, value)| format!("{key:?}:{}", literal(value)));
            format!("{}{{{}}}", go_type(value), joined(parts.collect()))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
