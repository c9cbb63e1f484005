//! Why an object is invalid, in the API server's words: one [`Cause`] per mistake, and the sentence they make together.
//!
//! Which mistakes there are is not known here: `structural` finds those in custom resources, `builtin` those in the
//! kinds of Kubernetes itself.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// One mistake, as it stands in a `Status` under `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The machine's word for it, such as `FieldValueInvalid`.
    pub reason: String,
    /// The person's words for it, without the field.
    pub message: String,
    /// The path of the field.
    pub field: String,
}

impl Cause {
    /// A value that does not follow the rules of its field.
    pub fn invalid(field: impl AsRef<str>, value: &Value, detail: impl AsRef<str>) -> Self {
        Self::with_value("FieldValueInvalid", "Invalid value", field.as_ref(), value, detail.as_ref())
    }

    /// [`Cause::invalid`] where the server does not show the value.
    pub fn invalid_hidden(field: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        Self::new("FieldValueInvalid", "Invalid value", field.as_ref(), detail.as_ref())
    }

    /// [`Cause::invalid`] where the server shows the value in another form than it has in the object.
    pub fn invalid_as(field: impl AsRef<str>, shown: &str, detail: impl AsRef<str>) -> Self {
        Self::new("FieldValueInvalid", &format!("Invalid value: {shown}"), field.as_ref(), detail.as_ref())
    }

    /// A value of the wrong JSON type.
    pub fn type_invalid(field: impl AsRef<str>, value: &Value, detail: impl AsRef<str>) -> Self {
        Self::with_value("FieldValueTypeInvalid", "Invalid value", field.as_ref(), value, detail.as_ref())
    }

    /// A field that is missing or empty.
    pub fn required(field: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        Self::new("FieldValueRequired", "Required value", field.as_ref(), detail.as_ref())
    }

    /// A value that is well formed and not allowed here.
    pub fn forbidden(field: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        Self::new("FieldValueForbidden", "Forbidden", field.as_ref(), detail.as_ref())
    }

    /// A value outside the few allowed ones.
    pub fn not_supported<S: AsRef<str>>(field: impl AsRef<str>, value: &Value, supported: &[S]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|value| format!("{:?}", value.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::with_value("FieldValueNotSupported", "Unsupported value", field.as_ref(), value, &detail)
    }

    /// A value that must be unique and is not.
    pub fn duplicate(field: impl AsRef<str>, value: &Value) -> Self {
        Self::with_value("FieldValueDuplicate", "Duplicate value", field.as_ref(), value, "")
    }

    /// [`Cause::duplicate`] where the server shows the value in another form than it has in the object.
    pub fn duplicate_as(field: impl AsRef<str>, shown: &str) -> Self {
        Self::new("FieldValueDuplicate", &format!("Duplicate value: {shown}"), field.as_ref(), "")
    }

    /// A name that refers to nothing.
    pub fn not_found(field: impl AsRef<str>, value: &Value) -> Self {
        Self::with_value("FieldValueNotFound", "Not found", field.as_ref(), value, "")
    }

    /// A text over `limit` bytes.
    pub fn too_long(field: impl AsRef<str>, limit: i64) -> Self {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {limit} {unit}");
        Self::new("FieldValueTooLong", "Too long", field.as_ref(), &detail)
    }

    /// A list or map of `actual` entries where `limit` are allowed.
    pub fn too_many(field: impl AsRef<str>, actual: usize, limit: i64) -> Self {
        let unit = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {unit}");
        Self::new("FieldValueTooMany", &format!("Too many: {actual}"), field.as_ref(), &detail)
    }

    fn with_value(reason: &str, words: &str, field: &str, value: &Value, detail: &str) -> Self {
        Self::new(reason, &format!("{words}: {}", shown(value)), field, detail)
    }

    fn new(reason: &str, words: &str, field: &str, detail: &str) -> Self {
        let mut message = words.to_owned();
        if !detail.is_empty() {
            let _ = write!(message, ": {detail}");
        }
        // The server's name for the object as a whole.
        let field = if field.is_empty() { "<nil>" } else { field };
        Self { reason: reason.to_owned(), message, field: field.to_owned() }
    }
}

/// The message of the `Status` that refuses an object for `causes`.
pub fn message(kind: &str, group: &str, name: &str, causes: &[Cause]) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let mut said = BTreeSet::new();
    let texts: Vec<_> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .filter(|text| said.insert(text.clone()))
        .collect();
    let all = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
    format!("{kind}{dot}{group} {name:?} is invalid: {all}")
}

/// A value as the server prints it: Go's quoting for texts, Go's JSON for the rest.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => go_json(other),
    }
}

/// JSON as Go's encoder writes it, safe for HTML.
pub(super) fn go_json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
