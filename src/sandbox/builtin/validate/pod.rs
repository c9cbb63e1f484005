//! Pods and pod templates: containers, volumes, probes, amounts.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::{metadata, names, non_negative, one_of, port};
use crate::sandbox::{
    builtin::{entries, items, number, quantity::Quantity, text},
    cause::Cause,
};

/// The mistakes in the pod's spec that stands at `path`; `extra` are volumes that will be there besides its own.
pub(super) fn spec(spec: &Value, path: &str, extra: &[&str], causes: &mut Vec<Cause>) {
    let mut volumes: BTreeSet<&str> = extra.iter().copied().collect();
    for (index, volume) in items(spec, "/volumes").iter().enumerate() {
        let before = causes.len();
        check_volume(volume, &format!("{path}.volumes[{index}]"), &volumes, extra, causes);
        if causes.len() == before {
            volumes.insert(text(volume, "/name"));
        }
    }
    containers(spec, path, &volumes, causes);
    one_of(spec, "restartPolicy", path, &["Always", "OnFailure", "Never"], causes);
    one_of(spec, "dnsPolicy", path, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], causes);
    metadata::labels(spec, "/nodeSelector", &format!("{path}.nodeSelector"), causes);
    let account = text(spec, "/serviceAccountName");
    if !account.is_empty() {
        for words in names::subdomain(account) {
            causes.push(Cause::invalid(format!("{path}.serviceAccountName"), &json!(account), words));
        }
    }
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        let at = format!("/securityContext/{key}");
        if spec.pointer(&at).is_some() && !(0..=i64::from(i32::MAX)).contains(&number(spec, &at)) {
            let detail = "must be between 0 and 2147483647, inclusive";
            causes.push(Cause::invalid(
                format!("{path}.securityContext.{key}"),
                &spec["securityContext"][key],
                detail,
            ));
        }
    }
    for (index, toleration) in items(spec, "/tolerations").iter().enumerate() {
        let at = format!("{path}.tolerations[{index}]");
        if !text(toleration, "/operator").is_empty() {
            one_of(toleration, "operator", &at, &["Equal", "Exists"], causes);
        }
    }
}

fn containers(spec: &Value, path: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let host = spec["hostNetwork"] == true;
    let all = items(spec, "/containers");
    if all.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for (index, container) in all.iter().enumerate() {
        let at = format!("{path}.containers[{index}]");
        check_container(container, &at, volumes, causes);
        if !seen.insert(text(container, "/name")) {
            causes.push(Cause::duplicate(format!("{at}.name"), &container["name"]));
        }
        probes(container, &at, causes);
    }
    for (index, container) in items(spec, "/initContainers").iter().enumerate() {
        let at = format!("{path}.initContainers[{index}]");
        check_container(container, &at, volumes, causes);
        let name = text(container, "/name");
        if !seen.insert(name) && !name.is_empty() {
            causes.push(Cause::duplicate(format!("{at}.name"), &container["name"]));
        }
        let sidecar = container["restartPolicy"] == "Always";
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.get(key).is_some() && !sidecar {
                let detail = "may not be set for init containers without restartPolicy=Always";
                causes.push(Cause::forbidden(format!("{at}.{key}"), detail));
            }
        }
    }
    for (index, container) in all.iter().enumerate().filter(|_| host) {
        for (inner, port) in items(container, "/ports").iter().enumerate() {
            let host = number(port, "/hostPort");
            if host != 0 && host != number(port, "/containerPort") {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                let at = format!("{path}.containers[{index}].ports[{inner}].hostPort");
                causes.push(Cause::invalid(at, &json!(host), detail));
            }
        }
    }
}

fn check_container(container: &Value, path: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let name = text(container, "/name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{path}.name"), ""));
    } else {
        for words in names::label(name) {
            causes.push(Cause::invalid(format!("{path}.name"), &json!(name), words));
        }
    }
    if text(container, "/image").is_empty() {
        causes.push(Cause::required(format!("{path}.image"), ""));
    }
    one_of(container, "terminationMessagePolicy", path, &["File", "FallbackToLogsOnError"], causes);
    ports(container, path, causes);
    for (index, variable) in items(container, "/env").iter().enumerate() {
        check_variable(variable, &format!("{path}.env[{index}]"), causes);
    }
    let mut paths = BTreeSet::new();
    for (index, mount) in items(container, "/volumeMounts").iter().enumerate() {
        let at = format!("{path}.volumeMounts[{index}]");
        let name = text(mount, "/name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        }
        if !volumes.contains(name) {
            causes.push(Cause::not_found(format!("{at}.name"), &json!(name)));
        }
        let target = text(mount, "/mountPath");
        if target.is_empty() {
            causes.push(Cause::required(format!("{at}.mountPath"), ""));
        }
        if !paths.insert(target) {
            causes.push(Cause::invalid(format!("{at}.mountPath"), &json!(target), "must be unique"));
        }
    }
    one_of(container, "imagePullPolicy", path, &["Always", "IfNotPresent", "Never"], causes);
    resources(container, path, causes);
}

fn ports(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (index, entry) in items(container, "/ports").iter().enumerate() {
        let at = format!("{path}.ports[{index}]");
        let name = text(entry, "/name");
        let wrong = if name.is_empty() { Vec::new() } else { names::port_name(name) };
        if wrong.is_empty() && !name.is_empty() && !seen.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &json!(name)));
        }
        causes
            .extend(wrong.into_iter().map(|words| Cause::invalid(format!("{at}.name"), &json!(name), words)));
        match number(entry, "/containerPort") {
            0 => causes.push(Cause::required(format!("{at}.containerPort"), "")),
            number => port(number, &format!("{at}.containerPort"), causes),
        }
        if number(entry, "/hostPort") != 0 {
            port(number(entry, "/hostPort"), &format!("{at}.hostPort"), causes);
        }
        one_of(entry, "protocol", &at, &["SCTP", "TCP", "UDP"], causes);
    }
}

