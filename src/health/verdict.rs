//! Judges a node by the window of its answers. Pure; time is an argument.
//!
//! A verdict's words hold no number that moves while the verdict stays: whoever reports changes would report them
//! for ever.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::Health;
use crate::observed::health::DIP;
use crate::observed::{NodeHealth, Sample};
use crate::version::ClientVersion;
use crate::version::era;

/// A height that has not risen for so long stands still.
pub const STANDSTILL: SignedDuration = SignedDuration::from_mins(2);

/// What one node has finalised, all others of its chain have after this time, unless they are sick.
pub const SOMEWHAT_LATER: SignedDuration = SignedDuration::from_mins(1);

/// The bit of an authority in the roles that a node reports (`sc_network_common::role::Roles`; a full node has 1).
const AUTHORITY: u64 = 4;

/// What a node is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The rules.
    pub rules: Health,
    /// The image tag that it should run.
    pub tag: Option<&'a str>,
    /// Whether it should run as an authority.
    pub is_validator: bool,
    /// How many peers it can have, where it talks to reserved ones only.
    pub reserved_peers: Option<u32>,
    /// The finalised height before the step: it must be beyond.
    pub baseline: Option<u64>,
    /// Since when its pod has been Ready; what it said before does not count.
    pub ready_since: Option<Timestamp>,
    /// An answer older than this says nothing of now.
    pub stale: SignedDuration,
}

/// What is known of a node's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Healthy {
        /// Since then, but for short dips, without a gap between two answers.
        since: Timestamp,
        /// Since then nothing was seen to be wrong for longer than a dip, gaps aside; `None`: since its pod became Ready, as
        /// far as anybody looked.
        sound: Option<Timestamp>,
    },
    /// Something is not.
    Unhealthy {
        /// Since then.
        since: Timestamp,
        /// What, in one word.
        what: What,
        /// What, for a person.
        words: String,
        /// Whether it is on its way: it syncs, and its height rises.
        rising: bool,
    },
    /// It cannot be asked, and why.
    Blocked(String),
    /// It has not been asked often enough yet.
    Unknown,
}

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each is explained by the words that go with it.
pub enum What {
    Version,
    Role,
    Syncing,
    FinalityStall,
    FinalityLag,
    Baseline,
    Peers,
}

/// Judges a node.
#[must_use]
pub fn verdict(health: Option<&NodeHealth>, expected: &Expected<'_>, now: Timestamp) -> Verdict {
    let Some(health) = health else { return Verdict::Unknown };
    let mut walk = Walk { line: expected.tag.and_then(line), ..Walk::default() };
    for sample in current(health, expected.ready_since) {
        walk.step(sample, expected);
    }
    let Some(last) = walk.last else { return unanswered(health, expected) };
    if now.duration_since(last) > expected.stale {
        return unanswered(health, expected);
    }
    match (walk.bad, walk.good) {
        (Some(bad), _) => {
            let rising = bad.what == What::Syncing && walk.best.rose_within(last);
            Verdict::Unhealthy { since: bad.since, what: bad.what, words: bad.words, rising }
        }
        (None, Some(since)) => Verdict::Healthy { since, sound: walk.sound.filter(|_| walk.broken) },
        (None, None) => Verdict::Unknown,
    }
}

fn unanswered(health: &NodeHealth, expected: &Expected<'_>) -> Verdict {
    // What failed while the pod was not Ready yet says nothing.
    let counts = |at: Timestamp| expected.ready_since.is_some_and(|ready| at >= ready);
    match &health.blocked {
        Some(blocked) if counts(blocked.at) => Verdict::Blocked(blocked.why.clone()),
        _ => Verdict::Unknown,
    }
}

/// The answers of the process that runs now, from the moment its pod became Ready.
fn current(health: &NodeHealth, ready_since: Option<Timestamp>) -> impl Iterator<Item = &Sample> {
    let started = health.samples.back().and_then(|sample| sample.started);
    let of_another =
        |sample: &Sample| sample.started != started || ready_since.is_some_and(|ready| sample.at < ready);
    let skip = health.samples.iter().rposition(of_another).map_or(0, |index| index + 1);
    health.samples.iter().skip(skip)
}

