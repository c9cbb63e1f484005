//! What is said of a write that is taken all the same, or refused where the client asks for that.

use std::collections::BTreeSet;

use serde_json::Value;

use super::duplicates::duplicates;
use super::request::Head;
use super::status::Status;
use crate::sandbox::kinds::Kind;

/// What becomes of fields that a kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// They are dropped.
    Ignore,
    /// They are dropped with a warning: what the server does unless asked otherwise.
    Warn,
    /// They are an error.
    Strict,
}

impl Strictness {
    /// As the query asks.
    #[must_use]
    pub fn asked(text: Option<&str>) -> Self {
        match text {
            Some("Strict") => Self::Strict,
            Some("Ignore") => Self::Ignore,
            _ => Self::Warn,
        }
    }
}

/// Fields that stand twice in a body: refused, or warned of.
pub fn check_duplicates(
    kind: &Kind,
    head: &Head,
    body: &[u8],
    strictness: Strictness,
) -> Result<Vec<String>, Status> {
    if strictness == Strictness::Ignore || head.content_type == "application/yaml" {
        return Ok(vec![]);
    }
    let named = duplicates(body).into_iter().map(|path| format!("duplicate field {path:?}")).collect();
    report(kind, named, strictness)
}

pub fn report_unknown(
    kind: &Kind,
    unknown: &[String],
    strictness: Strictness,
) -> Result<Vec<String>, Status> {
    report(kind, unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect(), strictness)
}

fn report(kind: &Kind, named: Vec<String>, strictness: Strictness) -> Result<Vec<String>, Status> {
    match strictness {
        Strictness::Strict if !named.is_empty() => {
            let all = named.join(", ");
            Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {all}",
                kind.kind, kind.version, kind.kind
            )))
        }
        Strictness::Ignore => Ok(vec![]),
        _ => Ok(named),
    }
}

/// What is said to whoever adds a finalizer to a custom resource that anybody might use.
pub fn finalizer_warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    let of = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let known = old.map(of).unwrap_or_default();
    let standard = [super::FOREGROUND, super::ORPHAN];
    let added = of(new).into_iter().filter(|one| kind.custom.is_some() && !known.contains(one));
    let names: BTreeSet<String> = added.filter_map(|one| one.as_str().map(str::to_owned)).collect();
    let plain = names.into_iter().filter(|name| !name.contains('/') && !standard.contains(&&**name));
    plain
        .map(|name| {
            format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental \
                 conflicts with other finalizer writers"
            )
        })
        .collect()
}
