#![allow(clippy::unwrap_used)]

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Exit, Host, PodRun};

/// A machine where everything is as a test says.
#[allow(clippy::struct_excessive_bools)] // each is one thing that can be so, in any combination
#[derive(Default)]
struct Machine {
    missing: Option<String>,
    no_image: Option<&'static str>,
    bad_init: bool,
    crashes: bool,
    ends: bool,
    unready: bool,
}

impl Host for Machine {
    fn mount(&self, _: &Value) -> Result<(), String> {
        self.missing.clone().map_or(Ok(()), Err)
    }

    fn has_image(&self, image: &str) -> bool {
        self.no_image != Some(image)
    }

    fn initialize(&self, _: &Value) -> Result<SignedDuration, Exit> {
        if self.bad_init {
            Err(Exit { code: 3, message: "no".into() })
        } else {
            Ok(SignedDuration::from_secs(1))
        }
    }

    fn start(&mut self, _: &Value, _: Timestamp) -> Result<Option<SignedDuration>, Exit> {
        if self.crashes {
            return Err(Exit { code: 1, message: "panicked".into() });
        }
        Ok(self.ends.then_some(SignedDuration::from_secs(1)))
    }

    fn stop(&mut self, _: &Value, _: Timestamp) {}

    fn get(&self, _: &str, _: u16, _: &str, _: Timestamp) -> Option<u16> {
        Some(if self.unready { 500 } else { 200 })
    }
}

/// A pod, and the kubelet that has it.
struct Life {
    pod: Value,
    run: PodRun,
    machine: Machine,
    now: Timestamp,
    /// What was to be seen, with the seconds since the start.
    seen: Vec<(i64, String)>,
}

