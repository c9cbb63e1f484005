//! A simulated node: whether it starts with what its container was given, and what it knows at any time after.
//!
//! After the start its state is a function of the time since, of the chain and of its instance number, so that a test
//! sees the same peers every time. What it says about itself is in [`super::answers`].

use std::fmt;

use jiff::Timestamp;
use sha2::Digest as _;

use super::flags::Flags;
use super::{Chain, FINALITY_LAG, milliseconds, values};
use crate::identity::NodeKey;
use crate::version::ClientVersion;
use crate::version::era::{self, Era, Numbers};

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

/// What a container is started with.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// The image's tag; one whose version is unknown counts as the newest client.
    pub tag: &'a str,
    /// The arguments after the image's entry point, with nothing left to expand.
    pub args: &'a [String],
    /// The content of the file that `--node-key-file` names; `None` where there is none.
    pub key: Option<&'a [u8]>,
    /// The fault of this client version.
    pub behaviour: Behaviour,
    /// Fleet time.
    pub now: Timestamp,
    /// A number of the container's own, which its peers come from.
    pub instance: u64,
    /// The height that its volume holds; `None` for a volume with nothing on it.
    pub restored_height: Option<u64>,
}

/// A process that ended when it should have started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client ended with {exit_code}: {message}")]
pub struct Crash {
    /// Its exit code.
    pub exit_code: i32,
    /// The last it wrote.
    pub message: String,
}

impl Crash {
    /// The command line could not be read.
    pub(super) fn usage(error: &str) -> Self {
        let message =
            format!("error: {error}\n\nUsage: polkadot [OPTIONS]\n\nFor more information, try '--help'.");
        Self { exit_code: 2, message }
    }

    /// The command line could be read and not followed.
    fn startup(error: &str) -> Self {
        Self { exit_code: 1, message: format!("Error: \n   0: {error}") }
    }

    fn panic(version: &str) -> Self {
        let message = format!(
            "====================\n\nVersion: {version}\n\n\
             Thread 'tokio-runtime-worker' panicked at 'a simulated fault of this version', client/db/src/lib.rs:1\n\n\
             This is a bug."
        );
        Self { exit_code: 1, message }
    }
}

/// A port, and whether it is bound to all addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    port: u16,
    external: bool,
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
    /// The version it reports, without the commit.
    pub(super) client: Numbers,
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
    chain: String,
    behaviour: Behaviour,
    instance: u64,
    /// The number of its reserved peers, where it wants no others.
    reserved_only: Option<u64>,
}

impl Node {
    /// Starts a client; it may refuse its arguments or its key, or have a fault.
    pub fn start(start: &Start<'_>) -> Result<Self, Crash> {
        let version = ClientVersion::parse(start.tag);
        let client = era::node_version(&version).unwrap_or_else(era::newest_node_version);
        let flags = Flags::read(start.args, client)?;
        check(&flags, client)?;
        let name = flags.one("name").map_or_else(|| format!("node-{}", start.instance), str::to_owned);
        values::check_name(&name, client).map_err(|why| {
            Crash::startup(&format!(
                "Invalid input: Invalid node name '{name}'. Reason: {why}. If unsure, use none."
            ))
        })?;
        let key = node_key(&flags, era::requires_node_key(&version), start)?;
        // A tag that moves is one commit here all the same.
        let commit = hex::encode(&sha2::Sha256::digest(start.tag)[..4]);
        if start.behaviour == Behaviour::CrashLoop {
            return Err(Crash::panic(&format!("{}-{commit}", Dotted(client))));
        }
        let listener = |port, external| Listener { port, external };
        let merged = era::era_of(client) == Era::MergedRpc;
        Ok(Self {
            name,
            peer_id: if client < (0, 8, 0) { key.legacy_peer_id() } else { key.peer_id() },
            // A sentry of old reported itself as an authority too.
            is_authority: flags.has("validator") || flags.has("sentry"),
            started: start.now,
            rpc: rpc_listeners(&flags, if merged { 9944 } else { 9933 }),
            ws: (!merged).then(|| {
                let external = flags.has("ws-external") || flags.has("unsafe-ws-external");
                listener(flags.port("ws-port").unwrap_or(9944), external)
            }),
            metrics: (!flags.has("no-prometheus")).then(|| {
                listener(flags.port("prometheus-port").unwrap_or(9615), flags.has("prometheus-external"))
            }),
            from: start.restored_height.unwrap_or(0),
            // The first chain that the client knew was Kusama, until Polkadot began.
            chain: flags
                .one("chain")
                .unwrap_or(if client < (0, 8, 0) { "kusama" } else { "polkadot" })
                .into(),
            behaviour: start.behaviour,
            instance: start.instance,
            reserved_only: flags.has("reserved-only").then(|| flags.all("reserved-nodes").len() as u64),
            version,
            client,
            commit,
        })
    }

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
        format!("{}-{}", Dotted(self.client), self.commit)
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
            Some(0) => 0,
            Some(reserved) => 1 + chance % reserved,
            None => 8 + self.instance % 8 + chance % 5,
        };
        (target * seconds.min(ALL_PEERS_SECONDS)).div_ceil(ALL_PEERS_SECONDS)
    }

    fn seconds(&self, now: Timestamp) -> u64 {
        milliseconds(self.started, now) / 1000
    }
}

