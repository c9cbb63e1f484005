//! The errors of an API server, with its own codes, reasons and words (k8s.io/apimachinery `api/errors`).

use serde_json::{Value, json};

use crate::sandbox::cause::{self, Cause};
use crate::sandbox::kinds::Kind;

/// The third format of a real server; here it is only named.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A refusal: a `Status` of kind Failure, or the plain text of a path that nobody serves.
#[derive(Debug, PartialEq)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// The reason in one word; empty for plain text.
    pub reason: &'static str,
    /// The words.
    pub message: String,
    /// Which object, and the causes.
    pub details: Value,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = details(&kind.group, &kind.plural, name);
        self
    }

    /// The body of the answer and its content type.
    #[must_use]
    pub fn body(&self) -> (String, &'static str) {
        if self.code == 404 && self.reason.is_empty() {
            return (self.message.clone(), "text/plain; charset=utf-8");
        }
        (self.value().to_string(), "application/json")
    }

    /// The `Status` object.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    /// Nobody serves this path.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    /// A group of Kubernetes' own has no such resource.
    #[must_use]
    pub fn no_such_resource() -> Self {
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = json!({});
        status
    }

    /// The object is not there.
    #[must_use]
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// The object is there already.
    #[must_use]
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    /// Somebody was faster, or it is another object.
    #[must_use]
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// [`Status::conflict`] where the server names the kind instead of the resource.
    #[must_use]
    pub fn conflict_of_kind(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_kind());
        let mut status = Self::new(409, "Conflict", message);
        status.details = details(&kind.group, &kind.kind, name);
        status
    }

    /// The object was changed since it was read.
    #[must_use]
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// A server-side apply that would take fields from others.
    #[must_use]
    pub fn apply_conflict(message: String, causes: &[Value]) -> Self {
        let mut status = Self::new(409, "Conflict", message);
        status.details = json!({"causes": causes});
        status
    }

    /// The object breaks rules.
    #[must_use]
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_as(&kind.group, &kind.kind, name, causes)
    }

    /// The same, of something that is no kind of its own.
    #[must_use]
    pub fn invalid_as(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let mut status = Self::new(422, "Invalid", cause::message(kind, group, name, causes));
        status.details = details(group, kind, name);
        status.details["causes"] = json!(causes);
        status
    }

    /// A mistake of the client that the server takes for its own, and gives no reason.
    #[must_use]
    pub fn unexplained(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Not allowed, whoever asks.
    #[must_use]
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// The verb is not served here.
    #[must_use]
    pub fn not_allowed() -> Self {
        let mut status = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        status.details = json!({});
        status
    }

    /// The same, in the words for custom resources.
    #[must_use]
    pub fn not_supported(kind: &Kind, method: &http::Method) -> Self {
        let verb = method.as_str().to_lowercase();
        let message = format!("{verb} is not supported on resources of kind \"{}\"", kind.qualified());
        Self::new(405, "MethodNotAllowed", message).about(kind, "")
    }

    /// The client takes none of the formats that there are.
    #[must_use]
    pub fn not_acceptable(is_custom: bool, is_collection: bool) -> Self {
        let formats = format!("application/json, application/yaml, {PROTOBUF}");
        if is_custom {
            return Self::new(
                406,
                "NotAcceptable",
                format!("only the following media types are accepted: {formats}"),
            );
        }
        let streams = format!(", application/json;stream=watch, {PROTOBUF};stream=watch");
        let streams = if is_collection { &*streams } else { "" };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {formats}{streams}");
        let mut status = Self::new(406, "NotAcceptable", message);
        status.details = json!({});
        status
    }

    /// A patch of a built-in kind in a format that nobody knows.
    #[must_use]
    pub fn unknown_patch() -> Self {
        let mut status = Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = json!({});
        status
    }

    /// A patch that is well formed and cannot be done.
    #[must_use]
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        let mut status = Self::new(422, "Invalid", message);
        status.details = json!({});
        status
    }

    /// A patch whose result cannot be decoded; the server shows it.
    #[must_use]
    pub fn undecodable_patch(shown: &str, why: &str) -> Self {
        Self::invalid_as("", "", "", &[Cause::invalid("patch", &json!(shown), why)])
    }

    /// The patch has a content type that is not taken here.
    #[must_use]
    pub fn unsupported_media(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The revision asked for is gone.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The revision asked for has not come to be yet.
    #[must_use]
    pub fn too_large(asked: u64, is: u64) -> Self {
        let mut status =
            Self::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {is}"));
        status.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        status
    }

    /// A server that refuses everything.
    #[must_use]
    pub fn refusal(code: u16) -> Self {
        match code {
            401 => Self::new(401, "Unauthorized", "Unauthorized"),
            429 => {
                let mut status =
                    Self::new(429, "TooManyRequests", "Too many requests, please try again later.");
                status.details = json!({"retryAfterSeconds": 1});
                status
            }
            503 => Self::new(503, "ServiceUnavailable", "apiserver is shutting down"),
            _ => Self::new(500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
        }
    }

    /// The proxied pod cannot be reached.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }
}

fn details(group: &str, kind: &str, name: &str) -> Value {
    let mut details = json!({});
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details[key] = json!(value);
        }
    }
    details
}
