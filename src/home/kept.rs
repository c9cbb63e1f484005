//! The `ConfigMaps` in home: what is kept there is watched, and written on condition that nobody was faster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::fleet::ClusterName;
use crate::observed::ClusterView;
use crate::polkadot::ResourceId;

use super::control::Control;
use super::record::{Announced, Outcome, Record, Remembered};

/// The ConfigMap of people's decisions.
pub const CONTROL: &str = "polkafleet-control";
/// The label of everything that is kept in home; its value is one of [`RECORD`] and [`DECISIONS`].
pub const KEPT: &str = "polkadot.swisscomblockchain.com/kept";
const RECORD: &str = "record";
const DECISIONS: &str = "control";
/// The prefix of the ConfigMap of a member.
const RECORD_PREFIX: &str = "fleet-record-";
/// After the watch has failed for so long, what is known is too old to act on.
const GRACE: Duration = Duration::from_secs(20);
/// A request that fails does so sooner (the client has a bound); a watch that has not failed by then is there.
const QUIET_BOUND: Duration = Duration::from_secs(16);
/// The entry that holds the JSON.
const ENTRY: &str = "json";

/// What is kept in home, watched.
pub struct Kept {
    api: Api<ConfigMap>,
    known: Mutex<Known>,
}

/// As it was last seen, or written by us.
#[derive(Clone, Default)]
struct Known {
    records: BTreeMap<ClusterName, Remembered>,
    control: Control,
    /// The versions of all records, also of those that cannot be read.
    versions: BTreeMap<ClusterName, String>,
    is_filled: bool,
    /// Since when the watch fails.
    failing: Option<Instant>,
    /// Versions of records that we have written over, and that the watch may still bring.
    overwritten: BTreeMap<ClusterName, BTreeSet<String>>,
}

impl Kept {
    /// What is kept in a namespace of home; it is known as far as [`Kept::watch`] has come.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), known: Mutex::default() }
    }

    /// Watches; `rings` at every change. Never ends by itself.
    pub async fn watch(&self, rings: &Notify) {
        let config = watcher::Config::default().labels(KEPT);
        let mut stream = std::pin::pin!(watcher(self.api.clone(), config));
        let mut pauses = watcher::DefaultBackoff::default();
        let (mut listed, mut in_doubt) = (Known::default(), false);
        loop {
            let next =
                tokio::time::timeout(if in_doubt { QUIET_BOUND } else { Duration::MAX }, stream.next());
            let event = match next.await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                // A watch that goes on after a failure says nothing before something happens: who fails again is sooner.
                Err(_) => {
                    in_doubt = false;
                    pauses.reset();
                    self.lock().failing = None;
                    rings.notify_one();
                    continue;
                }
            };
            in_doubt = event.is_err();
            match event {
                // Before each list it says that it asks: nobody has answered yet.
                Ok(watcher::Event::Init) => continue,
                Ok(watcher::Event::InitApply(map)) => listed.see(&map),
                Ok(watcher::Event::InitDone) => {
                    *self.lock() = Known { is_filled: true, ..std::mem::take(&mut listed) };
                }
                Ok(watcher::Event::Apply(map)) => self.lock().hear(&map),
                Ok(watcher::Event::Delete(map)) => self.lock().forget(&map.name_any()),
                Err(error) => {
                    debug!(%error, "Watching the home namespace failed; it is tried again.");
                    // A list that broke off begins anew.
                    listed = Known::default();
                    self.lock().failing.get_or_insert_with(Instant::now);
                    rings.notify_one();
                    tokio::time::sleep(pauses.next().unwrap_or(GRACE)).await;
                    continue;
                }
            }
            pauses.reset();
            self.lock().failing = None;
            rings.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything was listed once, and what is known is not too old: somebody may have paused an upgrade.
    pub fn is_filled(&self) -> bool {
        let known = self.lock();
        known.is_filled && known.failing.is_none_or(|since| since.elapsed() < GRACE)
    }

    /// The records, by member.
    pub fn records(&self) -> BTreeMap<ClusterName, Remembered> {
        self.lock().records.clone()
    }

    /// What people decided.
    pub fn control(&self) -> Control {
        self.lock().control.clone()
    }

    /// Remembers a member's view, and the steps that are wanted there, on condition that its record is still the one that we
    /// know, which it continues.
    pub async fn remember(
        &self,
        cluster: &ClusterName,
        view: &ClusterView,
        wanted: &[Announced],
        outcomes: &BTreeMap<ResourceId, Outcome>,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let name = format!("{RECORD_PREFIX}{cluster}");
        let (known, version) = {
            let all = self.lock();
            (all.records.get(cluster).cloned(), all.versions.get(cluster).cloned())
        };
        let record = Record::of(view, known.as_ref().map(|known| &*known.record), wanted, now);
        let mut record = record.with_outcomes(outcomes, now);
        let told = record.history.len();
        let text = record.written().map_err(kube::Error::SerdeError)?;
        if record.history.len() < told {
            debug!(%cluster, "The older half of the cluster's history made room for its resources.");
        }
        let mut map = made(&name, RECORD, &text);
        let written = match version.clone() {
            None => self.api.create(&PostParams::default(), &map).await?,
            Some(version) => {
                map.metadata.resource_version = Some(version);
                self.api.replace(&name, &PostParams::default(), &map).await?
            }
        };
        let mut all = self.lock();
        all.overwritten.entry(cluster.clone()).or_default().extend(version);
        all.see(&written);
        Ok(())
    }
}

