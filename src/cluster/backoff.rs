//! How long it is waited before something that failed is tried again: longer each time, and no two clusters in step.

use std::time::Duration;

use super::limits::Limits;

/// The pauses between the sessions of a cluster.
#[derive(Default)]
pub(super) struct Pauses {
    attempt: u32,
}

impl Pauses {
    /// The pause after a session that lasted so long. That the cluster answered says little: what ends at once each time must
    /// not be tried again and again.
    pub(super) fn after(&mut self, lasted: Duration, limits: &Limits) -> Duration {
        if lasted >= limits.heartbeat {
            self.attempt = 0;
        }
        let pause = backoff(self.attempt, limits.first_pause, limits.longest_pause);
        self.attempt = self.attempt.saturating_add(1);
        pause
    }
}

/// An exponential pause with jitter of up to its half, so that many clusters that return at once do not come back in step.
pub(super) fn backoff(attempt: u32, first: Duration, longest: Duration) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(longest);
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_no_two_clusters_keep_step() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        for (attempt, whole) in [(0, 1), (1, 2), (4, 16), (5, 30), (1_000, 30)] {
            let whole = Duration::from_secs(whole);
            let mut pauses: Vec<Duration> = (0..50).map(|_| backoff(attempt, first, longest)).collect();
            pauses.sort_unstable();
            assert!(pauses[0] >= whole / 2 && pauses[49] <= whole, "{attempt}: {pauses:?}");
            assert!(pauses[49] > pauses[0] + whole / 10, "fifty come back in step: {pauses:?}");
        }
    }

    #[test]
    fn what_ends_at_once_is_tried_less_and_less_often_and_what_lasted_soon_again() {
        let (limits, mut pauses) = (Limits::default(), Pauses::default());
        let at_once: Vec<Duration> = (0..10).map(|_| pauses.after(Duration::ZERO, &limits)).collect();
        let is_longest = |pause: &Duration| *pause >= limits.longest_pause / 2;
        assert!(at_once[0] <= limits.first_pause && at_once[6..].iter().all(is_longest), "{at_once:?}");
        assert!(is_longest(&pauses.after(limits.heartbeat / 2, &limits)));
        assert!(pauses.after(limits.heartbeat, &limits) <= limits.first_pause);
        assert!(pauses.after(Duration::ZERO, &limits) <= limits.first_pause * 2);
    }
}
