use serde_json::{Value, json};

use super::{Element, FieldSet};

fn set(fields: &Value) -> FieldSet {
    FieldSet::parse(fields).unwrap()
}

#[test]
fn what_is_printed_is_what_was_read() {
    let fields = json!({
        "f:metadata": {"f:finalizers": {".": {}, "v:\"a.b/c\"": {}}, "f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:ports": {".": {}, r#"k:{"port":80,"protocol":"TCP"}"#: {".": {}, "f:port": {}}}, "i:3": {}},
    });
    assert_eq!(set(&fields).print(), fields);
}

#[test]
fn malformed_fields_are_refused_and_unknown_kinds_left_out() {
    assert_eq!(FieldSet::parse(&json!({"spec": {}})), None);
    assert_eq!(FieldSet::parse(&json!({"k:x": {}})), None);
    assert!(set(&json!({"z:new": {}})).is_empty());
}

#[test]
fn paths_read_as_in_the_servers_conflicts_and_list_each_level_before_the_next() {
    let fields = set(&json!({
        "f:metadata": {"f:finalizers": {"v:\"x\"": {}}},
        "f:spec": {
            "f:ports": {r#"k:{"port":9,"protocol":"TCP"}"#: {".": {}, "f:name": {}}, r#"k:{"port":80,"protocol":"TCP"}"#: {}},
            "f:replicas": {},
        },
    }));
    assert_eq!(
        fields.paths(),
        [
            ".metadata.finalizers[=\"x\"]",
            ".spec.replicas",
            ".spec.ports[port=9,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=9,protocol=\"TCP\"].name",
        ]
    );
}

#[test]
fn a_map_and_what_is_in_it_are_owned_apart() {
    let both = set(&json!({"f:data": {".": {}, "f:a": {}}}));
    let part = set(&json!({"f:data": {"f:a": {}}}));
    let map = set(&json!({"f:data": {}}));
    assert_eq!(both.difference(&part), map);
    assert_eq!(both.difference(&map), part);
    assert_eq!(part.union(&map), both);
    assert_eq!(both.intersection(&part), part);
    assert!(map.intersection(&part).is_empty());
    let [data, a] = ["data", "a"].map(Element::field);
    assert!(part.contains(&[data.clone(), a]) && !part.contains(&[data]));
}

#[test]
fn the_object_itself_has_no_owner() {
    let mut nothing = FieldSet::default();
    nothing.insert(&[]);
    assert!(nothing.is_empty());
}
