//! Which objects a request means: labels ([`super::labels`]) and fields together.

use serde_json::Value;

use super::labels::Labels;
use super::status::Status;
use crate::sandbox::kinds::Kind;
use crate::sandbox::store::{Key, Stored};

/// Which objects of a kind are meant.
#[derive(Debug, Default)]
pub struct Selection {
    labels: Labels,
    fields: Vec<(String, String, bool)>,
}

impl Selection {
    /// Reads both selectors; an error is the server's own.
    pub fn parse(kind: &Kind, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = match labels {
            None => Labels::default(),
            Some(text) => Labels::parse(text).map_err(Status::bad_request)?,
        };
        let fields = match fields {
            None => vec![],
            Some(text) => fields_of(kind, text)?,
        };
        Ok(Self { labels, fields })
    }

    /// Whether everything is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// Whether this object is meant.
    #[must_use]
    pub fn matches(&self, key: &Key, stored: &Stored) -> bool {
        self.labels.matches(&stored.labels) && self.fields_match(key, stored)
    }

    fn fields_match(&self, key: &Key, stored: &Stored) -> bool {
        let mut read: Option<Value> = None;
        self.fields.iter().all(|(field, value, equal)| {
            let found = match &**field {
                "metadata.name" => key.name.clone(),
                "metadata.namespace" => key.namespace.clone(),
                field => {
                    let object = read.get_or_insert_with(|| stored.value());
                    text_at(object, field)
                }
            };
            (found == *value) == *equal
        })
    }
}

/// Events are stored as those of the core group; the other group has other names for the same fields.
fn text_at(object: &Value, field: &str) -> String {
    let field = match field.split_once('.') {
        Some(("regarding", rest)) => format!("involvedObject.{rest}"),
        _ if field == "source" => "source.component".into(),
        _ => field.to_owned(),
    };
    let found = field.split('.').fold(object, |value, key| &value[key]);
    match found {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn fields_of(kind: &Kind, text: &str) -> Result<Vec<(String, String, bool)>, Status> {
    let mut fields = vec![];
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
            (field, value, false)
        } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (field, value, true)
        } else {
            return Err(Status::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{term}'"
            )));
        };
        if !is_selectable(kind, field) {
            return Err(Status::bad_request(not_selectable(kind, field)));
        }
        fields.push((field.to_owned(), value.to_owned(), equal));
    }
    Ok(fields)
}

/// Kinds that have fields of their own to select by speak of others in one way, the rest in another.
fn not_selectable(kind: &Kind, field: &str) -> String {
    const OWN: [&str; 7] = ["Pod", "Event", "Secret", "Service", "Namespace", "Node", "StatefulSet"];
    if kind.custom.is_some() || OWN.contains(&&*kind.kind) {
        return format!("field label not supported: {field}");
    }
    let known =
        if kind.namespaced { "\"metadata.name\", \"metadata.namespace\"" } else { "\"metadata.name\"" };
    format!("\"{field}\" is not a known field selector: only {known}")
}

fn is_selectable(kind: &Kind, field: &str) -> bool {
    let own: &[&str] = match &*kind.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Event" if kind.group.is_empty() => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Event" => {
            &["regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "reason", "type"]
        }
        "Secret" => &["type"],
        "Service" => &["spec.clusterIP", "spec.type"],
        "Namespace" => &["status.phase"],
        "Node" => &["spec.unschedulable"],
        "StatefulSet" => &["status.successful"],
        _ => &[],
    };
    (field == "metadata.namespace" && kind.namespaced) || field == "metadata.name" || own.contains(&field)
}
