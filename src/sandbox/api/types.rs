//! What a write means for a kind: decoding, defaults, what the server itself adds, and validation. The rules are those
//! of [`crate::sandbox::builtin`] for Kubernetes' own kinds and of [`crate::sandbox::structural`] for custom resources;
//! here is which of them is asked when.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::go;
use super::request::Head;
use super::state::{State, text};
use super::status::Status;
use super::warnings::{self, Strictness};
use super::write::Operation;
use crate::sandbox::builtin::{allocate, defaults, prepare, reported_group, types, validate as rules};
use crate::sandbox::cause::Cause;
use crate::sandbox::kinds::{BUILT_INS, Kind};

/// Reads an object of a body.
pub fn read_body(kind: &Kind, head: &Head, body: &[u8]) -> Result<Value, Status> {
    let read = match &*head.content_type {
        "" | "application/json" => serde_json::from_slice(body).map_err(|error| {
            format!("couldn't get version/kind; json parse error: {}", go::json_error(body, &error))
        }),
        "application/yaml" => serde_yaml::from_slice(body).map_err(|error| error.to_string()),
        _ => {
            let accepted = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
            return Err(Status::unsupported_media(&accepted));
        }
    };
    let unrecognized = |why: &str| {
        let summary = go::summary(body);
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({summary})",
            kind.kind
        ))
    };
    let object: Value = read.map_err(|why| unrecognized(&why))?;
    if !object.is_object() {
        return Err(unrecognized(&format!(
            "couldn't get version/kind; json parse error: {}",
            go::not_an_object(&object)
        )));
    }
    if kind.custom.is_some() && text(&object, &["kind"]).is_empty() {
        return Err(unrecognized(&format!(
            "Object 'Kind' is missing in '{}'",
            String::from_utf8_lossy(body)
        )));
    }
    Ok(object)
}

/// Makes of a body an object of its kind, or says why it is none; returns the warnings.
pub fn decode(kind: &Kind, object: &mut Value, strictness: Strictness) -> Result<Vec<String>, Status> {
    let fields = object.as_object_mut();
    let Some(fields) = fields else { return Err(Status::bad_request("the object provided is unrecognized")) };
    let (version, named) = (kind.api_version(), kind.kind.clone());
    let given = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (given_version, given_kind) = (given("apiVersion"), given("kind"));
    let name = fields.get("metadata").map_or("", |metadata| text(metadata, &["name"])).to_owned();
    check_type(kind, &given_version, &given_kind, &name)?;
    fields.insert("apiVersion".into(), json!(version));
    fields.insert("kind".into(), json!(named));
    // An object without metadata has empty metadata.
    fields.entry("metadata").or_insert_with(|| json!({}));
    let wrong = match &kind.custom {
        None => types::type_errors(&kind.group, &kind.kind, object),
        Some(_) => types::metadata_errors(&kind.version, &kind.kind, &object["metadata"]),
    };
    if let Some(wrong) = wrong {
        return Err(Status::bad_request(wrong));
    }
    let unknown = match &kind.custom {
        None => types::canonicalize(&kind.group, &kind.kind, object),
        Some(custom) => {
            let mut unknown = custom.structural.prune(object);
            unknown.extend(types::canonicalize_metadata(&mut object["metadata"]));
            unknown
        }
    };
    warnings::report_unknown(kind, &unknown, strictness)
}

