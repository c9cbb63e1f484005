//! The integration suites, one module each. They run on real control planes (scripts/control-plane).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod main_job;
mod support;
