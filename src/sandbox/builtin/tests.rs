//! The words and forms are those of a real API server (v1.36), which was asked the same.

use serde_json::{Value, json};

use super::{allocate::Resource, *};
use crate::sandbox::cause::{Cause, message};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                     validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                   alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                   '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// An object of `kind` that the server takes.
fn base(kind: &str) -> (&'static str, Value) {
    let containers = json!([{ "name": "c", "image": "i:1" }]);
    let (group, content) = match kind {
        "StatefulSet" => (
            "apps",
            json!({ "spec": {
                "serviceName": "s", "selector": { "matchLabels": { "a": "b" } },
                "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": containers } },
            } }),
        ),
        "Pod" => ("", json!({ "spec": { "containers": containers } })),
        "Service" => ("", json!({ "spec": { "selector": { "a": "b" }, "ports": [{ "port": 80 }] } })),
        "NetworkPolicy" => (
            "networking.k8s.io",
            json!({ "spec": { "podSelector": {}, "ingress": [{ "ports": [{ "port": 80 }] }] } }),
        ),
        "Secret" => ("", json!({ "data": { "k": "dg==" } })),
        "ConfigMap" => ("", json!({ "data": { "k": "v" } })),
        "PersistentVolumeClaim" => (
            "",
            json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }),
        ),
        "PodDisruptionBudget" => ("policy", json!({ "spec": { "minAvailable": 1 } })),
        "Lease" => ("coordination.k8s.io", json!({ "spec": { "leaseDurationSeconds": 15 } })),
        "Event" => ("", json!({ "involvedObject": { "namespace": "t" } })),
        _ => ("", json!({})),
    };
    let mut object =
        json!({ "kind": kind, "metadata": { "name": "x", "namespace": "t", "resourceVersion": "1" } });
    merge(&mut object, &content);
    (group, object)
}

/// Lays `patch` over `object`; null removes.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return object.clone_from(patch) };
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else if value.is_object() && object.get(key).is_some_and(Value::is_object) {
            merge(&mut object[key], value);
        } else {
            object[key] = value.clone();
        }
    }
}

/// `base` with `patch`, as it is stored on creation.
fn created(kind: &str, patch: &Value) -> Value {
    let (group, mut object) = base(kind);
    merge(&mut object, patch);
    assert_eq!(types::type_errors(group, kind, &object), None);
    types::canonicalize(group, kind, &mut object);
    defaults::default(group, kind, &mut object);
    defaults::admit(kind, &mut object, "abcde");
    prepare::prepare_create(kind, &mut object);
    object
}

fn updated(kind: &str, old: &Value, patch: &Value) -> Value {
    let (group, _) = base(kind);
    let mut new = old.clone();
    merge(&mut new, patch);
    types::canonicalize(group, kind, &mut new);
    defaults::default(group, kind, &mut new);
    prepare::prepare_update(kind, &mut new, old);
    prepare::complete_update(kind, &mut new, old);
    new
}

