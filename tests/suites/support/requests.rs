//! What a daemon has asked of a cluster, as the server's audit log or the simulated cluster remembers it.

use jiff::{SignedDuration, Timestamp};
use polkafleet::sandbox::api::Target;
use polkafleet::sandbox::cluster::Asked;
use polkafleet::sandbox::connect::AGENT;
use serde_json::Value;

use super::world::{Gate, Member};

impl Member {
    /// Requests of the daemon, but for those about its Leases, what it keeps in home and its nodes' health.
    fn requests(&self) -> Vec<Asking> {
        match &self.gate {
            Gate::Simulated(cluster) => {
                let ours =
                    |asked: &&Asked| asked.agent == AGENT && !is_keeping(&asked.uri) && !is_probe(&asked.uri);
                cluster.asked().iter().filter(ours).map(Asking::of).collect()
            }
            Gate::Proxy { audit, .. } => {
                let user = format!("system:serviceaccount:{}:polkafleet", self.namespace);
                let log = std::fs::read_to_string(audit).unwrap();
                log.lines()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                    .filter(|event| {
                        event["user"]["username"] == user.as_str()
                            && event["stage"] == "ResponseComplete"
                            && !event["requestURI"]
                                .as_str()
                                .is_some_and(|uri| is_keeping(uri) || is_probe(uri))
                    })
                    .map(|event| Asking {
                        verb: event["verb"].as_str().unwrap_or_default().into(),
                        is_version: event["requestURI"] == "/version",
                        is_polkadot: event["objectRef"]["resource"] == "polkadots"
                            && event["objectRef"]["subresource"].is_null(),
                        is_pod: event["objectRef"]["resource"] == "pods",
                        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
                    })
                    .collect()
            }
        }
    }

