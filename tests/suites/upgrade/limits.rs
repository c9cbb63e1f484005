//! How many at once: the width of a stage (I2), the resources of a cluster and the pods of a resource (I3), and what counts
//! towards them when the target is another one (I9). All on sentries, so that no validators' budget holds anything back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use polkafleet::polkadot::record::{GRANT_ANNOTATION, Grant};
use polkafleet::polkadot::{Kind, Polkadot, Role, record};
use serde_json::{Value, json};

use super::commands::{NEW, OLD, run};
use super::invariants::{is_set, one_by_one, rolled, step, to};
use super::looks::Last;
use super::written::{Write, Written};
use crate::support::daemon::Daemon;
use crate::support::world::{Member, Place, World, sample};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    i02_no_more_clusters_are_in_flight_than_the_stage_is_wide_on_the_first_upgrade_and_on_the_second,
    i03_no_more_resources_of_a_cluster_roll_than_it_allows_on_the_first_upgrade_and_on_the_second,
    i03_the_pods_of_a_resource_restart_one_by_one_each_after_the_one_before_is_healthy,
    i09_what_is_in_flight_counts_and_what_has_not_begun_goes_to_the_target_of_now,
}

const NEWER: &str = "stable2503-8";
/// Nobody is healthy before that is over: who is in flight stays there, also where time runs fast.
const VERY_LONG: &str = "3h";

/// Sentries, and nothing else.
fn sentries(name: &str, replicas: i32) -> Polkadot {
    let mut polkadot = sample(OLD, 0x13);
    polkadot.metadata.name = Some(name.into());
    polkadot.spec.name_prefix = (name != "polkadot-cr").then(|| name.into());
    polkadot.spec.kind = Kind::Sentry;
    polkadot.spec.validator = None;
    polkadot.spec.sentry.as_mut().unwrap().replicas = replicas;
    polkadot
}

/// So many clusters with so many sentries each, and the daemon that has seen them settle.
pub(super) async fn settled(place: Place, clusters: usize, replicas: i32) -> (World, Daemon) {
    let world = World::new(place, clusters).await;
    let daemon = settles_first(&world, clusters, replicas).await;
    (world, daemon)
}

/// The same with all of a world's clusters, of which the first so many are members.
pub(super) async fn settles_first(world: &World, members: usize, replicas: i32) -> Daemon {
    world.write_fleet(members, &json!({}));
    for member in &world.members {
        member.create(&sentries("polkadot-cr", replicas)).await;
    }
    let daemon = world.daemon();
    for member in &world.members[..members] {
        member.settles_at(OLD).await;
        world.remembers_settled(member, OLD).await;
    }
    daemon
}

/// An upgrade of all clusters to `target`, where a node has to be well for so long.
pub(super) fn slow(target: &str, stable_for: &str, changes: &Value) -> Value {
    let mut fleet = to(target, changes);
    fleet["upgrades"][0]["health"]["stableFor"] = json!(stable_for);
    fleet["upgrades"][0]["progressDeadline"] = json!("1d");
    fleet
}

/// Waits until a resource is told to wait for this reason, and no other one in its cluster or elsewhere for that.
pub(super) async fn alone_waits(world: &World, code: &str, (cluster, name): (&str, &str)) {
    let mut last = Last(String::new());
    eventually(&format!("{cluster} {name} waits: {code}"), PATIENCE, async || {
        let (_, said) = run(world, &["status", "-o", "json"]).await;
        let status: Value = serde_json::from_str(&said).unwrap();
        let waits = status["waits"].as_array().unwrap().iter().filter(|wait| wait["code"] == code);
        let waits: Vec<_> = waits.map(|wait| (wait["cluster"].clone(), wait["name"].clone())).collect();
        last.0 = said;
        (waits == [(json!(cluster), json!(name))]).then_some(())
    })
    .await;
}

/// That never more than so many of these were rolled at the same time.
fn at_most(width: usize, all: &[Polkadot]) {
    let times: Vec<(Timestamp, Timestamp)> = all.iter().map(rolled).collect();
    let at_once = |moment| times.iter().filter(|(from, until)| *from <= moment && moment < *until).count();
    let most = times.iter().map(|(from, _)| at_once(*from)).max();
    assert!(most.is_some_and(|most| most <= width), "{times:?}");
}

async fn settles(member: &Member, name: &str, version: &str) -> Polkadot {
    eventually(&format!("{} {name} settles at {version}", member.name), PATIENCE, async || {
        let polkadot = member.polkadots().get(name).await.unwrap();
        let settled = polkadot.status.as_ref()?.settled.as_ref()?;
        (settled.version == version && settled.interrupted.is_none()).then_some(polkadot)
    })
    .await
}

async fn version(member: &Member, name: &str) -> Option<String> {
    member.polkadots().get(name).await.unwrap().spec.client_version
}

