//! How long it is waited before something that failed is tried again: longer each time, and no two clusters in step.

use std::time::Duration;

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
}
