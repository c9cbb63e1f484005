//! What a simulated node says on its ports: health, JSON-RPC and metrics.
//!
//! The forms are those of the client: `system_health` behind `/health`, an empty body behind `/health/readiness`,
//! metrics under the names that the version gives them.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Chain;
use super::node::{Listener, Node};
use crate::version::era::{self, Era};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// From here on the metrics of the framework begin with `substrate_`, and all carry the chain (substrate#9543;
/// v0.9.16 is the first release with polkadot#3623).
const SUBSTRATE_METRICS: era::Numbers = (0, 9, 15);

/// An HTTP request to a node.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The port it came to.
    pub port: u16,
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The path, without a query.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Whether the caller is in the node's own pod.
    pub from_loopback: bool,
}

/// A node's HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, body: body.into() }
    }

    fn json(body: &Value) -> Self {
        Self::new(200, JSON, body.to_string())
    }
}

/// An error of JSON-RPC: its code and its words.
type RpcError = (i32, &'static str);

const PARSE_ERROR: RpcError = (-32700, "Parse error");
const INVALID_REQUEST: RpcError = (-32600, "Invalid request");
const METHOD_NOT_FOUND: RpcError = (-32601, "Method not found");
const INVALID_PARAMS: RpcError = (-32602, "Invalid params");

impl Node {
    /// What the node answers; `None` where nobody listens on the port for this caller.
    #[must_use]
    pub fn answer(&self, now: Timestamp, chain: &Chain, request: &Request<'_>) -> Option<Answer> {
        let hears = |listener: &Listener| listener.hears(request.port, request.from_loopback);
        let view = View { node: self, chain, now };
        if self.rpc.iter().any(hears) {
            Some(view.rpc(request))
        } else if self.metrics.as_ref().is_some_and(hears) {
            Some(match request.path {
                "/metrics" => Answer::new(200, PROMETHEUS, view.metrics()),
                _ => Answer::new(404, TEXT, "Not found."),
            })
        } else if self.ws.as_ref().is_some_and(hears) {
            // It takes the upgrade to a WebSocket and nothing else, and that is not simulated.
            Some(Answer::new(400, TEXT, "Bad Request"))
        } else {
            None
        }
    }
}

/// A node at one moment.
struct View<'a> {
    node: &'a Node,
    chain: &'a Chain,
    now: Timestamp,
}

