//! A resource of a real cluster, as it plays in a rehearsal: without keys, without anything that points at a Secret, and
//! without what only its own cluster would know. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use kube::api::{DynamicObject, ObjectMeta};

use super::cast::Part;
use crate::fleet::ClusterName;
use crate::polkadot::record::STEP_ANNOTATION;
use crate::polkadot::{self, Node, Polkadot, Role, Step, record};

/// What was left out, in words, and how often.
pub(super) type LeftOut = BTreeMap<&'static str, usize>;

/// An argument with such a word in it may hold something that is nobody's business.
const SECRET_WORDS: [&str; 7] = ["key", "seed", "suri", "password", "secret", "token", "mnemonic"];

/// The resource as it plays; or why it cannot, in words.
pub(super) fn copied(
    cluster: &ClusterName,
    object: DynamicObject,
    left: &mut LeftOut,
) -> Result<Part, String> {
    let read = polkadot::read(object);
    let place = format!("{}/{}", read.namespace().unwrap_or_default(), read.name_any());
    if let Some(why) = read.spec.unreadable {
        return Err(format!("{place} of cluster {cluster} cannot be read: {why}"));
    }
    let (metadata, mut spec) = (read.metadata, read.spec);
    let hold = spec.hold.take();
    let mut leave = |what, was_there: bool| {
        if was_there {
            *left.entry(what).or_default() += 1;
        }
    };
    leave("status", read.status.is_some());
    leave("imagePullSecrets", !std::mem::take(&mut spec.image_pull_secrets).is_empty());
    if let Some(sentry) = &mut spec.sentry {
        leave("reservedValidatorID", sentry.reserved_validator_id.take().is_some());
        strip(&mut sentry.node, &mut leave);
    }
    if let Some(validator) = &mut spec.validator {
        leave("reservedSentryID", validator.reserved_sentry_id.take().is_some());
        strip(&mut validator.node, &mut leave);
    }
    let annotations = metadata.annotations.unwrap_or_default();
    let step = record::read::<Step>(&annotations, STEP_ANNOTATION);
    leave("annotations", annotations.keys().any(|key| key != STEP_ANNOTATION));
    let kept = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: step.and_then(of_step),
        ..ObjectMeta::default()
    };
    let resource = Polkadot { metadata: kept, spec, status: None };
    Ok(Part { cluster: cluster.clone(), resource, hold })
}

/// A step, without the height of the real chain, which the simulated one does not have.
fn of_step(step: Step) -> Option<BTreeMap<String, String>> {
    let text = serde_json::to_string(&Step { finalized: None, ..step }).ok()?;
    Some([(STEP_ANNOTATION.to_owned(), text)].into())
}

fn strip(node: &mut Node, leave: &mut impl FnMut(&'static str, bool)) {
    leave("nodeKey", node.node_key.take().is_some());
    leave("nodeKeySecretRef", node.node_key_secret_ref.take().is_some());
    leave("podAnnotations", !std::mem::take(&mut node.pod_annotations).is_empty());
    for service in [&mut node.service, &mut node.p2p_services].into_iter().flatten() {
        leave("annotations of Services", !std::mem::take(&mut service.annotations).is_empty());
    }
    if let Some(claim) = &mut node.data_persistence_support.persistent_volume_claim {
        leave("annotations of claims", !std::mem::take(&mut claim.metadata.annotations).is_empty());
    }
    let arguments = node.extra_args.len();
    node.extra_args.retain(|argument| {
        let argument = argument.to_lowercase();
        !SECRET_WORDS.iter().any(|word| argument.contains(word))
    });
    leave("extraArgs that may hold a secret", node.extra_args.len() < arguments);
}

/// The chains that resources are on.
pub(super) fn chains(parts: &[Part]) -> BTreeSet<&str> {
    parts.iter().map(|part| part.resource.spec.chain.as_deref().unwrap_or("polkadot")).collect()
}

/// Whether some role of it runs a node.
pub(super) fn runs_something(resource: &Polkadot) -> bool {
    Role::ALL.into_iter().any(|role| resource.replicas(role) > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_key_and_no_way_to_one_is_copied_and_what_was_left_out_is_named() {
        let key = "ab".repeat(32);
        let step = json!({"upgrade": "u", "target": "stable2503-7", "attempt": 1, "finalized": 9,
            "at": "2026-01-01T00:00:00Z"});
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
            "metadata": {
                "name": "one", "namespace": "n", "uid": "u", "labels": {"chain": "kusama"},
                "annotations": {STEP_ANNOTATION: step.to_string(), "note": "SECRET-note"},
            },
            "spec": {
                "kind": "SentryAndValidator", "clientVersion": "stable2503-7", "chain": "kusama", "hold": "a while",
                "imagePullSecrets": [{"name": "SECRET-pull"}],
                "sentry": {"replicas": 3, "nodeKeySecretRef": {"name": "SECRET-ref"}, "podAnnotations": {"a": "SECRET-pod"},
                    "reservedValidatorID": "QmSECRET", "extraArgs": ["--db-cache=9", "--suri=SECRET-suri"]},
                "validator": {"nodeKey": key},
            },
            "status": {"version": "SECRET-status"},
        }))
        .unwrap();
        let mut left = LeftOut::default();
        let part = copied(&ClusterName::from("c"), object, &mut left).unwrap();
        let text = serde_json::to_string(&part.resource).unwrap();
        assert!(!text.contains("SECRET") && !text.contains(&key), "{text}");
        assert_eq!(part.resource.replicas(Role::Sentry), 3);
        assert_eq!(part.resource.spec.chain.as_deref(), Some("kusama"));
        assert_eq!(part.hold.as_deref(), Some("a while"));
        let node = part.resource.node(Role::Sentry).unwrap();
        assert_eq!(node.extra_args, ["--db-cache=9"]);
        let step: Step = record::read(part.resource.annotations(), STEP_ANNOTATION).unwrap();
        assert_eq!((step.finalized, step.attempt), (None, 1));
        for what in
            ["nodeKey", "nodeKeySecretRef", "imagePullSecrets", "annotations", "status", "podAnnotations"]
        {
            assert!(left.contains_key(what), "{what} in {left:?}");
        }
    }
}
