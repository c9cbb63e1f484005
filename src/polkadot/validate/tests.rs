use super::*;
use crate::polkadot::Polkadot;

const SAMPLE: &str = include_str!("../../../tests/samples/minikube.yaml");

fn changed(pointer: &str, value: &Value) -> Polkadot {
    let mut object: Value = serde_yaml::from_str(SAMPLE).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value.clone();
    serde_json::from_value(object).unwrap()
}

#[test]
fn the_old_readmes_sample_is_valid() {
    assert_eq!(validate(&serde_yaml::from_str(SAMPLE).unwrap()), Vec::<String>::new());
}

#[test]
fn what_slipped_past_an_older_crd_is_told_by_field_and_never_by_value() {
    let secret = "ab".repeat(31);
    for (pointer, value, path) in [
        ("/spec/sentry/replicas", json!(-1), "spec.sentry.replicas: "),
        ("/spec/validator/nodeKey", json!(secret), "spec.validator.nodeKey: "),
        ("/spec/validator/clientName", json!("a.b"), "spec.validator.clientName: "),
        ("/spec/clientVersion", json!("with space"), "spec.clientVersion: "),
        ("/spec/chain", json!("../etc"), "spec.chain: "),
        ("/spec/sentry/pruning", json!("some"), "spec.sentry.pruning: "),
    ] {
        let wrong = validate(&changed(pointer, &value));
        assert!(wrong.len() == 1 && wrong[0].starts_with(path), "{pointer}: {wrong:?}");
        assert!(!wrong[0].contains(&secret), "{wrong:?}");
    }
}

#[test]
fn the_rules_between_fields_speak_in_the_crds_own_words() {
    let mut polkadot: Polkadot = serde_yaml::from_str(SAMPLE).unwrap();
    polkadot.spec.validator = None;
    let wrong = validate(&polkadot);
    assert!(wrong.iter().any(|one| one.contains("validator: required for kind Validator")), "{wrong:?}");
    let url = validate(&changed("/spec/sentry/clientName", &json!("https:x")));
    assert!(url.iter().any(|one| one.contains("clientName: must not be a URL")), "{url:?}");
    let unclaimed = json!({"enabled": true});
    let wrong = validate(&changed("/spec/sentry/dataPersistenceSupport", &unclaimed));
    assert!(wrong.iter().any(|one| one.contains("persistentVolumeClaim: required")), "{wrong:?}");
}

#[test]
fn a_key_and_a_secret_with_a_key_are_refused_together() {
    for role in ["sentry", "validator"] {
        let mut object: Value = serde_yaml::from_str(SAMPLE).unwrap();
        object["spec"][role]["nodeKey"] = json!("ab".repeat(32));
        let valid = |object: &Value| validate(&serde_json::from_value(object.clone()).unwrap());
        assert_eq!(valid(&object), Vec::<String>::new());
        object["spec"][role]["nodeKeySecretRef"] = json!({"name": "keys"});
        let wrong = valid(&object);
        assert!(wrong.len() == 1 && wrong[0].contains("not together with nodeKeySecretRef"), "{wrong:?}");
    }
}
