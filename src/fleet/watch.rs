//! Follows the fleet file on disk: a good edit is sent on, a bad one is reported and changes nothing.
//!
//! The file system's events (of the folders, so that a rename or a ConfigMap's symlink swap is seen) and SIGHUP only
//! shorten the wait: what counts is the content of the file and of the kubeconfigs that it names, which is read again
//! every [`POLL`]. It is loaded when it has changed, and only once it has stood still: half of a file is often a valid
//! file with fewer clusters in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::file::Sources;
use super::problem::Problem;
use super::validate::load_all;
use super::{Fleet, diff};

/// Events can be missed (network file systems); content is not.
const POLL: Duration = Duration::from_secs(2);
/// An editor writes a file in several steps; content that stood still for so long is taken to be whole.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Runs until `stop`, and sends every fleet that is valid and differs from the last one.
pub async fn follow(sources: Sources, fleet: watch::Sender<Arc<Fleet>>, stop: CancellationToken) {
    let touched = Arc::new(Notify::new());
    let mut folders = Folders::new(&touched);
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|why| warn!(%why, "SIGHUP cannot be received; edits are seen all the same."))
        .ok();
    let mut follower = Follower::new(sources, fleet);
    // The file may have changed since it was loaded for the start.
    let mut asked = true;
    loop {
        folders.watch(&follower.files);
        tokio::select! {
            () = stop.cancelled() => return,
            () = follower.look(asked) => {}
        }
        asked = tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => false,
            () = hung_up(&mut hangup) => true,
            () = tokio::time::sleep(POLL) => false,
        };
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// The digest of each file; `None` where there is none to be read.
type Content = BTreeMap<PathBuf, Option<[u8; 32]>>;

struct Follower {
    sources: Sources,
    fleet: watch::Sender<Arc<Fleet>>,
    /// The fleet file and the kubeconfigs that it named when it was last loaded, well or not.
    files: BTreeSet<PathBuf>,
    /// What they held then.
    loaded: Content,
    /// Why that was refused; empty if it was not.
    rejected: Vec<Problem>,
}

impl Follower {
    fn new(sources: Sources, fleet: watch::Sender<Arc<Fleet>>) -> Self {
        let files = sources.file.iter().cloned().collect();
        Self { sources, fleet, files, loaded: Content::new(), rejected: vec![] }
    }

    /// Loads the files if they have changed, or if a person `asked` for it.
    async fn look(&mut self, asked: bool) {
        let mut before = content(self.files.clone()).await;
        if before == self.loaded && !asked {
            return;
        }
        loop {
            tokio::time::sleep(DEBOUNCE).await;
            let now = content(self.files.clone()).await;
            if now != before {
                before = now;
                continue;
            }
            let sources = self.sources.clone();
            let loaded = match spawn_blocking(move || load_all(&sources)).await {
                Ok(loaded) => loaded,
                Err(why) => {
                    error!(%why, "Loading the fleet file failed; the last good fleet goes on unchanged.");
                    return;
                }
            };
            // Written to while it was read: what was read may be of two minds.
            let after = content(self.files.clone()).await;
            if after != before {
                before = after;
                continue;
            }
            // A kubeconfig that was not known yet has not been seen to stand still.
            let files: BTreeSet<_> = self.sources.file.iter().cloned().chain(loaded.kubeconfigs).collect();
            if files != self.files {
                before = content(files.clone()).await;
                self.files = files;
                continue;
            }
            self.loaded = before;
            return self.take(loaded.fleet, asked);
        }
    }

    fn take(&mut self, loaded: Result<Fleet, Vec<Problem>>, asked: bool) {
        match loaded {
            Ok(new) => {
                if !std::mem::take(&mut self.rejected).is_empty() {
                    info!("The fleet file is valid again.");
                }
                replace(&self.fleet, new);
            }
            Err(problems) => {
                // The same mistakes again are news only to who asked.
                if asked || problems != self.rejected {
                    for problem in &problems {
                        error!(%problem, "The edited fleet file is not valid; the last good fleet goes on unchanged.");
                    }
                }
                self.rejected = problems;
            }
        }
    }
}

fn replace(fleet: &watch::Sender<Arc<Fleet>>, new: Fleet) {
    fleet.send_if_modified(|current| {
        if **current == new {
            return false;
        }
        for change in diff::lines(current, &new) {
            info!(change, "The fleet file changed.");
        }
        *current = Arc::new(new);
        true
    });
}

async fn content(files: BTreeSet<PathBuf>) -> Content {
    let read = move || {
        let digest = |file: &PathBuf| std::fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into());
        files.into_iter().map(|file| (digest(&file), file)).map(|(digest, file)| (file, digest)).collect()
    };
    // A panic there would be one of the standard library; no content is then unlike any other.
    spawn_blocking(read).await.unwrap_or_default()
}

/// The folders of the followed files, watched for as long as this is kept.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(touched: &Arc<Notify>) -> Self {
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
    fn watch(&mut self, files: &BTreeSet<PathBuf>) {
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

#[cfg(test)]
mod tests;
