//! The three kinds, made and deleted, and changes of kind: the old operator's own end-to-end scenarios.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::world::{Member, Place, World, sample};
use crate::support::{PATIENCE, eventually, in_both_worlds};

const VERSION: &str = "stable2503-6";

in_both_worlds! {
    a_sentry_is_made_whole_and_goes_away_whole,
    a_validator_is_made_whole_and_goes_away_whole,
    a_validator_with_sentries_is_made_whole_and_goes_away_whole,
    fault_08_a_policy_around_a_validator_without_sentries_is_said_to_have_no_effect,
    fault_14_after_a_change_of_kind_nothing_of_the_other_role_is_left,
}

/// What a resource has, as `kind name`, sorted; pods and everything we own.
async fn objects(member: &Member, world: &World) -> Vec<String> {
    async fn of<K>(member: &Member, world: &World, kind: &str) -> Vec<String>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(member.admin.clone(), &world.namespace);
        let list = api.list(&ListParams::default().labels("app=polkadot")).await.unwrap();
        list.iter().map(|one| format!("{kind} {}", one.name_any())).collect()
    }
    let mut all = of::<StatefulSet>(member, world, "set").await;
    all.extend(of::<Service>(member, world, "service").await);
    all.extend(of::<NetworkPolicy>(member, world, "policy").await);
    all.extend(of::<PodDisruptionBudget>(member, world, "budget").await);
    all.extend(of::<Secret>(member, world, "secret").await);
    all.extend(member.pods().await.into_keys().map(|name| format!("pod {name}")));
    all.sort();
    all
}

/// Makes a resource, finds what is expected, deletes it, and finds nothing.
async fn lives_and_dies(place: Place, key: u8, spec: Value, expected: &[&str], claim: Option<&str>) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    create(member, key, spec).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    assert_eq!(objects(member, &world).await, expected);
    member.polkadots().delete("polkadot-cr", &DeleteParams::default()).await.unwrap();
    eventually("nothing is left", PATIENCE, async || objects(member, &world).await.is_empty().then_some(()))
        .await;
    // Data outlives its resource, unless somebody asks for the contrary.
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(member.admin.clone(), &world.namespace);
    let claims = claims.list(&ListParams::default()).await.unwrap();
    let claims: Vec<_> = claims.iter().map(ResourceExt::name_any).collect();
    assert_eq!(claims, claim.as_slice());
}

async fn create(member: &Member, key: u8, spec: Value) {
    let mut value = serde_json::to_value(sample(VERSION, key)).unwrap();
    json_patch::merge(&mut value, &json!({"spec": spec}));
    member.create(&serde_json::from_value(value).unwrap()).await;
}

async fn a_sentry_is_made_whole_and_goes_away_whole(place: Place) {
    let spec = json!({"kind": "Sentry", "validator": null, "sentry": {"replicas": 2}});
    let expected = [
        "budget sentry-budget",
        "pod sentry-sset-0",
        "pod sentry-sset-1",
        "secret sentry-node-keys",
        "service polkadot",
        "service sentry-service",
        "set sentry-sset",
    ];
    lives_and_dies(place, 0xc0, spec, &expected, None).await;
}

async fn a_validator_is_made_whole_and_goes_away_whole(place: Place) {
    let expected = [
        "pod validator-sset-0",
        "secret validator-node-keys",
        "service polkadot",
        "service validator-service",
        "set validator-sset",
    ];
    let spec = json!({"kind": "Validator", "sentry": null});
    lives_and_dies(place, 0xc1, spec, &expected, Some("polkadot-volume-validator-sset-0")).await;
}

async fn a_validator_with_sentries_is_made_whole_and_goes_away_whole(place: Place) {
    let volume = json!({"enabled": true, "persistentVolumeClaim": {"metadata": {"name": "chain"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
        "resources": {"requests": {"storage": "1Gi"}},
    }}});
    let spec = json!({
        "secureCommunicationSupport": {"enabled": true},
        "validator": {"dataPersistenceSupport": volume, "podDisruptionBudget": true},
    });
    let expected = [
        "budget validator-budget",
        "pod sentry-sset-0",
        "pod validator-sset-0",
        "policy validator-networkpolicy",
        "secret sentry-node-keys",
        "secret validator-node-keys",
        "service polkadot",
        "service sentry-service",
        "service validator-service",
        "set sentry-sset",
        "set validator-sset",
    ];
    lives_and_dies(place, 0xc2, spec, &expected, Some("chain-validator-sset-0")).await;
}

async fn fault_08_a_policy_around_a_validator_without_sentries_is_said_to_have_no_effect(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    create(member, 0xc3, json!({"kind": "Validator", "secureCommunicationSupport": {"enabled": true}})).await;
    let _daemon = world.daemon();
    let words = member.condition("polkadot-cr", "NoSentries").await;
    assert!(words.contains("secureCommunicationSupport has no effect"), "{words}");
}

async fn fault_14_after_a_change_of_kind_nothing_of_the_other_role_is_left(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    create(member, 0xc4, json!({"secureCommunicationSupport": {"enabled": true}})).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    member.edit_spec(json!({"kind": "Sentry"})).await;
    // The key stays, so that a validator that comes back is the same node.
    let left = [
        "pod sentry-sset-0",
        "secret sentry-node-keys",
        "secret validator-node-keys",
        "service polkadot",
        "service sentry-service",
        "set sentry-sset",
    ];
    eventually("only the sentry is left", PATIENCE, async || {
        (objects(member, &world).await == left).then_some(())
    })
    .await;
}
