//! Reads what is there, from the watch caches only: the resource's objects, its pods and its keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, PersistentVolumeClaim, Pod, PodStatus, Secret, Service,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::desired::{ChildKind, Inherited, Keys};
use crate::identity::NodeKey;
use crate::observed::{NodeView, RoleView, Stuck};
use crate::polkadot::{
    INSTANCE_LABEL, KEY_SOURCE_ANNOTATION, Names, PREPULL_APP, Polkadot, ResourceId, Role,
    TEMPLATE_HASH_ANNOTATION,
};

use super::{adopt, image, names};

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
    pub disruption_budgets: Store<PodDisruptionBudget>,
    /// See above.
    pub stateful_sets: Store<StatefulSet>,
    /// See above.
    pub pods: Store<Pod>,
    /// Claims of the StatefulSets: theirs, not ours, but they are made to grow.
    pub claims: Store<PersistentVolumeClaim>,
}

/// What is there of one resource.
pub struct Observed {
    /// Objects with the resource's instance label or with it as their owner.
    pub children: Vec<LiveChild>,
    /// Its nodes' pods.
    pub pods: Vec<Arc<Pod>>,
    /// Its pods that only try a version.
    pub prepulls: Vec<Arc<Pod>>,
    /// The claims of the namespace's nodes.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// The StatefulSets by name.
    pub stateful_sets: BTreeMap<String, Arc<StatefulSet>>,
    /// The node keys that its Secrets hold.
    pub keys: Keys,
    /// Where the first key of a role was copied from.
    pub key_sources: BTreeMap<Role, String>,
    /// What its StatefulSets impose.
    pub inherited: Inherited,
    /// An older resource of the namespace that uses the same names.
    pub elder: Option<String>,
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

impl LiveChild {
    /// Whether it is being deleted.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.value["metadata"].get("deletionTimestamp").is_some()
    }
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
    let names = Names::of(polkadot);
    let whose = Whose { id: &id, uid: &uid, names: &names };
    let mut children = whose.live(&caches.secrets, ChildKind::Secret);
    children.extend(whose.live(&caches.services, ChildKind::Service));
    children.extend(whose.live(&caches.network_policies, ChildKind::NetworkPolicy));
    children.extend(whose.live(&caches.disruption_budgets, ChildKind::DisruptionBudget));
    children.extend(whose.live(&caches.stateful_sets, ChildKind::StatefulSet));
    let stateful_sets: BTreeMap<_, _> =
        in_namespace(&caches.stateful_sets, &id).into_iter().map(|set| (set.name_any(), set)).collect();
    let is_ours = |pod: &Pod| match pod.labels().get(INSTANCE_LABEL) {
        Some(instance) => *instance == id.name,
        // Of the old operator's making, in a StatefulSet that has our name.
        None => Role::ALL.iter().any(|role| adopt::is_pod_of(&names, *role, pod)),
    };
    let tries = |pod: &Arc<Pod>| pod.labels().get("app").is_some_and(|app| app == PREPULL_APP);
    let pods = in_namespace(&caches.pods, &id).into_iter().filter(|pod| is_ours(pod));
    let (prepulls, pods): (Vec<_>, Vec<_>) = pods.partition(tries);
    let owned = |pod: &Arc<Pod>| pod.owner_references().iter().any(|owner| owner.uid == uid);
    let prepulls = prepulls.into_iter().filter(owned).collect();
    let inherited = adopt::inherited(polkadot, &stateful_sets, &pods);
    let secrets = whose.secrets(caches);
    Observed {
        children,
        pods,
        prepulls,
        claims: in_namespace(&caches.claims, &id),
        stateful_sets,
        keys: secrets.iter().flat_map(|(role, secret)| keys_of(&names, *role, secret)).collect(),
        key_sources: secrets
            .iter()
            .filter_map(|(role, secret)| {
                Some((*role, secret.annotations().get(KEY_SOURCE_ANNOTATION)?.clone()))
            })
            .collect(),
        inherited,
        elder: elder(polkadot, caches),
    }
}

/// Of several resources that would take over one object without an owner, the oldest does.
fn elder(polkadot: &Polkadot, caches: &Caches) -> Option<String> {
    let (id, names) = (ResourceId::of(polkadot), Names::of(polkadot));
    let age = |of: &Polkadot| (of.metadata.creation_timestamp.clone().map(|time| time.0), of.uid());
    let others = in_namespace(&caches.polkadots, &id);
    let older = others.iter().filter(|other| Names::of(other) == names && age(other) < age(polkadot));
    older.min_by_key(|other| age(other)).map(|other| other.name_any())
}

fn in_namespace<K>(store: &Store<K>, id: &ResourceId) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|object| object.meta().namespace.as_deref() == Some(&id.namespace))
}

