//! The fleet file: what the command line makes of it, and what an edit of it does to a running daemon.

mod file;
mod reload;
