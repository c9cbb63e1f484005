//! What a cluster does by itself: it follows its own changes and acts on them, one change at a time.
//!
//! Here is the loop, and the small controllers of namespaces and CRDs; StatefulSets, pods and volumes are in
//! [`super::workloads`], owner references in [`super::gc`].

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::api::{Operation, State, Strictness, from_storage, key, text};
use super::cluster::Cluster;
use super::gc;
use super::kinds::{self, Kind};
use super::play;
use super::store::{Change, Key};
use super::structural;

/// The finalizer that lets a CRD wait for its resources.
const CRD_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

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
            changed = revisions.changed() => if changed.is_err() { return },
            () = wake => {}
        }
    }
}
