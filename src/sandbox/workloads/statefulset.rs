//! The StatefulSet controller: one call of [`reconcile`] is one sync of one set.
//!
//! It follows the real one (1.36, default feature gates) in its steps and their order: adopt and release, find the
//! revisions, then each replica by ordinal, then surplus pods, then the roll, then the status and the history. In an
//! ordered set the first pod that is missing, terminating or not available ends the sync, before any roll: so a broken
//! pod is not replaced when the template is mended (kubernetes#67250), whatever revision it is at. In a parallel set it
//! is. A pod that Failed is deleted and made again in both.

mod claims;
mod members;
mod revision;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

use super::{Action, Kind, Object, Target, phase, ready_since, seconds};
use claims::Owner;
use members::{POD_INDEX, POD_NAME};
use revision::History;

/// What one sync comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sync {
    /// What to do, in this order. When an action fails, the rest is for a later sync.
    pub actions: Vec<Action>,
    /// When to sync again even if nothing changes: a Ready pod becomes available then.
    pub wake: Option<Timestamp>,
}

/// One sync of `set`, given all pods, revisions and claims of its namespace.
pub fn reconcile(
    set: &StatefulSet,
    pods: &[&Pod],
    revisions: &[&ControllerRevision],
    claims: &[&PersistentVolumeClaim],
    now: Timestamp,
) -> Sync {
    let Some(spec) = &set.spec else { return Sync::default() };
    let mut actions = revision::adopt_orphans(set, spec, revisions);
    let members = members::gather(set, spec, pods, &mut actions);
    let history = History::settle(set, spec, revisions, &mut actions);
    let mut round = Round { set, spec, pods, members: &members, claims, history: &history, now, actions };
    let mut status = round.count();
    if set.metadata.deletion_timestamp.is_none() && round.replicas() && round.surplus() {
        round.roll(&mut status);
    }
    let mut actions = round.actions;
    report(set, spec, status, &mut actions);
    history.truncate(spec, &members, &mut actions);
    Sync { actions, wake: next_available(spec, &members, now) }
}

struct Round<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    pods: &'a [&'a Pod],
    /// The pods of the set, by ordinal.
    members: &'a [(i32, &'a Pod)],
    claims: &'a [&'a PersistentVolumeClaim],
    history: &'a History,
    now: Timestamp,
    actions: Vec<Action>,
}

impl<'a> Round<'a> {
    /// Sees to each wanted replica; whether the sync may go on to what is surplus or outdated.
    fn replicas(&mut self) -> bool {
        members::ordinals(self.spec).all(|ordinal| match self.member(ordinal) {
            None => self.create(ordinal) && !ordered(self.spec),
            Some(pod) if ["Failed", "Succeeded"].contains(&phase(pod)) => {
                if !terminating(pod) {
                    self.delete(pod);
                }
                !ordered(self.spec)
            }
            Some(pod) => {
                let claimed = phase(pod) != "Pending" || self.claim(ordinal, Some(pod));
                let waited_for = ordered(self.spec) && !self.available(pod);
                claimed && !waited_for && self.keep(ordinal, pod)
            }
        })
    }

    /// Deletes pods outside the range of ordinals, highest first; whether none was waited for.
    fn surplus(&mut self) -> bool {
        let wanted = members::ordinals(self.spec);
        let surplus: Vec<_> =
            self.members.iter().rev().filter(|(ordinal, _)| !wanted.contains(ordinal)).copied().collect();
        for (ordinal, pod) in &surplus {
            self.retain(*ordinal, Some(pod));
        }
        if !ordered(self.spec) {
            for (_, pod) in surplus.iter().filter(|(_, pod)| !terminating(pod)) {
                self.delete(pod);
            }
            return true;
        }
        let Some((highest, pod)) = surplus.first() else { return true };
        // An unavailable pod waits for lower unavailable ones; an available one goes at once.
        let lowest_unavailable = surplus.iter().rev().find(|(_, pod)| !self.available(pod));
        let its_turn = self.available(pod) || lowest_unavailable.is_some_and(|(lowest, _)| lowest == highest);
        if !terminating(pod) && its_turn {
            self.delete(pod);
        }
        false
    }

    /// Deletes the highest outdated pod at or above the partition, once those above it are available.
    fn roll(&mut self, status: &mut StatefulSetStatus) {
        if on_delete(self.spec) {
            return;
        }
        let from = members::start(self.spec) + members::partition(self.spec);
        for ordinal in members::ordinals(self.spec).rev().take_while(|ordinal| *ordinal >= from) {
            let Some(pod) = self.member(ordinal) else { return };
            if members::revision(pod) != Some(&self.history.update.name) && !terminating(pod) {
                self.delete(pod);
                status.current_replicas = status.current_replicas.and_then(|count| some(count - 1));
                return;
            }
            if !self.available(pod) {
                return;
            }
        }
    }

    /// Makes the pod of an ordinal and its claims; whether nothing was in the way.
    fn create(&mut self, ordinal: i32) -> bool {
        let pod = members::pod(self.set, self.spec, self.history, ordinal);
        // The pod that held the name may have been released; the real controller runs into a conflict.
        let taken = self.pods.iter().any(|other| other.metadata.name == pod.metadata.name);
        if taken || claims::stale(self.set, self.spec, self.claims, ordinal) || !self.claim(ordinal, None) {
            return false;
        }
        self.actions.push(Action::Create(Object::Pod(Box::new(pod))));
        true
    }

