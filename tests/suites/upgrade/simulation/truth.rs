//! The resources and pods as they truly are, read past every fault of their clusters.

use std::collections::BTreeMap;

use jiff::Timestamp;
use polkafleet::polkadot::record::{GRANT_ANNOTATION, HEALTH_ANNOTATION, STEP_ANNOTATION};
use polkafleet::sandbox::cluster::Cluster;
use serde_json::Value;

/// A resource as it truly is.
pub(super) struct Truth {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) object: Value,
    pub(super) pods: Vec<Value>,
}

/// Whether the record in home says of a step that it is about to be taken.
pub(super) fn is_announced(home: &Cluster, own: &Truth, step: &Value) -> bool {
    let name = format!("fleet-record-{}", own.cluster);
    let record = home.with(|state| {
        let mut all = state.store.all();
        let found = all.find(|(key, stored)| {
            &*key.resource == "configmaps" && stored.value()["metadata"]["name"] == name.as_str()
        });
        found.and_then(|(_, stored)| serde_json::from_str(stored.value()["data"]["json"].as_str()?).ok())
    });
    let announced = |record: Value| record["announced"].as_array().cloned().unwrap_or_default();
    record.map(announced).unwrap_or_default().iter().any(|one| {
        one["uid"] == own.object["metadata"]["uid"]
            && ["upgrade", "target", "attempt"].iter().all(|part| one["step"][part] == step[part])
    })
}

/// Every resource, read past every fault.
pub(super) fn truth(clusters: &[Cluster]) -> Vec<Truth> {
    let mut all = vec![];
    for cluster in clusters {
        let (mut polkadots, mut pods): (Vec<Value>, Vec<Value>) = (vec![], vec![]);
        cluster.with(|state| {
            for (key, stored) in state.store.all() {
                if key.resource.starts_with("polkadots") {
                    polkadots.push(stored.value());
                } else if &*key.resource == "pods" {
                    pods.push(stored.value());
                }
            }
        });
        for object in polkadots {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let of_it = |pod: &&Value| {
                let pod = pod["metadata"]["name"].as_str().unwrap();
                pod.starts_with(&format!("{name}-")) && pod.contains("-sset-")
            };
            let pods = pods.iter().filter(of_it).cloned().collect();
            all.push(Truth { cluster: cluster.name().to_owned(), name, object, pods });
        }
    }
    all
}

impl Truth {
    pub(super) fn annotation(&self, key: &str) -> Option<Value> {
        let text = self.object["metadata"]["annotations"][key].as_str()?;
        serde_json::from_str(text).ok()
    }

    pub(super) fn any_step(&self) -> Option<Value> {
        self.annotation(STEP_ANNOTATION)
    }

    pub(super) fn step(&self, target: &str) -> Option<Value> {
        self.any_step().filter(|step| step["target"] == target)
    }

    pub(super) fn grant(&self) -> Option<Value> {
        self.annotation(GRANT_ANNOTATION)
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        serde_json::from_value(self.object["metadata"]["labels"].clone()).unwrap_or_default()
    }

    /// Whether it ever came up as a whole, or has anything that runs.
    pub(super) fn has_run(&self) -> bool {
        !self.object["status"]["firstSettled"].is_null() || self.pods.iter().any(is_ready)
    }

    pub(super) fn validator(&self) -> Option<&Value> {
        let is_it = |pod: &&Value| pod["metadata"]["name"].as_str().unwrap().contains("-validator-sset-");
        self.pods.iter().find(is_it)
    }

    /// Whether it has a validator whose session keys are on no volume.
    pub(super) fn is_ephemeral(&self) -> bool {
        let validator = &self.object["spec"]["validator"];
        !validator.is_null() && validator["dataPersistenceSupport"]["enabled"] != true
    }

    /// Whether every pod runs that version and is Ready.
    pub(super) fn is_at(&self, target: &str) -> bool {
        self.object["spec"]["clientVersion"] == target
            && !self.pods.is_empty()
            && self.pods.iter().all(|pod| version_of(pod) == target && is_ready(pod))
    }

    pub(super) fn reached(&self, target: &str) -> Option<Timestamp> {
        let reached = &self.object["status"]["reached"];
        (reached["version"] == target).then(|| reached["at"].as_str()?.parse().ok()).flatten()
    }

    pub(super) fn in_words(&self) -> String {
        let pods: Vec<String> = self
            .pods
            .iter()
            .map(|pod| {
                let how = waiting(pod).map_or_else(|| format!("ready {}", is_ready(pod)), str::to_owned);
                format!("{} {} {how}", pod["metadata"]["name"], version_of(pod))
            })
            .collect();
        format!(
            "{} {} {} {:?} {:?} {:?} {pods:?}",
            self.cluster,
            self.name,
            self.object["spec"]["clientVersion"],
            self.any_step().map(|step| step.to_string()),
            self.grant().map(|grant| grant.to_string()),
            self.annotation(HEALTH_ANNOTATION).map(|noted| noted.to_string())
        )
    }
}

pub(super) fn version_of(pod: &Value) -> String {
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    image.rsplit(':').next().unwrap_or_default().to_owned()
}

pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Why its container waits, if it does.
fn waiting(pod: &Value) -> Option<&str> {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str()
}

pub(super) fn made(pod: &Value) -> Timestamp {
    pod["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap()
}

/// Whether it was made before that moment, and its kubelet cannot start it.
pub(super) fn is_hopeless(pod: &Value, since: Timestamp) -> bool {
    // One that is being deleted says nothing of the one that comes after it.
    made(pod) < since
        && pod["metadata"]["deletionTimestamp"].is_null()
        && waiting(pod).is_some_and(|reason| ["ImagePullBackOff", "CrashLoopBackOff"].contains(&reason))
}

pub(super) fn is_stuck(pod: &Value) -> bool {
    let container = &pod["status"]["containerStatuses"][0];
    !container["state"]["waiting"]["reason"].is_null()
        && container["state"]["waiting"]["reason"] != "ContainerCreating"
        || container["restartCount"].as_u64().is_some_and(|restarts| restarts > 0)
}
