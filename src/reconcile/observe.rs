//! Reads what is there, from the watch caches only: the resource's objects, its pods and its keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::desired::{self, ChildKind, Keys, Template};
use crate::identity::NodeKey;
use crate::observed::{NodeView, RoleView};
use crate::polkadot::{INSTANCE_LABEL, Polkadot, ResourceId, Role, TEMPLATE_HASH_ANNOTATION};

/// The watch caches of one cluster, or of one namespace of it.
#[derive(Clone)]
pub struct Caches {
    /// The resources.
    pub polkadots: Store<Polkadot>,
    /// Their children by kind, and their pods.
    pub secrets: Store<Secret>,
    /// See above.
    pub services: Store<Service>,
    /// See above.
    pub network_policies: Store<NetworkPolicy>,
    /// See above.
    pub stateful_sets: Store<StatefulSet>,
    /// See above.
    pub pods: Store<Pod>,
}

/// What is there of one resource.
pub struct Observed {
    /// Objects with the resource's instance label or with it as their owner.
    pub children: Vec<LiveChild>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
    /// The StatefulSets by name.
    pub stateful_sets: BTreeMap<String, Arc<StatefulSet>>,
    /// The node keys that its Secrets hold.
    pub keys: Keys,
}

/// An object that is there.
pub struct LiveChild {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// The uid of the controller that owns it.
    pub owner: Option<String>,
    /// Who manages which fields.
    pub managed: Vec<ManagedFieldsEntry>,
    /// The whole object; that of a Secret holds keys.
    pub value: Value,
}

impl Observed {
    /// The object of that kind and name.
    #[must_use]
    pub fn child(&self, kind: ChildKind, name: &str) -> Option<&LiveChild> {
        self.children.iter().find(|child| child.kind == kind && child.name == name)
    }
}

/// Everything in the caches that belongs to `polkadot` or has the name of something that would.
#[must_use]
pub fn observe(polkadot: &Polkadot, caches: &Caches) -> Observed {
    let id = ResourceId::of(polkadot);
    let uid = polkadot.uid().unwrap_or_default();
    let mut children = live(&caches.secrets, ChildKind::Secret, &id, &uid);
    children.extend(live(&caches.services, ChildKind::Service, &id, &uid));
    children.extend(live(&caches.network_policies, ChildKind::NetworkPolicy, &id, &uid));
    children.extend(live(&caches.stateful_sets, ChildKind::StatefulSet, &id, &uid));
    let stateful_sets =
        in_namespace(&caches.stateful_sets, &id).into_iter().map(|set| (set.name_any(), set)).collect();
    let pods = in_namespace(&caches.pods, &id)
        .into_iter()
        .filter(|pod| pod.labels().get(INSTANCE_LABEL) == Some(&id.name))
        .collect();
    Observed { children, pods, stateful_sets, keys: keys(caches, &id, &uid) }
}

fn in_namespace<K>(store: &Store<K>, id: &ResourceId) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|object| object.meta().namespace.as_deref() == Some(&id.namespace))
}

fn live<K>(store: &Store<K>, kind: ChildKind, id: &ResourceId, uid: &str) -> Vec<LiveChild>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + 'static,
{
    in_namespace(store, id)
        .into_iter()
        .filter_map(|object| {
            let owner = object
                .owner_references()
                .iter()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone());
            let labelled = object.labels().get(INSTANCE_LABEL) == Some(&id.name);
            let ours = labelled || owner.as_deref() == Some(uid) || is_our_name(kind, &object.name_any());
            ours.then(|| LiveChild {
                kind,
                name: object.name_any(),
                uid: object.uid().unwrap_or_default(),
                resource_version: object.resource_version().unwrap_or_default(),
                owner,
                managed: object.managed_fields().to_vec(),
                value: serde_json::to_value(&*object).unwrap_or_default(),
            })
        })
        .collect()
}

/// Whether a resource would give an object this name.
fn is_our_name(kind: ChildKind, name: &str) -> bool {
    Role::ALL.into_iter().any(|role| match kind {
        ChildKind::Secret => name == desired::secret_name(role),
        ChildKind::Service => name == format!("{role}-service") || name == desired::HEADLESS_SERVICE,
        ChildKind::NetworkPolicy => name == "validator-networkpolicy",
        ChildKind::StatefulSet => name == desired::stateful_set_name(role),
    })
}

fn keys(caches: &Caches, id: &ResourceId, uid: &str) -> Keys {
    let ours = |secret: &Arc<Secret>, role| {
        secret.name_any() == desired::secret_name(role)
            && secret.owner_references().iter().any(|owner| owner.uid == uid)
    };
    let secrets = in_namespace(&caches.secrets, id);
    Role::ALL
        .into_iter()
        .filter_map(|role| Some((role, secrets.iter().find(|secret| ours(secret, role))?)))
        .flat_map(|(role, secret)| keys_of(role, secret))
        .collect()
}

