//! The form in which an object is stored, and the forms in which it is shown.

use serde_json::{Value, json};

use crate::sandbox::kinds::Kind;

/// As it is stored: events of both groups in one form, custom resources in their storage version.
pub fn to_storage(kind: &Kind, mut object: Value) -> Value {
    match &kind.custom {
        Some(custom) => object["apiVersion"] = json!(custom.stored_as),
        None if kind.group == "events.k8s.io" => {
            rename(&mut object, EVENT_FIELDS.map(|(core, new)| (new, core)));
            object["apiVersion"] = json!("v1");
        }
        None => {}
    }
    object
}

/// As it is shown in a version.
#[must_use]
pub fn from_storage(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = json!(kind.api_version());
    if kind.group == "events.k8s.io" {
        rename(&mut object, EVENT_FIELDS);
        // Here, what is empty is not shown.
        for field in ["reportingController", "reportingInstance"] {
            if object[field] == "" {
                object.as_object_mut().map(|fields| fields.remove(field));
            }
        }
    }
    object
}

/// The fields of an event that have two names: in the core group, and in its own.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Value, names: [(&str, &str); 7]) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.into(), value);
        }
    }
}
