//! The client's command line: which flags there are in which version, and how they are read.
//!
//! The table follows the client's history and its parameters' sources, not what we render: it has to be able to refuse
//! that. It holds what a fleet's node may be given; subcommands and flags for development are not simulated. Errors
//! are those of clap 4, whatever the client was built with, and end the process with 2.

use std::collections::BTreeMap;

use super::start::Crash;
use super::values::Form;
use crate::version::era::Numbers;

/// A flag, the versions that know it, and what it takes.
#[derive(Clone, Copy, Debug)]
struct Flag {
    name: &'static str,
    short: Option<char>,
    /// Other names it is known by.
    alias: Option<&'static str>,
    takes: Takes,
    since: Numbers,
    /// The first version without it.
    until: Option<Numbers>,
    /// Flags that it may not be given with.
    conflicts: &'static [&'static str],
}

/// What follows a flag; the words are the value's name in messages.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Nothing,
    One(&'static str, Form),
    /// One or more, and the flag may be repeated.
    Many(&'static str, Form),
}

impl Flag {
    const fn switch(name: &'static str) -> Self {
        Self {
            name,
            short: None,
            alias: None,
            takes: Takes::Nothing,
            since: (0, 0, 0),
            until: None,
            conflicts: &[],
        }
    }

    const fn one(name: &'static str, value: &'static str, form: Form) -> Self {
        Self { takes: Takes::One(value, form), ..Self::switch(name) }
    }

    const fn many(name: &'static str, value: &'static str, form: Form) -> Self {
        Self { takes: Takes::Many(value, form), ..Self::switch(name) }
    }

    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn since(self, since: Numbers) -> Self {
        Self { since, ..self }
    }

    const fn until(self, until: Numbers) -> Self {
        Self { until: Some(until), ..self }
    }

    const fn conflicts(self, conflicts: &'static [&'static str]) -> Self {
        Self { conflicts, ..self }
    }

    fn is_of(&self, client: Numbers) -> bool {
        client >= self.since && self.until.is_none_or(|until| client < until)
    }

    /// The flag as it stands in messages: `--rpc-port <PORT>`.
    fn usage(&self) -> String {
        match self.takes {
            Takes::Nothing => format!("--{}", self.name),
            Takes::One(value, _) => format!("--{} <{value}>", self.name),
            Takes::Many(value, _) => format!("--{} <{value}>...", self.name),
        }
    }
}

/// The boundaries that several flags share.
const SENTRY_TAKES_VALUE: Numbers = (0, 7, 29);
const SENTRY_REMOVED: Numbers = (0, 8, 29);
const STATE_PRUNING: Numbers = (0, 9, 28);
const WS_REMOVED: Numbers = (0, 9, 43);
/// The first stable line.
const STABLE: Numbers = (1, 15, 0);

const FLAGS: &[Flag] = &[
    Flag::switch("validator"),
    Flag::switch("sentry").until(SENTRY_TAKES_VALUE).conflicts(&["validator"]),
    Flag::many("sentry", "ADDR", Form::Peer)
        .since(SENTRY_TAKES_VALUE)
        .until(SENTRY_REMOVED)
        .conflicts(&["validator"]),
    Flag::many("sentry-nodes", "ADDR", Form::Peer).since(SENTRY_TAKES_VALUE).until(SENTRY_REMOVED),
    Flag::one("name", "NAME", Form::Text),
    Flag::one("chain", "CHAIN_SPEC", Form::Text),
    Flag::one("base-path", "PATH", Form::Text).short('d'),
    Flag::one("keystore-path", "PATH", Form::Text),
    Flag::one("log", "LOG_PATTERN", Form::Text).short('l'),
    // The node's key.
    Flag::one("node-key", "KEY", Form::Text),
    Flag::one("node-key-file", "FILE", Form::Text),
    Flag::one("node-key-type", "TYPE", Form::Words(&["ed25519"])),
    Flag::switch("unsafe-force-node-key-generation").since((1, 11, 0)),
    // Peers.
    Flag::one("port", "PORT", Form::Port).conflicts(&["listen-addr"]),
    Flag::many("listen-addr", "LISTEN_ADDR", Form::Address),
    Flag::many("public-addr", "PUBLIC_ADDR", Form::Address),
    Flag::many("bootnodes", "ADDR", Form::Peer),
    Flag::many("reserved-nodes", "ADDR", Form::Peer),
    Flag::switch("reserved-only"),
    Flag::one("in-peers", "COUNT", Form::Number),
    Flag::one("out-peers", "COUNT", Form::Number),
    Flag::switch("no-mdns"),
    Flag::one("network-backend", "NETWORK_BACKEND", Form::Words(&["libp2p", "litep2p"])).since(STABLE),
    // RPC.
    Flag::one("rpc-port", "PORT", Form::Port),
    Flag::switch("rpc-external"),
    Flag::switch("unsafe-rpc-external"),
    Flag::one("rpc-methods", "METHOD SET", Form::Words(&["auto", "safe", "unsafe"])).since((0, 8, 0)),
    Flag::one("rpc-cors", "ORIGINS", Form::Text),
    Flag::one("rpc-max-connections", "COUNT", Form::Number).since(WS_REMOVED),
    Flag::many("rpc-listen-addrs", "RPC_LISTEN_ADDRS", Form::Text)
        .alias("experimental-rpc-endpoint")
        .since(STABLE)
        .conflicts(&["rpc-external", "unsafe-rpc-external", "rpc-port"]),
    Flag::one("ws-port", "PORT", Form::Port).until(WS_REMOVED),
    Flag::switch("ws-external").until(WS_REMOVED),
    Flag::switch("unsafe-ws-external").until(WS_REMOVED),
    Flag::one("ws-max-connections", "COUNT", Form::Number).until(WS_REMOVED),
    // Metrics and telemetry.
    Flag::one("prometheus-port", "PORT", Form::Port),
    Flag::switch("prometheus-external"),
    Flag::switch("no-prometheus"),
    Flag::many("telemetry-url", "URL VERBOSITY", Form::Text),
    Flag::switch("no-telemetry"),
    // The database.
    Flag::one("pruning", "PRUNING_MODE", Form::Pruning).until(STATE_PRUNING),
    Flag::switch("unsafe-pruning").until(STATE_PRUNING),
    Flag::one("state-pruning", "PRUNING_MODE", Form::Pruning).alias("pruning").since(STATE_PRUNING),
    Flag::one("blocks-pruning", "PRUNING_MODE", Form::Pruning).since(STATE_PRUNING),
    Flag::one("database", "DB", Form::Database),
    Flag::one("db-cache", "MiB", Form::Number),
    Flag::one("sync", "SYNC_MODE", Form::Words(&["full", "fast", "fast-unsafe", "warp"])).since((0, 9, 0)),
    // The machine.
    Flag::switch("no-hardware-benchmarks").since((0, 9, 22)),
    Flag::switch("insecure-validator-i-know-what-i-do").since((1, 5, 0)),
];

