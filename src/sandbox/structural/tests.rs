//! The words are those of a real API server (v1.36), which was asked the same.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::builtin::prepare;

const UNCHECKED: &str = "<nil>: Invalid value: null: some validation rules were not checked because the object was \
                         invalid; correct the existing errors to complete validation";

fn polkadot() -> Structural {
    let crd: Value = serde_yaml::from_str(include_str!("../../../deploy/crd.yaml")).unwrap();
    Structural::compile(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]).unwrap()
}

/// A schema with one field `f` in its spec.
fn with_field(field: &Value) -> Structural {
    let spec = json!({ "type": "object", "properties": { "f": field } });
    Structural::compile(&json!({ "type": "object", "properties": { "spec": spec } })).unwrap()
}

fn object(spec: &Value) -> Value {
    let metadata = json!({ "name": "x", "namespace": "t", "resourceVersion": "1" });
    json!({ "apiVersion": "g/v1", "kind": "K", "metadata": metadata, "spec": spec })
}

fn said(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn a_polkadot_gets_its_defaults_and_loses_what_is_unknown() {
    let mut object = object(
        &json!({ "kind": "Sentry", "clientVersion": null, "sentry": {}, "metricsSupport": null, "foo": 1 }),
    );
    let schema = polkadot();
    assert_eq!(schema.prune(&mut object), ["spec.foo"]);
    schema.default(&mut object);
    let off = json!({ "enabled": false });
    let wanted = json!({
        "kind": "Sentry", "clientVersion": null, "metricsSupport": off, "secureCommunicationSupport": off,
        "sentry": { "replicas": 1, "dataPersistenceSupport": off },
    });
    assert_eq!(object["spec"], wanted);
    assert!(schema.validate(&object, None).is_empty());
}

#[test]
fn mistakes_in_a_polkadot_are_said_in_the_words_of_the_server() {
    let cases = [
        (
            json!({ "kind": "X" }),
            vec![
                r#"spec.kind: Unsupported value: "X": supported values: "Sentry", "Validator", "SentryAndValidator""#,
                UNCHECKED,
            ],
        ),
        (json!({}), vec!["spec.kind: Required value", UNCHECKED]),
        (
            json!({ "kind": "SentryAndValidator" }),
            vec![
                "spec: Invalid value: sentry: required for kind Sentry and SentryAndValidator",
                "spec: Invalid value: validator: required for kind Validator and SentryAndValidator",
            ],
        ),
        (
            json!({ "kind": "Sentry", "sentry": { "replicas": 101 } }),
            vec![
                "spec.sentry.replicas: Invalid value: 101: spec.sentry.replicas in body should be less than or equal \
                 to 100",
            ],
        ),
        (
            json!({ "kind": "Sentry", "sentry": { "replicas": 1.5 } }),
            vec![
                r#"spec.sentry.replicas: Invalid value: "float64": spec.sentry.replicas in body must be of type int32: "float64""#,
                r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.sentry.replicas"#,
                UNCHECKED,
            ],
        ),
        (
            json!({ "kind": "Sentry", "sentry": { "resources": { "limits": { "cpu": true } } } }),
            vec![
                r#"spec.sentry.resources.limits.cpu: Invalid value: "boolean": spec.sentry.resources.limits.cpu in body must be of type integer,string: "boolean""#,
                UNCHECKED,
            ],
        ),
        (
            json!({ "kind": "Sentry", "sentry": { "dataPersistenceSupport": { "enabled": true } } }),
            vec![
                "spec.sentry.dataPersistenceSupport: Invalid value: persistentVolumeClaim: required when \
                 dataPersistenceSupport is enabled",
            ],
        ),
        (
            json!({ "kind": "Sentry", "sentry": {}, "clientVersion": "!" }),
            vec![
                r#"spec.clientVersion: Invalid value: "!": spec.clientVersion in body should match '^[A-Za-z0-9_][A-Za-z0-9._-]*$'"#,
            ],
        ),
    ];
    let schema = polkadot();
    for (spec, wanted) in cases {
        assert_eq!(said(&schema.validate(&object(&spec), None)), wanted, "{spec}");
    }
}

#[test]
fn a_rule_about_the_whole_object_has_no_field() {
    let mut long = object(&json!({ "kind": "Sentry", "sentry": {} }));
    long["metadata"]["name"] = json!("a".repeat(53));
    let causes = polkadot().validate(&long, None);
    let wanted = "K.g \"x\" is invalid: <nil>: Invalid value: metadata.name: at most 52 characters, because it becomes \
                  a label of pods";
    assert_eq!(message("K", "g", "x", &causes), wanted);
}

#[test]
fn a_wrong_status_is_named_with_the_path_that_the_server_names() {
    let old = object(&json!({ "kind": "Sentry", "sentry": {} }));
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let cases = [
        (
            json!({ "firstSettled": "soon" }),
            r#"status.firstSettled: Invalid value: "soon": firstSettled in body must be of type date-time: "soon""#,
        ),
        (json!("x"), r#"status: Invalid value: "string":  in body must be of type object: "string""#),
        (
            json!({ "conditions": [condition, condition] }),
            r#"status.conditions[1]: Duplicate value: {"type":"Ready"}"#,
        ),
    ];
    for (status, wanted) in cases {
        let mut new = old.clone();
        new["status"] = status;
        prepare::prepare_custom_status(&mut new, &old);
        assert_eq!(said(&polkadot().validate_status(&new, &old))[0], wanted);
    }
}

#[test]
fn every_keyword_has_its_words() {
    let field = |words: &str| format!("spec.f: Invalid value: {words}");
    let cases = [
        (json!({ "type": "string", "maxLength": 3 }), json!("abcd"), "spec.f: Too long: may not be more than 3 bytes".into()),
        (json!({ "type": "string", "minLength": 2 }), json!("a"), field(r#""a": spec.f in body should be at least 2 chars long"#)),
        (json!({ "type": "number", "maximum": 10, "exclusiveMaximum": true }), json!(10), field("10: spec.f in body should be less than 10")),
        (json!({ "type": "number", "minimum": 0.5 }), json!(0.1), field("0.1: spec.f in body should be greater than or equal to 0.5")),
        (json!({ "type": "integer", "multipleOf": 2 }), json!(5), field("5: spec.f in body should be a multiple of 2")),
        (json!({ "type": "array", "maxItems": 2, "items": { "type": "string" } }), json!(["a", "b", "c"]), "spec.f: Too many: 3: must have at most 2 items".into()),
        (json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }), json!([]), field("0: spec.f in body should have at least 1 items")),
        (json!({ "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } }), json!(["a", "a", "a"]), r#"spec.f[1]: Duplicate value: "a""#.into()),
        (json!({ "x-kubernetes-int-or-string": true }), json!(1.5), field(r#""number": spec.f in body must be of type integer,string: "number""#)),
        (json!({ "type": "string", "format": "date-time" }), json!(5), field(r#""int64": spec.f in body must be of type date-time: "int64""#)),
        (json!({ "type": "string", "format": "ipv4" }), json!("x"), field(r#""x": spec.f in body must be of type ipv4: "x""#)),
        (json!({ "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true }), json!({ "kind": "X" }), "spec.f.apiVersion: Required value".into()),
        (json!({ "type": "string", "not": { "enum": ["no"] } }), json!("no"), r#"<nil>: Invalid value: "": "spec.f" must not validate the schema (not)"#.into()),
        (json!({ "type": "object", "oneOf": [{ "required": ["p"] }, { "required": ["q"] }] }), json!({}), r#"<nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found none valid"#.into()),
    ];
    for (schema, value, wanted) in cases {
        let found = with_field(&schema).validate(&object(&json!({ "f": value })), None);
        assert_eq!(said(&found)[0], wanted, "{schema}");
    }
}

#[test]
fn nulls_are_dropped_defaulted_or_kept() {
    let cases = [
        (json!({ "type": "string", "default": "d" }), json!({ "f": null }), json!({ "f": "d" })),
        (
            json!({ "type": "string", "default": "d", "nullable": true }),
            json!({ "f": null }),
            json!({ "f": null }),
        ),
        (json!({ "type": "string" }), json!({ "f": null }), json!({})),
        (
            json!({ "type": "object", "default": { "u": 1 }, "properties": { "u": { "type": "integer" }, "w": { "type": "integer", "default": 2 } } }),
            json!({}),
            json!({ "f": { "u": 1, "w": 2 } }),
        ),
        (
            json!({ "type": "object", "additionalProperties": { "type": "string", "default": "d" } }),
            json!({ "f": { "a": null } }),
            json!({ "f": { "a": "d" } }),
        ),
        (json!({ "type": "integer" }), json!({ "f": 1.0 }), json!({ "f": 1 })),
    ];
    for (schema, spec, wanted) in cases {
        let mut object = object(&spec);
        with_field(&schema).default(&mut object);
        assert_eq!(object["spec"], wanted, "{schema}");
    }
}

#[test]
fn a_rule_that_fails_speaks_as_it_was_told_to() {
    let rule = |type_: &str, rule: Value| json!({ "type": type_, "x-kubernetes-validations": [rule] });
    let inner = |rule: Value| json!({ "type": "object", "properties": { "z": { "type": "integer" } }, "x-kubernetes-validations": [rule] });
    let cases = [
        (
            rule("integer", json!({ "rule": "self < 5" })),
            json!(7),
            "spec.f: Invalid value: 7: failed rule: self < 5",
        ),
        (
            rule(
                "integer",
                json!({ "rule": "self < 5", "messageExpression": "'got ' + string(self)", "reason": "FieldValueForbidden" }),
            ),
            json!(7),
            "spec.f: Forbidden: got 7",
        ),
        (
            rule("integer", json!({ "rule": "self < 5", "reason": "FieldValueDuplicate", "message": " m " })),
            json!(7),
            "spec.f: Duplicate value: 7",
        ),
        (
            inner(json!({ "rule": "self.z < 5", "fieldPath": ".z", "reason": "FieldValueRequired" })),
            json!({ "z": 7 }),
            "spec.f.z: Required value: failed rule: self.z < 5",
        ),
        (
            inner(json!({ "rule": "self.z < 5" })),
            json!({}),
            r#"spec.f: Invalid value: "object": no such key: z evaluating rule: self.z < 5"#,
        ),
    ];
    for (schema, value, wanted) in cases {
        let found = with_field(&schema).validate(&object(&json!({ "f": value })), None);
        assert_eq!(said(&found), [wanted], "{schema}");
    }
}

#[test]
fn a_rule_about_a_change_runs_where_there_is_one() {
    let fixed =
        with_field(&json!({ "type": "string", "x-kubernetes-validations": [{ "rule": "self == oldSelf" }] }));
    let rises = json!({ "rule": "!oldSelf.hasValue() || self > oldSelf.value()", "optionalOldSelf": true });
    let rising = with_field(&json!({ "type": "integer", "x-kubernetes-validations": [rises] }));
    let wrong = |schema: &Structural, new: Value, old: Option<Value>| {
        !schema.validate(&object(&new), old.map(|old| object(&old)).as_ref()).is_empty()
    };
    assert!(!wrong(&fixed, json!({ "f": "a" }), None));
    assert!(!wrong(&fixed, json!({ "f": "a" }), Some(json!({}))));
    assert!(wrong(&fixed, json!({ "f": "a" }), Some(json!({ "f": "b" }))));
    assert!(!wrong(&rising, json!({ "f": 1 }), None));
    assert!(!wrong(&rising, json!({ "f": 2 }), Some(json!({ "f": 1 }))));
    assert!(wrong(&rising, json!({ "f": 1 }), Some(json!({ "f": 2 }))));
}

#[test]
fn an_old_mistake_passes_until_it_is_touched() {
    let item = json!({
        "type": "object",
        "properties": { "k": { "type": "string" }, "v": { "type": "integer" } },
        "x-kubernetes-validations": [{ "rule": "self.k != 'bad'", "message": "bad k" }],
    });
    let keys = json!(["k"]);
    let schema = with_field(&json!({
        "type": "array", "maxItems": 1, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": item,
    }));
    let rule = with_field(&json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": item,
    }));
    let old = object(&json!({ "f": [{ "k": "bad", "v": 1 }, { "k": "ok", "v": 2 }] }));
    let with =
        |bad: i64, ok: i64| object(&json!({ "f": [{ "k": "bad", "v": bad }, { "k": "ok", "v": ok }] }));
    assert!(schema.validate(&old, Some(&old)).is_empty());
    assert_eq!(
        said(&schema.validate(&with(1, 3), Some(&old)))[0],
        "spec.f: Too many: 2: must have at most 1 item"
    );
    assert!(rule.validate(&with(1, 3), Some(&old)).is_empty());
    assert_eq!(said(&rule.validate(&with(2, 2), Some(&old))), ["spec.f[0]: Invalid value: bad k"]);
}

// === definitions ===

fn definition() -> Value {
    let schema =
        json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {} } } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "foos.y.example.com" },
        "spec": {
            "group": "y.example.com", "scope": "Namespaced", "names": { "kind": "Foo", "plural": "foos" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}

#[test]
fn a_definition_is_completed_and_established() {
    let mut crd = definition();
    crd::crd_defaults(&mut crd);
    prepare::prepare_create("CustomResourceDefinition", &mut crd);
    assert!(crd::validate_crd(&crd, None).is_empty());
    assert_eq!(crd["spec"]["conversion"], json!({ "strategy": "None" }));
    let names = json!({ "kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList" });
    assert_eq!(crd["spec"]["names"], names);
    let now = "2026-01-02T03:04:05.6Z".parse().unwrap();
    let status = crd::crd_status(&crd, now);
    assert_eq!(status["acceptedNames"], names);
    assert_eq!(status["storedVersions"], json!(["v1"]));
    assert_eq!(status["conditions"][1]["type"], "Established");
    assert_eq!(status["conditions"][1]["lastTransitionTime"], "2026-01-02T03:04:05Z");
    crd["status"] = status.clone();
    let later = "2027-01-02T03:04:05Z".parse().unwrap();
    assert_eq!(crd::crd_status(&crd, later), status, "what is so stays as it was said");
}

#[test]
fn mistakes_in_a_definition_are_said_in_the_words_of_the_server() {
    let schema = "spec.validation.openAPIV3Schema";
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let cases = [
        ("/metadata/name", json!("foo.y.example.com"), r#"metadata.name: Invalid value: "foo.y.example.com": must be spec.names.plural+"."+spec.group"#.to_owned()),
        ("/spec/scope", json!("X"), r#"spec.scope: Unsupported value: "X": supported values: "Cluster", "Namespaced""#.to_owned()),
        ("/spec/versions/0/storage", json!(false), r#"spec.versions: Invalid value: [{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]: must have exactly one version marked as storage version"#.to_owned()),
        ("/spec/versions/0/schema", json!({}), "spec.versions[0].schema.openAPIV3Schema: Required value".to_owned()),
        (at, json!({ "a": {} }), format!("{schema}.properties[spec].properties[a].type: Required value: must not be empty for specified object fields")),
        (at, json!({ "a": { "type": "array" } }), format!("{schema}.properties[spec].properties[a].items: Required value: must be specified")),
        (at, json!({ "a": { "type": "foo" } }), format!(r#"{schema}.properties[spec].properties[a].type: Unsupported value: "foo": supported values: "array", "boolean", "integer", "number", "object", "string""#)),
        (at, json!({ "a": { "type": "integer", "default": "x" } }), format!(r#"{schema}.properties[spec].properties[a].default: Invalid value: "string":  in body must be of type integer: "string""#)),
        (at, json!({ "a": { "type": "integer", "x-kubernetes-validations": [{ "rule": "" }] } }), format!("{schema}.properties[spec].properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified")),
    ];
    for (pointer, value, wanted) in cases {
        let mut crd = definition();
        *crd.pointer_mut(pointer).unwrap() = value;
        crd::crd_defaults(&mut crd);
        prepare::prepare_create("CustomResourceDefinition", &mut crd);
        assert_eq!(said(&crd::validate_crd(&crd, None))[0], wanted);
    }
}
