//! The examples that are shipped, their schema, and what they say that has no effect yet.

use std::collections::BTreeSet;
use std::path::Path;

use super::{ONE, check, with};
use crate::fleet::file;

#[test]
fn the_shipped_examples_are_valid() {
    let schema = file::json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=./fleet.schema.json\n"), "{path:?}");
        if let Err(problems) = check(&text) {
            panic!("{path:?}: {problems:#?}");
        }
        let written: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let wrong: Vec<String> = validator.iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{path:?}: {wrong:?}");
        seen.insert(path.file_name().unwrap().to_owned());
    }
    let names = ["big.yaml", "fleet.yaml", "in-cluster.yaml", "minikube.yaml"];
    assert_eq!(seen, names.into_iter().map(Into::into).collect());
}

/// Every key of the schema, with the keys above it.
fn keys(schema: &serde_json::Value, at: &serde_json::Value, above: &str, found: &mut BTreeSet<String>) {
    let at = at["$ref"].as_str().map_or(at, |to| schema.pointer(&to[1..]).unwrap());
    if at["items"].is_object() {
        keys(schema, &at["items"], above, found);
    }
    for (key, below) in at["properties"].as_object().into_iter().flatten() {
        let path = format!("{above}.{key}");
        keys(schema, below, &path, found);
        found.insert(path);
    }
}

/// Every key of what is written, with the keys above it.
fn written_keys(at: &serde_json::Value, above: &str, found: &mut BTreeSet<String>) {
    for item in at.as_array().into_iter().flatten() {
        written_keys(item, above, found);
    }
    for (key, below) in at.as_object().into_iter().flatten() {
        let path = format!("{above}.{key}");
        written_keys(below, &path, found);
        found.insert(path);
    }
}

#[test]
fn the_example_that_explains_every_field_has_every_field() {
    let (schema, mut known, mut written) = (file::json_schema(), BTreeSet::new(), BTreeSet::new());
    keys(&schema, &schema, "", &mut known);
    let text = include_str!("../../../../fleet/fleet.yaml");
    written_keys(&serde_yaml::from_str(text).unwrap(), "", &mut written);
    // What a cluster may override is explained where it stands for all of them.
    let elsewhere = |key: &&String| {
        key.strip_prefix(".clusters").is_some_and(|key| written.contains(&format!(".defaults{key}")))
    };
    let missing: Vec<_> = known.difference(&written).filter(|key| !elsewhere(key)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_shipped_schema_is_the_generated_one() {
    let shipped: serde_json::Value =
        serde_json::from_str(include_str!("../../../../fleet/fleet.schema.json")).unwrap();
    assert_eq!(shipped, file::json_schema(), "run: polkafleet schema > fleet/fleet.schema.json");
}

#[test]
fn what_has_no_effect_yet_is_said_in_a_line_each() {
    assert_eq!(check(ONE).unwrap().without_effect(), Vec::<String>::new());
    let fleet = check(include_str!("../../../../fleet/fleet.yaml")).unwrap();
    let lines = fleet.without_effect();
    for part in ["guard", "traceUrl", "admin.listen"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:#?}");
    }
    let fleet = check(&with(
        "defaults: {probe: {interval: 1h}}, \
         telemetry: {otlp: {endpoint: 'http://a:1', protocol: http}}",
    ))
    .unwrap();
    assert_eq!(fleet.without_effect().len(), 1, "{:?}", fleet.without_effect());
}
