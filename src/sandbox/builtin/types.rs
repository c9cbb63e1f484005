//! The JSON types of the kinds of Kubernetes, as the generated types know them: what the server says of a value of
//! the wrong one, and the form in which it stores what it has decoded.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet},
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Event, Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
        },
        events::v1::Event as NewEvent,
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Number, Value};
use std::{collections::HashMap, sync::LazyLock};

use super::quantity::Quantity;

/// The schema of every kind with those it refers to, by group and kind.
static KINDS: LazyLock<HashMap<(&str, &str), Value>> = LazyLock::new(|| {
    fn schema<T: JsonSchema>() -> Value {
        Value::from(SchemaGenerator::default().into_root_schema_for::<T>())
    }
    HashMap::from([
        (("apps", "StatefulSet"), schema::<StatefulSet>()),
        (("apps", "ControllerRevision"), schema::<ControllerRevision>()),
        (("coordination.k8s.io", "Lease"), schema::<Lease>()),
        (("", "ConfigMap"), schema::<ConfigMap>()),
        (("", "Event"), schema::<Event>()),
        (("", "Namespace"), schema::<Namespace>()),
        (("", "Node"), schema::<Node>()),
        (("", "PersistentVolumeClaim"), schema::<PersistentVolumeClaim>()),
        (("", "Pod"), schema::<Pod>()),
        (("", "Secret"), schema::<Secret>()),
        (("", "Service"), schema::<Service>()),
        (("", "ServiceAccount"), schema::<ServiceAccount>()),
        (("events.k8s.io", "Event"), schema::<NewEvent>()),
        (("networking.k8s.io", "NetworkPolicy"), schema::<NetworkPolicy>()),
        (("policy", "PodDisruptionBudget"), schema::<PodDisruptionBudget>()),
        (("apiextensions.k8s.io", "CustomResourceDefinition"), schema::<CustomResourceDefinition>()),
    ])
});

/// What the server says of `object` if it cannot be decoded as its kind: the message of a 400.
pub fn type_errors(group: &str, kind: &str, object: &Value) -> Option<String> {
    let root = KINDS.get(&(group, kind))?;
    let place = Place { root, owner: kind.to_owned(), path: String::new() };
    let wrong = place.check(root, object)?;
    Some(format!("{kind} in version \"v1\" cannot be handled as a {kind}: {wrong}"))
}

/// [`type_errors`] for the one part of a custom resource that has types of its own.
pub fn metadata_errors(version: &str, kind: &str, metadata: &Value) -> Option<String> {
    let root = KINDS.get(&("", "ConfigMap"))?;
    let place = Place { root, owner: kind.to_owned(), path: String::new() };
    let wrong = place.check(&root["properties"]["metadata"], metadata)?;
    Some(format!("{kind} in version {version:?} cannot be handled as a {kind}: {wrong}"))
}

/// Brings a decodable object into the form in which the server stores it: unknown fields, nulls and what is empty are
/// dropped, amounts are written the one way. Returns the paths of the unknown fields.
pub fn canonicalize(group: &str, kind: &str, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(root) = KINDS.get(&(group, kind)) {
        canonical(root, root, object, "", &mut unknown);
    }
    unknown
}

/// [`canonicalize`] for the metadata of a custom resource.
pub fn canonicalize_metadata(metadata: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(root) = KINDS.get(&("", "ConfigMap")) {
        canonical(root, &root["properties"]["metadata"], metadata, "metadata", &mut unknown);
    }
    unknown
}

/// A place in an object: the type that it belongs to, and the path from the root in the words of Go's decoder, which
/// leaves out indexes and keys.
struct Place<'a> {
    root: &'a Value,
    owner: String,
    path: String,
}

