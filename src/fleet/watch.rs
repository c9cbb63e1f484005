//! Follows the fleet file on disk: a good edit is sent on, a bad one is reported and changes nothing.
//!
//! The file system's events (of the folders, so that a rename or a ConfigMap's symlink swap is seen) and SIGHUP only
//! shorten the wait: what counts is the content of the file and of the kubeconfigs that it names, which is read again
//! every [`POLL`]. It is loaded when it has changed, and only once it has stood still: half of a file is often a valid
//! file with fewer clusters in it.
//!
//! A kubeconfig that changes while the fleet file does not, or a certificate or key that it names, is news, too:
//! [`Credentials`] says which. One that cannot be read takes nothing away that was good, be it the fleet file's other edits
//! or the connections that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::folders::Folders;
use self::reminder::Reminder;
use super::file::Sources;
use super::problem::Problem;
use super::remarks::remarks;
use super::validate::{Loaded, load_all};
use super::{Connection, Fleet, diff};

mod credentials;
mod folders;
mod reminder;

pub use credentials::{Credentials, generation, read as credentials, usual_kubeconfigs};

/// Events can be missed (network file systems); content is not.
const POLL: Duration = Duration::from_secs(2);
/// An editor writes a file in several steps; content that stood still for so long is taken to be whole.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Runs until `stop`, and sends every fleet that is valid and differs from the last one, and every change of the
/// kubeconfigs of the fleet that is in force. `refused` gets what is wrong with the files as they are now, in words.
pub async fn follow(
    sources: Sources,
    fleet: watch::Sender<Arc<Fleet>>,
    credentials: watch::Sender<Credentials>,
    refused: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    let touched = Arc::new(Notify::new());
    let mut folders = Folders::new(&touched);
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|why| warn!(%why, "SIGHUP cannot be received; edits are seen all the same."))
        .ok();
    let mut follower = Follower::new(sources, fleet, credentials);
    // The file may have changed since it was loaded for the start.
    let mut asked = true;
    loop {
        folders.watch(&follower.files);
        tokio::select! {
            () = stop.cancelled() => return,
            () = follower.look(asked) => {}
        }
        follower.say(&refused);
        follower.remind(Instant::now());
        folders.watch(&follower.files);
        asked = tokio::select! {
            () = stop.cancelled() => return,
            // Much may be written in the same folders, and read by us that is much more.
            () = async { touched.notified().await; tokio::time::sleep(DEBOUNCE).await } => false,
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

/// The certificates and keys that each kubeconfig names.
type Named = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

struct Follower {
    sources: Sources,
    fleet: watch::Sender<Arc<Fleet>>,
    credentials: watch::Sender<Credentials>,
    /// The fleet file, the kubeconfigs that it and the fleet in force name, and the files that those name.
    files: BTreeSet<PathBuf>,
    /// The files that each kubeconfig names.
    named: Named,
    /// What they held when they were last loaded, well or not.
    loaded: Content,
    /// Why that was refused; empty if it was not.
    rejected: Vec<Problem>,
    /// Kubeconfigs of the fleet in force that cannot be read, and why.
    unreadable: BTreeMap<Option<PathBuf>, String>,
    /// When all this is told again.
    reminder: Reminder,
    /// Whether it was loaded here before.
    is_loaded: bool,
}

impl Follower {
    fn new(
        sources: Sources,
        fleet: watch::Sender<Arc<Fleet>>,
        credentials: watch::Sender<Credentials>,
    ) -> Self {
        let files = sources.file.iter().cloned().collect();
        let (rejected, unreadable) = (vec![], BTreeMap::new());
        let (named, loaded, reminder) = (Named::new(), Content::new(), Reminder::default());
        let is_loaded = false;
        Self { sources, fleet, credentials, files, named, loaded, rejected, unreadable, reminder, is_loaded }
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
            let (sources, running) = (self.sources.clone(), self.running());
            let loaded = match spawn_blocking(move || load_all(&sources, &running)).await {
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
            let kubeconfigs = loaded.kubeconfigs.keys().flat_map(|path| credentials::files_at(path.as_ref()));
            let named = named(kubeconfigs.collect()).await;
            let kubeconfigs = named.iter().flat_map(|(file, others)| others.iter().chain([file]));
            let files: BTreeSet<_> = self.sources.file.iter().chain(kubeconfigs).cloned().collect();
            if files != self.files || named != self.named {
                before = content(files.clone()).await;
                (self.files, self.named) = (files, named);
                continue;
            }
            self.loaded = before;
            return self.take(loaded, asked);
        }
    }

    /// Tells again what is still wrong, now and then: whoever looks at the log later has to find it.
    fn remind(&mut self, now: Instant) {
        if self.rejected.is_empty() && self.unreadable.is_empty() {
            self.reminder = Reminder::default();
        } else if self.reminder.is_due(now) {
            self.tell_rejected();
            for (path, why) in &self.unreadable {
                let kubeconfig = in_words(&credentials::files_at(path.as_ref()));
                error!(kubeconfig, why, "The kubeconfig still cannot be read; what is connected goes on.");
            }
        }
    }

    /// What is wrong now, for whoever does not read the log.
    fn say(&self, refused: &watch::Sender<Vec<String>>) {
        let edits =
            self.rejected.iter().map(|problem| format!("the edited fleet file: {}", problem.without_value()));
        let kubeconfigs = self.unreadable.iter().map(|(path, why)| {
            format!("kubeconfig {}: {why}", in_words(&credentials::files_at(path.as_ref())))
        });
        let all: Vec<_> = edits.chain(kubeconfigs).collect();
        refused.send_if_modified(|known| std::mem::replace(known, all.clone()) != all);
    }

    fn tell_rejected(&self) {
        for problem in &self.rejected {
            error!(%problem, "The edited fleet file is not valid; the last good fleet goes on unchanged.");
        }
    }

    /// The connections of the fleet in force.
    fn running(&self) -> Vec<Connection> {
        self.fleet.borrow().clusters.iter().map(|cluster| cluster.connection.clone()).collect()
    }

    fn take(&mut self, loaded: Loaded, asked: bool) {
        let checked = loaded.fleet.and_then(|new| self.may_follow(new));
        match checked {
            Ok(new) => {
                if !std::mem::take(&mut self.rejected).is_empty() {
                    info!("The fleet file is valid again.");
                }
                let again = std::mem::replace(&mut self.is_loaded, true);
                if !replace(&self.fleet, new) && asked && again {
                    info!("The fleet file was read again: it says what it said.");
                }
            }
            Err(problems) => {
                // The same mistakes again are news only to who asked.
                let news = asked || problems != self.rejected;
                self.rejected = problems;
                if news {
                    self.tell_rejected();
                    self.reminder = Reminder::default();
                }
            }
        }
        self.take_kubeconfigs(&loaded.kubeconfigs);
    }

    /// The Leases are in `homeNamespace`: two daemons that read an edit of it at different times would both hold one.
    fn may_follow(&self, new: Fleet) -> Result<Fleet, Vec<Problem>> {
        let known = self.fleet.borrow().home_namespace.clone();
        if new.home_namespace == known {
            return Ok(new);
        }
        let source = self.sources.file.as_ref().map(|file| file.display().to_string());
        Err(vec![Problem {
            source: source.unwrap_or_else(|| "the command line".into()),
            path: "homeNamespace".into(),
            value: Some(format!("{:?}", new.home_namespace)),
            what: format!(
                "cannot take the place of {known:?} while daemons run: the Leases that keep them apart are there"
            ),
            remedy: "stop all daemons of this fleet, then start them with the new value; or change it back"
                .into(),
        }])
    }

    /// The number of a kubeconfig, as it was when the files were last loaded.
    fn number(&self, kubeconfig: &PathBuf) -> Option<u64> {
        let own = (*self.loaded.get(kubeconfig)?)?;
        let others = self.named.get(kubeconfig).into_iter().flatten();
        Some(credentials::number(own, others.map(|file| self.loaded.get(file).copied().flatten())))
    }

    /// Passes on what changed in the kubeconfigs of the fleet in force. Those that cannot be read keep their numbers.
    fn take_kubeconfigs(&mut self, read: &BTreeMap<Option<PathBuf>, Result<(), String>>) {
        let in_force: BTreeSet<_> = kubeconfigs(&self.fleet.borrow());
        self.unreadable.retain(|path, _| in_force.contains(path));
        let known = self.credentials.borrow().clone();
        let mut new = Credentials::new();
        for path in in_force {
            let files = credentials::files_at(path.as_ref());
            let kubeconfig = in_words(&files);
            if let Some(Err(why)) = read.get(&path) {
                let kept = files.into_iter().filter_map(|file| Some((*known.get(&file)?, file)));
                new.extend(kept.map(|(number, file)| (file, number)));
                if self.unreadable.insert(path, why.clone()).as_ref() != Some(why) {
                    error!(kubeconfig, why, "The kubeconfig cannot be read; what is connected goes on.");
                    self.reminder = Reminder::default();
                }
                continue;
            }
            let read = files.into_iter().filter_map(|file| Some((self.number(&file)?, file)));
            new.extend(read.map(|(number, file)| (file, number)));
            if self.unreadable.remove(&path).is_some() {
                info!(kubeconfig, "The kubeconfig can be read again.");
            }
        }
        let changed = |(file, number): &(&PathBuf, &u64)| known.get(*file).is_some_and(|old| old != *number);
        for (file, _) in new.iter().filter(changed) {
            info!(kubeconfig = %file.display(), "The kubeconfig changed, or a file that it names.");
        }
        self.credentials.send_if_modified(|current| {
            let changed = *current != new;
            *current = new;
            changed
        });
    }
}

/// The files of a kubeconfig, for people.
fn in_words(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The paths of the kubeconfigs that `fleet` names; `None` is the usual one.
fn kubeconfigs(fleet: &Fleet) -> BTreeSet<Option<PathBuf>> {
    let connections = fleet.clusters.iter().map(|cluster| &cluster.connection);
    connections
        .filter_map(|connection| match connection {
            Connection::Kubeconfig { path, .. } => Some(path.clone()),
            Connection::InCluster => None,
        })
        .collect()
}

/// Puts a fleet in force; returns whether it is another one.
fn replace(fleet: &watch::Sender<Arc<Fleet>>, new: Fleet) -> bool {
    fleet.send_if_modified(|current| {
        if **current == new {
            return false;
        }
        for change in diff::lines(current, &new) {
            info!(change, "The fleet file changed.");
        }
        let known = remarks(current);
        for remark in remarks(&new).iter().filter(|remark| !known.contains(remark)) {
            warn!("In the fleet file: {remark}.");
        }
        *current = Arc::new(new);
        true
    })
}

async fn content(files: BTreeSet<PathBuf>) -> Content {
    of_each(files, credentials::digest).await
}

async fn named(kubeconfigs: BTreeSet<PathBuf>) -> Named {
    of_each(kubeconfigs, credentials::named_in).await
}

async fn of_each<T: Send + 'static>(files: BTreeSet<PathBuf>, read: fn(&Path) -> T) -> BTreeMap<PathBuf, T> {
    let reading = spawn_blocking(move || files.into_iter().map(|file| (file.clone(), read(&file))).collect());
    // A panic there would be one of the standard library; no content is then unlike any other.
    reading.await.unwrap_or_default()
}

#[cfg(test)]
mod tests;
