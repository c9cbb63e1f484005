//! Merges a configuration into an object: the parts of both, with the configuration's values where both have one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::parts::{elements, list, map};
use crate::sandbox::fields::Element;
use crate::sandbox::shape::Shape;

/// The merged value; none where nothing is in it.
pub(super) fn merge(shape: &Shape, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let either = || new.or(old).cloned();
    let is_map = |value: Option<&Value>| value.is_none_or(|value| value.is_object() || value.is_null());
    match shape {
        Shape::Struct(_) | Shape::Map(_) => maps(shape, old, new),
        Shape::Any if is_map(old) && is_map(new) => maps(shape, old, new),
        Shape::Set(_) | Shape::Keyed { .. } => {
            let (old_items, new_items) = (list(old), list(new));
            if old_items.is_empty() && new_items.is_empty() {
                return either();
            }
            let merged = lists(shape, &elements(shape, old_items), &elements(shape, new_items));
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
        _ => either(),
    }
}

fn maps(shape: &Shape, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let (old_map, new_map) = (map(old), map(new));
    let is_empty = |map: Option<&Map<_, _>>| map.is_none_or(Map::is_empty);
    if is_empty(old_map) && is_empty(new_map) {
        return new.or(old).cloned();
    }
    let keys: BTreeSet<&String> = [old_map, new_map].into_iter().flatten().flat_map(Map::keys).collect();
    let merged = keys.into_iter().filter_map(|key| {
        let value = |map: Option<&'_ Map<String, Value>>| map.and_then(|map| map.get(key)).cloned();
        let (old, new) = (value(old_map), value(new_map));
        let merged = merge(shape.under(key).unwrap_or(&Shape::Any), old.as_ref(), new.as_ref())?;
        Some((key.clone(), merged))
    });
    let merged: Map<String, Value> = merged.collect();
    (!merged.is_empty()).then_some(Value::Object(merged))
}

/// Merges two lists. The configuration's items come in its order; those that only the object has keep their places
/// between them as far as that leaves them any.
fn lists(shape: &Shape, old: &[(Element, &Value)], new: &[(Element, &Value)]) -> Vec<Value> {
    let (known, given) = (by_element(old), by_element(new));
    let item = |element: &Element| {
        merge(shape.item(), known.get(element).copied(), given.get(element).copied()).unwrap_or_default()
    };
    let mut shared = new.iter().map(|(element, _)| element).filter(|element| known.contains_key(element));
    let mut next_shared = shared.next();
    let mut merged = BTreeSet::new();
    let mut result = vec![];
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return result,
            (Some((left, _)), Some((right, _))) if left == right => {
                result.push(item(left));
                merged.insert(left);
                old.next();
                new.next();
                next_shared = shared.next();
            }
            // Its turn comes with the configuration's.
            (Some((left, _)), Some(_))
                if given.contains_key(left) && next_shared.is_some_and(|next| next != left) =>
            {
                old.next();
            }
            (Some((left, value)), _) if !given.contains_key(left) => {
                result.push((*value).clone());
                old.next();
            }
            (left, _) => {
                if left.is_some_and(|(left, _)| merged.contains(left)) {
                    old.next();
                }
                if let Some((right, _)) = new.next() {
                    result.push(item(right));
                    merged.insert(right);
                    if next_shared == Some(right) {
                        next_shared = shared.next();
                    }
                }
            }
        }
    }
}

/// The items by what tells them apart. Of those that nothing tells apart, none is merged with anything.
fn by_element<'a>(items: &'a [(Element, &'a Value)]) -> BTreeMap<&'a Element, &'a Value> {
    let mut found = BTreeMap::new();
    for (element, item) in items {
        found.entry(element).and_modify(|item| *item = &Value::Null).or_insert(*item);
    }
    found
}
