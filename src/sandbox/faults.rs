//! What can go wrong on demand: with a simulated cluster, with a client version, with the chain. Plain data; the API
//! server ([`super::cluster`]) and the chain nodes ([`super::chain`]) act on it.

use std::collections::BTreeMap;
use std::fmt;
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
    /// Lists answer what was true when the fault began, as those of a watch cache that lags; a get of one object is
    /// true.
    Stale,
    /// Every watch ends a moment after it has begun.
    DropsWatches,
    /// The same, and to whoever comes back the past is gone: 410, list again.
    Compacts,
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
    /// Its API server has no way to the pods: what is asked of them through it gets no answer.
    pub pods_unreachable: bool,
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

/// The names of all faults, and what each does, for help and errors.
pub const NAMES: [(&str, &str); 15] = [
    ("unreachable", "the API server takes no connection"),
    ("hang", "it takes requests and never answers"),
    ("slow", "every answer comes two seconds late"),
    ("429", "every request is too many"),
    ("500", "every request fails inside"),
    ("503", "it is shutting down"),
    ("drop-watches", "every watch ends after a second"),
    ("410", "every watch ends after a second with 410 Gone"),
    ("stale", "lists show the past"),
    ("expired-credentials", "every request is unauthorized"),
    ("crash-loop", "the new version panics at every start"),
    ("never-syncs", "the new version imports no block"),
    ("finality-stall", "the new version finalises no block"),
    ("no-such-image", "the new version's image does not exist"),
    ("chain-stall", "nobody on the chain makes a block, in no cluster"),
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
            "drop-watches" => Self::Api(ApiFault::DropsWatches),
            "410" | "compact" => Self::Api(ApiFault::Compacts),
            "stale" => Self::Api(ApiFault::Stale),
            "expired-credentials" => Self::Api(ApiFault::Expired),
            "crash-loop" => Self::Version(VersionFault::CrashLoop),
            "never-syncs" | "never-sync" => Self::Version(VersionFault::NeverSyncs),
            "finality-stall" | "stalls-finality" => Self::Version(VersionFault::StallsFinality),
            "no-such-image" => Self::Version(VersionFault::NoImage),
            "chain-stall" | "chain-stalls" => Self::ChainStalls,
            _ => {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                return Err(format!("{name:?} is no fault; there are: {}", names.join(", ")));
            }
        })
    }
}

impl fmt::Display for Wanted {
    /// By its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().find(|(name, _)| name.parse::<Self>().is_ok_and(|named| named == *self));
        f.write_str(named.map_or("a fault", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_that_the_help_names_can_be_asked_for() {
        for (name, _) in NAMES {
            assert_eq!(name.parse::<Wanted>().map(|wanted| wanted.to_string()).as_deref(), Ok(name));
        }
        assert!("crash".parse::<Wanted>().is_err_and(|said| said.contains("crash-loop")));
    }
}
