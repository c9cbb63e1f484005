//! What home remembers of a cluster that has left the fleet: all of it, until a person says otherwise. It may have left by
//! mistake, and its validators, versions and failures count when it is back.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::workers::{VERSION, is_looked_after, says};
use crate::support::in_both_worlds;
use crate::support::world::{Place, World};

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
