//! Upgrades: their rules, and the commands by which people look at them and decide.

mod commands;
