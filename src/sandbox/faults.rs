//! What can go wrong on demand: with a simulated cluster, with a client version, with the chain. Plain data; the API
//! server ([`super::cluster`]) and the chain nodes ([`super::chain`]) act on it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// What a simulated API server does to whoever asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ApiFault {
    /// Nothing.
    #[default]
    None,
    /// It cannot be reached: connections are refused or cut, open watches too.
    Unreachable,
    /// It takes requests and never answers; open watches say nothing more.
    Hangs,
    /// Every answer comes late by so much real time.
    Slow(Duration),
    /// Every request gets this HTTP status: 429, 500 or 503.
    Refuses(u16),
    /// It does not know the credentials: 401.
    Expired,
    /// Lists and gets without a revision answer what was true when the fault began.
    Stale,
}

/// How a client version misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionFault {
    /// Not at all.
    #[default]
    None,
    /// It ends right after it has started.
    CrashLoop,
    /// It never catches up with the chain.
    NeverSyncs,
    /// It follows the chain's head and finalises nothing more.
    StallsFinality,
    /// There is no such image.
    NoImage,
}

/// The faults of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Of its API server.
    pub api: ApiFault,
    /// Of client versions, by image tag, in this cluster.
    pub versions: BTreeMap<String, VersionFault>,
}

/// A fault as it is asked for on the command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Of a cluster's API server.
    Api(ApiFault),
    /// Of the version that an upgrade brings to a cluster.
    Version(VersionFault),
    /// Of the whole chain.
    ChainStalls,
}

/// The names of all faults, for help and errors.
pub const NAMES: [&str; 12] = [
    "unreachable",
    "hang",
    "slow",
    "429",
    "500",
    "503",
    "expired-credentials",
    "crash-loop",
    "never-syncs",
    "stalls-finality",
    "no-such-image",
    "chain-stalls",
];

impl FromStr for Wanted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "unreachable" => Self::Api(ApiFault::Unreachable),
            "hang" => Self::Api(ApiFault::Hangs),
            "slow" => Self::Api(ApiFault::Slow(Duration::from_secs(2))),
            "429" => Self::Api(ApiFault::Refuses(429)),
            "500" => Self::Api(ApiFault::Refuses(500)),
            "503" => Self::Api(ApiFault::Refuses(503)),
            "expired-credentials" => Self::Api(ApiFault::Expired),
            "crash-loop" => Self::Version(VersionFault::CrashLoop),
            "never-syncs" => Self::Version(VersionFault::NeverSyncs),
            "stalls-finality" => Self::Version(VersionFault::StallsFinality),
            "no-such-image" => Self::Version(VersionFault::NoImage),
            "chain-stalls" => Self::ChainStalls,
            _ => return Err(format!("{name:?} is no fault; there are: {}", NAMES.join(", "))),
        })
    }
}
