//! A simulated relay chain and the simulated nodes on it.
//!
//! Everything here is a function of fleet time: no block is made and no peer is met, a height is what a chain that has
//! been running since its start would have. [`flags`] knows which arguments a client version takes, [`start`] whether
//! it starts with them, [`node`] what it knows from then on, and [`answers`] says it over HTTP. Which pods run, and on
//! which volumes, is decided by the simulated kubelet.

pub mod answers;
mod flags;
pub mod node;
pub mod start;
mod values;

use jiff::Timestamp;
use sha2::Digest as _;

pub use self::answers::{Answer, Request};
pub use self::node::{Behaviour, Node};
pub use self::start::{Crash, Start};

/// The time between two blocks of Polkadot, Kusama and their test networks.
const BLOCK_SECONDS: u64 = 6;
/// How far finality is behind the best block.
const FINALITY_LAG: u64 = 2;

/// One relay chain, shared by all simulated clusters.
#[derive(Clone, Debug)]
pub struct Chain {
    name: String,
    start: Timestamp,
    /// Its height at the start.
    height: u64,
    stalls: Vec<Stall>,
}

/// A time in which nobody on the chain made or finalised a block.
#[derive(Clone, Copy, Debug)]
struct Stall {
    from: Timestamp,
    /// `None` while it lasts.
    until: Option<Timestamp>,
}

impl Chain {
    /// A chain by its name for `--chain`, which had `height` blocks at `start`.
    #[must_use]
    pub fn new(name: &str, start: Timestamp, height: u64) -> Self {
        Self { name: name.to_owned(), start, height, stalls: vec![] }
    }

    /// Its name for `--chain`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From then on the chain stands still everywhere. One that stands still already goes on doing so.
    pub fn stall(&mut self, from: Timestamp) {
        if self.stalls.last().is_none_or(|stall| stall.until.is_some()) {
            self.stalls.push(Stall { from, until: None });
        }
    }

    /// From then on the chain moves again.
    pub fn resume(&mut self, at: Timestamp) {
        if let Some(stall) = self.stalls.last_mut() {
            stall.until.get_or_insert(at.max(stall.from));
        }
    }

    /// The height of its best block.
    #[must_use]
    pub fn best(&self, now: Timestamp) -> u64 {
        let stalled = self.stalls.iter().map(|stall| {
            let until = stall.until.unwrap_or(now).min(now);
            milliseconds(stall.from.max(self.start), until)
        });
        let running = milliseconds(self.start, now).saturating_sub(stalled.sum());
        self.height + running / (BLOCK_SECONDS * 1000)
    }

    /// The height of its last finalised block.
    #[must_use]
    pub fn finalized(&self, now: Timestamp) -> u64 {
        self.best(now).saturating_sub(FINALITY_LAG)
    }

    /// The hash of the block at `height`. The height is in it, so that [`Chain::height_of`] needs no table.
    #[must_use]
    pub fn hash(&self, height: u64) -> String {
        let digest = sha2::Sha256::digest(format!("{}/{height}", self.name));
        format!("0x{}{height:016x}", hex::encode(&digest[..24]))
    }

    /// The height of the block with that hash, if it is one of this chain.
    #[must_use]
    pub fn height_of(&self, hash: &str) -> Option<u64> {
        let height = u64::from_str_radix(hash.get(50..)?, 16).ok()?;
        (self.hash(height) == hash).then_some(height)
    }
}

/// The time from one moment to a later one; zero where it is not later.
fn milliseconds(from: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.duration_since(from).as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
