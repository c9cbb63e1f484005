//! The layers of `src/lib.rs`, checked by reading the sources: imports go one way, and pure files stay pure.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// A module, and the modules of ours that it may name.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("clock", &[]),
    ("version", &[]),
    ("identity", &[]),
    ("polkadot", &["version", "identity"]),
    ("fleet", &["version"]),
    ("observed", &["fleet", "polkadot"]),
    ("desired", &["fleet", "identity", "observed", "polkadot", "version"]),
    ("health", &["clock", "fleet", "observed", "version"]),
    ("telemetry", &["fleet", "identity"]),
    ("reconcile", &["desired", "fleet", "identity", "observed", "polkadot", "version"]),
    ("leader", &[]),
    (
        "cluster",
        &["clock", "fleet", "health", "leader", "observed", "polkadot", "reconcile", "telemetry", "version"],
    ),
    ("home", &["clock", "cluster", "fleet", "leader", "observed", "polkadot"]),
    ("upgrade", &["clock", "fleet", "health", "observed", "polkadot", "version"]),
    ("daemon", &["clock", "cluster", "fleet", "home", "leader", "observed", "upgrade"]),
    ("sandbox", &["clock", "cluster", "fleet", "identity", "polkadot", "version"]),
    (
        "cli",
        &[
            "clock",
            "cluster",
            "daemon",
            "fleet",
            "home",
            "leader",
            "observed",
            "polkadot",
            "sandbox",
            "telemetry",
            "upgrade",
            "version",
        ],
    ),
];

/// The files of the planner that do I/O may also reach the clients and the traces, and masks what it logs.
const EXECUTE: [&str; 6] = ["cluster", "home", "identity", "leader", "reconcile", "telemetry"];

/// Files that do I/O. All others are pure: no async, no client, no clock, no environment, no randomness.
const IO: &[&str] = &[
    "cli.rs",
    "cli/choose.rs",
    "cli/crd.rs",
    "cli/decide.rs",
    "cli/history.rs",
    "cli/leader.rs",
    "cli/look.rs",
    "cli/plan.rs",
    "cli/play.rs",
    "cli/rehearse.rs",
    "cli/rehearse/read.rs",
    "cli/rehearse/scene.rs",
    "cli/rehearse/teller.rs",
    "cli/status.rs",
    "cli/time.rs",
    "cli/run.rs",
    "cli/sandbox.rs",
    "cli/sandbox/scene.rs",
    "cli/validate.rs",
    "clock.rs",
    "cluster.rs",
    "cluster/backoff.rs",
    "cluster/board.rs",
    "cluster/connect.rs",
    "cluster/exec.rs",
    "cluster/probes.rs",
    "cluster/reconciler.rs",
    "cluster/renew.rs",
    "cluster/rights.rs",
    "cluster/servers.rs",
    "cluster/supervise.rs",
    "cluster/swap.rs",
    "cluster/watches.rs",
    "cluster/worker.rs",
    "cluster/worker/attend.rs",
    "cluster/worker/install.rs",
    "daemon.rs",
    "fleet/kubeconfig.rs",
    "fleet/watch.rs",
    "fleet/watch/credentials.rs",
    "fleet/watch/folders.rs",
    "health/probe.rs",
    "home/kept.rs",
    "home/lead.rs",
    "home/recording.rs",
    "home/skew.rs",
    "leader.rs",
    "leader/fence.rs",
    "leader/keep.rs",
    "reconcile.rs",
    "reconcile/apply.rs",
    "reconcile/begin.rs",
    "reconcile/claims.rs",
    "reconcile/make.rs",
    "reconcile/tell.rs",
    "upgrade/execute.rs",
    "upgrade/write.rs",
    "sandbox/api/types.rs",
    "sandbox/api/watch.rs",
    "sandbox/cluster.rs",
    "sandbox/connect.rs",
    "sandbox/controllers.rs",
    "sandbox/fleet.rs",
    "sandbox/http.rs",
    "main.rs",
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                walk(&entry, files);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                files.push(entry);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    walk(&root, &mut files);
    assert!(files.len() > 30, "the sources were found");
    files
        .into_iter()
        .map(|file| (file.strip_prefix(&root).unwrap().to_owned(), file))
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.iter().any(|part| part == "tests"))
        .map(|(name, file)| {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            (name.display().to_string(), code)
        })
        .collect()
}

/// Lines of code with their numbers, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

#[test]
fn imports_go_one_way() {
    let mut wrong = vec![];
    for (file, text) in sources() {
        let module = file.split(['/', '.']).next().unwrap();
        if matches!(module, "main" | "lib") {
            continue;
        }
        let (_, allowed) =
            MAY_IMPORT.iter().find(|(name, _)| *name == module).expect("every module has its row");
        for (line, text) in code(&text) {
            for named in text.split("crate::").skip(1) {
                let named: String =
                    named.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let known = MAY_IMPORT.iter().any(|(name, _)| *name == named);
                let extra = ["upgrade/execute.rs", "upgrade/overlay.rs", "upgrade/write.rs"]
                    .contains(&file.as_str())
                    && EXECUTE.contains(&named.as_str());
                if known && named != module && !allowed.contains(&named.as_str()) && !extra {
                    wrong.push(format!("src/{file}:{line}: {module} must not import {named}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn decisions_are_pure() {
    let impure = ["async fn", "tokio::", "::now(", "std::env", "rand::", "std::fs"];
    let mut wrong = vec![];
    for (file, text) in sources() {
        // The loader's edge reads files, telemetry is an edge as a whole.
        if IO.contains(&&*file)
            || file.starts_with("telemetry")
            || matches!(&*file, "fleet/file.rs" | "fleet/validate.rs")
        {
            continue;
        }
        for (line, text) in code(&text) {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric());
            let client = words.clone().any(|word| word == "Client").then_some("Client");
            for found in impure.into_iter().filter(|part| text.contains(part)).chain(client) {
                wrong.push(format!("src/{file}:{line}: {found} in a pure file"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
