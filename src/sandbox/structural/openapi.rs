//! What a schema says about values short of CEL, in the words of the server's validator.
//!
//! That validator looks at every side of a value even when one of them is already wrong, so one mistake can have two
//! causes; the order of its steps is kept.

use serde_json::{Number, Value, json};
use std::collections::HashMap;

use super::{
    Cause, format,
    schema::{Additional, Schema},
};
use crate::sandbox::builtin::validate::metadata;

/// Adds the mistakes in `value` to `causes`. A value that is what it was before passes, whatever it is.
pub(super) fn check(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    if old == Some(value) {
        return;
    }
    check_type(schema, value, path, causes);
    if !value.is_null() {
        check_combined(schema, value, old, path, causes);
        match value {
            Value::String(text) => check_text(schema, text, path, causes),
            Value::Number(number) => check_number(schema, number, path, causes),
            Value::Array(items) => check_items(schema, items, old, path, causes),
            _ => {}
        }
    }
    check_allowed(schema, value, path, causes);
    if value.is_object() {
        check_fields(schema, value, old, path, causes);
    }
}

fn check_type(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let types = schema.types();
    let format = format::supported(schema);
    if types.is_empty() && format.is_empty() {
        return;
    }
    let (found, own_format) = type_of(value);
    let wrong = |expected: &str, found: &str| {
        let detail = format!("{path} in body must be of type {expected}: {found:?}");
        Cause::type_invalid(path.trim_start_matches('.'), &json!(found), detail)
    };
    if value.is_null() {
        if !types.is_empty() && !schema.nullable {
            causes.push(wrong(&types.join(","), "null"));
        }
        return;
    }
    let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let numeric = types.contains(&"number") || types.contains(&"integer");
    let fits = types.contains(&found)
        || (found == "number" && whole && types.contains(&"integer"))
        || (found == "integer" && types.contains(&"number"));
    let sequence = value.is_string() || value.is_array();
    if !sequence && !format.is_empty() && !fits && own_format != format {
        causes.push(wrong(format, own_format));
    } else if !fits && (format.is_empty() || numeric || !sequence) {
        causes.push(wrong(&types.join(","), found));
    }
}

fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Number(number) if number.is_f64() => ("number", "float64"),
        Value::Number(_) => ("integer", "int64"),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn check_combined(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    let ask = |schema: &Schema| {
        let mut found = Vec::new();
        check(schema, value, old, path, &mut found);
        found
    };
    // Of several alternatives that all fail, the server shows the mistakes of one; the first is taken here.
    let alternatives = |schemas: &[Schema]| -> (usize, Vec<Cause>) {
        let answers: Vec<_> = schemas.iter().map(ask).collect();
        let passed = answers.iter().filter(|answer| answer.is_empty()).count();
        (passed, answers.into_iter().next().filter(|_| passed == 0).unwrap_or_default())
    };
    let whole = |words: &str| Cause::invalid("", &json!(""), format!("{path:?} {words}"));
    if !schema.any_of.is_empty() && !schema.int_or_string {
        let (passed, failures) = alternatives(&schema.any_of);
        if passed == 0 {
            causes.push(whole("must validate at least one schema (anyOf)"));
        }
        causes.extend(failures);
    }
    if !schema.one_of.is_empty() {
        let (passed, failures) = alternatives(&schema.one_of);
        let found =
            if passed == 0 { "none valid".to_owned() } else { format!("{passed} valid alternatives") };
        if passed != 1 {
            causes.push(whole(&format!("must validate one and only one schema (oneOf). Found {found}")));
        }
        causes.extend(failures);
    }
    if !schema.all_of.is_empty() {
        let answers: Vec<_> = schema.all_of.iter().map(ask).collect();
        let passed = answers.iter().filter(|answer| answer.is_empty()).count();
        let (all, none) = (passed == answers.len(), if passed == 0 { ". None validated" } else { "" });
        causes.extend(answers.into_iter().flatten());
        if !all {
            causes.push(whole(&format!("must validate all the schemas (allOf){none}")));
        }
    }
    if schema.not.as_ref().is_some_and(|not| ask(not).is_empty()) {
        causes.push(whole("must not validate the schema (not)"));
    }
}

