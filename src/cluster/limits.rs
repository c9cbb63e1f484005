//! How long a cluster may take for what, and how often it is asked. Real time, whatever the clock of the fleet.

use std::time::Duration;

/// Requests of one cluster under way at once, so that a busy cluster cannot take the whole machine.
pub(super) const REQUESTS_IN_FLIGHT: usize = 32;
/// From request to the head of the answer, and from one part of it to the next; kube itself waits for ever.
pub(super) const ANSWER_BOUND: Duration = Duration::from_secs(15);
/// From the head of an answer to its end: five hundred large objects on a slow line take their time.
pub(super) const BODY_BOUND: Duration = Duration::from_secs(120);

/// The limits of one cluster's connection; as a default, those of production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often a cluster is asked whether it is there.
    pub heartbeat: Duration,
    /// How long it may take to say so.
    pub heartbeat_answer: Duration,
    /// After one was missed, or a watch failed, it is asked again this soon.
    pub in_doubt: Duration,
    /// How long a watch may fail before the cluster counts as unreachable although it answers.
    pub watch_grace: Duration,
    /// The first pause before something that failed is tried again: a session, a watch, a reconcile. It doubles.
    pub first_pause: Duration,
    /// The longest pause before a session or a watch is tried again.
    pub longest_pause: Duration,
    /// A Lease counts so many times shorter than the fleet file says.
    pub lease_divisor: u32,
    /// How often home is asked for its time.
    pub clock_look: Duration,
    /// How long an edit of the fleet file may take to every daemon: a kubelet brings a `ConfigMap` to a pod within some two minutes.
    pub edit_spread: Duration,
    /// So many requests may be sent…
    pub burst: u64,
    /// …within such a time; heartbeats do not count.
    pub burst_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            heartbeat_answer: Duration::from_secs(5),
            in_doubt: Duration::from_secs(1),
            watch_grace: Duration::from_secs(20),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            lease_divisor: 1,
            clock_look: Duration::from_secs(60),
            edit_spread: Duration::from_secs(180),
            burst: 100,
            burst_window: Duration::from_secs(2),
        }
    }
}

impl Limits {
    /// How long a request that a daemon sent at its last moment may be under way.
    #[must_use]
    pub fn on_its_way(&self) -> Duration {
        ANSWER_BOUND / self.lease_divisor
    }

    /// The same, so many times shorter: for a cluster in the same process, which answers at once or not at all.
    #[must_use]
    pub fn divided_by(self, times: u32) -> Self {
        Self {
            heartbeat: self.heartbeat / times,
            heartbeat_answer: self.heartbeat_answer / times,
            in_doubt: self.in_doubt / times,
            watch_grace: self.watch_grace / times,
            first_pause: self.first_pause / times,
            longest_pause: self.longest_pause / times,
            lease_divisor: self.lease_divisor * times,
            clock_look: self.clock_look / times,
            edit_spread: self.edit_spread / times,
            burst: self.burst,
            burst_window: self.burst_window / times,
        }
    }
}
