//! Carries out what the workload controllers decide: reads what they need from the store, and writes their actions.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api::{Patch, State, from_storage, key, text};
use super::controllers::operation;
use super::kinds::Kind;
use super::runtime::Runtime;
use super::store::{Change, Key, Stored};
use super::workloads::kubelet::Host as _;
use super::workloads::statefulset::reconcile;
use super::workloads::{Action, Kind as Sort, Object, Target, budget, volumes};

const CONTROLLER: &str = "kube-controller-manager";
const KUBELET: &str = "kubelet";
const PODS: &str = "pods";
const SETS: &str = "statefulsets.apps";
const REVISIONS: &str = "controllerrevisions.apps";
const CLAIMS: &str = "persistentvolumeclaims";
const BUDGETS: &str = "poddisruptionbudgets.policy";

/// Namespace and name.
type Place = (String, String);

impl Runtime {
    /// Acts on changes and on what is due; returns when to look again although nothing changes.
    pub fn play(
        &mut self,
        state: &mut State,
        changes: &[Change],
        is_due: bool,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (mut sets, mut pods) = touched(state, changes);
        if is_due {
            let due = |at: &Timestamp| *at <= now;
            sets.extend(self.due_sets.iter().filter(|(_, at)| due(at)).map(|(place, _)| place.clone()));
            pods.extend(self.probed(now));
        }
        for change in changes {
            match &*change.key.resource {
                CLAIMS => bind(state, change, now),
                PODS if change.after.is_none() => self.forget(change, now),
                _ => {}
            }
        }
        for place in sets {
            self.sync_set(state, &place, now);
        }
        for place in pods {
            self.look_at(state, &place, now);
        }
        count_budgets(state, changes, now);
        self.due_sets.values().chain(self.due.values().map(|(at, _)| at)).min().copied()
    }

    /// A pod is gone, and with it what ran in it: also one that was taken away without its kubelet being asked.
    fn forget(&mut self, change: &Change, now: Timestamp) {
        let Some(gone) = &change.before else { return };
        if self.pods.remove(&*gone.uid).is_some() {
            self.due.remove(&*gone.uid);
            self.stop(&gone.value(), now);
        }
    }

    /// Pods whose time has come and that are no longer as they were; those that are have been probed.
    fn probed(&mut self, now: Timestamp) -> Vec<Place> {
        let due: Vec<(String, Place)> = self
            .due
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(uid, (_, place))| (uid.clone(), place.clone()))
            .collect();
        let mut changed = vec![];
        for (uid, place) in due {
            let Some(mut run) = self.pods.remove(&uid) else {
                self.due.remove(&uid);
                continue;
            };
            match run.stays(&uid, self, now).then(|| run.wake()).flatten() {
                Some(wake) => drop(self.due.insert(uid.clone(), (wake, place))),
                None => changed.push(place),
            }
            self.pods.insert(uid, run);
        }
        changed
    }

    fn sync_set(&mut self, state: &mut State, place: &Place, now: Timestamp) {
        self.due_sets.remove(place);
        let Some(kind) = state.kind("apps", "StatefulSet") else { return };
        let Some(stored) = state.store.get(&key(&kind, &place.0, &place.1)).cloned() else { return };
        let Some(set) = typed::<StatefulSet>(&stored) else { return };
        let mine = |stored: &Stored| {
            stored.owners.is_empty() || stored.owners.iter().any(|uid| **uid == *stored_uid(&set))
        };
        let pods: Vec<Pod> = all(state, PODS, &place.0, mine);
        let revisions: Vec<ControllerRevision> = all(state, REVISIONS, &place.0, mine);
        let name = format!("-{}-", place.1);
        let claims: Vec<PersistentVolumeClaim> =
            all(state, CLAIMS, &place.0, |stored| stored.json.contains(&name));
        let sync = reconcile(
            &set,
            &pods.iter().collect::<Vec<_>>(),
            &revisions.iter().collect::<Vec<_>>(),
            &claims.iter().collect::<Vec<_>>(),
            now,
        );
        if let Some(wake) = sync.wake {
            self.due_sets.insert(place.clone(), wake);
        }
        for action in sync.actions {
            // What fails is tried at the next sync, which the change that was in the way will cause.
            if act(state, &stored, &kind, place, action, now).is_none() {
                return;
            }
        }
    }

    /// One look of a kubelet, and before it of the scheduler, at one pod.
    fn look_at(&mut self, state: &mut State, place: &Place, now: Timestamp) {
        let Some(kind) = state.kind("", "Pod") else { return };
        let at = key(&kind, &place.0, &place.1);
        let Some(stored) = state.store.get(&at).cloned() else { return };
        let mut pod = from_storage(&kind, stored.value());
        let uid = stored.uid.to_string();
        if text(&pod, &["spec", "nodeName"]).is_empty() && !schedule(state, &kind, &at, &mut pod, now) {
            return;
        }
        let mut run = self.pods.remove(&uid).unwrap_or_default();
        if !run.is_running() {
            self.fetch_secrets(state, &pod);
        }
        let look = run.look(&pod, self, now);
        if look.gone {
            self.due.remove(&uid);
            state.remove(&operation(&kind, &place.0, &place.1, "", KUBELET, now));
            return;
        }
        self.pods.insert(uid.clone(), run);
        match look.wake {
            Some(wake) => drop(self.due.insert(uid, (wake, place.clone()))),
            None => drop(self.due.remove(&uid)),
        }
        if pod["status"] != look.status {
            pod["status"] = look.status;
            let _ = state.update(&operation(&kind, &place.0, &place.1, "status", KUBELET, now), pod);
        }
    }

    /// The Secrets that a pod mounts, as they are now.
    fn fetch_secrets(&mut self, state: &State, pod: &Value) {
        self.secrets.clear();
        let Some(kind) = state.kind("", "Secret") else { return };
        let namespace = text(pod, &["metadata", "namespace"]);
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let Some(name) = volume["secret"]["secretName"].as_str() else { continue };
            if let Ok(secret) = state.find(&kind, namespace, name) {
                self.secrets.insert((namespace.to_owned(), name.to_owned()), secret.value());
            }
        }
    }
}

