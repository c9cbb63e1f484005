//! From what was written to a [`Fleet`], or to everything that is wrong with it. Pure but for [`load`], which reads
//! the files; which contexts a kubeconfig has is an argument.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::file::{self, Sources, Written, within};
use super::kubeconfig::{self, Context};
use super::problem::Problem;
use super::raw::RawFleet;
use super::shape;
use super::{Cluster, Connection, Fleet, Upgrade};

mod clusters;
mod fleetwide;
mod quantities;
mod upgrades;
mod words;

/// The contexts in a kubeconfig (`None`: the usual one), or why it cannot be read.
pub type Contexts<'a> = &'a dyn Fn(Option<&Path>) -> Result<Vec<Context>, String>;

/// What loading found, and the files that it depends on.
pub(super) struct Loaded {
    /// The fleet, or all that is wrong.
    pub(super) fleet: Result<Fleet, Vec<Problem>>,
    /// The kubeconfigs that were asked for, and why if one cannot be read, or has lost the user of a running connection.
    pub(super) kubeconfigs: BTreeMap<Option<PathBuf>, Result<(), String>>,
}

/// Reads and validates. Blocks on files.
pub fn load(sources: &Sources) -> Result<Fleet, Vec<Problem>> {
    load_all(sources, &[]).fleet
}

/// As [`load`], for those who reach no cluster: the kubeconfigs are not looked at, and have whatever context is named.
pub fn load_alone(sources: &Sources) -> Result<Fleet, Vec<Problem>> {
    let folder = sources.file.as_deref().and_then(Path::parent);
    let written = file::read(sources).map_err(|problem| vec![problem])?;
    let clusters = written.value["clusters"].as_array().into_iter().flatten();
    let named = clusters.filter_map(|cluster| cluster["context"].as_str());
    let named: Vec<_> = named.map(|name| Context { name: name.to_owned(), lacks: None }).collect();
    validate(&written, folder, &|_| Ok(named.clone()), &[])
}

/// As [`load`], for those who follow the files too: the kubeconfigs of the `running` connections are read in any case,
/// and one that cannot be read takes none of them away. Each kubeconfig is read once, however many clusters it is for.
pub(super) fn load_all(sources: &Sources, running: &[Connection]) -> Loaded {
    let read = RefCell::new(BTreeMap::<Option<PathBuf>, Result<Vec<Context>, String>>::new());
    let once = |path: Option<&Path>| {
        read.borrow_mut().entry(path.map(Path::to_owned)).or_insert_with(|| contexts(path)).clone()
    };
    for connection in running {
        if let Connection::Kubeconfig { path, .. } = connection {
            drop(once(path.as_deref()));
        }
    }
    let folder = sources.file.as_deref().and_then(Path::parent);
    let fleet = file::read(sources)
        .map_err(|problem| vec![problem])
        .and_then(|written| validate(&written, folder, &once, running));
    let kubeconfigs = read.into_inner().into_iter();
    let kubeconfigs = kubeconfigs.map(|(path, read)| {
        let read = read.and_then(|contexts| whole(&contexts, path.as_ref(), running));
        (path, read)
    });
    Loaded { fleet, kubeconfigs: kubeconfigs.collect() }
}

/// The contexts of a real kubeconfig.
fn contexts(path: Option<&Path>) -> Result<Vec<Context>, String> {
    let read = kubeconfig::read(path).map_err(|error| kubeconfig::in_words(&error))?;
    Ok(kubeconfig::contexts(&read))
}

/// A kubeconfig without the user of a connection that exists is as good as none: it takes nothing away.
fn whole(contexts: &[Context], path: Option<&PathBuf>, running: &[Connection]) -> Result<(), String> {
    let runs = |name: &String| {
        let of = |one: &Connection| matches!(one, Connection::Kubeconfig { path: at, context } if at.as_ref() == path && context == name);
        running.iter().any(of)
    };
    let lacking = contexts.iter().find_map(|context| context.lacks.as_ref().filter(|_| runs(&context.name)));
    lacking.map_or(Ok(()), |lacks| Err(lacks.clone()))
}

