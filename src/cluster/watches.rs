//! The watches of one cluster: they fill the caches, say which resources to look at again, and how they fare.
//!
//! Each kind is watched by a task of its own with a back-off of its own, so that one failing watch delays no other.

use std::fmt::Debug;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{SinkExt as _, Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::backoff::backoff;
use super::limits::{ANSWER_BOUND, Limits};
use crate::polkadot::{self, INSTANCE_LABEL, PREPULL_APP, Polkadot};
use crate::reconcile::observe::Caches;

/// The label of the old operator and of ours on every child.
const CHILD_LABEL: &str = "app=polkadot";
/// Pods: the nodes, and those that only try a version.
fn pods_label() -> String {
    format!("app in (polkadot,{PREPULL_APP})")
}
/// Resources to look at again that may wait; a full queue holds the watches back, nothing is lost.
const QUEUE: usize = 1024;

/// What the watches of a scope report.
pub(super) enum Report {
    /// A watch of this kind failed and will be tried again.
    Failed(&'static str, watcher::Error),
    /// A watch of this kind has answered.
    Works(&'static str),
    /// Something was deleted, or the whole set was listed again.
    SetChanged,
}

/// The caches of one namespace (or of all), and the resources to look at again.
pub(super) struct Scope {
    pub(super) caches: Caches,
    pub(super) touched: mpsc::Receiver<ObjectRef<Polkadot>>,
}

/// Starts the watches of one scope on `tasks`.
pub(super) fn start(
    client: &Client,
    namespace: Option<&str>,
    limits: &Limits,
    reports: &mpsc::Sender<Report>,
    renewed: &watch::Receiver<u64>,
    tasks: &mut JoinSet<()>,
) -> Scope {
    let (touch, touched) = mpsc::channel(QUEUE);
    let mut starter = Starter { client, namespace, limits, reports, renewed, tasks, touch };
    let polkadots = starter.polkadots();
    let caches = Caches {
        secrets: starter.children::<Secret>("secrets", &polkadots),
        services: starter.children::<Service>("services", &polkadots),
        network_policies: starter.children::<NetworkPolicy>("networkpolicies", &polkadots),
        disruption_budgets: starter.children::<PodDisruptionBudget>("poddisruptionbudgets", &polkadots),
        stateful_sets: starter.children::<StatefulSet>("statefulsets", &polkadots),
        pods: starter.labelled::<Pod>("pods", &pods_label(), &polkadots),
        claims: starter.children::<PersistentVolumeClaim>("persistentvolumeclaims", &polkadots),
        polkadots,
    };
    Scope { caches, touched }
}

struct Starter<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    limits: &'a Limits,
    reports: &'a mpsc::Sender<Report>,
    renewed: &'a watch::Receiver<u64>,
    tasks: &'a mut JoinSet<()>,
    touch: mpsc::Sender<ObjectRef<Polkadot>>,
}

impl Starter<'_> {
    /// One resource that cannot be read must not hide the others, so each is read by itself.
    fn polkadots(&mut self) -> Store<Polkadot> {
        let resource = ApiResource::erase::<Polkadot>(&());
        let api: Api<DynamicObject> = match self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let stream = watcher(api, watcher::Config::default()).map_ok(readable);
        self.keep("polkadots", stream, |polkadot| vec![ObjectRef::from_obj(polkadot)])
    }

    fn children<K>(&mut self, kind: &'static str, polkadots: &Store<Polkadot>) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.labelled(kind, CHILD_LABEL, polkadots)
    }

    fn labelled<K>(&mut self, kind: &'static str, label: &str, polkadots: &Store<Polkadot>) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let polkadots = polkadots.clone();
        let owners = move |object: &K| owners(object, &polkadots);
        let stream = watcher(self.api(), watcher::Config::default().labels(label));
        self.keep(kind, stream, owners)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Keeps what a watch sees in a cache, and passes on what it concerns.
    fn keep<K>(
        &mut self,
        kind: &'static str,
        stream: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
        which: impl Fn(&K) -> Vec<ObjectRef<Polkadot>> + Send + Sync + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    {
        let writer = Writer::<K>::new(());
        let store = writer.as_reader();
        let pauses = Pauses { limits: *self.limits, failures: 0, renewed: self.renewed.clone() };
        let stream = reflector::reflector(writer, stream);
        let follow = follow(kind, stream, pauses, which, self.touch.clone(), self.reports.clone());
        self.tasks.spawn(follow.in_current_span());
        store
    }
}

/// The pauses of a watch that fails; it begins with the first again when it has worked, and new credentials, or a CRD that was installed, end it.
struct Pauses {
    limits: Limits,
    failures: u32,
    renewed: watch::Receiver<u64>,
}

impl Pauses {
    async fn pause(&mut self) {
        let pause = backoff(self.failures, self.limits.first_pause, self.limits.longest_pause);
        self.failures = self.failures.saturating_add(1);
        let renewed = async {
            if self.renewed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Whatever was in the way may be gone; if not quite yet, then soon.
            () = renewed => self.failures = 0,
        }
    }
}

/// An event of resources as they are stored, read.
fn readable(event: watcher::Event<DynamicObject>) -> watcher::Event<Polkadot> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Init => Init,
        InitDone => InitDone,
        Delete(object) => Delete(polkadot::read(object)),
        Apply(object) => Apply(polkadot::read(object)),
        InitApply(object) => InitApply(polkadot::read(object)),
    }
}

/// A request that fails does so within its bound; a watch that has not failed by then is there.
const QUIET_BOUND: Duration = ANSWER_BOUND.saturating_add(Duration::from_secs(1));

/// Passes on what one watch sees. A full queue holds the watch back; nothing is lost.
async fn follow<K: Resource<DynamicType = ()>>(
    kind: &'static str,
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    mut pauses: Pauses,
    which: impl Fn(&K) -> Vec<ObjectRef<Polkadot>>,
    mut touch: mpsc::Sender<ObjectRef<Polkadot>>,
    mut reports: mpsc::Sender<Report>,
) {
    let mut stream = std::pin::pin!(stream);
    let (mut works, mut in_doubt) = (false, false);
    loop {
        let next = tokio::time::timeout(if in_doubt { QUIET_BOUND } else { Duration::MAX }, stream.next());
        let event = match next.await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            // A watch that goes on after a failure says nothing before something happens: who fails again is sooner.
            Err(_) => {
                (works, in_doubt, pauses.failures) = (true, false, 0);
                if reports.send(Report::Works(kind)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        in_doubt = event.is_err();
        let (report, touched) = match event {
            // It asks, and nobody has answered yet.
            Ok(watcher::Event::Init) => continue,
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => (None, which(&object)),
            Ok(watcher::Event::Delete(object)) => (Some(Report::SetChanged), which(&object)),
            Ok(watcher::Event::InitDone) => (Some(Report::SetChanged), vec![]),
            Err(error) => (Some(Report::Failed(kind, error)), vec![]),
        };
        let answered = !matches!(report, Some(Report::Failed(..)));
        let news = (answered && !works).then_some(Report::Works(kind));
        works = answered;
        if answered {
            pauses.failures = 0;
        }
        for report in news.into_iter().chain(report) {
            if reports.send(report).await.is_err() {
                return;
            }
        }
        for touched in touched {
            if touch.send(touched).await.is_err() {
                return;
            }
        }
        if !answered {
            pauses.pause().await;
        }
    }
}

/// The resource that an object belongs to: by its label, else by its owner (the label may have been taken away). What
/// has neither may be the old operator's, or in somebody's way: it concerns every resource of the namespace.
fn owners<K: Resource<DynamicType = ()>>(
    object: &K,
    polkadots: &Store<Polkadot>,
) -> Vec<ObjectRef<Polkadot>> {
    let Some(namespace) = object.namespace() else { return vec![] };
    let owner = |name: &str| ObjectRef::new(name).within(&namespace);
    if let Some(name) = object.labels().get(INSTANCE_LABEL) {
        return vec![owner(name)];
    }
    if let Some(found) = object.owner_references().iter().find(|owner| owner.kind == "Polkadot") {
        return vec![owner(&found.name)];
    }
    let neighbours = polkadots.state_filter(|one| one.metadata.namespace.as_ref() == Some(&namespace));
    neighbours.iter().map(|neighbour| ObjectRef::from_obj(&**neighbour)).collect()
}

/// Waits until every cache of the scope has been filled once.
pub(super) async fn filled(caches: &Caches) -> Result<(), reflector::store::WriterDropped> {
    caches.polkadots.wait_until_ready().await?;
    caches.secrets.wait_until_ready().await?;
    caches.services.wait_until_ready().await?;
    caches.network_policies.wait_until_ready().await?;
    caches.disruption_budgets.wait_until_ready().await?;
    caches.stateful_sets.wait_until_ready().await?;
    caches.pods.wait_until_ready().await?;
    caches.claims.wait_until_ready().await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio::sync::watch;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_failed_once_and_goes_on_in_silence_works_again() {
        let failed = Err(watcher::Error::WatchFailed(kube::Error::LinesCodecMaxLineLengthExceeded));
        let events =
            stream::iter([Ok(watcher::Event::<ConfigMap>::InitDone), failed]).chain(stream::pending());
        let limits = Limits::default();
        let (_keep, renewed) = watch::channel(0);
        let pauses = Pauses { limits, failures: 0, renewed };
        let ((touch, _touched), (reports, mut said)) = (mpsc::channel(1), mpsc::channel(16));
        let following = tokio::spawn(follow("configmaps", events, pauses, |_| vec![], touch, reports));
        let mut words = vec![];
        while words.iter().filter(|word| **word == "works").count() < 2 {
            words.push(match said.next().await.unwrap() {
                Report::Failed(..) => "failed",
                Report::Works(_) => "works",
                Report::SetChanged => continue,
            });
        }
        assert_eq!(words, ["works", "failed", "works"]);
        following.abort();
    }
}
