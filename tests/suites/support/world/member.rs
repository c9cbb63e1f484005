//! One cluster of a test's world: what a test does to it, past the daemon, and what stands between the two.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use polkafleet::polkadot::Polkadot;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::faults::{ApiFault, VersionFault};
use serde_json::{Value, json};

use crate::support::nodes::Nodes;
use crate::support::proxy::{Mode, Proxy};
use crate::support::{PATIENCE, eventually};

/// One cluster of a test's world.
pub struct Member {
    /// The cluster's name in the fleet file.
    pub name: String,
    /// An administrator's client, past the gate.
    pub admin: Client,
    /// Between the daemon and this cluster.
    pub gate: Gate,
    pub namespace: String,
    /// What runs in its pods, where that is not up to the cluster, and if somebody asks for it.
    pub nodes: Option<Nodes>,
}

/// What stands between the daemon and a cluster, and knows what went through.
pub enum Gate {
    Proxy { proxy: Proxy, audit: PathBuf },
    Simulated(Cluster),
}

impl Gate {
    /// Lets everything pass, or not.
    pub fn set(&self, mode: Mode) {
        match self {
            Self::Proxy { proxy, .. } => proxy.set(mode),
            Self::Simulated(cluster) => cluster.set_faults(|faults| {
                faults.api = match mode {
                    Mode::Pass => ApiFault::None,
                    Mode::Refuse => ApiFault::Unreachable,
                    Mode::Hang => ApiFault::Hangs,
                };
            }),
        }
    }
}

impl Member {
    pub fn polkadots(&self) -> Api<Polkadot> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    pub async fn create(&self, polkadot: &Polkadot) {
        self.polkadots().create(&PostParams::default(), polkadot).await.unwrap();
    }

    pub async fn get(&self) -> Polkadot {
        self.polkadots().get("polkadot-cr").await.unwrap()
    }

    pub async fn edit_spec(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.polkadots().patch("polkadot-cr", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits until every node runs `version`, Ready, with no roll pending.
    pub async fn settles_at(&self, version: &str) -> Polkadot {
        eventually(&format!("{} settles at {version}", self.name), PATIENCE, async || {
            let polkadot = self.polkadots().get_opt("polkadot-cr").await.ok()??;
            let settled = polkadot.status.as_ref()?.settled.as_ref()?;
            (settled.version == version && settled.interrupted.is_none()).then_some(polkadot)
        })
        .await
    }

    /// Waits until a condition of a resource holds; returns its message.
    pub async fn condition(&self, resource: &str, type_: &str) -> String {
        eventually(&format!("{resource} is {type_}"), PATIENCE, async || {
            let conditions = self.polkadots().get_opt(resource).await.unwrap()?.status?.conditions;
            let found = conditions.into_iter().find(|one| one.type_ == type_ && one.status == "True")?;
            Some(found.message)
        })
        .await
    }

    /// Waits for an event about the resource with this reason; returns its note.
    pub async fn event(&self, reason: &str) -> String {
        let api: Api<k8s_openapi::api::events::v1::Event> =
            Api::namespaced(self.admin.clone(), &self.namespace);
        eventually(&format!("an event says {reason}"), PATIENCE, async || {
            let events = api.list(&ListParams::default()).await.unwrap();
            let found = events.items.into_iter().find(|event| event.reason.as_deref() == Some(reason))?;
            Some(found.note.unwrap_or_default())
        })
        .await
    }

    pub async fn pods(&self) -> BTreeMap<String, Pod> {
        let api: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
        api.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|pod| (pod.name_any(), pod))
            .collect()
    }

    /// Where it is simulated: whatever starts at that version ends at once. The control planes' kubelets know such versions.
    pub fn crashes_at(&self, version: &str) {
        if let Gate::Simulated(cluster) = &self.gate {
            cluster.set_faults(|faults| {
                faults.versions.insert(version.to_owned(), VersionFault::CrashLoop);
            });
        }
    }
}
