//! Names: several resources in one namespace, and a resource that is left alone.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use polkafleet::polkadot::Polkadot;
use serde_json::json;

use crate::support::world::{Place, World, sample};
use crate::support::{PATIENCE, eventually, in_both_worlds};

const VERSION: &str = "stable2503-6";

in_both_worlds! {
    fault_01_a_second_resource_that_would_take_the_same_names_says_so_and_touches_nothing_until_it_has_a_prefix,
    of_two_resources_with_the_same_names_the_later_one_makes_nothing_and_is_quiet,
    objects_that_lost_their_owner_get_it_back_and_are_no_rivals,
    a_held_resource_is_left_exactly_as_it_is,
}

async fn fault_01_a_second_resource_that_would_take_the_same_names_says_so_and_touches_nothing_until_it_has_a_prefix(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    member.create(&sample(VERSION, 0x60)).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    let before = sets.get("sentry-sset").await.unwrap();

    let mut second = sample(VERSION, 0x61);
    second.metadata.name = Some("second".into());
    member.create(&second).await;
    let words = member.condition("second", "Stalled").await;
    assert!(words.contains("polkadot-cr") && words.contains("namePrefix"), "{words}");
    let after = sets.get("sentry-sset").await.unwrap();
    // Its controller may still write the status.
    assert_eq!((after.uid(), &after.spec), (before.uid(), &before.spec), "nothing was touched");

    // The prefix cannot be changed, not even from none: a new resource has it from the start.
    let patch = Patch::Merge(json!({"spec": {"namePrefix": "second"}}));
    let refused = member.polkadots().patch("second", &PatchParams::default(), &patch).await.unwrap_err();
    assert!(refused.to_string().contains("namePrefix: cannot be changed"), "{refused}");
    member.polkadots().delete("second", &DeleteParams::default()).await.unwrap();
    second.spec.name_prefix = Some("second".into());
    second.metadata.name = Some("other".into());
    member.polkadots().create(&PostParams::default(), &second).await.unwrap();
    eventually("both live side by side", PATIENCE, async || {
        let pods = member.pods().await;
        ["sentry-sset-0", "validator-sset-0", "second-sentry-sset-0", "second-validator-sset-0"]
            .iter()
            .all(|name| pods.contains_key(*name))
            .then_some(())
    })
    .await;
    let after = sets.get("sentry-sset").await.unwrap();
    assert_eq!((after.uid(), after.metadata.generation), (before.uid(), before.metadata.generation));
}

async fn of_two_resources_with_the_same_names_the_later_one_makes_nothing_and_is_quiet(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let of_kind = |name: &str, kind: &str| -> Polkadot {
        let mut value = serde_json::to_value(sample(VERSION, 0x64)).unwrap();
        value["metadata"]["name"] = json!(name);
        value["spec"]["kind"] = json!(kind);
        value["spec"]["validator"]["nodeKey"] = json!(null);
        serde_json::from_value(value).unwrap()
    };
    let _daemon = world.daemon();
    // They share no role, only what every resource has.
    member.create(&of_kind("one", "Sentry")).await;
    member.create(&of_kind("two", "Validator")).await;
    let stalled = eventually("one of them is stalled", PATIENCE, async || {
        let all = member.polkadots().list(&ListParams::default()).await.unwrap();
        all.into_iter().find(|one| {
            let conditions = one.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| one.reason == "NameConflict")
        })
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    let name = stalled.name_any();
    let before = member.polkadots().get(&name).await.unwrap().resource_version();
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(member.polkadots().get(&name).await.unwrap().resource_version(), before, "it is quiet");
    let role = if name == "two" { "validator" } else { "sentry" };
    let secrets: Api<Secret> = Api::namespaced(member.admin.clone(), &world.namespace);
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    assert!(secrets.get_opt(&format!("{role}-node-keys")).await.unwrap().is_none());
    assert!(sets.get_opt(&format!("{role}-sset")).await.unwrap().is_none());
}

async fn a_held_resource_is_left_exactly_as_it_is(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    member.create(&sample(VERSION, 0x62)).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    member.edit_spec(json!({"hold": "moving the volume by hand"})).await;
    let words = member.condition("polkadot-cr", "Held").await;
    assert!(words.contains("moving the volume by hand"), "{words}");
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    sets.delete("sentry-sset", &DeleteParams::default()).await.unwrap();
    eventually("its pod is gone", PATIENCE, async || {
        (!member.pods().await.contains_key("sentry-sset-0")).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    assert!(sets.get_opt("sentry-sset").await.unwrap().is_none(), "nobody made it again");
    member.edit_spec(json!({"hold": null})).await;
    eventually("it is made again", PATIENCE, async || member.pods().await.get("sentry-sset-0").map(|_| ()))
        .await;
}

async fn objects_that_lost_their_owner_get_it_back_and_are_no_rivals(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    member.create(&sample(VERSION, 0x63)).await;
    let _daemon = world.daemon();
    let uid = member.settles_at(VERSION).await.uid();
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    let secrets: Api<Secret> = Api::namespaced(member.admin.clone(), &world.namespace);
    let ownerless = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    let by = PatchParams::default();
    let set = sets.patch("validator-sset", &by, &ownerless).await.unwrap().uid();
    let secret = secrets.patch("validator-node-keys", &by, &ownerless).await.unwrap().uid();
    eventually("both have their owner again", PATIENCE, async || {
        let set_now = sets.get("validator-sset").await.unwrap();
        let secret_now = secrets.get("validator-node-keys").await.unwrap();
        assert_eq!((set_now.uid(), secret_now.uid()), (set.clone(), secret.clone()));
        let owned = |metadata: &ObjectMeta| {
            let owners = metadata.owner_references.as_deref().unwrap_or_default();
            owners.iter().any(|owner| Some(&owner.uid) == uid.as_ref())
        };
        (owned(&set_now.metadata) && owned(&secret_now.metadata)).then_some(())
    })
    .await;
    let conditions = member.settles_at(VERSION).await.status.unwrap().conditions;
    assert!(conditions.iter().all(|one| one.type_ != "Stalled"), "{conditions:?}");
}
