//! One probe of a container: when it is due, and what its answers come to.

use jiff::Timestamp;
use serde_json::Value;

use super::later;
use crate::sandbox::workloads::seconds;

/// A probe and its answers so far.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Port and path of a GET; `None` for the other sorts, which succeed.
    get: Option<(u16, String)>,
    delay: i64,
    period: i64,
    wanted: i64,
    tolerated: i64,
    next: Timestamp,
    successes: i64,
    failures: i64,
    passed: bool,
}

impl Probe {
    /// The probe as the pod's spec has it, begun now; `None` where there is none.
    pub fn new(spec: &Value, container: &Value, now: Timestamp) -> Option<Self> {
        if !spec.is_object() {
            return None;
        }
        let number = |key: &str, usual: i64| spec[key].as_i64().unwrap_or(usual);
        let get = &spec["httpGet"];
        let path = get["path"].as_str().unwrap_or("/").to_owned();
        let mut probe = Self {
            get: get.is_object().then(|| (port_of(&get["port"], container), path)),
            delay: number("initialDelaySeconds", 0),
            period: number("periodSeconds", 10).max(1),
            wanted: number("successThreshold", 1),
            tolerated: number("failureThreshold", 3),
            next: now,
            successes: 0,
            failures: 0,
            passed: false,
        };
        probe.begin(now);
        Some(probe)
    }

    /// Counts its delay from now.
    pub fn begin(&mut self, now: Timestamp) {
        self.next = later(now, seconds(self.delay));
    }

    /// When it is due.
    pub fn next(&self) -> Timestamp {
        self.next
    }

    /// Asks, if it is due.
    pub fn look(&mut self, ask: &dyn Fn(u16, &str) -> Option<u16>, now: Timestamp) {
        if self.next > now {
            return;
        }
        self.next = later(now, seconds(self.period));
        let well = self
            .get
            .as_ref()
            .is_none_or(|(port, path)| ask(*port, path).is_some_and(|status| (200..400).contains(&status)));
        if well {
            (self.successes, self.failures) = (self.successes + 1, 0);
            self.passed |= self.successes >= self.wanted;
        } else {
            (self.successes, self.failures) = (0, self.failures + 1);
            self.passed &= self.failures < self.tolerated;
        }
    }

    /// Whether it holds.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Whether the container is to be ended for it.
    pub fn failed(&self) -> bool {
        self.failures >= self.tolerated
    }
}

fn port_of(port: &Value, container: &Value) -> u16 {
    let number = match port.as_str() {
        None => port.as_u64(),
        Some(name) => {
            let mut ports = container["ports"].as_array().into_iter().flatten();
            ports.find(|port| port["name"] == name).and_then(|port| port["containerPort"].as_u64())
        }
    };
    number.and_then(|number| number.try_into().ok()).unwrap_or(0)
}
