//! What the old operator left is taken over without a restart, and what happens when it is still alive.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::support::world::{Member, Place, World, sample, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    what_the_old_operator_made_is_taken_over_without_a_restart_and_its_leftovers_go_with_the_first_permitted_roll,
    a_live_old_operator_shows_as_contested_and_is_not_fought,
    what_the_old_operator_ran_as_latest_goes_to_a_release_that_a_person_sets_once_that_is_permitted,
}

const VERSION: &str = "stable2503-6";
const OLD_OPERATOR: &str = "polkadot-operator";

/// A StatefulSet as the old operator made it: its labels, its selector, the key on the command line, a root container.
fn old_set(role: &str, key: &str, owner: Option<&Value>, version: &str) -> Value {
    let own = if role == "validator" { "--validator" } else { "--rpc-cors=all" };
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": format!("{role}-sset"),
            "labels": {"app": "polkadot", "role": role, "version": version},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": {
            "replicas": 1, "serviceName": "polkadot",
            "selector": {"matchLabels": {"app": "polkadot", "role": role}},
            "template": {
                "metadata": {"labels": {"app": "polkadot", "role": role}},
                "spec": {
                    "initContainers": [{
                        "name": "volume-mount-permissions-fix", "image": "busybox",
                        "command": ["chown", "-R", "1000:1000", "/polkadot"],
                        "securityContext": {"runAsUser": 0},
                    }],
                    "containers": [{
                        "name": "polkadot-client", "image": format!("parity/polkadot:{version}"),
                        "args": [own, format!("--node-key={key}"), "--port=30333", "--rpc-port=9944",
                                 "--unsafe-rpc-external", "--prometheus-external"],
                        "ports": [{"containerPort": 30333, "name": "p2p"}],
                    }],
                },
            },
        },
    })
}

fn old_service(role: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("{role}-service"), "labels": {"app": "polkadot", "role": role},
            "ownerReferences": [owner],
        },
        "spec": {
            "type": "NodePort", "selector": {"app": "polkadot", "role": role},
            "ports": [{"name": "p2p", "port": 30333, "targetPort": "p2p"}],
        },
    })
}

