//! The kinds with little in them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    metadata::{self, Name},
    names, non_negative, one_of,
};
use crate::sandbox::{
    builtin::{entries, items, number, quantity::Quantity, text},
    cause::{Cause, go_json},
};

const DATA_LIMIT: usize = 1024 * 1024;

pub(super) fn config_map(new: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for part in ["data", "binaryData"] {
        for (key, value) in entries(new, &format!("/{part}")) {
            let at = format!("{part}[{key}]");
            causes.extend(
                names::data_key(key).into_iter().map(|words| Cause::invalid(&at, &json!(key), words)),
            );
            if part == "data" && new["binaryData"].get(key).is_some() {
                causes.push(Cause::invalid(&at, &json!(key), "duplicate of key present in binaryData"));
            }
            size += value.as_str().map_or(0, |text| if part == "data" { text.len() } else { decoded(text) });
        }
    }
    if size > DATA_LIMIT {
        // The server's path of the whole, in this one place.
        causes.push(Cause::too_long("[]", 1024 * 1024));
    }
}

fn decoded(text: &str) -> usize {
    STANDARD.decode(text).map_or(0, |bytes| bytes.len())
}

/// The fields of an object that is immutable because it says so.
pub(super) fn frozen(new: &Value, old: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    if old["immutable"] != true {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        causes.push(Cause::forbidden("immutable", detail));
    }
    for field in fields.iter().filter(|field| new.get(**field) != old.get(**field)) {
        causes.push(Cause::forbidden(field, detail));
    }
}

pub(super) fn secret(new: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in entries(new, "/data") {
        let at = format!("data[{key}]");
        causes.extend(names::data_key(key).into_iter().map(|words| Cause::invalid(&at, &json!(key), words)));
        size += value.as_str().map_or(0, decoded);
    }
    if size > DATA_LIMIT {
        causes.push(Cause::too_long("data", 1024 * 1024));
    }
    let has = |key: &str| new["data"].get(key).is_some();
    let mut needs = |key: &str| {
        if !has(key) {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    };
    match text(new, "/type") {
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(needs),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            ["username", "password"].into_iter().for_each(needs);
        }
        "kubernetes.io/ssh-auth" => needs("ssh-privatekey"),
        "kubernetes.io/dockercfg" => needs(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => needs(".dockerconfigjson"),
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if new["metadata"]["annotations"][key].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(format!("metadata.annotations[{key}]"), ""));
            }
        }
        _ => {}
    }
}

