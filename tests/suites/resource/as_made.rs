//! What is made for a resource, looked at once it is settled. The tests of a world look at the same objects.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::world::{Member, Place, World, sample};
use crate::support::{PATIENCE, eventually, in_both_worlds};

const VERSION: &str = "stable2503-6";

in_both_worlds! {
    fault_09_the_policy_lets_dns_through_and_of_the_validators_ports_only_those_that_are_needed,
    fault_10_services_sets_and_policies_select_the_pods_of_their_own_resource_only,
    fault_11_every_sentry_has_a_key_and_a_peer_id_of_its_own,
    fault_12_a_node_key_is_in_its_secret_and_nowhere_else,
    fault_13_no_rpc_is_unsafe_and_a_validators_is_reachable_by_nobody,
    fault_16_the_headless_service_that_names_the_pods_is_there,
    fault_18_the_metrics_port_is_on_the_containers_and_on_the_services,
    fault_19_the_status_says_what_there_is,
    fault_20_a_start_may_take_long_and_being_alive_is_not_being_ready,
    fault_22_a_node_has_time_to_end_and_drains_take_one_sentry_at_a_time,
    fault_23_nothing_runs_as_root_and_pod_security_restricted_admits_every_pod,
    what_happens_is_told_in_events,
}

/// The objects of a settled resource with two sentries, all switches on; as JSON, by name.
struct Objects {
    polkadot: Value,
    sets: BTreeMap<String, Value>,
    services: BTreeMap<String, Value>,
    policies: BTreeMap<String, Value>,
    budgets: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Value>,
    events: BTreeMap<String, Value>,
    /// What the daemon logged.
    said: String,
}

static REAL: OnceCell<Objects> = OnceCell::const_new();
static SANDBOX: OnceCell<Objects> = OnceCell::const_new();

async fn made(place: Place) -> &'static Objects {
    let objects = if matches!(place, Place::Sandbox) { &SANDBOX } else { &REAL };
    objects.get_or_init(|| make(place)).await
}

async fn make(place: Place) -> Objects {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let namespaces: Api<Namespace> = Api::all(member.admin.clone());
    let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(&world.namespace, &PatchParams::default(), &Patch::Merge(restricted)).await.unwrap();
    let mut polkadot = sample(VERSION, 0xa0);
    polkadot.spec.secure_communication_support.enabled = true;
    polkadot.spec.metrics_support.enabled = true;
    polkadot.spec.sentry.as_mut().unwrap().replicas = 2;
    member.create(&polkadot).await;
    let daemon = world.daemon();
    member.settles_at(VERSION).await;
    // Each event is posted after what it tells of, the one beside the other.
    for reason in ["Created", "PlainNodeKey", "VersionRuns", "Ready"] {
        member.event(reason).await;
    }
    let events = eventually("it is told that the resource is ready", PATIENCE, async || {
        let events = all::<Event>(member, &world).await;
        let told = events.values().any(|event| event["reason"] == "Ready" && is_of_resource(event));
        told.then_some(events)
    })
    .await;
    Objects {
        polkadot: serde_json::to_value(member.get().await).unwrap(),
        sets: all::<StatefulSet>(member, &world).await,
        services: all::<Service>(member, &world).await,
        policies: all::<NetworkPolicy>(member, &world).await,
        budgets: all::<PodDisruptionBudget>(member, &world).await,
        pods: all::<Pod>(member, &world).await,
        secrets: all::<Secret>(member, &world).await,
        events,
        said: daemon.said(),
    }
}

async fn all<K>(member: &Member, world: &World) -> BTreeMap<String, Value>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::namespaced(member.admin.clone(), &world.namespace);
    let list = api.list(&ListParams::default()).await.unwrap();
    list.into_iter().map(|one| (one.name_any(), serde_json::to_value(one).unwrap())).collect()
}

fn is_of_resource(event: &Value) -> bool {
    event["regarding"]["kind"] == "Polkadot"
}

fn client(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]
}

