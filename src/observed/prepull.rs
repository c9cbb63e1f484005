//! A version that is tried on a machine before a node restarts there: where it has to be, and how it fared.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{NodeView, ResourceView, RoleView};

/// How a version fared on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tried {
    /// It is being tried, or about to be.
    #[default]
    Pending,
    /// Its image is there, and it runs.
    Succeeded,
    /// It does not, and waiting will not help; in words that name image and machine.
    Failed(String),
    /// It could not be tried, by no fault of the version; in words.
    Unable(String),
}

/// The machines on which `version` has to be tried: those with a pod that is to restart for it, but where no node of the
/// resource runs it already.
#[must_use]
pub fn machines<'a>(roles: &'a [RoleView], version: &str) -> BTreeSet<&'a str> {
    let runs = |node: &NodeView| node.version.as_deref() == Some(version);
    let of = |node: &'a NodeView| node.machine.as_deref();
    let proven: BTreeSet<_> = roles
        .iter()
        .flat_map(|role| &role.nodes)
        .filter(|node| runs(node) && node.ready_since.is_some())
        .filter_map(of)
        .collect();
    let restarts = roles.iter().flat_map(RoleView::outdated).filter(|node| !runs(node)).filter_map(of);
    restarts.filter(|machine| !proven.contains(machine)).collect()
}

impl ResourceView {
    /// The machines on which the version of the step has to be tried, and how it fared there.
    pub fn trials(&self) -> impl Iterator<Item = (&str, &Tried)> {
        let step = self.step.as_ref().filter(|step| step.prepull);
        let version = step
            .map(|step| step.target.as_str())
            .filter(|target| self.client_version.as_deref() == Some(target));
        let machines = version.map(|version| machines(&self.roles, version)).unwrap_or_default();
        machines.into_iter().map(|machine| (machine, self.prepulls.get(machine).unwrap_or(&Tried::Pending)))
    }
}
