//! polkafleet: one daemon that looks after Polkadot nodes on many Kubernetes clusters.

pub mod desired;
pub mod fleet;
pub mod identity;
pub mod observed;
pub mod polkadot;
pub mod version;