fn life(machine: Machine, inits: &[&str], rest: &Value) -> Life {
    let mut pod = json!({
        "metadata": {"name": "p-0", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {
            "restartPolicy": "Always",
            "containers": [{"name": "main", "image": "main:1", "readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 5}}],
        },
        "status": {"qosClass": "BestEffort"},
    });
    if !inits.is_empty() {
        let inits: Vec<Value> =
            inits.iter().map(|name| json!({"name": name, "image": format!("{name}:1")})).collect();
        pod["spec"]["initContainers"] = json!(inits);
    }
    pod["spec"].as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    Life { pod, run: PodRun::default(), machine, now: start(), seen: vec![] }
}

fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

impl Life {
    /// Lets the kubelet look whenever it asks to, for so many seconds; writes down what `shown` makes of the status.
    fn pass(&mut self, seconds: i64, shown: impl Fn(&Value) -> String) -> &mut Self {
        let end = self.now + SignedDuration::from_secs(seconds);
        loop {
            let look = self.run.look(&self.pod, &mut self.machine, self.now);
            self.pod["status"] = look.status;
            let shown = shown(&self.pod["status"]);
            if self.seen.last().is_none_or(|(_, last)| *last != shown) {
                self.seen.push((self.now.duration_since(start()).as_secs(), shown));
            }
            match look.wake.filter(|wake| *wake <= end && !look.gone) {
                Some(wake) => self.now = wake,
                None => break,
            }
        }
        self.now = end;
        self
    }

    fn condition(&self, type_: &str) -> Value {
        let conditions = self.pod["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|one| one["type"] == type_).unwrap().clone()
    }

    fn seen(&self) -> Vec<&str> {
        self.seen.iter().map(|(_, shown)| shown.as_str()).collect()
    }
}

/// A container's state in one word.
fn word(container: &Value) -> String {
    let state = &container["state"];
    let reason = state["waiting"]["reason"].as_str().or_else(|| state["terminated"]["reason"].as_str());
    reason.unwrap_or("Running").to_owned()
}

fn main(status: &Value) -> String {
    word(&status["containerStatuses"][0])
}

/// The phase and all states, init containers first.
fn all(status: &Value) -> String {
    let inits = status["initContainerStatuses"].as_array().into_iter().flatten().map(word);
    let words: Vec<String> = inits.chain([main(status)]).collect();
    format!("{} {}", status["phase"].as_str().unwrap(), words.join(" "))
}

#[test]
fn init_containers_run_one_after_the_other_before_the_container_is_made() {
    let mut life = life(Machine::default(), &["a", "b"], &json!({}));
    life.pass(60, all);
    assert_eq!(
        life.seen(),
        [
            "Pending PodInitializing PodInitializing PodInitializing",
            "Pending Running PodInitializing PodInitializing",
            "Pending Completed PodInitializing PodInitializing",
            "Pending Completed Running PodInitializing",
            "Pending Completed Completed PodInitializing",
            "Running Completed Completed Running",
        ]
    );
    assert_eq!(life.condition("Ready")["status"], "True");
    let inits = &life.pod["status"]["initContainerStatuses"];
    assert_eq!((&inits[1]["ready"], &inits[1]["started"]), (&json!(true), &json!(false)));
}

#[test]
fn a_pod_that_initializes_says_which_containers_are_still_to_run() {
    let mut life = life(Machine { no_image: Some("b:1"), ..Machine::default() }, &["a", "b"], &json!({}));
    life.pass(60, all);
    assert_eq!(life.seen.last().unwrap().1, "Pending Completed ImagePullBackOff PodInitializing");
    let initialized = life.condition("Initialized");
    assert_eq!(initialized["reason"], "ContainersNotInitialized");
    assert_eq!(initialized["message"], "containers with incomplete status: [b]");
    assert_eq!(life.condition("Ready")["reason"], "ContainersNotReady");
}

#[test]
fn an_init_container_that_fails_is_tried_again_with_pauses_and_the_pod_stays_pending() {
    let mut life = life(Machine { bad_init: true, ..Machine::default() }, &["a"], &json!({}));
    life.pass(20, all);
    assert_eq!(life.seen.last().unwrap().1, "Pending CrashLoopBackOff PodInitializing");
    let init = &life.pod["status"]["initContainerStatuses"][0];
    assert_eq!(init["restartCount"], 2);
    assert_eq!(init["lastState"]["terminated"]["exitCode"], 3);
    life.machine.bad_init = false;
    life.pass(60, all);
    assert_eq!(life.seen.last().unwrap().1, "Running Completed Running");
}

#[test]
fn a_container_that_crashes_is_started_again_at_once_and_then_after_pauses_that_double() {
    let mut life = life(Machine { crashes: true, ..Machine::default() }, &[], &json!({}));
    life.pass(1000, main);
    let pauses: Vec<i64> = life
        .seen
        .windows(2)
        .filter(|pair| pair[0].1 == "CrashLoopBackOff")
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300], "five minutes at the most");
    assert_eq!(life.seen()[..4], ["ContainerCreating", "Error", "CrashLoopBackOff", "Error"]);
    let container = &life.pod["status"]["containerStatuses"][0];
    assert_eq!(container["lastState"]["terminated"]["message"], "panicked");
    let message = container["state"]["waiting"]["message"].as_str().unwrap();
    assert_eq!(message, "back-off 5m0s restarting failed container=main pod=p-0_n(u)");
    assert_eq!(life.pod["status"]["phase"], "Running");
}

#[test]
fn an_image_that_does_not_exist_is_asked_for_again_with_pauses() {
    let mut life = life(Machine { no_image: Some("main:1"), ..Machine::default() }, &[], &json!({}));
    life.pass(20, all);
    assert_eq!(
        life.seen()[..4],
        [
            "Pending ContainerCreating",
            "Pending ErrImagePull",
            "Pending ImagePullBackOff",
            "Pending ErrImagePull"
        ]
    );
    life.machine.no_image = None;
    life.pass(40, all);
    assert_eq!(life.seen.last().unwrap().1, "Running Running");
}

#[test]
fn a_pod_waits_for_a_secret_that_it_mounts_and_says_so() {
    let mut life = life(
        Machine { missing: Some("secret \"s\" not found".into()), ..Machine::default() },
        &["a"],
        &json!({}),
    );
    life.pass(30, all);
    assert_eq!(life.seen(), ["Pending PodInitializing PodInitializing"]);
    let state = &life.pod["status"]["containerStatuses"][0]["state"];
    assert_eq!(state["waiting"]["message"], "secret \"s\" not found");
    assert_eq!(life.condition("PodReadyToStartContainers")["status"], "False");
    life.machine.missing = None;
    life.pass(30, all);
    assert_eq!(life.seen.last().unwrap().1, "Running Completed Running");
}

#[test]
fn a_container_that_ends_is_over_or_started_again_as_the_pod_asks() {
    let life_of = |policy: &str, crashes| {
        let machine = Machine { ends: true, crashes, ..Machine::default() };
        let mut life = life(machine, &[], &json!({"restartPolicy": policy}));
        life.pass(60, all);
        life
    };
    let done = life_of("Never", false);
    assert_eq!(done.seen.last().unwrap().1, "Succeeded Completed");
    assert_eq!(done.condition("Ready")["reason"], "PodCompleted");
    assert_eq!(life_of("OnFailure", false).seen.last().unwrap().1, "Succeeded Completed");
    assert_eq!(life_of("Never", true).seen.last().unwrap().1, "Failed Error");
    assert_eq!(life_of("Always", false).seen.last().unwrap().1, "Running CrashLoopBackOff");
}

#[test]
fn a_probe_that_fails_ends_the_container_or_only_keeps_it_from_being_ready() {
    let probe = json!({"httpGet": {"port": 1}, "periodSeconds": 5, "failureThreshold": 2});
    let mut life = life(Machine { unready: true, ..Machine::default() }, &[], &json!({}));
    life.pass(60, all);
    assert_eq!(life.seen.last().unwrap().1, "Running Running");
    assert_eq!(life.condition("Ready")["status"], "False");
    life.machine.unready = false;
    life.pass(10, all);
    assert_eq!(life.condition("Ready")["status"], "True");
    assert_eq!(life.pod["status"]["containerStatuses"][0]["restartCount"], 0);

    let mut life = self::life(Machine { unready: true, ..Machine::default() }, &[], &json!({}));
    life.pod["spec"]["containers"][0]["livenessProbe"] = probe;
    life.pass(60, main);
    let container = &life.pod["status"]["containerStatuses"][0];
    assert!(container["restartCount"].as_i64().unwrap() > 1, "{container}");
    assert!(life.seen().contains(&"CrashLoopBackOff"), "{:?}", life.seen);
}

#[test]
fn a_pod_that_is_deleted_is_gone_after_it_was_given_time_to_stop() {
    let mut life = life(Machine::default(), &[], &json!({}));
    life.pass(30, all);
    life.pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    life.pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    let (now, mut run) = (life.now, life.run.clone());
    assert!(!run.look(&life.pod, &mut life.machine, now).gone);
    assert!(run.look(&life.pod, &mut life.machine, now + SignedDuration::from_secs(2)).gone);
}
