//! Whether a live object already is what we would apply: a pure comparison by our manager's field set.
//!
//! Server-side apply records which fields are ours (`metadata.managedFields`, FieldsV1). An object is as wanted when
//! we own just the fields that we would apply and each has the wanted value. Then no request is needed. A field that
//! somebody else changed is no longer ours, so it shows as a difference.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};

use crate::polkadot::FIELD_MANAGER;

/// Whether applying `desired` would change `live`, whose field owners are `managed`.
#[must_use]
pub fn differs(desired: &Value, live: &Value, managed: &[ManagedFieldsEntry]) -> bool {
    let ours = managed.iter().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    match ours.and_then(|entry| entry.fields_v1.as_ref()) {
        Some(fields) => !same(&without_identity(desired), live, &fields.0, false),
        None => true,
    }
}

/// The apply configuration without what names the object: no field set holds that.
fn without_identity(desired: &Value) -> Value {
    let mut desired = desired.clone();
    if let Value::Object(object) = &mut desired {
        object.retain(|key, _| key != "apiVersion" && key != "kind");
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            for key in ["name", "namespace", "uid", "resourceVersion"] {
                metadata.remove(key);
            }
        }
    }
    desired
}

/// Whether `live` holds `desired` in just the fields of `fields`. `quantities`: strings are Kubernetes quantities.
fn same(desired: &Value, live: &Value, fields: &Value, quantities: bool) -> bool {
    let empty = Map::new();
    let fields = fields.as_object().unwrap_or(&empty);
    match desired {
        Value::Object(desired) if fields.keys().any(|key| key.starts_with("f:")) => {
            let owned = fields.keys().filter_map(|key| key.strip_prefix("f:"));
            owned.clone().count() == desired.len()
                && desired.iter().all(|(key, value)| {
                    let live = live.get(key).unwrap_or(&Value::Null);
                    fields
                        .get(&format!("f:{key}"))
                        .is_some_and(|fields| same(value, live, fields, quantities || holds_quantities(key)))
                })
        }
        Value::Array(desired) if fields.keys().any(|key| key.starts_with("k:")) => {
            let owned: Vec<_> = fields
                .iter()
                .filter_map(|(key, fields)| {
                    Some((serde_json::from_str(key.strip_prefix("k:")?).ok()?, fields))
                })
                .collect();
            owned.len() == desired.len()
                && desired.iter().all(|item| same_item(item, live, &owned, quantities))
        }
        _ => covers(desired, live, quantities),
    }
}

/// One item of a list whose items are told apart by keys.
fn same_item(item: &Value, live: &Value, owned: &[(Value, &Value)], quantities: bool) -> bool {
    let Some((key, fields)) = owned.iter().find(|(key, _)| covers(key, item, false)) else { return false };
    let live = live.as_array().and_then(|items| items.iter().find(|live| covers(key, live, false)));
    live.is_some_and(|live| same(item, live, fields, quantities))
}

/// Whether everything in `desired` is in `live`. In an atomic field the server's defaults stand beside our values;
/// whoever changes anything in it takes the whole of it from us, so no more than this need be compared.
pub(super) fn covers(desired: &Value, live: &Value, quantities: bool) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Null) => desired.is_empty(),
        (Value::Array(desired), Value::Null) => desired.is_empty(),
        (Value::Object(desired), Value::Object(live)) => desired.iter().all(|(key, value)| {
            covers(value, live.get(key).unwrap_or(&Value::Null), quantities || holds_quantities(key))
        }),
        (Value::Array(desired), Value::Array(live)) => {
            desired.len() == live.len()
                && desired.iter().zip(live).all(|(desired, live)| covers(desired, live, quantities))
        }
        (Value::String(desired), Value::String(live)) => {
            desired == live
                || (quantities && quantity(desired).is_some_and(|value| quantity(live) == Some(value)))
        }
        _ => desired == live,
    }
}

fn holds_quantities(key: &str) -> bool {
    matches!(key, "limits" | "requests")
}