/// The resource whose objects are looked for.
struct Whose<'a> {
    id: &'a ResourceId,
    uid: &'a str,
    names: &'a Names,
}

impl Whose<'_> {
    /// The Secrets with its node keys.
    fn secrets(&self, caches: &Caches) -> Vec<(Role, Arc<Secret>)> {
        let all = in_namespace(&caches.secrets, self.id);
        let ours = |secret: &&Arc<Secret>, role| {
            let controller = secret.owner_references().iter().find(|owner| owner.controller == Some(true));
            let owner = controller.map(|owner| owner.uid.as_str());
            secret.name_any() == self.names.secret(role)
                && names::is_of(
                    ChildKind::Secret,
                    self.uid,
                    &self.id.name,
                    owner,
                    secret.labels(),
                    secret.managed_fields(),
                )
        };
        let of_role = |role| Some((role, all.iter().find(|secret| ours(secret, role))?.clone()));
        Role::ALL.into_iter().filter_map(of_role).collect()
    }

    fn live<K>(&self, store: &Store<K>, kind: ChildKind) -> Vec<LiveChild>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + 'static,
    {
        in_namespace(store, self.id)
            .into_iter()
            .filter_map(|object| {
                let owner = object
                    .owner_references()
                    .iter()
                    .find(|owner| owner.controller == Some(true))
                    .map(|owner| owner.uid.clone());
                let labelled = object.labels().get(INSTANCE_LABEL) == Some(&self.id.name);
                let ours = labelled
                    || owner.as_deref() == Some(self.uid)
                    || is_our_name(self.names, kind, &object.name_any());
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
}

/// Whether a resource with these names would give an object this name.
fn is_our_name(names: &Names, kind: ChildKind, name: &str) -> bool {
    Role::ALL.into_iter().any(|role| match kind {
        ChildKind::Secret => name == names.secret(role),
        ChildKind::Service => {
            name == names.service(role)
                || name == names.headless_service()
                || names.is_p2p_service(role, name)
        }
        ChildKind::NetworkPolicy => name == names.network_policy(),
        ChildKind::DisruptionBudget => name == names.disruption_budget(role),
        ChildKind::StatefulSet => name == names.stateful_set(role),
    })
}

/// The node keys in a role's Secret; an entry that is none is left out.
pub(super) fn keys_of(names: &Names, role: Role, secret: &Secret) -> Keys {
    let entries = secret.data.iter().flatten();
    entries
        .filter_map(|(pod, text)| {
            let ordinal = names.ordinal(role, pod)?;
            let key = NodeKey::from_file(&text.0).ok()?;
            Some(((role, ordinal), key))
        })
        .collect()
}

/// The roles of the StatefulSets that are there, of whatever kind the resource says it is: what runs counts, also where
/// nothing can be rendered.
#[must_use]
pub fn live_roles(polkadot: &Polkadot, observed: &Observed) -> Vec<RoleView> {
    let (names, uid) = (Names::of(polkadot), polkadot.uid());
    let of_role = |role| {
        let set = observed.stateful_sets.get(&names.stateful_set(role))?;
        set.owner_references().iter().find(|owner| Some(&owner.uid) == uid.as_ref())?;
        let spec = set.spec.as_ref()?;
        Some(role_view(polkadot, role, &template_hash(set), spec.replicas.unwrap_or(1), &observed.pods))
    };
    Role::ALL.into_iter().filter_map(of_role).collect()
}

/// The hash of the template that a StatefulSet has; empty for one that is not of our making.
#[must_use]
pub fn template_hash(set: &StatefulSet) -> String {
    let metadata = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    annotations.and_then(|all| all.get(TEMPLATE_HASH_ANNOTATION)).cloned().unwrap_or_default()
}

/// The nodes of a role: one per replica wanted, each with what its pod says.
#[must_use]
pub fn role_view(polkadot: &Polkadot, role: Role, hash: &str, replicas: i32, pods: &[Arc<Pod>]) -> RoleView {
    let names = Names::of(polkadot);
    let claim = polkadot.claim(role).map(|claim| claim.metadata.name.as_str());
    let mut view = RoleView { role, hash: hash.into(), nodes: vec![], volumes_added: false };
    for ordinal in 0..replicas {
        let name = names.pod(role, ordinal);
        let pod = pods.iter().find(|pod| pod.name_any() == name && pod.metadata.deletion_timestamp.is_none());
        let node = node_view(name, ordinal, pod.map(AsRef::as_ref));
        let lacks =
            |pod: &Arc<Pod>| claim.is_some_and(|claim| !mounts(pod, &format!("{claim}-{}", node.pod)));
        view.volumes_added |= node.is_outdated(hash) && pod.is_some_and(lacks);
        view.nodes.push(node);
    }
    view
}

/// Nodes without a pod that no StatefulSet asks for.
#[must_use]
pub fn unasked(polkadot: &Polkadot, observed: &Observed, roles: &[RoleView]) -> Vec<String> {
    let names = Names::of(polkadot);
    let of_role = |role: &RoleView| {
        let set = observed.stateful_sets.get(&names.stateful_set(role.role));
        let asked = set.map_or(0, |set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
        let nodes = role.nodes.iter().filter(|node| node.hash.is_none() && node.ordinal >= asked);
        nodes.map(|node| node.pod.clone()).collect::<Vec<_>>()
    };
    roles.iter().flat_map(of_role).collect()
}

pub(super) fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut claims =
        volumes.into_iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.any(|found| found.claim_name == claim)
}

/// Whether the validator's keystore outlives its pod, also that of the pod that runs: a volume that was switched on
/// since is another, empty one. (One that is switched off stays, while its StatefulSet does.)
#[must_use]
pub fn keystore_kept(
    polkadot: &Polkadot,
    pods: &[Arc<Pod>],
    sets: &BTreeMap<String, Arc<StatefulSet>>,
) -> bool {
    let names = Names::of(polkadot);
    let name = names.pod(Role::Validator, 0);
    let set = sets.get(&names.stateful_set(Role::Validator)).and_then(|set| set.spec.as_ref());
    let makes_claims = set.is_some_and(|set| set.volume_claim_templates.iter().flatten().next().is_some());
    let running = pods.iter().find(|pod| pod.name_any() == name && pod.metadata.deletion_timestamp.is_none());
    let on_volume = |pod: &Arc<Pod>| {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.into_iter().flatten().any(|volume| volume.persistent_volume_claim.is_some())
    };
    polkadot.replicas(Role::Validator) == 0
        || (polkadot.is_persistent(Role::Validator) && running.is_none_or(on_volume))
        || (makes_claims && running.is_some_and(on_volume))
}

/// The pods whose client has not started yet, in this pod.
#[must_use]
pub fn not_started(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().filter(|pod| !has_started(pod)).map(|pod| pod.name_any()).collect()
}

pub(super) fn has_started(pod: &Pod) -> bool {
    let has_run = |state: &Option<ContainerState>| {
        state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    client(pod).1.is_some_and(|container| has_run(&container.state) || has_run(&container.last_state))
}

/// The client's container, as wanted and as it is. It comes first; the old operator called it otherwise.
fn client(pod: &Pod) -> (Option<&Container>, Option<&ContainerStatus>) {
    let client = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let container = statuses.into_iter().flatten().find(|one| client.is_some_and(|of| of.name == one.name));
    (client, container)
}

pub(super) fn node_view(pod_name: String, ordinal: i32, pod: Option<&Pod>) -> NodeView {
    let status = pod.and_then(|pod| pod.status.as_ref());
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Ready"))
        .filter(|condition| condition.status == "True");
    let (client, container) = pod.map_or((None, None), client);
    let client = client.and_then(|container| container.image.as_deref());
    NodeView {
        pod: pod_name,
        ordinal,
        hash: pod.map(|pod| pod.annotations().get(TEMPLATE_HASH_ANNOTATION).cloned().unwrap_or_default()),
        version: client.map(|image| image::tag(image).to_owned()),
        ready_since: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0),
        stuck: status.and_then(has_no_machine).or_else(|| container.and_then(waits_for)).or_else(|| {
            let crash_loops = status.zip(container).is_some_and(|(status, one)| crash_loops(status, one));
            crash_loops.then(|| Stuck { reason: CRASH_LOOP.into(), words: None, since: None })
        }),
        machine: pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
    }
}

const CRASH_LOOP: &str = "CrashLoopBackOff";

/// Longer words of a kubelet are cut.
const LONGEST_WORDS: usize = 300;

/// Why a container is not started, if that is not the usual way.
pub(super) fn waits_for(container: &ContainerStatus) -> Option<Stuck> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    if matches!(reason.as_str(), "ContainerCreating" | "PodInitializing") {
        return None;
    }
    // The words of a crash loop tell how long the kubelet waits: each would be another status.
    let words = waiting.message.as_ref().filter(|_| reason != CRASH_LOOP);
    Some(Stuck { words: words.map(|words| cut(words)), reason, since: None })
}

pub(super) fn cut(words: &str) -> String {
    words.chars().take(LONGEST_WORDS).collect()
}

/// Why a pod has no machine, in the scheduler's words: a volume that is not there, machines that do not match.
fn has_no_machine(status: &PodStatus) -> Option<Stuck> {
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    Some(Stuck {
        reason: scheduled.reason.clone()?,
        words: scheduled.message.as_deref().map(cut),
        since: scheduled.last_transition_time.as_ref().map(|time| time.0),
    })
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
mod tests;
