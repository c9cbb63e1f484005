//! Checks a resource against the CRD that this release generates: its schema, and its rules in their own words.
//!
//! An API server does the same, but with the CRD that is installed there. That may be an older one, or the old operator's,
//! which knows no rules at all. Pure; compiled once.

use std::sync::LazyLock;

use jsonschema::paths::{Location, LocationSegment};
use kube::CustomResourceExt as _;
use kube_cel::{CompiledSchema, compile_schema};
use serde_json::{Value, json};

use super::Polkadot;

/// The generated CRD's schema, ready to be asked.
struct Crd {
    shape: jsonschema::Validator,
    rules: CompiledSchema,
}

static CRD: LazyLock<Option<Crd>> = LazyLock::new(|| {
    let crd = serde_json::to_value(Polkadot::crd()).ok()?;
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?;
    let shape = jsonschema::validator_for(schema).ok()?;
    let rules = compile_schema(schema);
    (!rules.has_errors()).then_some(Crd { shape, rules })
});

/// Everything that is wrong with a resource, each with the field's path before it. Never a value: that may be a key.
///
/// Rules that compare with an earlier state are left to the API server: here, there is none.
#[must_use]
pub fn validate(polkadot: &Polkadot) -> Vec<String> {
    if let Some(words) = &polkadot.spec.unreadable {
        return vec![words.clone()];
    }
    let Some(crd) = &*CRD else {
        return vec!["this release's own schema is broken; this is a bug of polkafleet".into()];
    };
    let object = json!({"metadata": {"name": polkadot.metadata.name}, "spec": polkadot.spec});
    let wrong = misshapen(&object);
    // A rule is not asked about what has not even the form it expects.
    if wrong.is_empty() { broken_rules(&crd.rules, &object) } else { wrong }
}

/// What of an object has not the form that the schema gives it.
pub(super) fn misshapen(object: &Value) -> Vec<String> {
    let errors = CRD.iter().flat_map(|crd| crd.shape.iter_errors(object));
    errors.map(|error| at(&path(error.instance_path()), &error.masked().to_string())).collect()
}

fn broken_rules(rules: &CompiledSchema, object: &Value) -> Vec<String> {
    let broken = kube_cel::Validator::new().validate_compiled(rules, object, None).err();
    broken.iter().flatten().map(|error| at(&error.field_path, error.message.trim())).collect()
}

fn at(path: &str, words: &str) -> String {
    if path.is_empty() { words.to_owned() } else { format!("{path}: {words}") }
}

/// `spec.sentry.extraArgs[0]`, as the API server writes it.
fn path(location: &Location) -> String {
    let mut path = String::new();
    for segment in location {
        match segment {
            LocationSegment::Property(key) if path.is_empty() => path.push_str(&key),
            LocationSegment::Property(key) => path.extend([".", &*key]),
            LocationSegment::Index(index) => path.extend(["[", &index.to_string(), "]"]),
        }
    }
    path
}

#[cfg(test)]
mod tests;
