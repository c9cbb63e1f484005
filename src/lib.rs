//! polkafleet: one daemon that looks after Polkadot nodes on many Kubernetes clusters.
//!
//! ```text
//!  fleet.yaml ──▶ Fleet ──┬──────────────────────────┐
//!                         ▼                          ▼
//!                 cluster::Registry            upgrade::execute
//!                 one worker each              plan(Fleet, Board, now)
//!                         │                          │ a step or a grant, written
//!                         ▼                          ▼ on the resource in its cluster
//!                 reconcile: observe ◀── watch ── Polkadot resources
//!                 decide, apply, report
//!                         │
//!                         └──▶ Board ──▶ the planner
//! ```
//!
//! Data goes round one ring with two meeting points: the Polkadot resource in its cluster (durable) and the Board (in
//! memory). Workers never call the planner and the planner never calls a worker.
//!
//! | layer | modules | may import |
//! |---|---|---|
//! | words: data, no I/O (but [`clock`], which waits) | [`version`], [`identity`], [`polkadot`], [`fleet`], [`observed`] | words |
//! | decisions: pure | [`desired`], [`health`] (but `probe`), [`upgrade`] (but `execute`) | words, decisions |
//! | loops: a decision meets I/O | [`reconcile`], [`leader`], [`cluster`], [`home`], `upgrade::execute` | all above, [`telemetry`] |
//! | edges and root | [`telemetry`], [`daemon`], [`cli`] | all above |
//! | simulation | [`sandbox`]: imported by `cli` and the tests only | words |

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod daemon;
pub mod desired;
pub mod fleet;
pub mod health;
pub mod home;
pub mod identity;
pub mod leader;
pub mod observed;
pub mod polkadot;
pub mod reconcile;
pub mod sandbox;
pub mod telemetry;
pub mod upgrade;
pub mod version;
