//! The words of the server's programming language, where they show in its answers: what its JSON decoder says, how it
//! prints maps, and the order of an object's metadata.

use std::fmt::Write as _;

use serde_json::Value;

use crate::sandbox::kinds::Kind;

/// What the decoder says of a text that is no JSON.
#[must_use]
pub fn json_error(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    // A literal that begins like one and goes on otherwise.
    for literal in ["null", "true", "false"] {
        let same = body.iter().zip(literal.bytes()).take_while(|(found, wanted)| **found == *wanted).count();
        if let (1.., Some(found), Some(wanted)) = (same, body.get(same), literal.as_bytes().get(same)) {
            return format!(
                "invalid character {} in literal {literal} (expecting '{}')",
                quoted(*found),
                char::from(*wanted)
            );
        }
    }
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let found = line.and_then(|line| line.get(error.column().saturating_sub(1))).copied().unwrap_or_default();
    format!("invalid character {} looking for beginning of value", quoted(found))
}

/// What the decoder says of a text that is no YAML; it counts lines from where the last token began.
#[must_use]
pub fn yaml_error(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    match error.location() {
        Some(at) => format!("yaml: line {}: {what}", at.line().saturating_sub(1)),
        None => format!("yaml: {what}"),
    }
}

/// A byte as a character between quotes.
#[must_use]
pub fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".into(),
        b'"' => "'\"'".into(),
        _ if (0x20..0x7f).contains(&byte) => format!("'{}'", char::from(byte)),
        _ => format!("'\\u{byte:04x}'"),
    }
}

/// What the decoder says of a value that is no object, where it looks for version and kind.
#[must_use]
pub fn not_an_object(value: &Value) -> String {
    let found = word(value);
    let wanted = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// The decoder's word for the sort of a value.
#[must_use]
pub fn word(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
        Value::Object(_) => "object",
    }
}

/// The beginning of a body, as an error shows it.
#[must_use]
pub fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let dots = if body.len() > SHOWN { " ..." } else { "" };
    let shown = &body[..body.len().min(SHOWN)];
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{dots}", hex::encode(shown)),
    }
}

/// The type within the server that a kind is converted to.
#[must_use]
pub fn internal_type(kind: &Kind) -> String {
    let package = match &*kind.group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("{package}.{}", kind.kind)
}

/// A kind that nobody knows.
#[must_use]
pub fn not_registered(kind: &str, version: &str) -> String {
    format!(
        "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
    )
}

/// A value as it is printed: `map[a:b c:[1 2]]`.
#[must_use]
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let all = map.iter().map(|(key, value)| format!("{key}:{}", printed(value)));
            format!("map[{}]", all.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// The fields of metadata, and of an entry of its managedFields, in the order in which they are encoded.
const ORDER: [&str; 22] = [
    "manager",
    "operation",
    "apiVersion",
    "time",
    "fieldsType",
    "fieldsV1",
    "subresource",
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// A patched object as it is encoded: `plain` is the patch, whose way through the object is sorted by name; what lies
/// beside it is in the order of the types.
#[must_use]
pub fn encoded(object: &Value, patched: &Value) -> String {
    let Value::Object(map) = object else { return object.to_string() };
    let mut all = vec![];
    for (key, value) in map {
        let text = match (&**key, patched.get(key)) {
            (_, Some(inner)) if inner.is_object() => encoded(value, inner),
            ("metadata", _) => in_order(value),
            _ => value.to_string(),
        };
        all.push(format!("\"{key}\":{text}"));
    }
    format!("{{{}}}", all.join(","))
}

fn in_order(metadata: &Value) -> String {
    let Value::Object(map) = metadata else { return metadata.to_string() };
    let mut text = String::from("{");
    for key in ORDER {
        let Some(value) = map.get(key) else { continue };
        let comma = if text.len() > 1 { "," } else { "" };
        let shown = match value {
            Value::Array(items) if key == "managedFields" => {
                format!("[{}]", items.iter().map(in_order).collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        };
        let _ = write!(text, "{comma}\"{key}\":{shown}");
    }
    text + "}"
}
