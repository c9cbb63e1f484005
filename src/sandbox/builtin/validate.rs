//! The mistakes in the kinds of Kubernetes itself that people really make, in the server's words and order.
//!
//! Exotic ones are missing: what is not found here is taken. The values come defaulted, as the server validates them.

pub mod metadata;
pub mod names;
mod pod;
mod service;
mod small;
mod workload;

use serde_json::{Value, json};

use self::metadata::Name;
use super::text;
use crate::sandbox::{cause::Cause, structural::crd};

/// The mistakes in `new`, which replaces `old`.
pub fn validate(group: &str, kind: &str, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    if kind == "CustomResourceDefinition" {
        return crd::validate_crd(new, old);
    }
    let mut causes = old.map(|old| metadata::common_update(new, old)).unwrap_or_default();
    if kind == "Event" {
        causes.extend(small::event(group, new, old));
    } else {
        own(kind, new, old, &mut causes);
    }
    if causes.is_empty() {
        causes = metadata::validate(new, Name::Segment);
    }
    causes
}

/// The kinds that look at the metadata of an update twice, and then name a mistake twice.
const AGAIN: [&str; 8] = [
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Pod",
    "Node",
    "ServiceAccount",
    "ControllerRevision",
    "Namespace",
];

/// What the kind itself asks.
fn own(kind: &str, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    // The rules of budgets are only about their spec, and those of leases know no finalizers.
    let (named, finalized) =
        (kind != "PodDisruptionBudget", !["PodDisruptionBudget", "Lease"].contains(&kind));
    if let Some(old) = old.filter(|_| named) {
        causes.extend(metadata::validate_update(new, old));
        if finalized {
            metadata::plain_finalizers(new, causes);
        }
    }
    if let Some(old) = old {
        before_content(kind, new, old, causes);
    }
    if named && (old.is_none() || AGAIN.contains(&kind)) {
        let label = ["StatefulSet", "Service", "Namespace"].contains(&kind);
        causes.extend(metadata::validate(new, if label { Name::Label } else { Name::Subdomain }));
        if finalized {
            metadata::plain_finalizers(new, causes);
        }
    }
    content(kind, new, old, causes);
    if let Some(old) = old {
        after_content(kind, new, old, causes);
    }
}

/// The mistakes in the status of `new`; the rest of it is `old`'s.
pub fn validate_status(kind: &str, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = metadata::common_update(new, old);
    match kind {
        "StatefulSet" => {
            workload::status(new, &mut causes);
            causes.extend(metadata::validate_update(new, old));
        }
        "Pod" => {
            causes.extend(metadata::validate_update(new, old));
            for (index, address) in super::items(new, "/status/podIPs").iter().enumerate() {
                check_address(text(address, "/ip"), &format!("status.podIPs[{index}]"), &mut causes);
            }
        }
        "PodDisruptionBudget" => {
            for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                non_negative(&new["status"], key, "status", &mut causes);
            }
        }
        _ => causes.extend(metadata::validate_update(new, old)),
    }
    causes
}

fn content(kind: &str, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    match kind {
        "StatefulSet" => workload::spec(new, old, causes),
        "Pod" => pod::spec(&new["spec"], "spec", &[], causes),
        "Service" => service::spec(new, causes),
        "NetworkPolicy" => service::policy(new, causes),
        "ConfigMap" => small::config_map(new, causes),
        "Secret" => small::secret(new, causes),
        "PersistentVolumeClaim" => small::claim(&new["spec"], "spec", causes),
        "PodDisruptionBudget" => small::budget(new, causes),
        "Lease" => small::lease(new, causes),
        "Namespace" if old.is_none() => small::namespace(new, causes),
        "ControllerRevision" => small::revision(new, old, causes),
        "Node" => small::node(new, causes),
        _ => {}
    }
}

/// What an update may not do, where the server asks before it looks at the content.
fn before_content(kind: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    match kind {
        "Secret" => {
            if new.get("type") != old.get("type") {
                causes.push(Cause::invalid("type", &json!(text(new, "/type")), "field is immutable"));
            }
            small::frozen(new, old, &["data"], causes);
        }
        "ConfigMap" => small::frozen(new, old, &["data", "binaryData"], causes),
        "Service" => service::update(new, old, causes),
        _ => {}
    }
}

/// What an update may not do, where the server asks after it has looked at the content.
fn after_content(kind: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    match kind {
        "StatefulSet" => workload::update(new, old, causes),
        "Pod" => pod::update(new, old, causes),
        "PersistentVolumeClaim" => small::claim_update(new, old, causes),
        _ => {}
    }
}

/// A text that has to be one of a few; missing is a mistake too, because its default would be there.
fn one_of(value: &Value, key: &str, path: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    let found = value.get(key).and_then(Value::as_str).unwrap_or_default();
    if found.is_empty() {
        causes.push(Cause::required(format!("{path}.{key}"), ""));
    } else if !supported.contains(&found) {
        causes.push(Cause::not_supported(format!("{path}.{key}"), &json!(found), supported));
    }
}

fn non_negative(value: &Value, key: &str, path: &str, causes: &mut Vec<Cause>) {
    if let Some(number) = value.get(key).filter(|number| number.as_i64().is_some_and(|number| number < 0)) {
        causes.push(Cause::invalid(format!("{path}.{key}"), number, "must be greater than or equal to 0"));
    }
}

fn port(number: i64, path: &str, causes: &mut Vec<Cause>) {
    let wrong = names::port_number(number).into_iter();
    causes.extend(wrong.map(|words| Cause::invalid(path, &json!(number), words)));
}

fn port_or_name(value: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Some(Value::String(name)) => {
            let wrong = names::port_name(name).into_iter();
            causes.extend(wrong.map(|words| Cause::invalid(path, &json!(name), words)));
        }
        other => port(other.and_then(Value::as_i64).unwrap_or_default(), path, causes),
    }
}

fn check_address(address: &str, path: &str, causes: &mut Vec<Cause>) {
    if address.parse::<std::net::IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        causes.push(Cause::invalid(path, &json!(address), detail));
    }
}
