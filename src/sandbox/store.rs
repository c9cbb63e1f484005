//! The objects of one simulated cluster, with a revision for every change and a window of past changes, as etcd and the
//! watch cache keep them. Pure: who may write what, and what a write means, is decided in [`super::api`].

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

/// What changes are kept for watches that come back, in bytes of JSON; more only while a watch has not read them yet.
const WINDOW: usize = 64 * 1024;
/// A watch that is further behind than this is told to list again.
const LIMIT: usize = 8 * 1024 * 1024;

/// The storage name of a kind: `statefulsets.apps`, `pods`.
pub type Resource = Arc<str>;

/// Where an object is; the namespace of a cluster-wide one is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is one of.
    pub resource: Resource,
    /// Its namespace, or nothing.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object at rest: text, because a simulated fleet holds a great many and reads few of them.
#[derive(Debug)]
pub struct Stored {
    /// The revision that wrote it.
    pub revision: u64,
    /// Its uid.
    pub uid: Box<str>,
    /// The uids of its owners.
    pub owners: Vec<String>,
    /// Its labels, which most selections ask for.
    pub labels: BTreeMap<String, String>,
    /// The whole object.
    pub json: Box<str>,
}

impl Stored {
    fn new(object: &Value, revision: u64) -> Self {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let metadata = &object["metadata"];
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        Self {
            revision,
            uid: metadata["uid"].as_str().unwrap_or_default().into(),
            owners: owners.filter_map(|owner| Some(owner["uid"].as_str()?.to_owned())).collect(),
            labels: labels.collect(),
            json: object.to_string().into(),
        }
    }

    /// The object, read.
    #[must_use]
    pub fn value(&self) -> Value {
        // What was written by `new` can be read.
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its revision.
    pub revision: u64,
    /// Which object.
    pub key: Key,
    /// As it was before; `None`: it was not there.
    pub before: Option<Arc<Stored>>,
    /// As it is now; `None`: it is gone.
    pub after: Option<Arc<Stored>>,
}

impl Change {
    fn size(&self) -> usize {
        self.after.as_ref().or(self.before.as_ref()).map_or(0, |stored| stored.json.len())
    }
}

/// The revision asked for is no longer known.
#[derive(Debug, PartialEq, Eq)]
pub struct Compacted;

/// All objects of a cluster.
#[derive(Debug)]
pub struct Store {
    revision: u64,
    objects: BTreeMap<Key, Arc<Stored>>,
    changes: VecDeque<Change>,
    size: usize,
    /// The last revision that is no longer in the window.
    compacted: u64,
}

impl Default for Store {
    fn default() -> Self {
        // Clients take a list's revision 0 for "any".
        Self { revision: 1, objects: BTreeMap::new(), changes: VecDeque::new(), size: 0, compacted: 0 }
    }
}

impl Store {
    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    /// All objects of a kind, in one namespace or in all, in the order of their keys.
    pub fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Stored>)> + 'a {
        let resource = Arc::clone(resource);
        let first = Key {
            resource: Arc::clone(&resource),
            namespace: namespace.unwrap_or("").into(),
            name: String::new(),
        };
        self.objects.range((Bound::Included(first), Bound::Unbounded)).take_while(move |(key, _)| {
            key.resource == resource && namespace.is_none_or(|namespace| key.namespace == namespace)
        })
    }

    /// Every object there is.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.objects.iter()
    }

    /// The objects of a kind as they were at an earlier revision.
    pub fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<(Key, Arc<Stored>)>, Compacted> {
        let mut then: BTreeMap<Key, Arc<Stored>> =
            self.list(resource, namespace).map(|(key, stored)| (key.clone(), Arc::clone(stored))).collect();
        let of_kind = |change: &&Change| {
            change.key.resource == *resource
                && namespace.is_none_or(|namespace| change.key.namespace == namespace)
        };
        // Backwards, each change undone.
        for change in self.since(revision)?.rev().filter(of_kind) {
            match &change.before {
                Some(before) => then.insert(change.key.clone(), Arc::clone(before)),
                None => then.remove(&change.key),
            };
        }
        Ok(then.into_iter().collect())
    }

    /// Writes an object; returns it with its new revision.
    pub fn put(&mut self, key: Key, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = Value::String(self.revision.to_string());
        let stored = Arc::new(Stored::new(&object, self.revision));
        let before = self.objects.insert(key.clone(), Arc::clone(&stored));
        self.remember(Change { revision: self.revision, key, before, after: Some(stored) });
        object
    }

    /// Removes an object; returns it as it was.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Stored>> {
        let gone = self.objects.remove(key)?;
        self.revision += 1;
        let before = Some(Arc::clone(&gone));
        self.remember(Change { revision: self.revision, key: key.clone(), before, after: None });
        Some(gone)
    }

    /// The changes after a revision, oldest first.
    pub fn since(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Change>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let from = self.changes.partition_point(|change| change.revision <= revision);
        Ok(self.changes.range(from..))
    }

    /// Forgets changes beyond the window that every watch has read; `read` is the revision that the slowest is at.
    pub fn trim(&mut self, read: u64) {
        while let Some(first) = self.changes.front() {
            let may_go = self.size > LIMIT || (self.size > WINDOW && first.revision <= read);
            if !may_go {
                return;
            }
            self.forget_first();
        }
    }

    /// Forgets every change: whoever watches is told to list again.
    pub fn compact(&mut self) {
        while self.forget_first() {}
        self.compacted = self.revision;
    }

    fn forget_first(&mut self) -> bool {
        let Some(first) = self.changes.pop_front() else { return false };
        self.size -= first.size();
        self.compacted = first.revision;
        true
    }

    fn remember(&mut self, change: Change) {
        self.size += change.size();
        self.changes.push_back(change);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key { resource: "pods".into(), namespace: "n".into(), name: name.into() }
    }

    fn object(name: &str, text: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"text": text}}})
    }

    #[test]
    fn a_list_of_the_past_is_what_it_was() {
        let mut store = Store::default();
        store.put(key("a"), object("a", "1"));
        store.put(key("b"), object("b", "1"));
        let then = store.revision();
        store.put(key("a"), object("a", "2"));
        store.remove(&key("b"));
        store.put(key("c"), object("c", "1"));
        let past = store.list_at(&"pods".into(), Some("n"), then).unwrap();
        let texts: Vec<_> = past.iter().map(|(key, stored)| (&*key.name, &*stored.labels["text"])).collect();
        assert_eq!(texts, [("a", "1"), ("b", "1")]);
        assert_eq!(store.list(&"pods".into(), None).count(), 2);
    }

    #[test]
    fn what_no_watch_needs_is_forgotten_and_asking_for_it_is_an_error() {
        let mut store = Store::default();
        let text = "x".repeat(10_000);
        for _ in 0..20 {
            store.put(key("a"), object("a", &text));
        }
        store.trim(0);
        assert_eq!(store.since(1).unwrap().count(), 20, "somebody still needs them");
        store.trim(store.revision());
        assert!(store.since(1).is_err());
        assert!(store.since(store.revision()).is_ok());
    }
}
