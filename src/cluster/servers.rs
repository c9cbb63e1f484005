//! Which workers have come to one API server: one cluster under two names would have two workers with one Lease between them,
//! and count twice in every budget. One address alone says little: behind it there may be many clusters, told apart by who
//! asks. So the Lease of the cluster is compared where two share an address: this is I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

use crate::fleet::ClusterName;
use crate::leader::MEMBER_LEASE;

use super::Clients;

/// Whoever came to the address before may still be making the Lease: it is looked for so often…
const LOOKS: u32 = 15;
/// …with such pauses.
const PAUSE: Duration = Duration::from_secs(1);
/// What reading it may take.
const BOUND: Duration = Duration::from_secs(5);

/// The addresses that workers have come to; clones share them.
#[derive(Clone, Default)]
pub(super) struct Servers(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    /// By cluster: the address with the way there, and who came before whom.
    all: BTreeMap<ClusterName, (String, u64)>,
    last: u64,
}

impl Servers {
    /// Notes that a cluster has come to a server, by its address and the way there; who came to it before. What is no
    /// address says nothing of where it leads.
    pub(super) fn come(&self, server: &str, way: Option<&str>, cluster: &ClusterName) -> Vec<ClusterName> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !server.contains("://") {
            taken.all.remove(cluster);
            return vec![];
        }
        let key = format!("{server} {}", way.unwrap_or_default());
        let next = taken.last + 1;
        let known = taken.all.get(cluster).filter(|(known, _)| *known == key).map(|(_, number)| *number);
        let number = known.unwrap_or(next);
        taken.last = taken.last.max(number);
        let before = taken
            .all
            .iter()
            .filter(|(name, (other, earlier))| *name != cluster && *other == key && *earlier < number);
        let before = before.map(|(name, _)| name.clone()).collect();
        taken.all.insert(cluster.clone(), (key, number));
        before
    }

    /// The cluster leaves the fleet, or is another one's.
    pub(super) fn leave(&self, cluster: &ClusterName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all.remove(cluster);
    }
}

/// Whether the cluster that is asked here is that other one of the fleet, by the identity of the Lease in it. Where that cannot
/// be told, it is not.
pub(super) async fn is_same(here: &Client, clients: &Clients, other: &ClusterName, namespace: &str) -> bool {
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let Some(there) = clients.get(other).map(|lent| lent.unfenced.clone()) else { continue };
        // In this order: what is there already would be here as well, if it is one cluster.
        let there = lease(&there, namespace).await;
        if there.is_some() {
            return lease(here, namespace).await == there;
        }
    }
    false
}

async fn lease(client: &Client, namespace: &str) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let asked = tokio::time::timeout(BOUND, leases.get_opt(MEMBER_LEASE)).await;
    asked.ok()?.ok()??.metadata.uid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_to_an_address_is_told_who_came_before_and_stays_behind_them() {
        let (servers, one, two) = (Servers::default(), ClusterName::from("one"), ClusterName::from("two"));
        let first = vec![one.clone()];
        let nobody = Vec::<ClusterName>::new();
        assert_eq!(servers.come("https://far:6443", None, &one), nobody);
        assert_eq!(servers.come("https://far:6443", None, &two), first);
        assert_eq!(servers.come("https://far:6443", None, &one), nobody, "its next session");
        assert_eq!(servers.come("https://far:6443", None, &two), first);
        for (server, way) in [
            ("https://far:6443/k8s/c-1", None),
            ("https://far:6443 as two", None),
            ("https://far:6443", Some("http://proxy:3128")),
            ("the simulated API server", None),
        ] {
            assert_eq!(servers.come(server, way, &two), nobody, "it is another one: {server} {way:?}");
        }
        assert_eq!(servers.come("https://other", None, &one), nobody);
        assert_eq!(servers.come("https://far:6443", None, &two), nobody, "it has left it");
        servers.leave(&two);
        assert_eq!(servers.come("https://far:6443", None, &one), nobody);
    }
}
