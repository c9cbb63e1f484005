use serde_json::json;

use super::*;
use crate::observed::NodeView;
use crate::polkadot::{PolkadotSpec, Role};

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";

fn node(ordinal: i32, version: &str, machine: &str) -> NodeView {
    NodeView {
        pod: format!("sentry-sset-{ordinal}"),
        ordinal,
        hash: Some(version.into()),
        version: Some(version.into()),
        ready_since: Some(Timestamp::UNIX_EPOCH),
        stuck: None,
        machine: Some(machine.into()),
    }
}

fn sentries(nodes: Vec<NodeView>) -> Vec<RoleView> {
    vec![RoleView { role: Role::Sentry, hash: NEW.into(), nodes, volumes_added: false }]
}

/// A sentry that a step has given the new version.
fn stepped(prepull: bool) -> Polkadot {
    let text = format!("{{kind: Sentry, clientVersion: {NEW}, sentry: {{replicas: 1}}}}");
    let spec: PolkadotSpec = serde_yaml::from_str(&text).unwrap();
    let mut polkadot = Polkadot::new("one", spec);
    let step = json!({"upgrade": "u", "target": NEW, "attempt": 1, "prepull": prepull, "at": "2026-01-01T00:00:00Z"});
    polkadot.metadata.annotations = Some([(record::STEP_ANNOTATION.to_owned(), step.to_string())].into());
    polkadot
}

fn template() -> Template {
    let body =
        json!({"spec": {"containers": [{"image": format!("parity/polkadot:{NEW}"), "args": ["--chain=x"]}]}});
    Template { role: Role::Sentry, hash: NEW.into(), body }
}

fn wanted(roles: &[RoleView]) -> Vec<String> {
    let polkadot = stepped(true);
    let step = step(&polkadot).unwrap();
    trials(&polkadot, &step, roles, &[template()], &[]).into_iter().map(|trial| trial.machine).collect()
}