fn names(ports: &Value) -> Vec<&str> {
    ports.as_array().unwrap().iter().map(|port| port["name"].as_str().unwrap()).collect()
}

async fn fault_09_the_policy_lets_dns_through_and_of_the_validators_ports_only_those_that_are_needed(
    place: Place,
) {
    let policy = &made(place).await.policies["validator-networkpolicy"]["spec"];
    let ports = |rule: &Value| -> Vec<u64> {
        rule["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let rules = |way: &str| policy[way].as_array().unwrap().iter().map(ports).collect::<Vec<_>>();
    assert_eq!(rules("egress"), [vec![30333], vec![53, 53, 5353, 5353]]);
    assert_eq!(rules("ingress"), [vec![30333], vec![9615]]);
    assert!(policy["egress"][1].get("to").is_none(), "wherever DNS is");
}

async fn fault_10_services_sets_and_policies_select_the_pods_of_their_own_resource_only(place: Place) {
    let objects = made(place).await;
    let own = |selector: &Value| {
        assert_eq!(selector["polkadot.swisscomblockchain.com/instance"], "polkadot-cr", "{selector}");
    };
    objects.sets.values().for_each(|set| own(&set["spec"]["selector"]["matchLabels"]));
    objects.services.values().for_each(|service| own(&service["spec"]["selector"]));
    objects.policies.values().for_each(|policy| own(&policy["spec"]["podSelector"]["matchLabels"]));
    objects.budgets.values().for_each(|budget| own(&budget["spec"]["selector"]["matchLabels"]));
}

async fn fault_11_every_sentry_has_a_key_and_a_peer_id_of_its_own(place: Place) {
    let objects = made(place).await;
    let data = objects.secrets["sentry-node-keys"]["data"].as_object().unwrap();
    assert!(data.len() == 2 && data["sentry-sset-0"] != data["sentry-sset-1"]);
    let nodes = objects.polkadot["status"]["nodes"].as_array().unwrap();
    let mut peers: Vec<_> = nodes.iter().map(|node| node["peerID"].as_str().unwrap()).collect();
    peers.sort_unstable();
    peers.dedup();
    assert_eq!(peers.len(), 3);
}

async fn fault_12_a_node_key_is_in_its_secret_and_nowhere_else(place: Place) {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let objects = made(place).await;
    let others = [&objects.sets, &objects.services, &objects.policies, &objects.pods, &objects.events];
    let mut everything = serde_json::to_string(&others).unwrap();
    everything += &objects.polkadot["status"].to_string();
    everything += &objects.said;
    assert!(everything.contains("sentry-node-keys"), "that is where it is");
    for secret in objects.secrets.values() {
        for (pod, data) in secret["data"].as_object().unwrap() {
            let data = data.as_str().unwrap();
            let key = BASE64_STANDARD.decode(data).unwrap();
            let hex = hex::encode(key);
            assert_eq!(hex.len(), 64);
            assert!(!everything.contains(&hex) && !everything.contains(data), "the key of {pod} is known");
        }
    }
}

async fn fault_13_no_rpc_is_unsafe_and_a_validators_is_reachable_by_nobody(place: Place) {
    let objects = made(place).await;
    for (name, pod) in &objects.pods {
        assert!(!client(pod)["args"].to_string().contains("unsafe"), "{name}");
    }
    let validator = client(&objects.pods["validator-sset-0"]);
    assert!(!validator["args"].to_string().contains("rpc-external"), "it listens on its own loopback");
    assert_eq!(names(&validator["ports"]), ["p2p", "http-metrics"]);
    let service = &objects.services["validator-service"]["spec"];
    assert_eq!(
        (service["type"].as_str(), names(&service["ports"])),
        (Some("ClusterIP"), vec!["p2p", "http-metrics"])
    );
}

async fn fault_16_the_headless_service_that_names_the_pods_is_there(place: Place) {
    let objects = made(place).await;
    for set in objects.sets.values() {
        let name = set["spec"]["serviceName"].as_str().unwrap();
        assert_eq!(objects.services[name]["spec"]["clusterIP"], "None");
    }
    let arguments = client(&objects.pods["sentry-sset-0"])["args"].to_string();
    assert!(arguments.contains("/dns/validator-sset-0.polkadot/tcp/30333/p2p/12D3KooW"), "{arguments}");
}

async fn fault_18_the_metrics_port_is_on_the_containers_and_on_the_services(place: Place) {
    let objects = made(place).await;
    for pod in objects.pods.values() {
        assert!(names(&client(pod)["ports"]).contains(&"http-metrics"));
    }
    for role in ["sentry-service", "validator-service"] {
        assert!(names(&objects.services[role]["spec"]["ports"]).contains(&"http-metrics"));
    }
}

async fn fault_19_the_status_says_what_there_is(place: Place) {
    let polkadot = &made(place).await.polkadot;
    let status = &polkadot["status"];
    assert_eq!(status["observedGeneration"], polkadot["metadata"]["generation"]);
    assert_eq!(status["version"], VERSION);
    let pods: Vec<_> = status["nodes"].as_array().unwrap().iter().map(|node| &node["pod"]).collect();
    assert_eq!(pods, ["sentry-sset-0", "sentry-sset-1", "validator-sset-0"]);
    let is = |type_: &str| {
        let all = status["conditions"].as_array().unwrap();
        all.iter().find(|one| one["type"] == type_).map(|one| one["status"].as_str().unwrap())
    };
    assert_eq!(["Ready", "Progressing", "Degraded"].map(is), [Some("True"), Some("False"), Some("False")]);
    assert_eq!(is("Stalled"), None);
}

async fn fault_20_a_start_may_take_long_and_being_alive_is_not_being_ready(place: Place) {
    let objects = made(place).await;
    let sentry = client(&objects.pods["sentry-sset-0"]);
    let startup = &sentry["startupProbe"];
    let bound = startup["periodSeconds"].as_u64().unwrap() * startup["failureThreshold"].as_u64().unwrap();
    assert!(bound >= 3600, "a database migration is not killed: {bound} s");
    let path = |probe: &str| sentry[probe]["httpGet"]["path"].as_str().unwrap();
    assert_eq!((path("livenessProbe"), path("readinessProbe")), ("/health", "/health/readiness"));
}

async fn fault_22_a_node_has_time_to_end_and_drains_take_one_sentry_at_a_time(place: Place) {
    let objects = made(place).await;
    for pod in objects.pods.values() {
        assert!(pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() >= 60);
    }
    let budgets: Vec<_> = objects.budgets.values().map(|budget| &budget["spec"]["maxUnavailable"]).collect();
    assert_eq!(budgets, [1], "of the sentries; a validator's is for whoever asks for it");
}

async fn fault_23_nothing_runs_as_root_and_pod_security_restricted_admits_every_pod(place: Place) {
    // That they are there is the proof: their namespace enforces it.
    let objects = made(place).await;
    assert_eq!(objects.pods.len(), 3);
    for pod in objects.pods.values() {
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
        assert!(pod["spec"].get("initContainers").is_none());
    }
}

async fn what_happens_is_told_in_events(place: Place) {
    let events = &made(place).await.events;
    let ours: Vec<_> = events.values().filter(|event| is_of_resource(event)).collect();
    let told = |reason: &str| {
        let event = ours.iter().find(|event| event["reason"] == reason);
        event.unwrap_or_else(|| panic!("no event {reason} in {ours:#?}"))
    };
    let created = told("Created")["note"].as_str().unwrap();
    assert!(
        created.contains("StatefulSet validator-sset") && created.contains("Service sentry-service"),
        "{created}"
    );
    assert_eq!(told("Created")["type"], "Normal");
    assert_eq!(told("PlainNodeKey")["type"], "Warning");
    assert!(told("VersionRuns")["note"].as_str().unwrap().contains(VERSION));
    assert_eq!(told("Ready")["regarding"]["name"], "polkadot-cr");
}
