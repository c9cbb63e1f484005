//! What a simulated node knows at any time after its start.
//!
//! Its state is a function of the time since, of the chain and of its instance number, so that a test sees the same
//! peers every time. Whether it starts is decided in [`super::start`], what it says in [`super::answers`].

use jiff::Timestamp;

use super::{Chain, FINALITY_LAG, milliseconds};
use crate::version::ClientVersion;
use crate::version::era::Numbers;

/// No peer is found earlier.
const FIRST_PEER_SECONDS: u64 = 2;
/// By then all are.
const ALL_PEERS_SECONDS: u64 = 20;
/// How long a number of peers lasts.
const PEERS_CHANGE_SECONDS: u64 = 15;
/// A volume with nothing on it takes a minute to come to a chain of 200,000 blocks.
const SYNC_BLOCKS_PER_SECOND: u64 = 3_400;
/// A client further behind than this calls itself syncing.
const MAJOR_SYNC_BLOCKS: u64 = 5;

/// The fault of a client version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// None.
    #[default]
    Sound,
    /// It panics at every start.
    CrashLoop,
    /// It has peers and imports no block.
    NeverSyncs,
    /// It imports blocks and finalises none.
    StallsFinality,
}

/// A port, and whether it is bound to all addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) external: bool,
}

impl Listener {
    /// Whether it is this port and the caller reaches it.
    pub(super) fn hears(self, port: u16, from_loopback: bool) -> bool {
        self.port == port && (self.external || from_loopback)
    }
}

/// A node that runs.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) version: ClientVersion,
    /// What it reports of its version, as numbers, as text, and the commit after it.
    pub(super) client: Numbers,
    pub(super) release: String,
    pub(super) commit: String,
    pub(super) name: String,
    pub(super) peer_id: String,
    pub(super) is_authority: bool,
    pub(super) started: Timestamp,
    /// HTTP; from 0.9.43 on also WebSocket.
    pub(super) rpc: Vec<Listener>,
    /// The WebSocket's own port, before 0.9.43.
    pub(super) ws: Option<Listener>,
    pub(super) metrics: Option<Listener>,
    /// The height it started at.
    pub(super) from: u64,
    pub(super) chain: String,
    pub(super) behaviour: Behaviour,
    pub(super) instance: u64,
    /// The number of its reserved peers, where it wants no others.
    pub(super) reserved_only: Option<u64>,
}

impl Node {
    /// The name of the chain it is on: its `--chain`, or the client's default.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Its ID on the network, in the encoding of its version.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// The version it reports: `1.18.0-0d1f2e3c`.
    #[must_use]
    pub fn reported_version(&self) -> String {
        format!("{}-{}", self.release, self.commit)
    }

    /// The height that its volume holds when it is stopped now.
    #[must_use]
    pub fn restored_height(&self, now: Timestamp, chain: &Chain) -> u64 {
        self.best(now, chain)
    }

    /// Its best block.
    #[must_use]
    pub fn best(&self, now: Timestamp, chain: &Chain) -> u64 {
        let seconds = self.seconds(now).saturating_sub(FIRST_PEER_SECONDS);
        let imported = match self.behaviour {
            Behaviour::NeverSyncs => 0,
            _ if self.peers(now) == 0 => 0,
            _ => seconds * SYNC_BLOCKS_PER_SECOND,
        };
        // What its volume holds it keeps, were it of another chain's height.
        (self.from + imported).min(chain.best(now)).max(self.from)
    }

    /// Its last finalised block.
    #[must_use]
    pub fn finalized(&self, now: Timestamp, chain: &Chain) -> u64 {
        let best = match self.behaviour {
            Behaviour::StallsFinality => self.from,
            _ => self.best(now, chain),
        };
        best.saturating_sub(FINALITY_LAG)
    }

    /// The best block that it has heard of: its own, as long as it has no peers.
    #[must_use]
    pub fn sync_target(&self, now: Timestamp, chain: &Chain) -> u64 {
        let best = self.best(now, chain);
        if self.peers(now) == 0 { best } else { best.max(chain.best(now)) }
    }

    /// Whether it calls itself syncing: far behind, or unable to import what it gets.
    #[must_use]
    pub fn is_major_syncing(&self, now: Timestamp, chain: &Chain) -> bool {
        self.behaviour == Behaviour::NeverSyncs
            || self.sync_target(now, chain) > self.best(now, chain) + MAJOR_SYNC_BLOCKS
    }

    /// How many peers it has. They come within seconds of the start, and go and come from then on.
    #[must_use]
    pub fn peers(&self, now: Timestamp) -> u64 {
        let seconds = self.seconds(now);
        if seconds < FIRST_PEER_SECONDS {
            return 0;
        }
        let chance = mix(self.instance ^ mix(seconds / PEERS_CHANGE_SECONDS));
        let target = match self.reserved_only {
            // It tries each again until it has it.
            Some(reserved) => reserved,
            None => 8 + self.instance % 8 + chance % 5,
        };
        (target * seconds.min(ALL_PEERS_SECONDS)).div_ceil(ALL_PEERS_SECONDS)
    }

    fn seconds(&self, now: Timestamp) -> u64 {
        milliseconds(self.started, now) / 1000
    }
}

/// Spreads a number over all numbers (splitmix64): chance that a test sees again.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
