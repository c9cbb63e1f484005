//! The simulated clusters of a rehearsal: the names, labels and settings of the fleet file, and nothing of its reach.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::cast::{Cast, Part};
use crate::cli::play::{BACKSTAGE, prepare};
use crate::clock::Clock;
use crate::fleet::{Connection, Fleet, Telemetry};
use crate::observed::Board;
use crate::polkadot::{Polkadot, ResourceId};
use crate::sandbox::{self, cluster::Cluster};
use crate::upgrade::Place;

/// The running clusters, and who plays in them.
pub(super) struct Scene {
    pub(super) clusters: sandbox::fleet::Fleet,
    pub(super) cast: Cast,
}

impl Scene {
    /// Starts a cluster for each of the fleet, with its resources.
    pub(super) async fn set(fleet: &Fleet, cast: Cast, clock: &Clock) -> Result<Self, kube::Error> {
        let names: Vec<&str> = fleet.clusters.iter().map(|cluster| cluster.name.0.as_str()).collect();
        let scene = Self { clusters: sandbox::fleet::Fleet::start(&names, clock), cast };
        for cluster in &scene.clusters.clusters {
            let parts: Vec<&Part> = scene.parts_of(cluster).collect();
            let namespaces = parts.iter().filter_map(|part| part.resource.namespace());
            // The CRD has to be there, also where there is no resource.
            let namespaces: BTreeSet<String> = namespaces.chain([fleet.home_namespace.clone()]).collect();
            for namespace in namespaces {
                prepare(cluster, &namespace).await?;
            }
            for part in parts {
                polkadots(cluster, part).create(&PostParams::default(), &part.resource).await?;
            }
        }
        Ok(scene)
    }

    fn parts_of<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a Part> {
        self.cast.parts.iter().filter(|part| part.cluster.0 == cluster.name())
    }

    /// Puts back what would have kept a resource from coming up.
    pub(super) async fn hold(&self) -> Result<(), kube::Error> {
        for cluster in &self.clusters.clusters {
            for part in self.parts_of(cluster).filter(|part| part.hold.is_some()) {
                let patch = Patch::Merge(json!({"spec": {"hold": part.hold}}));
                let name = part.resource.name_any();
                polkadots(cluster, part).patch(&name, &PatchParams::default(), &patch).await?;
            }
        }
        Ok(())
    }

    /// Resources that are not up yet. One without a version waits for its upgrade.
    pub(super) fn missing(&self, board: &Board) -> Vec<Place> {
        let parts = self.cast.parts.iter().filter(|part| part.resource.spec.client_version.is_some());
        let places = parts.map(|part| (part.cluster.clone(), ResourceId::of(&part.resource)));
        let is_up = |(cluster, id): &Place| {
            let resource = board.clusters.get(cluster).and_then(|view| view.resources.get(id));
            resource.is_some_and(|resource| resource.settled_since.is_some())
        };
        places.filter(|place| !is_up(place)).collect()
    }
}

fn polkadots(cluster: &Cluster, part: &Part) -> Api<Polkadot> {
    let namespace = part.resource.namespace().unwrap_or_default();
    Api::namespaced(cluster.backstage(BACKSTAGE), &namespace)
}

/// The fleet as it plays: it reaches the simulated clusters and nothing else, and nobody reaches it.
pub(super) fn simulated(fleet: &Fleet) -> Fleet {
    let mut fleet = fleet.clone();
    fleet.telemetry = Telemetry::default();
    fleet.admin = None;
    for cluster in &mut fleet.clusters {
        let context = cluster.name.0.clone();
        cluster.connection = Connection::Kubeconfig { path: Some(PathBuf::from("simulated")), context };
    }
    fleet
}

/// The fleet while it comes up: nothing is upgraded, and what is paused or lost in truth has its nodes all the same.
pub(super) fn before_the_curtain(fleet: &Fleet) -> Fleet {
    let mut fleet = fleet.clone();
    fleet.upgrades.clear();
    for cluster in &mut fleet.clusters {
        (cluster.paused, cluster.lost) = (false, false);
    }
    fleet
}

/// The fleet with every approval that it asks for, and a line for each.
pub(super) fn approved(fleet: &Fleet) -> (Fleet, Vec<String>) {
    let (mut fleet, mut lines) = (fleet.clone(), vec![]);
    for upgrade in &mut fleet.upgrades {
        let target = Some(upgrade.client_version.clone());
        for stage in upgrade.stages.iter_mut().filter(|stage| stage.approval_required) {
            if stage.approved_version != target {
                lines.push(format!(
                    "upgrade {}, stage {}: approval of {} is given by the rehearsal",
                    upgrade.name, stage.name, upgrade.client_version
                ));
                stage.approved_version.clone_from(&target);
            }
        }
    }
    (fleet, lines)
}
