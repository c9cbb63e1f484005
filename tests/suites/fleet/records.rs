//! What home remembers of a cluster that has left the fleet: all of it, until a person says otherwise. It may have left by
//! mistake, and its validators, versions and failures count when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use polkafleet::upgrade::Code;
use serde_json::json;

use super::workers::{VERSION, is_looked_after, says};
use crate::support::between::Instead;
use crate::support::world::{Place, World, upgrade};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds!(
    the_record_of_a_cluster_that_left_stays_until_a_person_deletes_it_and_is_made_anew_when_it_is_back
);

async fn the_record_of_a_cluster_that_left_stays_until_a_person_deletes_it_and_is_made_anew_when_it_is_back(
    place: Place,
) {
    let (world, daemon) = World::settled(place, 2, VERSION).await;
    let [home, leaver] = &world.members[..] else { panic!() };
    let maps: Api<ConfigMap> = Api::namespaced(home.admin.clone(), &world.namespace);
    world.remembers_settled(leaver, VERSION).await;
    world.write_fleet(1, &json!({}));
    says(&daemon, &["Disengaging a cluster"]).await;
    is_looked_after(&world, home).await;
    tokio::time::sleep(world.quiet()).await;
    let (_, before) = world.remembers_settled(leaver, VERSION).await;

    // As the README says.
    maps.delete(&format!("fleet-record-{}", leaver.name), &DeleteParams::default()).await.unwrap();
    is_looked_after(&world, home).await;
    world.write_fleet(2, &json!({}));
    let (_, after) = world.remembers_settled(leaver, VERSION).await;
    assert_ne!(before, after, "it was made anew");
}

/// In the sandbox: a real API server that refuses this one write is not to be had.
#[tokio::test(flavor = "multi_thread")]
async fn no_step_is_taken_before_home_was_told_of_it_and_while_it_cannot_be_that_is_said() {
    const NEW: &str = "stable2503-8";
    let world = World::new(Place::Sandbox, 2).await;
    let refuses = Arc::new(AtomicBool::new(false));
    world.write_fleet(2, &json!({}));
    world.fill(VERSION).await;
    let full = Arc::clone(&refuses);
    let daemon = world.daemon_behind(move |asked| {
        let is_record = asked.path.contains("/configmaps/fleet-record-");
        if is_record && full.load(Ordering::SeqCst) {
            return Instead::Refuse(403, "exceeded quota");
        }
        Instead::Nothing
    });
    for member in &world.members {
        member.settles_at(VERSION).await;
        world.remembers_settled(member, VERSION).await;
    }
    refuses.store(true, Ordering::SeqCst);
    world.write_fleet(2, &upgrade(NEW, "0s"));
    eventually("the step waits for home", PATIENCE, async || {
        let plan = daemon.plan();
        let wait = plan.waits.iter().find(|wait| wait.code == Code::RecordPending)?;
        let told = ["home is being told of it first", "is being written down in home"];
        told.iter().any(|words| wait.words.contains(words)).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    for member in &world.members {
        assert_eq!(member.get().await.spec.client_version.as_deref(), Some(VERSION));
    }
    assert!(daemon.said().contains("A member's record could not be written to home"));
    refuses.store(false, Ordering::SeqCst);
    for member in &world.members {
        member.settles_at(NEW).await;
    }
}
