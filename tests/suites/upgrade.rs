//! Upgrades: their rules, what holds them up, and the commands by which people look at them and decide. What the chain itself
//! does to them is in `chain_gates_upgrade`.

mod clocks;
pub(crate) mod commands;
mod failures;
mod history;
mod invariants;
mod kills;
mod limits;
mod looks;
mod members;
mod outputs;
mod prepull;
mod rehearse;
mod sandbox_command;
mod simulation;
pub(crate) mod written;
