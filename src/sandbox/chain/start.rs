//! Whether a simulated client starts with what its container was given.
//!
//! The command line is read in [`super::flags`]; here are the checks that the client makes on what it read, and its key.
//! The simulated machine can isolate a validator's workers, so that no version asks for the flag to do without.

use jiff::Timestamp;
use sha2::Digest as _;

use super::flags::Flags;
use super::node::{Behaviour, Listener, Node};
use super::values;
use crate::identity::NodeKey;
use crate::version::ClientVersion;
use crate::version::era::{self, Era, Numbers};

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
        let (major, minor, patch) = client;
        let release = format!("{major}.{minor}.{patch}");
        // A tag that moves is one commit here all the same.
        let commit = hex::encode(&sha2::Sha256::digest(start.tag)[..4]);
        if start.behaviour == Behaviour::CrashLoop {
            return Err(Crash::panic(&format!("{release}-{commit}")));
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
            release,
            commit,
        })
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
