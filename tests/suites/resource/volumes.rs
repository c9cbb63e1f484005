//! Volumes that are wanted otherwise than they are.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::planes;
use crate::support::world::{Member, Place, World, sample, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

const VERSION: &str = "stable2503-6";
const OLDER: &str = "stable2503-5";

in_both_worlds! {
    larger_volumes_grow_and_their_pods_and_claims_stay,
    fault_05_persistence_that_is_switched_on_later_is_a_permitted_roll_and_keeps_nothing_waiting,
    a_smaller_volume_is_refused_in_words_and_nothing_is_touched,
    a_validators_volume_is_not_switched_off_under_its_keystore,
    a_volume_that_is_renamed_is_refused_in_words_and_no_pod_goes_for_it,
    a_volume_whose_storage_class_cannot_grow_is_refused_in_words_and_nothing_is_touched,
    a_role_that_comes_back_is_not_started_older_than_what_last_used_its_volume,
    i07_a_spec_older_than_what_runs_is_not_rolled_out_and_reaches_no_pod_that_is_drained,
}

fn persistence(size: &str) -> Value {
    json!({"enabled": true, "persistentVolumeClaim": {
        "metadata": {"name": "chain"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": size}},
        },
    }})
}

async fn uids(member: &Member) -> BTreeMap<String, String> {
    member.pods().await.into_iter().map(|(name, pod)| (name, pod.uid().unwrap())).collect()
}

async fn claim_sizes(member: &Member, world: &World) -> BTreeMap<String, (String, String)> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(member.admin.clone(), &world.namespace);
    let all = claims.list(&kube::api::ListParams::default()).await.unwrap();
    let size = |claim: &PersistentVolumeClaim| {
        claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").map(|size| size.0.clone())
    };
    all.into_iter().map(|claim| (claim.name_any(), (claim.uid().unwrap(), size(&claim).unwrap()))).collect()
}

fn template_size(set: &StatefulSet) -> Option<String> {
    let claims = set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    let requests = claims.first()?.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.clone())
}

async fn larger_volumes_grow_and_their_pods_and_claims_stay(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &upgrade(VERSION, "0s"));
    let mut value = serde_json::to_value(sample(VERSION, 0x80)).unwrap();
    value["spec"]["validator"]["dataPersistenceSupport"] = persistence("1Gi");
    member.create(&serde_json::from_value(value).unwrap()).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let (pods, claims) = (uids(member).await, claim_sizes(member, &world).await);
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    let old = sets.get("validator-sset").await.unwrap().uid();

    member.edit_spec(json!({"validator": {"dataPersistenceSupport": persistence("2Gi")}})).await;
    eventually("the StatefulSet was made again with the larger volume", PATIENCE, async || {
        let set = sets.get_opt("validator-sset").await.unwrap()?;
        (template_size(&set).as_deref() == Some("2Gi") && set.uid() != old).then_some(())
    })
    .await;
    member.settles_at(VERSION).await;
    assert_eq!(uids(member).await, pods, "no pod was restarted");
    let grown = claim_sizes(member, &world).await;
    let (name, (uid, _)) = claims.into_iter().next().unwrap();
    assert_eq!(grown, BTreeMap::from([(name, (uid, "2Gi".to_owned()))]), "the same claim, larger");
}

