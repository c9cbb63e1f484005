//! Reads a resource as the API server stores it, whatever an older CRD let through. Pure.
//!
//! A resource that this release cannot read is kept, as far as it can be read: its validator goes on counting in budgets,
//! and its condition says what is wrong. Nothing of it is touched.

use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::validate::misshapen;
use super::{Polkadot, PolkadotSpec};

/// The resource; what cannot be read of it is in [`PolkadotSpec::unreadable`].
#[must_use]
pub fn read(object: DynamicObject) -> Polkadot {
    let DynamicObject { metadata, mut data, .. } = object;
    let mut part = |key: &str| data.get_mut(key).map(Value::take).unwrap_or_default();
    let (spec, status) = (part("spec"), part("status"));
    let spec = field(&spec).unwrap_or_else(|| {
        let wrong = misshapen(&json!({"metadata": {"name": metadata.name}, "spec": spec}));
        let words = if wrong.is_empty() { "spec: cannot be read".to_owned() } else { wrong.join("; ") };
        PolkadotSpec { unreadable: Some(words), ..what_can_be_read(&spec) }
    });
    // A status that cannot be read is derived anew.
    Polkadot { metadata, spec, status: serde_json::from_value(status).ok().flatten() }
}

/// What decides where the resource counts: field by field.
fn what_can_be_read(spec: &Value) -> PolkadotSpec {
    PolkadotSpec {
        kind: field(&spec["kind"]).unwrap_or_default(),
        client_version: field(&spec["clientVersion"]),
        chain: field(&spec["chain"]),
        name_prefix: field(&spec["namePrefix"]),
        hold: field(&spec["hold"]),
        sentry: field(&spec["sentry"]),
        validator: field(&spec["validator"]),
        ..PolkadotSpec::default()
    }
}

fn field<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polkadot::Kind;

    fn stored(spec: &Value) -> Polkadot {
        let object = json!({
            "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
            "metadata": {"name": "one"}, "spec": spec, "status": {"version": "v0.9.43"},
        });
        read(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_fits_is_read_as_it_is() {
        let polkadot = stored(&json!({"kind": "Validator", "clientVersion": "stable2503", "validator": {}}));
        assert_eq!((polkadot.spec.kind, &polkadot.spec.unreadable), (Kind::Validator, &None));
        assert_eq!(polkadot.status.unwrap().version.as_deref(), Some("v0.9.43"));
    }

    #[test]
    fn what_does_not_fit_is_named_without_its_value_and_the_rest_still_counts() {
        let key = "13".repeat(32);
        let polkadot = stored(&json!({
            "kind": "Validator", "chain": "kusama", "clientVersion": "stable2503",
            "validator": {"nodeKey": [key]},
        }));
        let words = polkadot.spec.unreadable.as_deref().unwrap();
        assert!(words.contains("spec.validator.nodeKey") && !words.contains(&key), "{words}");
        assert_eq!((polkadot.spec.kind, polkadot.spec.chain.as_deref()), (Kind::Validator, Some("kusama")));
        assert_eq!(polkadot.spec.client_version.as_deref(), Some("stable2503"));
        assert!(polkadot.status.is_some());
    }
}
