//! A node's agent for one pod: images, the start of the container, probes, crashes and back-off, and the end. Pure: it
//! is told the time, and asks a [`Host`] for images, processes and answers.
//!
//! One container per pod, which is what the product runs; init containers are taken as done.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::seconds;
use crate::sandbox::api::{text, time};

mod probe;
mod status;

use self::probe::Probe;

/// How long an image takes to be pulled, and a container to be made.
const PULL: SignedDuration = SignedDuration::from_millis(1500);
/// How long a pod takes to stop when it is asked to.
const STOP: SignedDuration = SignedDuration::from_secs(2);
/// The first pause after a crash; it doubles.
const BACK_OFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest.
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_secs(300);
/// A container that ran this long begins anew with the first pause.
const FORGIVEN: SignedDuration = SignedDuration::from_secs(600);
/// When to try again what does not depend on time.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// What a pod needs of the machine it is on.
pub trait Host {
    /// Whether there is such an image.
    fn has_image(&self, image: &str) -> bool;
    /// Starts the pod's container.
    fn start(&mut self, pod: &Value, now: Timestamp) -> Result<(), NoStart>;
    /// Ends it.
    fn stop(&mut self, pod: &Value, now: Timestamp);
    /// The HTTP status of a GET on the pod's address; `None`: nobody listens there.
    fn get(&self, pod: &Value, port: u16, path: &str, now: Timestamp) -> Option<u16>;
}

/// Why a container did not start.
#[derive(Debug)]
pub enum NoStart {
    /// Something that it needs is not there yet.
    Waits(String),
    /// It ended at once.
    Ended {
        /// The exit code.
        code: i32,
        /// The last it wrote.
        message: String,
    },
}

/// Where a pod is.
#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    New,
    Pulling(Timestamp),
    NoImage(Timestamp),
    Waiting(Timestamp, String),
    Running(Timestamp),
    BackOff(Timestamp),
    Stopping(Timestamp),
}

/// The end of a container.
#[derive(Clone, Debug)]
struct Ended {
    code: i32,
    message: String,
    started: Timestamp,
    finished: Timestamp,
}

/// One pod on its node.
#[derive(Clone, Debug, Default)]
pub struct PodRun {
    stage: Stage,
    restarts: u32,
    /// Crashes since it last ran well.
    crashes: u32,
    last: Option<Ended>,
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
    /// Whether the pod has ever had a running container.
    ran: bool,
}

/// What a look at a pod comes to.
#[derive(Debug)]
pub struct Look {
    /// The pod's status as it should be.
    pub status: Value,
    /// When to look again.
    pub wake: Option<Timestamp>,
    /// Whether the pod is gone.
    pub gone: bool,
}

impl PodRun {
    /// Looks after the pod.
    pub fn look(&mut self, pod: &Value, host: &mut dyn Host, now: Timestamp) -> Look {
        while let Some(next) = self.next(pod, host, now) {
            self.stage = next;
        }
        let gone = matches!(&self.stage, Stage::Stopping(until) if *until <= now);
        Look { status: self.status(pod, now), wake: self.wake(), gone }
    }

    /// Where the pod goes from here; `None`: it stays.
    fn next(&mut self, pod: &Value, host: &mut dyn Host, now: Timestamp) -> Option<Stage> {
        let deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        if deleted && !matches!(self.stage, Stage::Stopping(_)) {
            host.stop(pod, now);
            let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            return Some(Stage::Stopping(later(now, seconds(grace).min(STOP))));
        }
        match self.stage {
            Stage::New => Some(Stage::Pulling(later(now, PULL))),
            Stage::Pulling(until) if until <= now => {
                if host.has_image(image(pod)) {
                    Some(self.start(pod, host, now))
                } else {
                    Some(Stage::NoImage(later(now, BACK_OFF)))
                }
            }
            Stage::NoImage(until) if until <= now => Some(Stage::Pulling(later(now, PULL))),
            Stage::Waiting(until, _) if until <= now => Some(self.start(pod, host, now)),
            Stage::BackOff(until) if until <= now => {
                self.restarts += 1;
                Some(self.start(pod, host, now))
            }
            Stage::Running(since) => self.probe(pod, host, since, now),
            _ => None,
        }
    }

    fn start(&mut self, pod: &Value, host: &mut dyn Host, now: Timestamp) -> Stage {
        match host.start(pod, now) {
            Ok(()) => {
                let container = &pod["spec"]["containers"][0];
                let probe = |name: &str| Probe::new(&container[name], container, now);
                (self.startup, self.liveness, self.readiness) =
                    (probe("startupProbe"), probe("livenessProbe"), probe("readinessProbe"));
                self.ran = true;
                Stage::Running(now)
            }
            Err(NoStart::Waits(why)) => Stage::Waiting(later(now, RETRY), why),
            Err(NoStart::Ended { code, message }) => {
                self.ran = true;
                self.crashed(Ended { code, message, started: now, finished: now }, now)
            }
        }
    }

    fn crashed(&mut self, ended: Ended, now: Timestamp) -> Stage {
        if ended.finished.duration_since(ended.started) >= FORGIVEN {
            self.crashes = 0;
        }
        let pause = BACK_OFF.checked_mul(1 << self.crashes.min(5)).unwrap_or(LONGEST_BACK_OFF);
        self.crashes += 1;
        self.last = Some(ended);
        Stage::BackOff(later(now, pause.min(LONGEST_BACK_OFF)))
    }

    /// Probes what is due; a container that fails its startup or liveness probe is ended.
    fn probe(&mut self, pod: &Value, host: &mut dyn Host, since: Timestamp, now: Timestamp) -> Option<Stage> {
        let ask = |port: u16, path: &str| host.get(pod, port, path, now);
        let mut failed = false;
        if let Some(startup) = self.startup.as_mut().filter(|probe| !probe.passed()) {
            startup.look(&ask, now);
            failed |= startup.failed();
            if startup.passed() {
                // The others begin when this one has passed.
                let others = self.liveness.iter_mut().chain(&mut self.readiness);
                others.for_each(|probe| probe.begin(now));
            }
        }
        if self.startup.as_ref().is_none_or(Probe::passed) {
            if let Some(liveness) = &mut self.liveness {
                liveness.look(&ask, now);
                failed |= liveness.failed();
            }
            if let Some(readiness) = &mut self.readiness {
                readiness.look(&ask, now);
            }
        }
        failed.then(|| {
            host.stop(pod, now);
            let message = "it failed its probe".into();
            self.crashed(Ended { code: 137, message, started: since, finished: now }, now)
        })
    }

    fn is_started(&self) -> bool {
        matches!(self.stage, Stage::Running(_)) && self.startup.as_ref().is_none_or(Probe::passed)
    }

    fn is_ready(&self) -> bool {
        self.is_started() && self.readiness.as_ref().is_none_or(Probe::passed)
    }

    fn wake(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::New => None,
            Stage::Pulling(at)
            | Stage::NoImage(at)
            | Stage::Waiting(at, _)
            | Stage::BackOff(at)
            | Stage::Stopping(at) => Some(*at),
            Stage::Running(_) if self.is_started() => {
                self.liveness.iter().chain(&self.readiness).map(Probe::next).min()
            }
            Stage::Running(_) => self.startup.as_ref().map(Probe::next),
        }
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn image(pod: &Value) -> &str {
    text(&pod["spec"]["containers"][0], &["image"])
}

fn ended(ended: &Ended) -> Value {
    json!({"terminated": {
        "exitCode": ended.code, "reason": "Error", "message": ended.message,
        "startedAt": time(ended.started), "finishedAt": time(ended.finished),
    }})
}
