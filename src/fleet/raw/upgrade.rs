//! The raw shape of an upgrade.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A client version on its way through the fleet.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::fleet) struct RawUpgrade {
    /// A unique name.
    pub(in crate::fleet) name: Option<String>,
    /// The target, a release tag; never one that moves.
    pub(in crate::fleet) client_version: Option<String>,
    /// Which resources, by their labels; default: all.
    pub(in crate::fleet) selector: RawSelector,
    /// Raising it tries again what failed; default 1.
    #[schemars(range(min = 1))]
    pub(in crate::fleet) attempt: Option<u32>,
    /// Starts nothing while true.
    pub(in crate::fleet) paused: bool,
    /// An older version than the running one is wanted.
    pub(in crate::fleet) allow_downgrade: bool,
    /// May restart validators that keep no keystore on a volume.
    pub(in crate::fleet) allow_ephemeral: bool,
    /// No soak, no approval, for exactly one version.
    pub(in crate::fleet) expedite: Option<RawExpedite>,
    /// The stages, in order.
    pub(in crate::fleet) stages: Vec<RawStage>,
    /// Failed resources tolerated, a count or a percentage; default 0.
    pub(in crate::fleet) max_failures: Option<RawCount>,
    /// From a step to healthy; default 30m.
    #[schemars(extend("examples" = ["30m", "2d"]))]
    pub(in crate::fleet) progress_deadline: Option<String>,
    /// What an unreachable cluster does to its stage; default wait.
    #[schemars(extend("enum" = ["wait", "skip"]))]
    pub(in crate::fleet) unreachable: Option<String>,
    /// When a node counts as healthy.
    pub(in crate::fleet) health: RawHealth,
    /// Whether a short-lived pod tries a version on the node concerned before it is first used there; default true.
    pub(in crate::fleet) prepull: Option<bool>,
}

/// Selects by labels, as everywhere in Kubernetes; empty selects all.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::fleet) struct RawSelector {
    /// Labels and their values.
    pub(in crate::fleet) match_labels: BTreeMap<String, String>,
    /// Conditions on labels; all must hold.
    pub(in crate::fleet) match_expressions: Vec<RawExpression>,
}

/// A condition on one label. Kubernetes' own type would read a missing key as an empty one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::fleet) struct RawExpression {
    /// The label's key.
    pub(in crate::fleet) key: String,
    /// `In` and `NotIn` need values, `Exists` and `DoesNotExist` take none.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub(in crate::fleet) operator: String,
    /// The values.
    pub(in crate::fleet) values: Vec<String>,
}

/// The fast lane for a security release.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::fleet) struct RawExpedite {
    /// Exactly this version.
    pub(in crate::fleet) version: String,
    /// Why, for the record.
    pub(in crate::fleet) reason: String,
}

/// A group of clusters.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::fleet) struct RawStage {
    /// A name, unique in the upgrade.
    pub(in crate::fleet) name: Option<String>,
    /// Which clusters, by their labels.
    pub(in crate::fleet) clusters: RawSelector,
    /// May be empty.
    pub(in crate::fleet) optional: bool,
    /// Clusters in flight at once, a count or a percentage (rounded down, at least 1); default 1.
    pub(in crate::fleet) max_concurrent: Option<RawCount>,
    /// How long the stage must have been healthy before the next one starts; default none.
    #[schemars(extend("examples" = ["30m", "2d"]))]
    pub(in crate::fleet) soak: Option<String>,
    /// `required`: a person has to approve the version.
    #[schemars(extend("enum" = ["required"]))]
    pub(in crate::fleet) approval: Option<String>,
    /// The version that was approved.
    pub(in crate::fleet) approved_version: Option<String>,
}

/// A count, or a percentage such as `25%`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::fleet) enum RawCount {
    /// So many.
    Number(u32),
    /// A share.
    Percent(String),
}

/// When a node counts as healthy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::fleet) struct RawHealth {
    /// Peers that it must have; default 3. Of a node that talks to reserved peers only, at most all of those.
    pub(in crate::fleet) min_peers: Option<u32>,
    /// Blocks that its best may be behind the best that is known; default 5.
    pub(in crate::fleet) max_sync_lag: Option<u32>,
    /// Blocks that the finalised one may be behind the best; default 10.
    pub(in crate::fleet) max_finality_lag: Option<u32>,
    /// How long all of it must have held at the target; default 3m, at most 200 times probe.interval.
    #[schemars(extend("examples" = ["30m", "2d"]))]
    pub(in crate::fleet) stable_for: Option<String>,
    /// `required` (the default): a node that cannot be asked is not upgraded. `optional`: such a node counts by the
    /// readiness of its pod, for clusters whose API server cannot reach pods.
    #[schemars(extend("enum" = ["required", "optional"]))]
    pub(in crate::fleet) probe: Option<String>,
}
