//! One container of a pod: its image, its starts and ends, and the pauses between them.

use jiff::{SignedDuration, Timestamp};

use super::{Exit, later};

/// How long an image takes to be pulled, and a container to be made.
const PULL: SignedDuration = SignedDuration::from_millis(1500);
/// How long it is seen that something has gone wrong, before it is seen that it is not tried again yet.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// The first pause after a crash or a failed pull; it doubles.
const BACK_OFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest.
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_secs(300);
/// A container that ran this long begins anew with the first pause.
const FORGIVEN: SignedDuration = SignedDuration::from_secs(600);

/// Where a container is.
#[derive(Clone, Debug, Default)]
pub(super) enum Stage {
    /// Nothing was done for it.
    #[default]
    New,
    /// Its image is being pulled.
    Pulling(Timestamp),
    /// There was no such image.
    NotPulled(Timestamp),
    /// Nor is it asked for again before this time.
    NoImage(Timestamp),
    /// It runs.
    Running {
        since: Timestamp,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// It has ended.
    Crashed(Timestamp),
    /// It is not started again before this time.
    BackOff(Timestamp),
    /// It has ended for good.
    Done(Ended),
}

/// The end of a container.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// What became of a container so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Container {
    pub(super) stage: Stage,
    pub(super) restarts: u32,
    /// Pulls that failed in a row.
    pub(super) pulls: u32,
    /// Ends since it last ran well.
    crashes: u32,
    pub(super) last: Option<Ended>,
}

/// Starts the container; returns when it ends by itself, if it does.
type Starting<'a> = dyn FnMut() -> Result<Option<SignedDuration>, Exit> + 'a;

impl Container {
    /// Goes as far as it can go now. `ends`: whether it is over with such an end, and not started again.
    pub(super) fn advance(
        &mut self,
        has_image: bool,
        now: Timestamp,
        ends: impl Fn(&Exit) -> bool,
        start: &mut Starting<'_>,
    ) {
        while let Some(next) = self.next(has_image, now, &ends, start) {
            self.stage = next;
        }
    }

    fn next(
        &mut self,
        has_image: bool,
        now: Timestamp,
        ends: &impl Fn(&Exit) -> bool,
        start: &mut Starting<'_>,
    ) -> Option<Stage> {
        match self.stage {
            Stage::New => Some(Stage::Pulling(later(now, PULL))),
            Stage::Pulling(until) if until <= now && has_image => Some(self.start(now, ends, start)),
            Stage::Pulling(until) if until <= now => {
                self.pulls += 1;
                Some(Stage::NotPulled(later(now, MOMENT)))
            }
            Stage::NotPulled(until) if until <= now => Some(Stage::NoImage(later(now, pause(self.pulls)))),
            Stage::NoImage(until) if until <= now => Some(Stage::Pulling(later(now, PULL))),
            Stage::Running { since, until: Some(until) } if until <= now => {
                Some(self.over(Exit { code: 0, message: String::new() }, since, until, ends))
            }
            // The first time it is started again at once.
            Stage::Crashed(until) if until <= now && self.crashes > 1 => {
                Some(Stage::BackOff(later(now, self.pause())))
            }
            Stage::Crashed(until) | Stage::BackOff(until) if until <= now => {
                self.restarts += 1;
                Some(self.start(now, ends, start))
            }
            _ => None,
        }
    }

    fn start(&mut self, now: Timestamp, ends: &impl Fn(&Exit) -> bool, start: &mut Starting<'_>) -> Stage {
        self.pulls = 0;
        match start() {
            Ok(takes) => Stage::Running { since: now, until: takes.map(|takes| later(now, takes)) },
            Err(exit) => self.over(exit, now, now, ends),
        }
    }

    fn over(
        &mut self,
        exit: Exit,
        started: Timestamp,
        finished: Timestamp,
        ends: &impl Fn(&Exit) -> bool,
    ) -> Stage {
        if ends(&exit) {
            return Stage::Done(Ended { exit, started, finished });
        }
        self.crashed(exit, started, finished)
    }

    /// It ran since `started` and ended now, and will be started again: where it is then.
    pub(super) fn crashed(&mut self, exit: Exit, started: Timestamp, now: Timestamp) -> Stage {
        if now.duration_since(started) >= FORGIVEN {
            self.crashes = 0;
        }
        self.crashes += 1;
        self.last = Some(Ended { exit, started, finished: now });
        Stage::Crashed(later(now, MOMENT))
    }

    /// The pause before the next start.
    pub(super) fn pause(&self) -> SignedDuration {
        pause(self.crashes.saturating_sub(1))
    }

    /// Since when it runs, if it does.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Running { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Whether it has ended, and well.
    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.stage, Stage::Done(ended) if ended.exit.code == 0)
    }

    /// Whether it has ended for good, and badly.
    pub(super) fn failed(&self) -> bool {
        matches!(&self.stage, Stage::Done(ended) if ended.exit.code != 0)
    }

    /// Whether it has ever been started.
    pub(super) fn has_run(&self) -> bool {
        self.last.is_some() || matches!(self.stage, Stage::Running { .. } | Stage::Done(_))
    }

    /// When something happens to it by itself.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Pulling(at)
            | Stage::NotPulled(at)
            | Stage::NoImage(at)
            | Stage::Crashed(at)
            | Stage::BackOff(at)
            | Stage::Running { until: Some(at), .. } => Some(at),
            Stage::New | Stage::Running { until: None, .. } | Stage::Done(_) => None,
        }
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> SignedDuration {
    let doubled = BACK_OFF.checked_mul(1 << failures.saturating_sub(1).min(5)).unwrap_or(LONGEST_BACK_OFF);
    doubled.min(LONGEST_BACK_OFF)
}
