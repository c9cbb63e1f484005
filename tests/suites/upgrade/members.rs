//! Members that are paused, held, away, lost, that join and leave while an upgrade is under way: they are left alone (I5),
//! abort nothing (I8), and the upgrade ends once nothing holds it up any more, by the daemon that began it (I13).

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::commands::{NEW, OLD, guarded, run};
use super::invariants::{is_set, to};
use super::limits::{alone_waits, settled, settles_first, slow};
use super::written::Written;
use crate::support::daemon::Daemon;
use crate::support::proxy::Mode;
use crate::support::world::{Member, Place, World, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    i05_in_a_paused_cluster_and_on_a_held_resource_nothing_is_changed_until_that_is_over,
    i08_a_cluster_joins_and_one_that_is_half_way_leaves_and_the_upgrade_ends,
    i13_an_upgrade_that_a_pause_an_approval_and_a_cluster_that_is_away_hold_up_ends_once_each_is_over,
    i13_a_cluster_that_is_declared_lost_holds_up_nobody_and_is_caught_up_when_it_is_back,
}

const SAMPLE: &str = "polkadot-cr";
const VERY_LONG: &str = "3h";

/// The clusters of the world's fleet file.
fn clusters(world: &World) -> Value {
    let text = std::fs::read_to_string(world.fleet_file()).unwrap();
    let fleet: Value = serde_yaml::from_str(&text).unwrap();
    fleet["clusters"].clone()
}

async fn status(world: &World) -> Value {
    let (_, said) = run(world, &["status", "-o", "json"]).await;
    serde_json::from_str(&said).unwrap()
}

/// Waits until every stage has passed, with so many resources that are healthy.
async fn passes(world: &World, healthy: u64) {
    eventually("every stage has passed", PATIENCE, async || {
        let status = status(world).await;
        let stages = status["progress"][0]["stages"].as_array().unwrap();
        let all: u64 = stages.iter().map(|stage| stage["healthy"].as_u64().unwrap()).sum();
        let passed = stages.iter().all(|stage| stage["state"] == "Passed");
        (passed && all == healthy).then_some(())
    })
    .await;
}

/// Waits until the daemon has seen that a cluster is away.
async fn is_away(daemon: &Daemon) {
    eventually("it is seen to be away", PATIENCE, async || {
        daemon.said().contains("The cluster is unreachable").then_some(())
    })
    .await;
}

async fn versions(world: &World) -> Vec<String> {
    let mut all = vec![];
    for member in &world.members {
        all.push(member.get().await.spec.client_version.unwrap());
    }
    all
}

fn sets(member: &Member) -> Api<StatefulSet> {
    Api::namespaced(member.admin.clone(), &member.namespace)
}

/// Whether the sentries' StatefulSet is as somebody else left it, and everything of the pods is as it was.
async fn left_alone(member: &Member) -> (bool, Option<i32>, Vec<Option<String>>) {
    let set = sets(member).get("sentry-sset").await.unwrap();
    let pods = member.pods().await.into_values().map(|pod| pod.uid()).collect();
    (set.labels()["role"] == "other", set.spec.unwrap().replicas, pods)
}

async fn i05_in_a_paused_cluster_and_on_a_held_resource_nothing_is_changed_until_that_is_over(place: Place) {
    let (world, _daemon) = settled(place, 3, 1).await;
    let (paused, held) = (&world.members[1], &world.members[2]);
    let others = [paused, held];
    held.edit_spec(json!({"hold": "it is Friday"})).await;
    held.condition(SAMPLE, "Held").await;
    let mut written = vec![];
    for member in others {
        written.push(Written::of(member).await);
    }
    let open = clusters(&world);
    let mut fleet = to(NEW, &json!({}));
    fleet["clusters"] = open.clone();
    fleet["clusters"][1]["paused"] = json!(true);
    world.write_fleet(3, &fleet);
    world.members[0].settles_at(NEW).await;
    alone_waits(&world, "ClusterPaused", ("cluster-2", SAMPLE)).await;
    alone_waits(&world, "Held", ("cluster-3", SAMPLE)).await;

    // Neither a version, nor what others change: their edits of the resource as well as of what belongs to it.
    let before = (paused.writers().len(), [left_alone(paused).await.2, left_alone(held).await.2]);
    for member in others {
        let drift = Patch::Merge(json!({"metadata": {"labels": {"role": "other"}}}));
        sets(member).patch("sentry-sset", &PatchParams::default(), &drift).await.unwrap();
        member.edit_spec(json!({"sentry": {"replicas": 2}})).await;
    }
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(versions(&world).await, [NEW, OLD, OLD]);
    assert_eq!(paused.writers().len(), before.0, "not even a status");
    for ((member, written), pods) in others.into_iter().zip(&written).zip(before.1) {
        written.is_current(member, SAMPLE).await;
        assert_eq!(written.all(), vec![], "{}", member.name);
        assert_eq!(left_alone(member).await, (true, Some(1), pods), "{}", member.name);
    }

    fleet["clusters"] = open;
    world.write_fleet(3, &fleet);
    held.edit_spec(json!({"hold": null})).await;
    for member in others {
        member.settles_at(NEW).await;
        eventually("what others changed is as it should be", PATIENCE, async || {
            let (drifted, replicas, _) = left_alone(member).await;
            (!drifted && replicas == Some(2)).then_some(())
        })
        .await;
    }
    passes(&world, 3).await;
}

