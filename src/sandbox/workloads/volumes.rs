//! Volumes: a claim is bound at once to a volume of its own, unless its storage class does not exist; it grows when it
//! is asked to.

use serde_json::{Value, json};

use crate::sandbox::api::text;

/// The status and volume of a claim that is to be bound or to grow; `None`: it is as it should be.
#[must_use]
pub fn bound(claim: &Value, class_exists: bool) -> Option<Value> {
    let wanted = &claim["spec"]["resources"]["requests"]["storage"];
    let has = &claim["status"]["capacity"]["storage"];
    if !class_exists || (claim["status"]["phase"] == "Bound" && has == wanted) {
        return None;
    }
    let mut bound = claim.clone();
    let volume = format!("pvc-{}", text(claim, &["metadata", "uid"]));
    bound["spec"]["volumeName"] = json!(volume);
    bound["status"] = json!({
        "phase": "Bound", "accessModes": claim["spec"]["accessModes"], "capacity": {"storage": wanted},
    });
    for (key, value) in
        [("pv.kubernetes.io/bind-completed", "yes"), ("pv.kubernetes.io/bound-by-controller", "yes")]
    {
        bound["metadata"]["annotations"][key] = json!(value);
    }
    Some(bound)
}

/// The claims that a pod mounts, by the names of its volumes.
#[must_use]
pub fn claims_of(pod: &Value) -> Vec<(&str, &str)> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| {
            let claim = volume["persistentVolumeClaim"]["claimName"].as_str()?;
            Some((text(volume, &["name"]), claim))
        })
        .collect()
}
