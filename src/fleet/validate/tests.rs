//! What a fleet file comes to, and what is told of its mistakes.

use std::path::Path;

use super::{Context, Fleet, Sources, file, validate};

mod clusters;
mod examples;
mod upgrades;
mod whole;

fn fake_contexts(path: Option<&Path>) -> Result<Vec<Context>, String> {
    match path {
        Some(path) if path.ends_with("missing.yaml") => Err("no such file".into()),
        _ => Ok(["kind-eu-canary", "kind-eu-1", "kind-us-1", "minikube"]
            .map(String::from)
            .into_iter()
            .chain((1..=12).map(|number| format!("prod-{number}")))
            .map(|name| Context { name, lacks: None })
            .collect()),
    }
}

fn check_with(text: &str, env: &[(&str, &str)]) -> Result<Fleet, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let written = match file::read(&Sources { file: Some(file), env, flags: None }) {
        Ok(written) => written,
        Err(problem) => return Err(vec![problem.to_string()]),
    };
    validate(&written, None, &fake_contexts, &[])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn check(text: &str) -> Result<Fleet, Vec<String>> {
    check_with(text, &[])
}

const ONE: &str = "{version: 1, clusters: [{context: minikube}]}";

/// Exactly these problems, each known by some part of its text: nothing is hidden, nothing is made up.
fn exactly(text: &str, env: &[(&str, &str)], expected: &[&str]) {
    let problems = check_with(text, env).expect_err(text);
    assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
    for part in expected {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part} of {text}\n{problems:#?}");
    }
}

/// A file with one upgrade, to which `more` is added.
fn upgrade(more: &str) -> String {
    format!(
        "{{version: 1, clusters: [{{context: minikube}}], upgrades: [{{name: u, clientVersion: stable2503-7, \
         stages: [{{name: all}}], {more}}}]}}"
    )
}

/// A file with one cluster, to which `more` is added.
fn cluster(more: &str) -> String {
    format!("{{version: 1, clusters: [{{context: minikube, {more}}}]}}")
}

/// Everything of the file's head that is said once for the whole fleet.
fn with(more: &str) -> String {
    format!("{{version: 1, clusters: [{{context: minikube}}], {more}}}")
}
