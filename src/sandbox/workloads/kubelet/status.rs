//! A pod's status as its node's agent writes it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::container::Ended;
use super::{Container, Mount, PodRun, Stage};
use crate::sandbox::api::{text, time};

impl PodRun {
    /// The status; times of what has not changed stay.
    pub(super) fn status(&self, pod: &Value, now: Timestamp) -> Value {
        let old = &pod["status"];
        let mut status = json!({
            "phase": self.phase(),
            "qosClass": old["qosClass"],
            "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
            "startTime": match old["startTime"].as_str() {
                Some(known) => json!(known),
                None => json!(time(now)),
            },
            "containerStatuses": [self.main_status(pod)],
            "conditions": self.conditions(pod, now),
            "observedGeneration": pod["metadata"]["generation"],
        });
        if let Some(specs) = pod["spec"]["initContainers"].as_array() {
            status["initContainerStatuses"] =
                specs.iter().enumerate().map(|(index, spec)| self.init_status(pod, spec, index)).collect();
        }
        let all = self.inits.iter().chain([&self.main]);
        let has_address = all
            .clone()
            .any(|one| one.has_run() || matches!(one.stage, Stage::NotPulled(_) | Stage::NoImage(_)));
        if has_address {
            let address = address(text(pod, &["metadata", "uid"]));
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
        }
        status
    }

    fn phase(&self) -> &'static str {
        if self.inits.iter().chain([&self.main]).any(Container::failed) {
            "Failed"
        } else if self.main.succeeded() {
            "Succeeded"
        } else if self.main.has_run() {
            "Running"
        } else {
            "Pending"
        }
    }

    fn main_status(&self, pod: &Value) -> Value {
        let mut status = container_status(pod, &pod["spec"]["containers"][0], &self.main);
        status["ready"] = json!(self.is_ready());
        status["started"] = json!(self.is_started());
        if self.stopping.is_some() && self.main.since().is_some() {
            status["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        } else if let Mount::Waiting(_, missing) = &self.mount {
            status["state"]["waiting"]["message"] = json!(missing);
        }
        status
    }

    fn init_status(&self, pod: &Value, spec: &Value, index: usize) -> Value {
        let new = Container::default();
        let container = self.inits.get(index).unwrap_or(&new);
        let mut status = container_status(pod, spec, container);
        status["ready"] = json!(container.succeeded());
        status["started"] = json!(container.since().is_some());
        status
    }

    fn conditions(&self, pod: &Value, now: Timestamp) -> Vec<Value> {
        let known = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let names = |list: &str, meant: &dyn Fn(usize) -> bool| {
            let specs = pod["spec"][list].as_array().into_iter().flatten().enumerate();
            let meant = specs.filter(|(index, _)| meant(*index)).map(|(_, spec)| text(spec, &["name"]));
            meant.collect::<Vec<_>>().join(" ")
        };
        let incomplete =
            names("initContainers", &|index| !self.inits.get(index).is_some_and(Container::succeeded));
        let unready = names("containers", &|_| !self.is_ready());
        let not_ready = if self.main.succeeded() {
            ("PodCompleted", String::new())
        } else {
            ("ContainersNotReady", format!("containers with unready status: [{unready}]"))
        };
        let wanted = [
            ("PodReadyToStartContainers", matches!(self.mount, Mount::Done), ("", String::new())),
            (
                "Initialized",
                incomplete.is_empty(),
                ("ContainersNotInitialized", format!("containers with incomplete status: [{incomplete}]")),
            ),
            ("Ready", self.is_ready(), not_ready.clone()),
            ("ContainersReady", self.is_ready(), not_ready),
            ("PodScheduled", true, ("", String::new())),
        ];
        let generation = &pod["metadata"]["generation"];
        wanted
            .into_iter()
            .map(|(type_, holds, (reason, message))| {
                let status = if holds { "True" } else { "False" };
                let same = known.iter().find(|one| one["type"] == type_ && one["status"] == status);
                let since = same.and_then(|one| one["lastTransitionTime"].as_str()).map(str::to_owned);
                // The server shows this one also where it is not set; without it no look at a pod would find nothing new.
                let mut condition = json!({
                    "lastProbeTime": null, "type": type_, "status": status, "observedGeneration": generation,
                    "lastTransitionTime": since.unwrap_or_else(|| time(now)),
                });
                for (key, word) in [("reason", reason), ("message", &message)] {
                    if !holds && !word.is_empty() {
                        condition[key] = json!(word);
                    }
                }
                condition
            })
            .collect()
    }
}