impl Known {
    /// What the watch brings, unless it is older than what we have written since.
    fn hear(&mut self, map: &ConfigMap) {
        let (name, version) = (map.name_any(), map.resource_version().unwrap_or_default());
        let cluster = name.strip_prefix(RECORD_PREFIX).map(|cluster| ClusterName(cluster.to_owned()));
        if let Some(overwritten) = cluster.and_then(|cluster| self.overwritten.get_mut(&cluster)) {
            if overwritten.contains(&version) {
                return;
            }
            // The watch brings one after the other: it is past them.
            overwritten.clear();
        }
        self.see(map);
    }

    fn see(&mut self, map: &ConfigMap) {
        let name = map.name_any();
        if name == CONTROL {
            // What nobody can read may have been a pause.
            self.control = read(map).unwrap_or_else(Control::unreadable);
        } else if let Some(cluster) = name.strip_prefix(RECORD_PREFIX) {
            let (cluster, version) =
                (ClusterName(cluster.to_owned()), map.resource_version().unwrap_or_default());
            self.versions.insert(cluster.clone(), version.clone());
            if let Some(record) = read(map) {
                self.records.insert(cluster, Remembered { version, record: Arc::new(record) });
            }
        }
    }

    fn forget(&mut self, name: &str) {
        if name == CONTROL {
            self.control = Control::default();
        } else if let Some(cluster) = name.strip_prefix(RECORD_PREFIX) {
            self.records.remove(&ClusterName(cluster.to_owned()));
            self.versions.remove(&ClusterName(cluster.to_owned()));
        }
    }
}

/// The records of all that ever was a member, read once; `None` is one that cannot be understood.
///
/// # Errors
/// Where home cannot be reached or does not let us.
pub async fn records(
    client: &Client,
    namespace: &str,
) -> Result<BTreeMap<ClusterName, Option<Record>>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let maps = api.list(&ListParams::default().labels(&format!("{KEPT}={RECORD}"))).await?;
    let record = |map: ConfigMap| {
        let cluster = map.name_any().strip_prefix(RECORD_PREFIX)?.to_owned();
        Some((ClusterName(cluster), read(&map)))
    };
    Ok(maps.items.into_iter().filter_map(record).collect())
}

/// What people decided, read once; `None` is what cannot be understood.
///
/// # Errors
/// Where home cannot be reached or does not let us.
pub async fn decisions(client: &Client, namespace: &str) -> Result<Option<Control>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(CONTROL).await?.map_or_else(|| Some(Control::default()), |map| read(&map)))
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server's word, or none.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A decision cannot be written as JSON, which cannot be.
    #[error("the decision cannot be written down: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// Somebody has edited it by hand.
    #[error(
        "what is written there cannot be read, and every upgrade is paused by that; mend its JSON; to delete it would end every \
         pause and forget every approval and retry"
    )]
    Unreadable,
}

