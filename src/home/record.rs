//! What is remembered of a member: its resources, as far as a step elsewhere depends on them, and the steps that are about to
//! be taken there. Pure.
//!
//! A daemon that starts while a member is down knows from here which validators it has, at which versions, and what
//! failed there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::fleet::{ClusterName, Fleet};
use crate::observed::{Board, ClusterState, ClusterView, Healths, ResourceView, Stuck, Tried};
use crate::polkadot::{ResourceId, Step};

use super::history::{self, Entry, What};

/// A `ConfigMap` holds 1 MiB; some of it is its own.
const ROOM: usize = 1_000_000;
/// An announcement that nobody wants any more is kept until so long after it was made: the step may be on its way, by a daemon
/// that died.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(2);

/// A member as it was when it was last seen whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When what is remembered, or announced, was last found to be otherwise than before.
    pub seen: Timestamp,
    /// Its resources.
    pub resources: Vec<ResourceView>,
    /// Steps that are about to be taken there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<Announced>,
    /// What was done to them, oldest first.
    #[serde(default, deserialize_with = "readable", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Entry>,
}

/// A step that is about to be taken, or that is not seen yet: who starts while the member is away counts it as taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    /// On which resource.
    pub resource: ResourceId,
    /// The resource's identity.
    pub uid: String,
    /// Which step; it may be taken somewhat later.
    pub step: Step,
}

/// What has become of the steps that were taken in a member.
pub type Outcomes = BTreeMap<ClusterName, BTreeMap<ResourceId, Outcome>>;

/// What has become of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of this one; by the time that it is told there may be another one.
    pub step: Step,
    /// Why the resource is not healthy and counts as failed; absent where it is healthy.
    pub failure: Option<String>,
}

impl Outcome {
    /// Whether it is one of what is seen now.
    #[must_use]
    pub fn is_of(&self, resource: &ResourceView) -> bool {
        resource.step.as_ref().is_some_and(|step| is_same(&self.step, step))
    }
}

/// By member.
pub type Announcements = BTreeMap<ClusterName, Vec<Announced>>;

impl Announced {
    /// Whether it announces the same step, at whatever moment.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.resource, &self.uid) == (&other.resource, &other.uid) && is_same(&self.step, &other.step)
    }

    /// Whether it may still be taken, as far as a view shows.
    fn is_open(&self, resources: &BTreeMap<ResourceId, Arc<ResourceView>>) -> bool {
        let is_taken = |step: &Step| is_same(step, &self.step) && step.at >= self.step.at;
        resources
            .get(&self.resource)
            .is_some_and(|one| one.uid == self.uid && !one.step.as_ref().is_some_and(is_taken))
    }
}

fn is_same(one: &Step, other: &Step) -> bool {
    (&one.upgrade, &one.target, one.attempt) == (&other.upgrade, &other.target, other.attempt)
}

/// A record, and the version of its ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The precondition of the next write.
    pub version: String,
    /// What is remembered.
    pub record: Arc<Record>,
}

impl Record {
    /// What is to be remembered of a view, after what was known before, with the steps that are wanted there now.
    #[must_use]
    pub fn of(view: &ClusterView, known: Option<&Self>, wanted: &[Announced], now: Timestamp) -> Self {
        let resources: Vec<_> = view.resources.values().map(|resource| lasting(resource)).collect();
        let history = history::continued(known, &resources, now);
        let announced = to_announce(known, view, wanted, now);
        Self { seen: now, resources, announced, history }
    }

    /// The same with what has become of steps in its history.
    #[must_use]
    pub fn with_outcomes(mut self, outcomes: &BTreeMap<ResourceId, Outcome>, now: Timestamp) -> Self {
        self.history = history::with_outcomes(self.history, outcomes, &self.resources, now);
        self
    }

    /// Whether its history tells all that there is to tell now of what has become of steps.
    #[must_use]
    pub fn tells(&self, outcomes: &BTreeMap<ResourceId, Outcome>, now: Timestamp) -> bool {
        // As a rule nothing has failed: that is seen at a glance.
        let is_calm = outcomes.values().all(|outcome| outcome.failure.is_none())
            && !self.history.iter().any(|entry| matches!(entry.what, What::Failed { .. }));
        is_calm || history::untold(&self.history, outcomes, &self.resources, now).next().is_none()
    }

