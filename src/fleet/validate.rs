//! From what was written to a [`Fleet`], or to everything that is wrong with it. Pure but for [`load`], which reads
//! the files; which contexts a kubeconfig has is an argument.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::config::Kubeconfig;
use kube::core::Selector;

use crate::version;

use super::file::{
    self, RawCluster, RawCount, RawFleet, RawNetworkPolicy, RawPorts, RawStage, RawUpgrade, Sources, Written,
};
use super::problem::Problem;
use super::shape::{self, suggestion};
use super::{
    Cluster, ClusterName, Connection, Count, Expedite, Fleet, Ports, Settings, Stage, Telemetry, Unreachable,
    Upgrade, Validators,
};

/// A year: longer is a slip, and times must not overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);

/// The names of the contexts in a kubeconfig (`None`: the usual one), or why it cannot be read.
pub type Contexts<'a> = &'a dyn Fn(Option<&Path>) -> Result<Vec<String>, String>;

/// Reads and validates. Blocks on files.
pub fn load(sources: &Sources) -> Result<Fleet, Vec<Problem>> {
    let written = file::read(sources).map_err(|problem| vec![problem])?;
    validate(&written, sources.file.as_deref().and_then(Path::parent), &contexts)
}

/// The contexts of a real kubeconfig.
fn contexts(path: Option<&Path>) -> Result<Vec<String>, String> {
    let kubeconfig =
        path.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(|error| error.to_string())?;
    Ok(kubeconfig.contexts.into_iter().map(|context| context.name).collect())
}

/// Validates what was written in a file of `folder`.
pub(super) fn validate(
    written: &Written,
    folder: Option<&Path>,
    contexts: Contexts<'_>,
) -> Result<Fleet, Vec<Problem>> {
    let (raw, problems) = shape::check(written);
    let mut checker = Checker { written, folder: folder.unwrap_or(Path::new("")), contexts, problems };
    let fleet = checker.fleet(&raw);
    match fleet {
        Some(fleet) if checker.problems.is_empty() => Ok(fleet),
        _ => Err(checker.problems),
    }
}

