//! Where the schedules find polkafleet's types.

pub use polkafleet::fleet::{Expedite, Upgrade};
pub use polkafleet::observed::Tried;
pub use polkafleet::polkadot::Kind;
