//! What the chain's own health does to an upgrade. On real control planes the nodes are asked through their pod proxies, by a
//! daemon with the rights of deploy/rbac.yaml and no others; time is real there, and so everything is as short as may be.
//!
//! It belongs to the suite `upgrade`, and stands apart because tests start in the order of their names: that a chain stands
//! still takes three minutes of real time, in which all others run.

use std::time::Duration;

use kube::ResourceExt as _;
use polkafleet::polkadot::record::{STEP_ANNOTATION, Step, read};
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::faults::VersionFault;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::world::{Gate, Member, Place, World, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};
use crate::upgrade::commands::run;

mod rights;

in_both_worlds! {
    an_upgrade_goes_through_canary_and_production_when_the_nodes_themselves_say_that_they_are_well,
    a_version_that_finalises_nothing_halts_at_the_canary_and_node_and_reason_are_named,
    a_chain_that_stands_still_pauses_the_upgrade_blames_nobody_and_it_goes_on_with_the_chain,
    a_node_that_cannot_be_asked_gets_no_step_and_a_reason,
}

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";
/// A chain that finalises nothing for so long stands still, and a node that is unwell for so long is sick.
const LONG_ENOUGH: Duration = Duration::from_secs(120);

/// An upgrade whose nodes have a few minutes; a few seconds in this world.
pub(crate) fn impatient() -> Value {
    let mut fleet = upgrade(NEW, "0s");
    fleet["upgrades"][0]["progressDeadline"] = json!("10m");
    fleet["upgrades"][0]["stages"][1]["maxConcurrent"] = json!(1);
    fleet
}

/// The same in either world, with another deadline on real control planes, where a minute takes a minute.
fn impatient_at(place: Place, real_deadline: &str) -> Value {
    let mut fleet = impatient();
    if let Place::Real(_) = place {
        fleet["defaults"] = json!({"probe": {"interval": "5s", "timeout": "2s"}});
        fleet["upgrades"][0]["progressDeadline"] = json!(real_deadline);
        fleet["upgrades"][0]["health"] = json!({"stableFor": "3s", "minPeers": 1, "probe": "required"});
    }
    fleet
}

pub(crate) fn cluster(member: &Member) -> &Cluster {
    match &member.gate {
        Gate::Simulated(cluster) => cluster,
        Gate::Proxy { .. } => panic!("this suite is for the sandbox"),
    }
}

async fn version(member: &Member) -> Option<String> {
    member.get().await.spec.client_version
}

/// The step that was taken on a member's resource.
async fn step(member: &Member) -> Option<Step> {
    read(member.get().await.annotations(), STEP_ANNOTATION)
}

/// The versions that a member's pods run.
async fn runs(member: &Member, pod: &str) -> String {
    let pods = member.pods().await;
    let image = pods[pod].spec.as_ref().unwrap().containers[0].image.clone().unwrap();
    image.rsplit_once(':').unwrap().1.to_owned()
}

