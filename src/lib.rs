//! polkafleet: one daemon that looks after Polkadot nodes on many Kubernetes clusters.

pub mod fleet;
