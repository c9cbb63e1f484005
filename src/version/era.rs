//! Eras: what changed in the client, and from which version on.
//!
//! The boundaries are the first tags that hold the change, read in the history of paritytech/polkadot and in the
//! release notes (`prdoc`) of paritytech/polkadot-sdk. How a client of an era is started is decided elsewhere.

use super::{ClientVersion, LINES};

/// Major, minor and patch of a client, as it reports them itself.
pub type Numbers = (u32, u32, u32);

/// A span of versions whose command lines have the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// Up to 0.7.28: `--sentry` is a switch, there is no `--rpc-methods`.
    Legacy,
    /// 0.7.29 to 0.8.28: `--sentry` takes the validator's address.
    SentryValue,
    /// 0.8.29 to 0.9.42: no `--sentry` (substrate#8079); HTTP and WebSocket RPC still have a port each.
    SplitRpc,
    /// From 0.9.43: one RPC port for both, and no flag that begins with `--ws-` (substrate#13384).
    MergedRpc,
}

/// The first version of every era, oldest first.
const STARTS: [(Numbers, Era); 4] = [
    ((0, 0, 0), Era::Legacy),
    ((0, 7, 29), Era::SentryValue),
    ((0, 8, 29), Era::SplitRpc),
    ((0, 9, 43), Era::MergedRpc),
];

/// The oldest client whose command line is known.
const OLDEST: Numbers = (0, 7, 0);
/// Peer IDs are written in the encoding of today (rust-libp2p 0.19.1, substrate#6064), and RPC can be told which
/// methods to serve (substrate#5729).
const MODERN_PEER_IDS: Numbers = (0, 8, 0);
/// The state's pruning has a flag of its own, and validators need no leave to prune.
const STATE_PRUNING: Numbers = (0, 9, 28);
/// A validator wants isolated workers, or to be told in its arguments to do without (polkadot-sdk#1444).
const SECURE_MODE: Numbers = (1, 5, 0);
/// A validator makes no node key for itself any more (polkadot-sdk#3852).
const REQUIRES_NODE_KEY: Numbers = (1, 11, 0);
/// `/health/readiness` came (polkadot-sdk#4802).
const HAS_READINESS: Numbers = (1, 14, 0);

/// Words for `--database`, and the first version that knows each. The old word of `ParityDB` is still read today.
const DATABASES: [(&str, Numbers); 4] = [
    ("rocksdb", (0, 0, 0)),
    ("paritydb-experimental", (0, 7, 29)),
    ("paritydb", (0, 9, 18)),
    ("auto", (0, 9, 18)),
];

/// The version that a client of this tag reports itself, without its commit; `None` where the tag does not tell.
///
/// A stable line reports its minor version with patch 0. A release candidate reports what its release does.
#[must_use]
pub fn node_version(version: &ClientVersion) -> Option<Numbers> {
    match version {
        ClientVersion::Semver { numbers, .. } => Some(*numbers),
        ClientVersion::Stable { line, .. } => {
            LINES.iter().find(|(known, _)| known == line).map(|(_, minor)| (1, *minor, 0))
        }
        ClientVersion::Other(_) => None,
    }
}

/// What a client of the newest known line reports.
#[must_use]
pub fn newest_node_version() -> Numbers {
    (1, LINES[LINES.len() - 1].1, 0)
}

/// The era of a version; `None` for a tag without a place in the order.
#[must_use]
pub fn era(version: &ClientVersion) -> Option<Era> {
    match version {
        // Every stable line, known or not, is newer than all boundaries.
        ClientVersion::Stable { .. } => Some(Era::MergedRpc),
        _ => node_version(version).map(era_of),
    }
}

/// The era of a client that reports these numbers.
#[must_use]
pub fn era_of(numbers: Numbers) -> Era {
    STARTS.iter().rev().find(|(start, _)| numbers >= *start).map_or(Era::Legacy, |(_, era)| *era)
}

/// Whether the client is older than all whose command line is known.
#[must_use]
pub fn is_too_old(version: &ClientVersion) -> bool {
    !is_from(version, OLDEST)
}

/// The era whose command line a tag is given: that of the newest where the tag does not tell.
#[must_use]
pub fn assumed(version: &ClientVersion) -> Era {
    era(version).unwrap_or(Era::MergedRpc)
}