async fn fault_05_persistence_that_is_switched_on_later_is_a_permitted_roll_and_keeps_nothing_waiting(
    place: Place,
) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    let mut fleet = upgrade(VERSION, "0s");
    world.write_fleet(1, &fleet);
    let mut polkadot = sample(VERSION, 0x81);
    polkadot.spec.sentry.as_mut().unwrap().replicas = 2;
    polkadot.spec.validator.as_mut().unwrap().node.data_persistence_support.enabled = false;
    member.create(&polkadot).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let before = uids(member).await;
    let on = json!({"dataPersistenceSupport": persistence("1Gi")});
    member.edit_spec(json!({"sentry": on, "validator": on})).await;
    eventually("the sentries have their volumes", PATIENCE, async || {
        let now = uids(member).await;
        let renewed =
            ["sentry-sset-0", "sentry-sset-1"].iter().filter(|name| now.get(**name) != before.get(**name));
        (claim_sizes(member, &world).await.len() == 2 && now.len() == 3 && renewed.count() == 2).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    let validator = uids(member).await.remove("validator-sset-0");
    assert_eq!(validator.as_ref(), before.get("validator-sset-0"), "its session keys are in the pod only");

    fleet["upgrades"][0]["allowEphemeral"] = json!(true);
    world.write_fleet(1, &fleet);
    eventually("every node has its volume and is Ready", PATIENCE, async || {
        let claims = claim_sizes(member, &world).await;
        let now = uids(member).await;
        let renewed = now.len() == 3 && now.iter().all(|(name, uid)| before.get(name) != Some(uid));
        (claims.len() == 3 && renewed).then_some(())
    })
    .await;
    member.settles_at(VERSION).await;
}

async fn a_smaller_volume_is_refused_in_words_and_nothing_is_touched(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let mut value = serde_json::to_value(sample(VERSION, 0x82)).unwrap();
    value["spec"]["validator"]["dataPersistenceSupport"] = persistence("2Gi");
    member.create(&serde_json::from_value(value).unwrap()).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let before = uids(member).await;
    member.edit_spec(json!({"validator": {"dataPersistenceSupport": persistence("1Gi")}})).await;
    let words = member.condition("polkadot-cr", "VolumeChangeRefused").await;
    assert!(words.contains("validator-sset") && words.contains("cannot shrink"), "{words}");
    assert_eq!(uids(member).await, before);
}

async fn a_volume_whose_storage_class_cannot_grow_is_refused_in_words_and_nothing_is_touched(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let of_class = |size: &str| {
        let mut persistence = persistence(size);
        persistence["persistentVolumeClaim"]["spec"]["storageClassName"] = json!("local");
        persistence
    };
    let mut value = serde_json::to_value(sample(VERSION, 0x83)).unwrap();
    value["spec"]["validator"]["dataPersistenceSupport"] = of_class("1Gi");
    member.create(&serde_json::from_value(value).unwrap()).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let before = (uids(member).await, claim_sizes(member, &world).await);
    member.edit_spec(json!({"validator": {"dataPersistenceSupport": of_class("2Gi")}})).await;
    let words = member.condition("polkadot-cr", "VolumeChangeRefused").await;
    assert!(words.contains("storageclass") && words.contains("must support resize"), "{words}");
    assert_eq!((uids(member).await, claim_sizes(member, &world).await), before);
}

async fn a_volume_that_is_renamed_is_refused_in_words_and_no_pod_goes_for_it(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    // Whatever waits for permission has it.
    world.write_fleet(1, &upgrade(VERSION, "0s"));
    member.create(&sample(VERSION, 0x84)).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let before = uids(member).await;
    member.edit_spec(json!({"validator": {"dataPersistenceSupport": persistence("10Gi")}})).await;
    let words = member.condition("polkadot-cr", "VolumeChangeRefused").await;
    assert!(words.contains("persistentVolumeClaim.metadata.name cannot be changed"), "{words}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(uids(member).await, before);
    member.settles_at(VERSION).await;
}

async fn a_validators_volume_is_not_switched_off_under_its_keystore(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &upgrade(VERSION, "0s"));
    member.create(&sample(VERSION, 0x85)).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let before = uids(member).await;
    member.edit_spec(json!({"validator": {"dataPersistenceSupport": {"enabled": false}}})).await;
    let words = member.condition("polkadot-cr", "VolumeChangeRefused").await;
    assert!(words.contains("session keys") && words.contains("enabled: true"), "{words}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(uids(member).await, before);
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    let spec = sets.get("validator-sset").await.unwrap().spec.unwrap();
    assert_eq!(spec.volume_claim_templates.unwrap().len(), 1, "the next pod has it, too");
}

/// A settled resource whose validator has a volume, with the version noted on it; nothing follows but what a person sets.
async fn with_a_noted_volume(place: Place, key: u8) -> (World, Daemon) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({}));
    let mut value = serde_json::to_value(sample(VERSION, key)).unwrap();
    value["spec"]["validator"]["dataPersistenceSupport"] = persistence("1Gi");
    member.create(&serde_json::from_value(value).unwrap()).await;
    let daemon = world.daemon();
    member.settles_at(VERSION).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(member.admin.clone(), &world.namespace);
    eventually("what uses the volume is noted on it", PATIENCE, async || {
        let claim = claims.get("chain-validator-sset-0").await.unwrap();
        let noted = claim.annotations().get("polkadot.swisscomblockchain.com/last-client-version");
        (noted.map(String::as_str) == Some(VERSION)).then_some(())
    })
    .await;
    (world, daemon)
}

