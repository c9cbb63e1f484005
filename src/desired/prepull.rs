//! The short-lived pod that tries a version on a machine before a node restarts there: it asks the client for its version
//! and ends. Pure.
//!
//! It is made from the template that the node will have, so that image, pull secrets and security are the same: what
//! admits and starts the one does so for the other. It has no volume, no key and no network of interest, and none of the
//! labels by which Services, the NetworkPolicy, budgets and StatefulSets select pods.

use kube::ResourceExt as _;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::polkadot::{GROUP, INSTANCE_LABEL, Names, PREPULL_APP, Polkadot, ResourceId};

use super::Template;

/// Longer than any pull of the client's image should take.
const DEADLINE_SECONDS: i64 = 600;

/// The pod that tries the version of `template` on `machine`, for the attempt of an upgrade.
///
/// Its name tells one trial from another: another attempt, machine, image or pull secret is another pod.
///
/// That the client exits with 0 is enough. What it prints is not read: the image need have no shell to write it where the
/// kubelet would take it from, and that the pods run the version is checked once they do.
#[must_use]
pub fn pod(polkadot: &Polkadot, template: &Template, machine: &str, attempt: u32) -> (String, Value) {
    let (id, uid) = (ResourceId::of(polkadot), polkadot.uid().unwrap_or_default());
    let spec = spec(&template.body["spec"], machine);
    let digest = sha2::Sha256::digest(format!("{uid} {attempt} {spec}"));
    let name = Names::of(polkadot).prepull(&hex::encode(&digest[..5]));
    let body = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": id.namespace,
            "labels": {
                "app": PREPULL_APP, INSTANCE_LABEL: id.name, "app.kubernetes.io/managed-by": "polkafleet",
            },
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/v1alpha1"),
                "kind": "Polkadot",
                "name": id.name,
                "uid": uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    });
    (name, body)
}

fn spec(node: &Value, machine: &str) -> Value {
    let client = &node["containers"][0];
    let mut container = json!({
        "name": "version",
        "args": ["--version"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        // Of a client that fails, the last words are the reason.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    copy(client, &mut container, &["image", "imagePullPolicy", "command", "securityContext"]);
    let mut spec = json!({
        "nodeName": machine,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    });
    let same = [
        "automountServiceAccountToken",
        "enableServiceLinks",
        "imagePullSecrets",
        "securityContext",
        "serviceAccountName",
        "tolerations",
    ];
    copy(node, &mut spec, &same);
    spec
}

fn copy(from: &Value, to: &mut Value, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.get(key) {
            to[*key] = value.clone();
        }
    }
}