/// What the only cluster of a fleet without a file is called.
pub fn cluster_name(context: &str) -> &str {
    if words::is_dns_label(context) { context } else { "cluster" }
}

/// Validates what was written in a file of `folder`.
pub(super) fn validate(
    written: &Written,
    folder: Option<&Path>,
    contexts: Contexts<'_>,
    running: &[Connection],
) -> Result<Fleet, Vec<Problem>> {
    let (raw, problems) = shape::check(written);
    let misshapen = problems.len();
    let mut checker = Checker {
        written,
        folder: folder.unwrap_or(Path::new("")),
        contexts,
        running,
        problems,
        misshapen,
        connections: vec![],
        unreadable: BTreeSet::new(),
    };
    let fleet = checker.fleet(&raw);
    if checker.problems.is_empty() { Ok(fleet) } else { Err(checker.problems) }
}

/// Builds the fleet and collects what is wrong. With a problem, what was built stands in for what cannot be, so that
/// the rest is looked at too; it is then thrown away.
struct Checker<'a> {
    written: &'a Written,
    folder: &'a Path,
    contexts: Contexts<'a>,
    /// What was good when it was last read: it stays so while its kubeconfig cannot be read.
    running: &'a [Connection],
    problems: Vec<Problem>,
    /// So many of the problems, the first, are about the shape.
    misshapen: usize,
    /// Who is reached how, to find one cluster under two names.
    connections: Vec<(usize, Connection)>,
    /// Kubeconfigs that were reported.
    unreadable: BTreeSet<Option<PathBuf>>,
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
        // What was misshapen was taken out: that it is missing now is not another mistake.
        if self.problems[..self.misshapen].iter().any(|known| within(&path, &known.path)) {
            return;
        }
        self.problems.push(Problem {
            source: self.written.source_of(&path),
            path,
            value: value.map(|value| format!("{value:?}")),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn once(&mut self, path: String, value: Option<&str>, what: &str, remedy: &str) {
        if !self.problems.iter().any(|problem| problem.path == path && problem.what == what) {
            self.problem(path, value, what, remedy);
        }
    }

    fn dns_label(&mut self, path: &str, name: &str) {
        if !words::is_dns_label(name) {
            let remedy = "use lower-case letters, digits and dashes, at most 63, for example ";
            let example = Some(words::as_dns_label(name)).filter(|example| !example.is_empty());
            let remedy = format!("{remedy}{}", example.as_deref().unwrap_or("eu-1"));
            self.problem(path, Some(name), "is not a DNS label", remedy);
        }
    }

    fn fleet(&mut self, raw: &RawFleet) -> Fleet {
        if raw.version.is_none() {
            self.problem("version", None, "is missing", "add version: 1");
        }
        if raw.clusters.is_empty() {
            self.problem("clusters", None, "has no cluster", "add an entry with a kubeconfig context");
        }
        let clusters: Vec<Cluster> = raw
            .clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| self.cluster(raw, index, cluster))
            .collect();
        self.unique("clusters", clusters.iter().map(|cluster| cluster.name.0.as_str()));
        let home = self.home(raw, &clusters);
        let upgrades: Vec<Upgrade> =
            raw.upgrades.iter().enumerate().map(|(index, upgrade)| self.upgrade(index, upgrade)).collect();
        self.unique("upgrades", upgrades.iter().map(|upgrade| upgrade.name.as_str()));
        self.remembered(raw, &clusters, &upgrades);
        Fleet {
            home,
            home_namespace: self.home_namespace(raw),
            clusters,
            validators: fleetwide::validators(raw),
            upgrades,
            lease: self.lease(raw),
            telemetry: self.telemetry(raw),
            admin: self.admin(raw),
        }
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
}

fn expand_home(path: &str) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests;