/// A Kubernetes quantity in billionths: the server rewrites `0.5` as `500m`.
pub(super) fn quantity(text: &str) -> Option<i128> {
    const SUFFIXES: [(&str, i128); 16] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("n", 1),
        ("u", 1_000),
        ("m", 1_000_000),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    const BILLION: i128 = 1_000_000_000;
    if let Some((digits, power)) = exponent(text) {
        let scale = 10_i128.checked_pow(power.unsigned_abs())?;
        let value = quantity(digits)?;
        return if power < 0 { value.checked_div(scale) } else { value.checked_mul(scale) };
    }
    let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    // n, u and m divide; all others multiply.
    let unit = if matches!(*suffix, "n" | "u" | "m") { *factor } else { factor.checked_mul(BILLION)? };
    let (whole, part) =
        text.strip_suffix(suffix)?.split_once('.').unwrap_or((text.strip_suffix(suffix)?, ""));
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    digits.checked_mul(unit)?.checked_div(scale)
}

/// The parts of a number like `1e11`; a lone `E` stands for exa.
fn exponent(text: &str) -> Option<(&str, i32)> {
    let (digits, power) = text.split_once(['e', 'E'])?;
    let is_number = digits.ends_with(|last: char| last.is_ascii_digit() || last == '.');
    Some((digits, power.parse().ok()?)).filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    fn managed(fields: Value) -> Vec<ManagedFieldsEntry> {
        vec![ManagedFieldsEntry {
            manager: Some(FIELD_MANAGER.into()),
            operation: Some("Apply".into()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }]
    }

    fn desired() -> Value {
        json!({"kind": "X", "metadata": {"name": "x", "labels": {"a": "1"}}, "spec": {
            "replicas": 1,
            "ports": [{"name": "p2p", "port": 1, "protocol": "TCP"}],
            "limits": {"cpu": "0.5", "memory": "512Mi"},
            "claims": [{"kind": "PersistentVolumeClaim"}],
        }})
    }

    fn fields() -> Value {
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {
            "f:replicas": {},
            "f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}},
            "f:limits": {"f:cpu": {}, "f:memory": {}},
            "f:claims": {},
        }})
    }

    fn live() -> Value {
        json!({"kind": "X", "metadata": {"name": "x", "labels": {"a": "1", "theirs": "2"}, "uid": "u"}, "spec": {
            "replicas": 1,
            "ports": [{"name": "other", "port": 2, "protocol": "TCP"},
                      {"name": "p2p", "port": 1, "protocol": "TCP", "nodePort": 31000}],
            "limits": {"cpu": "500m", "memory": "512Mi"},
            "claims": [{"kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}],
            "theirs": true,
        }})
    }

    #[test]
    fn an_object_that_holds_our_fields_with_our_values_does_not_differ_whatever_others_added() {
        assert!(!differs(&desired(), &live(), &managed(fields())));
    }

    #[test]
    fn a_changed_value_a_lost_field_and_a_field_no_longer_wanted_each_differ() {
        let mut changed = live();
        changed["spec"]["replicas"] = json!(2);
        assert!(differs(&desired(), &changed, &managed(fields())));

        let mut lost = fields();
        lost["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        assert!(differs(&desired(), &live(), &managed(lost)));

        let mut unwanted = desired();
        unwanted["spec"].as_object_mut().unwrap().remove("replicas");
        assert!(differs(&unwanted, &live(), &managed(fields())));

        let mut fewer_ports = desired();
        fewer_ports["spec"]["ports"] = json!([]);
        assert!(differs(&fewer_ports, &live(), &managed(fields())));
    }

    #[test]
    fn an_object_that_we_never_applied_differs() {
        assert!(differs(&desired(), &live(), &[]));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        for (one, other) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1", "1000m"),
            ("2k", "2000"),
            ("1.5Gi", "1536Mi"),
            ("1e11", "100e9"),
            ("1.5E3", "1500"),
            ("25e-2", "250m"),
            ("1e18", "1E"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one} and {other}");
        }
        assert_ne!(quantity("1G"), quantity("1Gi"));
        for none in ["much", "", "e3", "1e", "1ee3", "1e3Gi", "1e99"] {
            assert_eq!(quantity(none), None, "{none}");
        }
    }
}
