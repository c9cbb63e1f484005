//! The time by which a command judges the fleet: home's, as the daemon does. This machine's may be wrong, and in a sandbox that
//! runs fast it is another one.

use jiff::{SignedDuration, Timestamp};
use kube::Client;

use crate::home::skew::date;

/// A `Date` has whole seconds, and answers take their time: a smaller difference is none.
const SMALLEST: SignedDuration = SignedDuration::from_secs(3);

/// How far home's clock is ahead of this machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead(SignedDuration);

impl Ahead {
    /// Asks home; where it does not say, this machine's time has to do.
    pub(super) async fn of(home: &Client) -> Self {
        let theirs = date(home).await.ok().flatten();
        theirs.map_or_else(Self::default, |theirs| Self::between(theirs, Timestamp::now()))
    }

    fn between(theirs: Timestamp, ours: Timestamp) -> Self {
        let ahead = theirs.duration_since(ours);
        Self(if ahead.abs() < SMALLEST { SignedDuration::ZERO } else { ahead })
    }

    /// What time it is by home's clock.
    pub(super) fn now(self) -> Timestamp {
        Timestamp::now().saturating_add(self.0).unwrap_or(Timestamp::MAX)
    }

    /// The same, or this machine's time if that is nearer to `at`: Leases are stamped by whoever holds them, and in a sandbox
    /// that is a daemon with this machine's clock.
    pub(super) fn now_near(self, at: Timestamp) -> Timestamp {
        let (home, here) = (self.now(), Timestamp::now());
        let off = |now: Timestamp| now.duration_since(at).abs();
        if off(here) < off(home) { here } else { home }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_difference_is_none_and_a_large_one_is_made_up_for() {
        let ours = Timestamp::now();
        let between = |seconds| Ahead::between(ours + SignedDuration::from_secs(seconds), ours);
        assert_eq!((between(-2), between(2)), (Ahead::default(), Ahead::default()));
        let yesterday = between(-86_400).now();
        assert!(between(3_600).now_near(ours) < ours + SignedDuration::from_mins(1));
        assert!(between(3_600).now_near(between(3_600).now()) > ours + SignedDuration::from_mins(59));
        assert!((86_399..86_410).contains(&Timestamp::now().duration_since(yesterday).as_secs()));
    }
}
