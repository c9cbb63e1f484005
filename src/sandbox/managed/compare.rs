//! What differs between two objects, field by field as their shape sees fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::parts::{elements, list, map};
use crate::sandbox::fields::{Element, FieldSet};
use crate::sandbox::shape::Shape;

/// The fields in which two objects differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Difference {
    /// What the new object sets: the added and the modified.
    pub fn set(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

/// Compares two objects.
pub(super) fn compare(shape: &Shape, old: &Value, new: &Value) -> Difference {
    let mut walk = Walk { path: vec![], found: Difference::default() };
    walk.visit(shape, Some(old), Some(new));
    walk.found
}

struct Walk {
    path: Vec<Element>,
    found: Difference,
}

impl Walk {
    fn visit(&mut self, shape: &Shape, old: Option<&Value>, new: Option<&Value>) {
        match shape {
            Shape::Struct(_) | Shape::Map(_) => self.maps(shape, old, new),
            Shape::Set(_) | Shape::Keyed { .. } => self.lists(shape, old, new),
            Shape::Any if map(old).or(map(new)).is_some() => {
                self.maps(shape, old, new);
                let other = if map(old).is_some() { new } else { old };
                if other.is_some_and(|other| !other.is_object() && !other.is_null()) {
                    self.found.modified.insert(&self.path);
                }
            }
            _ => self.leaf(old, new),
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        if old.is_some() && new.is_some() && old != new {
            self.found.modified.insert(&self.path);
        }
        self.ends(old, new);
    }

    /// A value that is there on one side only is itself added or removed, besides its parts.
    fn ends(&mut self, old: Option<&Value>, new: Option<&Value>) {
        if old.is_none() {
            self.found.added.insert(&self.path);
        } else if new.is_none() {
            self.found.removed.insert(&self.path);
        }
    }

    fn part(&mut self, element: Element, shape: &Shape, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(element);
        self.visit(shape, old, new);
        self.path.pop();
    }

    fn maps(&mut self, shape: &Shape, old: Option<&Value>, new: Option<&Value>) {
        let zeros: BTreeMap<&str, &Value> = shape.zeros().collect();
        let is_empty = |map: Option<&Map<_, _>>| map.is_none_or(|map| map.is_empty() && zeros.is_empty());
        let (old_map, new_map) = (map(old), map(new));
        if is_empty(old_map) && is_empty(new_map) {
            return self.leaf(old, new);
        }
        let keys = [old_map, new_map].into_iter().flatten().flat_map(Map::keys).map(String::as_str);
        let keys: BTreeSet<&str> = keys.chain(zeros.keys().copied()).collect();
        for key in keys {
            let value = |map: Option<&'_ Map<String, Value>>| -> Option<Value> {
                map.and_then(|map| map.get(key).or_else(|| zeros.get(key).copied())).cloned()
            };
            let (old, new) = (value(old_map), value(new_map));
            if old.is_some() || new.is_some() {
                let shape = shape.under(key).unwrap_or(&Shape::Any);
                self.part(Element::field(key), shape, old.as_ref(), new.as_ref());
            }
        }
        self.ends(old, new);
    }

    fn lists(&mut self, shape: &Shape, old: Option<&Value>, new: Option<&Value>) {
        let (old_items, new_items) = (list(old), list(new));
        if old_items.is_empty() && new_items.is_empty() {
            return self.leaf(old, new);
        }
        let mut items: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, list) in [old_items, new_items].into_iter().enumerate() {
            for (element, item) in elements(shape, list) {
                items.entry(element).or_default()[side].push(item);
            }
        }
        for (element, [old, new]) in items {
            self.items(element, shape.item(), &old, &new);
        }
        self.ends(old, new);
    }

    /// Compares the items of one key. Where there is more than one, which an update may do, they are one value.
    fn items(&mut self, element: Element, shape: &Shape, old: &[&Value], new: &[&Value]) {
        let path: Vec<Element> = self.path.iter().chain([&element]).cloned().collect();
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => self.part(element, shape, old.first().copied(), new.first().copied()),
            (0 | 1, _) => {
                if let Some(old) = old.first() {
                    self.part(element, shape, Some(old), None);
                }
                self.found.added.insert(&path);
            }
            (_, 0 | 1) => {
                if let Some(new) = new.first() {
                    self.part(element, shape, None, Some(new));
                }
                self.found.removed.insert(&path);
            }
            _ if old != new => self.found.modified.insert(&path),
            _ => {}
        }
    }
}
