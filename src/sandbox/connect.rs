//! The sandbox behind the seam of [`crate::cluster::connect`]: a daemon in the same process gets its clients here, by
//! the names of the contexts, and everything above the client is what runs in production.

use std::io;

use kube::client::ClientBuilder;
use tower::ServiceExt as _;

use super::cluster::Cluster;
use crate::cluster::connect::{Connect, Connected, Connecting, Error};
use crate::cluster::limits::Limits;
use crate::fleet::Connection;

/// The agent that the daemon's requests are remembered by.
pub const AGENT: &str = "polkafleet";

/// Clients of simulated clusters.
pub struct InProcess {
    /// The clusters.
    pub clusters: Vec<Cluster>,
    /// How long they may take for what.
    pub limits: Limits,
}

impl Connect for InProcess {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        let wanted = match connection {
            Connection::Kubeconfig { context, .. } => context.as_str(),
            Connection::InCluster => "",
        };
        let found = self.clusters.iter().find(|cluster| cluster.name() == wanted);
        let client = found.map(|cluster| {
            // As the network would say it.
            let cut = |cut| io::Error::new(io::ErrorKind::ConnectionReset, cut);
            ClientBuilder::new(cluster.service(AGENT).map_err(cut), "default").build()
        });
        Box::pin(async move {
            let client = client.ok_or_else(|| Error::NoSuchCluster(wanted.to_owned()))?;
            Ok(Connected { client, server: "the simulated API server".into(), way: None, valid_until: None })
        })
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}
