//! Client versions: what a tag means and which of two is newer.
//!
//! Parsing and order follow the facts of the Polkadot release registry (read 2026-07-30); what is not known there
//! is [`Order::Unknown`], never guessed. What changed in the client, and when, is in [`era`]; which arguments we give
//! it lives in `desired::arguments`.

pub mod era;

use std::fmt;

/// A parsed image tag or git tag of the Polkadot client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientVersion {
    /// `v0.9.42`, `1.16.0-rc1`.
    Semver {
        /// Major, minor and patch.
        numbers: (u32, u32, u32),
        /// The release candidate; `None` is the release itself.
        candidate: Option<u32>,
    },
    /// `stable2503-7`, `polkadot-stable2412-rc1`.
    Stable {
        /// Year and month of the line, for example 2503.
        line: u32,
        /// The patch; a tag without one is patch 0.
        patch: u32,
        /// The release candidate; `None` is the release itself.
        candidate: Option<u32>,
    },
    /// Anything else: `latest`, a commit, a digest, a custom build.
    Other(String),
}

/// How one version stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same release.
    Same,
    /// The first is newer.
    Newer,
    /// The first is older.
    Older,
    /// The same minor in two notations: neither newer nor older can be told.
    SameLine,
    /// At least one of them has no known place in the order.
    Unknown,
}

/// Stable lines and the node's minor version (1.x), from the release registry; 1.23 was skipped.
const LINES: [(u32, u32); 11] = [
    (2407, 15),
    (2409, 16),
    (2412, 17),
    (2503, 18),
    (2506, 19),
    (2509, 20),
    (2512, 21),
    (2603, 22),
    (2606, 24),
    (2609, 25),
    (2612, 26),
];

/// Tags that move: two nodes with the same one may run different releases.
const FLOATING: [&str; 8] = ["latest", "master", "main", "stable", "nightly", "edge", "dev", ""];

/// Whether the tag is one that moves.
#[must_use]
pub fn is_floating(tag: &str) -> bool {
    FLOATING.contains(&tag)
}

/// A tag that names one release, whose place in the order of releases is known.
#[must_use]
pub fn is_release(tag: &str) -> bool {
    !is_floating(tag) && !matches!(ClientVersion::parse(tag), ClientVersion::Other(_))
}

/// What a tag that is no release wants instead.
pub const RELEASE_WANTED: &str =
    "name a release tag, for example stable2503-7: with any other, newer and older cannot be told";

/// How `wanted` stands to the version `runs`, in words, where it is not known to be the same or newer: a client may not
/// open the database of a newer one.
#[must_use]
pub fn not_newer(wanted: &str, runs: &str) -> Option<&'static str> {
    match ClientVersion::parse(wanted).order(&ClientVersion::parse(runs)) {
        _ if wanted == runs => None,
        Order::Newer | Order::Same => None,
        Order::Older => Some("is older than"),
        Order::SameLine | Order::Unknown => Some("cannot be compared with"),
    }
}

/// A version, or what is later, for people: of a tag that is no release nobody knows what that is.
#[must_use]
pub fn or_later(version: &str) -> String {
    let is_release = !matches!(ClientVersion::parse(version), ClientVersion::Other(_));
    if is_release { format!("{version} or later") } else { version.to_owned() }
}

impl ClientVersion {
    /// Reads a tag; never fails, see [`ClientVersion::Other`].
    #[must_use]
    pub fn parse(tag: &str) -> Self {
        let plain = tag.strip_prefix("polkadot-").unwrap_or(tag);
        parse_stable(plain)
            .or_else(|| parse_semver(plain.strip_prefix('v').unwrap_or(plain)))
            .unwrap_or_else(|| Self::Other(tag.to_owned()))
    }

