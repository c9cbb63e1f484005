//! A simulated fleet: several clusters that share a clock and a chain, alive as long as it is held.

use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::cluster::Cluster;
use super::controllers;
use super::http;
use super::kinds::Catalogue;
use super::runtime::{Chains, Runtime};
use crate::clock::Clock;

/// Running clusters; dropped, they end.
pub struct Fleet {
    /// The clusters.
    pub clusters: Vec<Cluster>,
    /// What their nodes are on.
    pub chains: Chains,
    stop: CancellationToken,
    _end: DropGuard,
}

impl Fleet {
    /// Starts a cluster by each name.
    #[must_use]
    pub fn start(names: &[&str], clock: &Clock) -> Self {
        let stop = CancellationToken::new();
        let catalogue = Arc::new(Catalogue::default());
        let chains = Chains::default();
        let clusters: Vec<Cluster> = names
            .iter()
            .map(|name| {
                Cluster::new(name, clock.clone(), Arc::clone(&catalogue), Runtime::new(chains.clone()))
            })
            .collect();
        for cluster in &clusters {
            cluster.furnish();
            tokio::spawn(controllers::run(cluster.clone(), stop.clone()));
        }
        Self { clusters, chains, _end: stop.clone().drop_guard(), stop }
    }

    /// Lets every cluster listen on a port of its own on loopback; returns a kubeconfig of them all.
    pub async fn serve(&self) -> std::io::Result<Value> {
        let mut ports = vec![];
        for cluster in &self.clusters {
            let listening = http::serve(cluster.clone(), self.stop.clone()).await?;
            ports.push((cluster.name(), listening.port));
        }
        Ok(http::kubeconfig(&ports))
    }
}
