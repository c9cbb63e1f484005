//! What brings a simulated cluster to life, as pure functions: typed objects and an instant in, actions out.
//!
//! The StatefulSet controller ([`statefulset`]), a node's agent ([`kubelet`]), the
//! volume binder ([`volumes`]) and the disruption controller ([`budget`]). Each does in one call what the real one
//! does in one sync; whoever calls them carries out the actions and calls again when something changed or the time
//! they asked for has come. What runs in a container, and the garbage collector, are not here.

pub mod budget;
pub mod kubelet;
pub mod statefulset;
pub mod volumes;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

/// What a controller wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make this object; the API server fills in what is left out.
    Create(Object),
    /// Apply a JSON merge patch to an object, the uid being a precondition.
    Patch(Target, Value),
    /// Delete an object, with the grace period it asks for.
    Delete(Target),
    /// Replace the status of the set that was reconciled.
    Status(Box<StatefulSetStatus>),
}

/// An object to be made.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A pod of a set.
    Pod(Box<Pod>),
    /// A claim of such a pod.
    Claim(Box<PersistentVolumeClaim>),
    /// A revision of a set's template.
    Revision(Box<ControllerRevision>),
}

/// An existing object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity: one made again under the same name is another object.
    pub uid: String,
}

/// The kinds that actions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `v1` Pod.
    Pod,
    /// `v1` PersistentVolumeClaim.
    Claim,
    /// `apps/v1` ControllerRevision.
    Revision,
}

impl Target {
    fn new(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }
}

fn seconds(count: impl Into<i64>) -> SignedDuration {
    SignedDuration::from_secs(count.into())
}

/// Whether a selector selects these labels. One that cannot be parsed selects nothing.
fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels.unwrap_or(&none)))
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Since when a pod has been Ready.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod.status.as_ref()?, "Ready").filter(|condition| condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |Time(since)| *since))
}
