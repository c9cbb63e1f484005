//! What becomes of a resource's objects when the resource changes, or when somebody else changes the objects.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use polkafleet::polkadot::Polkadot;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::world::{Member, Place, World, sample, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";

in_both_worlds! {
    fault_02_every_field_of_the_resource_reaches_the_pods_with_a_permitted_roll,
    fault_03_an_image_that_somebody_edits_is_put_back_and_nothing_restarts,
    fault_03_pods_that_run_an_image_which_somebody_wrote_are_made_anew,
    fault_04_after_a_change_objects_keep_their_owner_and_what_others_wrote_on_them,
    fault_06_services_follow_the_resource,
    an_object_that_lost_the_label_by_which_it_is_found_is_repaired_as_any_other,
    a_setting_that_is_edited_long_after_an_upgrade_is_rolled_and_fails_nothing,
    fault_07_the_policy_is_repaired_made_again_and_removed_when_it_is_switched_off,
    fault_17_the_addresses_of_peers_follow_the_port,
    fault_21_the_sentries_go_first_and_the_validator_when_they_are_ready,
    a_resource_is_on_its_way_while_its_pods_are_rolled_and_no_more_after_that,
    a_pod_that_fits_on_no_machine_says_why_in_the_schedulers_words,
    a_node_that_is_not_made_because_the_resource_is_held_is_not_called_down,
    fault_24_chain_pruning_database_and_more_arguments_reach_the_client,
}

/// A daemon with one settled resource, which an upgrade at its target owns: whatever restarts is permitted at once.
async fn settled(place: Place, key: u8, spec: Value) -> (World, Daemon) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &owned(OLD));
    let member = &world.members[0];
    let mut value = serde_json::to_value(sample(OLD, key)).unwrap();
    json_patch::merge(&mut value, &json!({"spec": spec}));
    member.create(&serde_json::from_value(value).unwrap()).await;
    let daemon = world.daemon();
    member.settles_at(OLD).await;
    (world, daemon)
}

fn owned(version: &str) -> Value {
    let mut fleet = upgrade(version, "0s");
    fleet["upgrades"][0]["stages"][1]["optional"] = json!(true);
    fleet
}

fn sets(member: &Member, world: &World) -> Api<StatefulSet> {
    Api::namespaced(member.admin.clone(), &world.namespace)
}

fn services(member: &Member, world: &World) -> Api<Service> {
    Api::namespaced(member.admin.clone(), &world.namespace)
}

async fn uids(member: &Member) -> BTreeMap<String, String> {
    member.pods().await.into_iter().map(|(name, pod)| (name, pod.uid().unwrap())).collect()
}

fn arguments(pod: &Pod) -> String {
    let spec = pod.spec.as_ref().unwrap();
    spec.containers[0].args.as_deref().unwrap_or_default().join(" ")
}

async fn every_pod(member: &Member, what: &str, is_so: impl Fn(&Pod) -> bool) {
    eventually(what, PATIENCE, async || {
        let pods = member.pods().await;
        (pods.len() == 2 && pods.values().all(&is_so)).then_some(())
    })
    .await;
}

async fn fault_02_every_field_of_the_resource_reaches_the_pods_with_a_permitted_roll(place: Place) {
    let (world, _daemon) = settled(place, 0xb0, json!({})).await;
    let member = &world.members[0];
    let changed = json!({"clientName": "Changed", "resources": {"limits": {"memory": "768Mi"}}});
    member.edit_spec(json!({"sentry": changed, "validator": changed})).await;
    every_pod(member, "name and limits have changed", |pod| {
        let limits = pod.spec.as_ref().unwrap().containers[0].resources.as_ref().unwrap().limits.as_ref();
        arguments(pod).contains("--name=Changed") && limits.unwrap()["memory"].0 == "768Mi"
    })
    .await;
    member.settles_at(OLD).await;
}

async fn fault_03_an_image_that_somebody_edits_is_put_back_and_nothing_restarts(place: Place) {
    let (world, _daemon) = settled(place, 0xb1, json!({})).await;
    let member = &world.members[0];
    let before = uids(member).await;
    let image = async || {
        let set = sets(member, &world).get("sentry-sset").await.unwrap();
        set.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap()
    };
    let right = image().await;
    let edit =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "polkadot", "image": "evil:1"}]}}}});
    let by = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
    sets(member, &world).patch("sentry-sset", &by, &Patch::Strategic(edit)).await.unwrap();
    eventually("the image is put back", PATIENCE, async || (image().await == right).then_some(())).await;
    member.settles_at(OLD).await;
    assert_eq!(uids(member).await, before);
}