/// A container's status, but for whether it is ready and started.
fn container_status(pod: &Value, spec: &Value, container: &Container) -> Value {
    let (name, image) = (text(spec, &["name"]), text(spec, &["image"]));
    let mut status = json!({
        "name": name, "image": image, "imageID": "", "restartCount": container.restarts,
        "state": state(pod, name, image, container), "lastState": {},
    });
    if container.has_run() {
        let uid = text(pod, &["metadata", "uid"]);
        status["imageID"] = json!(format!("sandbox://{image}"));
        status["containerID"] = json!(format!("sandbox://{uid}-{name}-{}", container.restarts));
    }
    // While its end is all there is to say of it, that is its state.
    if let Some(last) = container.last.as_ref().filter(|_| !matches!(container.stage, Stage::Crashed(_))) {
        status["lastState"] = ended(last);
    }
    status
}

fn state(pod: &Value, name: &str, image: &str, container: &Container) -> Value {
    let waiting = |reason: &str, message: String| json!({"waiting": {"reason": reason, "message": message}});
    let no_image = format!("rpc error: code = NotFound desc = failed to pull image \"{image}\": not found");
    match &container.stage {
        Stage::Running { since, .. } => json!({"running": {"startedAt": time(*since)}}),
        Stage::NotPulled(_) => waiting("ErrImagePull", no_image),
        // While it is tried again, the last failure is what is known.
        Stage::Pulling(_) if container.pulls > 0 => waiting("ErrImagePull", no_image),
        Stage::NoImage(_) => waiting(
            "ImagePullBackOff",
            format!("Back-off pulling image \"{image}\": ErrImagePull: {no_image}"),
        ),
        Stage::Crashed(_) => container.last.as_ref().map(ended).unwrap_or_default(),
        Stage::BackOff(_) => {
            let [uid, namespace, pod] = ["uid", "namespace", "name"].map(|key| text(pod, &["metadata", key]));
            let pause = in_words(container.pause());
            let which = format!("container={name} pod={pod}_{namespace}({uid})");
            waiting("CrashLoopBackOff", format!("back-off {pause} restarting failed {which}"))
        }
        Stage::Done(end) => ended(end),
        Stage::New | Stage::Pulling(_) => {
            let initializes = pod["spec"]["initContainers"].as_array().is_some_and(|all| !all.is_empty());
            json!({"waiting": {"reason": if initializes { "PodInitializing" } else { "ContainerCreating" }}})
        }
    }
}

fn ended(ended: &Ended) -> Value {
    let mut state = json!({
        "exitCode": ended.exit.code, "reason": if ended.exit.code == 0 { "Completed" } else { "Error" },
        "startedAt": time(ended.started), "finishedAt": time(ended.finished),
    });
    if !ended.exit.message.is_empty() {
        state["message"] = json!(ended.exit.message);
    }
    json!({"terminated": state})
}

/// As Go writes it: `40s`, `2m40s`.
fn in_words(duration: SignedDuration) -> String {
    let (minutes, seconds) = (duration.as_mins(), duration.as_secs() % 60);
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

/// An address of the pod's own, always the same one.
fn address(uid: &str) -> String {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let [a, b, ..] = hasher.finish().to_be_bytes();
    format!("10.244.{a}.{b}")
}
