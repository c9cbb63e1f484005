//! What the environment says about the fleet, in the shape of the file. Pure: the environment is an argument.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json_schema;

/// What the environment says, in the file's shape, and which variable said it.
///
/// `POLKAFLEET__DEFAULTS__MAX_NODES…` has two underscores between levels: one would collide with the service links
/// that Kubernetes puts into pods. The old operator's five names work as they did.
pub(super) fn overlay(env: &[(String, String)]) -> (Value, BTreeMap<String, String>) {
    const OLD: [(&str, &[&str]); 5] = [
        ("IMAGE_CLIENT", &["defaults", "image"]),
        ("P2P_PORT", &["defaults", "ports", "p2p"]),
        ("RPC_PORT", &["defaults", "ports", "rpc"]),
        ("WS_PORT", &["defaults", "ports", "ws"]),
        ("METRICS_PORT", &["defaults", "ports", "metrics"]),
    ];
    let names = property_names();
    let (mut value, mut by_env) = (json!({}), BTreeMap::new());
    // An empty variable is as good as none, as everywhere.
    for (name, text) in env.iter().filter(|(_, text)| !text.is_empty()) {
        let path: Vec<String> = if let Some((_, path)) = OLD.iter().find(|(old, _)| old == name) {
            // A service link of a Service that happens to be called `p2p`, `rpc`, `ws` or `metrics`.
            if text.contains("://") {
                continue;
            }
            path.iter().map(ToString::to_string).collect()
        } else if let Some(rest) = name.strip_prefix("POLKAFLEET__") {
            let level =
                |part: &str| names.get(&part.to_lowercase()).cloned().unwrap_or_else(|| part.to_lowercase());
            rest.split("__").map(level).collect()
        } else {
            continue;
        };
        let scalar: Value = serde_yaml::from_str(text).unwrap_or_else(|_| json!(text));
        set(&mut value, &path, scalar);
        by_env.insert(path.join("."), name.clone());
    }
    (value, by_env)
}

fn set(value: &mut Value, path: &[String], scalar: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = scalar;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    set(&mut value[first.as_str()], rest, scalar);
}

/// Every key that the schema knows, by its lower-case form.
fn property_names() -> BTreeMap<String, String> {
    fn collect(schema: &Value, names: &mut BTreeMap<String, String>) {
        match schema {
            Value::Object(object) => {
                if let Some(Value::Object(properties)) = object.get("properties") {
                    names.extend(properties.keys().map(|key| (key.to_lowercase(), key.clone())));
                }
                object.values().for_each(|value| collect(value, names));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
            _ => {}
        }
    }
    let mut names = BTreeMap::new();
    collect(&json_schema(), &mut names);
    names
}
