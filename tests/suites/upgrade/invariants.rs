//! The design's invariants of upgrades on whole clusters, a test for each that no other suite shows under its number:
//! I1 and I10 (order, amnesia), I3 and I4 (a setting), I5 and I8 are in `main_job`, I2, I3 and I9 in `limits`, I5, I8 and I13
//! in `members`, I7 in `resource`, I11 in `commands`, I14 in `prepull`. I13, that everything ends, is the end of each of them.

use jiff::Timestamp;
use kube::ResourceExt as _;
use polkafleet::polkadot::record::{STEP_ANNOTATION, Step, read};
use polkafleet::polkadot::{Polkadot, status::Settled};
use polkafleet::sandbox::faults::VersionFault;
use serde_json::{Value, json};

use crate::support::world::{Gate, Member, Place, World, key, sample, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    i04_validators_go_one_by_one_where_the_stage_would_let_more,
    i06_after_a_failure_nothing_new_starts_until_somebody_changes_the_target,
    i12_a_version_that_somebody_sets_back_is_not_set_again_before_another_attempt,
    i15_a_validator_without_a_volume_gets_no_version_before_that_is_allowed,
}

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";
/// A release without an image, as there are; the control planes' kubelets know it.
const MISSING: &str = "stable2512-99";

/// An upgrade to `target` of all clusters at once but for `changes` in its stage.
pub(super) fn to(target: &str, changes: &Value) -> Value {
    let mut fleet = upgrade(target, "0s");
    let mut stage = json!({"name": "all", "clusters": {}, "maxConcurrent": 3});
    json_patch::merge(&mut stage, changes);
    fleet["upgrades"][0]["stages"] = json!([stage]);
    fleet
}

pub(super) fn step(polkadot: &Polkadot) -> Option<Step> {
    read(polkadot.annotations(), STEP_ANNOTATION)
}

/// From the step to when all of it had come up. (When that was noticed stands in `reached`, and is written once more where a
/// reconcile has not seen the status of the one before.)
pub(super) fn rolled(polkadot: &Polkadot) -> (Timestamp, Timestamp) {
    let Settled { version, since, .. } = polkadot.status.as_ref().unwrap().settled.clone().unwrap();
    assert_eq!(Some(version), polkadot.spec.client_version);
    (step(polkadot).unwrap().at, since.0)
}

/// That no two of them were rolled at the same time.
pub(super) fn one_by_one(all: impl IntoIterator<Item = Polkadot>) {
    let mut times: Vec<_> = all.into_iter().map(|one| rolled(&one)).collect();
    times.sort();
    for two in times.windows(2) {
        assert!(two[0].1 <= two[1].0, "{times:?}");
    }
}

async fn all_at(world: &World, version: &str) -> Vec<Polkadot> {
    let mut all = vec![];
    for member in &world.members {
        all.push(member.settles_at(version).await);
    }
    all
}

pub(super) async fn is_set(member: &Member, version: &str) {
    eventually(&format!("{} is given {version}", member.name), PATIENCE, async || {
        (member.get().await.spec.client_version.as_deref() == Some(version)).then_some(())
    })
    .await;
}

async fn i04_validators_go_one_by_one_where_the_stage_would_let_more(place: Place) {
    let (world, _daemon) = World::settled(place, 3, OLD).await;
    world.write_fleet(3, &to(NEW, &json!({})));
    one_by_one(all_at(&world, NEW).await);
}

async fn i06_after_a_failure_nothing_new_starts_until_somebody_changes_the_target(place: Place) {
    let (world, daemon) = World::settled(place, 2, OLD).await;
    if let Gate::Simulated(cluster) = &world.members[0].gate {
        cluster.set_faults(|faults| {
            faults.versions.insert(MISSING.into(), VersionFault::NoImage);
        });
    }
    // By readiness alone: a pod that is tried before would not let it come so far.
    let one = json!({"maxConcurrent": 1});
    let mut fleet = to(MISSING, &one);
    fleet["upgrades"][0]["prepull"] = json!(false);
    world.write_fleet(2, &fleet);
    let note = world.members[0].event("Failed").await;
    assert!(note.contains("sentry-sset-0") && note.contains(MISSING), "{note}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(world.members[1].get().await.spec.client_version.as_deref(), Some(OLD));
    let validator = world.members[0].pods().await.remove("validator-sset-0").unwrap();
    assert!(validator.spec.unwrap().containers[0].image.as_ref().unwrap().ends_with(OLD));
    // An older release than the one that there is none of: nothing ran that, so a person may go back from it.
    world.write_fleet(2, &to(NEW, &one));
    eventually("the target is another one", PATIENCE, async || {
        daemon.said().contains(&format!("target {MISSING} -> {NEW}")).then_some(())
    })
    .await;
    world.members[0].edit_spec(json!({"clientVersion": NEW})).await;
    all_at(&world, NEW).await;
}

async fn i12_a_version_that_somebody_sets_back_is_not_set_again_before_another_attempt(place: Place) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    let member = &world.members[0];
    let mut fleet = to(NEW, &json!({}));
    world.write_fleet(1, &fleet);
    member.settles_at(NEW).await;
    let pods = member.pods().await;
    member.edit_spec(json!({"clientVersion": OLD})).await;
    let words = member.condition("polkadot-cr", "DowngradeRefused").await;
    assert!(words.contains(OLD) && words.contains(NEW), "{words}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(member.get().await.spec.client_version.as_deref(), Some(OLD), "it is not fought");
    let uids = |pods: &std::collections::BTreeMap<String, k8s_openapi::api::core::v1::Pod>| {
        pods.values().map(|pod| pod.uid().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(uids(&member.pods().await), uids(&pods), "nor followed");
    fleet["upgrades"][0]["attempt"] = json!(2);
    world.write_fleet(1, &fleet);
    is_set(member, NEW).await;
    member.settles_at(NEW).await;
}

async fn i15_a_validator_without_a_volume_gets_no_version_before_that_is_allowed(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    let mut fleet = to(NEW, &json!({}));
    world.write_fleet(1, &fleet);
    let mut polkadot = sample(OLD, key(8));
    polkadot.spec.validator.as_mut().unwrap().node.data_persistence_support.enabled = false;
    member.create(&polkadot).await;
    let _daemon = world.daemon();
    member.settles_at(OLD).await;
    let words = member.condition("polkadot-cr", "EphemeralKeystore").await;
    assert!(words.contains("session keys"), "{words}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(member.get().await.spec.client_version.as_deref(), Some(OLD));
    fleet["upgrades"][0]["allowEphemeral"] = json!(true);
    world.write_fleet(1, &fleet);
    member.settles_at(NEW).await;
}