/// The StatefulSets and pods that changes are about.
fn touched(state: &State, changes: &[Change]) -> (BTreeSet<Place>, BTreeSet<Place>) {
    let (mut sets, mut pods) = (BTreeSet::new(), BTreeSet::new());
    for change in changes {
        let place = (change.key.namespace.clone(), change.key.name.clone());
        match &*change.key.resource {
            SETS => drop(sets.insert(place)),
            PODS | REVISIONS | CLAIMS => {
                let owners =
                    [&change.before, &change.after].into_iter().flatten().flat_map(|one| &one.owners);
                let owners: Vec<&String> = owners.collect();
                let resource: Arc<str> = SETS.into();
                let about = state.store.list(&resource, Some(&place.0)).filter(|(at, set)| {
                    owners.iter().any(|owner| **owner == *set.uid)
                        || (owners.is_empty() && place.1.contains(&*at.name))
                });
                sets.extend(about.map(|(at, _)| (at.namespace.clone(), at.name.clone())));
                if &*change.key.resource == PODS {
                    pods.insert(place);
                } else if &*change.key.resource == CLAIMS {
                    // A pod may have waited for it.
                    let resource: Arc<str> = PODS.into();
                    let waiting = state.store.list(&resource, Some(&place.0));
                    let waiting = waiting.filter(|(_, pod)| pod.json.contains(&place.1));
                    pods.extend(waiting.map(|(at, _)| (at.namespace.clone(), at.name.clone())));
                }
            }
            _ => {}
        }
    }
    (sets, pods)
}

fn stored_uid(set: &StatefulSet) -> &str {
    set.metadata.uid.as_deref().unwrap_or_default()
}

fn typed<T: DeserializeOwned>(stored: &Stored) -> Option<T> {
    serde_json::from_str(&stored.json).ok()
}

fn all<T: DeserializeOwned>(
    state: &State,
    resource: &str,
    namespace: &str,
    meant: impl Fn(&Stored) -> bool,
) -> Vec<T> {
    let resource: Arc<str> = resource.into();
    state
        .store
        .list(&resource, Some(namespace))
        .filter(|(_, stored)| meant(stored))
        .filter_map(|(_, stored)| typed(stored))
        .collect()
}

/// Carries out one action of the StatefulSet controller.
fn act(
    state: &mut State,
    set: &Stored,
    set_kind: &Kind,
    place: &Place,
    action: Action,
    now: Timestamp,
) -> Option<()> {
    let kind_of = |state: &State, sort: Sort| match sort {
        Sort::Pod => state.kind("", "Pod"),
        Sort::Claim => state.kind("", "PersistentVolumeClaim"),
        Sort::Revision => state.kind("apps", "ControllerRevision"),
    };
    match action {
        Action::Create(object) => {
            let (sort, object) = match &object {
                Object::Pod(pod) => (Sort::Pod, value(pod)),
                Object::Claim(claim) => (Sort::Claim, value(claim)),
                Object::Revision(revision) => (Sort::Revision, value(revision)),
            };
            let kind = kind_of(state, sort)?;
            state.create(&operation(&kind, &place.0, "", "", CONTROLLER, now), object?).ok()?;
        }
        Action::Patch(Target { kind, namespace, name, uid }, patch) => {
            let kind = kind_of(state, kind)?;
            let found = state.find(&kind, &namespace, &name).ok()?;
            if *found.uid == *uid {
                let on = operation(&kind, &namespace, &name, "", CONTROLLER, now);
                state.patch(&on, &Patch::Merge(patch)).ok()?;
            }
        }
        Action::Delete(Target { kind, namespace, name, uid }) => {
            let kind = kind_of(state, kind)?;
            let options = json!({"preconditions": {"uid": uid}});
            state.delete(&operation(&kind, &namespace, &name, "", CONTROLLER, now), &options).ok()?;
        }
        Action::Status(status) => {
            let mut object = set.value();
            object["status"] = value(&status)?;
            let on = operation(set_kind, &place.0, &place.1, "status", CONTROLLER, now);
            state.update(&on, object).ok()?;
        }
    }
    Some(())
}

