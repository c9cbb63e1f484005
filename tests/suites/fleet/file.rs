//! What a person is told about a fleet file, and about having none.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::daemon::command;
use crate::support::proxy::Mode;
use crate::support::world::{Place, World};
use crate::support::{PATIENCE, eventually};

/// Exit code, standard output and error.
fn answer(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A folder with a kubeconfig of these contexts.
fn folder(contexts: &[&str], current: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let contexts: Vec<_> = contexts.iter().map(|name| json!({"name": name})).collect();
    let kubeconfig = json!({"contexts": contexts, "current-context": current});
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    folder
}

#[test]
fn who_closes_the_pipe_has_seen_enough_and_what_cannot_be_written_is_an_error() {
    let mut cut = command().arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(cut.stdout.take());
    let ended = cut.wait_with_output().unwrap();
    // As the shell says of who wrote to a closed pipe.
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.as_str()), (Some(141), ""));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = command().arg("schema").stdout(full).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output cannot be written"), "{said}");
}

fn validate(folder: &Path) -> Command {
    let mut command = command();
    command.env("HOME", folder).env("KUBECONFIG", folder.join("kubeconfig")).arg("validate");
    command
}

#[test]
fn validate_tells_every_mistake_with_file_path_value_and_remedy_and_exits_2() {
    let folder = folder(&["a", "b"], None);
    let file = folder.path().join("fleet.yaml");
    std::fs::write(
        &file,
        "{version: 1, home: x, homeNamespace: A, lease: {duration: 1s}, validators: {guard: lax}, \
         clusters: [{context: a}, {context: bb, probe: {timeout: 1h}}], admin: {listen: here}}",
    )
    .unwrap();
    let (code, _, told) = answer(validate(folder.path()).arg("--fleet").arg(&file));
    assert_eq!(code, 2, "{told}");
    for part in [
        "home: \"x\"",
        "homeNamespace: \"A\"",
        "lease.duration: \"1s\": is out of range; write how long",
        "validators.guard: \"lax\": is none of: strict, relaxed",
        "clusters[1].context: \"bb\"",
        "clusters[1].probe.timeout: \"1h\"",
        "admin.listen: \"here\"",
        "7 mistakes were found",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let lines: Vec<_> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(lines.iter().all(|line| line.contains(file.to_str().unwrap()) && line.contains("; ")), "{told}");
}

#[test]
fn validate_says_what_of_a_good_file_has_no_effect_yet() {
    let folder = folder(&["a", "b"], None);
    let file = folder.path().join("fleet.yaml");
    std::fs::write(
        &file,
        "{version: 1, home: a, clusters: [{context: a}, {context: b}], telemetry: {traceUrl: 'http://x/{traceId}'}}",
    )
    .unwrap();
    let (code, told, _) = answer(validate(folder.path()).arg("--fleet").arg(&file));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("valid: 2 clusters, home a"), "{told}");
    assert!(told.contains("without effect in this version: telemetry.traceUrl"), "{told}");
}

#[test]
fn without_a_file_the_fleet_is_the_current_context() {
    for (context, name) in [("minikube", "minikube"), ("arn:aws:eks/prod", "cluster")] {
        let folder = folder(&[context], Some(context));
        let (code, told, wrong) = answer(&mut validate(folder.path()));
        assert_eq!(code, 0, "{wrong}");
        assert!(told.contains(&format!("valid: 1 cluster, home {name}")), "{told}");
    }
}

#[test]
fn a_flag_that_names_a_cluster_wins_over_the_file_of_the_environment() {
    let folder = folder(&["a", "b"], None);
    let file = folder.path().join("other.yaml");
    std::fs::write(&file, "{version: 1, home: b, clusters: [{context: a}, {context: b}]}").unwrap();
    let mut command = validate(folder.path());
    command.env("POLKAFLEET_FILE", &file);
    assert!(answer(&mut command).1.contains("valid: 2 clusters, home b"));
    assert!(answer(command.args(["--context", "a"])).1.contains("valid: 1 cluster, home a"));
}

#[test]
fn without_a_file_and_a_kubeconfig_the_fleet_is_the_cluster_of_the_pod() {
    let folder = folder(&[], None);
    let missing = folder.path().join("missing");
    let in_pod = |command: &mut Command| {
        answer(command.env("KUBECONFIG", &missing).env("KUBERNETES_SERVICE_HOST", "10.0.0.1"))
    };
    let (code, told, wrong) = in_pod(&mut validate(folder.path()));
    assert_eq!(code, 0, "{wrong}");
    assert!(told.contains("valid: 1 cluster, home cluster"), "{told}");
    let (code, _, told) = answer(validate(folder.path()).env("KUBECONFIG", &missing));
    assert_eq!(code, 2);
    assert!(told.contains("give --fleet FILE, or --context"), "{told}");
}

#[test]
fn a_kubeconfig_that_is_of_no_use_says_what_to_do() {
    let folder = folder(&["a", "b"], None);
    let (code, _, told) = answer(&mut validate(folder.path()));
    assert_eq!(code, 2);
    assert!(told.contains("--context with one of: a, b"), "{told}");
    std::fs::write(folder.path().join("kubeconfig"), "{contexts: [").unwrap();
    let (code, _, told) = answer(&mut validate(folder.path()));
    assert_eq!(code, 2);
    assert!(told.contains("the kubeconfig cannot be read"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_connect_asks_every_cluster_and_exits_1_if_one_does_not_answer() {
    let world = World::new(Place::Sandbox, 2).await;
    world.write_fleet(2, &json!({}));
    let ask = async || {
        let (folder, file) = (world.folder.path().to_owned(), world.fleet_file());
        let asking = move || answer(validate(&folder).args(["--connect", "--fleet"]).arg(file));
        tokio::task::spawn_blocking(asking).await.unwrap()
    };
    let (code, told, wrong) = ask().await;
    assert_eq!(code, 0, "{wrong}");
    assert!(told.contains("cluster cluster-1: answers, Kubernetes v1."), "{told}");
    assert!(told.contains("cluster cluster-2: grants every right that is needed"), "{told}");
    world.members[1].gate.set(Mode::Refuse);
    let (code, told, wrong) = ask().await;
    assert_eq!(code, 1, "{wrong}");
    assert!(told.contains("cluster cluster-1: answers"), "{told}");
    assert!(wrong.contains("error: cluster cluster-2 (context cluster-2): "), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_without_a_file_looks_after_the_current_context() {
    let world = World::new(Place::Sandbox, 1).await;
    let path = world.folder.path().join("kubeconfig");
    let mut kubeconfig: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    kubeconfig["current-context"] = json!(world.members[0].name);
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let log = std::fs::File::create(world.folder.path().join("log")).unwrap();
    let mut child = command().env("KUBECONFIG", &path).arg("run").stderr(log).spawn().unwrap();
    let said = || std::fs::read_to_string(world.folder.path().join("log")).unwrap();
    eventually("the cluster is ready", PATIENCE, async || {
        let said = said();
        (said.contains("cluster-1") && said.contains("ready")).then_some(())
    })
    .await;
    // The log is JSON, and the address in it is quoted.
    let taken = r#"current context cluster-1, at \"http"#;
    assert!(
        said().contains(taken) && said().contains("--context CONTEXT or --fleet FILE chooses"),
        "{}",
        said()
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