/// A command line that the client could read: the values of the flags that were given. It may hold a key, so it has no
/// `Debug`.
#[derive(Default)]
pub(super) struct Flags<'a>(BTreeMap<&'static str, Vec<&'a str>>);

impl<'a> Flags<'a> {
    /// Reads the arguments as a client of this version does.
    pub(super) fn read(args: &'a [String], client: Numbers) -> Result<Self, Crash> {
        let mut flags = Self::default();
        let mut rest = args.iter().map(String::as_str).peekable();
        while let Some(arg) = rest.next() {
            let (flag, inline) = find(arg, client)?;
            let usage = flag.usage();
            if flags.has(flag.name) && !matches!(flag.takes, Takes::Many(..)) {
                return Err(Crash::usage(&format!("the argument '{usage}' cannot be used multiple times")));
            }
            let values = flags.0.entry(flag.name).or_default();
            let mut next = || rest.next_if(|next| !next.starts_with('-'));
            let form = match (flag.takes, inline) {
                (Takes::Nothing, None) => continue,
                (Takes::Nothing, Some(value)) => {
                    return Err(Crash::usage(&format!(
                        "unexpected value '{value}' for '{usage}' found; no more were expected"
                    )));
                }
                (Takes::One(_, form) | Takes::Many(_, form), Some(value)) => {
                    values.push(value);
                    form
                }
                (Takes::One(_, form), None) => {
                    values.extend(next());
                    form
                }
                (Takes::Many(_, form), None) => {
                    values.extend(std::iter::from_fn(next));
                    form
                }
            };
            check(values, &usage, form, client)?;
        }
        flags.check_conflicts(client)?;
        Ok(flags)
    }

    /// Whether the flag was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its value, if it was given.
    pub(super) fn one(&self, name: &str) -> Option<&'a str> {
        self.all(name).first().copied()
    }

    /// Its value as a port, if it was given.
    pub(super) fn port(&self, name: &str) -> Option<u16> {
        self.one(name)?.parse().ok()
    }

    /// All its values.
    pub(super) fn all(&self, name: &str) -> &[&'a str] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn check_conflicts(&self, client: Numbers) -> Result<(), Crash> {
        let given = |name: &str| {
            self.has(name)
                .then(|| FLAGS.iter().find(|flag| flag.name == name && flag.is_of(client)))
                .flatten()
        };
        for flag in self.0.keys().filter_map(|name| given(name)) {
            if let Some(other) = flag.conflicts.iter().find_map(|name| given(name)) {
                return Err(Crash::usage(&format!(
                    "the argument '{}' cannot be used with '{}'",
                    flag.usage(),
                    other.usage()
                )));
            }
        }
        Ok(())
    }
}

/// The flag that an argument names, and the value that is in the same argument.
fn find(arg: &str, client: Numbers) -> Result<(&'static Flag, Option<&str>), Crash> {
    let mut known = FLAGS.iter().filter(|flag| flag.is_of(client));
    if let Some(long) = arg.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        known
            .find(|flag| flag.name == name || flag.alias == Some(name))
            .map(|flag| (flag, value))
            .ok_or_else(|| Crash::usage(&format!("unexpected argument '--{name}' found")))
    } else if let Some(letter) = arg.strip_prefix('-').and_then(|short| short.chars().next()) {
        let value = &arg[1 + letter.len_utf8()..];
        known
            .find(|flag| flag.short == Some(letter))
            .map(|flag| (flag, (!value.is_empty()).then(|| value.strip_prefix('=').unwrap_or(value))))
            .ok_or_else(|| Crash::usage(&format!("unexpected argument '-{letter}' found")))
    } else {
        Err(Crash::usage(&format!("unrecognized subcommand '{arg}'")))
    }
}

fn check(values: &[&str], usage: &str, form: Form, client: Numbers) -> Result<(), Crash> {
    if values.is_empty() {
        return Err(Crash::usage(&format!("a value is required for '{usage}' but none was supplied")));
    }
    for value in values {
        form.check(value, client)
            .map_err(|why| Crash::usage(&format!("invalid value '{value}' for '{usage}': {why}")))?;
    }
    Ok(())
}
