//! What the chain's own health does to an upgrade. In the sandbox only: the control planes have no chain.

use std::time::Duration;

use kube::ResourceExt as _;
use polkafleet::polkadot::record::{STEP_ANNOTATION, Step, read};
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::faults::VersionFault;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::world::{Gate, Member, Place, World, upgrade};
use crate::support::{PATIENCE, eventually};

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";

/// An upgrade whose nodes have a few minutes; a few seconds in this world.
pub(super) fn impatient() -> Value {
    let mut fleet = upgrade(NEW, "0s");
    fleet["upgrades"][0]["progressDeadline"] = json!("10m");
    fleet["upgrades"][0]["stages"][1]["maxConcurrent"] = json!(1);
    fleet
}

pub(super) fn cluster(member: &Member) -> &Cluster {
    match &member.gate {
        Gate::Simulated(cluster) => cluster,
        Gate::Proxy { .. } => panic!("this suite is for the sandbox"),
    }
}

async fn version(member: &Member) -> Option<String> {
    member.get().await.spec.client_version
}

/// Why the upgrade is halted, once it is.
async fn halts(daemon: &Daemon) -> String {
    eventually("the upgrade is halted", PATIENCE, async || {
        daemon.plan().progress.first().and_then(|progress| progress.halted.clone())
    })
    .await
}

/// A new version that is sound on the canary and has a fault on the first production cluster.
async fn fails_in_production(fault: VersionFault) -> (World, String) {
    let (world, daemon) = World::settled(Place::Sandbox, 3, OLD).await;
    cluster(&world.members[1]).set_faults(|faults| {
        faults.versions.insert(NEW.into(), fault);
    });
    world.write_fleet(3, &impatient());
    let why = halts(&daemon).await;
    assert!(why.contains("cluster-2"), "{why}");
    // A sentry goes first: the validator has not been touched, and neither has the next cluster.
    let pods = world.members[1].pods().await;
    let image = |pod: &str| pods[pod].spec.as_ref().unwrap().containers[0].image.clone().unwrap();
    assert!(image("sentry-sset-0").ends_with(NEW));
    assert!(image("validator-sset-0").ends_with(OLD));
    assert_eq!(version(&world.members[2]).await.as_deref(), Some(OLD));
    (world, why)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_finalises_nothing_halts_the_upgrade_and_node_and_reason_are_named() {
    let (_world, why) = fails_in_production(VersionFault::StallsFinality).await;
    assert!(why.contains("sentry-sset-0") && why.contains("has finalised no block since"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_syncs_halts_the_upgrade_and_node_and_reason_are_named() {
    let (_world, why) = fails_in_production(VersionFault::NeverSyncs).await;
    assert!(why.contains("sentry-sset-0") && why.contains("syncing"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stands_still_pauses_the_upgrade_blames_nobody_and_it_goes_on_with_the_chain() {
    let (world, daemon) = World::settled(Place::Sandbox, 3, OLD).await;
    let mut fleet = impatient();
    // On a busy machine a node takes much of the fleet's time to come up.
    fleet["upgrades"][0]["progressDeadline"] = json!("30m");
    world.write_fleet(3, &fleet);
    let begun = eventually("the canary has begun", PATIENCE, async || {
        read::<Step>(world.members[0].get().await.annotations(), STEP_ANNOTATION)
    })
    .await;
    world.stall_chain();
    let stalled = || daemon.plan().waits.iter().any(|wait| format!("{:?}", wait.code) == "ChainStalled");
    eventually("the chain is seen to stand still", PATIENCE, async || stalled().then_some(())).await;
    // Well past the deadline.
    let until = begun.at + jiff::SignedDuration::from_mins(40);
    eventually("the deadline is over", PATIENCE, async || {
        assert_eq!(daemon.plan().progress[0].halted, None, "nobody is to blame");
        (world.now() > until).then_some(())
    })
    .await;
    for member in &world.members[1..] {
        assert_eq!(version(member).await.as_deref(), Some(OLD));
    }
    world.resume_chain();
    for member in &world.members {
        member.settles_at(NEW).await;
    }
    assert_eq!(daemon.plan().progress[0].halted, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_asked_gets_no_step_and_a_reason() {
    let (world, daemon) = World::settled(Place::Sandbox, 1, OLD).await;
    let mut fleet = impatient();
    fleet["upgrades"][0]["stages"][1]["optional"] = json!(true);
    cluster(&world.members[0]).set_faults(|faults| faults.pods_unreachable = true);
    let until = world.now() + jiff::SignedDuration::from_mins(5);
    eventually("it was asked in vain", PATIENCE, async || (world.now() > until).then_some(())).await;
    world.write_fleet(1, &fleet);
    let words = eventually("the step is blocked", PATIENCE, async || {
        let plan = daemon.plan();
        let wait = plan.waits.iter().find(|wait| format!("{:?}", wait.code) == "ProbeBlocked");
        wait.map(|wait| wait.words.clone())
    })
    .await;
    assert!(words.contains("-sset-0") && words.contains("9615"), "{words}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(version(&world.members[0]).await.as_deref(), Some(OLD));
    cluster(&world.members[0]).set_faults(|faults| faults.pods_unreachable = false);
    world.members[0].settles_at(NEW).await;
}