/// A trial's pod with this status.
fn pod(status: &Value) -> Arc<Pod> {
    let (_, mut body) = desired::prepull::pod(&stepped(true), &template(), "m1", 1);
    body["status"] = status.clone();
    body["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    Arc::new(serde_json::from_value(body).unwrap())
}

fn container(state: &Value) -> Value {
    json!([{"name": "version", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
}

#[test]
fn a_version_is_tried_once_on_every_machine_where_a_pod_is_to_restart_for_it() {
    assert_eq!(wanted(&sentries(vec![node(0, OLD, "a"), node(1, OLD, "b"), node(2, OLD, "a")])), ["a", "b"]);
}

#[test]
fn it_is_not_tried_where_it_runs_nor_where_no_pod_is() {
    assert_eq!(wanted(&sentries(vec![node(0, OLD, "a"), node(1, NEW, "a"), node(2, OLD, "b")])), ["b"]);
    let mut unready = node(1, NEW, "a");
    unready.ready_since = None;
    assert_eq!(wanted(&sentries(vec![node(0, OLD, "a"), unready])), ["a"], "it may not have started yet");
    let homeless = NodeView { machine: None, ..node(0, OLD, "a") };
    assert_eq!(wanted(&sentries(vec![homeless])), Vec::<String>::new());
}

#[test]
fn nothing_is_tried_where_the_step_does_not_ask_for_it_or_the_spec_is_another() {
    assert!(step(&stepped(true)).is_some());
    assert!(step(&stepped(false)).is_none());
    let mut changed = stepped(true);
    changed.spec.client_version = Some(OLD.into());
    assert!(step(&changed).is_none());
}

#[test]
fn another_attempt_machine_or_template_is_another_trial() {
    let name = |template: &Template, machine, attempt| {
        desired::prepull::pod(&stepped(true), template, machine, attempt).0
    };
    let first = name(&template(), "m1", 1);
    assert_eq!(first, name(&template(), "m1", 1));
    assert!(first.starts_with("polkadot-prepull-"), "{first}");
    let mut other = template();
    other.body["spec"]["imagePullSecrets"] = json!([{"name": "registry"}]);
    for another in [name(&template(), "m2", 1), name(&template(), "m1", 2), name(&other, "m1", 1)] {
        assert_ne!(first, another);
    }
}

#[test]
fn what_came_of_a_trial_is_told_with_image_and_machine() {
    let waits = |reason: &str| json!({"phase": "Pending", "containerStatuses": container(&json!({"waiting": {"reason": reason}}))});
    let ended = json!({"terminated": {"exitCode": 134, "message": "illegal instruction\n"}});
    let ended = json!({"phase": "Failed", "containerStatuses": container(&ended)});
    let late = json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "too late"});
    let full = json!({"phase": "Failed", "reason": "OutOfcpu", "message": "no room"});
    let say = |status: &Value| of(&pod(status), "m1");
    assert_eq!(say(&json!({})), Tried::Pending);
    assert_eq!(say(&waits("ContainerCreating")), Tried::Pending);
    assert_eq!(say(&json!({"phase": "Succeeded"})), Tried::Succeeded);
    let image = format!("parity/polkadot:{NEW}");
    for (status, reason) in [
        (waits("ImagePullBackOff"), "ImagePullBackOff"),
        (ended, "does not run: exit code 134: illegal instruction"),
        (late, "in time: too late"),
    ] {
        let Tried::Failed(words) = say(&status) else { panic!("{status}: {:?}", say(&status)) };
        for part in [image.as_str(), "m1", reason] {
            assert!(words.contains(part), "{part} in {words}");
        }
    }
    let Tried::Unable(words) = say(&full) else { panic!("{:?}", say(&full)) };
    assert!(words.contains("OutOfcpu: no room"), "{words}");
}

#[test]
fn a_pod_stays_as_long_as_its_trial_is_wanted_and_one_that_its_machine_refused_is_made_anew() {
    let polkadot = stepped(true);
    let of = |status: Value, after: i64, roles: &[RoleView]| {
        let pods = [pod(&status)];
        let trials = trials(&polkadot, &step(&polkadot).unwrap(), roles, &[template()], &pods);
        let made: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        surplus(&trials, &pods, made + SignedDuration::from_secs(after)).len()
    };
    let (pending, done) = (sentries(vec![node(0, OLD, "m1")]), sentries(vec![node(0, NEW, "m1")]));
    assert_eq!(of(json!({"phase": "Succeeded"}), 3600, &pending), 0, "it is what remembers the outcome");
    assert_eq!(of(json!({"phase": "Succeeded"}), 1, &done), 1);
    let evicted = json!({"phase": "Failed", "reason": "Evicted"});
    assert_eq!((of(evicted.clone(), 1, &pending), of(evicted, 60, &pending)), (0, 1));
}

#[test]
fn a_pod_that_may_not_be_made_is_no_fault_of_the_version() {
    let polkadot = stepped(true);
    let roles = sentries(vec![node(0, OLD, "m1")]);
    let trials = trials(&polkadot, &step(&polkadot).unwrap(), &roles, &[template()], &[]);
    assert_eq!(outcomes(&trials, None)["m1"], Tried::Pending);
    let Tried::Unable(words) = &outcomes(&trials, Some("exceeded quota"))["m1"] else { panic!() };
    assert!(words.contains("m1") && words.contains("exceeded quota"), "{words}");
}

#[test]
fn the_pod_is_admitted_like_a_node_and_no_service_policy_or_budget_selects_it() {
    use crate::desired::Basis;
    let mut polkadot = stepped(true);
    polkadot.spec.image_pull_secrets = serde_json::from_value(json!([{"name": "registry"}])).unwrap();
    let (settings, keys, inherited) = Default::default();
    let version = desired::client(&polkadot).unwrap();
    let basis =
        Basis { polkadot: &polkadot, settings: &settings, keys: &keys, version, inherited: &inherited };
    let template = desired::templates(&basis).remove(0);
    let (name, body) = desired::prepull::pod(&polkadot, &template, "m1", 1);
    let (node, spec) = (&template.body["spec"], &body["spec"]);
    for key in ["securityContext", "imagePullSecrets", "automountServiceAccountToken"] {
        assert!(!node[key].is_null() && spec[key] == node[key], "{key}: {spec}");
    }
    for key in ["image", "imagePullPolicy", "securityContext"] {
        let (of_node, own) = (&node["containers"][0][key], &spec["containers"][0][key]);
        assert!(!of_node.is_null() && own == of_node, "{key}: {spec}");
    }
    assert_eq!(spec["containers"][0]["args"], json!(["--version"]));
    assert!(spec["volumes"].is_null() && spec["containers"][0]["volumeMounts"].is_null(), "{spec}");
    assert_eq!((&spec["nodeName"], &spec["restartPolicy"]), (&json!("m1"), &json!("Never")));
    let labels = body["metadata"]["labels"].as_object().unwrap();
    for (key, value) in [basis.nodes_selector(), basis.pod_selector(Role::Sentry)].iter().flatten() {
        assert!(key != "app" || labels.get(key) != Some(&json!(value)), "{labels:?}");
    }
    assert!(
        basis.nodes_selector().contains_key("app") && basis.pod_selector(Role::Sentry).contains_key("app")
    );
    assert!(name.len() < 63, "{name}");
}