struct Checker<'a> {
    written: &'a Written,
    folder: &'a Path,
    contexts: Contexts<'a>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(
        &mut self,
        path: impl Into<String>,
        value: Option<&str>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let path = path.into();
        self.problems.push(Problem {
            source: self.written.source_of(&path),
            path,
            value: value.map(|value| format!("{value:?}")),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn fleet(&mut self, raw: &RawFleet) -> Option<Fleet> {
        if raw.version.is_none() && !self.problems.iter().any(|problem| problem.path == "version") {
            self.problem("version", None, "is missing", "add version: 1");
        }
        if raw.clusters.is_empty() {
            self.problem("clusters", None, "has no cluster", "add an entry with a kubeconfig context");
        }
        let clusters: Vec<Cluster> = raw
            .clusters
            .iter()
            .enumerate()
            .filter_map(|(index, cluster)| self.cluster(raw, index, cluster))
            .collect();
        // By the names as written: a cluster that cannot be reached is one of the file's all the same.
        let names: Vec<String> = raw.clusters.iter().map(name_of).collect();
        self.unique("clusters", names.iter().map(String::as_str));
        self.distinct(&clusters);
        let home = self.home(raw, &names);
        let upgrades: Vec<Upgrade> =
            raw.upgrades.iter().enumerate().map(|(index, upgrade)| self.upgrade(index, upgrade)).collect();
        self.unique("upgrades", upgrades.iter().map(|upgrade| upgrade.name.as_str()));
        let telemetry = self.telemetry(raw);
        Some(Fleet {
            home: home?,
            clusters,
            validators: Validators { max_unavailable: raw.validators.max_unavailable.unwrap_or(1) },
            upgrades,
            telemetry,
        })
    }

    fn unique<'n>(&mut self, list: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !name.is_empty() && !seen.insert(name) {
                let path = format!("{list}[{index}].name");
                self.problem(
                    path,
                    Some(name),
                    "is the name of an earlier entry too",
                    "give every entry a name of its own",
                );
            }
        }
    }

    /// Two entries for one cluster would be two workers that undo each other.
    fn distinct(&mut self, clusters: &[Cluster]) {
        for (index, cluster) in clusters.iter().enumerate() {
            if let Some(earlier) =
                clusters[..index].iter().find(|earlier| earlier.connection == cluster.connection)
            {
                let what = format!("is the same cluster as {}", earlier.name);
                self.problem(
                    "clusters",
                    Some(&cluster.name.0),
                    what,
                    "list every cluster once, with all its namespaces",
                );
            }
        }
    }

    fn home(&mut self, raw: &RawFleet, known: &[String]) -> Option<ClusterName> {
        match (&raw.home, known) {
            (Some(home), _) if known.contains(home) => Some(ClusterName(home.clone())),
            (Some(home), _) => {
                let remedy = suggestion(home, known, &format!("choose one of {}", known.join(", ")));
                self.problem("home", Some(home), "is not a cluster of this file", remedy);
                None
            }
            (None, [only]) => Some(ClusterName(only.clone())),
            (None, []) => None,
            (None, _) => {
                self.problem(
                    "home",
                    None,
                    "is missing",
                    "with several clusters, name the one that has to be reachable",
                );
                None
            }
        }
    }

    fn cluster(&mut self, raw: &RawFleet, index: usize, cluster: &RawCluster) -> Option<Cluster> {
        let at = |key: &str| format!("clusters[{index}].{key}");
        let name = name_of(cluster);
        if !is_dns_label(&name) {
            let remedy = "give it a name of lower-case letters, digits and dashes, at most 63";
            self.problem(at("name"), Some(&name), "is not a DNS label", remedy);
        }
        let connection = self.connection(index, cluster);
        let default = Settings::default();
        let metrics_from = |policy: &RawNetworkPolicy| policy.metrics_from.clone();
        let settings = Settings {
            image: cluster.image.clone().or_else(|| raw.defaults.image.clone()).unwrap_or(default.image),
            ports: ports(&cluster.ports, &raw.defaults.ports),
            metrics_from: metrics_from(&cluster.network_policy)
                .or_else(|| metrics_from(&raw.defaults.network_policy))
                .unwrap_or_default(),
            max_nodes_in_flight: cluster
                .max_nodes_in_flight
                .or(raw.defaults.max_nodes_in_flight)
                .unwrap_or(1),
        };
        self.settings(index, cluster, &settings);
        Some(Cluster {
            name: ClusterName(name),
            connection: connection?,
            labels: cluster.labels.clone(),
            namespaces: cluster.namespaces.clone(),
            paused: cluster.paused,
            lost: cluster.lost,
            settings,
        })
    }

    fn connection(&mut self, index: usize, cluster: &RawCluster) -> Option<Connection> {
        let at = format!("clusters[{index}].context");
        let context = match (&cluster.context, cluster.in_cluster) {
            (None, true) => return Some(Connection::InCluster),
            (Some(context), false) => context,
            (context, _) => {
                let remedy = "give either a context of the kubeconfig, or inCluster: true";
                self.problem(at, context.as_deref(), "does not say how to reach the cluster", remedy);
                return None;
            }
        };
        let path = cluster.kubeconfig.as_ref().map(|path| self.folder.join(expand_home(path)));
        match (self.contexts)(path.as_deref()) {
            Ok(known) if known.contains(context) => {
                Some(Connection::Kubeconfig { path, context: context.clone() })
            }
            Ok(known) => {
                let remedy = suggestion(context, &known, &format!("it has {}", known.join(", ")));
                self.problem(at, Some(context), "is not a context of the kubeconfig", remedy);
                None
            }
            Err(why) => {
                let (key, shown, remedy) = match &path {
                    Some(path) => (
                        "kubeconfig",
                        path.display().to_string(),
                        "give a readable kubeconfig (the path is relative to the fleet file)",
                    ),
                    None => ("context", context.clone(), "set KUBECONFIG, or give the cluster a kubeconfig"),
                };
                let what = format!("has no kubeconfig that can be read: {why}");
                self.problem(format!("clusters[{index}].{key}"), Some(&shown), what, remedy);
                None
            }
        }
    }

    /// A mistake in `defaults` is told once, at its place; one in an override, at the cluster's.
    fn settings(&mut self, index: usize, cluster: &RawCluster, settings: &Settings) {
        let place =
            |overridden: bool| if overridden { format!("clusters[{index}]") } else { "defaults".to_owned() };
        let last_part = settings.image.rsplit('/').next().unwrap_or_default();
        if settings.image.is_empty() || last_part.contains([':', '@']) {
            let remedy = "give the image without tag or digest; the tag is the resource's clientVersion";
            self.once(
                format!("{}.image", place(cluster.image.is_some())),
                Some(&settings.image),
                "is not an image without a tag",
                remedy,
            );
        }
        for cidr in &settings.metrics_from {
            if !is_cidr(cidr) {
                let at = format!(
                    "{}.networkPolicy.metricsFrom",
                    place(cluster.network_policy.metrics_from.is_some())
                );
                self.once(at, Some(cidr), "is not a CIDR", "write it as 10.0.0.0/8");
            }
        }
        let ports = settings.ports;
        let distinct: BTreeSet<u16> = [ports.p2p, ports.rpc, ports.ws, ports.metrics].into();
        if distinct.len() < 4 {
            let raw = cluster.ports;
            let overridden = raw.p2p.or(raw.rpc).or(raw.ws).or(raw.metrics).is_some();
            let value = format!("{}, {}, {}, {}", ports.p2p, ports.rpc, ports.ws, ports.metrics);
            self.once(
                format!("{}.ports", place(overridden)),
                Some(&value),
                "has a port twice",
                "give the four ports different numbers",
            );
        }
    }

    fn once(&mut self, path: String, value: Option<&str>, what: &str, remedy: &str) {
        if !self.problems.iter().any(|problem| problem.path == path && problem.what == what) {
            self.problem(path, value, what, remedy);
        }
    }

    fn upgrade(&mut self, index: usize, raw: &RawUpgrade) -> Upgrade {
        let at = |key: &str| format!("upgrades[{index}].{key}");
        let target = raw.client_version.clone().unwrap_or_default();
        if version::is_floating(&target)
            || matches!(version::ClientVersion::parse(&target), version::ClientVersion::Other(_))
        {
            let remedy = "name a release tag, for example stable2503-7: with any other, newer and older cannot be told";
            self.problem(at("clientVersion"), Some(&target), "is not a release tag", remedy);
        }
        if raw.name.is_none() {
            self.problem(at("name"), None, "is missing", "give the upgrade a name");
        }
        if raw.stages.is_empty() {
            self.problem(at("stages"), None, "has no stage", "add one, for example name: all, clusters: {}");
        }
        if raw
            .expedite
            .as_ref()
            .is_some_and(|expedite| expedite.version.is_empty() || expedite.reason.is_empty())
        {
            self.problem(
                at("expedite"),
                None,
                "needs a version and a reason",
                "name exactly the version it is for, and why",
            );
        }
        let stages: Vec<Stage> =
            raw.stages.iter().enumerate().map(|(number, stage)| self.stage(index, number, stage)).collect();
        self.unique(&at("stages"), stages.iter().map(|stage| stage.name.as_str()));
        Upgrade {
            name: raw.name.clone().unwrap_or_default(),
            client_version: target,
            selector: self.selector(&at("selector"), raw.selector.as_ref()),
            attempt: raw.attempt.unwrap_or(1),
            paused: raw.paused,
            allow_downgrade: raw.allow_downgrade,
            allow_ephemeral: raw.allow_ephemeral,
            expedite: raw
                .expedite
                .clone()
                .map(|expedite| Expedite { version: expedite.version, reason: expedite.reason }),
            stages,
            max_failures: self.count(&at("maxFailures"), raw.max_failures.as_ref(), 0, 0),
            progress_deadline: self.duration(
                &at("progressDeadline"),
                raw.progress_deadline.as_ref(),
                30 * 60,
            ),
            unreachable: match raw.unreachable.as_deref() {
                Some("skip") => Unreachable::Skip,
                _ => Unreachable::Wait,
            },
            stable_for: self.duration(&at("health.stableFor"), raw.health.stable_for.as_ref(), 3 * 60),
        }
    }

    fn stage(&mut self, upgrade: usize, index: usize, raw: &RawStage) -> Stage {
        let at = |key: &str| format!("upgrades[{upgrade}].stages[{index}].{key}");
        if raw.name.is_none() {
            self.problem(at("name"), None, "is missing", "give the stage a name");
        }
        Stage {
            name: raw.name.clone().unwrap_or_default(),
            clusters: self.selector(&at("clusters"), raw.clusters.as_ref()),
            optional: raw.optional,
            max_concurrent: self.count(&at("maxConcurrent"), raw.max_concurrent.as_ref(), 1, 1),
            soak: self.duration(&at("soak"), raw.soak.as_ref(), 0),
            approval_required: raw.approval.is_some(),
            approved_version: raw.approved_version.clone(),
        }
    }

    fn selector(&mut self, path: &str, raw: Option<&LabelSelector>) -> Selector {
        raw.cloned().unwrap_or_default().try_into().unwrap_or_else(|error| {
            self.problem(
                path,
                None,
                format!("is not a label selector ({error})"),
                "use matchLabels, or matchExpressions with In, NotIn, Exists or DoesNotExist",
            );
            Selector::default()
        })
    }

    fn count(&mut self, path: &str, raw: Option<&RawCount>, default: u32, least: u32) -> Count {
        let count = match raw {
            None => return Count::Number(default),
            Some(RawCount::Number(number)) => Some(Count::Number(*number)).filter(|_| *number >= least),
            Some(RawCount::Percent(text)) => {
                let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
                number.filter(|percent| (least..=100).contains(percent)).map(Count::Percent)
            }
        };
        count.unwrap_or_else(|| {
            let value = match raw {
                Some(RawCount::Percent(text)) => text.clone(),
                Some(RawCount::Number(number)) => number.to_string(),
                None => String::new(),
            };
            let remedy = format!("write a number from {least}, or a percentage from {least}% to 100%");
            self.problem(path, Some(&value), "is neither a count nor a percentage", remedy);
            Count::Number(default)
        })
    }

    fn duration(&mut self, path: &str, raw: Option<&String>, default_seconds: i64) -> SignedDuration {
        let default = SignedDuration::from_secs(default_seconds);
        let Some(text) = raw else { return default };
        match text.parse::<SignedDuration>() {
            Ok(duration) if !duration.is_negative() && duration <= LONGEST => duration,
            _ => {
                self.problem(
                    path,
                    Some(text),
                    "is not a duration",
                    "write it as 90s, 30m or 1h 30m, at most a year",
                );
                default
            }
        }
    }

    fn telemetry(&mut self, raw: &RawFleet) -> Telemetry {
        let endpoint = raw.telemetry.otlp.as_ref().map(|otlp| otlp.endpoint.clone());
        if let Some(endpoint) = &endpoint {
            let usable = endpoint
                .parse::<http::Uri>()
                .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
            if !usable {
                let remedy = "write it as http://127.0.0.1:4317 (gRPC without TLS, so far)";
                self.problem("telemetry.otlp.endpoint", Some(endpoint), "is not an endpoint", remedy);
            }
        }
        Telemetry { otlp_endpoint: endpoint }
    }
}

fn name_of(cluster: &RawCluster) -> String {
    cluster.name.as_ref().or(cluster.context.as_ref()).cloned().unwrap_or_default()
}

fn ports(own: &RawPorts, defaults: &RawPorts) -> Ports {
    let usual = Ports::default();
    Ports {
        p2p: own.p2p.or(defaults.p2p).unwrap_or(usual.p2p),
        rpc: own.rpc.or(defaults.rpc).unwrap_or(usual.rpc),
        ws: own.ws.or(defaults.ws).unwrap_or(usual.ws),
        metrics: own.metrics.or(defaults.metrics).unwrap_or(usual.metrics),
    }
}

fn expand_home(path: &str) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
        None => path.into(),
    }
}

/// RFC 1123: lower-case letters, digits and dashes, at most 63, neither end a dash.
fn is_dns_label(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    length.parse::<u8>().is_ok_and(|length| length <= if address.is_ipv4() { 32 } else { 128 })
}

#[cfg(test)]
mod tests;
