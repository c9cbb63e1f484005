//! Leases: which daemon may write in a cluster, and which one plans. One is active, others stand by.
//!
//! A [`Hold`] is what we know of one Lease: whether it is ours, and until when by our own clocks. [`lease`]
//! decides the next move (pure), [`keep`] makes it, [`fence`] lets no write pass without a hold. Times of other machines
//! are never compared with ours: a Lease has expired when we have seen it unchanged for as long as its holder promised.

pub mod fence;
pub mod keep;
pub mod lease;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// The planner's Lease, in the home cluster.
pub const PLANNER_LEASE: &str = "polkafleet-planner";
/// The Lease that the active daemon holds in every member.
pub const MEMBER_LEASE: &str = "polkafleet";

/// The annotation of the planner's Lease in which its holder says what it follows, and what keeps it from its work.
pub const SAYS: &str = "polkadot.swisscomblockchain.com/says";

/// So long after it was given up, a write may still be made: an API server waits up to 30 s for its webhooks, and up to
/// a minute in all.
const ON_ITS_WAY: Duration = Duration::from_secs(60);

/// What we know of a Lease; clones share it.
#[derive(Clone)]
pub struct Hold {
    state: Arc<watch::Sender<State>>,
    /// The writes that are under way because of it.
    writes: TaskTracker,
    /// When a write last ended without an answer: it may still be made.
    doubt: Arc<Mutex<Option<Instant>>>,
    /// The Lease as whoever kept it last has seen it: who keeps it next goes on from there.
    sighting: Arc<Mutex<Option<keep::Known>>>,
    /// The user agent of what goes through the fence: an audit log tells the daemons apart by it.
    agent: Arc<str>,
}

/// Whose a Lease is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody could be asked yet, or no more.
    #[default]
    Unknown,
    /// It could not be looked after; in words.
    Failed(String),
    /// Another daemon's.
    Others(String),
    /// Ours.
    Ours(Ours),
}

/// A moment by both of a machine's clocks. The steady one stands still while the machine sleeps, the other one can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// So much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self { steady: self.steady + by, wall: self.wall.checked_add(by).unwrap_or(self.wall) }
    }

    /// Whether it has come by either clock.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.steady <= Instant::now() || self.wall <= SystemTime::now()
    }
}

/// A Lease that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Until then, unless it is renewed.
    pub until: Moment,
    /// Since when.
    pub since: Instant,
    /// Whether it was taken from a daemon that had fallen silent, whose last writes may still be on their way.
    pub from_silent: bool,
    /// Counts the times that it was taken from a silent daemon; it never falls.
    pub epoch: i64,
    /// How long the one before us had promised to be gone after falling silent.
    pub patience: Duration,
}

impl Hold {
    /// Nothing is known yet. `me` is who we are.
    #[must_use]
    pub fn new(me: &str) -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State::Unknown)),
            writes: TaskTracker::new(),
            doubt: Arc::default(),
            sighting: Arc::default(),
            agent: format!("polkafleet/{me}").into(),
        }
    }

    /// Until when we may write; `None` if we may not.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        match &*self.state.borrow() {
            State::Ours(ours) => Some(ours.until).filter(|until| !until.has_come()).map(|until| until.steady),
            _ => None,
        }
    }

    /// Whether we may write.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.until().is_some()
    }

    /// What is known, as of now: a hold that has run out is none.
    #[must_use]
    pub fn state(&self) -> State {
        match &*self.state.borrow() {
            State::Ours(ours) if ours.until.has_come() => State::Unknown,
            state => state.clone(),
        }
    }

    /// Begins anew, with nothing known: what was held is a Lease of another server. Nobody may be keeping it meanwhile.
    pub fn forget(&self) {
        self.set(State::Unknown);
        *self.sighting() = None;
    }

    /// Notes that a write has ended without an answer.
    fn note_doubt(&self) {
        *self.doubt.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn sighting(&self) -> MutexGuard<'_, Option<keep::Known>> {
        self.sighting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a write without an answer may still be on its way.
    fn is_in_doubt(&self) -> bool {
        let doubt = *self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        doubt.is_some_and(|since| since.elapsed() < ON_ITS_WAY)
    }

    /// Whether it ran out and nobody was told yet.
    fn is_stale(&self) -> bool {
        matches!(&*self.state.borrow(), State::Ours(ours) if ours.until.has_come())
    }

    /// Follows whose it is; renewals are no news.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn set(&self, state: State) {
        self.state.send_if_modified(|known| {
            let news = match (&*known, &state) {
                // One that had run out was none meanwhile, and somebody may have seen that.
                (State::Ours(known), State::Ours(now)) => known.epoch != now.epoch || known.until.has_come(),
                (known, now) => known != now,
            };
            *known = state;
            news
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hold_has_run_out_when_either_clock_says_so() {
        let hold = Hold::new("me");
        let held_until = |until: Moment| {
            let patience = Duration::from_secs(15);
            let since = Instant::now();
            hold.set(State::Ours(Ours { until, since, from_silent: false, epoch: 1, patience }));
            hold.is_held()
        };
        let later = Moment::now().after(Duration::from_secs(15));
        assert!(held_until(later));
        // The machine slept: its steady clock stood still.
        assert!(!held_until(Moment { wall: SystemTime::now(), ..later }));
        // Somebody set its clock back.
        assert!(!held_until(Moment { steady: Instant::now(), ..later }));
    }
}
