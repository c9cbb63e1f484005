//! What a cluster does by itself: it follows its own changes and acts on them, one change at a time.
//!
//! Here is the loop, and the small controllers of namespaces and CRDs; StatefulSets, pods and volumes are in
//! [`super::workloads`], owner references in [`super::gc`].

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::api::{CRD_FINALIZER, Operation, State, Strictness, is_being_deleted, key};
use super::cluster::Cluster;
use super::gc;
use super::kinds::Kind;
use super::runtime::Runtime;
use super::store::{Change, Key};
use super::structural;

/// A write of one of the cluster's own controllers.
pub(super) fn operation<'a>(
    kind: &'a Kind,
    namespace: &'a str,
    name: &'a str,
    subresource: &'a str,
    manager: &'a str,
    now: Timestamp,
) -> Operation<'a> {
    Operation {
        kind,
        namespace,
        name,
        subresource,
        manager,
        dry_run: false,
        strictness: Strictness::Ignore,
        force: true,
        now,
    }
}

/// Runs a cluster's own controllers until `stop`.
pub async fn run(cluster: Cluster, stop: CancellationToken) {
    let mut reader = cluster.reader(Some(0));
    let mut revisions = cluster.revisions();
    let mut due: Option<Timestamp> = None;
    loop {
        revisions.borrow_and_update();
        let now = cluster.now();
        let changes = cluster.with(|state| {
            let revision = state.store.revision();
            let changes = state.store.since(reader.position()).map(|all| all.cloned().collect::<Vec<_>>());
            (revision, changes)
        });
        let (revision, changes) = changes;
        // A past that is forgotten is looked at as a whole.
        let changes = changes.unwrap_or_else(|_| everything(&cluster));
        let is_due = due.is_some_and(|due| due <= now);
        if !changes.is_empty() || is_due {
            due = cluster.runtime(|runtime| cluster.with(|state| act(state, runtime, &changes, is_due, now)));
        }
        reader.moved_to(revision);
        let clock = cluster.clock();
        let wake = async {
            match due {
                Some(due) => clock.sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            more = revisions.changed() => if more.is_err() { return },
            () = wake => {}
        }
    }
}

/// Every object, as if it had just come to be.
fn everything(cluster: &Cluster) -> Vec<Change> {
    cluster.with(|state| {
        let all = state.store.all();
        all.map(|(key, stored)| Change {
            revision: stored.revision,
            key: key.clone(),
            before: None,
            after: Some(Arc::clone(stored)),
        })
        .collect()
    })
}

/// Acts on changes; returns when to look again although nothing changes.
fn act(
    state: &mut State,
    runtime: &mut Runtime,
    changes: &[Change],
    is_due: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut terminating = BTreeSet::new();
    for change in changes {
        gc::collect(state, change, now);
        match &*change.key.resource {
            CRDS => crd(state, change, now),
            "namespaces" => drop(terminating.insert(change.key.name.clone())),
            resource if change.after.is_none() => {
                terminating.insert(change.key.namespace.clone());
                release_crd(state, resource, now);
            }
            _ => {}
        }
    }
    for namespace in terminating {
        empty_namespace(state, &namespace, now);
    }
    runtime.play(state, changes, is_due, now)
}

const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// A CRD is accepted and its kinds are served; one that is being deleted takes its resources with it.
fn crd(state: &mut State, change: &Change, now: Timestamp) {
    let Some(kind) = state.kind("apiextensions.k8s.io", "CustomResourceDefinition") else { return };
    // What is there now, which may be newer than the change.
    if let Some(stored) = state.store.get(&change.key).cloned() {
        let mut crd = stored.value();
        if is_being_deleted(&crd) {
            release_crd(state, &change.key.name, now);
        } else {
            crd["status"] = structural::crd::crd_status(&crd, now);
            let on = operation(&kind, "", &change.key.name, "status", "kube-apiserver", now);
            let _ = state.update(&on, crd);
        }
    }
    let crds: Vec<_> = state.store.list(&kind.storage, None).map(|(_, stored)| Arc::clone(stored)).collect();
    state.custom = crds.iter().flat_map(|stored| state.catalogue.kinds(stored)).collect();
}

/// Deletes the resources of a CRD that is being deleted; it goes when the last of them is gone.
fn release_crd(state: &mut State, storage: &str, now: Timestamp) {
    let Some(kind) = state.kind("apiextensions.k8s.io", "CustomResourceDefinition") else { return };
    let at = key(&kind, "", storage);
    if !state.store.get(&at).is_some_and(|crd| is_being_deleted(&crd.value())) {
        return;
    }
    let resource: Arc<str> = storage.into();
    let left: Vec<Key> = state.store.list(&resource, None).map(|(key, _)| key.clone()).collect();
    if left.is_empty() {
        gc::drop_finalizer(state, &kind, &at, CRD_FINALIZER, now);
    }
    delete_all(state, &left, now);
}

/// Deletes what is in a namespace that is being deleted; it goes when nothing is left.
fn empty_namespace(state: &mut State, name: &str, now: Timestamp) {
    let Some(kind) = state.kind("", "Namespace") else { return };
    let at = key(&kind, "", name);
    let Some(namespace) = state.store.get(&at).map(|stored| stored.value()) else { return };
    if !is_being_deleted(&namespace) {
        return;
    }
    let within = state.store.all().filter(|(key, _)| key.namespace == name);
    let left: Vec<Key> = within.map(|(key, _)| key.clone()).collect();
    if left.is_empty() {
        state.remove(&operation(&kind, "", name, "", NAMESPACES, now));
    }
    delete_all(state, &left, now);
}

const NAMESPACES: &str = "kube-controller-manager";

fn delete_all(state: &mut State, left: &[Key], now: Timestamp) {
    for at in left {
        let kind = state.kinds().find(|kind| kind.storage == at.resource).cloned();
        let deleted = |stored: &Arc<super::store::Stored>| is_being_deleted(&stored.value());
        if let Some(kind) = kind
            && !state.store.get(at).is_some_and(deleted)
        {
            let on = operation(&kind, &at.namespace, &at.name, "", NAMESPACES, now);
            let _ = state.delete(&on, &json!({}));
        }
    }
}
