//! The fleet at run time: its file, its workers, and the daemons that take turns.

mod takeover;
