//! Which API server is looked after by which worker: one cluster under two names would have two workers with one Lease
//! between them, and count twice in every budget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fleet::ClusterName;

/// The API servers that workers have come to; clones share them.
#[derive(Clone, Default)]
pub(super) struct Servers(Arc<Mutex<BTreeMap<String, ClusterName>>>);

impl Servers {
    /// Takes a server, by its address and the way there, for a cluster, which leaves the one that it had; whose it is if it
    /// is another one's. What is no address says nothing of where it leads.
    pub(super) fn take(
        &self,
        server: &str,
        way: Option<&str>,
        cluster: &ClusterName,
    ) -> Result<(), ClusterName> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, taken| taken != cluster);
        if !server.contains("://") {
            return Ok(());
        }
        let key = format!("{server} {}", way.unwrap_or_default());
        if let Some(other) = all.get(&key) {
            return Err(other.clone());
        }
        all.insert(key, cluster.clone());
        Ok(())
    }

    /// The cluster leaves the fleet, or begins anew.
    pub(super) fn leave(&self, cluster: &ClusterName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, taken| taken != cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_one_clusters_until_that_leaves_it() {
        let (servers, one, two) = (Servers::default(), ClusterName::from("one"), ClusterName::from("two"));
        assert_eq!(servers.take("https://far:6443", None, &one), Ok(()));
        assert_eq!(servers.take("https://far:6443", None, &one), Ok(()), "its next session");
        assert_eq!(servers.take("https://far:6443", None, &two), Err(one.clone()));
        for (server, way) in [
            ("https://far:6443/k8s/c-1", None),
            ("https://far:6443 as two", None),
            ("https://far:6443", Some("http://proxy:3128")),
            ("the simulated API server", None),
        ] {
            assert_eq!(servers.take(server, way, &two), Ok(()), "it may be another one: {server} {way:?}");
        }
        assert_eq!(servers.take("https://other", None, &one), Ok(()));
        assert_eq!(servers.take("https://far:6443", None, &two), Ok(()), "it has left it");
        servers.leave(&two);
        assert_eq!(servers.take("https://far:6443", None, &one), Ok(()));
    }
}