impl View<'_> {
    fn rpc(&self, request: &Request<'_>) -> Answer {
        match (request.method, request.path) {
            ("GET", "/health") => Answer::json(&self.health()),
            ("GET", "/health/readiness") if era::has_readiness(&self.node.version) => {
                Answer::new(if self.is_ready() { 200 } else { 500 }, JSON, "")
            }
            ("POST", _) => self.calls(request.body),
            _ => Answer::new(405, TEXT, "Used HTTP Method is not allowed. POST is required\n"),
        }
    }

    /// One call, or a batch of them.
    fn calls(&self, body: &[u8]) -> Answer {
        match serde_json::from_slice(body) {
            Err(_) => Answer::json(&failure(PARSE_ERROR, &Value::Null)),
            Ok(Value::Array(calls)) if !calls.is_empty() => {
                let answers: Vec<_> = calls.iter().filter_map(|call| self.call(call)).collect();
                if answers.is_empty() { Answer::new(200, JSON, "") } else { Answer::json(&answers.into()) }
            }
            Ok(call) => {
                self.call(&call).map_or_else(|| Answer::new(200, JSON, ""), |answer| Answer::json(&answer))
            }
        }
    }

    /// The answer to one call; a notification has none.
    fn call(&self, call: &Value) -> Option<Value> {
        let (Some(method), Some("2.0")) = (call["method"].as_str(), call["jsonrpc"].as_str()) else {
            return Some(failure(INVALID_REQUEST, &call["id"]));
        };
        let id = call.get("id")?;
        Some(match self.result(method, &call["params"]) {
            Ok(result) => json!({"jsonrpc": "2.0", "result": result, "id": id}),
            Err(error) => failure(error, id),
        })
    }

    fn result(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let Self { node, chain, now } = *self;
        let best = node.best(now, chain);
        match method {
            "system_health" => Ok(self.health()),
            "system_version" => Ok(node.reported_version().into()),
            "system_localPeerId" => Ok(node.peer_id().into()),
            "system_syncState" => Ok(json!({
                "startingBlock": node.from,
                "currentBlock": best,
                "highestBlock": node.sync_target(now, chain),
            })),
            "system_name" => Ok("Parity Polkadot".into()),
            "system_chain" => Ok(capitalised(chain.name()).into()),
            "system_nodeRoles" => Ok(json!([if node.is_authority { "Authority" } else { "Full" }])),
            "chain_getHeader" => match &params[0] {
                Value::Null => Ok(self.header(best)),
                Value::String(hash) => {
                    let height = chain.height_of(hash).filter(|height| *height <= best);
                    Ok(height.map_or(Value::Null, |height| self.header(height)))
                }
                _ => Err(INVALID_PARAMS),
            },
            "chain_getFinalizedHead" => Ok(chain.hash(node.finalized(now, chain)).into()),
            "chain_getBlockHash" => match &params[0] {
                Value::Null => Ok(chain.hash(best).into()),
                Value::Array(heights) => heights.iter().map(|height| self.hash(height, best)).collect(),
                height => self.hash(height, best),
            },
            _ => Err(METHOD_NOT_FOUND),
        }
    }

    fn health(&self) -> Value {
        json!({
            "peers": self.node.peers(self.now),
            "isSyncing": self.node.is_major_syncing(self.now, self.chain),
            "shouldHavePeers": true,
        })
    }

    fn is_ready(&self) -> bool {
        !self.node.is_major_syncing(self.now, self.chain) && self.node.peers(self.now) > 0
    }

    fn header(&self, height: u64) -> Value {
        json!({
            "parentHash": height.checked_sub(1).map_or_else(|| format!("0x{}", "0".repeat(64)), |parent| self.chain.hash(parent)),
            "number": format!("{height:#x}"),
            "stateRoot": self.chain.hash(height),
            "extrinsicsRoot": self.chain.hash(height),
            "digest": {"logs": []},
        })
    }

    /// The hash of the block at a height, given as a number or in hex; null where the node does not have it.
    fn hash(&self, height: &Value, best: u64) -> Result<Value, RpcError> {
        let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let height = height.as_u64().or_else(|| height.as_str().and_then(hex)).ok_or(INVALID_PARAMS)?;
        Ok(if height <= best { self.chain.hash(height).into() } else { Value::Null })
    }

    fn metrics(&self) -> String {
        let Self { node, chain, now } = *self;
        let is_legacy = era::era_of(node.client) == Era::Legacy;
        let is_substrate = node.client >= SUBSTRATE_METRICS;
        let mut page = Page {
            prefix: if is_substrate { "substrate" } else { "polkadot" },
            chain: is_substrate.then(|| chain.name()),
            text: String::new(),
        };
        if is_legacy {
            let labels = [
                ("commit", node.commit.clone()),
                ("name", node.name.clone()),
                ("version", node.release.clone()),
            ];
            page.gauge("build_info", &[(&labels, 1)]);
        } else {
            let labels = [("name", node.name.clone()), ("version", node.reported_version())];
            page.gauge("build_info", &[(&labels, 1)]);
        }
        page.gauge("node_roles", &[(&[], if node.is_authority { 4 } else { 1 })]);
        if !is_legacy {
            let started = u64::try_from(node.started.as_second()).unwrap_or(0);
            page.gauge("process_start_time_seconds", &[(&[], started)]);
        }
        // The release that dropped `_number` is not known; it is taken to be the first after the legacy ones.
        page.gauge(
            if is_legacy { "block_height_number" } else { "block_height" },
            &[
                (&[("status", "best".into())], node.best(now, chain)),
                (&[("status", "finalized".into())], node.finalized(now, chain)),
                (&[("status", "sync_target".into())], node.sync_target(now, chain)),
            ],
        );
        page.gauge("sub_libp2p_peers_count", &[(&[], node.peers(now))]);
        page.gauge("sub_libp2p_is_major_syncing", &[(&[], node.is_major_syncing(now, chain).into())]);
        page.text
    }
}

/// A page of metrics in Prometheus' text form.
struct Page<'a> {
    prefix: &'static str,
    /// Every sample's last label, where the version has it.
    chain: Option<&'a str>,
    text: String,
}

impl Page<'_> {
    fn gauge(&mut self, name: &str, samples: &[(&[(&str, String)], u64)]) {
        let name = format!("{}_{name}", self.prefix);
        let mut text = format!("# HELP {name} Simulated.\n# TYPE {name} gauge\n");
        for (labels, value) in samples {
            let chain = self.chain.map(|chain| ("chain", chain));
            let labels: Vec<_> = labels
                .iter()
                .map(|(label, value)| (*label, value.as_str()))
                .chain(chain)
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{labels} {value}");
        }
        self.text.push_str(&text);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn failure((code, message): RpcError, id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id})
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