/// Numbers as they stand in a version.
pub(super) struct Dotted(pub Numbers);

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Checks that a client makes after it has read its command line.
fn check(flags: &Flags<'_>, client: Numbers) -> Result<(), Crash> {
    if !flags.has("validator") {
        return Ok(());
    }
    let all_methods = flags.one("rpc-methods").is_some_and(|methods| methods.eq_ignore_ascii_case("unsafe"));
    if let Some(external) = ["rpc-external", "ws-external"].into_iter().find(|flag| flags.has(flag))
        && !all_methods
    {
        return Err(Crash::startup(&format!(
            "Invalid input: --{external} option shouldn't be used if the node is running as a validator. \
             Use `--unsafe-{external}` or `--rpc-methods=unsafe` if you understand the risks. \
             See the options description for more information."
        )));
    }
    // An old validator wants the state of all blocks, or to be told.
    let pruned = flags.one("pruning").is_some_and(|mode| mode != "archive") && !flags.has("unsafe-pruning");
    if pruned && client < (0, 8, 29) {
        return Err(Crash::startup(
            "Invalid input: Validators should run with state pruning disabled (i.e. archive). \
             You can ignore this check with `--unsafe-pruning`.",
        ));
    }
    Ok(())
}

/// The key of the arguments, else of the file, else one made up where the client may make one.
///
/// The simulated volume keeps no key: what a client makes up is lost with its container.
fn node_key(flags: &Flags<'_>, is_required: bool, start: &Start<'_>) -> Result<NodeKey, Crash> {
    if let Some(hex) = flags.one("node-key") {
        return read_hex(hex.as_bytes()).ok_or_else(|| {
            Crash::startup("Invalid input: Invalid node key: Invalid input length or character")
        });
    }
    if let (Some(content), true) = (start.key, flags.has("node-key-file")) {
        return <[u8; 32]>::try_from(content)
            .ok()
            .map(NodeKey::from_seed)
            .or_else(|| read_hex(content))
            .ok_or_else(|| {
                Crash::startup(
                    "Key decoding error: failed to parse ed25519 secret key: Invalid secret key length",
                )
            });
    }
    if is_required && flags.has("validator") && !flags.has("unsafe-force-node-key-generation") {
        let path = flags.one("node-key-file").unwrap_or("network/secret_ed25519");
        return Err(Crash::startup(&format!(
            "NetworkKeyNotFound: Starting an authorithy without network key in {path}."
        )));
    }
    Ok(NodeKey::from_seed(sha2::Sha256::digest(start.instance.to_be_bytes()).into()))
}

/// 64 hex digits and nothing else: the client does not forgive a line's end.
fn read_hex(text: &[u8]) -> Option<NodeKey> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 64)?;
    NodeKey::from_hex(text).ok()
}

fn rpc_listeners(flags: &Flags<'_>, default_port: u16) -> Vec<Listener> {
    let addresses = flags.all("rpc-listen-addrs");
    if addresses.is_empty() {
        let external = ["rpc-external", "unsafe-rpc-external"].iter().any(|flag| flags.has(flag));
        return vec![Listener { port: flags.port("rpc-port").unwrap_or(default_port), external }];
    }
    addresses
        .iter()
        .filter_map(|address| {
            let address = address.trim_start_matches("listen-addr=").split([' ', ',', '/']).next()?;
            let (host, port) = address.rsplit_once(':')?;
            let local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
            Some(Listener { port: port.parse().ok()?, external: !local })
        })
        .collect()
}

/// Spreads a number over all numbers (splitmix64): chance that a test sees again.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
