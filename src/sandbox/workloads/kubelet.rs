//! A node's agent for one pod: its volumes, its init containers one after the other, then the container with its
//! probes, and the end. Pure: it is told the time, and asks a [`Host`] for images, processes and answers.
//!
//! How one container is started again and again is in [`container`], what the pod's status says of it all in `status`.
//! One container per pod beside the init containers, which is what the product runs; no sidecars.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::seconds;
use crate::sandbox::api::text;

mod container;
mod probe;
mod status;
#[cfg(test)]
mod tests;

use self::container::{Container, Stage};
use self::probe::Probe;

/// How long a pod takes to stop when it is asked to.
const STOP: SignedDuration = SignedDuration::from_secs(2);
/// When to try again what does not depend on time.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// What a pod needs of the machine it is on.
pub trait Host {
    /// Whether there is everything that the pod mounts; else what is missing.
    fn mount(&self, pod: &Value) -> Result<(), String>;
    /// Whether there is such an image.
    fn has_image(&self, image: &str) -> bool;
    /// Runs an init container; returns how long it takes.
    fn initialize(&self, container: &Value) -> Result<SignedDuration, Exit>;
    /// Starts the pod's container; returns when it ends by itself, if it does.
    fn start(&mut self, pod: &Value, now: Timestamp) -> Result<Option<SignedDuration>, Exit>;
    /// Ends it.
    fn stop(&mut self, pod: &Value, now: Timestamp);
    /// The HTTP status of a GET on the address of the pod with that uid; `None`: nobody listens there.
    fn get(&self, uid: &str, port: u16, path: &str, now: Timestamp) -> Option<u16>;
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The exit code.
    pub code: i32,
    /// The last it wrote.
    pub message: String,
}

/// One pod on its node.
#[derive(Clone, Debug, Default)]
pub struct PodRun {
    mount: Mount,
    inits: Vec<Container>,
    main: Container,
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
    /// When it is gone, once it was asked to stop.
    stopping: Option<Timestamp>,
}

/// Whether a pod has its volumes.
#[derive(Clone, Debug, Default)]
enum Mount {
    #[default]
    New,
    /// When to try again, and what is missing.
    Waiting(Timestamp, String),
    Done,
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
        let deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        if deleted && self.stopping.is_none() {
            host.stop(pod, now);
            let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            self.stopping = Some(later(now, seconds(grace).min(STOP)));
        }
        if self.stopping.is_none() {
            self.advance(pod, host, now);
        }
        let gone = self.stopping.is_some_and(|until| until <= now);
        Look { status: self.status(pod, now), wake: self.wake(), gone }
    }

    /// Looks only at the probes of a pod that nobody has changed, which is most of what a node's agent does. Returns
    /// whether all stays as it is; otherwise there is more to look at.
    pub fn stays(&mut self, uid: &str, host: &dyn Host, now: Timestamp) -> bool {
        let before = (self.is_started(), self.is_ready());
        let runs = self.is_running() && self.stopping.is_none() && self.main.wake().is_none();
        runs && !self.probe(uid, host, now) && before == (self.is_started(), self.is_ready())
    }

    /// As far as the pod can go now.
    fn advance(&mut self, pod: &Value, host: &mut dyn Host, now: Timestamp) {
        if !self.mounted(pod, host, now) {
            return;
        }
        let specs = pod["spec"]["initContainers"].as_array().map_or(&[][..], Vec::as_slice);
        self.inits.resize_with(specs.len(), Container::default);
        let never = text(pod, &["spec", "restartPolicy"]) == "Never";
        for (init, spec) in self.inits.iter_mut().zip(specs) {
            let ends = |exit: &Exit| exit.code == 0 || never;
            let image = text(spec, &["image"]);
            init.advance(host.has_image(image), now, ends, &mut || host.initialize(spec).map(Some));
            if !init.succeeded() {
                return;
            }
        }
        let policy = text(pod, &["spec", "restartPolicy"]);
        let ends = |exit: &Exit| policy == "Never" || policy == "OnFailure" && exit.code == 0;
        let image = text(&pod["spec"]["containers"][0], &["image"]);
        let (has_image, before) = (host.has_image(image), self.main.since());
        self.main.advance(has_image, now, ends, &mut || host.start(pod, now));
        if self.main.since() != before {
            self.begin_probes(pod, now);
        }
        if let Some(since) = self.main.since()
            && self.probe(text(pod, &["metadata", "uid"]), host, now)
        {
            host.stop(pod, now);
            self.main.stage = self.main.crashed(Exit { code: 137, message: String::new() }, since, now);
        }
    }

    fn mounted(&mut self, pod: &Value, host: &dyn Host, now: Timestamp) -> bool {
        let tries = match &self.mount {
            Mount::New => true,
            Mount::Waiting(until, _) => *until <= now,
            Mount::Done => return true,
        };
        if tries {
            self.mount = match host.mount(pod) {
                Ok(()) => Mount::Done,
                Err(missing) => Mount::Waiting(later(now, RETRY), missing),
            };
        }
        matches!(self.mount, Mount::Done)
    }

    fn begin_probes(&mut self, pod: &Value, now: Timestamp) {
        let container = &pod["spec"]["containers"][0];
        let probe = |name: &str| Probe::new(&container[name], container, now);
        (self.startup, self.liveness, self.readiness) =
            (probe("startupProbe"), probe("livenessProbe"), probe("readinessProbe"));
    }

    /// Probes what is due; returns whether the container is to be ended, for it failed its startup or liveness probe.
    fn probe(&mut self, uid: &str, host: &dyn Host, now: Timestamp) -> bool {
        let ask = |port: u16, path: &str| host.get(uid, port, path, now);
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
        failed
    }

    /// Whether its container runs.
    pub fn is_running(&self) -> bool {
        self.main.since().is_some()
    }

    fn is_started(&self) -> bool {
        self.stopping.is_none()
            && self.main.since().is_some()
            && self.startup.as_ref().is_none_or(Probe::passed)
    }

    fn is_ready(&self) -> bool {
        self.is_started() && self.readiness.as_ref().is_none_or(Probe::passed)
    }

    /// When to look again.
    pub fn wake(&self) -> Option<Timestamp> {
        if self.stopping.is_some() {
            return self.stopping;
        }
        if let Mount::Waiting(until, _) = self.mount {
            return Some(until);
        }
        let current = self.inits.iter().find(|init| !init.succeeded()).unwrap_or(&self.main);
        let probes = match (self.main.since(), self.is_started()) {
            (None, _) => None,
            (Some(_), true) => self.liveness.iter().chain(&self.readiness).map(Probe::next).min(),
            (Some(_), false) => self.startup.as_ref().map(Probe::next),
        };
        current.wake().into_iter().chain(probes).min()
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
