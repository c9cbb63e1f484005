//! Whether a node is healthy: what it says on its metrics port, and what follows from that.
//!
//! [`metrics`] reads a page of metrics into a [`crate::observed::Sample`], [`mod@verdict`] judges a window of samples; both
//! are pure. [`probe`] asks a node, through the API server of its cluster. Who is asked how often is decided by the
//! cluster's worker; what a verdict means for an upgrade, by the planner.

pub mod metrics;
pub mod probe;
pub mod verdict;

pub use self::verdict::{Expected, Verdict, verdict};
