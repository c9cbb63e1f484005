//! What is to be seen of the sandbox: on a terminal a picture that is drawn again and again, elsewhere a line per event.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use jiff::Timestamp;

use crate::cli::picture;
use crate::cli::terminal::{fitting, laid_out, rows};
use crate::fleet::Fleet;
use crate::home::followed;
use crate::observed::Board;
use crate::upgrade::Plan;

/// Clusters that a picture shows; of more, the first.
const SHOWN: usize = 12;

/// The view, and what it has shown already.
pub(super) struct View {
    live: bool,
    at_rest: bool,
    /// What the daemon follows, in words.
    followed: String,
    speed: f64,
    /// Lines of the picture on the screen.
    drawn: usize,
    /// Everything that can be said of the fleet, by what it is about.
    said: BTreeMap<String, String>,
}

impl View {
    pub(super) fn new(live: bool, speed: f64) -> Self {
        Self { live, at_rest: false, followed: String::new(), speed, drawn: 0, said: BTreeMap::new() }
    }

    /// Whether somebody sits in front of it.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        print(&laid_out(text));
        self.drawn = 0;
    }

    /// What the daemon follows now.
    pub(super) fn follow(&mut self, fleet: &Fleet) {
        let lines = followed::lines(&followed::of(fleet));
        self.followed = if lines.is_empty() { "no upgrade".into() } else { lines.join("; ") };
    }

    /// From now on it is drawn only when something has happened: simulated time alone is no news.
    pub(super) fn come_to_rest(&mut self) {
        self.at_rest = true;
    }

    /// Shows the fleet as it is now; returns whether something has happened since the last time.
    pub(super) fn show(&mut self, board: &Board, plan: &Plan, refused: &[String], now: Timestamp) -> bool {
        let news = self.news(board, plan, refused, now);
        if !self.live {
            for line in &news {
                print(line);
            }
        } else if !self.at_rest || !news.is_empty() {
            self.draw(board, plan, refused, now);
        }
        !news.is_empty()
    }

    /// A line for everything that is otherwise than it was said last.
    fn news(&mut self, board: &Board, plan: &Plan, refused: &[String], now: Timestamp) -> Vec<String> {
        let mut facts = picture::facts(board, plan);
        let standing = match refused {
            [] => format!("followed: {}", self.followed),
            refused => format!("REFUSED, the last good one goes on: {}", refused.join("; ")),
        };
        facts.insert("fleet.yaml".into(), standing);
        let news = facts.iter().filter(|(about, fact)| self.said.get(*about) != Some(*fact));
        let news = news.map(|(about, fact)| format!("{}  {about}  {fact}", clock(now))).collect();
        self.said = facts;
        news
    }

    /// Draws the picture over the last one.
    fn draw(&mut self, board: &Board, plan: &Plan, refused: &[String], now: Timestamp) {
        let picture = laid_out(&self.picture(board, plan, refused, now));
        // What does not fit on the screen could not be drawn over.
        let picture = fitting(&picture, rows().saturating_sub(1).max(1));
        let picture = picture.trim_end();
        let up = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\x1b[J", self.drawn) };
        self.drawn = picture.lines().count();
        print(&format!("{up}{picture}"));
    }

    fn picture(&self, board: &Board, plan: &Plan, refused: &[String], now: Timestamp) -> String {
        let mut text = format!("SIMULATION  {}  ({} times real time)\n", clock(now), self.speed);
        for why in refused {
            let _ = writeln!(text, "fleet.yaml is REFUSED, the last good one goes on: {why}");
        }
        for progress in &plan.progress {
            let _ = writeln!(text, "upgrade {} to {}", progress.upgrade, progress.target);
            for stage in &progress.stages {
                let _ = writeln!(text, "  {:<12} {} {}", stage.stage, picture::bar(stage), stage.in_words());
            }
            if let Some(why) = &progress.halted {
                let _ = writeln!(text, "  HALTED: {why}");
            }
        }
        for (about, why) in picture::obstacles(board, plan) {
            let _ = writeln!(text, "{about}  {why}");
        }
        for (name, view) in board.clusters.iter().take(SHOWN) {
            let _ = writeln!(text, "{:<14} {}", name.to_string(), view.state);
            for node in picture::nodes(view) {
                let _ = writeln!(text, "  {:<20} {}", node.pod, picture::node(node));
            }
        }
        if board.clusters.len() > SHOWN {
            let _ = writeln!(text, "… and {} clusters more", board.clusters.len() - SHOWN);
        }
        text
    }
}

fn clock(now: Timestamp) -> String {
    format!("sim {}", now.strftime("%H:%M:%S"))
}

fn print(text: &str) {
    // Whoever closes the pipe has seen enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upgrade::{StageProgress, StageState};

    fn stage(healthy: usize, total: usize) -> StageProgress {
        StageProgress {
            stage: "canary".into(),
            state: StageState::Rolling,
            healthy,
            in_flight: 1,
            failed: 0,
            ahead: 0,
            total,
        }
    }

    #[test]
    fn what_has_been_said_is_not_said_again() {
        let mut view = View::new(false, 60.0);
        let mut plan = Plan::default();
        plan.progress.push(crate::upgrade::Progress {
            upgrade: "polkadot".into(),
            target: "stable2503-7".into(),
            attempt: 1,
            halted: None,
            owns_nothing: None,
            stages: vec![stage(1, 2)],
        });
        let now = Timestamp::UNIX_EPOCH;
        assert!(view.show(&Board::default(), &plan, &[], now));
        assert!(!view.show(&Board::default(), &plan, &[], now));
        plan.progress[0].stages[0].healthy = 2;
        assert!(view.show(&Board::default(), &plan, &[], now));
    }
}