    /// How this version stands to `other`.
    #[must_use]
    pub fn order(&self, other: &Self) -> Order {
        use ClientVersion::{Other, Semver, Stable};
        match (self, other) {
            (Other(_), _) | (_, Other(_)) => Order::Unknown,
            (Semver { numbers: a, candidate: ca }, Semver { numbers: b, candidate: cb }) => {
                from_ordering((a, rank(*ca)).cmp(&(b, rank(*cb))))
            }
            (Stable { line: a, patch: pa, candidate: ca }, Stable { line: b, patch: pb, candidate: cb }) => {
                from_ordering((a, pa, rank(*ca)).cmp(&(b, pb, rank(*cb))))
            }
            (Semver { numbers, .. }, Stable { line, .. }) => semver_to_line(*numbers, *line),
            (Stable { line, .. }, Semver { numbers, .. }) => match semver_to_line(*numbers, *line) {
                Order::Older => Order::Newer,
                Order::Newer => Order::Older,
                same => same,
            },
        }
    }
}

impl ClientVersion {
    /// The line of stable releases that a node of this version belongs to, as far as it reports numbers: `stable2503` for
    /// 1.18.x.
    #[must_use]
    pub fn line(&self) -> Option<Self> {
        let Self::Semver { numbers: (1, minor, _), .. } = self else { return None };
        let (line, _) = LINES.iter().find(|(_, of_line)| of_line == minor)?;
        Some(Self::Stable { line: *line, patch: 0, candidate: None })
    }

    /// A release before this one, and as near to it as its name tells; `None` where it tells nothing.
    #[must_use]
    pub fn before(&self) -> Option<Self> {
        let release = |numbers| Self::Semver { numbers, candidate: None };
        let stable = |line, patch| Self::Stable { line, patch, candidate: None };
        match *self {
            Self::Semver { numbers: (major, minor, patch), .. } => match (major, minor, patch) {
                (_, _, 1..) => Some(release((major, minor, patch - 1))),
                (_, 1.., 0) => Some(release((major, minor - 1, 0))),
                // No release of 0.9 was the last one before 1.0: this one was.
                (1, 0, 0) => Some(release((0, 9, 43))),
                _ => None,
            },
            Self::Stable { line, patch: patch @ 1.., .. } => Some(stable(line, patch - 1)),
            Self::Stable { line, patch: 0, .. } => {
                let before = LINES.iter().rev().find(|(known, _)| *known < line);
                Some(before.map_or(release((1, 14, 0)), |(line, _)| stable(*line, 0)))
            }
            Self::Other(_) => None,
        }
    }

    /// The first release of the newest line that is known.
    #[must_use]
    pub fn newest() -> Self {
        Self::Stable { line: LINES[LINES.len() - 1].0, patch: 0, candidate: None }
    }
}

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Semver { numbers: (major, minor, patch), candidate } => {
                write!(f, "v{major}.{minor}.{patch}")?;
                candidate.map_or(Ok(()), |rc| write!(f, "-rc{rc}"))
            }
            Self::Stable { line, patch, candidate } => {
                write!(f, "stable{line}")?;
                if *patch > 0 {
                    write!(f, "-{patch}")?;
                }
                candidate.map_or(Ok(()), |rc| write!(f, "-rc{rc}"))
            }
            Self::Other(tag) => f.write_str(tag),
        }
    }
}

/// Release candidates come before their release.
fn rank(candidate: Option<u32>) -> u32 {
    candidate.unwrap_or(u32::MAX)
}

fn from_ordering(ordering: std::cmp::Ordering) -> Order {
    match ordering {
        std::cmp::Ordering::Less => Order::Older,
        std::cmp::Ordering::Equal => Order::Same,
        std::cmp::Ordering::Greater => Order::Newer,
    }
}

fn semver_to_line((major, minor, _): (u32, u32, u32), line: u32) -> Order {
    if major == 0 {
        return Order::Older;
    }
    let Some((_, of_line)) = LINES.iter().find(|(known, _)| *known == line) else {
        return Order::Unknown;
    };
    match (major, minor).cmp(&(1, *of_line)) {
        std::cmp::Ordering::Less => Order::Older,
        std::cmp::Ordering::Equal => Order::SameLine,
        std::cmp::Ordering::Greater => Order::Newer,
    }
}

