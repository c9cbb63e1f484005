//! Fleet time: the time that soaks, deadlines and records are measured in. It is handed to whoever decides or waits.
//!
//! In production it is the machine's clock as it was at the start, or as home corrected it since, and a steady one from
//! there: when somebody sets the machine's clock, no soak and no deadline is over by that.
//!
//! In the sandbox it is virtual: it may run faster than real time, and jump,
//! so that a day of soak passes in a second. Time limits of requests are not fleet time; they are always real.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

/// Seconds; a difference of so much is none.
const SMALLEST_CORRECTION: u64 = 2;
/// Seconds; two clocks of a machine drift by no more between two looks at home's.
const LARGEST_DRIFT: u64 = 30;

/// A source of fleet time; clones show the same time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    Machine(Arc<Machine>),
    Virtual(Arc<Virtual>),
}

struct Machine {
    /// What the machine's clock showed then.
    base: Timestamp,
    since: Instant,
    /// So many seconds were added by corrections.
    corrected: AtomicI64,
    /// How many seconds the machine's own clock was ahead of this when somebody looked last.
    ahead: AtomicI64,
}

impl Machine {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        let corrected = SignedDuration::from_secs(self.corrected.load(Ordering::Relaxed));
        self.base.saturating_add(passed.saturating_add(corrected)).unwrap_or(Timestamp::MAX)
    }

    fn ahead(&self) -> i64 {
        Timestamp::now().duration_since(self.now()).as_secs()
    }
}

struct Virtual {
    pace: Mutex<Pace>,
    /// Counts the changes of pace: whoever sleeps looks at the clock again.
    changes: watch::Sender<u64>,
}

/// Fleet time runs from `base`, shown at `since`, `speed` times as fast as real time.
#[derive(Clone, Copy)]
struct Pace {
    base: Timestamp,
    since: Instant,
    speed: f64,
}

impl Pace {
    fn now(&self) -> Timestamp {
        let real = self.since.elapsed().as_secs_f64();
        let passed = SignedDuration::try_from_secs_f64(real * self.speed).unwrap_or(SignedDuration::MAX);
        self.base.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl Clock {
    /// Fleet time of this machine: what its clock shows now, and steady from there.
    #[must_use]
    pub fn machine() -> Self {
        let (base, since) = (Timestamp::now(), Instant::now());
        Self(Source::Machine(Arc::new(Machine {
            base,
            since,
            corrected: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
        })))
    }

    /// A virtual clock that shows `start` now and runs `speed` times as fast as real time.
    #[must_use]
    pub fn simulated(start: Timestamp, speed: f64) -> Self {
        let pace = Pace { base: start, since: Instant::now(), speed };
        Self(Source::Virtual(Arc::new(Virtual { pace: Mutex::new(pace), changes: watch::Sender::new(0) })))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Machine(machine) => machine.now(),
            Source::Virtual(clock) => clock.pace().now(),
        }
    }

    /// The time that the machine's clock shows, whatever was done to it.
    #[must_use]
    pub fn uncorrected(&self) -> Timestamp {
        match &self.0 {
            Source::Machine(_) => Timestamp::now(),
            Source::Virtual(_) => self.now(),
        }
    }

    /// Whether it is a virtual clock, which is the only one of its world.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Source::Virtual(_))
    }

    /// Corrects fleet time to `right`, the time of a clock that counts. That is known to a second or two only: less is left
    /// alone, so that the time does not go to and fro.
    pub fn correct(&self, right: Timestamp) {
        let Source::Machine(machine) = &self.0 else { return };
        let behind = right.duration_since(machine.now()).as_secs();
        if behind.unsigned_abs() > SMALLEST_CORRECTION {
            machine.corrected.fetch_add(behind, Ordering::Relaxed);
        }
        machine.ahead.store(machine.ahead(), Ordering::Relaxed);
    }

    /// Whether the machine's own clock has moved against fleet time since the last correction: the machine slept, for which
    /// the steady clock stood still, or somebody set it. What is stamped now would be stamped wrongly.
    #[must_use]
    pub fn has_jumped(&self) -> bool {
        let Source::Machine(machine) = &self.0 else { return false };
        machine.ahead().abs_diff(machine.ahead.load(Ordering::Relaxed)) > LARGEST_DRIFT
    }

