//! Defaults of pods and pod templates, and what admission adds to a new pod.

use serde_json::{Map, Value, json};

use super::super::{entries, fill, fill_text, items, text};

/// Defaults that a pod and a pod template have in common.
pub(super) fn spec(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "restartPolicy", "Always");
    fill_text(spec, "schedulerName", "default-scheduler");
    fill(spec, "securityContext", Map::new());
    fill(spec, "terminationGracePeriodSeconds", 30);
    // One field under two names, of which the second is the old one.
    let names = ["/serviceAccountName", "/serviceAccount"].map(|pointer| text(spec, pointer).to_owned());
    if let Some(account) = names.into_iter().find(|name| !name.is_empty()) {
        spec["serviceAccountName"] = json!(account);
        spec["serviceAccount"] = json!(account);
    }
    for list in ["initContainers", "containers"] {
        for each in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container(each);
        }
    }
    for each in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        volume(each);
    }
}

fn container(container: &mut Value) {
    let image = text(container, "/image");
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    fill_text(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    fill(container, "resources", Map::new());
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        fill_text(port, "protocol", "TCP");
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        field_reference(variable.pointer_mut("/valueFrom/fieldRef"));
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(key) else { continue };
        for (key, default) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            if probe[key] == 0 {
                probe[key] = Value::Null;
            }
            fill(probe, key, default);
        }
        handler(probe);
    }
    for key in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        if let Some(action) = container.pointer_mut(key) {
            handler(action);
        }
    }
}

fn handler(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet") {
        fill_text(get, "path", "/");
        fill_text(get, "scheme", "HTTP");
    }
    if let Some(call) = handler.get_mut("grpc") {
        fill(call, "service", "");
    }
}

fn field_reference(reference: Option<&mut Value>) {
    if let Some(reference) = reference {
        fill_text(reference, "apiVersion", "v1");
    }
}

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|fields| fields.keys().all(|key| key == "name")) {
        fill(volume, "emptyDir", Map::new());
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(kind) {
            fill(source, "defaultMode", 0o644);
            downward(source);
        }
    }
    if let Some(source) = volume.get_mut("hostPath") {
        fill(source, "type", "");
    }
    let sources = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            fill(token, "expirationSeconds", 3600);
        }
        if let Some(files) = source.get_mut("downwardAPI") {
            downward(files);
        }
    }
}

fn downward(source: &mut Value) {
    for file in source.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        field_reference(file.get_mut("fieldRef"));
    }
}

/// Defaults that only a pod has, and not the template it came from.
pub(super) fn alone(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else { return };
    fill(spec, "enableServiceLinks", true);
    let host = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let limits: Vec<_> = entries(container, "/resources/limits")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if !limits.is_empty() {
                fill(&mut container["resources"], "requests", Map::new());
            }
            for (key, value) in limits {
                fill(&mut container["resources"]["requests"], &key, value);
            }
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if host {
                    let number = port["containerPort"].clone();
                    fill(port, "hostPort", number);
                }
            }
        }
    }
}

/// What a pod's status says even where nobody said it.
pub(super) fn status(pod: &mut Value) {
    let Some(status) = pod.get_mut("status") else { return };
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        for key in ["lastProbeTime", "lastTransitionTime"] {
            fill(condition, key, Value::Null);
        }
    }
    for list in ["initContainerStatuses", "containerStatuses"] {
        for container in status.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for key in ["state", "lastState"] {
                fill(container, key, Map::new());
            }
            for key in ["image", "imageID"] {
                fill(container, key, "");
            }
            fill(container, "ready", false);
            fill(container, "restartCount", 0);
        }
    }
}

/// What admission adds to a new pod.
pub(super) fn admit(pod: &mut Value, suffix: &str) {
    let Some(spec) = pod.get_mut("spec") else { return };
    fill_text(spec, "serviceAccountName", "default");
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    fill(spec, "priority", 0);
    fill_text(spec, "preemptionPolicy", "PreemptLowerPriority");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let (its, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (its.is_empty() || its == key) && (effect.is_empty() || effect == "NoExecute")
        };
        if !items(spec, "/tolerations").iter().any(covers) {
            let toleration =
                json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 });
            super::add(spec, "tolerations", &toleration);
        }
    }
    if spec["automountServiceAccountToken"] != false {
        mount_token(spec, suffix);
    }
}

fn mount_token(spec: &mut Value, suffix: &str) {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let name = format!("kube-api-access-{suffix}");
    let mount = json!({ "name": name, "readOnly": true, "mountPath": PATH });
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if !items(container, "/volumeMounts").iter().any(|mount| mount["mountPath"] == PATH) {
                super::add(container, "volumeMounts", &mount);
                mounted = true;
            }
        }
    }
    if mounted {
        let volume = json!({ "name": name, "projected": { "defaultMode": 420, "sources": [
            { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [
                { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } },
            ] } },
        ] } });
        super::add(spec, "volumes", &volume);
    }
}