async fn old_operators_objects(member: &Member, world: &World, key: u8, version: &str) {
    member.create(&sample(version, key)).await;
    let owner = json!({
        "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot", "name": "polkadot-cr",
        "uid": member.get().await.uid(), "controller": true, "blockOwnerDeletion": true,
    });
    let by = PostParams { field_manager: Some(OLD_OPERATOR.into()), ..PostParams::default() };
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    // An update of the old operator drops the owner: here the validator had one.
    let sentry = old_set("sentry", &format!("{:0>64}", 13), Some(&owner), version);
    let validator = old_set("validator", &format!("{key:02x}").repeat(32), None, version);
    for set in [sentry, validator] {
        sets.create(&by, &serde_json::from_value(set).unwrap()).await.unwrap();
    }
    let services: Api<Service> = Api::namespaced(member.admin.clone(), &world.namespace);
    for role in ["sentry", "validator"] {
        services.create(&by, &serde_json::from_value(old_service(role, &owner)).unwrap()).await.unwrap();
    }
    eventually("the old operator's pods are Ready", PATIENCE, async || {
        let pods = member.pods().await;
        (pods.len() == 2 && pods.values().all(is_ready)).then_some(())
    })
    .await;
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

async fn uids(member: &Member) -> BTreeMap<String, String> {
    member.pods().await.into_iter().map(|(name, pod)| (name, pod.uid().unwrap())).collect()
}

async fn instance_label_selects(member: &Member, world: &World) -> Vec<bool> {
    let services: Api<Service> = Api::namespaced(member.admin.clone(), &world.namespace);
    let all = services.list(&ListParams::default().labels("app=polkadot")).await.unwrap();
    let labelled = |service: Service| {
        service.spec.unwrap().selector.unwrap().contains_key("polkadot.swisscomblockchain.com/instance")
    };
    all.items.into_iter().map(labelled).collect()
}

async fn what_the_old_operator_made_is_taken_over_without_a_restart_and_its_leftovers_go_with_the_first_permitted_roll(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    old_operators_objects(member, &world, 0x90, VERSION).await;
    let pods = uids(member).await;
    // An upgrade at its target already owns the resource: a roll would be permitted at once, also that of the validator,
    // whose old pod has no volume.
    let mut fleet = upgrade(VERSION, "0s");
    fleet["upgrades"][0]["allowEphemeral"] = serde_json::json!(true);
    world.write_fleet(1, &fleet);
    let _daemon = world.daemon();
    let words = member.condition("polkadot-cr", "LegacyTemplate").await;
    assert!(words.contains("validator-sset-0") && words.contains("sentry-sset-0"), "{words}");
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    for name in ["sentry-sset", "validator-sset"] {
        let set = eventually("the StatefulSet is taken over", PATIENCE, async || {
            let set = sets.get(name).await.unwrap();
            (set.owner_references().len() == 1 && !set.labels().contains_key("version")).then_some(set)
        })
        .await;
        let managers: Vec<_> =
            set.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
        assert!(!managers.iter().any(|manager| manager == OLD_OPERATOR), "{managers:?}");
        let strategy = set.spec.unwrap().update_strategy.unwrap().rolling_update.unwrap();
        assert_eq!(strategy.partition, Some(1), "nothing may restart without permission");
    }
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(uids(member).await, pods, "no pod was restarted");
    let selected = instance_label_selects(member, &world).await;
    assert!(selected.iter().all(|labelled| !labelled), "the pods would drop out of their Services");

    // What loses the label by which it is found, with an old template in it, gets the label back and nothing else.
    let lost = Patch::Merge(json!({"metadata": {"labels": {"app": null}}}));
    sets.patch("validator-sset", &PatchParams::default(), &lost).await.unwrap();
    eventually("it is found again", PATIENCE, async || {
        sets.get("validator-sset").await.unwrap().labels().contains_key("app").then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(uids(member).await, pods, "no pod was restarted");

    // Any change of the resource is permission asked for.
    member.edit_spec(json!({"validator": {"clientName": "Changed"}})).await;
    eventually("the leftovers are gone", PATIENCE, async || {
        let pods = member.pods().await;
        let ours = |pod: &Pod| pod.spec.as_ref().unwrap().init_containers.is_none() && is_ready(pod);
        (pods.len() == 2 && pods.values().all(ours)).then_some(())
    })
    .await;
    eventually("everything is as if it had always been ours", PATIENCE, async || {
        let conditions = member.get().await.status?.conditions;
        let over = conditions.iter().all(|one| one.type_ != "LegacyTemplate");
        (over && instance_label_selects(member, &world).await.iter().all(|labelled| *labelled)).then_some(())
    })
    .await;
}

async fn what_the_old_operator_ran_as_latest_goes_to_a_release_that_a_person_sets_once_that_is_permitted(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    old_operators_objects(member, &world, 0x92, "latest").await;
    let pods = uids(member).await;
    world.write_fleet(1, &json!({}));
    let _daemon = world.daemon();
    member.condition("polkadot-cr", "LegacyTemplate").await;
    member.edit_spec(json!({"clientVersion": VERSION})).await;
    // Whether it is newer is not known: nothing restarts, and the change is not forgotten.
    let words = member.condition("polkadot-cr", "RollPending").await;
    assert!(words.contains("validator-sset-0") && words.contains("sentry-sset-0"), "{words}");
    tokio::time::sleep(world.quiet()).await;
    member.condition("polkadot-cr", "RollPending").await;
    assert_eq!(uids(member).await, pods, "no pod was restarted");
    let mut fleet = upgrade(VERSION, "0s");
    fleet["upgrades"][0]["allowDowngrade"] = json!(true);
    fleet["upgrades"][0]["allowEphemeral"] = json!(true);
    world.write_fleet(1, &fleet);
    member.settles_at(VERSION).await;
}

async fn a_live_old_operator_shows_as_contested_and_is_not_fought(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    old_operators_objects(member, &world, 0x91, VERSION).await;
    world.write_fleet(1, &json!({}));
    let _daemon = world.daemon();
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    eventually("the StatefulSet is taken over", PATIENCE, async || {
        (!sets.get("sentry-sset").await.unwrap().labels().contains_key("version")).then_some(())
    })
    .await;
    // It misses its label and writes its whole object again.
    let by = PatchParams { field_manager: Some(OLD_OPERATOR.into()), ..PatchParams::default() };
    let mut again = old_set("sentry", &"13".repeat(32), None, VERSION);
    again["spec"]["template"]["spec"]["containers"][0]["args"][0] = json!("--rpc-cors=none");
    sets.patch("sentry-sset", &by, &Patch::Merge(&again)).await.unwrap();
    let words = member.condition("polkadot-cr", "Contested").await;
    assert!(words.contains(OLD_OPERATOR) && words.contains("scale its Deployment to 0"), "{words}");
    tokio::time::sleep(world.quiet()).await;
    let set = sets.get("sentry-sset").await.unwrap();
    assert_eq!(set.labels().get("version").map(String::as_str), Some(VERSION), "it was not fought");
}
