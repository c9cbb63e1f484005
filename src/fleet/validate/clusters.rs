//! The members: names, connections, settings. Pure; which contexts a kubeconfig has is asked of the checker.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::SignedDuration;

use super::words::{as_dns_label, is_bare_image, is_cidr, is_dns_label, is_label_key, is_label_value};
use super::{Checker, expand_home};
use crate::fleet::kubeconfig::{self, Context};
use crate::fleet::raw::{RawCluster, RawFleet, RawPorts, RawProbe};
use crate::fleet::shape::suggestion;
use crate::fleet::{Cluster, ClusterName, Connection, Ports, Probe, Settings};

/// More often helps nobody and costs every API server.
const SHORTEST_PROBES: SignedDuration = SignedDuration::from_secs(1);

impl Checker<'_> {
    /// The member, also if something is wrong with it: the others keep their places, and home may name it.
    pub(super) fn cluster(&mut self, raw: &RawFleet, index: usize, cluster: &RawCluster) -> Cluster {
        let name = self.cluster_name(index, cluster);
        self.namespaces(index, &cluster.namespaces);
        for (key, value) in &cluster.labels {
            if !is_label_key(key) || !is_label_value(value) {
                let remedy = "use letters, digits, dashes, dots and underscores, at most 63 each";
                self.problem(
                    format!("clusters[{index}].labels.{key}"),
                    Some(value),
                    "is not a label",
                    remedy,
                );
            }
        }
        let connection = self.connection(index, cluster);
        if let Some(connection) = &connection {
            self.once_in_the_fleet(index, connection);
        }
        Cluster {
            name: ClusterName(name),
            // Without one there is a problem, and so no fleet.
            connection: connection.unwrap_or(Connection::InCluster),
            labels: cluster.labels.clone(),
            namespaces: cluster.namespaces.clone(),
            paused: cluster.paused,
            lost: cluster.lost,
            settings: self.settings(raw, index, cluster),
        }
    }

    fn cluster_name(&mut self, index: usize, cluster: &RawCluster) -> String {
        let at = format!("clusters[{index}].name");
        match (&cluster.name, &cluster.context) {
            (Some(name), _) => {
                self.dns_label(&at, name);
                name.clone()
            }
            (None, Some(context)) => {
                if !is_dns_label(context) {
                    let remedy = format!("add a name, for example name: {}", as_dns_label(context));
                    self.problem(at, Some(context), "the context's name cannot be the cluster's", remedy);
                }
                context.clone()
            }
            (None, None) => {
                if cluster.in_cluster {
                    self.problem(at, None, "is missing", "give the cluster a name");
                }
                String::new()
            }
        }
    }

    fn namespaces(&mut self, index: usize, namespaces: &[String]) {
        let mut seen = BTreeSet::new();
        for (number, namespace) in namespaces.iter().enumerate() {
            let at = format!("clusters[{index}].namespaces[{number}]");
            self.dns_label(&at, namespace);
            if !seen.insert(namespace) {
                self.problem(at, Some(namespace), "stands here twice", "remove one of them");
            }
        }
    }

    fn connection(&mut self, index: usize, cluster: &RawCluster) -> Option<Connection> {
        let at = format!("clusters[{index}].context");
        let context = match (&cluster.context, cluster.in_cluster) {
            (None, true) => {
                if let Some(path) = &cluster.kubeconfig {
                    let at = format!("clusters[{index}].kubeconfig");
                    self.problem(at, Some(path), "is not used with inCluster: true", "remove one of them");
                }
                return Some(Connection::InCluster);
            }
            (Some(context), false) => context,
            (Some(context), true) => {
                self.problem(at, Some(context), "is not used with inCluster: true", "remove one of them");
                return None;
            }
            (None, false) => {
                let remedy = "give either a context of the kubeconfig, or inCluster: true";
                self.problem(at, None, "does not say how to reach the cluster", remedy);
                return None;
            }
        };
        // Its text may be full of tokens.
        if cluster.kubeconfig.as_ref().is_some_and(|path| path.contains('\n')) {
            let remedy = "write it to a file, readable for polkafleet alone, and give the path of that";
            let at = format!("clusters[{index}].kubeconfig");
            self.problem(at, None, "is a text of several lines, and no path", remedy);
            return None;
        }
        let path = cluster.kubeconfig.as_ref().map(|path| self.folder.join(expand_home(path)));
        let read = (self.contexts)(path.as_deref());
        let connection = Connection::Kubeconfig { path: path.clone(), context: context.clone() };
        match read {
            Ok(known) => {
                let file = kubeconfig::called(path.as_deref());
                if let Some(found) = known.iter().find(|one| one.name == *context) {
                    return self.with_user(at, found, &file, connection);
                }
                let known: Vec<String> = known.into_iter().map(|context| context.name).collect();
                let has =
                    if known.is_empty() { "no context; is it cut off?".into() } else { known.join(", ") };
                let remedy = suggestion(context, &known, &format!("it has {has}"));
                self.problem(at, Some(context), format!("is not a context of {file}"), remedy);
                None
            }
            Err(_) if self.running.contains(&connection) => Some(connection),
            Err(why) => {
                self.unreadable(index, path.as_ref(), &why);
                None
            }
        }
    }

    /// The connection, if its context has all of its user; one that exists does not need it to go on.
    fn with_user(
        &mut self,
        at: String,
        found: &Context,
        file: &str,
        connection: Connection,
    ) -> Option<Connection> {
        if let Some(lacks) = found.lacks.as_ref().filter(|_| !self.running.contains(&connection)) {
            let remedy = "give the context a user that is there whole, or none if the server asks for none";
            self.problem(at, Some(&found.name), format!("cannot be used, in {file}: {lacks}"), remedy);
            return None;
        }
        Some(connection)
    }

    /// Told at the first cluster that needs it: hundreds may share one kubeconfig.
    fn unreadable(&mut self, index: usize, path: Option<&PathBuf>, why: &str) {
        if !self.unreadable.insert(path.cloned()) {
            return;
        }
        let (key, remedy) = match path {
            Some(_) => ("kubeconfig", "give a readable kubeconfig (the path is relative to the fleet file)"),
            None => ("context", "set KUBECONFIG, or give the cluster a kubeconfig"),
        };
        let shown = path.map(|path| path.display().to_string());
        let usual: Vec<String> = match path {
            Some(_) => vec![],
            None => kubeconfig::files(None).iter().map(|file| file.display().to_string()).collect(),
        };
        let which = if usual.is_empty() { String::new() } else { format!(" ({})", usual.join(", ")) };
        let what = format!("has no kubeconfig that can be read{which}: {why}");
        self.problem(format!("clusters[{index}].{key}"), shown.as_deref(), what, remedy);
    }

    /// One cluster under two names would have two workers, and count twice in every budget.
    fn once_in_the_fleet(&mut self, index: usize, connection: &Connection) {
        if let Some((earlier, _)) = self.connections.iter().find(|(_, known)| is_same(known, connection)) {
            let what = format!("is the same cluster as clusters[{earlier}]");
            let (key, value) = match connection {
                Connection::Kubeconfig { context, .. } => ("context", context.as_str()),
                Connection::InCluster => ("inCluster", "true"),
            };
            let at = format!("clusters[{index}].{key}");
            self.problem(at, Some(value), what, "remove one of the two entries");
        }
        self.connections.push((index, connection.clone()));
    }

    /// `defaults` with the cluster's overrides. A mistake in `defaults` is told once, at its place.
    fn settings(&mut self, raw: &RawFleet, index: usize, cluster: &RawCluster) -> Settings {
        let place =
            |overridden: bool| if overridden { format!("clusters[{index}]") } else { "defaults".to_owned() };
        let default = Settings::default();

        let image = cluster.image.as_ref().or(raw.defaults.image.as_ref()).unwrap_or(&default.image);
        if !is_bare_image(image) {
            let remedy = "give the image without tag or digest; the tag is the resource's clientVersion";
            let at = format!("{}.image", place(cluster.image.is_some()));
            self.once(at, Some(image), "is not an image without a tag", remedy);
        }
        let own = &cluster.network_policy.metrics_from;
        let metrics_from = own.as_ref().or(raw.defaults.network_policy.metrics_from.as_ref());
        let metrics_from = metrics_from.cloned().unwrap_or_default();
        for (number, cidr) in metrics_from.iter().enumerate().filter(|(_, cidr)| !is_cidr(cidr)) {
            let at = format!("{}.networkPolicy.metricsFrom[{number}]", place(own.is_some()));
            self.once(at, Some(cidr), "is not a CIDR", "write it as 10.0.0.0/8");
        }
        Settings {
            image: image.clone(),
            ports: self.ports(index, &cluster.ports, &raw.defaults.ports),
            metrics_from,
            probe: self.probe(index, &cluster.probe, &raw.defaults.probe),
            max_nodes_in_flight: cluster
                .max_nodes_in_flight
                .or(raw.defaults.max_nodes_in_flight)
                .unwrap_or(1),
            install_crd: cluster.install_crd.or(raw.defaults.install_crd).unwrap_or(false),
        }
    }

    fn probe(&mut self, index: usize, own: &RawProbe, defaults: &RawProbe) -> Probe {
        let usual = Probe::default();
        let place = |own: bool, key: &str| {
            if own { format!("clusters[{index}].probe.{key}") } else { format!("defaults.probe.{key}") }
        };
        let interval_at = place(own.interval.is_some(), "interval");
        let timeout_at = place(own.timeout.is_some(), "timeout");
        let interval = own.interval.as_ref().or(defaults.interval.as_ref());
        let timeout = own.timeout.as_ref().or(defaults.timeout.as_ref());
        let probe = Probe {
            interval: self.duration(&interval_at, interval, usual.interval),
            timeout: self.duration(&timeout_at, timeout, usual.timeout),
        };
        let shown = |given: Option<&String>, usual: &str| given.map_or(usual.to_owned(), Clone::clone);
        if probe.interval < SHORTEST_PROBES {
            let remedy = "write how often a node is asked, at least 1s";
            self.once(interval_at, Some(&shown(interval, "60s")), "is too short", remedy);
        } else if probe.timeout.is_zero() {
            let remedy = "write how long a node may take to answer, for example 5s";
            self.once(timeout_at, Some(&shown(timeout, "5s")), "would fail every probe", remedy);
        } else if probe.timeout >= probe.interval {
            // It is told at what was written: one of the two may be usual.
            let (at, value) = if timeout.is_some() { (timeout_at, timeout) } else { (interval_at, interval) };
            let what = format!(
                "leaves no time: the interval is {:#}, the timeout {:#}",
                probe.interval, probe.timeout
            );
            self.once(at, value.map(String::as_str), &what, "make the timeout shorter than the interval");
        }
        probe
    }

    fn ports(&mut self, index: usize, own: &RawPorts, defaults: &RawPorts) -> Ports {
        let usual = Ports::default();
        // Where the number was written, and how near to the person: a clash is told at the nearer of the two.
        let port = |name: &'static str, own: Option<u16>, default: Option<u16>, usual: u16| {
            let at = format!("defaults.ports.{name}");
            match (own, default) {
                (Some(port), _) => (name, port, format!("clusters[{index}].ports.{name}"), 3),
                (None, Some(port)) if self.written.is_from_env(&at) => (name, port, at, 2),
                (None, Some(port)) => (name, port, at, 1),
                (None, None) => (name, usual, at, 0),
            }
        };
        let all = [
            port("p2p", own.p2p, defaults.p2p, usual.p2p),
            port("rpc", own.rpc, defaults.rpc, usual.rpc),
            port("ws", own.ws, defaults.ws, usual.ws),
            port("metrics", own.metrics, defaults.metrics, usual.metrics),
        ];
        for (number, one) in all.iter().enumerate() {
            for two in all[..number].iter().filter(|two| two.1 == one.1) {
                let (told, other) = if two.3 > one.3 { (two, one) } else { (one, two) };
                let what = format!("is the port of {} too", other.0);
                let remedy = "give the four ports different numbers";
                self.once(told.2.clone(), Some(&told.1.to_string()), &what, remedy);
            }
        }
        Ports { p2p: all[0].1, rpc: all[1].1, ws: all[2].1, metrics: all[3].1 }
    }
}

/// Whether two connections are one, also where it is written in two ways.
fn is_same(one: &Connection, other: &Connection) -> bool {
    match (one, other) {
        (Connection::Kubeconfig { path, context }, Connection::Kubeconfig { path: at, context: named }) => {
            context == named
                && (path == at || kubeconfig::files(path.as_deref()) == kubeconfig::files(at.as_deref()))
        }
        _ => one == other,
    }
}