    /// Who made each write that took place, Leases and what is kept in home aside, in their order.
    pub fn writers(&self) -> Vec<String> {
        let agent = |by: &str| by.strip_prefix("polkafleet/").map(str::to_owned);
        match &self.gate {
            Gate::Simulated(cluster) => cluster
                .asked()
                .iter()
                .filter(|asked| asked.method != "GET" && (200..300).contains(&asked.code))
                .filter(|asked| !is_keeping(&asked.uri))
                .filter_map(|asked| agent(&asked.by))
                .collect(),
            Gate::Proxy { audit, .. } => {
                let user = format!("system:serviceaccount:{}:polkafleet", self.namespace);
                let log = std::fs::read_to_string(audit).unwrap();
                let mut writes: Vec<(String, String)> = log
                    .lines()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                    .filter(|event| {
                        let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
                        let verb = event["verb"].as_str().unwrap_or_default();
                        event["user"]["username"] == user.as_str()
                            && event["stage"] == "ResponseComplete"
                            && !["get", "list", "watch"].contains(&verb)
                            && !["leases", "configmaps"].contains(&resource)
                            && event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300)
                    })
                    .filter_map(|event| {
                        let at = event["requestReceivedTimestamp"].as_str()?.to_owned();
                        Some((at, agent(event["userAgent"].as_str()?)?))
                    })
                    .collect();
                writes.sort();
                writes.into_iter().map(|(_, by)| by).collect()
            }
        }
    }

    /// How often the daemon has asked a pod's node for its health.
    pub fn probes(&self, pod: &str) -> usize {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:", self.namespace);
        let of_pod = |uri: &str| uri.starts_with(&path) && is_probe(uri);
        match &self.gate {
            Gate::Simulated(cluster) => {
                cluster.asked().iter().filter(|asked| asked.agent == AGENT && of_pod(&asked.uri)).count()
            }
            Gate::Proxy { audit, .. } => {
                let log = std::fs::read_to_string(audit).unwrap();
                let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                events
                    .filter(|event| event["stage"] == "ResponseComplete")
                    .filter(|event| event["requestURI"].as_str().is_some_and(of_pod))
                    .count()
            }
        }
    }

    /// The longest time between two writes that took place and that only a daemon makes which holds the cluster's Lease;
    /// those of Leases are not among them, for who asks for one writes as well. A simulated cluster keeps no times.
    pub fn longest_silence(&self) -> Option<SignedDuration> {
        let Gate::Proxy { audit, .. } = &self.gate else { return None };
        let user = format!("system:serviceaccount:{}:polkafleet", self.namespace);
        let log = std::fs::read_to_string(audit).unwrap();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let writes = events.filter(|event| {
            event["user"]["username"] == user.as_str()
                && event["stage"] == "ResponseComplete"
                && !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap_or_default())
                && event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("polkafleet/"))
                && event["objectRef"]["resource"] != "configmaps"
                && event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300)
        });
        let mut times: Vec<Timestamp> = writes
            .map(|event| event["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap())
            .collect();
        times.sort();
        times.windows(2).map(|pair| pair[1].duration_since(pair[0])).max()
    }

    /// The daemon's requests that are neither watches, lists nor probes.
    pub fn busy_requests(&self) -> usize {
        let idle = |asking: &Asking| matches!(&*asking.verb, "watch" | "list") || asking.is_version;
        self.requests().iter().filter(|asking| !idle(asking)).count()
    }

    /// The last requests that were none of these, for the message of a failing test.
    pub fn last_requests(&self) -> String {
        match &self.gate {
            Gate::Simulated(cluster) => {
                let asked = cluster.asked();
                let last = asked
                    .iter()
                    .rev()
                    .filter(|asked| asked.agent == AGENT && !is_keeping(&asked.uri) && !is_probe(&asked.uri))
                    .take(8);
                last.map(|asked| format!("{} {} {}", asked.method, asked.uri, asked.code))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            Gate::Proxy { audit, .. } => format!("see {}", audit.display()),
        }
    }

    /// The planner's writes that took place: patches of a resource itself.
    pub fn planner_writes(&self) -> usize {
        let is_write = |asking: &&Asking| asking.verb == "patch" && asking.is_polkadot && asking.code == 200;
        self.requests().iter().filter(is_write).count()
    }

    /// When they were made, by the audit log; a simulated cluster keeps no times.
    pub fn planner_write_times(&self) -> Vec<Timestamp> {
        let Gate::Proxy { audit, .. } = &self.gate else { return vec![] };
        let user = format!("system:serviceaccount:{}:polkafleet", self.namespace);
        let log = std::fs::read_to_string(audit).unwrap();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = events.filter(|event| {
            event["user"]["username"] == user.as_str()
                && event["stage"] == "ResponseComplete"
                && event["verb"] == "patch"
                && event["objectRef"]["resource"] == "polkadots"
                && event["objectRef"]["subresource"].is_null()
                && event["responseStatus"]["code"] == 200
        });
        ours.map(|event| event["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The pods that the daemon itself has made.
    pub fn pods_made(&self) -> usize {
        let makes = |asking: &&Asking| matches!(&*asking.verb, "create" | "post") && asking.is_pod;
        self.requests().iter().filter(makes).filter(|asking| asking.code == 201).count()
    }

    pub fn watches_started(&self) -> usize {
        self.requests()
            .iter()
            .filter(|asking| matches!(&*asking.verb, "watch" | "list") && !asking.is_version)
            .count()
    }
}

/// Whether a request is about Leases, or about what is kept in home.
fn is_keeping(uri: &str) -> bool {
    uri.contains("/leases") || uri.contains("/configmaps")
}

/// Whether a node is asked for its health.
fn is_probe(uri: &str) -> bool {
    uri.ends_with("/proxy/metrics")
}

/// A request, as far as the tests ask about it.
struct Asking {
    verb: String,
    is_version: bool,
    is_polkadot: bool,
    is_pod: bool,
    code: u64,
}

impl Asking {
    fn of(asked: &Asked) -> Self {
        let (path, query) = asked.uri.split_once('?').unwrap_or((&asked.uri, ""));
        let target = Target::parse(path).unwrap_or_default();
        let verb = match (&*asked.method, target.name.is_some()) {
            ("GET", _) if query.contains("watch=true") => "watch".into(),
            ("GET", false) => "list".into(),
            (method, _) => method.to_lowercase(),
        };
        Self {
            verb,
            is_version: path == "/version",
            is_polkadot: target.plural == "polkadots" && target.subresource.is_none(),
            is_pod: target.plural == "pods",
            code: asked.code.into(),
        }
    }
}
