//! Takes out of an object what its applier wanted before and wants no more.

use serde_json::{Map, Value};

use super::parts::{element_of, fields_of, with_named_fields};
use crate::sandbox::fields::{Element, FieldSet};
use crate::sandbox::shape::Shape;

/// The merged object without what only the applier owned. `last` is what it owned before, `owned` what anybody owns
/// now, the applier included. A map or list goes with its last part; one in which something is left stays, even if
/// nobody owns that.
pub(super) fn abandoned(merged: Value, last: &FieldSet, owned: &FieldSet, shape: &Shape) -> Value {
    if last.is_empty() {
        return merged;
    }
    let all = |set: &FieldSet| with_named_fields(set, shape);
    let (last, there) = (all(last), all(&fields_of(&merged, shape)));
    let kept = all(&fields_of(&without(&merged, &last, shape), shape));
    let kept = without(&merged, &there.difference(&kept.union(&all(owned))), shape);
    let kept = all(&fields_of(&kept, shape));
    without(&merged, &there.difference(&kept).intersection(&last), shape)
}

/// The value without the fields of a set; null where nothing is left.
fn without(value: &Value, gone: &FieldSet, shape: &Shape) -> Value {
    let part = |element: &Element, value: &Value, shape: &Shape| match gone.below(element) {
        Some(gone) => without(value, gone, shape),
        None => value.clone(),
    };
    match (shape, value) {
        (Shape::Any | Shape::Struct(_) | Shape::Map(_), Value::Object(map)) => {
            let left = map.iter().map(|(key, value)| (Element::field(key), key, value));
            let left = left.filter(|(element, ..)| !gone.has(element)).map(|(element, key, value)| {
                (key.clone(), part(&element, value, shape.under(key).unwrap_or(&Shape::Any)))
            });
            let left: Map<String, Value> = left.collect();
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        (Shape::Set(_) | Shape::Keyed { .. }, Value::Array(items)) => {
            let left = items.iter().filter_map(|item| {
                let element = element_of(shape, item).ok()?;
                (!gone.has(&element)).then(|| part(&element, item, shape.item()))
            });
            let left: Vec<Value> = left.collect();
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        (Shape::Atomic(_) | Shape::List(_), _) | (Shape::Any, Value::Array(_)) => Value::Null,
        _ => value.clone(),
    }
}
