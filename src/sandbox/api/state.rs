//! What a simulated API server holds, and the small questions that every verb asks of it.

use std::sync::Arc;

use serde_json::Value;

use super::status::Status;
use crate::sandbox::kinds::{BUILT_INS, Catalogue, Kind};
use crate::sandbox::store::{Key, Store, Stored};

/// The objects of a cluster and the kinds it serves.
pub struct State {
    /// The objects.
    pub store: Store,
    /// Compiled CRDs, shared by the clusters of a fleet.
    pub catalogue: Arc<Catalogue>,
    /// Kinds of established CRDs.
    pub custom: Vec<Arc<Kind>>,
    /// Reads answer what was true at this revision.
    stale: Option<u64>,
}

impl State {
    /// A cluster without objects.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, store: Store::default(), custom: vec![], stale: None }
    }

    /// From now on reads answer what is true now, or the truth again.
    pub fn set_stale(&mut self, stale: bool) {
        self.stale = stale.then_some(self.stale.unwrap_or(self.store.revision()));
    }

    /// The revision that reads are kept at, if they are.
    #[must_use]
    pub fn stale(&self) -> Option<u64> {
        self.stale
    }

    /// Everything served.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        BUILT_INS.iter().chain(&self.custom)
    }

    /// The kind at a URL.
    #[must_use]
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let is_it =
            |kind: &&Arc<Kind>| kind.group == group && kind.version == version && kind.plural == plural;
        self.kinds().find(is_it).cloned()
    }

    /// The kind that an owner reference or a controller names.
    #[must_use]
    pub fn kind(&self, group: &str, name: &str) -> Option<Arc<Kind>> {
        self.kinds().find(|kind| kind.group == group && kind.kind == name).cloned()
    }

    /// An object that must be there.
    pub fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Stored>, Status> {
        self.store.get(&key(kind, namespace, name)).cloned().ok_or_else(|| Status::not_found(kind, name))
    }

    /// The namespace takes new objects.
    pub(super) fn check_namespace(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        if !kind.namespaced {
            return Ok(());
        }
        let Some(namespaces) = self.served("", "v1", "namespaces") else { return Ok(()) };
        let found = self.find(&namespaces, "", namespace)?.value();
        if found["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(kind, name, &why);
        status.details["causes"] = serde_json::json!([
            {"reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
             "field": "metadata.namespace"}
        ]);
        Err(status)
    }
}

/// Where an object of a kind is stored.
#[must_use]
pub fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    let namespace = if kind.namespaced { namespace } else { "" };
    Key { resource: Arc::clone(&kind.storage), namespace: namespace.into(), name: name.into() }
}

/// A text field of an object; an absent one is empty.
#[must_use]
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    path.iter().fold(object, |value, key| &value[*key]).as_str().unwrap_or_default()
}