fn check_variable(variable: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = text(variable, "/name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{path}.name"), ""));
    } else if !name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        let detail = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        causes.push(Cause::invalid(format!("{path}.name"), &json!(name), detail));
    }
    let Some(from) = variable.get("valueFrom").and_then(Value::as_object) else { return };
    let mut wrong =
        |detail: &str| causes.push(Cause::invalid(format!("{path}.valueFrom"), &json!(""), detail));
    if from.is_empty() {
        wrong(
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !text(variable, "/value").is_empty() {
        wrong("may not be specified when `value` is not empty");
    } else if from.len() > 1 {
        wrong("may not have more than one field specified at a time");
    }
}

fn check_volume(
    volume: &Value,
    path: &str,
    seen: &BTreeSet<&str>,
    replaced: &[&str],
    causes: &mut Vec<Cause>,
) {
    // In the order in which the server asks.
    const KINDS: [(&str, &str); 7] = [
        ("emptyDir", ""),
        ("hostPath", "path"),
        ("secret", "secretName"),
        ("persistentVolumeClaim", "claimName"),
        ("downwardAPI", ""),
        ("configMap", "name"),
        ("projected", ""),
    ];
    let mut first = true;
    for (kind, needed) in KINDS {
        let Some(source) = volume.get(kind) else { continue };
        if !first {
            let detail = "may not specify more than 1 volume type";
            causes.push(Cause::forbidden(format!("{path}.{kind}"), detail));
        } else if !needed.is_empty() && source[needed].as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(format!("{path}.{kind}.{needed}"), ""));
        }
        first = false;
    }
    let name = text(volume, "/name");
    let at = format!("{path}.name");
    if name.is_empty() {
        causes.push(Cause::required(&at, ""));
    } else {
        causes.extend(names::label(name).into_iter().map(|words| Cause::invalid(&at, &json!(name), words)));
    }
    if seen.contains(name) && !replaced.contains(&name) {
        causes.push(Cause::duplicate(&at, &json!(name)));
    }
}

fn probes(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(key) else { continue };
        let at = format!("{path}.{key}");
        handler(probe, &at, causes);
        for key in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            non_negative(probe, key, &at, causes);
        }
        if key != "readinessProbe" && number(probe, "/successThreshold") != 1 {
            let value = json!(number(probe, "/successThreshold"));
            causes.push(Cause::invalid(format!("{at}.successThreshold"), &value, "must be 1"));
        }
    }
}

fn handler(probe: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut first = true;
    for key in ["exec", "httpGet", "tcpSocket", "grpc"] {
        let Some(action) = probe.get(key) else { continue };
        let at = format!("{path}.{key}");
        if !first {
            causes.push(Cause::forbidden(&at, "may not specify more than 1 handler type"));
        } else if key == "exec" && items(action, "/command").is_empty() {
            causes.push(Cause::required(format!("{at}.command"), ""));
        } else if key != "exec" {
            super::port_or_name(action.get("port"), &format!("{at}.port"), causes);
        }
        first = false;
    }
    if first {
        causes.push(Cause::required(path, "must specify a handler type"));
    }
}

fn resources(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let amount = |value: &Value| value.as_str().and_then(Quantity::parse);
    for part in ["limits", "requests"] {
        for (name, value) in entries(container, &format!("/resources/{part}")) {
            let at = format!("{path}.resources.{part}[{name}]");
            if !name.contains('/') {
                let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
                if !standard && !["storage", "pods"].contains(&name.as_str()) {
                    let detail = "must be a standard resource type or fully qualified";
                    causes.push(Cause::invalid(&at, &json!(name), detail));
                }
                if !standard && !name.starts_with("hugepages-") {
                    causes.push(Cause::invalid(
                        &at,
                        &json!(name),
                        "must be a standard resource for containers",
                    ));
                }
            }
            let Some(quantity) = amount(value) else { continue };
            if quantity.is_negative() {
                let shown = json!(quantity.to_string());
                causes.push(Cause::invalid(&at, &shown, "must be greater than or equal to 0"));
            }
            let limit = container.pointer("/resources/limits").and_then(|limits| amount(limits.get(name)?));
            if let Some(limit) = limit.filter(|limit| part == "requests" && quantity > *limit) {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                let at = format!("{path}.resources.requests");
                causes.push(Cause::invalid(at, &json!(quantity.to_string()), detail));
            }
        }
    }
}

/// The mistakes in a change of a pod, most of which cannot change.
pub(super) fn update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (mut fixed, before) = (new["spec"].clone(), &old["spec"]);
    for list in ["containers", "initContainers"] {
        let (new, old) = (items(new, &format!("/spec/{list}")), items(old, &format!("/spec/{list}")));
        if new.len() != old.len() {
            let detail = "pod updates may not add or remove containers";
            causes.push(Cause::forbidden(format!("spec.{list}"), detail));
            return;
        }
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            if text(new, "/image").is_empty() {
                causes.push(Cause::required(format!("spec.{list}[{index}].image"), ""));
            }
            fixed[list][index]["image"] = old["image"].clone();
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        if let Some(fields) = fixed.as_object_mut() {
            fields.remove(key);
            fields.extend(before.get(key).map(|value| (key.to_owned(), value.clone())));
        }
    }
    if fixed != *before {
        // The server goes on with a comparison of its internal structures.
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                      existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)\n";
        causes.push(Cause::forbidden("spec", detail));
    }
}