    /// Makes the claims that a pod lacks; whether none of them is being deleted.
    fn claim(&mut self, ordinal: i32, pod: Option<&Pod>) -> bool {
        for wanted in claims::wanted(self.set, self.spec, ordinal) {
            match claims::find(self.claims, wanted.metadata.name.as_deref()) {
                None => self.actions.push(Action::Create(Object::Claim(Box::new(wanted)))),
                Some(claim) if claim.metadata.deletion_timestamp.is_some() => return false,
                Some(_) => {}
            }
        }
        self.retain(ordinal, pod);
        true
    }

    /// Mends what makes a living pod the member that it is; always goes on.
    fn keep(&mut self, ordinal: i32, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_ref();
        if pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_NAME)) != name {
            let labels = json!({POD_NAME: name, POD_INDEX: ordinal.to_string()});
            let patch = json!({"metadata": {"labels": labels}});
            self.actions.push(Action::Patch(Target::new(Kind::Pod, &pod.metadata), patch));
        }
        if phase(pod) != "Pending" {
            self.retain(ordinal, Some(pod));
        }
        true
    }

    /// Gives the claims of a pod the owners that the retention policy asks for.
    fn retain(&mut self, ordinal: i32, pod: Option<&Pod>) {
        let surplus = !members::ordinals(self.spec).contains(&ordinal);
        let set = Owner::set(self.set);
        let pod = Owner::pod(members::name(self.set, ordinal), pod.and_then(|pod| pod.metadata.uid.clone()));
        for wanted in claims::wanted(self.set, self.spec, ordinal) {
            let Some(claim) = claims::find(self.claims, wanted.metadata.name.as_deref()) else { continue };
            if let Some(owners) = claims::owners(self.spec, claim, &set, &pod, surplus) {
                let patch = json!({"metadata": {"ownerReferences": owners}});
                self.actions.push(Action::Patch(Target::new(Kind::Claim, &claim.metadata), patch));
            }
        }
    }

    fn delete(&mut self, pod: &Pod) {
        self.actions.push(Action::Delete(Target::new(Kind::Pod, &pod.metadata)));
    }

    fn member(&self, ordinal: i32) -> Option<&'a Pod> {
        self.members.iter().find(|(number, _)| *number == ordinal).map(|(_, pod)| *pod)
    }

    fn available(&self, pod: &Pod) -> bool {
        !terminating(pod) && running_and_ready(pod) && available_at(self.spec, pod) <= Some(self.now)
    }

    /// The status as the sync finds it.
    fn count(&self) -> StatefulSetStatus {
        let count = |wanted: &dyn Fn(&Pod) -> bool| {
            i32::try_from(self.members.iter().filter(|(_, pod)| wanted(pod)).count()).unwrap_or(i32::MAX)
        };
        let at = |revision: &str| {
            some(count(&|pod| !terminating(pod) && members::revision(pod).is_some_and(|of| of == revision)))
        };
        StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: count(&|_| true),
            ready_replicas: some(count(&running_and_ready)),
            available_replicas: Some(count(&|pod| {
                running_and_ready(pod) && available_at(self.spec, pod) <= Some(self.now)
            })),
            current_replicas: at(&self.history.current.name),
            updated_replicas: at(&self.history.update.name),
            current_revision: Some(self.history.current.name.clone()),
            update_revision: Some(self.history.update.name.clone()),
            collision_count: Some(self.history.collisions),
            conditions: None,
        }
    }
}

/// Completes a finished roll, and writes the status where it says something new.
fn report(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    mut status: StatefulSetStatus,
    actions: &mut Vec<Action>,
) {
    let wanted = members::replicas(spec);
    let all = |count: Option<i32>| count.unwrap_or_default() == wanted;
    if !on_delete(spec)
        && all(status.updated_replicas)
        && all(status.ready_replicas)
        && all(Some(status.replicas))
    {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    let old = set.status.clone().unwrap_or_default();
    // Collisions and conditions alone are not worth a write to the real one either.
    let same = old.observed_generation >= status.observed_generation
        && old.replicas == status.replicas
        && old.ready_replicas.unwrap_or_default() == status.ready_replicas.unwrap_or_default()
        && old.available_replicas.unwrap_or_default() == status.available_replicas.unwrap_or_default()
        && old.current_replicas.unwrap_or_default() == status.current_replicas.unwrap_or_default()
        && old.updated_replicas.unwrap_or_default() == status.updated_replicas.unwrap_or_default()
        && old.current_revision == status.current_revision
        && old.update_revision == status.update_revision;
    if !same {
        actions.push(Action::Status(Box::new(status)));
    }
}

/// Counts of zero are left out, as the API server does.
fn some(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count > 0)
}

fn ordered(spec: &StatefulSetSpec) -> bool {
    spec.pod_management_policy.as_deref() != Some("Parallel")
}

fn on_delete(spec: &StatefulSetSpec) -> bool {
    let strategy = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    strategy == Some("OnDelete")
}

fn terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn running_and_ready(pod: &Pod) -> bool {
    phase(pod) == "Running" && ready_since(pod).is_some()
}

/// When a Ready pod has been so for long enough; `None`, which is before any time, where it does not have to be.
fn available_at(spec: &StatefulSetSpec, pod: &Pod) -> Option<Timestamp> {
    let minimum = spec.min_ready_seconds.filter(|minimum| *minimum > 0)?;
    ready_since(pod)?.checked_add(seconds(minimum)).ok()
}

fn next_available(spec: &StatefulSetSpec, members: &[(i32, &Pod)], now: Timestamp) -> Option<Timestamp> {
    members.iter().filter_map(|(_, pod)| available_at(spec, pod)).filter(|at| *at > now).min()
}