async fn a_role_that_comes_back_is_not_started_older_than_what_last_used_its_volume(place: Place) {
    let (world, _daemon) = with_a_noted_volume(place, 0x84).await;
    let member = &world.members[0];
    member.edit_spec(json!({"kind": "Sentry"})).await;
    let is_there = async || member.pods().await.contains_key("validator-sset-0");
    eventually("the validator is gone", PATIENCE, async || (!is_there().await).then_some(())).await;
    // What a tag that moves stands for is not known to be newer.
    for older in ["latest", OLDER] {
        member.edit_spec(json!({"kind": "SentryAndValidator", "clientVersion": older})).await;
        let words = eventually(&format!("{older} is refused"), PATIENCE, async || {
            let words = member.condition("polkadot-cr", "DowngradeRefused").await;
            words.contains(older).then_some(words)
        })
        .await;
        assert!(words.contains(VERSION) && words.contains("chain-validator-sset-0"), "{words}");
    }
    tokio::time::sleep(world.quiet()).await;
    assert!(!is_there().await);
    member.edit_spec(json!({"clientVersion": VERSION})).await;
    eventually("the validator is back", PATIENCE, async || is_there().await.then_some(())).await;
}

async fn i07_a_spec_older_than_what_runs_is_not_rolled_out_and_reaches_no_pod_that_is_drained(place: Place) {
    let (world, _daemon) = with_a_noted_volume(place, 0x86).await;
    let member = &world.members[0];
    member.edit_spec(json!({"clientVersion": OLDER})).await;
    let words = member.condition("polkadot-cr", "DowngradeRefused").await;
    assert!(words.contains("allowDowngrade") && words.contains(VERSION), "{words}");
    let pods: Api<Pod> = Api::namespaced(member.admin.clone(), &world.namespace);
    let drained = pods.get("validator-sset-0").await.unwrap().uid();
    pods.delete("validator-sset-0", &DeleteParams::default()).await.unwrap();
    let back = eventually("the validator is back", PATIENCE, async || {
        pods.get_opt("validator-sset-0").await.unwrap().filter(|pod| pod.uid() != drained)
    })
    .await;
    let image = back.spec.unwrap().containers[0].image.clone().unwrap();
    assert!(image.ends_with(VERSION), "{image}");
    // Made anew while its old pod is still there, it is not made older either.
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    sets.delete("validator-sset", &DeleteParams::orphan()).await.unwrap();
    eventually("its StatefulSet is gone", PATIENCE, async || {
        sets.get_opt("validator-sset").await.unwrap().is_none().then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    let pod = pods.get("validator-sset-0").await.unwrap();
    assert!(pod.spec.unwrap().containers[0].image.clone().unwrap().ends_with(VERSION));
    assert!(sets.get_opt("validator-sset").await.unwrap().is_none());
    member.edit_spec(json!({"clientVersion": VERSION})).await;
    eventually("its StatefulSet is back", PATIENCE, async || sets.get_opt("validator-sset").await.unwrap())
        .await;
}

/// Takes the right to patch claims from the world's account.
async fn may_not_patch_claims(member: &Member, world: &World) {
    let shipped: Api<ClusterRole> = Api::all(member.admin.clone());
    let mut rules = shipped.get("polkafleet").await.unwrap().rules.unwrap();
    let of_claims = |rule: &&mut k8s_openapi::api::rbac::v1::PolicyRule| {
        rule.resources.iter().flatten().any(|resource| resource == "persistentvolumeclaims")
    };
    rules.iter_mut().filter(of_claims).for_each(|rule| rule.verbs.retain(|verb| verb != "patch"));
    let role = serde_json::from_value(json!({"metadata": {"name": "no-claims"}, "rules": rules})).unwrap();
    let ours: Api<Role> = Api::namespaced(member.admin.clone(), &world.namespace);
    ours.create(&PostParams::default(), &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(member.admin.clone(), &world.namespace);
    let mut binding = bindings.get("polkafleet").await.unwrap();
    bindings.delete("polkafleet", &DeleteParams::default()).await.unwrap();
    binding.metadata.resource_version = None;
    (binding.role_ref.kind, binding.role_ref.name) = ("Role".into(), "no-claims".into());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// On a real API server only: the sandbox knows no rights.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_note_on_claims_says_so_and_does_everything_else() {
    let Some(planes) = planes::shared() else { return };
    let world = World::new(Place::Real(planes), 1).await;
    let member = &world.members[0];
    may_not_patch_claims(member, &world).await;
    world.write_fleet(1, &upgrade(VERSION, "0s"));
    let mut value = serde_json::to_value(sample(VERSION, 0x85)).unwrap();
    value["spec"]["validator"]["dataPersistenceSupport"] = persistence("1Gi");
    member.create(&serde_json::from_value(value).unwrap()).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    let words = member.condition("polkadot-cr", "ClaimNotNoted").await;
    assert!(words.contains("chain-validator-sset-0") && words.contains("persistentvolumeclaims"), "{words}");
}
