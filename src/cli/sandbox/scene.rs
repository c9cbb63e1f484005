//! The fleet that the sandbox plays with: its clusters, what is in them, its files, and what goes wrong.

use std::fmt::Write as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::{Error, SandboxArgs, write};
use crate::cli::counted;
use crate::cli::play::{BACKSTAGE, cause, known, prepare};
use crate::clock::Clock;
use crate::observed::Board;
use crate::polkadot::Polkadot;
use crate::sandbox::cluster::Cluster;
use crate::sandbox::fleet::Fleet;

/// The version that the fleet runs at first.
pub(super) const OLD: &str = "stable2503-6";
/// What all nodes are on.
const CHAIN: &str = "polkadot";
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
        known(&args.fail, &names).map_err(Error::Usage)?;
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
            "SIMULATION: {} in this process, no containers, no real chain. The daemon is the real \
             one.\nLook around meanwhile, with kubectl as usual (contexts: canary, production-1, …):\n  \
             export KUBECONFIG={kubeconfig}\n  \
             kubectl --context canary -n {NAMESPACE} get polkadots,pods\n  \
             kubectl --context canary -n {NAMESPACE} get pods -w\n  \
             kubectl --context canary get --raw '/api/v1/namespaces/{NAMESPACE}/pods/validator-sset-0:9615/proxy/metrics'\n\
             Simulated time runs ahead of kubectl's clock: trust the ages of `get`, not those of `describe`.\n\
             The fleet file, which may be edited, and the daemon's log:\n  {}\n  {}",
            counted(self.fleet.clusters.len(), "Kubernetes API server"),
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
        let (versions, chains) = ([args.upgrade.as_str()], [CHAIN]);
        cause(&self.fleet, &args.fail, &versions, &chains, clock.now());
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
}

fn name(number: u16) -> String {
    if number == 0 { "canary".into() } else { format!("production-{number}") }
}

async fn furnish(cluster: &Cluster, number: usize, nodes: u16) -> Result<(), kube::Error> {
    let client = cluster.backstage(BACKSTAGE);
    prepare(cluster, NAMESPACE).await?;
    let polkadots: Api<Polkadot> = Api::namespaced(client.clone(), NAMESPACE);
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
        "metadata": {"name": "polkadot-cr", "labels": {"chain": CHAIN}},
        "spec": {
            "clientVersion": OLD, "kind": kind,
            "sentry": {"replicas": nodes - 1, "clientName": "sentry", "dataPersistenceSupport": storage},
            "validator": {"clientName": "validator", "nodeKeySecretRef": {"name": KEY_SECRET}, "dataPersistenceSupport": storage},
        },
    })
}
