//! The kinds of Kubernetes itself: what the API server adds to them, refuses in them and keeps of them.
//!
//! Every function takes an object as JSON and its group and kind; a kind that is not among those the product uses is
//! left alone. Numbers and addresses that are handed out ([`allocate`]) and the words about a wrong JSON type
//! ([`types`]) are here too. Storing, watching and answering are not.

pub mod allocate;
pub mod defaults;
pub mod prepare;
pub mod quantity;
#[cfg(test)]
mod tests;
pub mod types;
pub mod validate;

use serde_json::{Map, Value};

/// The group under which the server speaks of a kind: the two kinds of events are one to it.
pub fn reported_group<'a>(group: &'a str, kind: &str) -> &'a str {
    if kind == "Event" { "" } else { group }
}

/// The text at `pointer`, empty where there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at `pointer`, zero where there is none.
pub(super) fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// The list at `pointer`, empty where there is none.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of the map at `pointer`.
pub(super) fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

/// The object under `key`, made where it is missing.
pub(super) fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut()?.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// Sets `key` where it is missing or null.
pub(super) fn fill(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(fields) = value.as_object_mut()
        && fields.get(key).is_none_or(Value::is_null)
    {
        fields.insert(key.to_owned(), default.into());
    }
}

/// [`fill`], for a text that also counts as missing when it is empty.
pub(super) fn fill_text(value: &mut Value, key: &str, default: &str) {
    if value.get(key).is_some_and(|text| text.as_str() == Some("")) {
        value[key] = Value::Null;
    }
    fill(value, key, default);
}
