//! Reading objects: get and list, whole or in pages, at a revision, as objects or as a table.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Head;
use super::select::Selection;
use super::state::{State, text};
use super::status::Status;
use super::{go, options, stored, table};
use crate::sandbox::kinds::Kind;
use crate::sandbox::store::{Compacted, Key, Stored};

/// A revision, and what there was at it.
type Snapshot = (u64, Vec<(Key, Arc<Stored>)>);

/// The list that a `continue` token goes on with.
struct Page {
    revision: u64,
    after: (String, String),
}

impl Page {
    fn token(&self) -> String {
        let token = json!({"rv": self.revision, "ns": self.after.0, "name": self.after.1});
        BASE64_URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn read(token: &str) -> Result<Self, Status> {
        let wrong = |why: &str| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|error| wrong(&error.to_string()))?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|error| wrong(&go::json_error(&bytes, &error)))?;
        let text = |key: &str| text(&token, &[key]).to_owned();
        Ok(Self { revision: token["rv"].as_u64().unwrap_or_default(), after: (text("ns"), text("name")) })
    }
}

/// How many objects are wanted at most.
fn limit(head: &Head) -> Result<Option<usize>, Status> {
    let Some(text) = head.query("limit") else { return Ok(None) };
    let limit = text
        .parse::<usize>()
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))?;
    Ok(Some(limit).filter(|limit| *limit > 0))
}

/// An object in the form that was asked for.
#[must_use]
pub fn in_form(kind: &Kind, object: Value, head: &Head, now: Timestamp) -> Value {
    match head.wanted_form() {
        Some("Table") => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table::table(kind, &[object], &metadata, head.query("includeObject"), now)
        }
        Some("PartialObjectMetadata") => table::partial(&object),
        _ => object,
    }
}

impl State {
    /// GET of a collection.
    pub fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        head: &Head,
        now: Timestamp,
    ) -> Result<Value, Status> {
        let limit = limit(head)?;
        let selection = Selection::parse(kind, head.query("labelSelector"), head.query("fieldSelector"))?;
        options::check_list(head)?;
        let page = head.query("continue").map(Page::read).transpose()?;
        if page.is_some() && head.query("resourceVersion").is_some_and(|version| version != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (revision, objects) = self.snapshot(kind, namespace, head, page.as_ref())?;
        let is_left = |key: &Key| {
            page.as_ref().is_none_or(|page| (&key.namespace, &key.name) > (&page.after.0, &page.after.1))
        };
        let mut left = objects.into_iter().filter(|(key, _)| is_left(key));
        let meant = left.by_ref().filter(|(key, stored)| selection.matches(key, stored));
        let found: Vec<(Key, Arc<Stored>)> = meant.take(limit.unwrap_or(usize::MAX)).collect();
        // The server does not look whether anything that is left is meant.
        let rest = left.count();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if rest > 0
            && let Some((key, _)) = found.last()
        {
            let after = (key.namespace.clone(), key.name.clone());
            metadata["continue"] = json!(Page { revision, after }.token());
            if selection.is_everything() {
                metadata["remainingItemCount"] = json!(rest);
            }
        }
        let objects: Vec<Value> =
            found.iter().map(|(_, stored)| stored::from_storage(kind, stored.value())).collect();
        Ok(list_in_form(kind, objects, &metadata, head, now))
    }
}

fn list_in_form(
    kind: &Kind,
    mut objects: Vec<Value>,
    metadata: &Value,
    head: &Head,
    now: Timestamp,
) -> Value {
    match head.wanted_form() {
        Some("Table") => table::table(kind, &objects, metadata, head.query("includeObject"), now),
        Some("PartialObjectMetadataList") => {
            let items: Vec<Value> = objects.iter().map(table::partial).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                       "metadata": metadata, "items": if items.is_empty() { Value::Null } else { json!(items) }})
        }
        _ => {
            // The list says what its items are; those of a CRD say so themselves, too.
            if kind.custom.is_none() {
                for object in objects.iter_mut().filter_map(Value::as_object_mut) {
                    object.remove("kind");
                    object.remove("apiVersion");
                }
            }
            let mut metadata = metadata.clone();
            if kind.custom.is_some() && metadata["continue"].is_null() {
                metadata["continue"] = json!("");
            }
            json!({"kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": metadata,
                       "items": objects})
        }
    }
}

impl State {
    /// What there was at the revision that the request is about.
    fn snapshot(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        head: &Head,
        page: Option<&Page>,
    ) -> Result<Snapshot, Status> {
        let asked = revision_of(head)
            .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?;
        let exact = match (page, head.query("resourceVersionMatch"), asked) {
            (Some(page), ..) => Some(page.revision),
            (None, Some("Exact"), Some(asked)) => Some(asked),
            _ => self.stale(),
        };
        if let Some(asked) = asked.filter(|asked| *asked > self.store.revision()) {
            return Err(Status::too_large(asked, self.store.revision()));
        }
        let Some(revision) = exact else {
            let now = self.store.list(&kind.storage, namespace);
            return Ok((
                self.store.revision(),
                now.map(|(key, stored)| (key.clone(), Arc::clone(stored))).collect(),
            ));
        };
        self.store.list_at(&kind.storage, namespace, revision).map(|objects| (revision, objects)).map_err(
            |Compacted| {
                Status::expired(if page.is_some() {
                    "The provided continue parameter is too old to display a consistent list result. You can start a \
                     new list without the continue parameter."
                } else {
                    "The resourceVersion for the provided list is too old."
                })
            },
        )
    }
}

/// The revision that a list or a watch names; an error is the server's words for it.
pub(super) fn revision_of(head: &Head) -> Result<Option<u64>, String> {
    let Some(text) = head.query("resourceVersion") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        format!("resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax")
    })
}
