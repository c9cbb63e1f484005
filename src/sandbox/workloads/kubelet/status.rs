//! A pod's status as its node's agent writes it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{PodRun, Stage, ended, image};
use crate::sandbox::api::{text, time};

impl PodRun {
    /// The status; times of what has not changed stay.
    pub(super) fn status(&self, pod: &Value, now: Timestamp) -> Value {
        let old = &pod["status"];
        let has_address = self.ran || matches!(self.stage, Stage::NoImage(_));
        let mut status = json!({
            "phase": if self.ran { "Running" } else { "Pending" },
            "qosClass": old["qosClass"],
            "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
            "startTime": match old["startTime"].as_str() {
                Some(known) => json!(known),
                None => json!(time(now)),
            },
            "containerStatuses": [self.container(pod)],
            "conditions": self.conditions(pod, now),
            "observedGeneration": pod["metadata"]["generation"],
        });
        if has_address {
            let address = address(text(pod, &["metadata", "uid"]));
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
        }
        status
    }

    fn container(&self, pod: &Value) -> Value {
        let name = text(&pod["spec"]["containers"][0], &["name"]);
        let image = image(pod);
        let waiting =
            |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
        let state = match &self.stage {
            Stage::Running(since) => json!({"running": {"startedAt": time(*since)}}),
            Stage::NoImage(_) => waiting("ImagePullBackOff", &format!("Back-off pulling image \"{image}\"")),
            Stage::BackOff(_) => {
                let pod_name = text(pod, &["metadata", "name"]);
                waiting(
                    "CrashLoopBackOff",
                    &format!("back-off restarting failed container {name} in pod {pod_name}"),
                )
            }
            Stage::Waiting(_, why) => waiting("ContainerCreating", why),
            Stage::Stopping(_) if self.ran => {
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}})
            }
            _ => json!({"waiting": {"reason": "ContainerCreating"}}),
        };
        let mut status = json!({
            "name": name, "image": image, "imageID": "", "ready": self.is_ready(), "started": self.is_started(),
            "restartCount": self.restarts, "state": state, "lastState": {},
        });
        if self.ran {
            let uid = text(pod, &["metadata", "uid"]);
            status["imageID"] = json!(format!("sandbox://{image}"));
            status["containerID"] = json!(format!("sandbox://{uid}-{}", self.restarts));
        }
        if let Some(last) = &self.last {
            status["lastState"] = ended(last);
        }
        status
    }

    fn conditions(&self, pod: &Value, now: Timestamp) -> Vec<Value> {
        let known = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = self.is_ready();
        let wanted = [
            ("PodReadyToStartContainers", true, ""),
            ("Initialized", true, ""),
            ("Ready", ready, "ContainersNotReady"),
            ("ContainersReady", ready, "ContainersNotReady"),
            ("PodScheduled", true, ""),
        ];
        wanted
            .iter()
            .map(|(type_, holds, reason)| {
                let status = if *holds { "True" } else { "False" };
                let same = known.iter().find(|one| one["type"] == *type_ && one["status"] == status);
                let since = same.and_then(|one| one["lastTransitionTime"].as_str()).map(str::to_owned);
                // The server shows this one also where it is not set; without it no look at a pod would find nothing new.
                let mut condition = json!({
                    "lastProbeTime": null, "type": type_, "status": status, "observedGeneration": pod["metadata"]["generation"],
                    "lastTransitionTime": since.unwrap_or_else(|| time(now)),
                });
                if !holds {
                    let name = text(&pod["spec"]["containers"][0], &["name"]);
                    condition["reason"] = json!(reason);
                    condition["message"] = json!(format!("containers with unready status: [{name}]"));
                }
                condition
            })
            .collect()
    }
}

/// An address of the pod's own, always the same one.
fn address(uid: &str) -> String {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let [a, b, ..] = hasher.finish().to_be_bytes();
    format!("10.244.{a}.{b}")
}