/// The mistakes in the spec of a claim for a volume.
pub(super) fn claim(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let modes = items(spec, "/accessModes");
    let at = format!("{path}.accessModes");
    if modes.is_empty() {
        causes.push(Cause::required(&at, "at least 1 access mode is required"));
    }
    let known = |mode: &Value| MODES.contains(&mode.as_str().unwrap_or_default());
    causes
        .extend(modes.iter().filter(|mode| !known(mode)).map(|mode| Cause::not_supported(&at, mode, &MODES)));
    let single = |mode: &Value| mode == "ReadWriteOncePod";
    if modes.iter().any(single) && modes.iter().any(|mode| known(mode) && !single(mode)) {
        causes.push(Cause::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
    let at = format!("{path}.resources[storage]");
    match spec.pointer("/resources/requests/storage").and_then(Value::as_str).and_then(Quantity::parse) {
        None => causes.push(Cause::required(at, "")),
        Some(size) if !size.is_positive() => {
            causes.push(Cause::invalid(at, &json!(size.to_string()), "must be greater than zero"));
        }
        Some(_) => {}
    }
    let class = text(spec, "/storageClassName");
    if !class.is_empty() {
        let wrong = names::subdomain(class).into_iter();
        let at = format!("{path}.storageClassName");
        causes.extend(wrong.map(|words| Cause::invalid(&at, &json!(class), words)));
    }
    if spec.get("volumeMode").is_some() {
        one_of(spec, "volumeMode", path, &["Block", "Filesystem"], causes);
    }
}

/// What an update of a claim may not do.
pub(super) fn claim_update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (mut after, mut before) = (new["spec"].clone(), old["spec"].clone());
    if before.get("volumeName").is_none() {
        before["volumeName"] = after["volumeName"].clone();
        after["volumeName"] = before["volumeName"].clone();
    }
    let bound = text(new, "/status/phase") == "Bound";
    if bound {
        after["resources"]["requests"]["storage"] = before["resources"]["requests"]["storage"].clone();
        after["volumeAttributesClassName"] = Value::Null;
        before["volumeAttributesClassName"] = Value::Null;
    }
    if after != before {
        // The server goes on with a comparison of its internal structures.
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims\n";
        causes.push(Cause::forbidden("spec", detail));
    }
    let size = |object: &Value, at: &str| Quantity::parse(text(object, at));
    let request = "/spec/resources/requests/storage";
    let (asked, had) = (size(new, request), size(old, request));
    let smaller = asked.zip(had).is_some_and(|(asked, had)| asked < had);
    let capacity = size(old, "/status/capacity/storage");
    if smaller && asked.zip(capacity).is_some_and(|(asked, capacity)| asked <= capacity) {
        let detail = "field can not be less than status.capacity";
        causes.push(Cause::forbidden("spec.resources.requests.storage", detail));
    }
}

pub(super) fn budget(new: &Value, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        let fields = [
            ("MinAvailable", "minAvailable"),
            ("Selector", "selector"),
            ("MaxUnavailable", "maxUnavailable"),
            ("UnhealthyPodEvictionPolicy", "unhealthyPodEvictionPolicy"),
        ];
        let shown = fields.map(|(name, key)| format!("{name:?}:{}", go_json(&spec[key]))).join(",");
        let detail = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::invalid_as("spec", &format!("{{{shown}}}"), detail));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        let at = format!("spec.{key}");
        match &spec[key] {
            Value::String(share) => match share
                .strip_suffix('%')
                .and_then(|digits| digits.parse::<u32>().ok())
            {
                None => {
                    let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
                                  '1%',  or '93%', regex used for validation is '[0-9]+%')";
                    causes.push(Cause::invalid(at, &spec[key], detail));
                }
                Some(101..) => causes.push(Cause::invalid(at, &spec[key], "must not be greater than 100%")),
                Some(_) => {}
            },
            _ => non_negative(spec, key, "spec", causes),
        }
    }
    metadata::selector(&spec["selector"], "spec.selector", causes);
    if spec.get("unhealthyPodEvictionPolicy").is_some() {
        one_of(spec, "unhealthyPodEvictionPolicy", "spec", &["AlwaysAllow", "IfHealthyBudget"], causes);
    }
}

pub(super) fn lease(new: &Value, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(Cause::invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"));
    }
    non_negative(spec, "leaseTransitions", "spec", causes);
}

pub(super) fn namespace(new: &Value, causes: &mut Vec<Cause>) {
    for finalizer in items(new, "/spec/finalizers") {
        if !metadata::is_finalizer(finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid("spec.finalizers", finalizer, detail));
        }
    }
}

pub(super) fn revision(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if number(new, "/revision") < 0 {
        causes.push(Cause::invalid("revision", &new["revision"], "must be greater than or equal to 0"));
    }
    match old {
        None if new.get("data").is_none() => causes.push(Cause::required("data", "data is mandatory")),
        Some(old) if new.get("data") != old.get("data") => {
            causes.push(Cause::invalid("data", &new["data"], "field is immutable"));
        }
        _ => {}
    }
}

pub(super) fn node(new: &Value, causes: &mut Vec<Cause>) {
    for (index, taint) in items(new, "/spec/taints").iter().enumerate() {
        // The server looks for taints in the metadata, going by its words.
        let at = format!("metadata.taints[{index}]");
        let key = text(taint, "/key");
        let wrong = names::qualified(key).into_iter();
        causes.extend(wrong.map(|words| Cause::invalid(format!("{at}.key"), &json!(key), words)));
        one_of(taint, "effect", &at, &["NoSchedule", "PreferNoSchedule", "NoExecute"], causes);
    }
}

