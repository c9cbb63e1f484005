//! Metadata and selectors, which are the same in every kind.

use serde_json::{Value, json};

use super::names;
use crate::sandbox::{
    builtin::{entries, items, number, text},
    cause::Cause,
};

/// The form of a kind's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Labels with dots between them.
    Subdomain,
    /// One label.
    Label,
    /// Anything that can stand in a URL.
    Segment,
}

impl Name {
    fn check(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => names::subdomain(name),
            Self::Label => names::label(name),
            Self::Segment => names::segment(name),
        }
    }
}

/// The mistakes in the metadata of a new object, whose name has been made if it had to be.
pub fn validate(object: &Value, form: Name) -> Vec<Cause> {
    let mut causes = Vec::new();
    let prefix = text(object, "/metadata/generateName");
    if !prefix.is_empty() {
        // What is made of a prefix goes on, so the prefix may end in a dash.
        let masked = if prefix.len() > 1 && prefix.ends_with('-') {
            format!("{}a", String::from_utf8_lossy(&prefix.as_bytes()[..prefix.len() - 2]))
        } else {
            prefix.to_owned()
        };
        for words in form.check(&masked) {
            causes.push(Cause::invalid("metadata.generateName", &json!(prefix), words));
        }
    }
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        for words in form.check(name) {
            causes.push(Cause::invalid("metadata.name", &json!(name), words));
        }
    }
    if number(object, "/metadata/generation") < 0 {
        let generation = &object["metadata"]["generation"];
        causes.push(Cause::invalid("metadata.generation", generation, "must be greater than or equal to 0"));
    }
    validate_labels(&object["metadata"], "metadata", &mut causes);
    owners(object, &mut causes);
    finalizers(object, &mut causes);
    causes
}

/// What every update is asked before its kind's own questions, some of which are the same.
pub fn common_update(new: &Value, old: &Value) -> Vec<Cause> {
    [validate(new, Name::Segment), validate_update(new, old)].concat()
}

/// The mistakes in the metadata of `new`, which replaces `old`.
pub fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let field =
        |object: &Value, key: &str| object.pointer(&format!("/metadata/{key}")).cloned().unwrap_or_default();
    if !field(old, "deletionTimestamp").is_null() {
        let known = items(old, "/metadata/finalizers");
        let mut extra: Vec<_> = items(new, "/metadata/finalizers")
            .iter()
            .filter(|finalizer| !known.contains(finalizer))
            .collect();
        extra.sort_by_key(ToString::to_string);
        if !extra.is_empty() {
            let list: Vec<_> = extra.iter().map(ToString::to_string).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", detail));
        }
    }
    if text(new, "/metadata/resourceVersion").is_empty() {
        causes.push(Cause::invalid(
            "metadata.resourceVersion",
            &json!(""),
            "must be specified for an update",
        ));
    }
    if number(new, "/metadata/generation") < number(old, "/metadata/generation") {
        let generation = json!(number(new, "/metadata/generation"));
        causes.push(Cause::invalid("metadata.generation", &generation, "must not be decremented"));
    }
    for key in ["name", "namespace", "uid"] {
        if field(new, key) != field(old, key) {
            let value = json!(text(new, &format!("/metadata/{key}")));
            causes.push(Cause::invalid(format!("metadata.{key}"), &value, "field is immutable"));
        }
    }
    for key in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if field(new, key) != field(old, key) {
            causes.push(Cause::invalid(format!("metadata.{key}"), &field(new, key), "field is immutable"));
        }
    }
    validate_labels(&new["metadata"], "metadata", &mut causes);
    owners(new, &mut causes);
    causes
}

/// The mistakes in labels and annotations of `metadata`, which stands at `path`.
pub fn validate_labels(metadata: &Value, path: &str, causes: &mut Vec<Cause>) {
    labels(metadata, "/labels", &format!("{path}.labels"), causes);
    annotations(metadata, &format!("{path}.annotations"), causes);
}

/// The mistakes in the labels at `pointer`.
pub fn labels(value: &Value, pointer: &str, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in entries(value, pointer) {
        let keys = names::qualified(key).into_iter().map(|words| (key.as_str(), words));
        let value = value.as_str().unwrap_or_default();
        let values = names::label_value(value).into_iter().map(|words| (value, words));
        causes.extend(keys.chain(values).map(|(text, words)| Cause::invalid(path, &json!(text), words)));
    }
}

