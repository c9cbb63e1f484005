//! polkafleet: one daemon that looks after Polkadot nodes on many Kubernetes clusters.

pub mod cluster;
pub mod desired;
pub mod fleet;
pub mod identity;
pub mod observed;
pub mod polkadot;
pub mod reconcile;
pub mod telemetry;
pub mod upgrade;
pub mod version;
