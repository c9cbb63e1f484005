//! When something that is still wrong is told again: after a pause that grows, up to a bound. Pure.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// The time until the next reminder; the default begins anew.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    /// The next one, and the pause after it.
    next: Option<(Instant, Duration)>,
}

impl Reminder {
    /// Whether it is time; the first call begins the first pause.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let (due, pause) = self.next.unwrap_or((now + FIRST, FIRST * 2));
        let is_due = due <= now;
        self.next = Some(if is_due { (now + pause, (pause * 2).min(LONGEST)) } else { (due, pause) });
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_up_to_ten_minutes() {
        let (begin, mut reminder) = (Instant::now(), Reminder::default());
        let is_due = |second: &u64| reminder.is_due(begin + Duration::from_secs(*second));
        let told: Vec<u64> = (0..2500).filter(is_due).collect();
        assert_eq!(told, [60, 180, 420, 900, 1500, 2100]);
    }
}