fn annotations(metadata: &Value, path: &str, causes: &mut Vec<Cause>) {
    const LIMIT: usize = 256 * 1024;
    let mut size = 0;
    for (key, value) in entries(metadata, "/annotations") {
        size += key.len() + value.as_str().map_or(0, str::len);
        for words in names::qualified(&key.to_lowercase()) {
            causes.push(Cause::invalid(path, &json!(key), words));
        }
    }
    if size > LIMIT {
        causes.push(Cause::too_long(path, 256 * 1024));
    }
}

fn owners(object: &Value, causes: &mut Vec<Cause>) {
    let path = "metadata.ownerReferences";
    let all = items(object, "/metadata/ownerReferences");
    let mut first = String::new();
    for owner in all {
        for (key, words) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
                causes.push(Cause::invalid(format!("{path}.{key}"), &json!(""), words));
            }
        }
        if owner["controller"] == true {
            let this = format!("{}/{}", text(owner, "/kind"), text(owner, "/name"));
            if first.is_empty() {
                first = this;
            } else {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
                     {this}"
                );
                let shown: Vec<_> = all.iter().map(|owner| in_order(owner, &OWNER_FIELDS)).collect();
                causes.push(Cause::invalid_as(path, &format!("[{}]", shown.join(",")), detail));
            }
        }
    }
}

const OWNER_FIELDS: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

/// An object as the server prints it, its fields in the order of their declaration.
pub(super) fn in_order(object: &Value, fields: &[&str]) -> String {
    let known = fields.iter().filter_map(|key| Some(format!("{key:?}:{}", object.get(key)?)));
    format!("{{{}}}", known.collect::<Vec<_>>().join(","))
}

fn finalizers(object: &Value, causes: &mut Vec<Cause>) {
    let path = "metadata.finalizers";
    let all = items(object, "/metadata/finalizers");
    for finalizer in all {
        for words in names::qualified(finalizer.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(path, finalizer, words));
        }
    }
    if all.contains(&json!("orphan")) && all.contains(&json!("foregroundDeletion")) {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid(path, &json!(all), detail));
    }
}

/// Finalizers without a domain: refused in the kinds of Kubernetes, warned of in custom resources.
pub(super) fn plain_finalizers(object: &Value, causes: &mut Vec<Cause>) {
    for (index, finalizer) in items(object, "/metadata/finalizers").iter().enumerate() {
        if !is_finalizer(finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("metadata.finalizers[{index}]"), finalizer, detail));
        }
    }
}

pub(super) fn is_finalizer(finalizer: &Value) -> bool {
    let name = finalizer.as_str().unwrap_or_default();
    name.contains('/') || ["orphan", "foregroundDeletion", "kubernetes"].contains(&name)
}

/// The mistakes in a label selector.
pub(super) fn selector(selector: &Value, path: &str, causes: &mut Vec<Cause>) {
    labels(selector, "/matchLabels", &format!("{path}.matchLabels"), causes);
    for (index, expression) in items(selector, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = items(expression, "/values");
        match text(expression, "/operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{path}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{path}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            operator => {
                let detail = "not a valid selector operator";
                causes.push(Cause::invalid(format!("{path}.operator"), &json!(operator), detail));
            }
        }
        let key = text(expression, "/key");
        for words in names::qualified(key) {
            causes.push(Cause::invalid(format!("{path}.key"), &json!(key), words));
        }
        for (index, value) in values.iter().enumerate() {
            for words in names::label_value(value.as_str().unwrap_or_default()) {
                causes.push(Cause::invalid(format!("{path}.values[{index}]"), value, words));
            }
        }
    }
}

/// Whether `selector` picks something with `labels`.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let same = entries(selector, "/matchLabels").all(|(key, value)| labels.get(key) == Some(value));
    same && items(selector, "/matchExpressions").iter().all(|expression| {
        let value = labels.get(text(expression, "/key"));
        let listed = value.is_some_and(|value| items(expression, "/values").contains(value));
        match text(expression, "/operator") {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            _ => value.is_none(),
        }
    })
}
