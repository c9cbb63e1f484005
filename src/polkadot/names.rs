//! What the objects of a resource are called: the old operator's names, with the resource's prefix before them.

use super::{Polkadot, Role};

/// The names of one resource's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Empty, or the prefix with a hyphen.
    prefix: String,
}

impl Names {
    /// The names that `polkadot` gives its objects.
    #[must_use]
    pub fn of(polkadot: &Polkadot) -> Self {
        let prefix = polkadot.spec.name_prefix.as_ref();
        Self { prefix: prefix.map(|prefix| format!("{prefix}-")).unwrap_or_default() }
    }

    /// A role's StatefulSet.
    #[must_use]
    pub fn stateful_set(&self, role: Role) -> String {
        format!("{}{role}-sset", self.prefix)
    }

    /// A pod of a role.
    #[must_use]
    pub fn pod(&self, role: Role, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.stateful_set(role))
    }

    /// The ordinal of a pod of a role by its name.
    #[must_use]
    pub fn ordinal(&self, role: Role, pod: &str) -> Option<i32> {
        pod.strip_prefix(&self.stateful_set(role))?.strip_prefix('-')?.parse().ok()
    }

    /// The Secret that holds a role's node keys, one entry per pod name.
    #[must_use]
    pub fn secret(&self, role: Role) -> String {
        format!("{}{role}-node-keys", self.prefix)
    }

    /// The headless Service, which gives pods their names; the old operator named it in its StatefulSets and never
    /// made it.
    #[must_use]
    pub fn headless_service(&self) -> String {
        format!("{}polkadot", self.prefix)
    }

    /// A role's Service.
    #[must_use]
    pub fn service(&self, role: Role) -> String {
        format!("{}{role}-service", self.prefix)
    }

    /// The Service of one node's peer-to-peer port.
    #[must_use]
    pub fn p2p_service(&self, role: Role, ordinal: i32) -> String {
        format!("{}{role}-p2p-{ordinal}", self.prefix)
    }

    /// Whether a Service has the name of one node's.
    #[must_use]
    pub fn is_p2p_service(&self, role: Role, name: &str) -> bool {
        let ordinal = name.strip_prefix(&self.prefix).and_then(|name| name.strip_prefix(role.as_str()));
        let ordinal = ordinal.and_then(|name| name.strip_prefix("-p2p-"));
        ordinal.is_some_and(|ordinal| ordinal.parse::<u16>().is_ok())
    }

    /// The wall around the validator.
    #[must_use]
    pub fn network_policy(&self) -> String {
        format!("{}validator-networkpolicy", self.prefix)
    }

    /// A pod that tries a version; `which` tells one trial from another.
    #[must_use]
    pub fn prepull(&self, which: &str) -> String {
        format!("{}polkadot-prepull-{which}", self.prefix)
    }

    /// A role's `PodDisruptionBudget`.
    #[must_use]
    pub fn disruption_budget(&self, role: Role) -> String {
        format!("{}{role}-budget", self.prefix)
    }
}
