//! The sandbox answers as a real API server does: the same requests, success and failure alike, go to both, and code,
//! headers that matter and body are compared.
//!
//! The requests are data: one YAML file per subject in `tests/suites/api_conformance`, each a list of steps ([`cases`])
//! that run in order in a namespace of their own. [`server`] sends them, [`normal`] says what is not compared, and why.
//! There is no list of tolerated differences: where the two differ, the real server is right.
//!
//! Left out, because the sandbox is known to answer otherwise and nothing of ours depends on it:
//!
//! - what a claim's or a pod's refused change looks like (a diff of the server's own Go structures in the message);
//! - the message about a scale that cannot be decoded (it shows a `Scale` with its managedFields);
//! - warnings beside a refusal: of an object with the wrong apiVersion the fields are unknown, too;
//! - a custom resource that waits for its dependents: a collector looks for new kinds every half minute only (those of
//!   the kinds of Kubernetes are compared);
//! - several mistakes in one custom resource: the server tells them in the random order of Go's maps;
//! - watches from revision 1: what a server remembers depends on its age (the sandbox's 64 KiB on its changes);
//! - bodies in protobuf, and so `kubectl create configmap` and the like (`kubectl create -f` sends JSON);
//! - `kubectl explain` of the kinds of Kubernetes, and `kubectl apply` of a kind that nobody knows, which asks for
//!   `/openapi/v2`;
//! - `/version`, which says that it is a simulation.

mod cases;
mod normal;
mod server;

use std::collections::BTreeMap;

use futures::future::join_all;
use polkafleet::clock::Clock;
use polkafleet::sandbox::fleet::Fleet;
use serde_json::Value;

use self::cases::{Step, Subject};
use self::normal::Normalizer;
use self::server::{Answer, Server};
use crate::support::planes;

/// As many requests as the comparison must at least consist of.
const AT_LEAST: usize = 800;

mod real {
    #[tokio::test(flavor = "multi_thread")]
    async fn the_sandbox_answers_every_request_as_a_real_api_server_does() {
        let Some(planes) = crate::support::planes::shared() else { return };
        super::compare(planes).await;
    }
}

mod sandbox {
    #[tokio::test(flavor = "multi_thread")]
    async fn every_request_of_the_conformance_suite_gets_the_code_that_it_got_from_a_real_server() {
        super::replay().await;
    }
}

/// Sends everything to both, side by side; a subject goes on after a difference, so that one run shows them all.
async fn compare(planes: &planes::Planes) {
    let folder = tempfile::tempdir().unwrap();
    let kubectl = planes::kubectl();
    let real = planes.folder.join("cluster-1/admin.kubeconfig");
    let run = run_name();
    let subjects = cases::all();
    let begun = std::time::Instant::now();
    let results = join_all(subjects.iter().map(async |subject| {
        let namespace = format!("{run}-{}", subject.name.replace('_', "-"));
        let (fleet, kubeconfig) = simulated(folder.path(), &subject.name).await;
        let mut real = Server::new(&real, folder.path(), "real", &kubectl, &run, &namespace).await;
        let mut sandbox =
            Server::new(&kubeconfig, folder.path(), &subject.name, &kubectl, &run, &namespace).await;
        tokio::join!(real.prepare(true), sandbox.prepare(false));
        let mut outcome = Outcome::default();
        let mut normalizers = (Normalizer::default(), Normalizer::default());
        for step in &subject.steps {
            let (expected, found) = tokio::join!(real.ask(step), sandbox.ask(step));
            outcome.asked += step.requests();
            let expected = normalizers.0.normalize(expected, step);
            let found = normalizers.1.normalize(found, step);
            outcome.compare(subject, step, &expected, &found);
        }
        drop(fleet);
        outcome
    }))
    .await;
    let asked: usize = results.iter().map(|outcome| outcome.asked).sum();
    let differences: Vec<String> = results.into_iter().flat_map(|outcome| outcome.differences).collect();
    eprintln!(
        "{asked} requests of {} subjects to both servers in {:.1?}: {} differences",
        subjects.len(),
        begun.elapsed(),
        differences.len()
    );
    assert!(asked >= AT_LEAST, "{asked} requests are fewer than {AT_LEAST}");
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// Sends everything but kubectl's commands to the sandbox alone and looks at the codes.
async fn replay() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_name();
    let subjects: Vec<Subject> =
        cases::all().into_iter().filter(|subject| !subject.needs_kubectl()).collect();
    let wrong = join_all(subjects.iter().map(async |subject| {
        let namespace = format!("{run}-{}", subject.name.replace('_', "-"));
        let (fleet, kubeconfig) = simulated(folder.path(), &subject.name).await;
        let kubectl = "kubectl".as_ref();
        let mut server =
            Server::new(&kubeconfig, folder.path(), &subject.name, kubectl, &run, &namespace).await;
        server.prepare(false).await;
        let mut wrong = vec![];
        for step in &subject.steps {
            let answer = server.ask(step).await;
            if answer.code != step.code {
                wrong.push(format!("{}: {}, not {}: {}", subject.name, answer.code, step.code, step.act));
            }
        }
        drop(fleet);
        wrong
    }))
    .await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A simulated cluster that listens, and its kubeconfig in `folder`: one for each subject, because it remembers the past
/// for a number of changes, which the subjects would use up for each other.
async fn simulated(folder: &std::path::Path, name: &str) -> (Fleet, std::path::PathBuf) {
    // The clock of the real one, so that ages are the same.
    let fleet = Fleet::start(&["cluster-1"], &Clock::machine());
    let kubeconfig = fleet.serve().await.unwrap();
    let file = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    (fleet, file)
}

/// What the names of this run begin with.
fn run_name() -> String {
    format!("c{:06x}", rand::random::<u32>() & 0x00ff_ffff)
}

/// What came of a subject.
#[derive(Default)]
struct Outcome {
    asked: usize,
    differences: Vec<String>,
}

impl Outcome {
    fn compare(&mut self, subject: &Subject, step: &Step, expected: &Answer, found: &Answer) {
        let mut all = vec![];
        if expected.code != step.code {
            all.push(format!("the file says {}, the real server {}", step.code, expected.code));
        }
        let (left, right) = (flat(&expected.value()), flat(&found.value()));
        let paths: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for path in paths {
            let (left, right) = (left.get(path), right.get(path));
            if left != right {
                let show = |side: Option<&String>| side.map_or("nothing", String::as_str).to_owned();
                all.push(format!("{path}\n      real:    {}\n      sandbox: {}", show(left), show(right)));
            }
        }
        if !all.is_empty() {
            let body = if step.body.is_null() { String::new() } else { format!(" {}", step.body) };
            let head = format!("{}: {}{body}", subject.name, step.act);
            self.differences.push(format!("{head}\n    {}", all.join("\n    ")));
        }
    }
}

/// Every leaf of a value by its path.
fn flat(value: &Value) -> BTreeMap<String, String> {
    fn walk(value: &Value, path: &str, all: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                map.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), all));
            }
            Value::Array(items) if !items.is_empty() => {
                items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{path}/{at}"), all));
            }
            leaf => drop(all.insert(path.to_owned(), leaf.to_string())),
        }
    }
    let mut all = BTreeMap::new();
    walk(value, "", &mut all);
    all
}
