//! One resource and its objects: names, keys, repair, volumes, and what the old operator left.
//!
//! Tests named `fault_…` show that a fault of the old operator is not ours; the numbers are those of the list in
//! `facts/polkadot.md`, section 6, of the project's design.

mod adoption;
mod as_made;
mod changes;
mod keys;
mod kinds;
mod names;
mod random;
mod refusals;
mod volumes;
