//! Tells a person what happens while it happens: a rehearsal of a large fleet takes minutes. Nothing for a program, which gets
//! all of it at the end.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::played::Happened;
use super::report::happened;
use crate::cli::plan::{Format, in_words};
use crate::cli::terminal::{laid_out, one_line, say};
use crate::upgrade::{Plan, progress};

/// How often the line that says how far it is changes, in the time of who looks at it.
const PACE: Duration = Duration::from_millis(500);

/// Who tells, and what he has told.
pub(super) struct Teller {
    to_a_person: bool,
    /// So many waves have been told.
    pub(super) told: usize,
    /// When the passing line was last written, where somebody can see it.
    line: Option<Instant>,
}

impl Teller {
    pub(super) fn new(output: Format) -> Self {
        Self { to_a_person: output == Format::Text, told: 0, line: None }
    }

    /// Something that stays.
    pub(super) fn tell(&mut self, text: &str) {
        if self.to_a_person && !text.is_empty() {
            self.wipe();
            say(&laid_out(text));
        }
    }

    /// The waves to which no step is added any more, in their order.
    pub(super) fn waves(&mut self, waves: &[Happened]) {
        let whole = waves.iter().enumerate().skip(self.told).take_while(|(_, happened)| happened.is_whole);
        let text: Vec<String> = whole.map(|(index, of)| happened(index, &of.wave)).collect();
        if self.to_a_person {
            self.told += text.len();
            self.tell(&text.concat());
        }
    }

    /// How far it is, for who watches: a line that the next one takes the place of.
    pub(super) fn standing(&mut self, plan: &Plan, since: SignedDuration) {
        if !self.is_watched() || self.line.is_some_and(|at| at.elapsed() < PACE) {
            return;
        }
        let all = plan.progress.iter();
        let mut standings =
            all.filter_map(|one| Some(format!("upgrade {}, {}", one.upgrade, progress::in_words(one)?)));
        if let Some(first) = standings.next() {
            self.pass(&format!("after {}: {first}", in_words(since.as_secs())));
        }
    }

    /// Something that is said until the next thing is, on a terminal.
    #[allow(clippy::print_stderr)]
    pub(super) fn pass(&mut self, text: &str) {
        if self.is_watched() {
            eprint!("\r\x1b[K{}", one_line(text));
            self.line = Some(Instant::now());
        }
    }

    fn is_watched(&self) -> bool {
        self.to_a_person && std::io::stderr().is_terminal()
    }

    /// Takes the passing line away.
    #[allow(clippy::print_stderr)]
    pub(super) fn wipe(&mut self) {
        if self.line.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.wipe();
    }
}
