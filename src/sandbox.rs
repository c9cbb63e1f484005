//! The sandbox: a simulated fleet in one process, for people without a cluster and for the fast half of every test.
//!
//! Each simulated cluster is an embedded API server that speaks the real protocol for the kinds the product uses, with
//! a StatefulSet controller, kubelets and chain nodes played behind it. No container runs and no chain is joined; it
//! says so wherever it is seen. Nothing but the command line and the tests may import it.

pub mod api;
pub mod builtin;
pub mod cause;
pub mod chain;
pub mod cluster;
pub mod connect;
pub mod controllers;
pub mod faults;
pub mod fields;
pub mod fleet;
mod gc;
pub mod http;
pub mod kinds;
pub mod managed;
mod play;
pub mod runtime;
pub mod shape;
pub mod store;
pub mod structural;
pub mod workloads;
