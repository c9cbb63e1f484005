//! What home remembers of a cluster that has left the fleet: all of it, until a person says otherwise. It may have left by
//! mistake, and its validators, versions and failures count when it is back.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::workers::{VERSION, is_looked_after, says};
use crate::support::world::{Member, Place, World};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds!(
    the_record_of_a_cluster_that_left_stays_until_a_person_deletes_it_and_is_made_anew_when_it_is_back
);

/// What home remembers of a member, once it is a settled resource; and the uid of where that stands.
async fn settled(maps: &Api<ConfigMap>, member: &Member) -> (String, String) {
    eventually("home remembers a settled resource", PATIENCE, async || {
        let map = maps.get_opt(&format!("fleet-record-{}", member.name)).await.unwrap()?;
        let text = map.data?["json"].clone();
        let record: Value = serde_json::from_str(&text).unwrap();
        (record["resources"][0]["client_version"] == VERSION
            && record["resources"][0]["ever_settled"] == true)
            .then_some((text, map.metadata.uid?))
    })
    .await
}

async fn the_record_of_a_cluster_that_left_stays_until_a_person_deletes_it_and_is_made_anew_when_it_is_back(
    place: Place,
) {
    let (world, daemon) = World::settled(place, 2, VERSION).await;
    let [home, leaver] = &world.members[..] else { panic!() };
    let maps: Api<ConfigMap> = Api::namespaced(home.admin.clone(), &world.namespace);
    settled(&maps, leaver).await;
    world.write_fleet(1, &json!({}));
    says(&daemon, &["Disengaging a cluster"]).await;
    is_looked_after(&world, home).await;
    tokio::time::sleep(world.quiet()).await;
    let (_, before) = settled(&maps, leaver).await;

    // As the README says.
    maps.delete(&format!("fleet-record-{}", leaver.name), &DeleteParams::default()).await.unwrap();
    is_looked_after(&world, home).await;
    world.write_fleet(2, &json!({}));
    let (_, after) = settled(&maps, leaver).await;
    assert_ne!(before, after, "it was made anew");
}
