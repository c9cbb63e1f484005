//! The fleet at run time: its file and the edits of it, its workers, and the daemons that take turns.

mod file;
mod leases;
mod plugins;
mod probes;
mod proxies;
mod real_servers;
mod records;
mod reload;
mod sessions;
mod start;
mod takeover;
mod workers;
