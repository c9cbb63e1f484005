//! What is said once for the whole fleet: home, limits, lease, telemetry, admin. Pure.

use std::net::SocketAddr;

use jiff::SignedDuration;

use super::Checker;
use crate::fleet::raw::RawFleet;
use crate::fleet::shape::suggestion;
use crate::fleet::{Cluster, ClusterName, Guard, OtlpProtocol, Telemetry, Validators};

const LEASE: SignedDuration = SignedDuration::from_secs(15);
/// Shorter, and a slow API server alone would make daemons take clusters from each other; longer, and a dead daemon's
/// clusters would be alone for too long.
const LEASES: [SignedDuration; 2] = [SignedDuration::from_secs(3), SignedDuration::from_mins(5)];

pub(super) fn validators(raw: &RawFleet) -> Validators {
    Validators {
        max_unavailable: raw.validators.max_unavailable.unwrap_or(1),
        guard: match raw.validators.guard.as_deref() {
            Some("relaxed") => Guard::Relaxed,
            _ => Guard::Strict,
        },
    }
}

impl Checker<'_> {
    pub(super) fn home(&mut self, raw: &RawFleet, clusters: &[Cluster]) -> ClusterName {
        let known: Vec<String> = clusters.iter().map(|cluster| cluster.name.0.clone()).collect();
        match (&raw.home, known.as_slice()) {
            (Some(home), known) if !known.contains(home) && !known.is_empty() => {
                let remedy = suggestion(home, known, &format!("choose one of {}", known.join(", ")));
                self.problem("home", Some(home), "is not a cluster of this file", remedy);
            }
            (None, [_, _, ..]) => {
                let remedy = "with several clusters, name the one that has to be reachable";
                self.problem("home", None, "is missing", remedy);
            }
            _ => {}
        }
        ClusterName(raw.home.as_ref().or(known.first()).cloned().unwrap_or_default())
    }

    pub(super) fn home_namespace(&mut self, raw: &RawFleet) -> String {
        let Some(namespace) = &raw.home_namespace else { return "polkafleet".into() };
        self.dns_label("homeNamespace", namespace);
        namespace.clone()
    }

    pub(super) fn lease(&mut self, raw: &RawFleet) -> SignedDuration {
        let given = raw.lease.duration.as_ref();
        let lease = self.duration("lease.duration", given, LEASE);
        if lease < LEASES[0] || lease > LEASES[1] {
            let remedy = "write how long a daemon that fell silent keeps its clusters, from 3s to 5m";
            self.problem("lease.duration", given.map(String::as_str), "is out of range", remedy);
        }
        lease
    }

    pub(super) fn telemetry(&mut self, raw: &RawFleet) -> Telemetry {
        let otlp = raw.telemetry.otlp.as_ref();
        let endpoint = otlp.map(|otlp| otlp.endpoint.clone());
        if let Some(endpoint) = endpoint.as_deref().filter(|endpoint| !is_address(endpoint, &["http"])) {
            let remedy = "write it as http://127.0.0.1:4317 (without TLS, so far)";
            self.problem("telemetry.otlp.endpoint", Some(endpoint), "is not an endpoint", remedy);
        }
        let trace_url = raw.telemetry.trace_url.clone();
        if let Some(url) = &trace_url {
            let filled = url.replace("{traceId}", "0");
            if filled == *url || !is_address(&filled, &["http", "https"]) {
                let remedy =
                    "write an address with {traceId} in it: https://traces.example.org/trace/{traceId}";
                self.problem("telemetry.traceUrl", Some(url), "is not the address of a trace", remedy);
            }
        }
        let otlp_protocol = match otlp.and_then(|otlp| otlp.protocol.as_deref()) {
            Some("http") => OtlpProtocol::Http,
            _ => OtlpProtocol::Grpc,
        };
        Telemetry { otlp_endpoint: endpoint, otlp_protocol, trace_url }
    }

    pub(super) fn admin(&mut self, raw: &RawFleet) -> Option<SocketAddr> {
        let listen = raw.admin.listen.as_ref()?;
        let parsed = listen.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        if parsed.is_none() {
            let remedy =
                "write an address and a port: 127.0.0.1:9100, or 0.0.0.0:9100 to be seen from outside";
            self.problem("admin.listen", Some(listen), "is not an address to listen on", remedy);
        }
        parsed
    }
}

fn is_address(text: &str, schemes: &[&str]) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) && uri.authority().is_some()
    })
}
