use serde_json::Value;

/// What `kubectl explain polkadot.spec` says of a field.
fn explained(path: &str) -> String {
    let crd = serde_json::to_value(crate::polkadot::crd()).unwrap();
    let mut field: Value =
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
    for part in path.split('.') {
        field = field["properties"][part].clone();
    }
    field["description"].as_str().unwrap().replace('\n', " ")
}

#[test]
fn explain_says_what_surprised_people() {
    for (path, words) in [
        ("hold", "does not protect from deleting the resource"),
        ("sentry.nodeKeySecretRef", "to change a key, name another Secret"),
        ("validator.nodeKeySecretRef", "to change a key, name another Secret"),
        ("sentry.dataPersistenceSupport.enabled", "`persistentVolumeClaim` is required"),
        ("sentry.dataPersistenceSupport.persistentVolumeClaim", "required when enabled"),
    ] {
        let text = explained(path);
        assert!(text.contains(words), "{path}: {text}");
    }
}