/// What `polkafleet status` tells programs.
async fn status(world: &World) -> Value {
    let (_, said) = run(world, &["status", "-o", "json"]).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Waits until the status says that something holds the upgrades up in these words; returns all of them.
async fn held_up_by(world: &World, words: &str, patience: Duration) -> String {
    eventually(&format!("it is held up by {words:?}"), patience, async || {
        let status = status(world).await;
        let all = status["heldUpBy"].as_array()?.iter().filter_map(Value::as_str);
        all.filter(|one| one.contains(words)).map(str::to_owned).next()
    })
    .await
}

/// Why the upgrade is halted, if it is.
async fn halted(world: &World) -> Option<String> {
    status(world).await["progress"][0]["halted"].as_str().map(str::to_owned)
}

/// Waits until every node of a member was asked after what has just changed, and the daemon has thought about that.
async fn is_asked(member: &Member) {
    let before = member.probes("validator-sset-0");
    // One may be under way; the next is noted before the one after that begins.
    eventually("the nodes are asked", PATIENCE, async || {
        (member.probes("validator-sset-0") >= before + 3).then_some(())
    })
    .await;
}

async fn an_upgrade_goes_through_canary_and_production_when_the_nodes_themselves_say_that_they_are_well(
    place: Place,
) {
    let Some(world) = World::with_nodes(place, 2).await else { return };
    let _daemon = world.settles(2, OLD).await;
    world.write_fleet(2, &impatient_at(place, "2m"));
    let begun = eventually("production begins", PATIENCE, async || step(&world.members[1]).await).await;
    // Both of the canary's nodes are past the height before its step, by their own word.
    for pod in ["sentry-sset-0", "validator-sset-0"] {
        assert_eq!(runs(&world.members[0], pod).await, NEW);
    }
    let canary = step(&world.members[0]).await.unwrap();
    assert!(canary.at < begun.at && canary.finalized.is_some(), "{canary:?}");
    assert!(begun.finalized > canary.finalized, "{canary:?} {begun:?}");
    world.members[1].settles_at(NEW).await;
    eventually("it is through", PATIENCE, async || {
        status(&world).await["unfinished"].as_object()?.is_empty().then_some(())
    })
    .await;
}

async fn a_version_that_finalises_nothing_halts_at_the_canary_and_node_and_reason_are_named(place: Place) {
    let Some(world) = World::with_nodes(place, 2).await else { return };
    let _daemon = world.settles(2, OLD).await;
    world.members[0].set_version_fault(NEW, VersionFault::StallsFinality);
    world.write_fleet(2, &impatient_at(place, "1m"));
    let patience = LONG_ENOUGH + PATIENCE;
    let why = eventually("the upgrade is halted", patience, async || halted(&world).await).await;
    assert!(why.contains("cluster-1") && why.contains("sentry-sset-0"), "{why}");
    // Whichever of them was seen first when it had to be said.
    let reasons = ["it has finalised no block since", "its finalised block is more than 10 behind"];
    assert!(reasons.iter().any(|reason| why.contains(reason)), "{why}");
    // A sentry goes first: the validator has not been touched, and neither has production.
    assert_eq!(runs(&world.members[0], "sentry-sset-0").await, NEW);
    assert_eq!(runs(&world.members[0], "validator-sset-0").await, OLD);
    assert_eq!(
        (version(&world.members[1]).await.as_deref(), step(&world.members[1]).await),
        (Some(OLD), None)
    );
    for pod in ["sentry-sset-0", "validator-sset-0"] {
        assert_eq!(runs(&world.members[1], pod).await, OLD);
    }
}

async fn a_chain_that_stands_still_pauses_the_upgrade_blames_nobody_and_it_goes_on_with_the_chain(
    place: Place,
) {
    let Some(world) = World::with_nodes(place, 2).await else { return };
    let _daemon = world.settles(2, OLD).await;
    let mut fleet = impatient_at(place, "140s");
    if let Place::Sandbox = place {
        // On a busy machine a node takes much of the fleet's time to come up.
        fleet["upgrades"][0]["progressDeadline"] = json!("30m");
    }
    world.write_fleet(2, &fleet);
    let begun = eventually("the canary has begun", PATIENCE, async || step(&world.members[0]).await).await;
    world.stall_chain();
    held_up_by(&world, "the chain polkadot has finalised no block since", LONG_ENOUGH + PATIENCE).await;
    // Well past the deadline; of the restart, too, that was permitted after the step.
    let until =
        begun.at + jiff::SignedDuration::from_secs(if let Place::Sandbox = place { 2400 } else { 155 });
    eventually("the deadline is over", LONG_ENOUGH + PATIENCE, async || {
        assert_eq!(halted(&world).await, None, "nobody is to blame");
        (world.now() > until).then_some(())
    })
    .await;
    assert_eq!(
        (version(&world.members[1]).await.as_deref(), step(&world.members[1]).await),
        (Some(OLD), None)
    );
    world.resume_chain();
    for member in &world.members {
        member.settles_at(NEW).await;
    }
    assert_eq!(halted(&world).await, None);
}

async fn a_node_that_cannot_be_asked_gets_no_step_and_a_reason(place: Place) {
    let Some(world) = World::with_nodes(place, 1).await else { return };
    let _daemon = world.settles(1, OLD).await;
    let mut fleet = impatient_at(place, "2m");
    fleet["upgrades"][0]["stages"][1]["optional"] = json!(true);
    let member = &world.members[0];
    member.set_deaf(true);
    is_asked(member).await;
    world.write_fleet(1, &fleet);
    let words = held_up_by(&world, "could not be told after the step", PATIENCE).await;
    assert!(words.contains("-sset-0") && words.contains("9615"), "{words}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!((version(member).await.as_deref(), step(member).await), (Some(OLD), None));
    member.set_deaf(false);
    member.settles_at(NEW).await;
}

/// Why the upgrade is halted, once it is, by the plan of a daemon in the sandbox.
async fn halts(daemon: &Daemon) -> String {
    eventually("the upgrade is halted", PATIENCE, async || {
        daemon.plan().progress.first().and_then(|progress| progress.halted.clone())
    })
    .await
}

/// In the sandbox: what it takes to see that a node syncs for ever takes long. The canary is sound, and the first cluster of
/// production is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_syncs_halts_the_upgrade_and_node_and_reason_are_named() {
    let (world, daemon) = World::settled(Place::Sandbox, 3, OLD).await;
    world.members[1].set_version_fault(NEW, VersionFault::NeverSyncs);
    world.write_fleet(3, &impatient());
    let why = halts(&daemon).await;
    for words in ["cluster-2", "sentry-sset-0", "syncing"] {
        assert!(why.contains(words), "{words:?} in {why}");
    }
    // A sentry goes first: the validator has not been touched, and neither has the next cluster.
    assert_eq!(runs(&world.members[1], "sentry-sset-0").await, NEW);
    assert_eq!(runs(&world.members[1], "validator-sset-0").await, OLD);
    assert_eq!(version(&world.members[2]).await.as_deref(), Some(OLD));
}
