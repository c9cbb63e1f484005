//! A test's own world, in one of two places.
//!
//! On real control planes: one namespace, ServiceAccount and proxy per cluster, the rights of deploy/rbac.yaml, and the
//! kubeconfig and fleet file that say so. Tests share the control planes and nothing else.
//!
//! Their pods run nothing, and an upgrade goes by readiness alone, but in a world [`World::with_nodes`].
//!
//! In the sandbox: clusters of the test's own, whose time runs faster. Everybody may do everything there: that the rights
//! suffice is shown by the real half.

mod member;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::{Api, Client, Config, ResourceExt as _};
use polkafleet::polkadot::Polkadot;
use serde_json::{Value, json};

use polkafleet::clock::Clock;
use polkafleet::sandbox::chain::Chain;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::fleet::Fleet;
use polkafleet::sandbox::runtime::Chains;

pub use self::member::{Gate, Member};
use super::between::{Between, Instead, Question};
use super::daemon::Daemon;
use super::nodes::{self, Nodes};
use super::planes::Planes;
use super::proxy::Proxy;
use super::{PATIENCE, eventually};

/// How much faster than real time a simulated world's time runs.
const SPEED: f64 = 200.0;

/// How long a daemon that is killed keeps its clusters: the shortest that there is, and in the sandbox, where it counts a
/// tenth, a little more, for a busy machine.
fn lease(simulated: bool) -> &'static str {
    if simulated { "8s" } else { "3s" }
}

/// Where a world is.
#[derive(Clone, Copy)]
pub enum Place {
    Real(&'static Planes),
    Sandbox,
}

/// A test's world.
pub struct World {
    pub namespace: String,
    pub members: Vec<Member>,
    /// Holds the kubeconfig, the fleet file and the daemon's log.
    pub folder: tempfile::TempDir,
    clock: Clock,
    chains: Chains,
    simulated: Option<Fleet>,
}

/// The chain of the samples.
const CHAIN: &str = "polkadot";
/// The height of a chain that a node has caught up with in a second.
const LOW: u64 = 1_000;

const SAMPLE: &str = include_str!("../../samples/sentry-and-validator.yaml");
const MINIKUBE: &str = include_str!("../../samples/minikube.yaml");

impl World {
    /// A world of `count` clusters.
    pub async fn new(place: Place, count: usize) -> Self {
        Self::at_speed(place, count, SPEED).await
    }

