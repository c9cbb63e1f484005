//! How a Polkadot client is started: its command, arguments and probes, by the era of its version.
//!
//! What the eras differ in is one row each of [`FORMS`]; what changed within an era is asked of [`era`]. Which wishes of
//! a resource a version cannot fulfil is said in [`refusals`], before anything is rendered.

pub mod refusals;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::polkadot::Role;
use crate::version::ClientVersion;
use crate::version::era::{self, Era};

use super::Basis;

/// Where the container finds its own node key, and nobody else's.
pub const KEY_FILE: &str = "/keys/node-key";
/// Where the client keeps its chain and keystore; a volume of the official images of every age.
pub const DATA_PATH: &str = "/data";

/// How `--sentry` is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SentryFlag {
    /// A switch.
    Switch,
    /// It takes the validator's address, and a validator takes its sentries' in `--sentry-nodes`.
    Value,
    /// Not at all: a sentry is a full node like any other.
    None,
}

/// What an era's command lines have in common, as far as it differs from other eras.
struct Form {
    era: Era,
    /// The image has no entry point, so that its command has to be repeated.
    needs_command: bool,
    /// Whether HTTP and WebSocket RPC have a port each.
    has_ws: bool,
    sentry: SentryFlag,
    /// How a host's name stands in a multiaddress.
    host: &'static str,
}

const FORMS: [Form; 4] = [
    Form { era: Era::Legacy, needs_command: true, has_ws: true, sentry: SentryFlag::Switch, host: "dns4" },
    Form {
        era: Era::SentryValue,
        needs_command: true,
        has_ws: true,
        sentry: SentryFlag::Value,
        host: "dns4",
    },
    Form { era: Era::SplitRpc, needs_command: false, has_ws: true, sentry: SentryFlag::None, host: "dns" },
    MERGED,
];

const MERGED: Form =
    Form { era: Era::MergedRpc, needs_command: false, has_ws: false, sentry: SentryFlag::None, host: "dns" };

impl Form {
    fn of(version: &ClientVersion) -> &'static Self {
        let era = era::assumed(version);
        FORMS.iter().find(|form| form.era == era).unwrap_or(&MERGED)
    }
}

/// The container's command, where the image's own entry point is none.
#[must_use]
pub fn command(version: &ClientVersion) -> Option<[&'static str; 1]> {
    Form::of(version).needs_command.then_some(["polkadot"])
}

/// The name of the container's port that answers RPC over HTTP.
#[must_use]
pub fn http_rpc(version: &ClientVersion) -> &'static str {
    // Since the two were merged, one port answers both and keeps the name of the one whose number it has.
    if Form::of(version).has_ws { "http-rpc" } else { "websocket-rpc" }
}

/// The client's command line, after the command. It never holds a key.
#[must_use]
pub fn arguments(basis: &Basis<'_>, role: Role) -> Vec<String> {
    let form = Form::of(&basis.version);
    let part = match role {
        Role::Validator => vec!["--validator".into()],
        Role::Sentry => sentry(basis, form),
    };
    [
        place(basis, form),
        names(basis, role),
        part,
        peers(basis, role, form),
        database(basis, role),
        wishes(basis, role),
    ]
    .concat()
}

/// Where the node keeps its data and its key, and where it listens.
fn place(basis: &Basis<'_>, form: &Form) -> Vec<String> {
    let ports = basis.settings.ports;
    let mut arguments = vec![format!("--base-path={DATA_PATH}"), format!("--node-key-file={KEY_FILE}")];
    if form.era < Era::SplitRpc {
        arguments.push(format!("--port={}", ports.p2p));
    } else {
        // Without it a node that is not a validator listens for WebSocket peers only.
        arguments.push(format!("--listen-addr=/ip4/0.0.0.0/tcp/{}", ports.p2p));
        arguments.push(format!("--listen-addr=/ip6/::/tcp/{}", ports.p2p));
    }
    if form.has_ws {
        arguments.extend([format!("--rpc-port={}", ports.rpc), format!("--ws-port={}", ports.ws)]);
    } else {
        arguments.push(format!("--rpc-port={}", ports.ws));
    }
    // A validator's RPC stays on its own loopback, in every era: whoever may exec into the pod may rotate its keys.
    // So the metrics, which tell nothing that the chain does not, are how others see that it lives.
    arguments.push("--prometheus-external".into());
    arguments.push(format!("--prometheus-port={}", ports.metrics));
    arguments
}

fn names(basis: &Basis<'_>, role: Role) -> Vec<String> {
    let name = basis.polkadot.node(role).and_then(|node| node.client_name.as_ref());
    let chain = basis.polkadot.spec.chain.as_ref();
    name.map(|name| format!("--name={name}"))
        .into_iter()
        .chain(chain.map(|chain| format!("--chain={chain}")))
        .collect()
}

