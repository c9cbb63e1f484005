//! Reads the Polkadot resources of the user's real clusters, and changes nothing there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};

use super::cast::Cast;
use super::copied::{LeftOut, copied, runs_something};
use crate::cluster::connect::{Connect, Kubernetes};
use crate::cluster::trouble::in_words;
use crate::fleet::{Cluster, Fleet};
use crate::polkadot::Polkadot;

/// What a cluster may take to connect and to be listed.
const BOUND: Duration = Duration::from_secs(15);
/// Clusters that are asked at once.
const AT_ONCE: usize = 16;

/// What plays instead of the real resources, and whether every cluster that should have answered did.
pub(super) async fn read(fleet: &Fleet) -> (Cast, bool) {
    let mut cast = Cast::default();
    let (mut complete, mut left) = (true, LeftOut::default());
    let asking = futures::stream::iter(&fleet.clusters).map(async |cluster| (cluster, ask(cluster).await));
    let mut answers = asking.buffered(AT_ONCE);
    let mut count = BTreeMap::new();
    while let Some((cluster, answer)) = answers.next().await {
        let objects = match answer {
            Ok(objects) => objects,
            // A person's word that it is away.
            Err(why) if cluster.lost => {
                cast.remarks.push(format!(
                    "cluster {} is declared lost, and plays without resources: {why}",
                    cluster.name
                ));
                continue;
            }
            Err(why) => {
                complete = false;
                cast.remarks.push(format!(
                    "cluster {} did not answer, and plays without resources: {why}",
                    cluster.name
                ));
                continue;
            }
        };
        for object in objects {
            match copied(&cluster.name, object, &mut left) {
                Ok(part) if runs_something(&part.resource) => {
                    *count.entry(&cluster.name).or_insert(0_usize) += 1;
                    cast.parts.push(part);
                }
                Ok(_) => {}
                Err(why) => {
                    complete = false;
                    cast.remarks.push(format!("left out: {why}"));
                }
            }
        }
    }
    let counts: Vec<String> = count.iter().map(|(cluster, count)| format!("{cluster} {count}")).collect();
    cast.remarks.push(format!("copied from the clusters: resources of {}", or_none(&counts)));
    let left: Vec<String> = left.iter().map(|(what, count)| format!("{what} ({count})")).collect();
    cast.remarks.push(format!("not copied: {}; keys are made for the simulation", or_none(&left)));
    (cast, complete)
}

fn or_none(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

async fn ask(cluster: &Cluster) -> Result<Vec<DynamicObject>, String> {
    let asking = async {
        let connected = Kubernetes.connect(&cluster.connection).await.map_err(|error| error.to_string())?;
        let at = connected.at(&cluster.connection);
        let listed = list(&connected.client, &cluster.namespaces).await;
        listed.map_err(|error| in_words(&error, &at))
    };
    let bound = || format!("no answer within {} s", BOUND.as_secs());
    tokio::time::timeout(BOUND, asking).await.map_err(|_| bound())?
}

async fn list(client: &Client, namespaces: &[String]) -> Result<Vec<DynamicObject>, kube::Error> {
    let kind = ApiResource::erase::<Polkadot>(&());
    if namespaces.is_empty() {
        let all = Api::<DynamicObject>::all_with(client.clone(), &kind);
        return Ok(all.list(&ListParams::default()).await?.items);
    }
    let mut objects = vec![];
    for namespace in namespaces {
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
        objects.extend(api.list(&ListParams::default()).await?.items);
    }
    Ok(objects)
}
