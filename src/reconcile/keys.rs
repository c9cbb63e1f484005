//! Which node keys a resource needs and which of them have to be made. Pure: the randomness is the caller's.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt as _;

use crate::desired::{self, Keys};
use crate::polkadot::{INSTANCE_LABEL, Names, Polkadot, Role};

use super::observe::Observed;

/// The keys that are there or given, and the nodes that still need one.
pub(super) struct Wanted {
    /// Keys from the resource, else from its Secrets.
    pub(super) keys: Keys,
    /// Nodes without a key.
    pub(super) missing: Vec<(Role, i32)>,
}

/// The roles whose first key has to be read from the Secret that the resource names: it was not copied yet.
pub(super) fn to_be_copied<'a>(
    polkadot: &'a Polkadot,
    observed: &'a Observed,
) -> impl Iterator<Item = Role> + 'a {
    Role::ALL.into_iter().filter(|role| polkadot.replicas(*role) > 0).filter(|role| {
        let copied = observed.key_sources.get(role).filter(|_| observed.keys.contains_key(&(*role, 0)));
        polkadot.key_source(*role).is_some_and(|source| copied != Some(&source))
    })
}

/// The Secrets that hold the keys of the nodes that are wanted.
pub(super) fn secrets(polkadot: &Polkadot) -> impl Iterator<Item = String> {
    let names = Names::of(polkadot);
    Role::ALL.into_iter().filter(|role| polkadot.replicas(*role) > 0).map(move |role| names.secret(role))
}

/// The keys of every node of the resource; `given` are those that were just read from Secrets that it names.
///
/// A key of a node that exists is never made anew: another key is another node to its peers, and a validator's must
/// not change. So a Secret that lost an entry is an error, in words.
pub(super) fn wanted(
    polkadot: &Polkadot,
    observed: &Observed,
    stored: &Keys,
    given: &Keys,
) -> Result<Wanted, String> {
    let names = Names::of(polkadot);
    let mut wanted = Wanted { keys: Keys::new(), missing: vec![] };
    let mut lost: BTreeMap<Role, Vec<String>> = BTreeMap::new();
    for role in Role::ALL {
        let existing =
            existing_replicas(observed.stateful_sets.get(&names.stateful_set(role)).map(AsRef::as_ref));
        // A StatefulSet that is just being made again around its pods is not there, and they are.
        let pods = observed.pods.iter().filter_map(|pod| names.ordinal(role, &pod.name_any()));
        let existing = existing.max(pods.max().map_or(0, |highest| highest.saturating_add(1)));
        for ordinal in 0..polkadot.replicas(role) {
            let read = || given.get(&(role, ordinal)).or_else(|| stored.get(&(role, ordinal))).cloned();
            let known = desired::given_key(polkadot, role, ordinal).or_else(read);
            match known {
                Some(key) => drop(wanted.keys.insert((role, ordinal), key)),
                None if ordinal < existing => lost.entry(role).or_default().push(names.pod(role, ordinal)),
                None => wanted.missing.push((role, ordinal)),
            }
        }
    }
    let words: Vec<String> = lost.iter().map(|(role, pods)| gone(polkadot, *role, pods)).collect();
    if words.is_empty() { Ok(wanted) } else { Err(words.join("; ")) }
}

/// What to say of keys that must be there, and how to do without them.
fn gone(polkadot: &Polkadot, role: Role, pods: &[String]) -> String {
    let secret = Names::of(polkadot).secret(role);
    let entries: Vec<String> = pods.iter().map(|pod| format!("entry {pod}")).collect();
    format!(
        "the node key of {} is gone from the Secret {secret}: put it back there, as {} with its 64 hex digits (a Secret that \
         you make anew needs the label {INSTANCE_LABEL}: {}). If it is lost, 64 new ones do (openssl rand -hex 32), and the \
         node is another one to its peers, of which those that know it by name restart",
        pods.join(", "),
        entries.join(" and "),
        polkadot.name_any()
    )
}

/// The keys of one role, with those of replicas that were scaled away: a replica that returns is the same node.
#[must_use]
pub(super) fn of_role(role: Role, wanted: &Keys, observed: &Keys) -> BTreeMap<i32, crate::identity::NodeKey> {
    let both = observed.iter().chain(wanted);
    both.filter(|((of, _), _)| *of == role).map(|((_, ordinal), key)| (*ordinal, key.clone())).collect()
}

fn existing_replicas(set: Option<&StatefulSet>) -> i32 {
    set.and_then(|set| set.spec.as_ref()).and_then(|spec| spec.replicas).unwrap_or(0)
}
