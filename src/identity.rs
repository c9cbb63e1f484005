//! Node keys and the peer IDs that follow from them.
//!
//! A key never shows in `Debug`, so that it cannot reach a log, a span or an error by accident.

use std::fmt;

use libp2p_identity::{Keypair, PeerId};

/// The 32-byte ed25519 seed that is a Polkadot node's identity on the network.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKey([u8; 32]);

/// A node key that is not 64 hex digits. It does not carry the text: that may be most of a real key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a node key is 64 hex digits")]
pub struct InvalidNodeKey;

impl NodeKey {
    /// Reads the 64 hex digits that the client's `--node-key` and key files use.
    pub fn from_hex(text: &str) -> Result<Self, InvalidNodeKey> {
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| InvalidNodeKey)?;
        Ok(Self(seed))
    }

    /// Reads the content of a key file as the client does: 32 bytes, or 64 hex digits.
    pub fn from_file(content: &[u8]) -> Result<Self, InvalidNodeKey> {
        if let Ok(seed) = content.try_into() {
            return Ok(Self(seed));
        }
        Self::from_hex(std::str::from_utf8(content).map_err(|_| InvalidNodeKey)?)
    }

    /// A key from 32 random bytes; the randomness is the caller's, at the edge.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The 32 bytes, for the Secret that the node reads it from and for nothing else. Clients of every age read them;
    /// hex digits in a key file only since September 2020 (paritytech/substrate#7052).
    #[must_use]
    pub fn to_file(&self) -> [u8; 32] {
        self.0
    }

    /// The 64 hex digits, for tests and simulated clients.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The peer ID in today's encoding (`12D3KooW…`, clients from 0.8.0 on), base58 of an identity multihash.
    #[must_use]
    pub fn peer_id(&self) -> String {
        // A seed of the right length always makes an ed25519 key; the type says so, the function's error does not.
        Keypair::ed25519_from_bytes(self.0)
            .map(|pair| PeerId::from(pair.public()).to_base58())
            .unwrap_or_default()
    }

    /// The peer ID in the encoding of clients before 0.8.0 (`Qm…`): base58 of the SHA-256 multihash of the
    /// public key's protobuf encoding.
    #[must_use]
    pub fn legacy_peer_id(&self) -> String {
        use sha2::Digest as _;
        let Ok(pair) = Keypair::ed25519_from_bytes(self.0) else { return String::new() };
        let digest = sha2::Sha256::digest(pair.public().encode_protobuf());
        let multihash: Vec<u8> = [0x12, 0x20].into_iter().chain(digest).collect();
        bs58::encode(multihash).into_string()
    }
}

/// Hex digits in a row from which on a text may hold a key, or most of one.
const KEY_LIKE: usize = 32;

/// `text` with everything that may be a key taken out. Others' words (an API server's, a person's) may repeat what they
/// were given, and go to logs, conditions and events.
#[must_use]
pub fn masked(text: &str) -> String {
    let is_hex = |one: &char| one.is_ascii_hexdigit();
    let mut shown = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.chars().take_while(is_hex).count();
        let others = rest[digits..].chars().take_while(|one| !is_hex(one)).map(char::len_utf8).sum::<usize>();
        shown.push_str(if digits < KEY_LIKE { &rest[..digits] } else { "(kept secret)" });
        shown.push_str(&rest[digits..digits + others]);
        rest = &rest[digits + others..];
    }
    shown
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(kept secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_readmes_keys_have_the_peer_ids_it_says_in_both_encodings() {
        for (last, legacy, modern) in [
            (
                "13",
                "QmQMTLWkNwGf7P5MQv7kUHCynMg7jje6h3vbvwd2ALPPhm",
                "12D3KooWQMkbZgBmjXpCFAXUoH6MfByoEnMaeNfdGrQ2o3fTRUwE",
            ),
            (
                "21",
                "QmQtR1cdEaJM11qBWQBd34FoSgFichCjhtsBfrUFsVAjZM",
                "12D3KooWSfmVyKY41y4EEirCrYE8HXM1DUhzRJxLPvobz76KRwLs",
            ),
        ] {
            let key = NodeKey::from_hex(&format!("{}{last}", "0".repeat(62))).unwrap();
            assert_eq!(key.legacy_peer_id(), legacy);
            assert_eq!(key.peer_id(), modern);
        }
    }

    #[test]
    fn a_key_file_holds_bytes_or_digits() {
        let key = NodeKey::from_seed([7; 32]);
        assert_eq!(NodeKey::from_file(&key.to_file()), Ok(key.clone()));
        assert_eq!(NodeKey::from_file(format!("{}\n", key.to_hex()).as_bytes()), Ok(key));
        for wrong in [&[7; 31][..], b"", &[0xff; 64]] {
            assert_eq!(NodeKey::from_file(wrong), Err(InvalidNodeKey));
        }
    }

    #[test]
    fn what_may_be_a_key_is_taken_out_of_others_words() {
        let key = NodeKey::from_seed([0xab; 32]).to_hex();
        let said = format!(
            "spec.validator.nodeKey: Invalid value: \"0x{key}\": should match '^[0-9a-f]{{64}}$' – ü"
        );
        let shown = masked(&said);
        assert!(!shown.contains("abab"), "{shown}");
        assert_eq!(shown, said.replace(&key, "(kept secret)"));
        assert_eq!(masked(&key[..63]), "(kept secret)", "most of a key is as good as one");
        let uid = "uid 7b0b0c5e-9d5e-4c6b-8d62-0123456789ab, template 0123456789abcdef";
        assert_eq!(masked(uid), uid);
        assert_eq!(masked(""), "");
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = NodeKey::from_seed([7; 32]);
        assert!(!format!("{key:?}").contains(&key.to_hex()));
        assert_eq!(NodeKey::from_hex("0102"), Err(InvalidNodeKey));
    }
}