/// Events, of which there are two groups with one storage: the older is lenient.
pub(super) fn event(group: &str, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let strict = group == "events.k8s.io";
    let about = if strict { "/regarding/namespace" } else { "/involvedObject/namespace" };
    let (namespace, other) = (text(new, "/metadata/namespace"), text(new, about));
    let timed = !text(new, "/eventTime").is_empty();
    let matches = match (other, timed) {
        ("", false) => ["", "default"].contains(&namespace),
        ("", true) => ["default", "kube-system"].contains(&namespace),
        (_, timed) => timed || other == namespace,
    };
    if !matches {
        let detail = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &json!(other), detail));
    }
    if timed {
        timed_event(strict, new, &mut causes);
    }
    match (strict, old) {
        (false, _) => {}
        (true, None) => strict_event(new, &mut causes),
        (true, Some(old)) => {
            causes.extend(metadata::validate_update(new, old));
            metadata::plain_finalizers(new, &mut causes);
            if new.get("series") != old.get("series") {
                series(new, &mut causes);
            }
            for (key, said) in [
                ("regarding", "involvedObject"),
                ("reason", "reason"),
                ("note", "message"),
                ("type", "type"),
                ("eventTime", "eventTime"),
                ("action", "action"),
                ("related", "related"),
                ("reportingController", "reportingController"),
                ("reportingInstance", "reportingInstance"),
            ] {
                if new.get(key) != old.get(key) {
                    causes.push(Cause::invalid(said, &new[key], "field is immutable"));
                }
            }
        }
    }
    causes
}

fn timed_event(strict: bool, new: &Value, causes: &mut Vec<Cause>) {
    let controller = if strict { "reportingController" } else { "reportingComponent" };
    let name = text(new, &format!("/{controller}"));
    if name.is_empty() {
        causes.push(Cause::required(controller, ""));
    }
    let wrong = names::qualified(name).into_iter();
    causes.extend(wrong.map(|words| Cause::invalid(controller, &json!(name), words)));
    let note = if strict { "note" } else { "message" };
    let limits =
        [("reportingInstance", 128, true), ("action", 128, true), ("reason", 128, true), (note, 1024, false)];
    for (key, limit, needed) in limits {
        let said = if key == "note" { "message" } else { key };
        let value = text(new, &format!("/{key}"));
        if needed && value.is_empty() {
            causes.push(Cause::required(said, ""));
        }
        if value.len() > limit {
            let detail = format!("can have at most {limit} characters");
            causes.push(Cause::invalid(said, &json!(""), detail));
        }
    }
}

fn strict_event(new: &Value, causes: &mut Vec<Cause>) {
    causes.extend(metadata::validate(new, Name::Subdomain));
    metadata::plain_finalizers(new, causes);
    series(new, causes);
    if text(new, "/eventTime").is_empty() {
        causes.push(Cause::required("eventTime", ""));
    }
    let type_ = text(new, "/type");
    if !["Normal", "Warning"].contains(&type_) {
        causes.push(Cause::invalid("type", &json!(""), format!("has invalid value: {type_}")));
    }
    let old_fields = [
        ("firstTimestamp", !text(new, "/deprecatedFirstTimestamp").is_empty()),
        ("lastTimestamp", !text(new, "/deprecatedLastTimestamp").is_empty()),
        ("count", number(new, "/deprecatedCount") != 0),
        ("source", new["deprecatedSource"].as_object().is_some_and(|source| !source.is_empty())),
    ];
    for (key, _) in old_fields.iter().filter(|(_, set)| *set) {
        causes.push(Cause::invalid(key, &json!(""), "needs to be unset"));
    }
}

fn series(new: &Value, causes: &mut Vec<Cause>) {
    let Some(series) = new.get("series") else { return };
    if number(series, "/count") < 2 {
        causes.push(Cause::invalid("series.count", &json!(""), "should be at least 2"));
    }
    if text(series, "/lastObservedTime").is_empty() {
        causes.push(Cause::required("series.lastObservedTime", ""));
    }
}