impl Place<'_> {
    fn check(&self, schema: &Value, value: &Value) -> Option<String> {
        let (name, schema) = resolve(self.root, schema, value);
        if value.is_null() {
            return None;
        }
        match simple(name) {
            "JSON" | "FieldsV1" | "RawExtension" => return None,
            "Quantity" => return quantity_error(value),
            "IntOrString" => return self.int_or_string(value),
            "Time" => return self.time(value, "2006-01-02T15:04:05Z07:00"),
            "MicroTime" => return self.time(value, "2006-01-02T15:04:05.000000Z07:00"),
            _ => {}
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(fields)) => self.fields(name, schema, fields),
            (Some("array"), Value::Array(items)) => {
                items.iter().find_map(|item| self.check(&schema["items"], item))
            }
            (Some("string"), Value::String(text)) if schema["format"] == "byte" => base64_error(text),
            (Some("string"), Value::String(_))
            | (Some("boolean"), Value::Bool(_))
            | (Some("number"), Value::Number(_))
            | (None, _) => None,
            (Some("integer"), Value::Number(number)) if fits(schema, number) => None,
            (Some("integer"), Value::Number(number)) => {
                Some(self.wrong(&format!("number {number}"), name, schema))
            }
            _ => Some(self.wrong(word(value), name, schema)),
        }
    }

    fn fields(&self, name: Option<&str>, schema: &Value, fields: &Map<String, Value>) -> Option<String> {
        let owner = name.map_or_else(|| self.owner.clone(), |name| simple(Some(name)).to_owned());
        if let Some(inner) = schema.get("additionalProperties") {
            return fields.values().find_map(|value| self.check(inner, value));
        }
        fields.iter().find_map(|(key, value)| {
            let inner = schema["properties"].get(key)?;
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            Place { root: self.root, owner: owner.clone(), path }.check(inner, value)
        })
    }

    fn wrong(&self, found: &str, name: Option<&str>, schema: &Value) -> String {
        self.wrong_type(found, &go_type(self.root, name, schema))
    }

    fn wrong_type(&self, found: &str, expected: &str) -> String {
        // The one list of texts here whose texts have a type of their own.
        let expected = match (self.path.rsplit('.').next(), expected) {
            (Some("accessModes"), "[]string") => "[]v1.PersistentVolumeAccessMode",
            (Some("policyTypes"), "[]string") => "[]v1.PolicyType",
            _ => expected,
        };
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {expected}",
            self.owner, self.path
        )
    }

    fn int_or_string(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(_) => None,
            Value::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {
                None
            }
            Value::Number(number) => Some(self.wrong_type(&format!("number {number}"), "int32")),
            other => Some(self.wrong_type(word(other), "int32")),
        }
    }

    fn time(&self, value: &Value, layout: &str) -> Option<String> {
        let Value::String(text) = value else { return Some(self.wrong_type(word(value), "string")) };
        let wrong = || format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"");
        if text.parse::<jiff::Timestamp>().is_err() {
            return Some(wrong());
        }
        // Six digits, no less.
        let rest = text.get(19..).filter(|_| layout.contains(".000000"))?;
        let digits =
            rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        (digits < 6)
            .then(|| format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as \".000000\""))
    }
}

/// The schema behind a reference, and its name; of a schema or something simpler, the one that `value` is.
fn resolve<'a>(root: &'a Value, schema: &'a Value, value: &Value) -> (Option<&'a str>, &'a Value) {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    let Some(name) = reference else { return (None, schema) };
    let found = &root["$defs"][name];
    match found["oneOf"].get(usize::from(!value.is_object())) {
        Some(inner) if name.contains("JSONSchemaPropsOr") => resolve(root, inner, value),
        _ => (Some(name), found),
    }
}

/// The last part of a type's name.
fn simple(name: Option<&str>) -> &str {
    name.and_then(|name| name.rsplit('.').next()).unwrap_or_default()
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits(schema: &Value, number: &Number) -> bool {
    number.as_i64().is_some_and(|number| schema["format"] != "int32" || i32::try_from(number).is_ok())
}

/// A type as Go's decoder calls it.
fn go_type(root: &Value, name: Option<&str>, schema: &Value) -> String {
    if let Some(name) = name {
        let mut parts = name.rsplit('.');
        let (last, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{version}.{last}");
    }
    let inner = |key: &str| {
        let (name, schema) = resolve(root, &schema[key], &Value::Null);
        go_type(root, name, schema)
    };
    match schema["type"].as_str() {
        Some("array") => format!("[]{}", inner("items")),
        Some("object") => format!("map[string]{}", inner("additionalProperties")),
        Some("boolean") => "bool".to_owned(),
        Some("integer") => schema["format"].as_str().unwrap_or("int64").to_owned(),
        Some("number") => "float64".to_owned(),
        Some("string") if schema["format"] == "byte" => "[]uint8".to_owned(),
        other => other.unwrap_or_default().to_owned(),
    }
}

fn quantity_error(value: &Value) -> Option<String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let words = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    Quantity::parse(&text).is_none().then(|| words.to_owned())
}

fn base64_error(text: &str) -> Option<String> {
    let at = match STANDARD.decode(text).err()? {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    };
    Some(format!("illegal base64 data at input byte {at}"))
}

// === the stored form ===

/// Switches that are dropped when off; any other that is off says so.
const OFF_BY_ABSENCE: [&str; 16] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "publishNotReadyAddresses",
    "unschedulable",
    "nullable",
    "deprecated",
    "uniqueItems",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];
