//! What the value of a flag has to look like, and the client's words where it does not.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::version::era::Numbers;

/// The form of a flag's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Anything.
    Text,
    /// A TCP port.
    Port,
    /// A count.
    Number,
    /// `/ip4/0.0.0.0/tcp/30333`.
    Address,
    /// The address of a peer: it ends with `/p2p/` and the peer's ID.
    Peer,
    /// One of these words, in any case.
    Words(&'static [&'static str]),
    /// How many blocks to keep.
    Pruning,
    /// The name of a database.
    Database,
}

impl Form {
    /// Whether a client of this version reads the value; else why not.
    pub(super) fn check(self, value: &str, client: Numbers) -> Result<(), String> {
        match self {
            Self::Text => Ok(()),
            Self::Port => value.parse::<u16>().map(drop).map_err(|error| error.to_string()),
            Self::Number => value.parse::<u32>().map(drop).map_err(|error| error.to_string()),
            Self::Address if is_address(value) => Ok(()),
            Self::Address => Err("invalid multiaddress".into()),
            Self::Peer => check_peer(value, client),
            Self::Words(words) => one_of(words, value),
            Self::Pruning => check_pruning(value, client),
            Self::Database => one_of(databases(client), value),
        }
    }
}

fn one_of(words: &[&str], value: &str) -> Result<(), String> {
    if words.iter().any(|word| word.eq_ignore_ascii_case(value)) {
        Ok(())
    } else {
        Err(format!("possible values: {}", words.join(", ")))
    }
}

/// The state of all blocks, of a number of blocks, and from 0.9.28 on of the finalised ones.
fn check_pruning(value: &str, client: Numbers) -> Result<(), String> {
    let word = value == "archive" || value == "archive-canonical" && client >= (0, 9, 28);
    if word || value.parse::<u32>().is_ok() { Ok(()) } else { Err("Invalid pruning mode specified".into()) }
}

/// `ParityDB` was an experiment until 0.9.18; its old name is still read.
fn databases(client: Numbers) -> &'static [&'static str] {
    if client < (0, 7, 29) {
        &["rocksdb"]
    } else if client < (0, 9, 18) {
        &["rocksdb", "paritydb-experimental"]
    } else {
        &["auto", "rocksdb", "paritydb", "paritydb-experimental"]
    }
}

fn check_peer(value: &str, client: Numbers) -> Result<(), String> {
    let (address, id) = value
        .rsplit_once("/p2p/")
        .or_else(|| value.rsplit_once("/ipfs/"))
        .ok_or("Peer id is missing from the address")?;
    if !is_address(address) {
        return Err("invalid multiaddress".into());
    }
    // Before 0.8.0 the hash of the public key (`Qm…`), from then on the key itself (`12D3KooW…`), in protobuf.
    let (prefix, length): (&[u8], _) =
        if client < (0, 8, 0) { (&[0x12, 0x20], 34) } else { (&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], 38) };
    match bs58::decode(id).into_vec() {
        Ok(bytes) if bytes.len() == length && bytes.starts_with(prefix) => Ok(()),
        _ => Err("Peer id at the end of the address is invalid".into()),
    }
}

/// Whether the text is a multiaddress made of the protocols that a relay chain's node is reached by.
fn is_address(text: &str) -> bool {
    let Some(text) = text.strip_prefix('/') else { return false };
    let mut parts = text.split('/');
    while let Some(protocol) = parts.next() {
        let mut value = |check: fn(&str) -> bool| parts.next().is_some_and(check);
        let valid = match protocol {
            "ip4" => value(|value| value.parse::<Ipv4Addr>().is_ok()),
            "ip6" => value(|value| value.parse::<Ipv6Addr>().is_ok()),
            "dns" | "dns4" | "dns6" | "dnsaddr" => value(|value| !value.is_empty()),
            "tcp" | "udp" => value(|value| value.parse::<u16>().is_ok()),
            "ws" | "wss" | "quic-v1" | "webrtc-direct" => true,
            _ => false,
        };
        if !valid {
            return false;
        }
    }
    true
}

/// Checks a node's name as the client does when it starts.
pub(super) fn check_name(name: &str, client: Numbers) -> Result<(), &'static str> {
    // The client's own limit is one more: it refuses a name that reaches it.
    let longest = if client < (0, 9, 43) { 31 } else { 63 };
    if name.is_empty() {
        Err("Node name cannot be empty")
    } else if name.chars().count() > longest {
        Err("Node name too long")
    } else if name.contains(['.', '@', '\\']) {
        Err("Node name should not contain invalid chars such as '.' and '@'")
    } else if name.starts_with("http:") || name.starts_with("https:") {
        Err("Node name should not contain urls")
    } else {
        Ok(())
    }
}
