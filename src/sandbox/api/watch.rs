//! Watches: a stream of changes from a revision on, with bookmarks, as one JSON object per line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::read::revision_of;
use super::request::Head;
use super::select::Selection;
use super::status::Status;
use super::{options, read, stored};
use crate::sandbox::cluster::{Cluster, Cut, Reader};
use crate::sandbox::faults::ApiFault;
use crate::sandbox::kinds::Kind;
use crate::sandbox::store::{Change, Compacted, Stored};

/// How often a watch that asked for bookmarks gets one while nothing happens.
const BOOKMARK: Duration = Duration::from_secs(60);
/// How long a watch lasts at a server that drops them.
const DROPPED: Duration = Duration::from_secs(1);
/// How long a watch lasts that names no time; the real server takes between this and twice as long.
const LONGEST: Duration = Duration::from_secs(1800);

/// A watch under way.
pub struct Watch {
    cluster: Cluster,
    kind: Arc<Kind>,
    namespace: Option<String>,
    head: Head,
    selection: Selection,
    reader: Reader,
    /// What is there at the start, for a watch that asked for it.
    initial: bool,
    ended: bool,
    named_columns: bool,
    begun: Instant,
    deadline: Instant,
    bookmark: Instant,
    drops: u64,
}

impl Watch {
    /// Begins a watch, if it is asked for properly.
    pub fn begin(
        cluster: &Cluster,
        kind: Arc<Kind>,
        namespace: Option<String>,
        head: Head,
    ) -> Result<Self, Status> {
        let selection = Selection::parse(&kind, head.query("labelSelector"), head.query("fieldSelector"))?;
        options::check_list(&head)?;
        let asked = revision_of(&head).map_err(Status::unexplained)?.filter(|revision| *revision > 0);
        let initial = asked.is_none() || head.is_set("sendInitialEvents");
        let seconds = head.query("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
        let now = Instant::now();
        Ok(Self {
            kind,
            namespace,
            selection,
            initial,
            ended: false,
            named_columns: false,
            begun: now,
            reader: cluster.reader(if initial { None } else { asked }),
            deadline: now + seconds.map_or(LONGEST, Duration::from_secs),
            bookmark: now + BOOKMARK,
            drops: cluster.drops(),
            cluster: cluster.clone(),
            head,
        })
    }

    /// The body of the answer.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, Cut>> + Send {
        futures::stream::unfold(self, |mut watch| async move { Some((watch.next().await?, watch)) })
    }

    /// The next lines; `None` when the watch is over.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let mut faults = self.cluster.fault_changes();
        let mut revisions = self.cluster.revisions();
        loop {
            let fault = faults.borrow_and_update().api.clone();
            revisions.borrow_and_update();
            if fault == ApiFault::Unreachable {
                return Some(Err(Cut));
            }
            let drops = matches!(fault, ApiFault::DropsWatches | ApiFault::Compacts);
            if drops && Instant::now() >= self.begun + DROPPED && !self.ended {
                self.ended = true;
                return (fault == ApiFault::Compacts).then(|| Ok(self.gone().into()));
            }
            if self.ended || self.cluster.drops() != self.drops || Instant::now() >= self.deadline {
                return None;
            }
            if fault != ApiFault::Hangs {
                let lines = self.lines();
                if !lines.is_empty() {
                    return Some(Ok(lines.into()));
                }
            }
            let wants_bookmarks = self.head.is_set("allowWatchBookmarks");
            tokio::select! {
                _ = revisions.changed() => {}
                _ = faults.changed() => {}
                () = tokio::time::sleep_until(self.deadline) => {}
                () = tokio::time::sleep_until(self.begun + DROPPED), if drops => {}
                () = tokio::time::sleep_until(self.bookmark), if wants_bookmarks => {
                    self.bookmark = Instant::now() + BOOKMARK;
                    return Some(Ok(self.bookmark_line(false).into()));
                }
            }
        }
    }

    /// Everything that has happened since the last look.
    fn lines(&mut self) -> String {
        let mut lines = String::new();
        let (cluster, kind) = (self.cluster.clone(), Arc::clone(&self.kind));
        if std::mem::take(&mut self.initial) {
            let (revision, objects) = cluster.with(|state| {
                let listed = state.store.list(&kind.storage, self.namespace.as_deref());
                let meant = listed.filter(|(key, stored)| self.selection.matches(key, stored));
                let objects: Vec<Value> = meant.map(|(_, stored)| stored.value()).collect();
                (state.store.revision(), objects)
            });
            for object in objects {
                lines += &self.line("ADDED", object);
            }
            self.reader.moved_to(revision);
            if self.head.is_set("sendInitialEvents") && self.head.is_set("allowWatchBookmarks") {
                lines += &self.bookmark_line(true);
            }
            if self.head.query("resourceVersion").is_none() || !lines.is_empty() {
                return lines;
            }
        }
        let from = self.reader.position();
        let changes = cluster.with(|state| {
            let revision = state.store.revision();
            let of_kind = |change: &&Change| {
                change.key.resource == kind.storage
                    && self.namespace.as_ref().is_none_or(|namespace| *namespace == change.key.namespace)
            };
            let changes = state.store.since(from)?;
            Ok::<_, Compacted>((revision, changes.filter(of_kind).cloned().collect::<Vec<_>>()))
        });
        let Ok((revision, changes)) = changes else {
            self.ended = true;
            return self.gone();
        };
        for change in changes {
            lines += &self.change(&change).unwrap_or_default();
        }
        self.reader.moved_to(revision.max(from));
        lines
    }

    /// A change as this watch sees it: an object may come into its selection, or leave it.
    fn change(&mut self, change: &Change) -> Option<String> {
        let meant = |stored: &Option<Arc<Stored>>| {
            stored.as_ref().is_some_and(|one| self.selection.matches(&change.key, one))
        };
        match (meant(&change.before), meant(&change.after)) {
            (false, true) => Some(self.line("ADDED", change.after.as_ref()?.value())),
            (true, true) => Some(self.line("MODIFIED", change.after.as_ref()?.value())),
            (true, false) => {
                let mut last = change.before.as_ref()?.value();
                last["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                Some(self.line("DELETED", last))
            }
            (false, false) => None,
        }
    }

    fn line(&mut self, event: &str, stored: Value) -> String {
        let object = stored::from_storage(&self.kind, stored);
        let mut object = read::in_form(&self.kind, object, &self.head, self.cluster.now());
        // A watch names the columns of its tables once.
        if object["kind"] == "Table" && std::mem::replace(&mut self.named_columns, true) {
            object["columnDefinitions"] = Value::Null;
        }
        line(event, &object)
    }

    /// What this watch has yet to read is no longer known.
    fn gone(&self) -> String {
        let (from, current) = (self.reader.position(), self.cluster.with(|state| state.store.revision()));
        line("ERROR", &Status::expired(format!("too old resource version: {from} ({current})")).value())
    }

    fn bookmark_line(&self, initial: bool) -> String {
        let mut metadata = json!({"resourceVersion": self.reader.position().to_string()});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object =
            json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata});
        // An empty object of a built-in kind shows its fields that are always there.
        for (field, zero) in self.kind.shape.zeros().filter(|(field, _)| *field != "metadata") {
            object[field] = zero.clone();
        }
        line("BOOKMARK", &object)
    }
}

fn line(event: &str, object: &Value) -> String {
    let mut line = json!({"type": event, "object": object}).to_string();
    line.push('\n');
    line
}
