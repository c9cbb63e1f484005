//! What is refused: by the CRD's own rules, by the planner, and by rights that are not given.

use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use polkafleet::polkadot::Polkadot;
use serde_json::{Value, json};

use crate::support::world::{Member, Place, World, sample, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    fault_15_a_kind_that_nobody_knows_is_refused_with_the_kinds_that_there_are,
    fault_25_what_the_schema_does_not_know_is_refused_or_dropped_with_a_warning_and_required_parts_are_required,
    what_the_api_server_refuses_is_said_on_the_resource_until_it_is_mended,
    fault_27_a_version_that_is_none_is_refused_and_an_older_one_is_not_given_by_an_upgrade,
}

/// What the API server says of a resource with this spec.
async fn refused(member: &Member, world: &World, spec: Value) -> String {
    let gvk = GroupVersionKind::gvk("polkadot.swisscomblockchain.com", "v1alpha1", "Polkadot");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "polkadots");
    let api: Api<DynamicObject> = Api::namespaced_with(member.admin.clone(), &world.namespace, &resource);
    let metadata = ObjectMeta { name: Some("wrong".into()), ..ObjectMeta::default() };
    let object = DynamicObject {
        types: Some(kube::core::TypeMeta::resource::<Polkadot>()),
        metadata,
        data: json!({"spec": spec}),
    };
    api.create(&PostParams::default(), &object).await.unwrap_err().to_string()
}

async fn fault_15_a_kind_that_nobody_knows_is_refused_with_the_kinds_that_there_are(place: Place) {
    let world = World::new(place, 1).await;
    let words = refused(&world.members[0], &world, json!({"kind": "KindSentry", "sentry": {}})).await;
    for part in ["spec.kind", "KindSentry", "SentryAndValidator"] {
        assert!(words.contains(part), "{words}");
    }
}

async fn fault_25_what_the_schema_does_not_know_is_refused_or_dropped_with_a_warning_and_required_parts_are_required(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    let words = refused(member, &world, json!({"kind": "Validator", "clientVersion": "stable2503"})).await;
    assert!(words.contains("validator: required for kind Validator"), "{words}");
    let words = refused(member, &world, json!({"kind": "Sentry", "sentry": {"replicas": -1}})).await;
    assert!(words.contains("spec.sentry.replicas"), "{words}");
    let words = refused(member, &world, json!({"kind": "Sentry", "sentry": {"nodeKey": "13"}})).await;
    assert!(words.contains("spec.sentry.nodeKey"), "{words}");
    let both = json!({"nodeKey": "13".repeat(32), "nodeKeySecretRef": {"name": "keys"}});
    let words = refused(member, &world, json!({"kind": "Sentry", "sentry": both})).await;
    assert!(words.contains("not together with nodeKeySecretRef"), "{words}");
}

async fn what_the_api_server_refuses_is_said_on_the_resource_until_it_is_mended(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    member.create(&sample("stable2503-6", 0xd1)).await;
    let _daemon = world.daemon();
    member.settles_at("stable2503-6").await;
    // The CRD takes it, and no Service does.
    member.edit_spec(json!({"sentry": {"service": {"annotations": {"no such/key/at all": "x"}}}})).await;
    let words = member.condition("polkadot-cr", "Stalled").await;
    assert!(words.contains("Service sentry-service") && words.contains("annotations"), "{words}");
    let conditions = member.get().await.status.unwrap().conditions;
    assert!(conditions.iter().any(|one| one.type_ == "Ready" && one.status == "False"), "{conditions:?}");
    member.edit_spec(json!({"sentry": {"service": null}})).await;
    eventually("it is over", PATIENCE, async || {
        let conditions = member.get().await.status?.conditions;
        conditions.iter().all(|one| one.type_ != "Stalled").then_some(())
    })
    .await;
}

async fn fault_27_a_version_that_is_none_is_refused_and_an_older_one_is_not_given_by_an_upgrade(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    let words =
        refused(member, &world, json!({"kind": "Sentry", "sentry": {}, "clientVersion": "a tag"})).await;
    assert!(words.contains("spec.clientVersion"), "{words}");
    world.write_fleet(1, &upgrade("stable2503-6", "0s"));
    member.create(&sample("stable2503-7", 0xd0)).await;
    let _daemon = world.daemon();
    let before = member.settles_at("stable2503-7").await;
    tokio::time::sleep(world.quiet()).await;
    let after = member.get().await;
    assert_eq!(after.spec.client_version.as_deref(), Some("stable2503-7"));
    assert_eq!(after.metadata.generation, before.metadata.generation);
}

#[test]
fn fault_26_the_shipped_role_may_do_what_is_needed_and_no_more() {
    let shipped = include_str!("../../../deploy/rbac.yaml");
    for document in shipped.split("\n---\n") {
        let object: Value = serde_yaml::from_str(document).unwrap();
        for rule in object["rules"].as_array().into_iter().flatten() {
            let has = |field: &str, word: &str| rule[field].as_array().unwrap().iter().any(|one| one == word);
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(!has(field, "*"), "{rule}");
            }
            // The real half of every suite runs with just these rights.
            if has("resources", "pods") {
                assert!(!has("verbs", "update") && !has("verbs", "patch"), "{rule}");
            }
            if has("resources", "configmaps") {
                assert!(!has("verbs", "delete"), "{rule}");
            }
        }
    }
}
