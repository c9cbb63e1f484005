//! The file system's events in the folders of the followed files: they only shorten the wait for the next look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::warn;

use super::POLL;

/// The folders of the followed files, watched for as long as this is kept.
pub(super) struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    pub(super) fn new(touched: &Arc<Notify>) -> Self {
        let touched = Arc::clone(touched);
        let wake = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_write(event.kind)) {
                touched.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(wake).inspect_err(
            |why| warn!(%why, "Folders cannot be watched; files are read every {} s.", POLL.as_secs()),
        );
        Self { watcher: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Each folder is tried once: what cannot be watched is still polled.
    pub(super) fn watch(&mut self, files: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for folder in files.iter().map(|file| folder_of(file)) {
            if !self.watched.insert(folder.to_owned()) {
                continue;
            }
            if let Err(why) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                let folder = folder.display();
                warn!(%folder, %why, "The folder cannot be watched; its files are read every {} s.", POLL.as_secs());
            }
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Our own reading is an event too: without this, every look would cause the next.
fn is_write(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
