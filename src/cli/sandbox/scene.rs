//! The fleet that the sandbox plays with: its clusters, what is in them, its files, and what goes wrong.

use std::fmt::Write as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};

use super::{Error, SandboxArgs, write};
use crate::clock::Clock;
use crate::observed::Board;
use crate::polkadot::Polkadot;
use crate::sandbox::cluster::Cluster;
use crate::sandbox::faults::Wanted;
use crate::sandbox::fleet::Fleet;

/// The version that the fleet runs at first.
const OLD: &str = "stable2503-6";
/// The name that stands for every cluster in `--fail`.
const ALL: &str = "all";
/// Where the resources are.
const NAMESPACE: &str = "polkadot";

/// The clusters, and the folder with the files that belong to them.
pub(super) struct Scene {
    pub(super) fleet: Fleet,
    pub(super) folder: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nobody needs it without the sandbox.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    /// Starts the clusters and puts the old operator's sample into each, every validator with a key of its own.
    pub(super) async fn set(args: &SandboxArgs, clock: &Clock) -> Result<Self, Error> {
        let names: Vec<String> = (0..args.clusters).map(name).collect();
        for (cluster, _) in &args.fail {
            if cluster != ALL && !names.contains(cluster) {
                let all = names.join(", ");
                return Err(Error::Usage(format!(
                    "--fail {cluster}=…: there is no such cluster; there are: {all}, or all for all of them"
                )));
            }
        }
        let folder = std::env::temp_dir().join(format!("polkafleet-sandbox-{}", std::process::id()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let scene = Self { fleet: Fleet::start(&names, clock), folder };
        std::fs::create_dir_all(&scene.folder).map_err(|error| scene.unwritable(error))?;
        let kubeconfig = scene.fleet.serve().await.map_err(Error::Listen)?;
        scene.write("kubeconfig", &kubeconfig.to_string())?;
        scene.write("fleet.yaml", &scene.fleet_file(None))?;
        for (number, cluster) in scene.fleet.clusters.iter().enumerate() {
            furnish(cluster, number, args.nodes).await?;
        }
        Ok(scene)
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        write(&self.path(file), text).map_err(|error| self.unwritable(error))
    }

    fn unwritable(&self, error: std::io::Error) -> Error {
        Error::Folder(self.folder.clone(), error)
    }

    /// What this is, and how to look into it.
    pub(super) fn introduction(&self) -> String {
        let kubeconfig = self.path("kubeconfig");
        let kubeconfig = kubeconfig.display();
        format!(
            "SIMULATION: {} Kubernetes API servers in this process, no containers, no real chain. The daemon is the real \
             one.\nLook around meanwhile, with kubectl as usual (contexts: canary, production-1, …):\n  \
             export KUBECONFIG={kubeconfig}\n  \
             kubectl --context canary -n {NAMESPACE} get polkadots,pods\n  \
             kubectl --context canary -n {NAMESPACE} get pods -w\n  \
             kubectl --context canary get --raw '/api/v1/namespaces/{NAMESPACE}/pods/validator-sset-0:9615/proxy/metrics'\n\
             Simulated time runs ahead of kubectl's clock: trust the ages of `get`, not those of `describe`.\n\
             The fleet file, which may be edited, and the daemon's log:\n  {}\n  {}",
            self.fleet.clusters.len(),
            self.path("fleet.yaml").display(),
            self.path("daemon.log").display(),
        )
    }

    /// Whether every cluster runs what it should at first.
    pub(super) fn is_settled(&self, board: &Board) -> bool {
        self.fleet.clusters.iter().all(|cluster| {
            board.clusters.iter().any(|(name, view)| {
                name.to_string() == cluster.name()
                    && !view.resources.is_empty()
                    && view.resources.values().all(|resource| resource.settled_since.is_some())
            })
        })
    }

    /// Edits the fleet file as a person would, and lets go wrong what is to go wrong.
    pub(super) fn begin_upgrade(&self, args: &SandboxArgs, clock: &Clock) -> Result<(), Error> {
        for (name, wanted) in &args.fail {
            let meant = |cluster: &&Cluster| name == ALL || cluster.name() == name;
            for cluster in self.fleet.clusters.iter().filter(meant) {
                match wanted {
                    Wanted::Api(fault) => cluster.set_faults(|faults| faults.api = fault.clone()),
                    Wanted::Version(fault) => cluster.set_faults(|faults| {
                        faults.versions.insert(args.upgrade.clone(), *fault);
                    }),
                    Wanted::ChainStalls => {
                        let now = clock.now();
                        self.fleet.chains.with("polkadot", now, |chain| chain.stall(now));
                    }
                }
            }
        }
        self.write("fleet.yaml", &self.fleet_file(Some(&args.upgrade)))
    }

    fn fleet_file(&self, upgrade: Option<&str>) -> String {
        let mut text = format!(
            "# SIMULATION: the fleet file of polkafleet sandbox\nversion: 1\nhome: {}\nclusters:\n",
            name(0)
        );
        for (number, cluster) in self.fleet.clusters.iter().enumerate() {
            let stage = if number == 0 { "canary" } else { "production" };
            let name = cluster.name();
            let _ =
                writeln!(text, "  - {{context: {name}, kubeconfig: kubeconfig, labels: {{stage: {stage}}}}}");
        }
        if let Some(version) = upgrade {
            let _ = write!(
                text,
                "upgrades:\n  - name: polkadot\n    clientVersion: {version}\n    progressDeadline: 15m\n    \
                 health: {{stableFor: 1m}}\n    stages:\n      \
                 - {{name: canary, clusters: {{matchLabels: {{stage: canary}}}}, soak: 5m}}\n      \
                 - {{name: production, clusters: {{matchLabels: {{stage: production}}}}, maxConcurrent: 25%, optional: true}}\n"
            );
        }
        text
    }

    /// Pods that do not run, and the last that they wrote.
    pub(super) async fn troubles(&self) -> Vec<String> {
        let mut lines = vec![];
        for cluster in &self.fleet.clusters {
            let pods: Api<k8s_openapi::api::core::v1::Pod> =
                Api::namespaced(cluster.backstage("polkafleet-sandbox"), NAMESPACE);
            // A cluster that cannot be asked is named in the reason already.
            let Ok(pods) = pods.list(&ListParams::default()).await else { continue };
            for pod in pods {
                let status = serde_json::to_value(&pod.status).unwrap_or_default();
                lines.extend(trouble(cluster.name(), &pod.name_any(), &status["containerStatuses"][0]));
            }
        }
        lines
    }
}

fn trouble(cluster: &str, pod: &str, container: &Value) -> Option<String> {
    if container["ready"] == true {
        return None;
    }
    let word = container["state"]["waiting"]["reason"].as_str().unwrap_or("not ready");
    let last = &container["lastState"]["terminated"];
    if let Some(says) = container["state"]["waiting"]["message"].as_str().filter(|_| last.is_null()) {
        return Some(format!("  {cluster}  {pod}  {word}: {says}"));
    }
    let wrote = last["message"].as_str().unwrap_or_default();
    let wrote =
        wrote.lines().rfind(|line| line.contains("panicked") || line.contains("rror")).unwrap_or(wrote);
    let ended =
        last["exitCode"].as_i64().map(|code| format!("; it ended with {code}: {wrote}")).unwrap_or_default();
    Some(format!("  {cluster}  {pod}  {word}{ended}"))
}

fn name(number: u16) -> String {
    if number == 0 { "canary".into() } else { format!("production-{number}") }
}

async fn furnish(cluster: &Cluster, number: usize, nodes: u16) -> Result<(), kube::Error> {
    let client = cluster.backstage("polkafleet-sandbox");
    let params = PatchParams::apply("sandbox").force();
    let object = |version: &str, kind: &str, name: &str| -> (Api<DynamicObject>, Value) {
        let (group, version_only) = version.split_once('/').unwrap_or(("", version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version_only, kind);
        let api = Api::all_with(client.clone(), &kube::core::ApiResource::from_gvk(&gvk));
        (api, json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}}))
    };
    let (namespaces, namespace) = object("v1", "Namespace", NAMESPACE);
    namespaces.patch(NAMESPACE, &params, &Patch::Apply(namespace)).await?;
    let crd = Polkadot::crd();
    let (crds, _) = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "");
    crds.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await?;
    let polkadots: Api<Polkadot> = Api::namespaced(client.clone(), NAMESPACE);
    // The CRD is served a moment after it has been taken.
    while polkadots.list(&ListParams::default()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    // Its key is no secret: it is a number.
    let key = Secret {
        metadata: ObjectMeta { name: Some(KEY_SECRET.into()), ..ObjectMeta::default() },
        string_data: Some([("node-key".to_owned(), format!("{:064x}", number + 1))].into()),
        ..Secret::default()
    };
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &key).await?;
    let resource: Polkadot = serde_json::from_value(resource(nodes)).map_err(kube::Error::SerdeError)?;
    polkadots.create(&PostParams::default(), &resource).await?;
    Ok(())
}

/// The name of the Secret with the validator's node key.
const KEY_SECRET: &str = "validator-key";

/// A validator with its sentries.
fn resource(nodes: u16) -> Value {
    let storage = json!({"enabled": true, "persistentVolumeClaim": {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }});
    let kind = if nodes == 1 { "Validator" } else { "SentryAndValidator" };
    json!({
        "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
        "metadata": {"name": "polkadot-cr", "labels": {"chain": "polkadot"}},
        "spec": {
            "clientVersion": OLD, "kind": kind,
            "sentry": {"replicas": nodes - 1, "clientName": "sentry", "dataPersistenceSupport": storage},
            "validator": {"clientName": "validator", "nodeKeySecretRef": {"name": KEY_SECRET}, "dataPersistenceSupport": storage},
        },
    })
}
