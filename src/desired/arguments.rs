//! How a Polkadot client is started: its arguments and probes, for clients from 0.9.43 on.
//!
//! Facts: one RPC port for HTTP and WebSocket from 0.9.43; no `--sentry` from 0.8.29; a validator from 1.11 on does
//! not start without a node key; `/health/readiness` from 1.14. Older clients are refused here, in words.

use serde_json::{Value, json};

use crate::polkadot::Role;
use crate::version::ClientVersion;
use crate::version::era::{self, Era};

use super::Basis;

/// Where the container finds its own node key, and nobody else's.
pub const KEY_FILE: &str = "/keys/node-key";
/// Where the client keeps its chain and keystore; a volume of the official images of every age.
pub const DATA_PATH: &str = "/data";

/// Refuses clients whose arguments we do not know.
pub fn support(version: &str) -> Result<(), String> {
    match era::era(&ClientVersion::parse(version)) {
        Some(era) if era < Era::MergedRpc => Err(format!(
            "spec.clientVersion {version} is older than v0.9.43, whose arguments this release does not know; \
             use v0.9.43 or later"
        )),
        _ => Ok(()),
    }
}

/// The client's command line, after the image's entry point. It never holds a key.
#[must_use]
pub fn arguments(basis: &Basis<'_>, role: Role) -> Vec<String> {
    let ports = basis.settings.ports;
    let mut arguments = vec![
        format!("--base-path={DATA_PATH}"),
        format!("--node-key-file={KEY_FILE}"),
        // Without it a node that is not a validator listens for WebSocket peers only.
        format!("--listen-addr=/ip4/0.0.0.0/tcp/{}", ports.p2p),
        format!("--listen-addr=/ip6/::/tcp/{}", ports.p2p),
        format!("--rpc-port={}", ports.ws),
        "--prometheus-external".into(),
        format!("--prometheus-port={}", ports.metrics),
    ];
    if let Some(name) = basis.polkadot.node(role).and_then(|node| node.client_name.as_ref()) {
        arguments.push(format!("--name={name}"));
    }
    if let Some(chain) = &basis.polkadot.spec.chain {
        arguments.push(format!("--chain={chain}"));
    }
    match role {
        // A validator's RPC stays on its own loopback: whoever may exec into the pod may rotate its keys.
        Role::Validator => arguments.push("--validator".into()),
        Role::Sentry => {
            arguments.extend(["--rpc-external", "--rpc-methods=safe", "--rpc-cors=all"].map(String::from));
        }
    }
    arguments.extend(reserved(basis, role));
    arguments
}

/// The peers of the other role, which a node always tries to stay connected to.
fn reserved(basis: &Basis<'_>, role: Role) -> Vec<String> {
    let (polkadot, names) = (basis.polkadot, basis.names());
    let secure = polkadot.spec.secure_communication_support.enabled;
    let (other, ordinals) = match role {
        Role::Sentry => (Role::Validator, 0..polkadot.replicas(Role::Validator)),
        // Behind a policy a validator sees only its reserved peers, so all sentries must be among them. Without one
        // the first is enough, and scaling the sentries does not touch the validator's command line.
        Role::Validator if secure => (Role::Sentry, 0..polkadot.replicas(Role::Sentry)),
        Role::Validator => (Role::Sentry, 0..polkadot.replicas(Role::Sentry).min(1)),
    };
    let mut arguments: Vec<_> = ordinals
        .filter_map(|ordinal| {
            let peer = basis.keys.get(&(other, ordinal))?.peer_id();
            let host = format!("{}.{}", names.pod(other, ordinal), names.headless_service());
            Some(format!("--reserved-nodes=/dns/{host}/tcp/{}/p2p/{peer}", basis.settings.ports.p2p))
        })
        .collect();
    if role == Role::Validator && secure && !arguments.is_empty() {
        arguments.push("--reserved-only".into());
    }
    arguments
}

/// Startup, liveness and readiness.
///
/// A start may migrate a database for an hour; liveness does not ask for sync, or a syncing node would be killed.
/// A validator's RPC is on its loopback, so its metrics port answers instead.
#[must_use]
pub fn probes(version: &ClientVersion, role: Role) -> Value {
    let get = |path: &str, port: &str| json!({"path": path, "port": port, "scheme": "HTTP"});
    let alive = match role {
        Role::Sentry => get("/health", "websocket-rpc"),
        Role::Validator => get("/metrics", "http-metrics"),
    };
    let has_readiness = era::has_readiness(version);
    let ready = match role {
        Role::Sentry if has_readiness => get("/health/readiness", "websocket-rpc"),
        _ => alive.clone(),
    };
    json!({
        "startupProbe": {"httpGet": alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 360},
        "livenessProbe": {"httpGet": alive, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 10},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    })
}
