//! How clusters and chain nodes fare by the faults that were played, and what of it every daemon must have seen by now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use polkafleet::clock::Clock;
use tokio::time::Instant;

use super::truth::{Truth, made, version_of};

/// For so long a decision may be under way that an edit has overtaken.
pub(super) const OVERTAKEN: Duration = Duration::from_secs(45);
/// What has lasted for so long in fleet time was seen, also by a daemon that began meanwhile.
pub(super) const SEEN: SignedDuration = SignedDuration::from_mins(10);

/// The faults that are in force.
pub(super) struct Fares {
    clock: Clock,
    /// API servers that are ill; or that were, and when that ended.
    ill: Mutex<BTreeMap<String, Option<Instant>>>,
    nodes: Mutex<Nodes>,
}

/// How the chain's nodes fare.
#[derive(Default)]
struct Nodes {
    /// Clusters where nobody can ask the pods, or where that has changed of late.
    deaf: BTreeMap<String, Timestamp>,
    /// Since when a version has finalised nothing in a cluster.
    stalled: BTreeMap<(String, String), Timestamp>,
    /// Versions that have finalised nothing in a cluster for a while; nodes that started then may still be sick.
    were_stalled: BTreeSet<(String, String)>,
    /// Since when the chain has stood still.
    chain: Option<Timestamp>,
}

impl Fares {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, ill: Mutex::default(), nodes: Mutex::default() }
    }

    /// From now on a cluster's API server is ill, or well again.
    pub(super) fn api(&self, cluster: &str, is_ill: bool) {
        let mut ill = self.ill.lock().unwrap();
        if is_ill {
            ill.insert(cluster.to_owned(), None);
        } else if let Some(until @ None) = ill.get_mut(cluster) {
            *until = Some(Instant::now());
        }
    }

    /// From now on nobody can ask a cluster's pods, or everybody can.
    pub(super) fn pods(&self, cluster: &str, is_deaf: bool) {
        let until = if is_deaf { Timestamp::MAX } else { self.clock.now() + SEEN };
        let mut nodes = self.nodes.lock().unwrap();
        let known = nodes.deaf.entry(cluster.to_owned()).or_insert(Timestamp::MIN);
        if is_deaf || *known == Timestamp::MAX {
            *known = until;
        }
    }

    /// From now on a version finalises nothing in a cluster, or does.
    pub(super) fn stalls_finality(&self, cluster: &str, version: &str, stalls: bool) {
        let (now, key) = (self.clock.now(), (cluster.to_owned(), version.to_owned()));
        let mut nodes = self.nodes.lock().unwrap();
        if stalls {
            nodes.were_stalled.insert(key.clone());
            nodes.stalled.entry(key).or_insert(now);
        } else {
            nodes.stalled.remove(&key);
        }
    }

    /// Whether a node at this version may be sick there: its restart costs no validator.
    pub(super) fn may_be_sick(&self, cluster: &str, version: &str) -> bool {
        self.nodes.lock().unwrap().were_stalled.contains(&(cluster.to_owned(), version.to_owned()))
    }

    /// From now on every version finalises in a cluster.
    pub(super) fn finalises(&self, cluster: &str) {
        self.nodes.lock().unwrap().stalled.retain(|(other, _), _| other != cluster);
    }

    /// From now on the whole chain stands still, or goes on.
    pub(super) fn chain_stands(&self, stands: bool) {
        let mut nodes = self.nodes.lock().unwrap();
        nodes.chain = stands.then(|| nodes.chain.unwrap_or(self.clock.now()));
    }

    /// Whether a daemon can ask its pods, and could for long enough.
    fn is_heard(&self, cluster: &str) -> bool {
        let deaf = self.nodes.lock().unwrap().deaf.get(cluster).copied();
        deaf.is_none_or(|until| until < self.clock.now()) && !self.is_ill(cluster)
    }

    /// Whether the chain has stood still for long enough that every daemon sees it in this cluster.
    pub(super) fn stands_still(&self, cluster: &str) -> bool {
        let since = self.nodes.lock().unwrap().chain;
        since.is_some_and(|since| since + SEEN < self.clock.now()) && self.is_heard(cluster)
    }

    /// Whether its nodes finalise nothing by their version, and every daemon has seen it.
    pub(super) fn is_seen_sick(&self, one: &Truth, target: &str) -> bool {
        let (seen, key) = (self.clock.now() - SEEN, (one.cluster.clone(), target.to_owned()));
        let since = self.nodes.lock().unwrap().stalled.get(&key).copied();
        since.is_some_and(|since| since < seen)
            && self.is_heard(&one.cluster)
            && one.pods.iter().any(|pod| version_of(pod) == target && made(pod) < seen)
    }

    /// Whether a daemon may be unable to see it as it is.
    pub(super) fn is_ill(&self, cluster: &str) -> bool {
        let ill = self.ill.lock().unwrap().get(cluster).copied();
        ill.is_some_and(|until| until.is_none_or(|until| until.elapsed() < OVERTAKEN))
    }
}
