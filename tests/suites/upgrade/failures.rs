//! What fails as soon as waiting cannot help: a version that crashes, a pod that fits on no machine. That an image which is
//! not there does, too, is in `prepull` and `invariants`; what only the chain tells is in `chain_gates_upgrade`. And notes that
//! a cluster refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use polkafleet::polkadot::record::{FAILED_ANNOTATION, HEALTH_ANNOTATION, STEP_ANNOTATION, Step, read};
use serde_json::{Value, json};

use super::commands::{NEW, OLD, run};
use super::invariants::to;
use crate::support::between::Instead;
use crate::support::proxy::Mode;
use crate::support::world::{Member, Place, World, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds!(
    i06_a_version_that_crashes_fails_at_once_its_node_is_named_and_a_newer_one_mends_it,
    i06_a_halt_outlasts_the_pod_that_failed_whoever_deletes_it,
    i10_what_failed_in_a_member_that_is_down_a_restarted_daemon_still_knows,
);

/// A release that ends as soon as it is started; the control planes' kubelets know it.
const CRASHING: &str = "stable2512-98";
const MENDED: &str = "stable2603-1";

/// One cluster at a time, and no trial: a pod that is tried before would not let it come so far.
fn untried(target: &str) -> Value {
    let mut fleet = to(target, &json!({"maxConcurrent": 1}));
    fleet["upgrades"][0]["prepull"] = json!(false);
    fleet["upgrades"][0]["progressDeadline"] = json!("1d");
    fleet
}

async fn image(member: &Member, pod: &str) -> String {
    member.pods().await.remove(pod).unwrap().spec.unwrap().containers[0].image.clone().unwrap()
}

/// Waits until the upgrade is halted by the first cluster's sentry, as `status` and `plan` say.
async fn is_halted(world: &World, why: &str) {
    for command in ["status", "plan"] {
        eventually(&format!("{command} says that it is halted"), PATIENCE, async || {
            let (code, said) = run(world, &[command]).await;
            let parts = ["HALTED", "1 failed, 0 tolerated", "cluster-1", "sentry-sset-0 cannot start: ", why];
            (code == 3 && parts.iter().all(|part| said.contains(part))).then_some(())
        })
        .await;
    }
}

async fn i06_a_version_that_crashes_fails_at_once_its_node_is_named_and_a_newer_one_mends_it(place: Place) {
    let (world, _daemon) = World::settled(place, 2, OLD).await;
    for member in &world.members {
        member.crashes_at(CRASHING);
    }
    world.write_fleet(2, &untried(CRASHING));
    let first = &world.members[0];
    // Long before the deadline, which is a day.
    let note = first.event("Failed").await;
    assert!(note.contains("sentry-sset-0 cannot start: CrashLoopBackOff"), "{note}");
    is_halted(&world, "CrashLoopBackOff").await;
    let words = first.condition("polkadot-cr", "UpgradeFailed").await;
    assert!(
        words.contains("sentry-sset-0 cannot start: CrashLoopBackOff") && words.contains("polkafleet retry"),
        "{words}"
    );
    eventually("the history tells it", PATIENCE, async || {
        let (code, said) = run(&world, &["status", "--history"]).await;
        let told: Vec<&str> = said.lines().filter(|line| line.contains(" FAILED")).collect();
        let is_right = |line: &&str| {
            let words =
                [" cluster-1 ", " FAILED, upgrade polkadot: sentry-sset-0 cannot start: CrashLoopBackOff"];
            words.iter().all(|words| line.contains(words))
        };
        (code == 0 && told.len() == 1 && told.iter().all(is_right)).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    // It has run, so nothing is taken back by itself; and nobody else is touched.
    assert_eq!(first.get().await.spec.client_version.as_deref(), Some(CRASHING));
    assert!(image(first, "sentry-sset-0").await.ends_with(CRASHING));
    assert!(image(first, "validator-sset-0").await.ends_with(OLD));
    assert_eq!(world.members[1].get().await.spec.client_version.as_deref(), Some(OLD));
    // The pod is not Ready and would block its StatefulSet for ever.
    world.write_fleet(2, &untried(MENDED));
    for member in &world.members {
        member.settles_at(MENDED).await;
    }
    let healed = async || {
        let polkadot = first.get().await;
        let conditions = polkadot.status?.conditions;
        let is_told = conditions.iter().any(|condition| condition.type_ == "UpgradeFailed");
        (!is_told && !polkadot.metadata.annotations?.contains_key(FAILED_ANNOTATION)).then_some(())
    };
    eventually("nothing is said of a failure any more", PATIENCE, healed).await;
    let step: Step =
        read(world.members[1].get().await.metadata.annotations.as_ref().unwrap(), STEP_ANNOTATION).unwrap();
    assert_eq!(step.previous.as_deref(), Some(OLD), "it was never given what crashes");
}

async fn i06_a_halt_outlasts_the_pod_that_failed_whoever_deletes_it(place: Place) {
    let (world, _daemon) = World::settled(place, 2, OLD).await;
    let (first, second) = (&world.members[0], &world.members[1]);
    first.crashes_at(CRASHING);
    // Both may begin at once, so that nothing but the halt keeps the second one from it.
    second.edit_spec(json!({"hold": "until the first has failed"})).await;
    second.condition("polkadot-cr", "Held").await;
    let mut fleet = untried(CRASHING);
    fleet["upgrades"][0]["stages"][0]["maxConcurrent"] = json!(2);
    fleet["validators"] = json!({"maxUnavailable": 2});
    world.write_fleet(2, &fleet);
    first.condition("polkadot-cr", "UpgradeFailed").await;
    second.edit_spec(json!({"hold": null})).await;
    is_halted(&world, "CrashLoopBackOff").await;
    let pods: Api<Pod> = Api::namespaced(first.admin.clone(), &world.namespace);
    for _ in 0..3 {
        let uid = pods.get("sentry-sset-0").await.unwrap().uid();
        pods.delete("sentry-sset-0", &DeleteParams::default()).await.unwrap();
        eventually("another one crashes", PATIENCE, async || {
            let pod = pods.get_opt("sentry-sset-0").await.unwrap()?;
            let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
            let waits = containers[0].state.as_ref()?.waiting.as_ref()?;
            (pod.uid() != uid && waits.reason.as_deref() == Some("CrashLoopBackOff")).then_some(())
        })
        .await;
    }
    tokio::time::sleep(world.quiet()).await;
    is_halted(&world, "CrashLoopBackOff").await;
    assert_eq!(second.get().await.spec.client_version.as_deref(), Some(OLD), "it is not given what crashes");
}

async fn i10_what_failed_in_a_member_that_is_down_a_restarted_daemon_still_knows(place: Place) {
    let (world, first) = World::settled(place, 2, OLD).await;
    let (home, down) = (&world.members[0], &world.members[1]);
    down.crashes_at(CRASHING);
    // The member goes first, home second.
    let mut fleet = untried(CRASHING);
    fleet["upgrades"][0]["stages"] = json!([
        {"name": "first", "clusters": {"matchLabels": {"stage": "production"}}},
        {"name": "second", "clusters": {"matchLabels": {"stage": "canary"}}},
    ]);
    world.write_fleet(2, &fleet);
    down.event("Failed").await;
    let failed =
        ["HALTED", "1 failed, 0 tolerated (cluster-2 ", "sentry-sset-0 cannot start: CrashLoopBackOff"];
    eventually("home is told", PATIENCE, async || {
        let (_, said) = run(&world, &["status", "--history"]).await;
        said.contains(" FAILED, upgrade polkadot: sentry-sset-0 cannot start").then_some(())
    })
    .await;
    first.kill();
    down.gate.set(Mode::Refuse);
    let _second = world.daemon();
    // What it says itself, and what the records say, read by a command.
    eventually("the failure is still known", PATIENCE, async || {
        let (code, said) = run(&world, &["status", "-o", "json"]).await;
        let status: Value = serde_json::from_str(&said).ok()?;
        let theirs = status["unfinished"]["polkadot"].as_str()?;
        let ours = status["progress"][0]["halted"].as_str()?;
        let is_known = |said: &str| failed[1..].iter().all(|words| said.contains(words));
        (code == 3 && theirs.starts_with(failed[0]) && is_known(theirs) && is_known(ours)).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet() * 2).await;
    assert_eq!(home.get().await.spec.client_version.as_deref(), Some(OLD), "it is not given what crashes");
    down.gate.set(Mode::Pass);
    fleet["upgrades"][0]["clientVersion"] = json!(MENDED);
    world.write_fleet(2, &fleet);
    for member in &world.members {
        member.settles_at(MENDED).await;
    }
}

/// In the sandbox: a machine may be added for five minutes, which on real control planes are five minutes.
#[tokio::test(flavor = "multi_thread")]
async fn i06_a_pod_that_fits_on_no_machine_fails_after_the_time_that_adding_one_may_take() {
    let (world, _daemon) = World::settled(Place::Sandbox, 2, OLD).await;
    let first = &world.members[0];
    // Both at once: what the resource asks for is the step's first restart.
    first.edit_spec(json!({"hold": "for both at once"})).await;
    first.condition("polkadot-cr", "Held").await;
    first.edit_spec(json!({"sentry": {"nodeSelector": {"disk": "of-no-machine"}}})).await;
    let mut fleet = upgrade("stable2503-7", "0s");
    fleet["upgrades"][0]["prepull"] = json!(false);
    fleet["upgrades"][0]["progressDeadline"] = json!("1d");
    world.write_fleet(2, &fleet);
    eventually("the step waits", PATIENCE, async || {
        run(&world, &["status"]).await.1.contains("Held").then_some(())
    })
    .await;
    first.edit_spec(json!({"hold": null})).await;
    let note = first.event("Failed").await;
    let now = world.now();
    assert!(note.contains("sentry-sset-0 cannot start: Unschedulable"), "{note}");
    let step: Step = read(first.get().await.metadata.annotations.as_ref().unwrap(), STEP_ANNOTATION).unwrap();
    assert!(now >= step.at + SignedDuration::from_mins(5), "{now} {step:?}");
    is_halted(&world, "Unschedulable").await;
    tokio::time::sleep(world.quiet()).await;
    assert!(image(first, "validator-sset-0").await.ends_with(OLD));
    assert_eq!(world.members[1].get().await.spec.client_version.as_deref(), Some(OLD));
    // It fits again, and the upgrade goes on by itself.
    first.edit_spec(json!({"sentry": {"nodeSelector": null}})).await;
    for member in &world.members {
        member.settles_at("stable2503-7").await;
    }
}

/// In the sandbox: on a real API server it would take a webhook.
#[tokio::test(flavor = "multi_thread")]
async fn where_notes_are_refused_the_upgrade_goes_on_and_they_are_not_tried_all_the_time() {
    let world = World::new(Place::Sandbox, 2).await;
    world.write_fleet(2, &json!({}));
    world.fill(OLD).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let (refused, first) = (Arc::clone(&tries), world.members[0].name.clone());
    let daemon = world.daemon_behind(move |asked| {
        if asked.cluster != first || !String::from_utf8_lossy(asked.body).contains(HEALTH_ANNOTATION) {
            return Instead::Nothing;
        }
        refused.fetch_add(1, Ordering::SeqCst);
        Instead::Refuse(422, "admission webhook denied the request")
    });
    for member in &world.members {
        member.settles_at(OLD).await;
    }
    world.write_fleet(2, &upgrade(NEW, "0s"));
    for member in &world.members {
        member.settles_at(NEW).await;
    }
    let told = || daemon.said().matches("How the resource fares cannot be noted on it").count();
    eventually("the log says it", PATIENCE, async || (told() > 0).then_some(())).await;
    let version = async || world.members[0].get().await.metadata.resource_version;
    eventually("its worker has no more to say of it", PATIENCE, async || {
        let before = version().await;
        tokio::time::sleep(world.quiet()).await;
        (version().await == before).then_some(())
    })
    .await;
    // What was refused is planned anew after a second.
    let before = tries.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = tries.load(Ordering::SeqCst);
    assert!(after <= before + 1, "it may have changed once meanwhile: {before}, then {after}");
    assert_eq!(told(), 1, "{}", daemon.said());
}
