//! Drives the reconciles of one scope of a cluster: the queue is kube's Controller, fed by our watches.
//!
//! Here are the span of a reconcile, its place in an upgrade's trace, and what happens after it failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::{DashMap, DashSet};
use futures::StreamExt as _;
use kube::Client;
use kube::runtime::controller::{Action, Config, Controller};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, field, info_span, warn};

use crate::clock::Clock;
use crate::fleet::{Cluster, ClusterName};
use crate::leader::Hold;
use crate::observed::ResourceView;
use crate::polkadot::{Polkadot, ResourceId, record};
use crate::reconcile::observe::Caches;
use crate::reconcile::{self, Beginnings, Inputs, Outcome};
use crate::telemetry::traces;

use super::backoff::backoff;
use super::board::BoardWriter;
use super::limits::Limits;
use super::watches::{self, Scope};
use super::worker::Worker;

/// Reconciles of one scope under way at once.
const RECONCILES_IN_FLIGHT: u16 = 16;
/// A resource is looked at again after this time although nothing happened; it costs no request.
const RESYNC: Duration = Duration::from_secs(600);
/// After losing a race the next view is on its way; this only catches the case that it is not.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);
/// The longest pause before a reconcile that fails is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What the reconciles of a session share.
pub(super) struct Context {
    name: ClusterName,
    client: Client,
    hold: Hold,
    cluster: watch::Receiver<Arc<Cluster>>,
    board: BoardWriter,
    clock: Clock,
    limits: Limits,
    beginnings: Beginnings,
    /// Failures in a row, by resource: how long to wait before trying again.
    failures: DashMap<ResourceId, u32>,
    /// Resources whose view is on the Board since the session began.
    seen: DashSet<ResourceId>,
    /// Scopes whose caches have been filled. Counted here, because a store wakes only one of those who wait for it.
    filled: AtomicUsize,
    /// Rings after every reconcile.
    pub(super) reconciled: Notify,
    /// Rings when a node has become Ready.
    pub(super) came_up: Arc<Notify>,
}

impl Context {
    pub(super) fn new(worker: &Worker, client: Client) -> Self {
        Self {
            name: worker.name.clone(),
            client,
            hold: worker.hold.clone(),
            cluster: worker.cluster.clone(),
            board: worker.board.clone(),
            clock: worker.clock.clone(),
            limits: worker.connect.limits(),
            beginnings: Beginnings::default(),
            failures: DashMap::new(),
            seen: DashSet::new(),
            filled: AtomicUsize::new(0),
            reconciled: Notify::new(),
            came_up: Arc::default(),
        }
    }

    /// Whether every cache has been filled once.
    pub(super) fn is_filled(&self, caches: &[Caches]) -> bool {
        self.filled.load(Ordering::Acquire) == caches.len()
    }

    /// Whether the caches are filled and every resource in them has its view on the Board: before that, the Board
    /// must not count as what the cluster is.
    pub(super) fn all_seen(&self, caches: &[Caches]) -> bool {
        let seen = |found: &Arc<Polkadot>| self.seen.contains(&ResourceId::of(&**found));
        self.is_filled(caches) && caches.iter().all(|caches| caches.polkadots.state().iter().all(seen))
    }
}

/// Reconciles the resources of one scope until stopped, from the moment its caches are filled.
pub(super) async fn control(scope: Scope, context: Arc<Context>, stop: CancellationToken) {
    let Scope { caches, touched } = scope;
    tokio::select! {
        filled = watches::filled(&caches) => if filled.is_err() { return },
        () = stop.cancelled() => return,
    }
    context.filled.fetch_add(1, Ordering::Release);
    // An empty cluster is seen whole as well.
    context.reconciled.notify_one();
    // A jump of fleet time is a change as well: what was to be looked at later may be due.
    // So is a Lease that has come to us: what was only watched is now to be made so.
    let all = (context.cluster.clone(), context.clock.jumps(), context.hold.follow());
    let all_touched = futures::stream::unfold(all, |(mut cluster, mut jumps, mut held)| async move {
        tokio::select! {
            changed = cluster.changed() => if changed.is_err() { return None },
            changed = held.changed() => if changed.is_err() { return None },
            () = jumps.next() => {}
        }
        Some(((), (cluster, jumps, held)))
    });
    let shared = Arc::new((Arc::clone(&context), caches.clone()));
    Controller::for_stream(futures::stream::pending(), caches.polkadots)
        .with_config(Config::default().concurrency(RECONCILES_IN_FLIGHT))
        .reconcile_on(touched)
        .reconcile_all_on(all_touched)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_one, after_failure, shared)
        .for_each(|result| {
            if let Err(error) = result {
                debug!(%error, "A reconcile did not come about.");
            }
            std::future::ready(())
        })
        .await;
}