fn check_type(kind: &Kind, version: &str, named: &str, name: &str) -> Result<(), Status> {
    let (mine_version, mine) = (kind.api_version(), &kind.kind);
    let right_version = version.is_empty() || version == mine_version;
    let right_kind = named.is_empty() || named == mine;
    if right_version && right_kind {
        return Ok(());
    }
    if kind.custom.is_some() && right_version {
        let cause = Cause::invalid("kind", &json!(named), format!("must be {mine}"));
        return Err(Status::invalid_as(&kind.group, named, name, &[cause]));
    }
    if kind.custom.is_none() {
        let (short, named) =
            (version.rsplit('/').next().unwrap_or_default(), if named.is_empty() { mine } else { named });
        // Who names no version means that of the URL.
        let version = if version.is_empty() { &*mine_version } else { version };
        let short = if short.is_empty() { &*kind.version } else { short };
        let known = BUILT_INS.iter().any(|one| one.kind == *named && one.api_version() == version);
        let why = if known {
            format!("converting ({short}.{named}) to ({}): unknown conversion", go::internal_type(kind))
        } else {
            go::not_registered(named, version)
        };
        let message = format!("{named} in version {short:?} cannot be handled as a {mine}: {why}");
        return Err(Status::bad_request(message));
    }
    if right_kind {
        let message = format!(
            "the API version in the data ({version}) does not match the expected API version ({mine_version})"
        );
        return Err(Status::bad_request(message));
    }
    Err(Status::bad_request(format!(
        "the kind in the data ({named}) does not match the expected kind ({mine})"
    )))
}

/// Brings what an apply has merged into the form in which it is stored: amounts and nulls.
pub fn normalize(kind: &Kind, object: &mut Value) {
    match &kind.custom {
        None => drop(types::canonicalize(&kind.group, &kind.kind, object)),
        Some(_) => drop(types::canonicalize_metadata(&mut object["metadata"])),
    }
}

/// The object is for the namespace of the URL.
pub fn check_namespace_of(kind: &Kind, namespace: &str, object: &Value) -> Result<(), Status> {
    let given = text(object, &["metadata", "namespace"]);
    if !kind.namespaced || given.is_empty() || given == namespace {
        return Ok(());
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// What says nothing of its namespace is in that of the URL.
pub fn fill_namespace(on: &Operation<'_>, object: &mut Value) {
    if on.kind.namespaced {
        metadata_mut(object).insert("namespace".into(), json!(on.namespace));
    }
}

/// The object in the body has another name than the URL.
pub fn other_name(given: &str, asked: &str) -> Status {
    if given.is_empty() {
        return Status::bad_request(format!(
            "the name of the object ({asked} based on URL) was undeterminable: name must be provided"
        ));
    }
    Status::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({asked})"
    ))
}

/// A custom resource is not replaced blindly.
pub fn version_required(kind: &Kind, name: &str) -> Status {
    let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
    Status::invalid_as(&kind.group, &kind.plural, name, &[cause])
}

/// Apply says who, and names what it applies.
pub fn check_apply(on: &Operation<'_>, config: &Value) -> Result<(), Status> {
    let (version, kind) = (text(config, &["apiVersion"]), text(config, &["kind"]));
    if version != on.kind.api_version() || kind != on.kind.kind {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    let named = text(config, &["metadata", "name"]);
    if !named.is_empty() && named != on.name {
        return Err(other_name(named, on.name));
    }
    Ok(())
}

/// Takes out of a configuration what its subresource does not write.
pub fn keep_part(kind: &Kind, subresource: &str, config: &mut Value) {
    let Some(fields) = config.as_object_mut() else { return };
    match subresource {
        "status" if kind.custom.is_some() => {
            fields.retain(|key, _| matches!(&**key, "apiVersion" | "kind" | "metadata" | "status"));
            if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|key, _| matches!(&**key, "name" | "namespace" | "resourceVersion" | "uid"));
            }
        }
        "status" => drop(fields.remove("spec")),
        _ if kind.status => drop(fields.remove("status")),
        _ => {}
    }
}

/// Defaults, for what is new and for what is changed.
fn default(kind: &Kind, object: &mut Value) {
    match &kind.custom {
        None => defaults::default(&kind.group, &kind.kind, object),
        Some(custom) => custom.structural.default(object),
    }
}

/// Before the owners are written down: defaults, and what of the request is taken.
pub fn prepare_create(kind: &Kind, new: &mut Value) {
    default(kind, new);
    match &kind.custom {
        // A built-in's status is the server's own, and so comes later.
        None => drop(new.as_object_mut().filter(|_| kind.status).and_then(|fields| fields.remove("status"))),
        Some(_) => prepare::prepare_custom_create(new, kind.status),
    }
}

