//! The scale subresource: a kind's replicas in the form that every scaler knows.

use http::Method;
use serde_json::{Value, json};

use super::patch::{self, Patch};
use super::status::Status;
use super::{Answer, Request, State, types};
use crate::sandbox::kinds::{Kind, Scale};

impl Request<'_> {
    pub(super) fn scale(&self, state: &mut State, name: &str) -> Result<Answer, Status> {
        let kind = std::sync::Arc::clone(&self.kind);
        let Some(paths) = &kind.scale else { return Err(Status::no_such_path()) };
        let live = state.find(&kind, self.namespace(), name)?.value();
        let is = of(&kind, paths, &live);
        let wanted = match self.head.method {
            Method::GET => return Ok(Answer::ok(is)),
            Method::PUT => types::read_body(&kind, self.head, self.body)?,
            Method::PATCH => {
                let patch = Patch::read(&kind, &self.head.content_type, self.body)?;
                patch::patched(&kind, is, &patch)?
            }
            _ => return Err(Status::not_allowed()),
        };
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        let change = paths.spec.iter().rev().fold(json!(replicas), |inner, key| json!({ key: inner }));
        let operation = self.operation(&kind, name, "")?;
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
        "spec": {"replicas": number(&paths.spec)},
        "status": {"replicas": number(&paths.status)},
    });
    let selector = match &paths.selector {
        Some(path) => at(path).as_str().unwrap_or_default().to_owned(),
        None if kind.custom.is_none() => {
            let labels = object["spec"]["selector"]["matchLabels"].as_object();
            let pairs = labels.into_iter().flatten();
            let pairs = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
            pairs.collect::<Vec<_>>().join(",")
        }
        None => String::new(),
    };
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}