type Shared = (Arc<Context>, Caches);

async fn reconcile_one(polkadot: Arc<Polkadot>, shared: Arc<Shared>) -> Result<Action, reconcile::Error> {
    let (context, caches) = &*shared;
    let id = ResourceId::of(&*polkadot);
    let span = span(&context.name, &polkadot, &id);
    async {
        let cluster = context.cluster.borrow().clone();
        let inputs = Inputs {
            client: &context.client,
            caches,
            beginnings: &context.beginnings,
            settings: &cluster.settings,
            paused: cluster.paused || !context.hold.is_held(),
            now: context.clock.now(),
        };
        let outcome = reconcile::reconcile(&polkadot, &inputs).await;
        Span::current().record("outcome", outcome.as_ref().map_or("failed", |_| "ok"));
        if let Err(error) = &outcome
            && !error.is_conflict()
            // The Lease has gone to another daemon meanwhile; that is its business now.
            && context.hold.is_held()
        {
            warn!(error = error.in_words(), "A reconcile failed and is tried again.");
            publish(context, id.clone(), reconcile::report_refused(&polkadot, &inputs, error).await);
        }
        let Outcome { view, changes, next_look } = outcome?;
        Span::current().record("changes", changes);
        publish(context, id.clone(), view);
        context.failures.remove(&id);
        let next = next_look.and_then(|next| Duration::try_from(next).ok());
        let next = next.map(|next| context.clock.to_real(next));
        Ok(Action::requeue(next.map_or(RESYNC, |next| next.min(RESYNC))))
    }
    .instrument(span)
    .await
}

fn publish(context: &Context, id: ResourceId, view: ResourceView) {
    let known = context.board.view(&context.name);
    if comes_up(known.as_ref().and_then(|known| known.resources.get(&id)).map(|known| &**known), &view) {
        context.came_up.notify_one();
    }
    context.board.publish(&context.name, view);
    context.seen.insert(id);
    context.reconciled.notify_one();
}

/// Whether a node is Ready that was not, or since another time.
fn comes_up(known: Option<&ResourceView>, view: &ResourceView) -> bool {
    let since = |view: &ResourceView| -> Vec<_> {
        let nodes = view.roles.iter().flat_map(|role| &role.nodes);
        nodes.filter_map(|node| Some((node.pod.clone(), node.ready_since?))).collect()
    };
    let before = known.map(since).unwrap_or_default();
    since(view).iter().any(|node| !before.contains(node))
}

/// The span of a reconcile: in the upgrade's trace while the upgrade's step is being made so, else its own.
fn span(cluster: &ClusterName, polkadot: &Polkadot, id: &ResourceId) -> Span {
    let span = info_span!(
        parent: None,
        "reconcile",
        k8s.cluster.name = %cluster,
        k8s.namespace.name = id.namespace,
        polkadot.name = id.name,
        polkadot.generation = polkadot.metadata.generation,
        outcome = field::Empty,
        changes = field::Empty,
    );
    let annotations = polkadot.metadata.annotations.as_ref();
    let step: Option<record::Step> = annotations.and_then(|all| record::read(all, record::STEP_ANNOTATION));
    let settled = polkadot.status.as_ref().and_then(|status| status.settled.as_ref());
    let under_way = step.is_some_and(|step| settled.is_none_or(|settled| settled.version != step.target));
    if under_way && let Some(parent) = annotations.and_then(|all| all.get(record::TRACEPARENT_ANNOTATION)) {
        traces::set_parent(&span, parent);
    }
    span
}

// The signature is kube's.
#[allow(clippy::needless_pass_by_value)]
fn after_failure(polkadot: Arc<Polkadot>, error: &reconcile::Error, shared: Arc<Shared>) -> Action {
    if error.is_conflict() {
        return Action::requeue(AFTER_CONFLICT);
    }
    let mut failures = shared.0.failures.entry(ResourceId::of(&*polkadot)).or_insert(0);
    *failures += 1;
    Action::requeue(backoff(*failures, shared.0.limits.first_pause, LONGEST_PAUSE))
}
