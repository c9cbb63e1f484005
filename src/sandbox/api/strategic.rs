//! Strategic merge patches (k8s.io/apimachinery `util/strategicpatch`): maps are merged by key, keyed lists by their
//! first key, everything else is replaced; with the directives that kubectl sends.

use serde_json::{Map, Value};

use super::go;
use super::status::Status;
use crate::sandbox::shape::Shape;

const DELETE: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Merges a patch into an object.
pub fn merge(live: &mut Value, patch: &Value, shape: &Shape) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        *live = patch.clone();
        return Ok(());
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") || !live.is_object() {
        *live = Value::Object(Map::new());
    }
    let Value::Object(fields) = live else { return Ok(()) };
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE) {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(items)) = fields.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if let Some(list) = name.strip_prefix(ORDER) {
            // With items of its own the list is merged below.
            if let (Some(Value::Array(items)), None, Some(order)) =
                (fields.get_mut(list), patch.get(list), value.as_array())
            {
                let key = shape.under(list).and_then(Shape::merge_key);
                *items = ordered(items.clone(), order, &items.clone(), key);
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        let inner = shape.under(name).unwrap_or(&Shape::Any);
        let deleted = value.get("$patch").is_some_and(|directive| directive == "delete");
        match value {
            Value::Null => drop(fields.remove(name)),
            _ if deleted => drop(fields.remove(name)),
            Value::Object(_) => merge(fields.entry(name).or_insert(Value::Null), value, inner)?,
            Value::Array(items) => {
                let order = patch.get(&format!("{ORDER}{name}")).and_then(Value::as_array);
                let live = fields.entry(name).or_insert(Value::Null);
                let before = live.as_array().cloned().unwrap_or_default();
                merge_list(live, items, inner)?;
                if let (Some(order), Value::Array(merged)) = (order, &mut *live) {
                    *merged = ordered(std::mem::take(merged), order, &before, inner.merge_key());
                }
            }
            _ => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    Ok(())
}

fn merge_list(live: &mut Value, patch: &[Value], shape: &Shape) -> Result<(), Status> {
    let plain: Vec<Value> = patch.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
    let Some(key) = shape.merge_key() else {
        let known = live.as_array().cloned().unwrap_or_default();
        let merged = if matches!(shape, Shape::Set(_)) {
            let all = known.iter().chain(&plain).fold(vec![], |mut all: Vec<Value>, item| {
                if !all.contains(item) {
                    all.push(item.clone());
                }
                all
            });
            ordered(all, &plain, &known, None)
        } else {
            plain
        };
        *live = merged.into();
        return Ok(());
    };
    let Value::Array(items) = live else {
        *live = plain.into();
        return Ok(());
    };
    if patch.iter().any(|item| item["$patch"] == "replace") {
        *items = plain;
        return Ok(());
    }
    if let Some(nameless) = patch.iter().find(|item| item.get(key).is_none()) {
        return Err(Status::unexplained(format!(
            "map: {} does not contain declared merge key: {key}",
            go::printed(nameless)
        )));
    }
    for item in patch.iter().filter(|item| item["$patch"] == "delete") {
        items.retain(|known| known[key] != item[key]);
    }
    let before = items.clone();
    for item in &plain {
        match items.iter_mut().find(|known| known[key] == item[key]) {
            Some(known) => merge(known, item, shape.item())?,
            None => items.push(item.clone()),
        }
    }
    *items = ordered(std::mem::take(items), &plain, &before, Some(key));
    Ok(())
}

/// Puts the items that `order` names into its order, and the others, in the order of `before`, between them: in front
/// of one that they stood in front of, else at the end.
fn ordered(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |one: &Value, other: &Value| match key {
        Some(key) => one[key] == other[key],
        None => one == other,
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|one| same(one, item));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(before, item));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut all = vec![];
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(named)) => {
                matches!((place(before, other), place(before, named)), (Some(one), Some(two)) if one < two)
            }
        };
        all.extend(if other_first { others.next() } else { named.next() });
    }
}