/// A sentry serves RPC to whoever reaches its Service: the safe methods, where the client can tell them apart.
fn sentry(basis: &Basis<'_>, form: &Form) -> Vec<String> {
    let mut arguments = vec!["--rpc-external"];
    if form.has_ws {
        arguments.push("--ws-external");
    }
    if era::modern_peer_ids(&basis.version) {
        arguments.push("--rpc-methods=safe");
    }
    arguments.push("--rpc-cors=all");
    if form.sentry == SentryFlag::Switch {
        arguments.push("--sentry");
    }
    arguments.into_iter().map(String::from).collect()
}

/// The peers of the other role, which a node always tries to stay connected to.
fn peers(basis: &Basis<'_>, role: Role, form: &Form) -> Vec<String> {
    let (polkadot, names) = (basis.polkadot, basis.names());
    let secure = polkadot.spec.secure_communication_support.enabled;
    let (other, ordinals) = match role {
        Role::Sentry => (Role::Validator, 0..polkadot.replicas(Role::Validator)),
        // Behind a policy a validator sees only its reserved peers, so all sentries must be among them. Without one
        // the first is enough, and scaling the sentries does not touch the validator's command line.
        Role::Validator if secure => (Role::Sentry, 0..polkadot.replicas(Role::Sentry)),
        Role::Validator => (Role::Sentry, 0..polkadot.replicas(Role::Sentry).min(1)),
    };
    let addresses: Vec<_> = ordinals
        .filter_map(|ordinal| {
            let key = basis.keys.get(&(other, ordinal))?;
            let modern = era::modern_peer_ids(&basis.version);
            let peer = if modern { key.peer_id() } else { key.legacy_peer_id() };
            let host = format!("{}.{}", names.pod(other, ordinal), names.headless_service());
            Some(format!("/{}/{host}/tcp/{}/p2p/{peer}", form.host, basis.settings.ports.p2p))
        })
        .collect();
    let flag = if role == Role::Sentry { "sentry" } else { "sentry-nodes" };
    let flags = (form.sentry == SentryFlag::Value).then_some(flag).into_iter().chain(["reserved-nodes"]);
    let mut arguments: Vec<_> =
        flags.flat_map(|flag| addresses.iter().map(move |address| format!("--{flag}={address}"))).collect();
    if role == Role::Validator && secure && !addresses.is_empty() {
        arguments.push("--reserved-only".into());
    }
    arguments
}

/// How the database is made; a client refuses one that was made otherwise.
fn database(basis: &Basis<'_>, role: Role) -> Vec<String> {
    let Some(node) = basis.polkadot.node(role) else { return vec![] };
    let mut arguments = vec![];
    if let Some(pruning) = &node.pruning {
        if era::has_state_pruning(&basis.version) {
            arguments.push(format!("--state-pruning={pruning}"));
        } else {
            arguments.push(format!("--pruning={pruning}"));
            if pruning != "archive" {
                // Validators, and sentries while these called themselves authorities, do not prune without it.
                arguments.push("--unsafe-pruning".into());
            }
        }
    }
    arguments.extend(node.database.as_ref().map(|database| format!("--database={database}")));
    arguments
}

/// What a person asks for beyond that.
fn wishes(basis: &Basis<'_>, role: Role) -> Vec<String> {
    let Some(node) = basis.polkadot.node(role) else { return vec![] };
    let validator = basis.polkadot.spec.validator.as_ref();
    let insecure = role == Role::Validator && validator.is_some_and(|one| one.insecure_validator);
    node.public_addr
        .iter()
        .map(|address| format!("--public-addr={address}"))
        .chain(insecure.then(|| "--insecure-validator-i-know-what-i-do".into()))
        .chain(node.extra_args.iter().cloned())
        .collect()
}

/// Startup, liveness and readiness.
///
/// A start may migrate a database for an hour; liveness does not ask for sync, or a syncing node would be killed.
/// A validator's RPC is on its loopback, so its metrics port answers instead.
#[must_use]
pub fn probes(version: &ClientVersion, role: Role) -> Value {
    let get = |path: &str, port: &str| json!({"path": path, "port": port, "scheme": "HTTP"});
    let rpc = http_rpc(version);
    let alive = match role {
        Role::Sentry => get("/health", rpc),
        Role::Validator => get("/metrics", "http-metrics"),
    };
    let ready = match role {
        Role::Sentry if era::has_readiness(version) => get("/health/readiness", rpc),
        // Before 1.14 nothing answers otherwise while a node syncs.
        _ => alive.clone(),
    };
    json!({
        "startupProbe": {"httpGet": alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 360},
        "livenessProbe": {"httpGet": alive, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 10},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    })
}