/// How the finalised height of a node that answers moves; `None` where it has not answered of late.
#[must_use]
pub fn stands_still(health: &NodeHealth, stale: SignedDuration, now: Timestamp) -> Option<Progress> {
    let mut finalized = Heights::default();
    let mut ended = None;
    let (mut rose_ever, mut rising, mut stood) = (false, false, false);
    let mut before = None;
    for sample in current(health, None) {
        let (stood_since, stood_at, still) = (finalized.moved, finalized.highest, before);
        // That it rose while nobody looked says nothing of now.
        let is_after_gap = before.is_some_and(|before| sample.at.duration_since(before) > stale);
        rising &= !is_after_gap;
        before = Some(sample.at);
        if finalized.see(sample.finalized, sample.at) {
            rose_ever = true;
            rising |= !is_after_gap;
            let standstill = || {
                Some(Standstill { since: stood_since?, height: stood_at?, still: still?, ended: sample.at })
            };
            ended = if stood { standstill() } else { ended };
            stood = false;
        } else {
            // Only an answer says so: between two that are far apart, nobody knows.
            stood |= finalized.moved.is_some_and(|moved| sample.at.duration_since(moved) >= STANDSTILL);
        }
    }
    let Sample { at: last, finalized: height, .. } = *health.samples.back()?;
    let moved = finalized.moved?;
    if now.duration_since(last) > stale {
        return None;
    }
    let stands = last.duration_since(moved) >= STANDSTILL;
    // Also of the processes before: one that starts again and again is not looked at for too short a while.
    let without_gap = |since: Timestamp, sample: &Sample| {
        (since.duration_since(sample.at) <= stale).then_some(sample.at).ok_or(since)
    };
    let since = health.samples.iter().rev().try_fold(last, without_gap).unwrap_or_else(|since| since);
    let looked = last.duration_since(since) >= STANDSTILL;
    let (stands, first) = (stands.then_some(moved), health.samples.front()?.at);
    Some(Progress { stands, first, last, height, ended, rose_ever, rising, looked })
}

/// A standstill that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// Since when the height was seen not to rise.
    pub since: Timestamp,
    /// The height.
    pub height: u64,
    /// When it was last seen to stand.
    pub still: Timestamp,
    /// When it was first seen to have gone on.
    pub ended: Timestamp,
}

/// Whether a node's finalised height rose, beyond that of another node's standstill, while that one stood: so it was not the
/// chain that did. What was seen in the last moments before may have come there a little later.
#[must_use]
pub fn rose_meanwhile(health: &NodeHealth, other: &Standstill) -> bool {
    let until = other.still - SOMEWHAT_LATER;
    let mut before: Option<u64> = None;
    health.samples.iter().filter(|sample| sample.at >= other.since && sample.at <= until).any(|sample| {
        let rises = before.replace(sample.finalized).is_some_and(|before| sample.finalized > before);
        rises && sample.finalized > other.height
    })
}

/// How a node's finalised height moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Since when it has stood still, if it does.
    pub stands: Option<Timestamp>,
    /// When it was first asked, as far back as that is remembered.
    pub first: Timestamp,
    /// When it said so last.
    pub last: Timestamp,
    /// Where it is.
    pub height: u64,
    /// The last standstill that it went on after.
    pub ended: Option<Standstill>,
    /// Whether it rose at all in the process that runs now.
    pub rose_ever: bool,
    /// Whether it was seen to rise since it was last not looked at for a while.
    pub rising: bool,
    /// Whether it has been looked at for long enough to tell, if it did not start anew meanwhile.
    pub looked: bool,
}

impl Progress {
    /// Whether it says neither that it stands nor that it ever moved.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.stands.is_none() && !self.rose_ever
    }

    /// Whether it is seen to move.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.stands.is_none() && self.rising
    }

    /// Whether too short a look says neither that it stands nor that it moves.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.stands.is_none() && !self.rising && !self.looked
    }
}

/// A height as it rises.
#[derive(Clone, Copy, Debug, Default)]
struct Heights {
    highest: Option<u64>,
    /// When it rose last; before that, when it was first seen.
    moved: Option<Timestamp>,
    rose: bool,
}

impl Heights {
    /// Returns whether it rose.
    fn see(&mut self, height: u64, at: Timestamp) -> bool {
        let rises = self.highest.is_some_and(|highest| height > highest);
        if rises || self.highest.is_none() {
            (self.highest, self.moved) = (Some(height), Some(at));
            self.rose |= rises;
        }
        rises
    }

    fn rose_within(&self, now: Timestamp) -> bool {
        self.rose && self.moved.is_some_and(|moved| now.duration_since(moved) < STANDSTILL)
    }
}

