//! The fleet file as it is written: raw shape, JSON Schema, and loading by figment (file, environment, flags).
//!
//! Nobody but [`super::validate`] sees the raw shape. YAML stays behind this file. Whether what is written makes
//! sense is decided there; here it is only read, and compared with the schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Format as _, Serialized, Yaml};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::problem::Problem;

mod environment;
mod plain;

/// Where the fleet comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The fleet file; without one, `flags` alone make the fleet.
    pub file: Option<PathBuf>,
    /// The environment, as it was when the daemon started.
    pub env: Vec<(String, String)>,
    /// What flags say, in the file's own shape; wins over the rest.
    pub flags: Option<Value>,
}

/// `fleet.yaml`, version 1.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawFleet {
    /// The version of the file's format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: Option<u32>,
    /// The cluster that must be reachable for any step to be taken; required with several clusters.
    pub(super) home: Option<String>,
    /// Where in it, and in every member, the Leases are, and in home the records; default polkafleet.
    pub(super) home_namespace: Option<String>,
    /// How long a daemon that fell silent keeps its clusters.
    pub(super) lease: RawLease,
    /// The members.
    pub(super) clusters: Vec<RawCluster>,
    /// What every cluster has unless its entry says otherwise.
    pub(super) defaults: RawSettings,
    /// Fleet-wide limits on validators.
    pub(super) validators: RawValidators,
    /// Client versions on their way; the first whose selector matches a resource owns it.
    pub(super) upgrades: Vec<RawUpgrade>,
    /// Where traces go.
    pub(super) telemetry: RawTelemetry,
}

/// A member cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawCluster {
    /// A unique DNS label; default: the context's name.
    pub(super) name: Option<String>,
    /// A context of the kubeconfig; or `inCluster: true`.
    pub(super) context: Option<String>,
    /// Use the service account of the pod that the daemon runs in.
    pub(super) in_cluster: bool,
    /// Default: `$KUBECONFIG`, then `~/.kube/config`; relative to the fleet file.
    pub(super) kubeconfig: Option<String>,
    /// Labels that stages select on.
    pub(super) labels: BTreeMap<String, String>,
    /// The namespaces to watch; default: all.
    pub(super) namespaces: Vec<String>,
    /// Watch and report, change nothing.
    pub(super) paused: bool,
    /// It will not come back soon: out of order and budget.
    pub(super) lost: bool,
    /// Overrides `defaults.image`.
    pub(super) image: Option<String>,
    /// Overrides `defaults.ports`.
    pub(super) ports: RawPorts,
    /// Overrides `defaults.networkPolicy`.
    pub(super) network_policy: RawNetworkPolicy,
    /// Overrides `defaults.maxNodesInFlight`.
    #[schemars(range(min = 1))]
    pub(super) max_nodes_in_flight: Option<u32>,
}

/// Settings of a cluster's nodes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawSettings {
    /// The client's image, without a tag.
    pub(super) image: Option<String>,
    /// The client's ports.
    pub(super) ports: RawPorts,
    /// The wall around validators.
    pub(super) network_policy: RawNetworkPolicy,
    /// Resources of one cluster that may be rolling at once.
    #[schemars(range(min = 1))]
    pub(super) max_nodes_in_flight: Option<u32>,
}

/// Ports of the client and its Services.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawPorts {
    /// Peer to peer.
    #[schemars(range(min = 1))]
    pub(super) p2p: Option<u16>,
    /// The Service's HTTP-RPC port.
    #[schemars(range(min = 1))]
    pub(super) rpc: Option<u16>,
    /// WebSocket RPC.
    #[schemars(range(min = 1))]
    pub(super) ws: Option<u16>,
    /// Prometheus metrics.
    #[schemars(range(min = 1))]
    pub(super) metrics: Option<u16>,
}

/// The wall around validators.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawNetworkPolicy {
    /// CIDRs that may reach the metrics port; default: any. The API servers must be among them.
    pub(super) metrics_from: Option<Vec<String>>,
}

/// Fleet-wide limits on validators.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawValidators {
    /// Per chain, over the whole fleet, whatever the cause; default 1.
    #[schemars(range(min = 1))]
    pub(super) max_unavailable: Option<u32>,
}

/// A client version on its way through the fleet.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawUpgrade {
    /// A unique name.
    pub(super) name: Option<String>,
    /// The target, a release tag; never one that moves.
    pub(super) client_version: Option<String>,
    /// Which resources, by their labels; default: all.
    pub(super) selector: RawSelector,
    /// Raising it tries again what failed; default 1.
    #[schemars(range(min = 1))]
    pub(super) attempt: Option<u32>,
    /// Starts nothing while true.
    pub(super) paused: bool,
    /// An older version than the running one is wanted.
    pub(super) allow_downgrade: bool,
    /// May restart validators that keep no keystore on a volume.
    pub(super) allow_ephemeral: bool,
    /// No soak, no approval, for exactly one version.
    pub(super) expedite: Option<RawExpedite>,
    /// The stages, in order.
    pub(super) stages: Vec<RawStage>,
    /// Failed resources tolerated, a count or a percentage; default 0.
    pub(super) max_failures: Option<RawCount>,
    /// From a step to healthy; default 30m.
    pub(super) progress_deadline: Option<String>,
    /// What an unreachable cluster does to its stage; default wait.
    #[schemars(extend("enum" = ["wait", "skip"]))]
    pub(super) unreachable: Option<String>,
    /// When a node counts as healthy.
    pub(super) health: RawHealth,
}

