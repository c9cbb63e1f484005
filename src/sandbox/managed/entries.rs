//! The entries of `metadata.managedFields`: reading them, writing them in the server's order, and taking fields away.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Conflict;
use crate::sandbox::fields::FieldSet;

/// Everybody who owns something in an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed(BTreeMap<Id, Entry>);

/// What tells one owner from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    api_version: String,
    time: Option<Timestamp>,
    fields: FieldSet,
}

impl Managed {
    /// Reads the list; none if the server would refuse it.
    pub fn decode(list: &Value) -> Option<Self> {
        let mut entries = BTreeMap::new();
        for entry in list.as_array().into_iter().flatten() {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let operation = match text("operation").as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let of_id = if operation == Operation::Apply { String::new() } else { api_version.clone() };
            let id = Id {
                manager: text("manager"),
                operation,
                api_version: of_id,
                subresource: text("subresource"),
            };
            let fields = FieldSet::parse(&entry["fieldsV1"])?;
            entries.insert(id, Entry { api_version, time: text("time").parse().ok(), fields });
        }
        Some(Self(entries))
    }

    /// Writes the list: appliers first, then by age, then by name.
    pub fn encode(&self) -> Value {
        let mut entries: Vec<(&Id, &Entry)> = self.0.iter().collect();
        entries.sort_by_key(|(id, entry)| {
            (id.operation, entry.age(), &id.manager, &entry.api_version, &id.subresource)
        });
        entries.into_iter().map(|(id, entry)| entry.encode(id)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What anybody owns.
    pub fn all(&self) -> FieldSet {
        self.0.values().fold(FieldSet::default(), |all, entry| all.union(&entry.fields))
    }

    /// What one owner owns.
    pub fn fields(&self, id: &Id) -> FieldSet {
        self.0.get(id).map(|entry| entry.fields.clone()).unwrap_or_default()
    }

    /// Sets what one owner owns, and returns what it owned before. Who owns nothing is no owner.
    pub fn replace_fields(&mut self, id: &Id, api_version: &str, fields: FieldSet) -> FieldSet {
        let before = self.0.remove(id).unwrap_or_default();
        if !fields.is_empty() {
            let entry = Entry { api_version: api_version.to_owned(), time: before.time, fields };
            self.0.insert(id.clone(), entry);
        }
        before.fields
    }

    /// Notes the time of a change.
    pub fn touch(&mut self, id: &Id, now: Timestamp) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.time = Some(now);
        }
    }

    /// Takes fields from everybody, or everybody but one.
    pub fn release(&mut self, but: Option<&Id>, fields: &FieldSet) {
        self.0.retain(|id, entry| {
            if but != Some(id) {
                entry.fields = entry.fields.difference(fields);
            }
            !entry.fields.is_empty()
        });
    }

    /// Which of the fields others own.
    pub fn owned_by_others(&self, id: &Id, fields: &FieldSet) -> Vec<Conflict> {
        let others = self.0.iter().filter(|(other, _)| *other != id);
        let conflicts = others.flat_map(|(other, entry)| {
            let paths = entry.fields.intersection(fields).paths();
            paths.into_iter().map(|path| Conflict { manager: other.describe(), path })
        });
        conflicts.collect()
    }

    /// Makes one owner of the oldest updaters where there are more than `limit`: one for each version of the type.
    pub fn merge_oldest(&mut self, limit: usize) {
        let mut updaters: Vec<Id> =
            self.0.keys().filter(|id| id.operation == Operation::Update).cloned().collect();
        updaters.sort_by_key(|id| (self.0.get(id).map(Entry::age), id.clone()));
        let mut left = updaters.len();
        let mut oldest: BTreeMap<String, Id> = BTreeMap::new();
        for id in updaters {
            if left <= limit {
                return;
            }
            let bucket = Id { manager: "ancient-changes".into(), subresource: String::new(), ..id.clone() };
            let Some(first) = oldest.get(&id.api_version) else {
                oldest.insert(id.api_version.clone(), id);
                continue;
            };
            if !self.0.contains_key(&bucket)
                && let Some(entry) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), entry);
            }
            if let Some(entry) = self.0.remove(&id) {
                let all = self.fields(&bucket).union(&entry.fields);
                self.0.insert(bucket, Entry { fields: all, ..entry });
            }
            left -= 1;
        }
    }
}

impl Id {
    fn describe(&self) -> String {
        let mut words = vec![format!("{:?}", self.manager)];
        if !self.subresource.is_empty() {
            words.push(format!("with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            words.push(format!("using {}", self.api_version));
        }
        words.join(" ")
    }
}

impl Entry {
    /// Seconds; an entry without a time is older than any.
    fn age(&self) -> i64 {
        self.time.map_or(0, Timestamp::as_second)
    }

    fn encode(&self, id: &Id) -> Value {
        let operation = if id.operation == Operation::Apply { "Apply" } else { "Update" };
        let mut entry = Map::new();
        for (key, text) in [
            ("manager", id.manager.clone()),
            ("operation", operation.to_owned()),
            ("apiVersion", self.api_version.clone()),
            ("fieldsType", "FieldsV1".to_owned()),
            ("subresource", id.subresource.clone()),
            (
                "time",
                self.time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default(),
            ),
        ] {
            if !text.is_empty() {
                entry.insert(key.into(), text.into());
            }
        }
        entry.insert("fieldsV1".into(), self.fields.print());
        Value::Object(entry)
    }
}
