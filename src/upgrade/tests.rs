//! Plans, carried out on a model of the clusters.

mod announcing;
mod bench;
mod counting;
mod deadlines;
mod decisions;
mod halts;
mod health;
mod lapse;
mod model;
mod overlay;
mod prepull;
mod properties;
mod quantities;
mod refused;
mod rollback;
mod rules;
mod simulator;
mod takeover;
mod telling;
mod waiting;
