//! The scale subresource: a kind's replicas in the form that every scaler knows.

use http::Method;
use serde_json::{Value, json};

use super::patch::{self, Patch};
use super::status::Status;
use super::{Answer, Request, State, text, types};
use crate::sandbox::cause::Cause;
use crate::sandbox::kinds::{Kind, Scale};

impl Request<'_> {
    pub(super) fn scale(&self, state: &mut State, name: &str) -> Result<Answer, Status> {
        let kind = std::sync::Arc::clone(&self.kind);
        let Some(paths) = &kind.scale else { return Err(Status::no_such_path()) };
        let live = state.find(&kind, self.namespace(), name)?.value();
        let is = of(&kind, paths, &live);
        let wanted = match self.head.method {
            Method::GET => return Ok(Answer::ok(is)),
            Method::PUT => {
                let body = types::read_body(&kind, self.head, self.body)?;
                let named = text(&body, &["metadata", "name"]);
                if named != name {
                    return Err(types::other_name(named, name));
                }
                let version = text(&body, &["metadata", "resourceVersion"]);
                if !version.is_empty() && version != text(&live, &["metadata", "resourceVersion"]) {
                    return Err(Status::modified(&kind, name));
                }
                body
            }
            Method::PATCH => {
                let patch = Patch::read(&kind, &self.head.content_type, self.body)?;
                patch::patched(&kind, is, &patch)?
            }
            _ => return Err(Status::not_allowed()),
        };
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if kind.custom.is_none() && replicas < 0 {
            let cause =
                Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
            return Err(Status::invalid_as("autoscaling", "Scale", name, &[cause]));
        }
        let change = paths.spec.iter().rev().fold(json!(replicas), |inner, key| json!({ key: inner }));
        let operation = self.operation(&kind, name, "scale")?;
        let done = state.patch(&operation, &Patch::Merge(change))?;
        Ok(Answer::ok(of(&kind, paths, &done.object)))
    }
}

fn of(kind: &Kind, paths: &Scale, object: &Value) -> Value {
    let at = |path: &[String]| path.iter().fold(object, |value, key| &value[key]).clone();
    let number = |path: &[String]| json!(at(path).as_i64().unwrap_or(0));
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": number(&paths.status)},
    });
    let replicas = number(&paths.spec);
    // Built-in kinds do not write out what is zero.
    if kind.custom.is_some() || replicas != 0 {
        scale["spec"]["replicas"] = replicas;
    }
    let selector = match &paths.selector {
        Some(path) => at(path).as_str().unwrap_or_default().to_owned(),
        None if kind.custom.is_none() => selector_text(&object["spec"]["selector"]),
        None => String::new(),
    };
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

/// A label selector as text, sorted by key.
fn selector_text(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut all: Vec<(String, String)> = labels
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(one, &["key"]);
        let mut values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(one, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        all.push((key.to_owned(), term));
    }
    all.sort();
    all.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
}
