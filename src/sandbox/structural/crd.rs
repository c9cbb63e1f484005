//! Definitions of custom resources: what the server completes in them, refuses in them, and says of them.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::{Cause, Structural};
use crate::sandbox::builtin::{
    fill, fill_text, items, text,
    validate::{
        metadata::{self, Name},
        names,
    },
};

/// Sets the defaults of a definition.
pub fn crd_defaults(crd: &mut Value) {
    let Some(spec) = crd.get_mut("spec") else { return };
    fill(spec, "names", serde_json::Map::new());
    let kind = text(spec, "/names/kind").to_owned();
    if !kind.is_empty() {
        fill_text(&mut spec["names"], "singular", &kind.to_lowercase());
        fill_text(&mut spec["names"], "listKind", &format!("{kind}List"));
    }
    fill(spec, "conversion", json!({ "strategy": "None" }));
    if spec["preserveUnknownFields"] == false
        && let Some(fields) = spec.as_object_mut()
    {
        fields.remove("preserveUnknownFields");
    }
}

/// The status of a definition that was created just now.
pub fn initial_status(crd: &Value) -> Value {
    let mut status = json!({ "acceptedNames": { "kind": "", "plural": "" }, "conditions": null });
    if let Some(version) = storage_version(crd) {
        status["storedVersions"] = json!([version]);
    }
    status
}

/// Adds the storage version to those that objects may be stored in.
pub fn add_stored_version(crd: &mut Value) {
    let Some(version) = storage_version(crd).map(str::to_owned) else { return };
    fill(crd, "status", serde_json::Map::new());
    fill(&mut crd["status"], "storedVersions", Vec::<Value>::new());
    if let Some(list) =
        crd["status"]["storedVersions"].as_array_mut().filter(|list| !list.contains(&json!(version)))
    {
        list.push(json!(version));
    }
}

/// The status that the server's controllers give a definition whose names nobody else has.
pub fn crd_status(crd: &Value, now: Timestamp) -> Value {
    let mut status = crd["status"].clone();
    if !status.is_object() {
        status = initial_status(crd);
    }
    status["acceptedNames"] = crd["spec"]["names"].clone();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let wanted = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ];
    let mut conditions = items(&status, "/conditions").to_vec();
    for (type_, reason, message) in wanted {
        if conditions.iter().any(|condition| condition["type"] == type_ && condition["status"] == "True") {
            continue;
        }
        conditions.retain(|condition| condition["type"] != type_);
        conditions.push(json!({
            "lastTransitionTime": now, "message": message, "reason": reason, "status": "True", "type": type_,
        }));
    }
    status["conditions"] = Value::Array(conditions);
    status
}

/// The version that objects are stored in.
fn storage_version(crd: &Value) -> Option<&str> {
    items(crd, "/spec/versions").iter().find(|version| version["storage"] == true)?.get("name")?.as_str()
}

/// The mistakes in a definition that replaces `old`.
pub fn validate_crd(crd: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = match old {
        Some(old) => [metadata::common_update(crd, old), metadata::validate_update(crd, old)].concat(),
        None => new_metadata(crd),
    };
    validate_spec(&crd["spec"], &mut causes);
    if let Some(old) = old {
        immutable(crd, old, &mut causes);
    }
    stored_versions(crd, &mut causes);
    if crd["spec"]["preserveUnknownFields"] == true {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
                      instead";
        causes.push(Cause::invalid("spec.preserveUnknownFields", &json!(true), detail));
    }
    causes
}

fn new_metadata(crd: &Value) -> Vec<Cause> {
    let mut causes = metadata::validate(crd, Name::Subdomain);
    let name = text(crd, "/metadata/name");
    if name != format!("{}.{}", text(crd, "/spec/names/plural"), text(crd, "/spec/group")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        let wrong = Cause::invalid("metadata.name", &json!(name), detail);
        let after =
            causes.iter().rposition(|cause| cause.field == "metadata.name").map_or(0, |index| index + 1);
        causes.insert(after, wrong);
    }
    causes
}

