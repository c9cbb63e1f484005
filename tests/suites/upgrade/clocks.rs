//! Clocks that are wrong: the daemon's takes no step while home's says otherwise, and a command's is not taken for a
//! daemon's silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use polkafleet::leader::{PLANNER_LEASE, SAYS};
use polkafleet::upgrade::Code;
use serde_json::json;
use tokio::task::JoinHandle;

use super::commands::{NEW, OLD, guarded, run};
use crate::support::between::Instead;
use crate::support::in_both_worlds;
use crate::support::world::{Place, World, upgrade};
use crate::support::{PATIENCE, eventually};

in_both_worlds!(a_command_whose_clock_is_wrong_looks_again_before_it_says_that_no_daemon_is_active);

/// In the sandbox: nobody sets the clock of a real API server.
#[tokio::test(flavor = "multi_thread")]
async fn while_homes_clock_differs_no_step_is_taken_and_that_is_said_and_when_they_agree_it_is() {
    // Not too fast: what an answer takes on a busy machine is much time in a fast world, and differs as well.
    let world = World::at_speed(Place::Sandbox, 2, 20.0).await;
    let (ahead, clock) = (Arc::new(AtomicI64::new(60)), world.clock());
    world.write_fleet(2, &json!({}));
    world.fill(OLD).await;
    let homes = Arc::clone(&ahead);
    let daemon = world.daemon_behind(move |asked| match asked.path {
        "/version" => Instead::At(clock.now() + SignedDuration::from_secs(homes.load(Ordering::SeqCst))),
        _ => Instead::Nothing,
    });
    for member in &world.members {
        member.settles_at(OLD).await;
    }
    world.write_fleet(2, &upgrade(NEW, "0s"));
    let words = eventually("the upgrade waits for the clocks", PATIENCE, async || {
        let plan = daemon.plan();
        let wait = plan.waits.iter().find(|wait| wait.code == Code::ClockSkew);
        wait.filter(|_| !plan.progress.is_empty()).map(|wait| wait.words.clone())
    })
    .await;
    assert!(
        words.contains("the home cluster's differ by ") && words.contains("set the clock (NTP)"),
        "{words}"
    );
    assert!(daemon.said().contains("This machine's clock and home's differ"), "the log says it, too");
    eventually("the command says it, too", PATIENCE, async || {
        let (code, said) = run(&world, &["status"]).await;
        let told = said.contains("IT TAKES NO STEPS: this machine's clock and the home cluster's differ");
        (told && code == 3).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    for member in &world.members {
        assert_eq!(member.get().await.spec.client_version.as_deref(), Some(OLD));
    }
    ahead.store(0, Ordering::SeqCst);
    for member in &world.members {
        member.settles_at(NEW).await;
    }
}

/// A daemon that lives, and holds the planner's Lease, by a clock that is so many hours ahead of that of the commands. It takes
/// the upgrade to `target`.
fn lives(world: &World, target: &str, hours: i64) -> JoinHandle<()> {
    let leases: Api<Lease> = Api::namespaced(world.members[0].admin.clone(), &world.namespace);
    let stages = json!([{"name": "canary"}, {"name": "production", "approval": true}]);
    let follows = json!({
        "by": "elsewhere", "follows": [{"name": "polkadot", "clientVersion": target, "stages": stages}],
    });
    tokio::spawn(async move {
        loop {
            let renewed = Timestamp::now() + SignedDuration::from_hours(hours);
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": PLANNER_LEASE, "annotations": {SAYS: follows.to_string()}},
                "spec": {
                    "holderIdentity": "elsewhere", "leaseDurationSeconds": 4,
                    "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
                },
            });
            let params = PatchParams::apply("elsewhere").force();
            let _ = leases.patch(PLANNER_LEASE, &params, &Patch::Apply(lease)).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
}

async fn a_command_whose_clock_is_wrong_looks_again_before_it_says_that_no_daemon_is_active(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &guarded());
    for hours in [-1, 1] {
        let daemon = lives(&world, "stable2503-9", hours);
        eventually("the daemon is there", PATIENCE, async || {
            let (_, said) = run(&world, &["status"]).await;
            said.contains("daemon elsewhere leads").then_some(())
        })
        .await;
        let (code, said) = run(&world, &["pause", "polkadot"]).await;
        assert_eq!((code, said.contains("NO DAEMON IS ACTIVE")), (0, false), "{said}");
        // What it follows counts, and not the file.
        let (code, said) = run(&world, &["approve", "polkadot", "production"]).await;
        assert!(
            code == 2 && said.contains("(elsewhere) takes upgrade polkadot to stable2503-9"),
            "{code} {said}"
        );

        daemon.abort();
        let _ = daemon.await;
        let (code, said) = run(&world, &["pause", "polkadot"]).await;
        assert!(code == 0 && said.contains("NO DAEMON IS ACTIVE: elsewhere led"), "{code} {said}");
    }
}