/// Selects by labels, as everywhere in Kubernetes; empty selects all.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawSelector {
    /// Labels and their values.
    pub(super) match_labels: BTreeMap<String, String>,
    /// Conditions on labels; all must hold.
    pub(super) match_expressions: Vec<RawExpression>,
}

/// A condition on one label. Kubernetes' own type would read a missing key as an empty one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawExpression {
    /// The label's key.
    pub(super) key: String,
    /// `In` and `NotIn` need values, `Exists` and `DoesNotExist` take none.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub(super) operator: String,
    /// The values.
    pub(super) values: Vec<String>,
}

/// The fast lane for a security release.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawExpedite {
    /// Exactly this version.
    pub(super) version: String,
    /// Why, for the record.
    pub(super) reason: String,
}

/// A group of clusters.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawStage {
    /// A name, unique in the upgrade.
    pub(super) name: Option<String>,
    /// Which clusters, by their labels.
    pub(super) clusters: RawSelector,
    /// May be empty.
    pub(super) optional: bool,
    /// Clusters in flight at once, a count or a percentage (rounded down, at least 1); default 1.
    pub(super) max_concurrent: Option<RawCount>,
    /// How long the stage must have been healthy before the next one starts; default none.
    pub(super) soak: Option<String>,
    /// `required`: a person has to approve the version.
    #[schemars(extend("enum" = ["required"]))]
    pub(super) approval: Option<String>,
    /// The version that was approved.
    pub(super) approved_version: Option<String>,
}

/// A count, or a percentage such as `25%`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawCount {
    /// So many.
    Number(u32),
    /// A share.
    Percent(String),
}

/// When a node counts as healthy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawHealth {
    /// How long it must have been Ready at the target; default 3m.
    pub(super) stable_for: Option<String>,
}

/// The Leases of the daemons.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawLease {
    /// After so long without a word another daemon takes over; from 3s to 5m, default 15s.
    pub(super) duration: Option<String>,
}

/// Where traces go.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawTelemetry {
    /// An OTLP receiver.
    pub(super) otlp: Option<RawOtlp>,
}

/// An OTLP receiver.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawOtlp {
    /// For example `http://127.0.0.1:4317`.
    pub(super) endpoint: String,
    /// `grpc`, so far.
    #[schemars(extend("enum" = ["grpc"]))]
    pub(super) protocol: Option<String>,
}

/// The JSON Schema of the file (draft 2020-12).
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(plain::plain));
    settings.into_generator().into_root_schema_for::<RawFleet>().to_value()
}

/// What was written, and by whom.
pub(super) struct Written {
    /// The merged file, environment and flags.
    pub(super) value: Value,
    /// Where most of it was written.
    pub(super) source: String,
    /// Paths that an environment variable set.
    by_env: BTreeMap<String, String>,
}

impl Written {
    /// Where the value at `path` was written.
    pub(super) fn source_of(&self, path: &str) -> String {
        let by_env = self.by_env.iter().find(|(set, _)| within(path, set));
        by_env.map_or_else(|| self.source.clone(), |(_, name)| format!("environment variable {name}"))
    }

    /// Where the unknown key at `path` was written: it may be the first part of what a variable names.
    pub(super) fn source_of_unknown(&self, path: &str) -> String {
        let below = self.by_env.keys().find(|set| within(set, path));
        self.source_of(below.map_or(path, String::as_str))
    }

    /// Whether an environment variable set the value at `path`.
    pub(super) fn is_from_env(&self, path: &str) -> bool {
        self.by_env.keys().any(|set| within(path, set))
    }
}

/// Whether `path` is `outer`, or leads to a part of it.
pub(super) fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Reads and merges the sources; nothing is judged yet but the YAML.
pub(super) fn read(sources: &Sources) -> Result<Written, Problem> {
    let source = sources
        .file
        .as_ref()
        .map_or_else(|| "the command line".to_owned(), |file| file.display().to_string());
    let unreadable = |what: String, remedy: &str| Problem {
        source: source.clone(),
        path: "(file)".into(),
        value: None,
        what,
        remedy: remedy.into(),
    };
    let text = match &sources.file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            unreadable(format!("cannot be read ({error})"), "give an existing file with --fleet")
        })?,
        // Flags alone make the fleet.
        None => "{}".to_owned(),
    };
    parse(&text).map_err(|(what, remedy)| unreadable(what, remedy))?;
    let (from_env, by_env) = environment::overlay(&sources.env);
    let merged = Figment::new()
        .merge(Yaml::string(&text))
        .merge(Serialized::defaults(from_env))
        .merge(Serialized::defaults(sources.flags.clone().unwrap_or_else(|| json!({}))));
    let value = merged.extract::<Value>().map_err(|error| {
        unreadable(format!("is not YAML of the right form ({error})"), "mend the YAML there")
    })?;
    Ok(Written { value, source, by_env })
}

/// Whether the text is a mapping in YAML, no key twice. Figment alone would take the last of two equal keys, and so a
/// second `clusters:` further down would silently replace the first.
fn parse(text: &str) -> Result<(), (String, &'static str)> {
    use serde_yaml::Value::{Mapping, Null};
    match serde_yaml::from_str(text) {
        Ok(Mapping(_)) => Ok(()),
        Ok(Null) => Err(("is empty".into(), "begin with `version: 1` and `clusters:`")),
        Ok(_) => {
            Err(("is not a mapping of keys to values".into(), "begin with `version: 1` and `clusters:`"))
        }
        Err(error) => {
            let place = error.location().map_or_else(String::new, |place| {
                format!(" at line {}, column {}", place.line(), place.column())
            });
            Err((format!("cannot be parsed as YAML{place}: {error}"), "mend the YAML there"))
        }
    }
}