    /// The same, where simulated time runs so many times as fast as real time.
    pub async fn at_speed(place: Place, count: usize, speed: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let namespace = format!("t-{:08x}", rand::random::<u32>());
        let mut members = vec![];
        let (kubeconfig, clock, simulated) = match place {
            Place::Real(planes) => {
                let mut kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []});
                for number in 1..=count {
                    let (member, entries) = member(planes, number, &namespace).await;
                    for (list, entry) in entries {
                        kubeconfig[list].as_array_mut().unwrap().push(entry);
                    }
                    members.push(member);
                }
                (kubeconfig, Clock::machine(), None)
            }
            Place::Sandbox => {
                let clock = Clock::simulated(jiff::Timestamp::now(), speed);
                let names: Vec<String> = (1..=count).map(|number| format!("cluster-{number}")).collect();
                let fleet = Fleet::start(&names.iter().map(String::as_str).collect::<Vec<_>>(), &clock);
                for cluster in &fleet.clusters {
                    members.push(simulated(cluster, &namespace).await);
                }
                (fleet.serve().await.unwrap(), clock, Some(fleet))
            }
        };
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let chains = simulated.as_ref().map(|fleet| fleet.chains.clone()).unwrap_or_default();
        Self { namespace, members, folder, clock, chains, simulated }
    }

    /// A world whose nodes can be asked for their health, on real control planes, too; `None`, and loud words, where they
    /// cannot. What an upgrade says of probes counts.
    pub async fn with_nodes(place: Place, count: usize) -> Option<Self> {
        if matches!(place, Place::Real(_)) && !nodes::can_listen() {
            return None;
        }
        let mut world = Self::new(place, count).await;
        if world.simulated.is_none() {
            let now = world.now();
            // Low enough for a node with nothing on its volume to be there at once: time is real.
            world.chains.with(CHAIN, now, |chain| *chain = Chain::new(CHAIN, now, LOW));
            for member in &mut world.members {
                let (chains, clock) = (world.chains.clone(), world.clock.clone());
                member.nodes = Some(Nodes::play(&member.admin, &world.namespace, chains, clock));
            }
        }
        Some(world)
    }

    /// A world of `count` clusters with a settled resource in each, and their daemon.
    pub async fn settled(place: Place, count: usize, version: &str) -> (Self, Daemon) {
        let world = Self::new(place, count).await;
        let daemon = world.settles(count, version).await;
        (world, daemon)
    }

    /// A daemon on the first `count` clusters, when their resources have settled and its planner has seen that: what begins
    /// then begins with the first. Every cluster has one.
    pub async fn settles(&self, count: usize, version: &str) -> Daemon {
        self.write_fleet(count, &json!({}));
        self.fill(version).await;
        let daemon = self.daemon();
        for member in &self.members[..count] {
            member.settles_at(version).await;
            self.remembers_settled(member, version).await;
        }
        daemon
    }

    /// Waits until home remembers a member's resource as settled: then the daemon has seen it so. Returns what it remembers, and
    /// the identity of where that stands.
    pub async fn remembers_settled(&self, member: &Member, version: &str) -> (String, String) {
        let maps: Api<ConfigMap> = Api::namespaced(self.members[0].admin.clone(), &self.namespace);
        eventually("home remembers a settled resource", PATIENCE, async || {
            let map = maps.get_opt(&format!("fleet-record-{}", member.name)).await.unwrap()?;
            let text = map.data?["json"].clone();
            let record: Value = serde_json::from_str(&text).unwrap();
            let resource = &record["resources"][0];
            (resource["client_version"] == version && !resource["settled_since"].is_null())
                .then_some((text, map.metadata.uid?))
        })
        .await
    }

    /// Gives every cluster a resource, with a key of its own.
    pub async fn fill(&self, version: &str) {
        for (number, member) in self.members.iter().enumerate() {
            member.create(&sample(version, key(number))).await;
        }
    }

    /// The daemon, on this world's fleet file.
    pub fn daemon(&self) -> Daemon {
        match &self.simulated {
            None => self.process(),
            Some(fleet) => Daemon::inside(&self.fleet_file(), fleet.clusters.clone(), &self.clock),
        }
    }

    /// A daemon in this process that follows another fleet file on the same simulated clusters.
    pub fn daemon_on(&self, file: &Path) -> Daemon {
        let simulated =
            self.simulated.as_ref().expect("only simulated clusters have daemons in this process");
        Daemon::inside(file, simulated.clusters.clone(), &self.clock)
    }

    /// The daemon, where `instead` may answer for simulated clusters.
    pub fn daemon_behind(
        &self,
        instead: impl Fn(&Question<'_>) -> Instead + Send + Sync + 'static,
    ) -> Daemon {
        let clusters =
            self.simulated.as_ref().expect("only simulated clusters are answered for").clusters.clone();
        let between = Between { clusters, instead: Arc::new(instead) };
        Daemon::connected(&self.fleet_file(), Arc::new(between), &self.clock)
    }

    /// The daemon as a process, whatever the world.
    pub fn process(&self) -> Daemon {
        Daemon::process(&self.fleet_file())
    }

    /// The chain stands still, in every cluster.
    pub fn stall_chain(&self) {
        let now = self.now();
        self.chains.with(CHAIN, now, |chain| chain.stall(now));
    }

    /// It moves again.
    pub fn resume_chain(&self) {
        let now = self.now();
        self.chains.with(CHAIN, now, |chain| chain.resume(now));
    }

    /// The time in this world.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// What shows it.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// How long to look before it may be said that nothing more happens.
    pub fn quiet(&self) -> std::time::Duration {
        std::time::Duration::from_millis(if self.simulated.is_some() { 400 } else { 3000 })
    }

    /// The path of the fleet file.
    pub fn fleet_file(&self) -> PathBuf {
        self.folder.path().join("fleet.yaml")
    }

    /// Writes a fleet of the first `count` members, with `rest` merged in.
    pub fn write_fleet(&self, count: usize, rest: &Value) {
        let clusters: Vec<Value> = self.members[..count]
            .iter()
            .enumerate()
            .map(|(index, member)| {
                json!({
                    "name": member.name, "context": member.name, "kubeconfig": "kubeconfig",
                    "namespaces": [self.namespace],
                    "labels": {"stage": if index == 0 { "canary" } else { "production" }},
                })
            })
            .collect();
        let mut fleet = json!({
            "version": 1, "home": self.members[0].name, "homeNamespace": self.namespace, "clusters": clusters,
            "lease": {"duration": lease(self.simulated.is_some())},
        });
        fleet.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        if self.simulated.is_none() && self.members.iter().all(|member| member.nodes.is_none()) {
            // Nobody listens in the pods, which are none.
            for upgrade in fleet.get_mut("upgrades").and_then(Value::as_array_mut).into_iter().flatten() {
                upgrade["health"]["probe"] = json!("optional");
            }
        }
        self.write_text(&serde_yaml::to_string(&fleet).unwrap());
    }

    /// Writes the fleet file as an editor does: beside it, then renamed.
    pub fn write_text(&self, text: &str) {
        let new = self.folder.path().join("fleet.yaml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.fleet_file()).unwrap();
    }
}

/// The byte that the validator key of the member with this number, from 0, is made of.
pub fn key(number: usize) -> u8 {
    0x70 + u8::try_from(number).unwrap()
}

/// The old operator's README sample, at a version and with a validator key of its own.
pub fn sample(version: &str, key: u8) -> Polkadot {
    let mut polkadot: Polkadot = serde_yaml::from_str(SAMPLE).unwrap();
    polkadot.spec.client_version = Some(version.into());
    polkadot.spec.validator.as_mut().unwrap().node.node_key = Some(format!("{key:02x}").repeat(32));
    polkadot
}

/// The old operator's README samples, as they stand there.
pub fn as_written(minikube: bool) -> Polkadot {
    serde_yaml::from_str(if minikube { MINIKUBE } else { SAMPLE }).unwrap()
}

/// A simulated cluster with the CRD and the test's namespace in it.
async fn simulated(cluster: &Cluster, namespace: &str) -> Member {
    let admin = cluster.backstage("tests");
    prepare(&admin, namespace).await;
    Member {
        name: cluster.name().to_owned(),
        admin,
        gate: Gate::Simulated(cluster.clone()),
        namespace: namespace.to_owned(),
        nodes: None,
    }
}

async fn member(planes: &Planes, number: usize, namespace: &str) -> (Member, Vec<(&'static str, Value)>) {
    let folder = planes.folder.join(format!("cluster-{number}"));
    let kubeconfig = Kubeconfig::read_from(folder.join("admin.kubeconfig")).unwrap();
    let cluster = kubeconfig.clusters[0].cluster.clone().unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let admin = Client::try_from(config).unwrap();
    install(&admin, true).await;
    let token = account(&admin, namespace).await;

    let server: http::Uri = cluster.server.as_ref().unwrap().parse().unwrap();
    let proxy = Proxy::start(server.port_u16().unwrap()).await;
    let name = format!("cluster-{number}");
    let entries = vec![
        (
            "clusters",
            json!({"name": name, "cluster": {
                "server": format!("https://127.0.0.1:{}", proxy.port),
                "certificate-authority-data": cluster.certificate_authority_data,
            }}),
        ),
        ("users", json!({"name": name, "user": {"token": token}})),
        (
            "contexts",
            json!({"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}),
        ),
    ];
    let audit = folder.join("audit.log");
    let gate = Gate::Proxy { proxy, audit };
    (Member { name, admin, gate, namespace: namespace.to_owned(), nodes: None }, entries)
}

/// Puts the CRD and a namespace into a simulated cluster.
pub async fn prepare(admin: &Client, namespace: &str) {
    install(admin, false).await;
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
}

/// The CRD and the cluster roles as they are shipped, read once.
static SHIPPED: LazyLock<Vec<DynamicObject>> = LazyLock::new(|| {
    let crd = include_str!("../../../deploy/crd.yaml");
    let rbac = include_str!("../../../deploy/rbac.yaml");
    let documents = [crd].into_iter().chain(rbac.split("\n---\n"));
    documents.map(|document| serde_yaml::from_str(document).unwrap()).collect()
});

/// Applies what is shipped; every test applies the same.
async fn install(admin: &Client, with_rights: bool) {
    for object in &*SHIPPED {
        let types = object.types.clone().unwrap();
        let wanted = ["CustomResourceDefinition", if with_rights { "ClusterRole" } else { "" }];
        if !wanted.contains(&types.kind.as_str()) {
            continue;
        }
        let gvk = kube::core::GroupVersionKind::try_from(&types).unwrap();
        let api: Api<DynamicObject> = Api::all_with(admin.clone(), &kube::core::ApiResource::from_gvk(&gvk));
        let params = PatchParams::apply("tests").force();
        api.patch(&object.name_any(), &params, &Patch::Apply(object)).await.unwrap();
    }
    let polkadots: Api<Polkadot> = Api::all(admin.clone());
    eventually("the CRD is served", PATIENCE, async || polkadots.list(&ListParams::default()).await.ok())
        .await;
}

/// A namespace with an account that has the shipped roles, in it and of nodes, and nothing else; its token.
async fn account(admin: &Client, namespace: &str) -> String {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let object = serde_json::from_value(json!({"metadata": {"name": "polkafleet"}})).unwrap();
    accounts.create(&PostParams::default(), &object).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    for role in ["polkafleet", "polkafleet-home"] {
        let object = serde_json::from_value(json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "polkafleet", "namespace": namespace}],
        }))
        .unwrap();
        bindings.create(&PostParams::default(), &object).await.unwrap();
    }
    let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
    let object = serde_json::from_value(json!({
        "metadata": {"name": format!("polkafleet-nodes-{namespace}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "polkafleet-nodes"},
        "subjects": [{"kind": "ServiceAccount", "name": "polkafleet", "namespace": namespace}],
    }))
    .unwrap();
    bindings.create(&PostParams::default(), &object).await.unwrap();
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let issued = accounts.create_token_request("polkafleet", &PostParams::default(), &request).await.unwrap();
    issued.status.unwrap().token
}

/// An upgrade of every resource to `target`: canary, then production.
pub fn upgrade(target: &str, soak: &str) -> Value {
    json!({"upgrades": [{
        "name": "polkadot", "clientVersion": target, "health": {"stableFor": "1s"}, "progressDeadline": "30m",
        "stages": [
            {"name": "canary", "clusters": {"matchLabels": {"stage": "canary"}}, "soak": soak},
            {"name": "production", "clusters": {"matchLabels": {"stage": "production"}}},
        ],
    }]})
}