/// Numbers that are dropped when zero.
const ZERO_BY_ABSENCE: [&str; 12] = [
    "hostPort",
    "nodePort",
    "minReadySeconds",
    "initialDelaySeconds",
    "generation",
    "count",
    "deprecatedCount",
    "healthCheckNodePort",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "observedGeneration",
];
/// Texts that mean something when empty.
const EMPTY_TEXTS: [&str; 3] = ["storageClassName", "holderIdentity", "volumeAttributesClassName"];

fn canonical(root: &Value, schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    let (name, schema) = resolve(root, schema, value);
    match simple(name) {
        "JSON" | "FieldsV1" | "RawExtension" => return,
        "Quantity" => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Some(quantity) = Quantity::parse(&text) {
                *value = Value::String(quantity.to_string());
            }
            return;
        }
        "MicroTime" => {
            micro_time(value);
            return;
        }
        _ => {}
    }
    match value {
        Value::Object(fields) => canonical_fields(root, schema, fields, path, unknown),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                canonical(root, &schema["items"], item, &format!("{path}[{index}]"), unknown);
            }
        }
        Value::Number(number) if schema["type"] == "number" => {
            #[allow(clippy::cast_possible_truncation)] // only where nothing is cut off
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15)
            {
                *value = Value::from(whole as i64);
            }
        }
        _ => {}
    }
}

fn canonical_fields(
    root: &Value,
    schema: &Value,
    fields: &mut Map<String, Value>,
    path: &str,
    unknown: &mut Vec<String>,
) {
    let inner = schema.get("additionalProperties");
    let known = schema.get("properties");
    let typed = inner.is_some() || known.is_some();
    fields.retain(|key, value| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(child) = inner.or_else(|| known?.get(key)) else {
            if typed {
                unknown.push(path);
            }
            return !typed;
        };
        canonical(root, child, value, &path, unknown);
        // In a map of texts a null is an empty one.
        if inner.is_some_and(|inner| inner["type"] == "string" && inner["format"] != "byte")
            && value.is_null()
        {
            *value = Value::from("");
        }
        inner.is_some() || is_required(schema, key, value) || stays(root, child, key, value)
    });
}

/// A text that every object of its type has is written out when it is empty, too.
fn is_required(schema: &Value, key: &str, value: &Value) -> bool {
    value.is_string() && schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key))
}

/// Whether a field is written out with this value.
fn stays(root: &Value, schema: &Value, key: &str, value: &Value) -> bool {
    let (name, schema) = resolve(root, schema, value);
    let free = name.is_none() && schema.get("type").is_none();
    let any = matches!(simple(name), "JSON" | "FieldsV1" | "RawExtension");
    match value {
        _ if free => true,
        Value::Null => false,
        _ if any => true,
        Value::Bool(on) => *on || !OFF_BY_ABSENCE.contains(&key),
        Value::Number(number) => number.as_i64() != Some(0) || !ZERO_BY_ABSENCE.contains(&key),
        Value::String(text) => !text.is_empty() || EMPTY_TEXTS.contains(&key),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty() || name.is_some(),
    }
}

/// Times that are compared to the microsecond are written to the microsecond.
fn micro_time(value: &mut Value) {
    if let Some(time) = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        *value = Value::String(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
    }
}
