//! The numbers behind the scale subresource of a custom resource, which the server looks at whatever the schema says.

use serde_json::{Value, json};

use super::Cause;
use crate::sandbox::api::printed;
use crate::sandbox::kinds::Scale;

/// The mistakes in what a scaler would read of `object`.
pub(super) fn check(scale: &Scale, object: &Value) -> Vec<Cause> {
    let mut causes: Vec<Cause> =
        [&scale.spec, &scale.status].into_iter().filter_map(|path| replicas(path, object)).collect();
    if let Some(path) = &scale.selector
        && let Err(wrong) = at(path, object, "string", Value::is_string)
    {
        causes.push(Cause::invalid(shown(path), &json!(""), wrong));
    }
    causes
}

fn replicas(path: &[String], object: &Value) -> Option<Cause> {
    let found = at(path, object, "int64", |value| value.is_i64() || value.is_u64());
    let number = match found {
        Err(wrong) => return Some(Cause::invalid(shown(path), &json!(0), wrong)),
        Ok(found) => found?.as_i64()?,
    };
    if number < 0 {
        return Some(Cause::invalid(shown(path), &json!(number), "should be a non-negative integer"));
    }
    (number > i64::from(i32::MAX)).then(|| {
        let detail = format!("should be less than or equal to {}", i32::MAX);
        Cause::invalid(shown(path), &json!(number), detail)
    })
}

/// The value at a path, where there is one and it is of the right type.
fn at<'a>(
    path: &[String],
    object: &'a Value,
    expected: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Option<&'a Value>, String> {
    let wrong = |to: usize, value: &Value, expected: &str| {
        format!(
            "{} accessor error: {} is of the type {}, expected {expected}",
            shown(&path[..to]),
            printed(value),
            go_type(value)
        )
    };
    let mut value = object;
    for (index, key) in path.iter().enumerate() {
        let Some(fields) = value.as_object() else {
            return Err(wrong(index + 1, value, "map[string]interface{}"));
        };
        let Some(inner) = fields.get(key) else { return Ok(None) };
        value = inner;
    }
    if fits(value) { Ok(Some(value)) } else { Err(wrong(path.len(), value, expected)) }
}

fn shown(path: &[String]) -> String {
    format!(".{}", path.join("."))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
