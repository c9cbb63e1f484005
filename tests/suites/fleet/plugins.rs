//! Many clusters have exec plugins: they are not all run at once, and one that hangs takes nobody's place for long.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use polkafleet::cluster::connect::{Connect as _, Kubernetes};
use polkafleet::fleet::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{PATIENCE, eventually};

/// A connection whose plugin is this script, which is told a folder to leave its traces in.
fn connection(folder: &Path, name: &str, script: &str) -> Connection {
    let path = folder.join(format!("{name}.kubeconfig"));
    let kubeconfig: Value = json!({
        "clusters": [{"name": "far", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "far", "context": {"cluster": "far", "user": "me"}}],
        "users": [{"name": "me", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", script, "plugin", folder], "interactiveMode": "Never",
        }}}],
    });
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    Connection::Kubeconfig { path: Some(path), context: "far".into() }
}

const GOOD: &str = r#"echo + >> $1/ran; sleep 0.2; echo - >> $1/ran; echo '{"status": {"token": "t"}}'"#;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_plugins_a_few_run_at_once_and_those_that_hang_hold_up_no_good_one_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<_> = (0..40).map(|n| connection(folder.path(), &format!("good-{n}"), GOOD)).collect();
    let all = join_all(many.iter().map(|one| Kubernetes.connect(one))).await;
    // What a plugin says is waited for no longer than a moment after its end, which is too short for the busiest machine.
    let well = all.iter().filter(|connected| connected.is_ok()).count();
    assert!(well > 30, "{well} of {}", many.len());
    let ran = std::fs::read_to_string(folder.path().join("ran")).unwrap();
    let mut running = 0;
    let at_once = ran.lines().map(|line| {
        running += if line == "+" { 1 } else { -1 };
        running
    });
    let most = at_once.max().unwrap();
    // Eight, and those that a busy machine makes so late that they count no more.
    assert!(most <= 24, "{most} ran at once");

    let hung = folder.path().join("hung");
    std::fs::create_dir(&hung).unwrap();
    let mut hanging = JoinSet::new();
    for number in 0..8 {
        let name = format!("hung-{number}");
        let one = connection(folder.path(), &name, &format!("touch $1/hung/{name}; exec sleep 600"));
        hanging.spawn(async move { Kubernetes.connect(&one).await.is_ok() });
    }
    eventually("all of them hang", PATIENCE, async || {
        (std::fs::read_dir(&hung).unwrap().count() == 8).then_some(())
    })
    .await;
    let begun = Instant::now();
    // The hung ones take 20 s to be killed.
    eventually("a good one connects", PATIENCE, async || Kubernetes.connect(&many[0]).await.ok()).await;
    // Less than what a plugin may take before it is killed.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
