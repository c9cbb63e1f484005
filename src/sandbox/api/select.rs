//! Label and field selectors: reading them, and asking whether an object is meant.

use kube::core::{Expression, Selector, SelectorExt as _};
use serde_json::Value;

use super::status::Status;
use crate::sandbox::kinds::Kind;
use crate::sandbox::store::{Key, Stored};

/// Which objects of a kind are meant.
#[derive(Debug, Default)]
pub struct Selection {
    labels: Selector,
    fields: Vec<(String, String, bool)>,
}

impl Selection {
    /// Reads both selectors; an error is the server's own.
    pub fn parse(kind: &Kind, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = match labels {
            None => Selector::default(),
            Some(text) => labels_of(text)
                .map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))?,
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
        self.labels.selects_all() && self.fields.is_empty()
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

/// Reads a label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
fn labels_of(text: &str) -> Result<Selector, String> {
    let mut selector = Selector::default();
    let mut depth = 0;
    // A comma within parentheses parts values, not requirements.
    let parts = text.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        selector.extend([requirement(part)?]);
    }
    Ok(selector)
}

fn requirement(text: &str) -> Result<Expression, String> {
    let key = |key: &str| {
        let key = key.trim();
        let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if key.is_empty() || !key.chars().all(known) {
            return Err(format!("found '{text}', expected: identifier"));
        }
        Ok(key.to_owned())
    };
    if let Some((left, right)) = text.split_once(" notin ").or_else(|| text.split_once(" in ")) {
        let values = right.trim().strip_prefix('(').and_then(|values| values.strip_suffix(')'));
        let values = values.ok_or_else(|| format!("found '{right}', expected: '('"))?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let not = text.contains(" notin ");
        return Ok(if not {
            Expression::NotIn(key(left)?, values)
        } else {
            Expression::In(key(left)?, values)
        });
    }
    if let Some((left, right)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(key(left)?, right.trim().into()));
    }
    if let Some((left, right)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(key(left)?, right.trim().into()));
    }
    Ok(match text.strip_prefix('!') {
        Some(missing) => Expression::DoesNotExist(key(missing)?),
        None => Expression::Exists(key(text)?),
    })
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
            return Err(Status::bad_request(format!("field label not supported: {field}")));
        }
        fields.push((field.to_owned(), value.to_owned(), equal));
    }
    Ok(fields)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_form_of_a_label_requirement_is_understood() {
        let labels: BTreeMap<String, String> = [("a".into(), "1".into()), ("b".into(), "2".into())].into();
        let holds = |text| labels_of(text).unwrap().matches(&labels);
        for yes in ["a=1", "a==1,b!=3", "a in (1,2),b", "b notin (1, 3)", "!c", "a, !d", ""] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["a=2", "a in (2,3)", "b notin (2)", "!a", "c", "a=1,c"] {
            assert!(!holds(no), "{no}");
        }
        assert!(labels_of("a in 1").is_err());
        assert!(labels_of("@=1").is_err());
    }
}
