//! What the API server adds to an object of a kind of Kubernetes before it looks at it: defaults, and what the
//! admission plugins that are always on do.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{entries, fill, fill_text, items, object, text};
use crate::sandbox::structural::crd;

mod pod;

/// Sets every default of a new or changed object.
pub fn default(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        (_, "StatefulSet") => stateful_set(object),
        (_, "Pod") => {
            pod::spec(object.get_mut("spec"));
            pod::alone(object);
            pod::status(object);
        }
        (_, "Service") => service(object),
        (_, "NetworkPolicy") => network_policy(object),
        (_, "Secret") => secret(object),
        (_, "PersistentVolumeClaim") => claim(object),
        (_, "PodDisruptionBudget") => budget(object),
        (_, "Lease") => fill(object, "spec", Map::new()),
        (_, "ControllerRevision") => fill(object, "revision", 0),
        (_, "Namespace") => namespace(object),
        (_, "Node") => node(object),
        ("events.k8s.io", "Event") => {
            for key in ["eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"] {
                fill(object, key, Value::Null);
            }
            fill(object, "deprecatedSource", Map::new());
            fill(object, "regarding", Map::new());
        }
        (_, "Event") => {
            for key in ["eventTime", "firstTimestamp", "lastTimestamp"] {
                fill(object, key, Value::Null);
            }
            for key in ["source", "involvedObject"] {
                fill(object, key, Map::new());
            }
            for key in ["reportingComponent", "reportingInstance"] {
                fill(object, key, "");
            }
        }
        (_, "CustomResourceDefinition") => crd::crd_defaults(object),
        _ => {}
    }
}

/// What admission adds to a new object; `suffix` makes the name of a pod's token volume its own.
pub fn admit(kind: &str, object: &mut Value, suffix: &str) {
    match kind {
        "Pod" => pod::admit(object, suffix),
        "PersistentVolumeClaim" => {
            let class = "/spec/storageClassName";
            if object.pointer(class).is_none() {
                object["spec"]["storageClassName"] = json!(DEFAULT_STORAGE_CLASS);
            }
            add(&mut object["metadata"], "finalizers", &json!("kubernetes.io/pvc-protection"));
        }
        "Node" => {
            let taint = json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" });
            fill(object, "spec", Map::new());
            add(&mut object["spec"], "taints", &taint);
        }
        _ => {}
    }
}

/// The storage class of a claim that names none.
pub const DEFAULT_STORAGE_CLASS: &str = "standard";

/// Adds `item` to the list under `key`, unless it is in it.
pub(super) fn add(value: &mut Value, key: &str, item: &Value) {
    fill(value, key, Vec::<Value>::new());
    if let Some(list) = value[key].as_array_mut().filter(|list| !list.contains(item)) {
        list.push(item.clone());
    }
}

fn stateful_set(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    fill(spec, "replicas", 1);
    fill(spec, "serviceName", "");
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "updateStrategy", Map::new());
    let strategy = &mut spec["updateStrategy"];
    fill_text(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", Map::new());
        fill(&mut strategy["rollingUpdate"], "partition", 0);
    }
    fill(spec, "persistentVolumeClaimRetentionPolicy", Map::new());
    for key in ["whenDeleted", "whenScaled"] {
        fill_text(&mut spec["persistentVolumeClaimRetentionPolicy"], key, "Retain");
    }
    fill(spec, "template", Map::new());
    fill(&mut spec["template"], "metadata", Map::new());
    fill(&mut spec["template"], "spec", json!({ "containers": null }));
    pod::spec(spec["template"].get_mut("spec"));
    for template in spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
        fill(template, "apiVersion", "v1");
        fill(template, "kind", "PersistentVolumeClaim");
        fill(template, "metadata", Map::new());
        claim(template);
    }
    fill(object, "status", Map::new());
    for key in ["replicas", "availableReplicas"] {
        fill(&mut object["status"], key, 0);
    }
}

fn service(object: &mut Value) {
    fill(object, "spec", Map::new());
    let spec = &mut object["spec"];
    fill_text(spec, "sessionAffinity", "None");
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") => {
            fill(spec, "sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": 10800 } }));
        }
        Some("None") => _ = spec.as_object_mut().and_then(|spec| spec.remove("sessionAffinityConfig")),
        _ => {}
    }
    fill_text(spec, "type", "ClusterIP");
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        fill_text(port, "protocol", "TCP");
        let target = port.get("targetPort");
        if target.is_none_or(|target| target == &json!(0) || target == &json!("")) {
            port["targetPort"] = port["port"].clone();
        }
    }
    let type_ = text(spec, "/type").to_owned();
    let balanced = type_ == "LoadBalancer";
    if balanced || type_ == "NodePort" || !items(spec, "/externalIPs").is_empty() {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if balanced || type_ == "NodePort" || type_ == "ClusterIP" {
        fill_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if balanced {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    fill(object, "status", Map::new());
    fill(&mut object["status"], "loadBalancer", Map::new());
}

fn network_policy(object: &mut Value) {
    fill(object, "spec", Map::new());
    let spec = &mut object["spec"];
    fill(spec, "podSelector", Map::new());
    for rules in ["ingress", "egress"] {
        for rule in spec.get_mut(rules).and_then(Value::as_array_mut).into_iter().flatten() {
            for port in rule.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                fill_text(port, "protocol", "TCP");
            }
        }
    }
    let both = !items(spec, "/egress").is_empty();
    fill(spec, "policyTypes", if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
}

fn secret(secret: &mut Value) {
    fill_text(secret, "type", "Opaque");
    let plain: Vec<_> = entries(secret, "/stringData")
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default()))
        .collect();
    let encoded: Vec<_> =
        plain.into_iter().map(|(key, value)| (key, json!(STANDARD.encode(value)))).collect();
    if let Some(fields) = secret.as_object_mut() {
        fields.remove("stringData");
    }
    if !encoded.is_empty()
        && let Some(data) = object(secret, "data")
    {
        data.extend(encoded);
    }
}

fn claim(claim: &mut Value) {
    fill(claim, "spec", Map::new());
    fill(&mut claim["spec"], "resources", Map::new());
    fill_text(&mut claim["spec"], "volumeMode", "Filesystem");
    fill(claim, "status", Map::new());
    fill_text(&mut claim["status"], "phase", "Pending");
}

fn budget(object: &mut Value) {
    fill(object, "spec", Map::new());
    fill(object, "status", Map::new());
    for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        fill(&mut object["status"], key, 0);
    }
}

fn namespace(object: &mut Value) {
    fill(object, "spec", Map::new());
    fill(object, "status", Map::new());
    let name = text(object, "/metadata/name").to_owned();
    if !name.is_empty() {
        fill(&mut object["metadata"], "labels", Map::new());
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
    }
}

fn node(object: &mut Value) {
    fill(object, "spec", Map::new());
    fill(object, "status", Map::new());
    let spec = &mut object["spec"];
    if let Some(range) = spec.get("podCIDR").cloned() {
        fill(spec, "podCIDRs", json!([range]));
    }
    let status = &mut object["status"];
    if let Some(capacity) = status.get("capacity").cloned() {
        fill(status, "allocatable", capacity);
    }
    fill(status, "daemonEndpoints", Map::new());
    fill(&mut status["daemonEndpoints"], "kubeletEndpoint", json!({ "Port": 0 }));
    fill(status, "nodeInfo", Map::new());
    for key in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        fill(&mut status["nodeInfo"], key, "");
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        for key in ["lastHeartbeatTime", "lastTransitionTime"] {
            fill(condition, key, Value::Null);
        }
    }
}