/// The node keys in a role's Secret; an entry that is none is left out.
pub(super) fn keys_of(role: Role, secret: &Secret) -> Keys {
    let entries = secret.data.iter().flatten();
    entries
        .filter_map(|(pod, text)| {
            let ordinal =
                pod.strip_prefix(&format!("{}-", desired::stateful_set_name(role)))?.parse().ok()?;
            let key = NodeKey::from_hex(std::str::from_utf8(&text.0).ok()?).ok()?;
            Some(((role, ordinal), key))
        })
        .collect()
}

/// The nodes of a role: one per replica wanted, each with what its pod says.
#[must_use]
pub fn role_view(template: &Template, replicas: i32, pods: &[Arc<Pod>]) -> RoleView {
    let nodes = (0..replicas)
        .map(|ordinal| {
            let name = desired::pod_name(template.role, ordinal);
            let pod =
                pods.iter().find(|pod| pod.name_any() == name && pod.metadata.deletion_timestamp.is_none());
            node_view(name, ordinal, pod.map(AsRef::as_ref))
        })
        .collect();
    RoleView { role: template.role, hash: template.hash.clone(), nodes }
}

pub(super) fn node_view(pod_name: String, ordinal: i32, pod: Option<&Pod>) -> NodeView {
    let status = pod.and_then(|pod| pod.status.as_ref());
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Ready"))
        .filter(|condition| condition.status == "True");
    let container = status
        .and_then(|status| status.container_statuses.as_ref())
        .and_then(|containers| containers.iter().find(|container| container.name == "polkadot"));
    let image = pod
        .and_then(|pod| pod.spec.as_ref())
        .and_then(|spec| spec.containers.iter().find(|container| container.name == "polkadot"))
        .and_then(|container| container.image.clone());
    NodeView {
        pod: pod_name,
        ordinal,
        hash: pod.map(|pod| pod.annotations().get(TEMPLATE_HASH_ANNOTATION).cloned().unwrap_or_default()),
        version: image.and_then(|image| image.rsplit_once(':').map(|(_, tag)| tag.to_owned())),
        ready_since: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0),
        stuck: container.and_then(waits_for).or_else(|| {
            let crash_loops = status.zip(container).is_some_and(|(status, one)| crash_loops(status, one));
            crash_loops.then(|| CRASH_LOOP.into())
        }),
    }
}

const CRASH_LOOP: &str = "CrashLoopBackOff";

/// Why a container is not started, if that is not the usual way.
fn waits_for(container: &ContainerStatus) -> Option<String> {
    let reason = container.state.as_ref()?.waiting.as_ref()?.reason.clone();
    reason.filter(|reason| !matches!(reason.as_str(), "ContainerCreating" | "PodInitializing"))
}

/// Whether a container goes round in a loop, also in the moments in which it runs or has just ended: it has been through
/// a back-off, which follows the second crash, and the pod was not Ready since the last.
fn crash_loops(status: &PodStatus, container: &ContainerStatus) -> bool {
    let ended = |state: &Option<ContainerState>| state.as_ref()?.terminated.as_ref()?.finished_at.clone();
    let last = ended(&container.state).or_else(|| ended(&container.last_state));
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let unready_since =
        ready.filter(|ready| ready.status != "True").and_then(|ready| ready.last_transition_time.clone());
    container.restart_count >= 2 && unready_since.zip(last).is_some_and(|(since, last)| since <= last)
}

/// Whether the StatefulSet controller has taken the applied template as the current revision everywhere. That every
/// pod carries the template says that the controller has seen it.
pub fn is_finished(set: Option<&StatefulSet>, role: &RoleView) -> bool {
    let Some(status) = set.and_then(|set| set.status.as_ref()) else { return false };
    let settled = role.nodes.iter().all(|node| node.hash.as_deref() == Some(&role.hash));
    settled && status.current_revision == status.update_revision
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_in_a_crash_loop_is_stuck_also_in_the_moments_in_which_it_runs() {
        let stuck = |restarts: i32, unready_since: &str, state: Value| {
            let container = json!({
                "name": "polkadot", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": state, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:10:00Z"}},
            });
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": unready_since});
            let status = json!({"conditions": [condition], "containerStatuses": [container]});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
            node_view("validator-sset-0".into(), 0, Some(&pod)).stuck
        };
        let since_the_start = "2026-01-01T00:00:00Z";
        let runs = || json!({"running": {"startedAt": "2026-01-01T00:10:10Z"}});
        let ended = || json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:10:12Z"}});
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        for state in [runs(), ended(), waits] {
            assert_eq!(stuck(2, since_the_start, state).as_deref(), Some(CRASH_LOOP));
        }
        assert_eq!(stuck(1, since_the_start, runs()), None, "one crash is none");
        assert_eq!(stuck(5, "2026-03-01T00:00:00Z", runs()), None, "it was Ready since");
        assert_eq!(stuck(0, since_the_start, json!({"waiting": {"reason": "ContainerCreating"}})), None);
    }
}
