//! Upgrades and what holds them up.

mod health;
