//! Where the schedules find the types of this crate.

pub use crate::fleet::{Expedite, Upgrade};
pub use crate::observed::Tried;
pub use crate::polkadot::Kind;
