//! Pods as they are, and what is read from them.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

#[test]
fn a_validator_that_runs_without_a_volume_keeps_no_keystore_although_one_is_wanted_now() {
    let persistence = json!({"enabled": true, "persistentVolumeClaim": {
        "metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}},
    }});
    let of = |persistence: &Value| -> Polkadot {
        serde_json::from_value(json!({
            "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
            "metadata": {"name": "one"},
            "spec": {"kind": "Validator", "validator": {"dataPersistenceSupport": persistence}},
        }))
        .unwrap()
    };
    let on = |volume: Value| -> Vec<Arc<Pod>> {
        let pod = json!({"metadata": {"name": "validator-sset-0"}, "spec": {"containers": [], "volumes": [volume]}});
        vec![Arc::new(serde_json::from_value(pod).unwrap())]
    };
    let claim = on(json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-validator-sset-0"}}));
    let none = on(json!({"name": "data", "emptyDir": {}}));
    let wanted = of(&persistence);
    let gone = BTreeMap::new();
    assert!(keystore_kept(&wanted, &claim, &gone) && keystore_kept(&wanted, &[], &gone));
    assert!(!keystore_kept(&wanted, &none, &gone), "switched on since");
    let off = of(&json!({"enabled": false}));
    assert!(!keystore_kept(&off, &claim, &gone), "its StatefulSet was deleted by hand");
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": "validator-sset"},
        "spec": {"selector": {}, "serviceName": "", "template": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
    }))
    .unwrap();
    let there = BTreeMap::from([("validator-sset".to_owned(), Arc::new(set))]);
    assert!(keystore_kept(&off, &claim, &there), "it is not switched off while it runs");
}

#[test]
fn a_pod_has_started_when_its_client_has_run_in_it_once() {
    let started = |state: Value, last: Value| {
        let container = json!({
            "name": "polkadot", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last,
        });
        let pod = json!({
            "metadata": {"name": "one"}, "spec": {"containers": [{"name": "polkadot"}]},
            "status": {"containerStatuses": [container]},
        });
        not_started(&[Arc::new(serde_json::from_value(pod).unwrap())]).is_empty()
    };
    let waits = json!({"waiting": {"reason": "ContainerCreating"}});
    assert!(!started(waits.clone(), json!({})));
    assert!(started(json!({"running": {}}), json!({})));
    assert!(started(waits, json!({"terminated": {"exitCode": 1}})), "between two crashes");
}

#[test]
fn a_pod_that_fits_on_no_machine_says_why_and_since_when() {
    let pod = |reason: Value| -> Pod {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let value = json!({
            "metadata": {}, "spec": {"containers": [{"name": "polkadot"}]},
            "status": {"phase": "Pending", "conditions": [condition]},
        });
        serde_json::from_value(value).unwrap()
    };
    let stuck = node_view("one".into(), 0, Some(&pod(json!("Unschedulable")))).stuck.unwrap();
    assert_eq!(stuck.to_string(), "Unschedulable: 0/3 nodes are available");
    assert_eq!(stuck.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(node_view("one".into(), 0, Some(&pod(json!(null)))).stuck, None, "not looked at yet");
}

#[test]
fn a_container_in_a_crash_loop_is_stuck_also_in_the_moments_in_which_it_runs() {
    let stuck = |restarts: i32, unready_since: &str, state: Value| {
        let container = json!({
            "name": "polkadot", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:10:00Z"}},
        });
        let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": unready_since});
        let status = json!({"conditions": [condition], "containerStatuses": [container]});
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {}, "spec": {"containers": [{"name": "polkadot"}]}, "status": status,
        }))
        .unwrap();
        node_view("validator-sset-0".into(), 0, Some(&pod)).stuck.map(|stuck| stuck.reason)
    };
    let since_the_start = "2026-01-01T00:00:00Z";
    let runs = || json!({"running": {"startedAt": "2026-01-01T00:10:10Z"}});
    let ended = || json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:10:12Z"}});
    let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    for state in [runs(), ended(), waits] {
        assert_eq!(stuck(2, since_the_start, state).as_deref(), Some(CRASH_LOOP));
    }
    assert_eq!(stuck(1, since_the_start, runs()), None, "one crash is none");
    assert_eq!(stuck(5, "2026-03-01T00:00:00Z", runs()), None, "it was Ready since");
    assert_eq!(stuck(0, since_the_start, json!({"waiting": {"reason": "ContainerCreating"}})), None);
}
