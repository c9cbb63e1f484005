//! The parts of a value, as its shape sees them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::sandbox::fields::{Element, FieldSet};
use crate::sandbox::shape::Shape;

/// A value as a map, if it is one.
pub(super) fn map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// The items of a value, if it is a list.
pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What tells an item of a set or a keyed list from the others; or why nothing does.
pub(super) fn element_of(shape: &Shape, item: &Value) -> Result<Element, String> {
    let Shape::Keyed { keys, .. } = shape else {
        let what = match item {
            Value::Null => "associative list without keys has an element that's an explicit null",
            Value::Array(_) => "not supported: associative list with lists as elements",
            Value::Object(_) => "associative list without keys has an element that's a map type",
            scalar => return Ok(Element::Value(scalar.clone())),
        };
        return Err(what.into());
    };
    let fields = match item {
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        Value::Object(fields) => fields,
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let values = keys
        .iter()
        .filter_map(|(key, default)| Some((key.clone(), fields.get(key).or(default.as_ref())?.clone())));
    let values: BTreeMap<String, Value> = values.collect();
    if values.is_empty() {
        let keys: Vec<String> = keys.iter().map(|(key, _)| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
             values for any key fields)",
            keys.join(" "),
        ));
    }
    Ok(Element::Key(values.into_iter().collect()))
}

/// The items of a set or keyed list, each with what tells it from the others.
pub(super) fn elements<'a>(shape: &Shape, items: &'a [Value]) -> Vec<(Element, &'a Value)> {
    items.iter().filter_map(|item| Some((element_of(shape, item).ok()?, item))).collect()
}

/// The fields that an object sets.
pub(super) fn fields_of(object: &Value, shape: &Shape) -> FieldSet {
    let mut set = FieldSet::default();
    collect(object, shape, &mut vec![], &mut set);
    set
}

fn collect(value: &Value, shape: &Shape, path: &mut Vec<Element>, set: &mut FieldSet) {
    match (shape, value) {
        (Shape::Any | Shape::Struct(_) | Shape::Map(_), Value::Object(map)) => {
            for (key, value) in map {
                path.push(Element::field(key));
                collect(value, shape.under(key).unwrap_or(&Shape::Any), path, set);
                let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                // Whoever makes an entry under a key of its own choice owns the entry besides what is in it.
                if is_empty || !shape.names(key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::Set(_) | Shape::Keyed { .. }, Value::Array(items)) => {
            let items = elements(shape, items);
            let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
            for (element, _) in &items {
                if !seen.insert(element) {
                    repeated.insert(element);
                }
            }
            for (element, item) in &items {
                path.push(element.clone());
                if !repeated.contains(element) {
                    collect(item, shape.item(), path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        (Shape::Scalar(_) | Shape::Atomic(_) | Shape::List(_), _) => set.insert(path),
        (Shape::Any, value) if !value.is_null() => set.insert(path),
        _ => {}
    }
}

/// The set with the named fields that lead to something in it: a struct's fields come and go with what is in them.
pub(super) fn with_named_fields(set: &FieldSet, shape: &Shape) -> FieldSet {
    set.map(|element, member, parts| {
        let (named, below) = match element {
            Element::Field(name) => (shape.names(name) && !parts.is_empty(), shape.under(name)),
            Element::Key(_) => (false, Some(shape.item())),
            _ => (false, None),
        };
        (member || named, with_named_fields(parts, below.unwrap_or(&Shape::Any)))
    })
}
