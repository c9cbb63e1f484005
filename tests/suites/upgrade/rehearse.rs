//! `rehearse`: a person's fleet file on simulated clusters, before it is carried out on real ones.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::commands::Ended;
use crate::support::daemon::command;
use crate::support::in_both_worlds;
use crate::support::world::{Place, World, sample, upgrade};
use crate::support::{PATIENCE, eventually};

in_both_worlds! {
    the_resources_of_real_clusters_are_read_without_their_keys_and_nothing_is_written,
}

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";

/// Runs it on a file; its exit code, and what it said.
async fn rehearse(file: &Path, arguments: &[&str]) -> (i32, String) {
    let (file, arguments) = (file.to_owned(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
    let output: Output = tokio::task::spawn_blocking(move || {
        command().arg("rehearse").arg(file).args(&arguments).output().unwrap()
    })
    .await
    .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

fn example() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet/fleet.yaml")
}

/// Stage and clusters of every wave.
fn outline(waves: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let waves = waves.as_array().unwrap().iter();
    waves
        .map(|wave| {
            let steps = wave["steps"].as_array().unwrap().iter();
            (text(&wave["stage"]), steps.map(|step| text(&step["cluster"])).collect())
        })
        .collect()
}

/// Five clusters, of which two of production may go at once, with a soak of a day and an approval.
fn wide(folder: &Path) -> std::path::PathBuf {
    let clusters: Vec<Value> = (0..5)
        .map(|number| {
            let stage = if number == 0 { "canary" } else { "production" };
            json!({"name": format!("c{number}"), "context": format!("k{number}"), "labels": {"stage": stage}})
        })
        .collect();
    let fleet = json!({
        "version": 1, "home": "c0", "clusters": clusters, "validators": {"maxUnavailable": 2},
        "admin": {"listen": "127.0.0.1:9100"}, "telemetry": {"otlp": {"endpoint": "http://127.0.0.1:4317"}},
        "upgrades": [{
            "name": "release", "clientVersion": NEW, "stages": [
                {"name": "canary", "clusters": {"matchLabels": {"stage": "canary"}}, "soak": "1d"},
                {"name": "production", "clusters": {}, "maxConcurrent": 2, "approval": "required"},
            ],
        }],
    });
    let file = folder.join("fleet.yaml");
    std::fs::write(&file, fleet.to_string()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undisturbed_rehearsal_has_the_waves_that_plan_names_and_gives_the_approvals() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = rehearse(&wide(folder.path()), &["-o", "json"]).await;
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let expected =
        [("canary", vec!["c0"]), ("production", vec!["c1", "c2"]), ("production", vec!["c3", "c4"])];
    let expected: Vec<(String, Vec<String>)> = expected
        .into_iter()
        .map(|(stage, clusters)| (stage.to_owned(), clusters.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(outline(&report["waves"]), expected, "{said}");
    assert_eq!(outline(&report["predicted"]), expected, "{said}");
    assert_eq!((&report["asPlanned"], &report["outcome"]), (&json!(true), &json!("passed")));
    assert!(said.contains("approval of stable2503-7 is given by the rehearsal"), "{said}");
    assert!(report["seconds"].as_i64().unwrap() > 86_400, "the soak was played: {said}");
    assert_eq!(report["waves"][0]["steps"][0]["from"], OLD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_in_yaml_is_the_one_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = wide(folder.path());
    let ((code, json), (same, yaml)) =
        tokio::join!(rehearse(&file, &["-o", "json"]), rehearse(&file, &["-o", "yaml"]));
    assert_eq!((code, same), (0, 0), "{json} {yaml}");
    assert!(serde_json::from_str::<Value>(&yaml).is_err(), "it is no YAML: {yaml}");
    let read: [Value; 2] = [serde_json::from_str(&json).unwrap(), serde_yaml::from_str(&yaml).unwrap()];
    // How long it takes is not the same twice.
    let [json, yaml] = read.map(|mut report| {
        assert!(report["seconds"].is_i64());
        report["seconds"] = Value::Null;
        for waves in ["waves", "predicted"] {
            for wave in report[waves].as_array_mut().unwrap() {
                assert!(wave["afterSeconds"].is_i64());
                wave["afterSeconds"] = Value::Null;
            }
        }
        report
    });
    assert_eq!(json, yaml);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_rehearsed_in_seconds_without_its_kubeconfig() {
    let begun = std::time::Instant::now();
    let (code, said) = rehearse(&example(), &[]).await;
    assert_eq!((code, said.contains("PASSED in ")), (0, true), "{said}");
    assert!(said.contains("These are the waves that plan names."), "{said}");
    assert!(begun.elapsed() < crate::support::PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_while_it_happens() {
    let folder = tempfile::tempdir().unwrap();
    let file = wide(folder.path());
    let said = tokio::task::spawn_blocking(move || {
        let mut playing = Ended(command().arg("rehearse").arg(file).stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(playing.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said: Vec<String> = vec![];
        // The first wave is told before the soak of a day, and two more.
        said.extend(lines.by_ref().take_while(|line| !line.starts_with("wave 1 ")));
        drop(playing);
        said.extend(lines);
        said.join("\n")
    })
    .await
    .unwrap();
    assert!(said.starts_with("REHEARSAL: 5 simulated clusters, 5 resources,"), "{said}");
    assert!(said.contains("  c0  ") && !said.contains("PASSED"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_is_ended_says_so_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let (file, said) = (wide(folder.path()), folder.path().join("said"));
    let mut playing = command();
    playing.arg("rehearse").arg(file).stdout(Stdio::piped()).stderr(std::fs::File::create(&said).unwrap());
    let mut playing = Ended(playing.spawn().unwrap());
    let mut lines = BufReader::new(playing.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.next().is_some_and(|line| line.starts_with("REHEARSAL")));
    let pid = playing.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = eventually("it has ended", PATIENCE, async || playing.0.try_wait().unwrap()).await;
    let said = std::fs::read_to_string(said).unwrap();
    assert_eq!((ended.code(), said.contains("ended before the upgrades were")), (Some(130), true), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_halts_it_names_the_node_and_leaves_the_others_alone() {
    let (code, said) = rehearse(&example(), &["--fail", "eu-1=crash-loop", "--from", "stable2412"]).await;
    assert_eq!(code, 1, "{said}");
    for words in [
        "made up for upgrade polkadot: a validator with a sentry in every cluster, at stable2412",
        "HALTED after",
        "with eu-1=crash-loop",
        "eu-1  polkadot-sentry-sset-0  CrashLoopBackOff; it ended with 1",
        "These are not all the waves",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert!(!said.contains("us-1  polkadot/polkadot  stable2412 ->"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_finalises_nothing_halts_it_at_the_deadline_however_the_time_jumps() {
    let (code, said) = rehearse(&example(), &["--fail", "eu-canary=finality-stall"]).await;
    assert_eq!((code, said.contains("not healthy within 30m")), (1, true), "{said}");
    assert!(said.contains("it has finalised no block since"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_or_a_cluster_that_is_none_is_told_and_nothing_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, "version: 1\nclusters: [{context: one, lables: {}}]\n").unwrap();
    let (code, said) = rehearse(&file, &[]).await;
    assert_eq!((code, said.contains("lables")), (2, true), "{said}");
    std::fs::write(&file, "version: 1\nclusters: [{context: one}]\n").unwrap();
    let (code, said) = rehearse(&file, &[]).await;
    assert_eq!((code, said.contains("has no upgrade: there is nothing to rehearse")), (2, true), "{said}");
    let (code, said) = rehearse(&example(), &["--fail", "nowhere=hang"]).await;
    assert_eq!((code, said.contains("there are: eu-canary, eu-1, us-1")), (2, true), "{said}");
}

async fn the_resources_of_real_clusters_are_read_without_their_keys_and_nothing_is_written(place: Place) {
    let world = World::new(place, 2).await;
    let mut held = sample(OLD, 0x71);
    held.spec.hold = Some("it is Friday".into());
    world.members[0].create(&sample(OLD, 0x70)).await;
    world.members[1].create(&held).await;
    let mut rest = upgrade(NEW, "1h");
    rest["upgrades"][0]["stages"][1]["optional"] = json!(true);
    world.write_fleet(2, &rest);
    let (code, said) = rehearse(&world.fleet_file(), &["--from-clusters", "-o", "json"]).await;
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(outline(&report["waves"]), [("canary".to_owned(), vec!["cluster-1".to_owned()])], "{said}");
    assert!(said.contains("nodeKey (") && said.contains("it is Friday"), "{said}");
    assert!(!said.contains(&"70".repeat(32)) && !said.contains(&"71".repeat(32)), "{said}");
    for member in &world.members {
        assert!(member.writers().is_empty(), "{:?}", member.writers());
        assert_eq!(member.get().await.spec.client_version.as_deref(), Some(OLD));
    }
    // One that does not answer is named, and the others play.
    world.members[1].gate.set(crate::support::proxy::Mode::Refuse);
    let (code, said) = rehearse(&world.fleet_file(), &["--from-clusters"]).await;
    assert_eq!(code, 1, "{said}");
    for words in ["cluster cluster-2 did not answer", "NOT THE WHOLE FLEET", "PASSED in"] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
}