fn validate_spec(spec: &Value, causes: &mut Vec<Cause>) {
    let group = text(spec, "/group");
    let wrong = names::subdomain(group);
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if !wrong.is_empty() {
        causes.push(Cause::invalid("spec.group", &json!(group), wrong.join(",")));
    } else if !group.contains('.') {
        causes.push(Cause::invalid("spec.group", &json!(group), "should be a domain with at least one dot"));
    }
    let scope = text(spec, "/scope");
    if scope.is_empty() {
        causes.push(Cause::required("spec.scope", ""));
    } else if !["Cluster", "Namespaced"].contains(&scope) {
        causes.push(Cause::not_supported("spec.scope", &json!(scope), &["Cluster", "Namespaced"]));
    }
    let versions = items(spec, "/versions");
    // What all versions have in common is one field of the definition to the server, and so in its words.
    let common = |key: &str| versions.iter().all(|version| version.get(key) == versions[0].get(key));
    let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned();
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| schema(version).is_none()) {
        causes.push(Cause::required(format!("spec.versions[{index}].schema.openAPIV3Schema"), ""));
    }
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        unique &= seen.insert(text(version, "/name"));
        dns_1035(text(version, "/name"), "", &format!("{path}.name"), causes);
        if !common("schema") {
            check_schema(schema(version), &format!("{path}.schema.openAPIV3Schema"), causes);
        }
        if !common("additionalPrinterColumns") {
            columns(version, &path, causes);
        }
    }
    if !unique {
        causes.push(Cause::invalid_as(
            "spec.versions",
            &internal(versions),
            "must contain unique version names",
        ));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid_as("spec.versions", &internal(versions), detail));
    }
    let Some(first) = versions.first() else { return check_names(spec, causes) };
    dns_1035(text(first, "/name"), "", "spec.version", causes);
    check_names(spec, causes);
    if common("schema") {
        check_schema(schema(first), "spec.validation.openAPIV3Schema", causes);
    }
    if common("additionalPrinterColumns") {
        columns(first, "spec", causes);
    }
}

fn check_schema(schema: Option<Value>, path: &str, causes: &mut Vec<Cause>) {
    if let Some(Err(wrong)) = schema.map(|schema| Structural::compile_at(&schema, path)) {
        causes.extend(wrong);
    }
}

fn dns_1035(name: &str, before: &str, path: &str, causes: &mut Vec<Cause>) {
    let wrong = names::label_1035(&name.to_lowercase());
    let wrong = if before.is_empty() { names::label_1035(name) } else { wrong };
    if !wrong.is_empty() {
        causes.push(Cause::invalid(path, &json!(name), format!("{before}{}", wrong.join(","))));
    }
}

fn check_names(spec: &Value, causes: &mut Vec<Cause>) {
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(spec, &format!("/names/{key}")).is_empty() {
            causes.push(Cause::required(format!("spec.names.{key}"), ""));
        }
    }
    let mixed = "may have mixed case, but should otherwise match: ";
    for (key, before) in [("plural", ""), ("singular", ""), ("kind", mixed), ("listKind", mixed)] {
        let name = text(spec, &format!("/names/{key}"));
        if !name.is_empty() {
            dns_1035(name, before, &format!("spec.names.{key}"), causes);
        }
    }
    for list in ["shortNames", "categories"] {
        for (index, name) in items(spec, &format!("/names/{list}")).iter().enumerate() {
            dns_1035(name.as_str().unwrap_or_default(), "", &format!("spec.names.{list}[{index}]"), causes);
        }
    }
}

fn columns(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    for (index, column) in items(version, "/additionalPrinterColumns").iter().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{index}]");
        let one_of = format!("must be one of {}", TYPES.join(","));
        if text(column, "/name").is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        match text(column, "/type") {
            "" => causes.push(Cause::required(format!("{path}.type"), one_of)),
            type_ if !TYPES.contains(&type_) => {
                causes.push(Cause::invalid(format!("{path}.type"), &json!(type_), one_of));
            }
            _ => {}
        }
        match text(column, "/jsonPath") {
            "" => causes.push(Cause::required(format!("{path}.JSONPath"), "")),
            json_path if !json_path.starts_with('.') => {
                let detail = "must be a simple json path starting with .";
                causes.push(Cause::invalid(format!("{path}.JSONPath"), &json!(json_path), detail));
            }
            _ => {}
        }
    }
}

/// The versions as the server shows them, whose schemas are one field of the whole by then.
fn internal(versions: &[Value]) -> String {
    let shown = |version: &Value| {
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":null,\"Schema\":null,\
             \"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
            version["name"],
            version["served"],
            version["storage"],
            version["deprecated"] == true,
        )
    };
    format!("[{}]", versions.iter().map(shown).collect::<Vec<_>>().join(","))
}

fn immutable(crd: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let established = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    let all = ["scope", "names.kind", "group", "names.plural"];
    // The first two may still change while nothing is stored.
    let fields = if items(old, "/status/conditions").iter().any(established) { &all[..] } else { &all[2..] };
    for field in fields {
        let pointer = format!("/spec/{}", field.replace('.', "/"));
        let now = text(crd, &pointer);
        if now != text(old, &pointer) {
            causes.push(Cause::invalid(format!("spec.{field}"), &json!(now), "field is immutable"));
        }
    }
}

fn stored_versions(crd: &Value, causes: &mut Vec<Cause>) {
    let stored = items(crd, "/status/storedVersions");
    if stored.is_empty() {
        let detail = "must have at least one stored version";
        causes.push(Cause::invalid("status.storedVersions", &Value::Null, detail));
        return;
    }
    for (index, version) in stored.iter().enumerate() {
        if !items(crd, "/spec/versions").iter().any(|other| other["name"] == *version) {
            let name = version.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            causes.push(Cause::invalid(format!("status.storedVersions[{index}]"), version, detail));
        }
    }
}
