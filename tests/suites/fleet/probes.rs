//! When the nodes of a cluster are asked for their health.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::world::{Member, Place, World};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds!(a_node_that_becomes_ready_is_asked_for_its_health_at_once);

const VERSION: &str = "stable2503-6";
const NODE: &str = "validator-sset-0";

async fn a_node_that_becomes_ready_is_asked_for_its_health_at_once(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    // The quickest pace there is takes far longer than anybody's patience, in simulated time, too.
    world.write_fleet(1, &json!({"defaults": {"probe": {"interval": "1000h"}}}));
    world.fill(VERSION).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    is_asked_after(member, 0).await;

    let pods: Api<Pod> = Api::namespaced(member.admin.clone(), &world.namespace);
    let before = pods.get(NODE).await.unwrap().uid();
    pods.delete(NODE, &DeleteParams::default()).await.unwrap();
    let asked = member.probes(NODE);
    eventually("the node is back and Ready", PATIENCE, async || {
        let pod = pods.get_opt(NODE).await.unwrap().filter(|pod| pod.uid() != before)?;
        let conditions = pod.status?.conditions.unwrap_or_default();
        conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True").then_some(())
    })
    .await;
    is_asked_after(member, asked).await;
}

/// Waits until the node was asked more often than so many times.
async fn is_asked_after(member: &Member, times: usize) {
    eventually("the node is asked for its health", PATIENCE, async || {
        (member.probes(NODE) > times).then_some(())
    })
    .await;
}
