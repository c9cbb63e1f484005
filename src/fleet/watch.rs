//! Follows the fleet file on disk: a good edit is sent on, a bad one is reported and changes nothing.
//!
//! The file system's events (of the folder, so that a rename or a ConfigMap's symlink swap is seen) and SIGHUP only
//! shorten the wait: what counts is the content, which is read again every [`POLL`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::file::Sources;
use super::problem::Problem;
use super::validate::load;
use super::{Fleet, diff};

/// Events can be missed (network file systems); content is not.
const POLL: Duration = Duration::from_secs(2);
/// An editor writes a file in several steps.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Runs until `stop`, and sends every fleet that is valid and differs from the last one.
pub async fn follow(sources: Sources, fleet: watch::Sender<Arc<Fleet>>, stop: CancellationToken) {
    let touched = Arc::new(Notify::new());
    // Kept alive for as long as we follow.
    let _watcher = sources.file.as_deref().and_then(|file| watch_folder(file, Arc::clone(&touched)));
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut rejected: Vec<Problem> = vec![];
    loop {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => tokio::time::sleep(DEBOUNCE).await,
            () = hung_up => {}
            () = tokio::time::sleep(POLL) => {}
        }
        let again = sources.clone();
        let Ok(loaded) = tokio::task::spawn_blocking(move || load(&again)).await else { continue };
        match loaded {
            Ok(new) => {
                if !rejected.is_empty() {
                    info!("The fleet file is valid again.");
                    rejected.clear();
                }
                take(&fleet, new);
            }
            Err(problems) if problems != rejected => {
                for problem in &problems {
                    error!(%problem, "The edited fleet file is not valid; the last good fleet goes on unchanged.");
                }
                rejected = problems;
            }
            Err(_) => {}
        }
    }
}

fn take(fleet: &watch::Sender<Arc<Fleet>>, new: Fleet) {
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

fn watch_folder(file: &Path, touched: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wake = move |_| touched.notify_one();
    let mut watcher = notify::recommended_watcher(wake).ok()?;
    if let Err(why) = watcher.watch(folder, RecursiveMode::NonRecursive) {
        warn!(%why, "The fleet file's folder cannot be watched; it is read every {} s.", POLL.as_secs());
        return None;
    }
    Some(watcher)
}