/// A walk over a window, from its oldest answer to its newest.
#[derive(Default)]
struct Walk<'a> {
    /// The line of versions that it should be of; `None` where the tag does not tell.
    line: Option<Line>,
    /// The version reported last, and whether it is of that line: most answers report the same.
    reported: Option<(&'a Arc<str>, bool)>,
    last: Option<Timestamp>,
    best: Heights,
    finalized: Heights,
    /// Since when all has been well, but for a dip.
    good: Option<Timestamp>,
    /// What is wrong now, and since when something has been.
    bad: Option<Bad>,
    /// Since when nothing was wrong for longer than a dip: a gap does not end it.
    sound: Option<Timestamp>,
    /// Whether something ever was.
    broken: bool,
}

struct Bad {
    since: Timestamp,
    what: What,
    words: String,
}

impl<'a> Walk<'a> {
    fn step(&mut self, sample: &'a Sample, expected: &Expected<'_>) {
        let at = sample.at;
        if self.last.is_some_and(|last| at.duration_since(last) > expected.stale) {
            // Nobody looked meanwhile: it has to prove itself anew.
            self.good = None;
            self.end_of_bad(at);
        }
        self.last = Some(at);
        self.best.see(sample.best, at);
        self.finalized.see(sample.finalized, at);
        match self.fault(sample, expected) {
            Some((what, words)) => {
                let since = self.bad.take().map_or(at, |bad| bad.since);
                self.bad = Some(Bad { since, what, words });
            }
            // Whether finality goes on is seen at the first rise.
            None if !self.finalized.rose => {}
            None => {
                self.end_of_bad(at);
                self.good.get_or_insert(at);
                self.sound.get_or_insert(at);
            }
        }
    }

    /// What was wrong is over, as far as anybody knows.
    fn end_of_bad(&mut self, at: Timestamp) {
        let dip = self.bad.take().map(|bad| at.duration_since(bad.since));
        if dip.is_some_and(|dip| dip >= DIP) {
            self.broken = true;
            (self.good, self.sound) = (None, None);
        }
    }

    /// Whether a reported version is of the line that the tag names: patches of a line report one and the same version.
    fn is_of_line(&mut self, reported: &'a Arc<str>) -> bool {
        let Some(wanted) = self.line else { return true };
        if let Some((_, is)) = self.reported.filter(|(known, _)| *known == reported) {
            return is;
        }
        let runs = line(reported.split('-').next().unwrap_or_default());
        let is = runs.is_none_or(|runs| runs == wanted);
        self.reported = Some((reported, is));
        is
    }

    fn fault(&mut self, sample: &'a Sample, expected: &Expected<'_>) -> Option<(What, String)> {
        let rules = &expected.rules;
        if let (Some(tag), Some(version)) = (expected.tag, &sample.version)
            && !self.is_of_line(version)
        {
            return Some((What::Version, format!("it reports version {version} and should be {tag}")));
        }
        // A sentry may call itself an authority: clients of the first generation did.
        if expected.is_validator && sample.roles.is_some_and(|roles| roles & AUTHORITY == 0) {
            let words = "it runs as a full node and validates nothing (its arguments lack --validator, or extraArgs undo \
                         it)";
            return Some((What::Role, words.into()));
        }
        let behind = sample.sync_target.unwrap_or(0).saturating_sub(sample.best);
        if sample.is_major_syncing || behind > rules.max_sync_lag.into() {
            let words = format!("it is syncing: more than {} blocks behind the chain", rules.max_sync_lag);
            return Some((What::Syncing, words));
        }
        if let Some(moved) = self.finalized.moved
            && sample.at.duration_since(moved) >= STANDSTILL
        {
            let words = format!("it has finalised no block since {moved:.0} (height {})", sample.finalized);
            return Some((What::FinalityStall, words));
        }
        if sample.best.saturating_sub(sample.finalized) > rules.max_finality_lag.into() {
            let words =
                format!("its finalised block is more than {} behind its best one", rules.max_finality_lag);
            return Some((What::FinalityLag, words));
        }
        if let Some(baseline) = expected.baseline
            && sample.finalized <= baseline
        {
            let words = format!("it has not finalised beyond {baseline} yet, the height before the step");
            return Some((What::Baseline, words));
        }
        let wanted = expected.reserved_peers.map_or(rules.min_peers, |most| rules.min_peers.min(most));
        if sample.peers.is_some_and(|peers| peers < wanted.into()) {
            return Some((What::Peers, format!("it has fewer than {wanted} peers")));
        }
        None
    }
}

/// The numbers that all versions of a line have in common.
type Line = (u32, u32);

/// The line that a tag or a reported version names, if it tells.
fn line(version: &str) -> Option<Line> {
    era::node_version(&ClientVersion::parse(version)).map(|(major, minor, _)| (major, minor))
}

#[cfg(test)]
mod tests;
