//! Asks the nodes of a cluster for their health, round after round, and puts what they say on the Board.
//!
//! A round asks every node that has a pod, a few at a time, and is published as a whole: whoever follows the Board wakes
//! once. The pace is slow; it is quick while something of the cluster is being rolled or has just been.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fleet::{Cluster, ClusterName};
use crate::health::probe::probe;
use crate::observed::{ClusterView, NodeHealth, NodeId, ResourceView};

use super::board::BoardWriter;

/// Nodes of one cluster that are asked at once.
const ASKED_AT_ONCE: usize = 8;
/// The quick pace is so many times the slow one…
const QUICKER: i32 = 10;
/// …but no quicker than this.
const QUICKEST: SignedDuration = SignedDuration::from_secs(1);
/// After a change the quick pace lasts for so long.
const FRESH: SignedDuration = SignedDuration::from_mins(30);
/// A node that was asked less often is asked at the quick pace.
const FEW: usize = 3;
/// The shortest pause between two rounds, however fast fleet time runs: the cluster's other requests need room.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A node that has become Ready is asked so soon, together with others that have by then: a gate may wait for just that.
const SOON: SignedDuration = SignedDuration::from_millis(300);

/// What the rounds need.
pub(super) struct Probes {
    pub(super) name: ClusterName,
    pub(super) client: Client,
    pub(super) cluster: tokio::sync::watch::Receiver<Arc<Cluster>>,
    pub(super) board: BoardWriter,
    pub(super) clock: Clock,
    /// Rings when a node has become Ready.
    pub(super) came_up: Arc<Notify>,
}

impl Probes {
    /// Asks until stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            let pause = self.round().await;
            let mut jumps = self.clock.jumps();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.came_up.notified() => {
                    // No quicker than the quick pace ever is, whatever rings.
                    let soon = self.real(QUICKEST).saturating_sub(begun.elapsed()).max(self.real(SOON));
                    tokio::time::sleep(soon).await;
                }
                // What was said is old now.
                () = jumps.next() => tokio::time::sleep(SHORTEST_PAUSE).await,
            }
        }
    }

    /// One round; returns how long to wait for the next.
    async fn round(&mut self) -> Duration {
        let settings = self.cluster.borrow_and_update().settings.clone();
        let view = self.board.view(&self.name);
        // A cluster that another daemon looks after is watched all the same: this one may take over.
        let Some(view) = view.filter(|view| view.state.is_watched()) else {
            return self.real(SignedDuration::from_secs(1)).min(Duration::from_secs(1));
        };
        let bound = Duration::try_from(settings.probe.timeout).unwrap_or_default();
        let known = &view.health;
        let asked = nodes(&view).map(|node| {
            let (client, clock) = (self.client.clone(), &self.clock);
            async move {
                let answer = probe(&client, &node, settings.ports.metrics, bound, clock).await;
                let mut health = known.get(&node).map(|known| NodeHealth::clone(known)).unwrap_or_default();
                health.note(answer, settings.probe.interval);
                (node, Arc::new(health))
            }
        });
        let health: BTreeMap<NodeId, Arc<NodeHealth>> =
            futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let quick = view.resources.values().any(|resource| is_fresh(resource, &health, self.clock.now()));
        self.board.publish_health(&self.name, health);
        let interval = settings.probe.interval;
        let pace = if quick { (interval / QUICKER).max(QUICKEST) } else { interval };
        self.real(pace).mul_f64(rand::random_range(0.9..=1.0))
    }

    fn real(&self, pause: SignedDuration) -> Duration {
        self.clock.to_real(Duration::try_from(pause).unwrap_or_default()).max(SHORTEST_PAUSE)
    }
}

/// Every node that has a pod.
fn nodes(view: &ClusterView) -> impl Iterator<Item = NodeId> + '_ {
    view.resources.values().flat_map(|resource| {
        let nodes = resource.roles.iter().flat_map(|role| &role.nodes);
        nodes.filter(|node| node.hash.is_some()).map(|node| (resource.id.namespace.clone(), node.pod.clone()))
    })
}

/// Whether somebody may be waiting for a verdict on the resource.
fn is_fresh(resource: &ResourceView, health: &BTreeMap<NodeId, Arc<NodeHealth>>, now: Timestamp) -> bool {
    let moved = [
        resource.settled_since,
        resource.step.as_ref().map(|step| step.at),
        resource.grant.as_ref().map(|grant| grant.at),
    ];
    let recent = moved.into_iter().flatten().any(|at| now.duration_since(at) < FRESH);
    let little_known = resource.roles.iter().flat_map(|role| &role.nodes).any(|node| {
        let known = health.get(&(resource.id.namespace.clone(), node.pod.clone()));
        // One that cannot be asked is not asked more often for it.
        known.is_none_or(|known| known.blocked.is_none() && known.samples.len() < FEW)
    });
    recent || little_known || resource.settled_since.is_none()
}
