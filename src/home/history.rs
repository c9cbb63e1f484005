//! What was done to the resources of a member: the difference between what was remembered of it and what is to be
//! remembered now, told once. Pure.
//!
//! No step is taken before the record says what is seen (design section 4), so none is missed. Its times are those that
//! the resources bear; what bears none has the time at which it was seen.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::observed::ResourceView;
use crate::polkadot::{Grant, ResourceId, Role, Step};

use super::record::{Outcome, Record};

/// So many entries are kept of a member: about 60 KiB, and at most 400, of the 1 MiB that a ConfigMap holds.
const NEWEST: usize = 200;
/// Text from annotations is cut off here, in bytes: anybody who may edit a resource could fill home with it.
const LONGEST: usize = 128;
/// The same for why something failed.
const LONGEST_REASON: usize = 400;
/// That a resource is healthy after all, or has failed once more, is told so long after the last such word at the earliest.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// The same thing at two times so near to each other was one: a time in the future of the clock of who looks counts as
/// now, and clocks may differ by half of this.
const SAME: SignedDuration = SignedDuration::from_mins(1);

/// One thing that was done, or happened, to a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// To which.
    #[serde(flatten)]
    pub resource: ResourceId,
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// By which upgrade; absent where it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Cause>,
    /// Who approved it, where the stage needed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum What {
    /// It was seen for the first time.
    Appeared {
        /// The version that it asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// An upgrade gave it a version.
    Step {
        /// The version before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The version.
        to: String,
    },
    /// Somebody else gave it a version.
    VersionSet {
        /// The version before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// It was taken back to the version before, by itself: nothing had started at the new one.
    RolledBack {
        /// The version that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The version before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// A pod was permitted to restart.
    RestartAllowed {
        /// Its role.
        role: Role,
        /// Its number within the role.
        ordinal: i32,
        /// Hash of the template that it may run then.
        template: String,
    },
    /// It did not become healthy at the version of its step.
    Failed {
        /// Why, in words.
        why: String,
    },
    /// It is healthy after it had failed.
    Recovered,
    /// All its nodes were Ready on the wanted template.
    Settled {
        /// At this version.
        version: String,
    },
    /// It was seen no more.
    Gone,
}

/// What a thing was done for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The upgrade's name.
    pub name: String,
    /// Its attempt.
    pub attempt: u32,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |version: &Option<String>| version.clone().unwrap_or_else(|| "no version".into());
        match self {
            Self::Appeared { version } => write!(f, "first seen, {}", or_none(version)),
            Self::Step { from, to } if from.as_ref() == Some(to) => write!(f, "{to}, tried again"),
            Self::Step { from, to } => write!(f, "{} -> {to}", or_none(from)),
            Self::VersionSet { from, to } => {
                write!(f, "{} -> {}, not by an upgrade", or_none(from), or_none(to))
            }
            Self::RolledBack { from, to } => write!(f, "{} -> {}, taken back", or_none(from), or_none(to)),
            Self::RestartAllowed { role, ordinal, .. } => write!(f, "{role} {ordinal} may restart"),
            Self::Failed { why } => write!(f, "FAILED: {why}"),
            Self::Recovered => f.write_str("is healthy, after it had failed"),
            Self::Settled { version } => write!(f, "settled at {version}"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

/// The history of a member up to now: that of its record, and what has happened since that was written.
#[must_use]
pub fn continued(known: Option<&Record>, now: &[ResourceView], at: Timestamp) -> Vec<Entry> {
    let mut all = known.map(|known| known.history.clone()).unwrap_or_default();
    let before = known.map_or(&[][..], |known| &known.resources);
    // A resource that was deleted and made again is another one.
    for gone in before.iter().filter(|one| !now.iter().any(|other| other.uid == one.uid)) {
        all.push(entry(gone, at, What::Gone));
    }
    for resource in now {
        let known = before.iter().find(|one| one.uid == resource.uid);
        if known.is_none() {
            let version = resource.client_version.as_deref().map(plain);
            all.push(entry(resource, at, What::Appeared { version }));
        }
        let step = step(known, resource).filter(|entry| is_news(&all, entry));
        let stepped = step.as_ref().and(resource.step.as_ref()).map(|step| step.target.as_str());
        all.extend(step);
        all.extend(known.and_then(|known| version(known, resource, stepped, at)));
        all.extend(restart(known, resource).filter(|entry| is_news(&all, entry)));
        all.extend(settled(known, resource, &all));
    }
    newest(all)
}

/// Outcomes of which a history does not tell, with the resources that are seen: a failure after its step, and each time that
/// it is otherwise than was told last. A node that is healthy and is not, again and again, does not fill the history.
pub fn untold<'a>(
    told: &[Entry],
    outcomes: &'a BTreeMap<ResourceId, Outcome>,
    now: &'a [ResourceView],
    at: Timestamp,
) -> impl Iterator<Item = (&'a ResourceView, &'a Outcome)> {
    let is_news = move |resource: &ResourceView, outcome: &Outcome| {
        let mut theirs = told.iter().rev().filter(|entry| entry.resource == resource.id);
        let last = theirs
            .find(|entry| matches!(entry.what, What::Step { .. } | What::Failed { .. } | What::Recovered));
        let is_old = |last: &Entry| at.duration_since(last.at) >= PAUSE;
        match last.map(|last| (last, &last.what)) {
            Some((last, What::Failed { .. })) => outcome.failure.is_none() && is_old(last),
            Some((last, What::Recovered)) => outcome.failure.is_some() && is_old(last),
            _ => outcome.failure.is_some(),
        }
    };
    let of = |resource: &'a ResourceView| Some((resource, outcomes.get(&resource.id)?));
    let seen = now.iter().filter_map(of).filter(|(resource, outcome)| outcome.is_of(resource));
    seen.filter(move |(resource, outcome)| is_news(resource, outcome))
}

/// A history that also tells what has become of steps.
#[must_use]
pub fn with_outcomes(
    mut told: Vec<Entry>,
    outcomes: &BTreeMap<ResourceId, Outcome>,
    now: &[ResourceView],
    at: Timestamp,
) -> Vec<Entry> {
    let what = |outcome: &Outcome| match &outcome.failure {
        Some(why) => What::Failed { why: cut(why, LONGEST_REASON) },
        None => What::Recovered,
    };
    let news = untold(&told, outcomes, now, at).map(|(resource, outcome)| Entry {
        upgrade: Some(cause(&outcome.step)),
        ..entry(resource, at, what(outcome))
    });
    let news: Vec<Entry> = news.collect();
    told.extend(news);
    newest(told)
}

fn newest(mut all: Vec<Entry>) -> Vec<Entry> {
    all.drain(..all.len().saturating_sub(NEWEST));
    all
}

fn entry(resource: &ResourceView, at: Timestamp, what: What) -> Entry {
    Entry { at, resource: resource.id.clone(), what, upgrade: None, approved_by: None }
}

/// Not told before: an old manifest brings an old annotation back.
fn is_news(told: &[Entry], entry: &Entry) -> bool {
    let same = |other: &Entry| {
        let is_same =
            (&other.resource, &other.what, &other.upgrade) == (&entry.resource, &entry.what, &entry.upgrade);
        is_same && is_near(other.at, entry.at)
    };
    !told.iter().any(same)
}

fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() < SAME
}

/// A step that was taken.
fn step(known: Option<&ResourceView>, now: &ResourceView) -> Option<Entry> {
    let step = now.step.as_ref()?;
    let is_known = |known: &Step| {
        (&known.upgrade, &known.target, known.attempt) == (&step.upgrade, &step.target, step.attempt)
            && is_near(known.at, step.at)
    };
    if known.and_then(|known| known.step.as_ref()).is_some_and(is_known) {
        return None;
    }
    let what = What::Step { from: step.previous.as_deref().map(plain), to: plain(&step.target) };
    let approved_by = step.approver.as_deref().map(plain);
    Some(Entry { upgrade: Some(cause(step)), approved_by, ..entry(now, step.at, what) })
}

/// A version that no step set: neither one of before nor the one that was taken since.
fn version(known: &ResourceView, now: &ResourceView, stepped: Option<&str>, at: Timestamp) -> Option<Entry> {
    let from = stepped.or(known.client_version.as_deref());
    let to = now.client_version.as_deref();
    if from == to {
        return None;
    }
    let taken_back = |step: &&Step| step.rolled_back.is_some() && step.previous.as_deref() == to;
    let (step, from, to) = (now.step.as_ref().filter(taken_back), from.map(plain), to.map(plain));
    let what = if step.is_some() { What::RolledBack { from, to } } else { What::VersionSet { from, to } };
    Some(Entry { upgrade: step.map(cause), ..entry(now, at, what) })
}

/// A permission that was given.
fn restart(known: Option<&ResourceView>, now: &ResourceView) -> Option<Entry> {
    let grant = now.grant.as_ref()?;
    let is_known = |known: &Grant| {
        (known.role, known.ordinal, &known.hash) == (grant.role, grant.ordinal, &grant.hash)
            && is_near(known.at, grant.at)
    };
    if known.and_then(|known| known.grant.as_ref()).is_some_and(is_known) {
        return None;
    }
    let what =
        What::RestartAllowed { role: grant.role, ordinal: grant.ordinal, template: plain(&grant.hash) };
    // For an upgrade, if it brings the pod from another version to the one of the last step; a pod that has restarted
    // by now is remembered as it was.
    let pod = known
        .unwrap_or(now)
        .role(grant.role)
        .and_then(|role| role.nodes.iter().find(|node| node.ordinal == grant.ordinal)?.version.as_ref());
    let for_step =
        |step: &&Step| now.client_version.as_ref() == Some(&step.target) && pod != Some(&step.target);
    let upgrade = now.step.as_ref().filter(for_step).map(cause);
    Some(Entry { upgrade, ..entry(now, grant.at, what) })
}

/// It became settled, and that was not the last thing that is told of it: pods that are not Ready for a while do not
/// fill the history.
fn settled(known: Option<&ResourceView>, now: &ResourceView, told: &[Entry]) -> Option<Entry> {
    let since = now.settled_since?;
    if known
        .is_some_and(|known| known.settled_since == Some(since) && known.client_version == now.client_version)
    {
        return None;
    }
    let what = What::Settled { version: plain(now.client_version.as_deref()?) };
    let last = told.iter().rev().find(|entry| entry.resource == now.id);
    if last.is_some_and(|last| last.what == what) {
        return None;
    }
    // Kubelets tell whole seconds by their own clocks; it came after what is told before.
    let at = last.map_or(since, |last| last.at.max(since));
    Some(Entry { upgrade: last.and_then(|last| last.upgrade.clone()), ..entry(now, at, what) })
}

fn cause(step: &Step) -> Cause {
    Cause { name: plain(&step.upgrade), attempt: step.attempt }
}

/// Of bounded length, and harmless on a terminal.
fn plain(text: &str) -> String {
    cut(text, LONGEST)
}

fn cut(text: &str, longest: usize) -> String {
    let mut plain = String::new();
    for letter in text.chars().map(|letter| if letter.is_control() { '?' } else { letter }) {
        if plain.len() + letter.len_utf8() > longest {
            break;
        }
        plain.push(letter);
    }
    plain
}

#[cfg(test)]
mod tests;
