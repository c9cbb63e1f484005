//! Names that are taken: which objects are this resource's, and what to say of those that are not. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use kube::ResourceExt as _;

use crate::desired::{Child, ChildKind};
use crate::polkadot::{INSTANCE_LABEL, Polkadot};

use super::adopt;
use super::observe::{LiveChild, Observed};

/// Whether an object of one of our names is that of the resource with this `uid` and `name`: it says so, or it has no
/// controller and we made it for this resource. (Whoever drops the owner must not turn a node's own objects into a
/// stranger's.) A Secret that bears the resource's label is its own whoever made it: so a person puts lost keys back.
#[must_use]
pub fn is_of(
    kind: ChildKind,
    uid: &str,
    name: &str,
    owner: Option<&str>,
    labels: &BTreeMap<String, String>,
    managed: &[ManagedFieldsEntry],
) -> bool {
    let is_labelled = || labels.get(INSTANCE_LABEL).is_some_and(|of| of == name);
    let is_of_our_making =
        || is_labelled() && (kind == ChildKind::Secret || managed.iter().any(adopt::is_ours));
    owner.map_or_else(is_of_our_making, |owner| owner == uid)
}

fn is_live_of(polkadot: &Polkadot, live: &LiveChild) -> bool {
    let labels = serde_json::from_value(live.value["metadata"]["labels"].clone()).unwrap_or_default();
    let uid = polkadot.uid().unwrap_or_default();
    is_of(live.kind, &uid, &polkadot.name_any(), live.owner.as_deref(), &labels, &live.managed)
}

/// Names that something else of the namespace has already; one of them is enough to touch nothing.
pub(super) fn taken(polkadot: &Polkadot, observed: &Observed, children: &[Child]) -> Option<String> {
    let live = children.iter().filter_map(|child| observed.child(child.kind, &child.name));
    let mut others = live.filter(|live| !is_live_of(polkadot, live));
    if let Some(rival) = &observed.elder {
        return others.next().map(|live| {
            let whose = match live.owner {
                Some(_) => whose_live(live),
                None => {
                    format!("is taken over by the Polkadot {rival}, which is older and uses the same names")
                }
            };
            conflict(live.kind, &live.name, &whose)
        });
    }
    // What the old operator made and then lost is taken over.
    others
        .find(|live| live.owner.is_some() || !adopt::is_legacy(live))
        .map(|live| conflict(live.kind, &live.name, &whose_live(live)))
}

fn whose_live(live: &LiveChild) -> String {
    let metadata = &live.value["metadata"];
    let owners: Vec<OwnerReference> =
        serde_json::from_value(metadata["ownerReferences"].clone()).unwrap_or_default();
    let labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
    whose(&owners, &labels, &live.managed)
}

/// To whom an object belongs that is not ours, in words.
pub(super) fn whose(
    owners: &[OwnerReference],
    labels: &BTreeMap<String, String>,
    managed: &[ManagedFieldsEntry],
) -> String {
    if let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) {
        return format!("belongs to the {} {}", owner.kind, owner.name);
    }
    match labels.get(INSTANCE_LABEL).filter(|_| managed.iter().any(adopt::is_ours)) {
        Some(of) => format!(
            "was made for the Polkadot {of}, which has let go of it; make {of} again and its nodes are taken over as they \
             run"
        ),
        None => "does not belong to this resource".into(),
    }
}

/// What to say of an object that has the name of one of ours.
pub(super) fn conflict(kind: ChildKind, name: &str, whose: &str) -> String {
    let delete = match kind {
        // With keys or nodes in it: whoever needs it must not be told to.
        ChildKind::Secret | ChildKind::StatefulSet => "",
        ChildKind::Service | ChildKind::NetworkPolicy | ChildKind::DisruptionBudget => {
            ", or delete that object"
        }
    };
    format!(
        "the {} {name} exists and {whose}, so it is left as it is; {PREFIX}, or move one of the two to another \
         namespace{delete}",
        kind.api().1
    )
}

const PREFIX: &str = "make a new resource with a namePrefix instead of this one (it cannot be added later)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polkadot::FIELD_MANAGER;

    fn entry(manager: &str) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some("Apply".into()),
            ..ManagedFieldsEntry::default()
        }
    }

    #[test]
    fn an_object_that_lost_its_owner_is_still_ours_if_we_made_it_for_this_resource() {
        let of = |name: &str| BTreeMap::from([(INSTANCE_LABEL.to_owned(), name.to_owned())]);
        let (ours, theirs) = ([entry(FIELD_MANAGER)], [entry("somebody")]);
        assert!(is_of(ChildKind::Service, "uid", "one", Some("uid"), &BTreeMap::new(), &theirs));
        assert!(is_of(ChildKind::Service, "uid", "one", None, &of("one"), &ours));
        assert!(
            !is_of(ChildKind::Service, "uid", "one", Some("other"), &of("one"), &ours),
            "somebody else's"
        );
        assert!(!is_of(ChildKind::Service, "uid", "one", None, &of("other"), &ours), "made for another");
        assert!(!is_of(ChildKind::Service, "uid", "one", None, &of("one"), &theirs), "not made by us");
        assert!(is_of(ChildKind::Secret, "uid", "one", None, &of("one"), &theirs), "keys that were put back");
    }

    #[test]
    fn nobody_is_told_to_delete_keys_or_nodes_nor_to_add_a_prefix() {
        for kind in ChildKind::ALL {
            let words = conflict(kind, "name", "does not belong to this resource");
            let harmless = !matches!(kind, ChildKind::Secret | ChildKind::StatefulSet);
            assert_eq!(words.contains("delete"), harmless, "{words}");
            assert!(words.contains("make a new resource with a namePrefix"), "{words}");
        }
    }
}