async fn i02_no_more_clusters_are_in_flight_than_the_stage_is_wide_on_the_first_upgrade_and_on_the_second(
    place: Place,
) {
    let (world, _daemon) = settled(place, 3, 1).await;
    let two = json!({"maxConcurrent": 2});
    world.write_fleet(3, &slow(NEW, VERY_LONG, &two));
    for member in &world.members[..2] {
        is_set(member, NEW).await;
    }
    alone_waits(&world, "Width", ("cluster-3", "polkadot-cr")).await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(version(&world.members[2], "polkadot-cr").await.as_deref(), Some(OLD));
    for target in [NEW, NEWER] {
        world.write_fleet(3, &slow(target, "1s", &two));
        let mut all = vec![];
        for member in &world.members {
            all.push(member.settles_at(target).await);
        }
        at_most(2, &all);
    }
}

async fn i03_no_more_resources_of_a_cluster_roll_than_it_allows_on_the_first_upgrade_and_on_the_second(
    place: Place,
) {
    let (world, _daemon) = settled(place, 1, 1).await;
    let member = &world.members[0];
    for name in ["second", "third"] {
        member.create(&sentries(name, 1)).await;
        settles(member, name, OLD).await;
    }
    let names = ["polkadot-cr", "second", "third"];
    let fleet = |target, stable_for| {
        let mut fleet = slow(target, stable_for, &json!({}));
        fleet["defaults"] = json!({"maxNodesInFlight": 2});
        fleet
    };
    world.write_fleet(1, &fleet(NEW, VERY_LONG));
    for name in &names[..2] {
        eventually(&format!("{name} is given {NEW}"), PATIENCE, async || {
            (version(member, name).await.as_deref() == Some(NEW)).then_some(())
        })
        .await;
    }
    alone_waits(&world, "NodesInFlight", ("cluster-1", "third")).await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(version(member, "third").await.as_deref(), Some(OLD));
    for target in [NEW, NEWER] {
        world.write_fleet(1, &fleet(target, "1s"));
        let mut all = vec![];
        for name in names {
            all.push(settles(member, name, target).await);
        }
        at_most(2, &all);
    }
}

/// When a pod became Ready, to the second before.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|one| one.type_ == "Ready" && one.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

fn runs(pods: &BTreeMap<String, Pod>, pod: &str, version: &str) -> bool {
    let image = |pod: &Pod| pod.spec.as_ref()?.containers[0].image.clone();
    pods.get(pod).and_then(image).is_some_and(|image| image.ends_with(version))
}

async fn i03_the_pods_of_a_resource_restart_one_by_one_each_after_the_one_before_is_healthy(place: Place) {
    let (world, _daemon) = settled(place, 1, 3).await;
    let member = &world.members[0];
    let written = Written::of(member).await;
    for target in [NEW, NEWER] {
        // The first is Ready, and will not be healthy for a long time.
        world.write_fleet(1, &slow(target, VERY_LONG, &json!({})));
        eventually("the first runs it", PATIENCE, async || {
            let pods = member.pods().await;
            (runs(&pods, "sentry-sset-2", target) && ready_since(&pods["sentry-sset-2"]).is_some())
                .then_some(())
        })
        .await;
        tokio::time::sleep(world.quiet()).await;
        let pods = member.pods().await;
        assert!(!runs(&pods, "sentry-sset-1", target) && !runs(&pods, "sentry-sset-0", target));
        world.write_fleet(1, &slow(target, "1s", &json!({})));
        member.settles_at(target).await;
        written.is_current(member, "polkadot-cr").await;
        let granted: Vec<_> = (0..3).rev().map(|pod| (target.to_owned(), Role::Sentry, pod)).collect();
        assert_eq!(written.grants("polkadot-cr").split_off(if target == NEW { 0 } else { 3 }), granted);
        // Nobody was restarted before the one above was Ready.
        let pods = member.pods().await;
        let grants: BTreeMap<i32, Grant> = written
            .all()
            .into_iter()
            .filter_map(|(_, write)| match write {
                Write::Grant(grant, version) if version == target => Some((grant.ordinal, grant)),
                _ => None,
            })
            .collect();
        for pod in 0..2 {
            let before = ready_since(&pods[&format!("sentry-sset-{}", pod + 1)]).unwrap();
            assert!(before <= grants[&pod].at, "{before} {grants:?}");
        }
        let last: Grant =
            record::read(member.get().await.metadata.annotations.as_ref().unwrap(), GRANT_ANNOTATION)
                .unwrap();
        assert_eq!(last.ordinal, 0);
    }
}

async fn i09_what_is_in_flight_counts_and_what_has_not_begun_goes_to_the_target_of_now(place: Place) {
    let (world, _daemon) = settled(place, 3, 1).await;
    let one = json!({"maxConcurrent": 1});
    world.write_fleet(3, &slow(NEW, VERY_LONG, &one));
    is_set(&world.members[0], NEW).await;
    world.write_fleet(3, &slow(NEWER, "1s", &one));
    let mut all = vec![];
    for member in &world.members {
        all.push(member.settles_at(NEWER).await);
    }
    for other in &all[1..] {
        assert_eq!(step(other).unwrap().previous.as_deref(), Some(OLD), "nobody else begins with {NEW}");
    }
    one_by_one(all);
}