    /// Whether it announces just what there is to announce.
    #[must_use]
    pub fn announces(&self, view: &ClusterView, wanted: &[Announced], now: Timestamp) -> bool {
        let all = to_announce(Some(self), view, wanted, now);
        all.len() == self.announced.len() && all.iter().all(|one| self.announced.contains(one))
    }

    /// As it is kept. Of a history for which there is no room beside the resources, the older part is left out.
    ///
    /// # Errors
    /// Where it cannot be written as JSON, which cannot be.
    pub fn written(&mut self) -> Result<String, serde_json::Error> {
        loop {
            let text = serde_json::to_string(self)?;
            if text.len() <= ROOM || self.history.is_empty() {
                return Ok(text);
            }
            self.history.drain(..self.history.len().div_ceil(2));
        }
    }

    /// Whether it remembers what is to be remembered of a view; its history follows from that.
    #[must_use]
    pub fn agrees_with(&self, view: &ClusterView) -> bool {
        let now = view.resources.values().map(|resource| lasting(resource));
        self.resources.len() == view.resources.len()
            && now.zip(&self.resources).all(|(now, known)| now == *known)
    }
}

/// What is wanted, and what was and may still be on its way; without what the view shows.
fn to_announce(
    known: Option<&Record>,
    view: &ClusterView,
    wanted: &[Announced],
    now: Timestamp,
) -> Vec<Announced> {
    let before = known.iter().flat_map(|known| &known.announced);
    let before = before.filter(|one| now < one.step.at + ON_ITS_WAY && !wanted.iter().any(|new| new.is(one)));
    wanted.iter().chain(before).filter(|one| one.is_open(&view.resources)).cloned().collect()
}

/// A record is more than its history: an entry that cannot be read, perhaps a later version's, is left out.
pub(super) fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    history: D,
) -> Result<Vec<T>, D::Error> {
    let entries = Vec::<Value>::deserialize(history)?;
    Ok(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

/// A resource without what changes from one moment to the next: remembered, it is not known to run. Why it failed to
/// start is kept, as far as that counts as a failure; the words for it, which change with every try, are not.
fn lasting(resource: &ResourceView) -> ResourceView {
    let mut resource = resource.clone();
    resource.resource_version = String::new();
    resource.trouble = None;
    resource.prepulls.retain(|_, tried| matches!(tried, Tried::Failed(_)));
    let version = resource.client_version.as_deref().unwrap_or_default();
    let failed = resource.prepulls.iter_mut().map(|(machine, tried)| {
        *tried = Tried::Failed(format!(
            "{version} could not be started on machine {machine} when it was tried there"
        ));
        machine
    });
    let failed: BTreeSet<_> = failed.collect();
    for role in &mut resource.roles {
        for node in &mut role.nodes {
            node.ready_since = None;
            node.machine.take_if(|machine| !failed.contains(machine));
            let is_outdated = node.is_outdated(&role.hash);
            node.stuck = node.stuck.take().filter(|_| !is_outdated).and_then(Stuck::lasting);
        }
    }
    resource
}

/// The Board, with what is remembered of the members that were not seen since the start; what was announced there counts as
/// taken.
#[must_use]
pub fn remembered(board: &Board, fleet: &Fleet, records: &BTreeMap<ClusterName, Remembered>) -> Board {
    let mut board = board.clone();
    for cluster in &fleet.clusters {
        let Some(known) = records.get(&cluster.name) else { continue };
        let view = board.clusters.entry(cluster.name.clone()).or_insert_with(|| {
            let resources = BTreeMap::new();
            Arc::new(ClusterView {
                state: ClusterState::Connecting,
                seen: false,
                remembered: false,
                concern: None,
                resources,
                health: Healths::default(),
            })
        });
        if !view.seen {
            let view = Arc::make_mut(view);
            (view.seen, view.remembered) = (true, true);
            let resources = known.record.resources.iter().map(|one| (one.id.clone(), Arc::new(one.clone())));
            view.resources = resources.collect();
            for announced in &known.record.announced {
                if announced.is_open(&view.resources)
                    && let Some(resource) = view.resources.get_mut(&announced.resource)
                {
                    let resource = Arc::make_mut(resource);
                    resource.client_version = Some(announced.step.target.clone());
                    resource.step = Some(announced.step.clone());
                    resource.prepulls.clear();
                }
            }
        }
    }
    board
}
