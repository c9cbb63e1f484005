use serde_json::{Value, json};

use super::{Shape, prune};

fn builtin(api_version: &str, kind: &str) -> std::sync::Arc<Shape> {
    Shape::of_builtin(api_version, kind).unwrap()
}

fn at<'a>(shape: &'a Shape, path: &str) -> &'a Shape {
    path.split('.').fold(shape, |shape, key| match key {
        "[]" => shape.item(),
        key => shape.under(key).unwrap(),
    })
}

fn polkadot() -> Shape {
    let crd: Value = serde_yaml::from_str(include_str!("../../../deploy/crd.yaml")).unwrap();
    Shape::of_crd(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
}

#[test]
fn unknown_fields_of_a_built_in_kind_are_dropped_and_named() {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "zzz": 1, "metadata": {"name": "x", "foo": 1},
        "spec": {"selector": {"matchLabels": {"a": "b"}, "x": 1}, "template": {"spec": {"aaa": 1, "containers": [
            {"name": "c", "bar": 1, "ports": [{"containerPort": 1, "baz": 2}]},
        ]}}},
    });
    let unknown = prune(&mut object, &builtin("apps/v1", "StatefulSet"));
    assert_eq!(
        unknown,
        [
            "metadata.foo",
            "spec.selector.x",
            "spec.template.spec.aaa",
            "spec.template.spec.containers[0].bar",
            "spec.template.spec.containers[0].ports[0].baz",
            "zzz",
        ]
    );
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c", "ports": [{"containerPort": 1}]}])
    );
}

#[test]
fn unknown_fields_of_a_custom_resource_are_named_sorted_as_text() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "bare": {"type": "object"},
    }}}});
    let items: Vec<Value> = (0..11).map(|port| json!({"port": port, "z": 1})).collect();
    let mut object = json!({"spec": {"list": items, "any": {"q": 1}, "bare": {"q": 1}}});
    let unknown = prune(&mut object, &Shape::of_crd(&schema));
    assert_eq!(unknown[..4], ["spec.bare.q", "spec.list[0].z", "spec.list[10].z", "spec.list[1].z"]);
    assert_eq!(object["spec"]["any"], json!({"q": 1}));
    assert_eq!(object["spec"]["bare"], json!({}));
}

#[test]
fn the_polkadot_resource_has_the_shape_of_its_definition() {
    let shape = polkadot();
    let Shape::Keyed { keys, .. } = at(&shape, "status.conditions") else {
        panic!("conditions are not keyed")
    };
    assert_eq!(keys, &[("type".to_owned(), None)]);
    let mut object = json!({"metadata": {"foo": 1, "name": "x"}, "spec": {"nope": 1}, "status": {"u": 1}});
    assert_eq!(prune(&mut object, &shape), ["metadata.foo", "spec.nope", "status.u"]);
}

#[test]
fn lists_of_built_in_kinds_are_told_apart_by_the_servers_keys() {
    let keys = |api_version: &str, kind: &str, path: &str| match at(&builtin(api_version, kind), path) {
        Shape::Keyed { keys, .. } => keys.iter().map(|(key, default)| json!([key, default])).collect(),
        _ => vec![],
    };
    assert_eq!(keys("v1", "Service", "spec.ports"), [json!(["port", 0]), json!(["protocol", "TCP"])]);
    assert_eq!(keys("v1", "ServiceAccount", "secrets"), [json!(["name", null])]);
    assert_eq!(keys("v1", "Pod", "metadata.ownerReferences"), [json!(["uid", ""])]);
    assert_eq!(
        keys("apps/v1", "StatefulSet", "spec.template.spec.containers.[].volumeMounts"),
        [json!(["mountPath", ""])]
    );
    assert!(matches!(at(&builtin("v1", "Pod"), "spec.tolerations"), Shape::List(_)));
    assert!(matches!(at(&builtin("v1", "Pod"), "metadata.finalizers"), Shape::Set(_)));
    assert!(matches!(at(&builtin("v1", "Service"), "spec.selector"), Shape::Atomic(_)));
    assert!(matches!(at(&builtin("apps/v1", "ControllerRevision"), "data"), Shape::Atomic(_)));
}

#[test]
fn the_two_sorts_of_event_differ() {
    assert!(builtin("v1", "Event").under("involvedObject").is_some());
    assert!(builtin("events.k8s.io/v1", "Event").under("involvedObject").is_none());
    assert!(Shape::of_builtin("v1", "StatefulSet").is_none());
}

#[test]
fn fields_younger_than_the_types_are_known() {
    let mut pod =
        json!({"spec": {"hostnameOverride": "x", "containers": [{"restartPolicyRules": [{"a": 1}]}]}});
    assert!(prune(&mut pod, &builtin("v1", "Pod")).is_empty());
}