fn value(object: &impl Serialize) -> Option<Value> {
    serde_json::to_value(object).ok()
}

/// Gives a pod a node, if its volumes are there; writes down why not otherwise. Returns whether it has one.
fn schedule(state: &mut State, kind: &Kind, at: &Key, pod: &mut Value, now: Timestamp) -> bool {
    let scheduler = text(pod, &["spec", "schedulerName"]);
    if !pod["metadata"]["deletionTimestamp"].is_null() || scheduler != "default-scheduler" {
        return false;
    }
    let Some(claims) = state.kind("", "PersistentVolumeClaim") else { return false };
    let is_bound = |claim: &str| {
        let found = state.find(&claims, &at.namespace, claim);
        found.is_ok_and(|found| found.value()["status"]["phase"] == "Bound")
    };
    let unbound = volumes::claims_of(pod).iter().any(|(_, claim)| !is_bound(claim));
    let selective = pod["spec"]["nodeSelector"].as_object().is_some_and(|labels| !labels.is_empty());
    let problem = match (unbound, selective) {
        (true, _) => "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        (_, true) => "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        _ => {
            let number = 1 + at.name.len() % 3;
            pod["spec"]["nodeName"] = json!(format!("node-{number}"));
            // A binding is the only way to write this field, and the scheduler's alone.
            *pod = from_storage(kind, state.store.put(at.clone(), pod.take()));
            return true;
        }
    };
    let known = pod["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty());
    if !known {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": problem,
            "lastTransitionTime": super::api::time(now),
        }]);
        let _ = state
            .update(&operation(kind, &at.namespace, &at.name, "status", "kube-scheduler", now), pod.clone());
    }
    false
}

fn bind(state: &mut State, change: &Change, now: Timestamp) {
    let Some(claims) = state.kind("", "PersistentVolumeClaim") else { return };
    let Some(stored) = change.after.as_ref().and(state.store.get(&change.key)).cloned() else { return };
    let claim = from_storage(&claims, stored.value());
    if !claim["metadata"]["deletionTimestamp"].is_null() {
        release(state, &claims, &change.key, now);
        return;
    }
    let class = text(&claim, &["spec", "storageClassName"]);
    let exists =
        state.kind("storage.k8s.io", "StorageClass").is_some_and(|kind| state.find(&kind, "", class).is_ok());
    if let Some(bound) = volumes::bound(&claim, exists) {
        // The binder writes spec and status in two requests; nothing here can tell the difference.
        state.store.put(change.key.clone(), bound);
    }
}

/// A claim that is being deleted goes when no pod mounts it.
fn release(state: &mut State, kind: &Kind, at: &Key, now: Timestamp) {
    let pods: Arc<str> = PODS.into();
    let mounts = |pod: &Stored| volumes::claims_of(&pod.value()).iter().any(|(_, claim)| *claim == at.name);
    if !state.store.list(&pods, Some(&at.namespace)).any(|(_, pod)| mounts(pod)) {
        super::gc::drop_finalizer(state, kind, at, "kubernetes.io/pvc-protection", now);
    }
}

fn count_budgets(state: &mut State, changes: &[Change], now: Timestamp) {
    let relevant = |change: &&Change| matches!(&*change.key.resource, PODS | BUDGETS);
    let namespaces: BTreeSet<&str> =
        changes.iter().filter(relevant).map(|change| change.key.namespace.as_str()).collect();
    let Some(kind) = state.kind("policy", "PodDisruptionBudget") else { return };
    for namespace in namespaces {
        let budgets: Vec<_> =
            state.store.list(&kind.storage, Some(namespace)).map(|(_, one)| Arc::clone(one)).collect();
        for stored in budgets {
            let mut object = from_storage(&kind, stored.value());
            let wanted = object["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
            let resource: Arc<str> = PODS.into();
            let selected = state.store.list(&resource, Some(namespace)).filter(|(_, pod)| {
                wanted.iter().all(|(key, value)| pod.labels.get(key).map(String::as_str) == value.as_str())
            });
            let pods: Vec<Value> = selected.map(|(_, pod)| pod.value()).collect();
            let status = budget::status(&object, &pods, now);
            let same =
                status.as_object().into_iter().flatten().all(|(key, value)| object["status"][key] == *value);
            if !same {
                object["status"] = status;
                let name = text(&object, &["metadata", "name"]).to_owned();
                let on = operation(&kind, namespace, &name, "status", CONTROLLER, now);
                let _ = state.update(&on, object);
            }
        }
    }
}