/// After the owners are written down: what the server itself adds to a new object.
pub fn complete_create(kind: &Kind, new: &mut Value) {
    if kind.custom.is_some() {
        return;
    }
    defaults::admit(&kind.kind, new, &random_suffix());
    prepare::prepare_create(&kind.kind, new);
}

/// The same for a changed object, before the owners are written down.
pub fn prepare_update(kind: &Kind, subresource: &str, new: &mut Value, old: &Value) {
    default(kind, new);
    match (&kind.custom, subresource) {
        (None, "status") => prepare::prepare_status(&kind.kind, new, old),
        (None, _) => prepare::prepare_update(&kind.kind, new, old),
        (Some(_), "status") => prepare::prepare_custom_status(new, old),
        (Some(_), _) => prepare::prepare_custom_update(new, old, kind.status),
    }
}

/// After the owners are written down: what the server itself changes of what was asked.
pub fn complete_update(kind: &Kind, subresource: &str, new: &mut Value, old: &Value) {
    if kind.custom.is_none() && subresource.is_empty() {
        prepare::complete_update(&kind.kind, new, old);
    }
}

/// Gives a valid Service its addresses and ports.
pub fn give_addresses(
    state: &State,
    kind: &Kind,
    new: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Status> {
    if kind.kind != "Service" || !kind.group.is_empty() {
        return Ok(());
    }
    let mine = text(new, &["metadata", "uid"]).to_owned();
    let others = state.store.list(&kind.storage, None).filter(|(_, stored)| *stored.uid != *mine);
    let held: Vec<allocate::Resource> =
        others.flat_map(|(_, stored)| allocate::held(&stored.value())).collect();
    allocate::allocate(new, old, &|wanted| held.contains(&wanted), dry_run)
        .map_err(|causes| Status::invalid(kind, text(new, &["metadata", "name"]), &causes))
}

/// Refuses what breaks the kind's rules.
pub fn validate(kind: &Kind, subresource: &str, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let causes = match (&kind.custom, old) {
        (None, Some(old)) if subresource == "status" => rules::validate_status(&kind.kind, new, old),
        (None, _) => rules::validate(&kind.group, &kind.kind, new, old),
        (Some(custom), Some(old)) if subresource == "status" => custom.structural.validate_status(new, old),
        (Some(custom), _) => custom.structural.validate(new, old),
    };
    if causes.is_empty() {
        return Ok(());
    }
    let name = text(new, &["metadata", "name"]);
    Err(Status::invalid_as(reported_group(&kind.group, &kind.kind), &kind.kind, name, &causes))
}

/// The metadata of an object, made if it has none.
#[allow(clippy::missing_panics_doc)] // It cannot: see below.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    #[allow(clippy::expect_used)] // It was just made so.
    object["metadata"].as_object_mut().expect("metadata is a map")
}

/// Whether deletion has begun.
#[must_use]
pub fn is_being_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether somebody has yet to let go of it.
#[must_use]
pub fn has_finalizers(kind: &Kind, object: &Value) -> bool {
    let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    some(&object["metadata"]["finalizers"])
        || (kind.kind == "Namespace" && some(&object["spec"]["finalizers"]))
}

/// The seconds that an object which is being deleted is given.
#[must_use]
pub fn grace(object: &Value) -> i64 {
    object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0)
}

/// Kinds whose deletion is answered with the object rather than with a Status.
#[must_use]
pub fn is_returned_when_deleted(kind: &Kind) -> bool {
    let kinds = ["Pod", "Service", "ServiceAccount", "PersistentVolumeClaim", "StorageClass"];
    kind.custom.is_none() && kinds.contains(&&*kind.kind)
}

/// Kinds that a PUT may create.
#[must_use]
pub fn is_created_by_update(kind: &Kind) -> bool {
    kind.custom.is_none() && matches!(&*kind.kind, "Lease" | "Event")
}

/// A time as objects have it, to the second.
#[must_use]
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A uid, in the form of a UUID.
#[must_use]
pub fn new_uid() -> String {
    let id: u128 = rand::random();
    let hex = format!("{id:032x}");
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// Five characters for a generated name, of those that make no words.
#[must_use]
pub fn random_suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}