/// Changes people's decisions: reads, changes, and writes on condition that nobody was faster; tries again if so. What
/// changes nothing is not written. Returns them as they were, and as they are now.
///
/// # Errors
/// Where home cannot be reached, does not let us, or keeps something that cannot be read.
pub async fn decide(
    client: &Client,
    namespace: &str,
    change: impl Fn(&mut Control),
) -> Result<(Control, Control), Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    loop {
        let known = api.get_opt(CONTROL).await?;
        let before: Control = match &known {
            None => Control::default(),
            Some(map) => read(map).ok_or(Error::Unreadable)?,
        };
        let mut control = before.clone();
        change(&mut control);
        if control == before {
            return Ok((before, control));
        }
        let text = serde_json::to_string(&control)?;
        let mut map = made(CONTROL, DECISIONS, &text);
        let written = match known {
            None => api.create(&PostParams::default(), &map).await,
            Some(known) => {
                map.metadata.resource_version = known.metadata.resource_version;
                api.replace(CONTROL, &PostParams::default(), &map).await
            }
        };
        match written {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            written => return written.map(|_| (before, control)).map_err(Error::Api),
        }
    }
}

fn made(name: &str, what: &str, text: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some([(KEPT.to_owned(), what.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(ENTRY.to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    }
}

/// What does not parse counts as absent, and is told.
fn read<T: DeserializeOwned>(map: &ConfigMap) -> Option<T> {
    let text = map.data.as_ref().and_then(|data| data.get(ENTRY)).map_or("", String::as_str);
    serde_json::from_str(text)
        .inspect_err(
            |error| warn!(configmap = map.name_any(), %error, "What is kept in home cannot be read."),
        )
        .ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;
    use kube::client::Body;

    use super::*;

    /// A home that answers its first list, ends the watch, and from then on refuses every list.
    fn falls_ill(asked: &Arc<AtomicUsize>) -> Client {
        let asked = Arc::clone(asked);
        let answer = move |_: http::Request<Body>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                let (code, body) = match number {
                    0 => (
                        200,
                        r#"{"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}"#,
                    ),
                    1 => (
                        200,
                        r#"{"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "gone"}}"#,
                    ),
                    _ => (
                        503,
                        r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503, "message": "ill"}"#,
                    ),
                };
                let body = Body::from(body.as_bytes().to_vec());
                Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "n")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_in_a_home_that_lists_no_more_grows_too_old_to_act_on() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (kept, rings) = (Kept::new(falls_ill(&asked), "n"), Notify::new());
        let mut was_filled = false;
        let looks = async {
            let end = Instant::now() + GRACE * 10;
            while Instant::now() < end {
                rings.notified().await;
                was_filled |= kept.is_filled();
            }
        };
        tokio::select! {
            () = kept.watch(&rings) => {}
            () = looks => {}
        }
        assert!(was_filled);
        assert!(!kept.is_filled(), "somebody may have paused an upgrade meanwhile");
        // With the pauses of a back-off that only an answer resets.
        assert!(asked.load(Ordering::SeqCst) < 25, "{asked:?}");
    }

    /// A home that answers its first list, refuses the first watch, and then watches in silence.
    fn has_a_blip(asked: &Arc<AtomicUsize>) -> Client {
        let asked = Arc::clone(asked);
        let answer = move |_: http::Request<Body>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                let (code, text) = match number {
                    0 => (
                        200,
                        r#"{"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}"#,
                    ),
                    1 => (
                        503,
                        r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503, "message": "ill"}"#,
                    ),
                    _ => (200, ""),
                };
                let part = http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes()));
                let part = stream::iter([Ok::<_, std::convert::Infallible>(part)]);
                let rest = if text.is_empty() { stream::pending().boxed() } else { stream::empty().boxed() };
                let body = http_body_util::StreamBody::new(part.chain(rest));
                Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "n")
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_failed_once_and_goes_on_in_silence_is_trusted_again() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (kept, rings) = (Kept::new(has_a_blip(&asked), "n"), Notify::new());
        let looks = tokio::time::sleep(GRACE * 3);
        tokio::select! {
            () = kept.watch(&rings) => {}
            () = looks => {}
        }
        assert!(asked.load(Ordering::SeqCst) > 2, "it was asked again");
        assert!(kept.is_filled(), "nothing has failed since");
    }
}