/// Whether the client writes peer IDs as `12D3KooW…` and no longer as `Qm…`, and knows `--rpc-methods` (from 0.8.0).
#[must_use]
pub fn modern_peer_ids(version: &ClientVersion) -> bool {
    is_from(version, MODERN_PEER_IDS)
}

/// Whether the client knows `--state-pruning` and `archive-canonical` (from 0.9.28).
#[must_use]
pub fn has_state_pruning(version: &ClientVersion) -> bool {
    is_from(version, STATE_PRUNING)
}

/// The words that the client knows for `--database`.
pub fn databases(version: &ClientVersion) -> impl Iterator<Item = &'static str> {
    DATABASES.into_iter().filter(|(_, since)| is_from(version, *since)).map(|(word, _)| word)
}

/// How many characters a node's name may have: the client refuses one that reaches its own limit.
#[must_use]
pub fn longest_name(version: &ClientVersion) -> usize {
    if assumed(version) < Era::MergedRpc { 31 } else { 63 }
}

/// Whether a validator refuses to start when it cannot isolate its workers (from 1.5).
#[must_use]
pub fn secure_mode(version: &ClientVersion) -> bool {
    is_from(version, SECURE_MODE)
}

/// Whether a validator refuses to start without a node key (from 1.11).
#[must_use]
pub fn requires_node_key(version: &ClientVersion) -> bool {
    is_from(version, REQUIRES_NODE_KEY)
}

/// Whether the client answers `/health/readiness` (from 1.14).
#[must_use]
pub fn has_readiness(version: &ClientVersion) -> bool {
    is_from(version, HAS_READINESS)
}

/// A tag without a place in the order counts as the newest: most of them (`latest`, a commit) are.
fn is_from(version: &ClientVersion, first: Numbers) -> bool {
    node_version(version).is_none_or(|numbers| numbers >= first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_ends_with_the_version_before_the_next() {
        for (tag, expected) in [
            ("v0.7.28", Some(Era::Legacy)),
            ("v0.7.29", Some(Era::SentryValue)),
            ("v0.8.28", Some(Era::SentryValue)),
            ("v0.8.29", Some(Era::SplitRpc)),
            ("v0.9.42", Some(Era::SplitRpc)),
            ("v0.9.43-rc1", Some(Era::MergedRpc)),
            ("v0.9.43", Some(Era::MergedRpc)),
            ("v1.16.0", Some(Era::MergedRpc)),
            ("stable2407", Some(Era::MergedRpc)),
            ("stable9912", Some(Era::MergedRpc)),
            ("latest", None),
        ] {
            assert_eq!(era(&ClientVersion::parse(tag)), expected, "{tag}");
        }
    }

    #[test]
    fn a_switch_is_off_before_its_version_and_on_from_it_and_for_what_is_unknown() {
        type Switch = fn(&ClientVersion) -> bool;
        for (switch, before, from) in [
            (modern_peer_ids as Switch, "v0.7.33", "v0.8.0"),
            (has_state_pruning, "v0.9.27", "v0.9.28"),
            (secure_mode, "v1.4.0", "v1.5.0"),
            (requires_node_key as Switch, "v1.10.1", "v1.11.0"),
            (has_readiness as Switch, "v1.13.0", "v1.14.0"),
        ] {
            assert!(!switch(&ClientVersion::parse(before)), "{before}");
            for tag in [from, "stable2407", "stable9912", "latest"] {
                assert!(switch(&ClientVersion::parse(tag)), "{tag}");
            }
        }
    }

    #[test]
    fn a_database_has_the_words_of_its_version() {
        let words = |tag: &str| databases(&ClientVersion::parse(tag)).collect::<Vec<_>>().join(" ");
        assert_eq!(words("v0.7.28"), "rocksdb");
        assert_eq!(words("v0.9.17"), "rocksdb paritydb-experimental");
        for tag in ["v0.9.18", "stable2503", "latest"] {
            assert_eq!(words(tag), "rocksdb paritydb-experimental paritydb auto", "{tag}");
        }
    }

    #[test]
    fn a_stable_line_reports_the_minor_version_of_the_release_registry() {
        for (tag, expected) in [
            ("stable2503-7", Some((1, 18, 0))),
            ("stable2606", Some((1, 24, 0))),
            ("v0.9.43", Some((0, 9, 43))),
            ("stable9912", None),
            ("latest", None),
        ] {
            assert_eq!(node_version(&ClientVersion::parse(tag)), expected, "{tag}");
        }
        assert_eq!(newest_node_version(), (1, 26, 0));
    }
}