fn check_text(schema: &Schema, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let field = path.trim_start_matches('.');
    let wrong = |words: String| Cause::invalid(field, &json!(text), format!("{path} in body should {words}"));
    if let Some(limit) = schema.max_length.filter(|limit| length > *limit) {
        causes.push(Cause::too_long(field, limit));
    } else if let Some(limit) = schema.min_length.filter(|limit| length < *limit) {
        causes.push(wrong(format!("be at least {limit} chars long")));
    } else if schema.regex.as_ref().is_some_and(|regex| !regex.is_match(text)) {
        causes.push(wrong(format!("match '{}'", schema.pattern)));
    }
    let format = format::supported(schema);
    if !format.is_empty() && !format::matches(format, text) {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        causes.push(Cause::type_invalid(field, &json!(text), detail));
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // as the server does it
fn check_number(schema: &Schema, number: &Number, path: &str, causes: &mut Vec<Cause>) {
    let value = Value::Number(number.clone());
    let data = number.as_f64().unwrap_or_default();
    let integral = number.is_i64() || number.is_u64();
    let format = format::supported(schema);
    let fits = match (schema.type_.as_str(), format) {
        ("integer", "int32") => data.fract() == 0.0 && i32::try_from(data as i64).is_ok(),
        ("integer", _) => number.is_i64() || data.fract() == 0.0,
        (_, "float") => data.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if !fits {
        let form =
            if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
        let detail = format!("Checked value must be of type {} {form} in {path}", schema.type_);
        causes.push(Cause::invalid("", &json!(""), detail));
    }
    let wrong = |causes: &mut Vec<Cause>, words: &str, bound: f64| {
        let bound =
            if integral || bound.fract() == 0.0 { format!("{}", bound as i64) } else { bound.to_string() };
        let detail = format!("{path} in body should be {words} {bound}");
        causes.push(Cause::invalid(path.trim_start_matches('.'), &value, detail));
    };
    match schema.multiple_of {
        // The factor of an integer is made an integer, whatever it is.
        Some(factor) if integral && (factor as i64) <= 0 => {
            let factor = factor as i64;
            let detail = format!("factor MultipleOf declared for {path} must be positive: {factor}");
            causes.push(Cause::invalid(path.trim_start_matches('.'), &json!(factor), detail));
        }
        Some(factor) if factor > 0.0 && (data / factor).fract() != 0.0 => {
            wrong(causes, "a multiple of", factor);
        }
        _ => {}
    }
    match (schema.minimum, schema.exclusive_minimum) {
        (Some(bound), true) if data <= bound => wrong(causes, "greater than", bound),
        (Some(bound), false) if data < bound => wrong(causes, "greater than or equal to", bound),
        _ => {}
    }
    match (schema.maximum, schema.exclusive_maximum) {
        (Some(bound), true) if data >= bound => wrong(causes, "less than", bound),
        (Some(bound), false) if data > bound => wrong(causes, "less than or equal to", bound),
        _ => {}
    }
}

fn check_items(schema: &Schema, items: &[Value], old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    if let Some(child) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let old = super::correlated(schema, item, old);
            check(child, item, old, &format!("{path}[{index}]"), causes);
        }
    }
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let field = path.trim_start_matches('.');
    if let Some(limit) = schema.min_items.filter(|limit| count < *limit) {
        let detail = format!("{path} in body should have at least {limit} items");
        causes.push(Cause::invalid(field, &json!(count), detail));
    }
    if let Some(limit) = schema.max_items.filter(|limit| count > *limit) {
        causes.push(Cause::too_many(field, items.len(), limit));
    }
}

fn check_allowed(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if schema.allowed.is_empty() || (!value.is_null() && schema.allowed.contains(value)) {
        return;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let allowed: Vec<_> = schema.allowed.iter().map(text).collect();
    causes.push(Cause::not_supported(path.trim_start_matches('.'), value, &allowed));
}

fn check_fields(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    let Some(fields) = value.as_object() else { return };
    let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
    let field = path.trim_start_matches('.');
    if let Some(limit) = schema.min_properties.filter(|limit| count < *limit) {
        let detail = format!("{path} in body should have at least {limit} properties");
        causes.push(Cause::invalid(field, &json!(count), detail));
    }
    if let Some(limit) = schema.max_properties.filter(|limit| count > *limit) {
        causes.push(Cause::too_many(field, fields.len(), limit));
    }
    let old = |key: &str| old.and_then(|old| old.get(key));
    for (key, value) in fields.iter().filter(|(key, _)| !schema.properties.contains_key(*key)) {
        match &schema.additional_properties {
            Some(Additional::Any(false)) => {
                let detail = format!("{path}.{key} in body is a forbidden property");
                causes.push(Cause::invalid(field, &json!(key), detail));
            }
            Some(Additional::Schema(child)) => {
                check(child, value, old(key), &format!("{path}.{key}"), causes);
            }
            _ => {}
        }
    }
    for (key, child) in &schema.properties {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if let Some(value) = fields.get(key) {
            check(child, value, old(key), &path, causes);
        }
    }
    for key in schema.required.iter().filter(|key| !fields.contains_key(*key)) {
        causes.push(Cause::required(format!("{path}.{key}").trim_start_matches('.'), ""));
    }
}

/// The mistakes in whole objects inside an object.
pub(super) fn check_embedded(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                check_resource(value, path, causes);
            }
            for (key, value) in fields {
                let Some(child) = schema.child(key) else { continue };
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                check_embedded(child, value, &path, causes);
            }
        }
        Value::Array(items) => {
            let Some(child) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                check_embedded(child, item, &format!("{path}[{index}]"), causes);
            }
        }
        _ => {}
    }
}