async fn fault_03_pods_that_run_an_image_which_somebody_wrote_are_made_anew(place: Place) {
    let (world, daemon) = settled(place, 0xbc, json!({})).await;
    let member = &world.members[0];
    drop(daemon);
    let evil = json!({"spec": {
        "updateStrategy": {"rollingUpdate": {"partition": 0}},
        "template": {"spec": {"containers": [{"name": "polkadot", "image": "evil/img:1"}]}},
    }});
    let by = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
    sets(member, &world).patch("sentry-sset", &by, &Patch::Strategic(evil)).await.unwrap();
    let image = async || {
        let pod = member.pods().await.remove("sentry-sset-0")?;
        pod.spec?.containers[0].image.clone()
    };
    eventually("the pod runs it", PATIENCE, async || {
        (image().await.as_deref() == Some("evil/img:1")).then_some(())
    })
    .await;
    let _daemon = world.daemon();
    eventually("the pod runs what it should", PATIENCE, async || {
        image().await.filter(|image| image.ends_with(OLD)).map(drop)
    })
    .await;
    member.settles_at(OLD).await;
    eventually("nothing restarts unasked any more", PATIENCE, async || {
        let set = sets(member, &world).get("sentry-sset").await.unwrap();
        (set.spec?.update_strategy?.rolling_update?.partition == Some(1)).then_some(())
    })
    .await;
}

async fn fault_04_after_a_change_objects_keep_their_owner_and_what_others_wrote_on_them(place: Place) {
    let (world, _daemon) = settled(place, 0xb2, json!({})).await;
    let member = &world.members[0];
    let theirs = json!({"metadata": {"labels": {"team": "staking"}, "annotations": {"note": "theirs"}}});
    let by = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
    sets(member, &world).patch("sentry-sset", &by, &Patch::Merge(theirs)).await.unwrap();
    member.edit_spec(json!({"sentry": {"replicas": 2}})).await;
    let set = eventually("it is scaled", PATIENCE, async || {
        let set = sets(member, &world).get("sentry-sset").await.unwrap();
        (set.spec.as_ref()?.replicas == Some(2)).then_some(set)
    })
    .await;
    assert_eq!((&*set.labels()["team"], &*set.annotations()["note"]), ("staking", "theirs"));
    let owner = &set.owner_references()[0];
    assert_eq!((owner.controller, &owner.uid), (Some(true), &member.get().await.uid().unwrap()));
}

