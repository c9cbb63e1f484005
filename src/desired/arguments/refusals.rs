//! What a resource asks of a client that this version cannot do, or that polkafleet does itself: in words.
//!
//! That a value has the right form at all is the schema's business ([`crate::polkadot::validate`]).

use crate::polkadot::{Names, Node, Polkadot, Role};
use crate::version::ClientVersion;
use crate::version::era::{self, Era};

/// Where a flag that is ours is set instead.
#[derive(Clone, Copy)]
enum Instead {
    /// A field beside `extraArgs`.
    Field(&'static str),
    /// A field elsewhere.
    Elsewhere(&'static str),
    /// Nowhere, because of this.
    Never(&'static str),
}

use Instead::{Elsewhere, Field, Never};

const KEYS: Instead = Elsewhere("nodeKeySecretRef, which keeps the key off the command line");
const PORTS: Instead = Elsewhere("ports in the fleet file");
const ROLE: Instead = Elsewhere("spec.kind");
const RPC: Instead = Never(
    "who reaches a node's RPC, and which methods, is decided by its role; a validator's is never reachable",
);
const DATA: Instead = Never("chain, keystore and node key are where the volume is");

/// Flags that polkafleet sets or leaves out on purpose. Those that may be given several times (`--reserved-nodes`,
/// `--bootnodes`) are not among them: more of them do no harm.
const OURS: [(&str, Instead); 45] = [
    ("base-path", DATA),
    ("tmp", DATA),
    ("keystore-path", DATA),
    ("keystore-uri", DATA),
    ("node-key", KEYS),
    ("node-key-file", KEYS),
    ("node-key-type", KEYS),
    ("unsafe-force-node-key-generation", KEYS),
    ("password", Never("whoever sees the process or the pod would read it; use --password-filename")),
    ("port", PORTS),
    ("listen-addr", PORTS),
    ("rpc-port", PORTS),
    ("ws-port", PORTS),
    ("prometheus-port", PORTS),
    ("prometheus-external", Never("it is always on")),
    ("no-prometheus", Never("a node's health is read from its metrics")),
    ("rpc-external", RPC),
    ("unsafe-rpc-external", RPC),
    ("ws-external", RPC),
    ("unsafe-ws-external", RPC),
    ("rpc-methods", RPC),
    ("unsafe-rpc-expose", RPC),
    ("rpc-cors", RPC),
    ("rpc-listen-addrs", RPC),
    ("experimental-rpc-endpoint", RPC),
    ("name", Field("clientName")),
    ("chain", Elsewhere("spec.chain")),
    ("dev", Elsewhere("spec.chain")),
    ("validator", ROLE),
    ("sentry", ROLE),
    ("sentry-nodes", ROLE),
    ("light", ROLE),
    ("alice", ROLE),
    ("bob", ROLE),
    ("charlie", ROLE),
    ("dave", ROLE),
    ("eve", ROLE),
    ("ferdie", ROLE),
    ("one", ROLE),
    ("two", ROLE),
    ("reserved-only", Elsewhere("spec.secureCommunicationSupport")),
    ("insecure-validator-i-know-what-i-do", Elsewhere("spec.validator.insecureValidator")),
    ("public-addr", Field("publicAddr")),
    ("database", Field("database")),
    // The client's alias of it.
    ("db", Field("database")),
];

/// Flags of which more than one name stands for the same.
const PRUNING: [&str; 3] = ["pruning", "state-pruning", "unsafe-pruning"];

/// Subcommands of clients of any age. Behind a flag that takes no value one of these would run instead of a node, and
/// `purge-chain` would delete its database.
const SUBCOMMANDS: [&str; 20] = [
    "benchmark",
    "build-spec",
    "chain-info",
    "check-block",
    "execute-worker",
    "export-blocks",
    "export-genesis-state",
    "export-state",
    "help",
    "host-perf-check",
    "import-blocks",
    "inspect",
    "key",
    "prepare-worker",
    "purge-chain",
    "revert",
    "sign",
    "try-runtime",
    "validation-worker",
    "vanity",
];

/// Everything that cannot be rendered for `version`.
pub(in crate::desired) fn refusals(polkadot: &Polkadot, version: &ClientVersion) -> Vec<String> {
    if era::is_too_old(version) {
        return vec![format!(
            "spec.clientVersion: {version} is older than v0.7, the oldest client whose command line polkafleet knows; set \
             v0.7.0 or later"
        )];
    }
    let mut words = vec![];
    for role in Role::ALL.into_iter().filter(|role| polkadot.spec.kind.has(*role)) {
        let Some(node) = polkadot.node(role) else { continue };
        let at = format!("spec.{role}");
        words.extend(client_name(polkadot, role, node, version));
        words.extend(pruning(node, version).map(|why| format!("{at}.pruning: {why}")));
        words.extend(database(node, version).map(|why| format!("{at}.database: {why}")));
        words.extend(arguments(&node.extra_args, version).map(|why| format!("{at}.extraArgs: {why}")));
    }
    let validator = polkadot.spec.validator.as_ref().filter(|_| polkadot.replicas(Role::Validator) > 0);
    if validator.is_some_and(|validator| validator.insecure_validator) && !era::secure_mode(version) {
        words.push(format!(
            "spec.validator.insecureValidator: {version} does not know the flag; it isolates no workers before v1.5.0 \
             anyhow, so leave it out"
        ));
    }
    words
}

/// The client counts the characters after Kubernetes has put in the pod's name.
fn client_name(polkadot: &Polkadot, role: Role, node: &Node, version: &ClientVersion) -> Option<String> {
    let last = Names::of(polkadot).pod(role, (polkadot.replicas(role) - 1).max(0));
    let length = node.client_name.as_ref()?.replace("$(POD_NAME)", &last).chars().count();
    let longest = era::longest_name(version);
    (length > longest).then(|| {
        format!("spec.{role}.clientName: has {length} characters, and {version} takes {longest}; shorten it")
    })
}

fn pruning(node: &Node, version: &ClientVersion) -> Option<String> {
    let unknown = node.pruning.as_deref() == Some("archive-canonical") && !era::has_state_pruning(version);
    unknown.then(|| {
        format!(
            "{version} does not know archive-canonical, which came with v0.9.28; write archive or a number"
        )
    })
}

fn database(node: &Node, version: &ClientVersion) -> Option<String> {
    let given = node.database.as_deref()?;
    let known: Vec<_> = era::databases(version).collect();
    (!known.contains(&given))
        .then(|| format!("{version} does not know {given}; write {}", known.join(" or ")))
}

/// What is wrong with more arguments.
fn arguments<'a>(extra: &'a [String], version: &'a ClientVersion) -> impl Iterator<Item = String> + 'a {
    let mut takes_value = false;
    extra.iter().filter_map(move |item| {
        let Some(flag) = flag(item) else {
            // What takes a value and what does not is the client's own knowledge.
            let subcommand = SUBCOMMANDS.iter().find(|known| *known == item);
            let why = (!takes_value || subcommand.is_some()).then(|| {
                // What is not known may be a key.
                let what = subcommand.map_or_else(|| "an item", |known| *known);
                format!("{what} is neither an argument that begins with -- nor the value of one; a subcommand does not run \
                         a node")
            });
            return why;
        };
        takes_value = !item.contains('=');
        clash(flag).or_else(|| in_one(item)).or_else(|| gone(flag, version))
    })
}

/// A flag and its value in one item, without the `=` that would keep them apart.
fn in_one(item: &str) -> Option<String> {
    let spaced = item.split('=').next().is_some_and(|before| before.contains(char::is_whitespace));
    spaced.then(|| {
        let name = crate::identity::masked(name(item));
        format!(
            "{name} and what follows it are one argument with a space in it; write --name=value, or two items"
        )
    })
}

/// What stands before a value: that one is nobody's business, it may be a key.
fn name(item: &str) -> &str {
    item.split(|one: char| one == '=' || one.is_whitespace()).next().unwrap_or_default()
}

/// The long name of the flag that an argument gives; `None` for a value.
fn flag(item: &str) -> Option<&str> {
    if let Some(long) = item.strip_prefix("--") {
        return Some(name(long));
    }
    // `-d/data`, `-d=/data` and `-d /data` are the same to the client.
    let short = item.strip_prefix('-').filter(|short| !short.is_empty())?;
    Some(if short.starts_with('d') { "base-path" } else { short })
}

fn clash(flag: &str) -> Option<String> {
    let pruning = PRUNING.contains(&flag).then_some(("", Field("pruning")));
    let (_, instead) = OURS.into_iter().find(|(ours, _)| *ours == flag).or(pruning)?;
    Some(match instead {
        Field(name) => format!("--{flag} is set by polkafleet; set {name} beside it instead"),
        Elsewhere(place) => format!("--{flag} is set by polkafleet; use {place} instead"),
        Never(why) => format!("--{flag} cannot be given: {why}; remove it"),
    })
}

/// The one thing that every client's arguments stumble over in an upgrade.
fn gone(flag: &str, version: &ClientVersion) -> Option<String> {
    (flag.starts_with("ws-") && era::assumed(version) == Era::MergedRpc).then(|| {
        format!("--{flag} is gone since v0.9.43, where WebSocket and HTTP have one port; remove it, or use its --rpc- \
                 sibling")
    })
}