fn parse_stable(tag: &str) -> Option<ClientVersion> {
    let mut parts = tag.strip_prefix("stable")?.split('-');
    let line = parts.next().filter(|line| line.len() == 4).and_then(number)?;
    let (mut patch, mut candidate) = (0, None);
    for (index, part) in parts.enumerate() {
        match part.strip_prefix("rc") {
            Some(rc) if candidate.is_none() => candidate = Some(number(rc)?),
            None if index == 0 => patch = number(part)?,
            _ => return None,
        }
    }
    Some(ClientVersion::Stable { line, patch, candidate })
}

fn parse_semver(tag: &str) -> Option<ClientVersion> {
    let (release, candidate) = match tag.split_once("-rc") {
        Some((release, rc)) => (release, Some(number(rc)?)),
        None => (tag, None),
    };
    let numbers = release.split('.').map(number).collect::<Option<Vec<_>>>()?;
    let [major, minor, patch] = numbers[..] else { return None };
    Some(ClientVersion::Semver { numbers: (major, minor, patch), candidate })
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_ordered_is_not_older_than_itself_and_a_tag_names_one_candidate_at_most() {
        assert_eq!(not_newer("sha-0d1f", "sha-0d1f"), None);
        assert!(matches!(ClientVersion::parse("stable2503-rc1-rc2"), ClientVersion::Other(_)));
    }

    #[test]
    fn the_order_is_the_one_of_the_facts() {
        use Order::{Newer, Older, Same, SameLine, Unknown};
        for (first, second, expected) in [
            ("v0.7.29", "v0.7.28", Newer),
            ("stable2412", "v1.16.0", Newer),
            ("stable2412-3", "stable2412", Newer),
            ("stable2503", "stable2412-3", Newer),
            ("stable2409-10", "stable2409-9", Newer),
            ("v1.21.0", "stable2603-1", Older),
            ("v1.21.7", "stable2512-8", SameLine),
            ("stable2512-8", "v1.21.7", SameLine),
            ("v1.16.0", "v1.16.0-rc1", Newer),
            ("stable2503", "stable2503-rc2", Newer),
            ("stable2503-0", "polkadot-stable2503", Same),
            ("v0.9.43", "stable2407", Older),
            ("stable2407", "v0.9.43", Newer),
            ("stable9912", "v1.16.0", Unknown),
            ("latest", "stable2503", Unknown),
            ("sha-0d1f", "sha-0d1f", Unknown),
        ] {
            let order = ClientVersion::parse(first).order(&ClientVersion::parse(second));
            assert_eq!(order, expected, "{first} against {second}");
        }
    }

    #[test]
    fn the_release_before_another_is_older_wherever_it_can_be_told() {
        for (version, before) in [
            ("stable2503-7", Some("stable2503-6")),
            ("stable2503", Some("stable2412")),
            ("stable2503-rc1", Some("stable2412")),
            ("stable2407", Some("v1.14.0")),
            ("v0.9.42", Some("v0.9.41")),
            ("v1.0.0", Some("v0.9.43")),
            ("latest", None),
        ] {
            let version = ClientVersion::parse(version);
            let found = version.before();
            assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), before, "{version}");
            assert!(found.is_none_or(|found| found.order(&version) == Order::Older), "{version}");
        }
    }

    #[test]
    fn what_is_not_a_release_tag_is_kept_as_it_is() {
        for tag in
            ["latest", "v1.2", "1.2.3.4", "stable25", "stable2503-x", "stable2503-1-2", "v1.2.3-beta", ""]
        {
            assert_eq!(ClientVersion::parse(tag), ClientVersion::Other(tag.into()), "{tag}");
        }
    }

    #[test]
    fn a_version_prints_as_its_docker_tag() {
        for tag in ["stable2503-7", "stable2412", "v1.16.0-rc1", "v0.9.42"] {
            assert_eq!(ClientVersion::parse(tag).to_string(), tag);
        }
    }
}