async fn i08_a_cluster_joins_and_one_that_is_half_way_leaves_and_the_upgrade_ends(place: Place) {
    let world = World::new(place, 4).await;
    world.write_fleet(4, &json!({}));
    let mut members = clusters(&world);
    members.as_array_mut().unwrap().remove(1);
    // What the fourth runs has something to lose: it was looked after once, and is no member when it begins.
    let _daemon = settles_first(&world, 4, 2).await;
    let two = json!({"maxConcurrent": 2});
    let written = Written::of(&world.members[1]).await;
    world.write_fleet(3, &slow(NEW, VERY_LONG, &two));
    for member in &world.members[..2] {
        is_set(member, NEW).await;
    }
    alone_waits(&world, "Width", ("cluster-3", SAMPLE)).await;
    eventually("the second is half-way", PATIENCE, async || {
        (written.grants(SAMPLE).len() == 1).then_some(())
    })
    .await;

    // The second leaves, and its place in the stage's width is free; the fourth joins, and waits for one.
    let fleet = |stable_for| {
        let mut fleet = slow(NEW, stable_for, &two);
        fleet["clusters"] = members.clone();
        fleet
    };
    world.write_fleet(4, &fleet(VERY_LONG));
    is_set(&world.members[2], NEW).await;
    alone_waits(&world, "Width", ("cluster-4", SAMPLE)).await;
    assert_eq!(world.members[3].get().await.spec.client_version.as_deref(), Some(OLD));
    written.is_current(&world.members[1], SAMPLE).await;
    let left = written.all().len();

    world.write_fleet(4, &fleet("1s"));
    for member in [0, 2, 3] {
        world.members[member].settles_at(NEW).await;
    }
    passes(&world, 3).await;
    written.is_current(&world.members[1], SAMPLE).await;
    assert_eq!(written.all().len(), left, "who has left is left as it is: {:#?}", written.all());
    assert_eq!(written.grants(SAMPLE).len(), 1);
}

async fn i13_an_upgrade_that_a_pause_an_approval_and_a_cluster_that_is_away_hold_up_ends_once_each_is_over(
    place: Place,
) {
    let (world, daemon) = World::settled(place, 3, OLD).await;
    let is_held_up = async |code: &str, expected: [&str; 3]| {
        eventually(&format!("it waits: {code}"), PATIENCE, async || {
            let status = status(&world).await;
            status["waits"].as_array().unwrap().iter().any(|wait| wait["code"] == code).then_some(())
        })
        .await;
        tokio::time::sleep(world.quiet()).await;
        assert_eq!(versions(&world).await, expected, "{code}");
    };
    let mut fleet = guarded();
    fleet["upgrades"][0]["paused"] = json!(true);
    world.write_fleet(3, &fleet);
    is_held_up("UpgradePaused", [OLD; 3]).await;

    fleet["upgrades"][0]["paused"] = json!(false);
    world.write_fleet(3, &fleet);
    world.members[0].settles_at(NEW).await;
    is_held_up("Approval", [NEW, OLD, OLD]).await;

    // The third is away when the second may begin: its validator may be down, and then the second's may not go as well.
    world.members[2].gate.set(Mode::Refuse);
    is_away(&daemon).await;
    let (code, said) = run(&world, &["approve", "polkadot", "production"]).await;
    assert_eq!(code, 0, "{said}");
    is_held_up("ValidatorBudget", [NEW, OLD, OLD]).await;

    world.members[2].gate.set(Mode::Pass);
    for member in &world.members {
        member.settles_at(NEW).await;
    }
    passes(&world, 3).await;
}

async fn i13_a_cluster_that_is_declared_lost_holds_up_nobody_and_is_caught_up_when_it_is_back(place: Place) {
    let (world, daemon) = World::settled(place, 3, OLD).await;
    let lost = &world.members[2];
    lost.gate.set(Mode::Refuse);
    is_away(&daemon).await;
    let mut fleet = upgrade(NEW, "0s");
    fleet["clusters"] = clusters(&world);
    world.write_fleet(3, &fleet);
    eventually("its validator takes the budget", PATIENCE, async || {
        let status = status(&world).await;
        status["waits"].as_array().unwrap().iter().any(|wait| wait["code"] == "ValidatorBudget").then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(versions(&world).await, [OLD; 3]);

    fleet["clusters"][2]["lost"] = json!(true);
    world.write_fleet(3, &fleet);
    for member in &world.members[..2] {
        member.settles_at(NEW).await;
    }
    passes(&world, 2).await;

    // It is back, and nobody has taken the word back: it is left alone.
    let written = Written::of(lost).await;
    lost.gate.set(Mode::Pass);
    tokio::time::sleep(world.quiet()).await;
    written.is_current(lost, SAMPLE).await;
    assert_eq!(written.all(), vec![]);
    fleet["clusters"][2]["lost"] = json!(false);
    world.write_fleet(3, &fleet);
    lost.settles_at(NEW).await;
    written.is_once_each(lost, &[NEW]).await;
    passes(&world, 3).await;
}