    /// Lets a virtual clock jump ahead; a machine's fleet time cannot, and stays.
    pub fn advance(&self, by: SignedDuration) {
        self.change(|pace, now| Pace { base: now.saturating_add(by).unwrap_or(now), ..pace });
    }

    /// Makes a virtual clock run `speed` times as fast as real time from now on.
    pub fn set_speed(&self, speed: f64) {
        self.change(|pace, _| Pace { speed, ..pace });
    }

    fn change(&self, change: impl FnOnce(Pace, Timestamp) -> Pace) {
        let Source::Virtual(clock) = &self.0 else { return };
        let mut pace = clock.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pace.now();
        *pace = Pace { since: Instant::now(), ..change(Pace { base: now, ..*pace }, now) };
        drop(pace);
        clock.changes.send_modify(|count| *count += 1);
    }

    /// Returns when the clock shows `until`, or some time after.
    pub async fn sleep_until(&self, until: Timestamp) {
        let mut jumps = self.jumps();
        loop {
            let left = until.duration_since(self.now());
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(self.to_real(left)) => {}
                () = jumps.next() => {}
            }
        }
    }

    /// How long `fleet` time takes in real time at the present pace.
    #[must_use]
    pub fn to_real(&self, fleet: Duration) -> Duration {
        match &self.0 {
            Source::Machine(_) => fleet,
            // Rounded up, or a sleeper would wake just before its time and sleep again.
            Source::Virtual(clock) => {
                let real = fleet.as_secs_f64() / clock.pace().speed.max(f64::MIN_POSITIVE);
                Duration::try_from_secs_f64(real).unwrap_or(Duration::MAX).max(Duration::from_millis(1))
            }
        }
    }

    /// The jumps and changes of pace of a virtual clock; the machine's clock has none.
    #[must_use]
    pub fn jumps(&self) -> Jumps {
        Jumps(match &self.0 {
            Source::Machine(_) => None,
            Source::Virtual(clock) => Some(clock.changes.subscribe()),
        })
    }
}

impl Virtual {
    fn pace(&self) -> Pace {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Clock::jumps`].
pub struct Jumps(Option<watch::Receiver<u64>>);

impl Jumps {
    /// Returns at the next jump; never, where there are none.
    pub async fn next(&mut self) {
        if let Some(changes) = &mut self.0
            && changes.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_day_passes_in_a_moment_when_the_clock_jumps() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1.0);
        let tomorrow = clock.now() + SignedDuration::from_hours(24);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(tomorrow).await }
        });
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(SignedDuration::from_hours(24));
        sleeper.await.unwrap();
        assert!(clock.now() >= tomorrow);
    }

    #[tokio::test]
    async fn a_fast_clock_wakes_its_sleepers_early_and_never_shows_an_earlier_time() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 10_000.0);
        let later = clock.now() + SignedDuration::from_mins(10);
        clock.sleep_until(later).await;
        let shown = clock.now();
        assert!(shown >= later);
        clock.set_speed(1.0);
        assert!(clock.now() >= shown);
    }

    #[test]
    fn home_corrects_fleet_time_and_less_than_it_can_know_is_left_alone() {
        let clock = Clock::machine();
        clock.correct(clock.now() + SignedDuration::from_secs(25));
        let ahead = |clock: &Clock| clock.now().duration_since(Timestamp::now()).as_secs();
        assert!((20..=25).contains(&ahead(&clock)), "{}", ahead(&clock));
        let before = ahead(&clock);
        clock.correct(clock.now() - SignedDuration::from_secs(1));
        assert!(before.abs_diff(ahead(&clock)) <= 1);
        clock.correct(Timestamp::now());
        assert!(ahead(&clock).abs() <= 3, "{}", ahead(&clock));
    }

    #[tokio::test(start_paused = true)]
    async fn fleet_time_follows_a_steady_clock_and_not_the_machines() {
        let clock = Clock::machine();
        let start = clock.now();
        // The machine's own clock stands meanwhile, as far as anybody can see.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let passed = clock.now().duration_since(start).as_secs();
        assert!((3_600..3_660).contains(&passed), "{passed}");
        assert!(clock.uncorrected().duration_since(start).as_secs() < 3_000);
        assert!(clock.has_jumped(), "as when the machine slept, only the other way round");
        clock.correct(clock.now());
        assert!(!clock.has_jumped());
    }
}
