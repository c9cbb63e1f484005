//! A version is tried on the machines concerned before the first pod restarts for it.

use kube::ResourceExt as _;
use polkafleet::sandbox::faults::VersionFault;
use serde_json::{Value, json};

use crate::support::world::{Gate, Place, World, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    i14_a_version_that_cannot_be_pulled_fails_before_a_pod_was_touched_and_halts_with_image_and_machine,
    a_version_that_runs_is_tried_first_and_leaves_no_pod_behind,
    nothing_is_tried_where_the_upgrade_says_so,
}

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";
/// A release without an image, as there are; the control planes' kubelets know it.
const MISSING: &str = "stable2512-99";

/// An upgrade of one cluster to `target`.
fn to(target: &str, prepull: bool) -> Value {
    let mut fleet = upgrade(target, "0s");
    fleet["upgrades"][0]["prepull"] = json!(prepull);
    fleet["upgrades"][0]["stages"][1]["optional"] = json!(true);
    fleet
}

fn is_trial(pod: &str) -> bool {
    pod.starts_with("polkadot-prepull-")
}

/// The uids of the nodes' pods.
async fn nodes(world: &World) -> Vec<(String, Option<String>)> {
    let pods = world.members[0].pods().await;
    pods.into_iter().filter(|(name, _)| !is_trial(name)).map(|(name, pod)| (name, pod.uid())).collect()
}

async fn i14_a_version_that_cannot_be_pulled_fails_before_a_pod_was_touched_and_halts_with_image_and_machine(
    place: Place,
) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    let before = nodes(&world).await;
    if let Gate::Simulated(cluster) = &world.members[0].gate {
        cluster.set_faults(|faults| {
            faults.versions.insert(MISSING.into(), VersionFault::NoImage);
        });
    }
    world.write_fleet(1, &to(MISSING, true));
    let member = &world.members[0];
    let note = member.event("Failed").await;
    let pods = member.pods().await;
    let nodes_pods = pods.iter().filter(|(name, _)| !is_trial(name));
    let machines: Vec<_> = nodes_pods.filter_map(|(_, pod)| pod.spec.as_ref()?.node_name.clone()).collect();
    assert!(machines.iter().any(|machine| note.contains(machine)), "{machines:?} in {note}");
    assert!(note.contains(&format!("parity/polkadot:{MISSING}")) && note.contains("Image"), "{note}");
    assert_eq!(nodes(&world).await, before);
    match place {
        // Nothing was touched, so it is taken back by itself.
        Place::Sandbox => assert!(member.event("RolledBack").await.contains(OLD)),
        // Nobody waits for that; whoever gives up the target gets rid of the trial as well.
        Place::Real(_) => member.edit_spec(json!({"clientVersion": OLD})).await,
    }
    eventually("no pod tries it any more", PATIENCE, async || {
        let tries = member.pods().await.keys().any(|name| is_trial(name));
        (!tries && member.get().await.spec.client_version.as_deref() == Some(OLD)).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    member.settles_at(OLD).await;
    assert_eq!(nodes(&world).await, before);
}

async fn a_version_that_runs_is_tried_first_and_leaves_no_pod_behind(place: Place) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    world.write_fleet(1, &to(NEW, true));
    let member = &world.members[0];
    member.settles_at(NEW).await;
    assert!(member.pods_made() > 0);
    eventually("no trial is left", PATIENCE, async || {
        (!member.pods().await.keys().any(|name| is_trial(name))).then_some(())
    })
    .await;
}

async fn nothing_is_tried_where_the_upgrade_says_so(place: Place) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    world.write_fleet(1, &to(NEW, false));
    world.members[0].settles_at(NEW).await;
    assert_eq!(world.members[0].pods_made(), 0);
}
