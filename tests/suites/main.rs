//! The integration suites, one module each. Their bodies run in two worlds: on real control planes (scripts/control-plane)
//! and in the sandbox, in modules of these names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod api_conformance;
mod bench;
mod chain_gates_upgrade;
mod fleet;
mod main_job;
mod resource;
mod sandbox_faults;
mod support;
mod upgrade;