async fn fault_06_services_follow_the_resource(place: Place) {
    let (world, _daemon) =
        settled(place, 0xb3, json!({"kind": "Validator", "metricsSupport": {"enabled": false}})).await;
    let member = &world.members[0];
    let seen = async || {
        let spec = services(member, &world).get("validator-service").await.unwrap().spec.unwrap();
        let ports = spec.ports.unwrap_or_default().into_iter();
        (spec.type_.unwrap(), ports.map(|port| port.name.unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(seen().await, ("NodePort".into(), vec!["p2p".to_owned()]));
    member.edit_spec(json!({"kind": "SentryAndValidator", "metricsSupport": {"enabled": true}})).await;
    eventually("type and ports are those of a validator behind sentries", PATIENCE, async || {
        let (type_, ports) = seen().await;
        (type_ == "ClusterIP" && ports == ["p2p", "http-metrics"]).then_some(())
    })
    .await;
}

async fn fault_07_the_policy_is_repaired_made_again_and_removed_when_it_is_switched_off(place: Place) {
    let on = json!({"secureCommunicationSupport": {"enabled": true}});
    let (world, _daemon) = settled(place, 0xb4, on).await;
    let member = &world.members[0];
    let policies: Api<NetworkPolicy> = Api::namespaced(member.admin.clone(), &world.namespace);
    let name = "validator-networkpolicy";
    let right = policies.get(name).await.unwrap().spec;
    let is_right = async |what: &str| {
        eventually(what, PATIENCE, async || {
            policies.get_opt(name).await.unwrap().filter(|policy| policy.spec == right)
        })
        .await
    };
    let open = Patch::Merge(json!({"spec": {"ingress": [{}]}}));
    policies.patch(name, &PatchParams::default(), &open).await.unwrap();
    let repaired = is_right("a policy that somebody opened is closed again").await;
    policies.delete(name, &DeleteParams::default()).await.unwrap();
    let again = is_right("a policy that somebody deleted is made again").await;
    assert_ne!(repaired.uid(), again.uid());
    member.edit_spec(json!({"secureCommunicationSupport": {"enabled": false}})).await;
    eventually("it is removed", PATIENCE, async || {
        policies.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn fault_17_the_addresses_of_peers_follow_the_port(place: Place) {
    let (world, _daemon) = settled(place, 0xb5, json!({})).await;
    let member = &world.members[0];
    let mut fleet = owned(OLD);
    fleet["defaults"] = json!({"ports": {"p2p": 31000}});
    world.write_fleet(1, &fleet);
    every_pod(member, "nodes listen at the new port and look for their peers there", |pod| {
        let line = arguments(pod);
        line.contains("--listen-addr=/ip4/0.0.0.0/tcp/31000") && line.contains(".polkadot/tcp/31000/p2p/")
    })
    .await;
    let service = services(member, &world).get("validator-service").await.unwrap();
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 31000);
}

async fn fault_21_the_sentries_go_first_and_the_validator_when_they_are_ready(place: Place) {
    let (world, _daemon) = settled(place, 0xb6, json!({"sentry": {"replicas": 2}})).await;
    let member = &world.members[0];
    world.write_fleet(1, &owned(NEW));
    member.settles_at(NEW).await;
    let pods = member.pods().await;
    let began = |name: &str| pods[name].creation_timestamp().unwrap();
    let ready = |name: &str| {
        let conditions = pods[name].status.as_ref().unwrap().conditions.as_ref().unwrap();
        let ready = conditions.iter().find(|one| one.type_ == "Ready").unwrap();
        ready.last_transition_time.clone().unwrap()
    };
    assert!(began("sentry-sset-0") >= ready("sentry-sset-1"), "sentries one after the other");
    assert!(began("validator-sset-0") >= ready("sentry-sset-0"), "then the validator");
}

async fn a_resource_is_on_its_way_while_its_pods_are_rolled_and_no_more_after_that(place: Place) {
    let spec = json!({"kind": "Sentry", "sentry": {"replicas": 2}});
    let (world, _daemon) = settled(place, 0xb9, spec).await;
    let member = &world.members[0];
    let from = member.get().await.resource_version().unwrap();
    let polkadots = member.polkadots();
    let mut changes = polkadots.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    world.write_fleet(1, &owned(NEW));
    let is = |polkadot: &Polkadot, type_: &str, reason: &str| {
        let conditions = polkadot.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|one| one.type_ == type_ && one.status == "True" && one.reason == reason)
    };
    let mut rolling = 0;
    let seen = tokio::time::timeout(PATIENCE, async {
        while let Some(change) = changes.next().await {
            let WatchEvent::Modified(polkadot) = change.unwrap() else { continue };
            assert!(!is(&polkadot, "Progressing", "Rolling") || is(&polkadot, "Reconciling", "Rolling"));
            rolling += usize::from(is(&polkadot, "Progressing", "Rolling"));
            let settled = polkadot.status.as_ref().and_then(|status| status.settled.as_ref());
            if settled.is_some_and(|settled| settled.version == NEW) {
                return Some(polkadot);
            }
        }
        None
    });
    let settled = seen.await.unwrap().unwrap();
    assert!(rolling > 0, "the roll was on its way");
    let status = settled.status.as_ref().unwrap();
    let left = |one: &&polkafleet::polkadot::Condition| one.type_ == "Reconciling" || one.reason == "Rolling";
    assert_eq!(status.conditions.iter().find(left), None);
    assert!(is(&settled, "Ready", "AllNodesReady"));
}

async fn a_pod_that_fits_on_no_machine_says_why_in_the_schedulers_words(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &owned(OLD));
    let member = &world.members[0];
    let mut value = serde_json::to_value(sample(OLD, 0xba)).unwrap();
    json_patch::merge(
        &mut value,
        &json!({"spec": {"kind": "Sentry", "sentry": {"nodeSelector": {"no-such": "machine"}}}}),
    );
    member.create(&serde_json::from_value(value).unwrap()).await;
    let _daemon = world.daemon();
    eventually("every condition says why", PATIENCE, async || {
        let conditions = member.get().await.status?.conditions;
        let says = |type_: &str| {
            let words = conditions.iter().find(|one| one.type_ == type_).map(|one| one.message.as_str());
            words.is_some_and(|words| {
                words.contains("sentry-sset-0 (Unschedulable: ") && words.contains("selector")
            })
        };
        ["Ready", "Progressing", "Degraded"].into_iter().all(says).then_some(())
    })
    .await;
}

async fn a_node_that_is_not_made_because_the_resource_is_held_is_not_called_down(place: Place) {
    let (world, _daemon) = settled(place, 0xb8, json!({"kind": "Sentry", "sentry": {"replicas": 1}})).await;
    let member = &world.members[0];
    member.edit_spec(json!({"hold": "a look around", "sentry": {"replicas": 2}})).await;
    let conditions = eventually("it is seen to be held", PATIENCE, async || {
        let polkadot = member.get().await;
        let status =
            polkadot.status.filter(|status| status.observed_generation == polkadot.metadata.generation)?;
        status.conditions.iter().any(|one| one.type_ == "Held").then_some(status.conditions)
    })
    .await;
    let of = |type_: &str| conditions.iter().find(|one| one.type_ == type_).unwrap();
    for type_ in ["Degraded", "Progressing"] {
        assert_eq!(of(type_).status, "False", "{:?}", of(type_));
    }
    assert!(
        of("Ready").status == "False" && of("Ready").message.contains("sentry-sset-1"),
        "{:?}",
        of("Ready")
    );
    member.edit_spec(json!({"hold": null})).await;
    eventually("it is made once nothing holds it", PATIENCE, async || {
        member.pods().await.contains_key("sentry-sset-1").then_some(())
    })
    .await;
}

async fn fault_24_chain_pruning_database_and_more_arguments_reach_the_client(place: Place) {
    let wishes = json!({"pruning": "archive", "database": "paritydb", "extraArgs": ["--no-telemetry"]});
    let spec = json!({"chain": "kusama", "sentry": wishes, "validator": wishes});
    let (world, _daemon) = settled(place, 0xb7, spec).await;
    every_pod(&world.members[0], "it is said to the client", |pod| {
        let line = arguments(pod);
        ["--chain=kusama", "--state-pruning=archive", "--database=paritydb", "--no-telemetry"]
            .iter()
            .all(|argument| line.contains(argument))
    })
    .await;
}

async fn an_object_that_lost_the_label_by_which_it_is_found_is_repaired_as_any_other(place: Place) {
    let (world, _daemon) = settled(place, 0x36, json!({})).await;
    let member = &world.members[0];
    let before: Vec<_> = member.pods().await.into_values().map(|pod| pod.uid()).collect();
    let lost = Patch::Merge(json!({"metadata": {"labels": {"app": "evil"}}, "spec": {"replicas": 2}}));
    sets(member, &world).patch("validator-sset", &PatchParams::default(), &lost).await.unwrap();
    let ports = json!([{"name": "p2p", "port": 31333, "targetPort": 30333, "protocol": "TCP"}]);
    let lost = Patch::Merge(json!({"metadata": {"labels": {"app": null}}, "spec": {"ports": ports}}));
    let service = services(member, &world).list(&kube::api::ListParams::default()).await.unwrap();
    let service = service.items.into_iter().find(|one| one.name_any().contains("validator")).unwrap();
    services(member, &world).patch(&service.name_any(), &PatchParams::default(), &lost).await.unwrap();
    eventually("both are repaired", PATIENCE, async || {
        let set = sets(member, &world).get("validator-sset").await.unwrap();
        let now = services(member, &world).get(&service.name_any()).await.unwrap();
        let ports = |service: &Service| service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port;
        let is_well = set.labels().get("app").is_some_and(|app| app == "polkadot")
            && set.spec.unwrap().replicas == Some(1)
            && now.labels().get("app") == service.labels().get("app")
            && ports(&now) == ports(&service);
        is_well.then_some(())
    })
    .await;
    member.settles_at(OLD).await;
    eventually("the second validator is gone and nothing else was restarted", PATIENCE, async || {
        let after: Vec<_> = member.pods().await.into_values().map(|pod| pod.uid()).collect();
        (before == after).then_some(())
    })
    .await;
}

async fn a_setting_that_is_edited_long_after_an_upgrade_is_rolled_and_fails_nothing(place: Place) {
    let (world, daemon) = settled(place, 0x37, json!({})).await;
    let member = &world.members[0];
    let mut fleet = owned(NEW);
    // Long after: later than the deadline of the step. In the sandbox, starting a pod takes more of the fleet's time.
    let deadline = if matches!(place, Place::Sandbox) { 1_800 } else { 45 };
    fleet["upgrades"][0]["progressDeadline"] = json!(format!("{deadline}s"));
    world.write_fleet(1, &fleet);
    let settled = member.settles_at(NEW).await;
    let reached = settled.status.unwrap().settled.unwrap().since.0;
    eventually("the deadline of the step is past", PATIENCE, async || {
        (world.now().duration_since(reached) > jiff::SignedDuration::from_secs(deadline + 5)).then_some(())
    })
    .await;
    // On a busy machine the step itself may have been late.
    let halts = || daemon.said().matches("is halted").count();
    let before = halts();
    member.edit_spec(json!({"sentry": {"podAnnotations": {"edited": "yes"}}})).await;
    eventually("the sentry was restarted for it", PATIENCE, async || {
        let pods = member.pods().await;
        (pods.get("sentry-sset-0")?.annotations().get("edited")? == "yes").then_some(())
    })
    .await;
    member.settles_at(NEW).await;
    assert_eq!(halts(), before, "{}", daemon.said());
}