fn said(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn what_is_right_is_taken() {
    for kind in [
        "StatefulSet",
        "Pod",
        "Service",
        "NetworkPolicy",
        "Secret",
        "ConfigMap",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Lease",
        "Event",
        "Namespace",
    ] {
        let (group, object) = (base(kind).0, created(kind, &json!({})));
        assert_eq!(validate::validate(group, kind, &object, None), [], "{kind}");
        let new = updated(kind, &object, &json!({ "metadata": { "labels": { "l": "m" } } }));
        assert_eq!(validate::validate(group, kind, &new, Some(&object)), [], "{kind}");
    }
}

#[test]
fn mistakes_are_said_in_the_words_of_the_server() {
    let template = |spec: Value| json!({ "spec": { "template": { "spec": spec } } });
    let container = |fields: Value| {
        let mut container = json!({ "name": "c", "image": "i:1" });
        merge(&mut container, &fields);
        template(json!({ "containers": [container] }))
    };
    let rule = |fields: Value| json!({ "spec": { "ingress": [fields] } });
    let at = "spec.template.spec.containers[0]";
    let cases = [
        ("ConfigMap", json!({ "metadata": { "labels": { "a b": "c" } } }), format!("metadata.labels: Invalid value: \"a b\": {KEY}")),
        ("ConfigMap", json!({ "metadata": { "finalizers": ["abc"] } }), "metadata.finalizers[0]: Invalid value: \"abc\": name is neither a standard finalizer name nor is it fully qualified".into()),
        ("ConfigMap", json!({ "metadata": { "name": "" } }), "metadata.name: Required value: name or generateName is required".into()),
        ("ConfigMap", json!({ "data": { "..": "v" } }), "data[..]: Invalid value: \"..\": must not be '..'".into()),
        ("ConfigMap", json!({ "data": { "k": "v".repeat(1_048_577) } }), "[]: Too long: may not be more than 1048576 bytes".into()),
        ("Secret", json!({ "type": "kubernetes.io/tls" }), "data[tls.crt]: Required value".into()),
        ("Service", json!({ "metadata": { "name": "a.b" } }), "metadata.name: Invalid value: \"a.b\": must not contain dots".into()),
        ("Service", json!({ "spec": { "ports": [{ "port": 80 }, { "port": 81 }] } }), "spec.ports[0].name: Required value".into()),
        ("Service", json!({ "spec": { "ports": [{ "name": "a", "port": 80 }, { "name": "a", "port": 81 }] } }), "spec.ports[1].name: Duplicate value: \"a\"".into()),
        ("Service", json!({ "spec": { "ports": [{ "port": 0 }] } }), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive".into()),
        ("Service", json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30123 }] } }), "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'".into()),
        ("StatefulSet", json!({ "spec": { "selector": null } }), "spec.selector: Required value".into()),
        ("StatefulSet", json!({ "spec": { "selector": { "matchLabels": { "a": "c" } } } }), "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`".into()),
        ("StatefulSet", json!({ "spec": { "replicas": -1 } }), "spec.replicas: Invalid value: -1: must be greater than or equal to 0".into()),
        ("StatefulSet", json!({ "spec": { "updateStrategy": { "type": "X" } } }), "spec.updateStrategy: Invalid value: {\"Type\":\"X\",\"RollingUpdate\":null}: must be 'RollingUpdate' or 'OnDelete'".into()),
        ("StatefulSet", json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": -1 } } } }), "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0".into()),
        ("StatefulSet", template(json!({ "containers": [] })), "spec.template.spec.containers: Required value".into()),
        ("StatefulSet", template(json!({ "restartPolicy": "Never" })), "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"".into()),
        ("StatefulSet", container(json!({ "name": "C_" })), format!("{at}.name: Invalid value: \"C_\": {LABEL}")),
        ("StatefulSet", container(json!({ "image": "" })), format!("{at}.image: Required value")),
        ("StatefulSet", container(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/d" }] })), format!("{at}.volumeMounts[0].name: Not found: \"v\"")),
        ("StatefulSet", container(json!({ "livenessProbe": {} })), format!("{at}.livenessProbe: Required value: must specify a handler type")),
        ("StatefulSet", container(json!({ "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "2" } } })), format!("{at}.resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1")),
        ("NetworkPolicy", rule(json!({ "ports": [{ "port": 70000 }] })), "spec.ingress[0].ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive".into()),
        ("NetworkPolicy", rule(json!({ "from": [{}] })), "spec.ingress[0].from[0]: Required value: must specify a peer".into()),
        ("NetworkPolicy", rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"] } }] })), "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/9\": must be a strict subset of `cidr`".into()),
        ("NetworkPolicy", rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.1/8" } }] })), "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length".into()),
        ("NetworkPolicy", json!({ "spec": { "policyTypes": ["X"] } }), "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\"".into()),
        ("PersistentVolumeClaim", json!({ "spec": { "accessModes": [] } }), "spec.accessModes: Required value: at least 1 access mode is required".into()),
        ("PodDisruptionBudget", json!({ "spec": { "maxUnavailable": 1 } }), "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set".into()),
        ("PodDisruptionBudget", json!({ "spec": { "minAvailable": "150%" } }), "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%".into()),
        ("Lease", json!({ "spec": { "leaseDurationSeconds": 0 } }), "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0".into()),
        ("Event", json!({ "involvedObject": { "namespace": "other" } }), "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace".into()),
    ];
    for (kind, patch, wanted) in cases {
        let (group, object) = (base(kind).0, created(kind, &patch));
        assert_eq!(
            said(&validate::validate(group, kind, &object, None)).first(),
            Some(&wanted),
            "{kind} {wanted}"
        );
    }
}

#[test]
fn what_cannot_change_is_refused() {
    let cases = [
        (
            "StatefulSet",
            json!({}),
            json!({ "spec": { "serviceName": "o" } }),
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ),
        ("Secret", json!({}), json!({ "type": "foo" }), "type: Invalid value: \"foo\": field is immutable"),
        (
            "Secret",
            json!({ "immutable": true }),
            json!({ "data": { "k": "dw==" } }),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "ConfigMap",
            json!({ "immutable": true }),
            json!({ "immutable": false }),
            "immutable: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "Service",
            json!({ "spec": { "clusterIP": "10.96.1.1" } }),
            json!({ "spec": { "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"] } }),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.1.2\"]: may not change once set",
        ),
    ];
    for (kind, old, patch, wanted) in cases {
        let (group, old) = (base(kind).0, created(kind, &old));
        let new = updated(kind, &old, &patch);
        assert_eq!(said(&validate::validate(group, kind, &new, Some(&old))), [wanted], "{kind}");
    }
}

#[test]
fn several_mistakes_are_one_sentence_and_none_is_said_twice() {
    let (group, old) = (base("ConfigMap").0, created("ConfigMap", &json!({})));
    let new = updated("ConfigMap", &old, &json!({ "metadata": { "labels": { "a b": "c" } } }));
    let causes = validate::validate(group, "ConfigMap", &new, Some(&old));
    assert_eq!(causes.len(), 4);
    let wanted = format!("ConfigMap \"x\" is invalid: metadata.labels: Invalid value: \"a b\": {KEY}");
    assert_eq!(message("ConfigMap", "", "x", &causes), wanted);
}

#[test]
fn a_wrong_type_is_named_as_the_decoder_names_it() {
    let cases = [
        (
            "StatefulSet",
            json!({ "spec": { "replicas": "two" } }),
            "string into Go struct field StatefulSetSpec.spec.replicas of type int32",
        ),
        (
            "StatefulSet",
            json!({ "spec": { "replicas": 1.5 } }),
            "number 1.5 into Go struct field StatefulSetSpec.spec.replicas of type int32",
        ),
        (
            "StatefulSet",
            json!({ "spec": { "template": { "spec": { "containers": {} } } } }),
            "object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            "StatefulSet",
            json!({ "spec": "x" }),
            "string into Go struct field StatefulSet.spec of type v1.StatefulSetSpec",
        ),
        (
            "ConfigMap",
            json!({ "metadata": { "labels": { "a": 1 } } }),
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "Service",
            json!({ "spec": { "ports": [{ "port": "80" }] } }),
            "string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        ("Secret", json!({ "data": { "k": 5 } }), "number into Go struct field Secret.data of type []uint8"),
    ];
    for (kind, patch, wanted) in cases {
        let (group, mut object) = base(kind);
        merge(&mut object, &patch);
        let wanted = format!(
            "{kind} in version \"v1\" cannot be handled as a {kind}: json: cannot unmarshal {wanted}"
        );
        assert_eq!(types::type_errors(group, kind, &object), Some(wanted));
    }
}

#[test]
fn a_stateful_set_is_stored_with_everything_the_server_adds() {
    let container = json!({ "name": "c", "image": "i", "resources": { "limits": { "cpu": "0.5", "memory": "1024Mi" } }, "command": [] });
    let patch = json!({ "spec": { "foo": 1, "template": { "spec": { "hostNetwork": false, "containers": [container] } } } });
    let stored = created("StatefulSet", &patch);
    let wanted = json!({
        "replicas": 1, "serviceName": "s", "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
        "selector": { "matchLabels": { "a": "b" } },
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain", "whenScaled": "Retain" },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": {
            "containers": [{
                "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
                "terminationMessagePath": "/dev/termination-log",
                "resources": { "limits": { "cpu": "500m", "memory": "1Gi" } },
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        } },
    });
    assert_eq!(stored["spec"], wanted);
    assert_eq!(stored["status"], json!({ "replicas": 0, "availableReplicas": 0 }));
}

#[test]
fn a_pod_is_admitted_with_its_token_and_its_tolerations() {
    let pod = created("Pod", &json!({}));
    assert_eq!(pod["spec"]["volumes"][0]["name"], "kube-api-access-abcde");
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
    assert_eq!(pod["spec"]["serviceAccount"], "default");
    assert_eq!(items(&pod, "/spec/tolerations").len(), 2);
    assert_eq!(pod["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    let bare = json!({ "spec": { "automountServiceAccountToken": false, "tolerations": [{ "operator": "Exists" }] } });
    let pod = created("Pod", &bare);
    assert_eq!(pod["spec"].get("volumes"), None);
    assert_eq!(items(&pod, "/spec/tolerations").len(), 1);
}

#[test]
fn the_generation_counts_changes_of_the_spec_only() {
    let mut old = created("StatefulSet", &json!({}));
    old["status"]["replicas"] = json!(3);
    let generation = |patch: Value| updated("StatefulSet", &old, &patch)["metadata"]["generation"].clone();
    assert_eq!(generation(json!({ "spec": { "replicas": 5 } })), 2);
    assert_eq!(generation(json!({ "metadata": { "labels": { "a": "b" }, "generation": 9 } })), 1);
    assert_eq!(generation(json!({ "status": { "replicas": 9 } })), 1);
    assert_eq!(
        updated("StatefulSet", &old, &json!({ "status": { "replicas": 9 } }))["status"]["replicas"],
        3
    );
    let mut new = old.clone();
    merge(&mut new, &json!({ "spec": { "replicas": 7 }, "status": { "replicas": 2 } }));
    prepare::prepare_status("StatefulSet", &mut new, &old);
    assert_eq!((&new["spec"]["replicas"], &new["status"]["replicas"]), (&json!(1), &json!(2)));
}

#[test]
fn secrets_keep_their_texts_as_data() {
    let secret = created("Secret", &json!({ "stringData": { "k": "w", "z": "y" } }));
    assert_eq!(secret["data"], json!({ "k": "dw==", "z": "eQ==" }));
    assert_eq!(secret.get("stringData"), None);
    assert_eq!(secret["type"], "Opaque");
}

#[test]
fn services_keep_what_they_were_given_and_give_it_back() {
    let taken = |resource| resource == Resource::Port(30086);
    let mut old = created("Service", &json!({ "spec": { "type": "NodePort" } }));
    allocate::allocate(&mut old, None, &taken, false).unwrap();
    assert_eq!(old["spec"]["clusterIPs"], json!(["10.96.1.0"]));
    assert_eq!(old["spec"]["ports"][0]["nodePort"], 30087);
    // A client that does not know of addresses sends none.
    let patch = json!({ "spec": { "clusterIP": null, "clusterIPs": null, "ports": [{ "port": 80 }] } });
    let mut new = updated("Service", &old, &patch);
    allocate::allocate(&mut new, Some(&old), &|_| true, false).unwrap();
    assert_eq!(new["spec"], old["spec"]);
    let new = updated("Service", &old, &json!({ "spec": { "type": "ClusterIP" } }));
    assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
    let new = updated("Service", &old, &json!({ "spec": { "type": "ExternalName", "externalName": "a.b" } }));
    assert_eq!((new["spec"].get("clusterIP"), new["spec"].get("clusterIPs")), (None, None));
    let headless = created("Service", &json!({ "spec": { "clusterIP": "None" } }));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn addresses_and_ports_that_cannot_be_had_are_refused() {
    let refused = |spec: Value, taken: bool| {
        let mut service = created("Service", &json!({ "spec": spec }));
        said(&allocate::allocate(&mut service, None, &|_| taken, false).unwrap_err())
    };
    let ports = |port: i64| json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }], "clusterIP": "10.96.9.9" });
    assert_eq!(
        refused(json!({ "clusterIP": "10.96.0.1" }), true),
        [
            r#"spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: provided IP is already allocated"#
        ]
    );
    assert_eq!(
        refused(json!({ "clusterIP": "1.2.3.4" }), false),
        [
            r#"spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided network does not match the current range"#
        ]
    );
    assert_eq!(
        refused(ports(123), false),
        [
            "spec.ports[0].nodePort: Invalid value: 123: provided port is not in the valid range. The range of valid ports is 30000-32767"
        ]
    );
}

#[test]
fn amounts_are_written_in_one_form() {
    let cases = [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("1000000", "1M"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("-1", "-1"),
        ("1", "1"),
    ];
    for (text, wanted) in cases {
        assert_eq!(
            quantity::Quantity::parse(text).map(|quantity| quantity.to_string()).as_deref(),
            Some(wanted)
        );
    }
    for text in ["", "abc", "1 Gi", "1.2.3", "5X"] {
        assert_eq!(quantity::Quantity::parse(text), None, "{text}");
    }
}
