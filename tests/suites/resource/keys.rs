//! Node keys: from Secrets, and what happens when one is not there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use polkafleet::identity::NodeKey;
use serde_json::json;

use crate::support::world::{Member, Place, World, sample};
use crate::support::{PATIENCE, eventually, in_both_worlds};

const VERSION: &str = "stable2503-6";

in_both_worlds! {
    a_node_key_is_read_from_the_secret_that_the_resource_names_and_waited_for_until_it_is_there,
    a_key_that_moves_from_the_resource_into_a_secret_restarts_nothing,
    a_key_that_is_lost_is_asked_for_and_taken_from_a_secret_that_a_person_makes,
    keys_of_replicas_that_were_scaled_away_outlive_a_label_that_somebody_removes,
    a_reserved_id_that_is_not_the_keys_is_a_condition_and_one_in_either_encoding_is_none,
}

async fn put_key(member: &Member, world: &World, hex: &str) {
    let secrets: Api<Secret> = Api::namespaced(member.admin.clone(), &world.namespace);
    let secret = json!({"metadata": {"name": "my-keys"}, "stringData": {"validator": format!("{hex}\n")}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
}

async fn peer_of(member: &Member, pod: &str) -> String {
    eventually("the node has its peer ID", PATIENCE, async || {
        let nodes = member.get().await.status?.nodes;
        nodes.into_iter().find(|node| node.pod == pod)?.peer_id
    })
    .await
}

async fn a_node_key_is_read_from_the_secret_that_the_resource_names_and_waited_for_until_it_is_there(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let mut polkadot = sample(VERSION, 0x70);
    polkadot.spec.validator.as_mut().unwrap().node.node_key = None;
    let mut value = serde_json::to_value(&polkadot).unwrap();
    value["spec"]["validator"]["nodeKeySecretRef"] = json!({"name": "my-keys", "key": "validator"});
    member.create(&serde_json::from_value(value).unwrap()).await;
    let _daemon = world.daemon();
    let words = member.condition("polkadot-cr", "Stalled").await;
    assert!(words.contains("my-keys") && words.contains("validator"), "{words}");
    assert!(!member.pods().await.contains_key("validator-sset-0"));

    let hex = "5a".repeat(32);
    put_key(member, &world, &hex).await;
    member.settles_at(VERSION).await;
    assert_eq!(peer_of(member, "validator-sset-0").await, NodeKey::from_hex(&hex).unwrap().peer_id());
}

async fn a_key_that_moves_from_the_resource_into_a_secret_restarts_nothing(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let hex = format!("{:02x}", 0x71).repeat(32);
    member.create(&sample(VERSION, 0x71)).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let words = member.condition("polkadot-cr", "PlainNodeKey").await;
    assert!(words.contains("nodeKeySecretRef") && !words.contains(&hex), "{words}");

    put_key(member, &world, &hex).await;
    let from = json!({"nodeKey": null, "nodeKeySecretRef": {"name": "my-keys", "key": "validator"}});
    member.edit_spec(json!({"validator": from, "sentry": {"nodeKey": null}})).await;
    eventually("the warning is over", PATIENCE, async || {
        let conditions = member.get().await.status?.conditions;
        conditions.iter().all(|one| one.type_ != "PlainNodeKey").then_some(())
    })
    .await;
    let status = member.get().await.status.unwrap();
    let pending = status.conditions.iter().find(|one| one.type_ == "RollPending").unwrap();
    assert_eq!(pending.status, "False", "the same keys, so the same templates: {}", pending.message);
}

async fn a_reserved_id_that_is_not_the_keys_is_a_condition_and_one_in_either_encoding_is_none(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let mut polkadot = sample(VERSION, 0x72);
    // The sample's sentry has the key of the old operator's README, its validator another one than there.
    let key = NodeKey::from_hex(&"72".repeat(32)).unwrap();
    polkadot.spec.sentry.as_mut().unwrap().reserved_validator_id = Some(key.legacy_peer_id());
    member.create(&polkadot).await;
    let _daemon = world.daemon();
    let settled = member.settles_at(VERSION).await;
    let mismatch = |polkadot: &polkafleet::polkadot::Polkadot| {
        let conditions = &polkadot.status.as_ref().unwrap().conditions;
        conditions.iter().any(|one| one.type_ == "ReservedIDMismatch")
    };
    assert!(!mismatch(&settled), "{:?}", settled.status);
    member.edit_spec(json!({"sentry": {"reservedValidatorID": key.peer_id().replace('1', "2")}})).await;
    let words = member.condition("polkadot-cr", "ReservedIDMismatch").await;
    assert!(words.contains(&key.peer_id()), "{words}");
}

async fn a_key_that_is_lost_is_asked_for_and_taken_from_a_secret_that_a_person_makes(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let mut polkadot = sample(VERSION, 0xa6);
    polkadot.spec.sentry.as_mut().unwrap().node.node_key = None;
    member.create(&polkadot).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let pods = member.pods().await;
    let secrets: Api<Secret> = Api::namespaced(member.admin.clone(), &world.namespace);
    let kept = secrets.get("sentry-node-keys").await.unwrap().data.unwrap().remove("sentry-sset-0").unwrap();
    secrets.delete("sentry-node-keys", &DeleteParams::default()).await.unwrap();
    let words = member.condition("polkadot-cr", "Stalled").await;
    assert!(words.contains("instance: polkadot-cr") && words.contains("entry sentry-sset-0"), "{words}");
    let again = json!({
        "metadata": {
            "name": "sentry-node-keys",
            "labels": {"polkadot.swisscomblockchain.com/instance": "polkadot-cr"},
        },
        "stringData": {"sentry-sset-0": hex::encode(kept.0)},
    });
    secrets.create(&PostParams::default(), &serde_json::from_value(again).unwrap()).await.unwrap();
    eventually("the key is taken, and the Secret is the resource's", PATIENCE, async || {
        let secret = secrets.get("sentry-node-keys").await.unwrap();
        let owners = secret.owner_references().len();
        let stalled = member.get().await.status?.conditions.iter().any(|one| one.type_ == "Stalled");
        (owners == 1 && !stalled).then_some(())
    })
    .await;
    let uids = |pods: &BTreeMap<String, Pod>| pods.values().map(Pod::uid).collect::<Vec<_>>();
    assert_eq!(uids(&member.pods().await), uids(&pods), "no pod restarts for it");
}

async fn keys_of_replicas_that_were_scaled_away_outlive_a_label_that_somebody_removes(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let mut polkadot = sample(VERSION, 0x73);
    polkadot.spec.sentry.as_mut().unwrap().replicas = 2;
    member.create(&polkadot).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let secrets: Api<Secret> = Api::namespaced(member.admin.clone(), &world.namespace);
    let before = secrets.get("sentry-node-keys").await.unwrap();
    assert_eq!(before.data.as_ref().unwrap().len(), 2);
    member.edit_spec(json!({"sentry": {"replicas": 1}})).await;
    eventually("one sentry is left", PATIENCE, async || {
        (!member.pods().await.contains_key("sentry-sset-1")).then_some(())
    })
    .await;
    let unlabel = Patch::Merge(json!({"metadata": {"labels": {"app": null}}}));
    secrets.patch("sentry-node-keys", &PatchParams::default(), &unlabel).await.unwrap();
    let after = eventually("the label is put back", PATIENCE, async || {
        let secret = secrets.get("sentry-node-keys").await.unwrap();
        secret.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("app")).then_some(secret)
    })
    .await;
    assert!(after.data == before.data, "a replica that returns is the same node");
}