fn check_resource(value: &Value, path: &str, causes: &mut Vec<Cause>) {
    for key in ["apiVersion", "kind"] {
        let at = format!("{path}.{key}");
        match value.get(key) {
            None => causes.push(Cause::required(at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                causes.push(Cause::invalid(at, &json!(""), "must not be empty"));
            }
            Some(Value::String(_)) => {}
            Some(other) => causes.push(Cause::invalid(at, other, "must be a string")),
        }
    }
    if let Some(inner) = value.get("metadata") {
        metadata::validate_labels(inner, &format!("{path}.metadata"), causes);
    }
}

/// The entries that stand twice in lists which are sets or maps.
pub(super) fn check_lists(schema: &Schema, value: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let Some(child) = schema.child(key) else { continue };
                let path = match (schema.properties.contains_key(key), path) {
                    (false, _) => format!("{path}[{key}]"),
                    (true, "") => key.clone(),
                    (true, _) => format!("{path}.{key}"),
                };
                causes.extend(check_lists(child, value, &path));
            }
        }
        Value::Array(items) => {
            causes.extend(twice(schema, items, path));
            for (index, item) in items.iter().enumerate() {
                if let Some(child) = &schema.items {
                    causes.extend(check_lists(child, item, &format!("{path}[{index}]")));
                }
            }
        }
        _ => {}
    }
    causes
}

fn twice(schema: &Schema, items: &[Value], path: &str) -> Vec<Cause> {
    let keys = match schema.list_type.as_str() {
        "set" => items.to_vec(),
        "map" => {
            if let Some(index) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
                let detail = "must be an object for an array of list-type map";
                return vec![Cause::invalid(format!("{path}[{index}]"), &items[index], detail)];
            }
            let named = |item: &Value| {
                let pairs =
                    schema.list_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Value::Object(pairs.collect())
            };
            items.iter().map(named).collect()
        }
        _ => return Vec::new(),
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut causes = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let times = seen.entry(key.to_string()).or_default();
        *times += 1;
        // The third and later ones are not said again.
        if *times == 2 {
            causes.push(Cause::duplicate(format!("{path}[{index}]"), key));
        }
    }
    causes
}
