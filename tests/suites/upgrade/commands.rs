//! `plan`, `status`, `approve`, `pause`, `resume`, `retry`, as a person or a pipeline uses them.

use std::process::Output;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use polkafleet::upgrade::Code;
use serde_json::{Value, json};

use crate::support::daemon::command;
use crate::support::in_both_worlds;
use crate::support::proxy::Mode;
use crate::support::world::{Place, World, upgrade};
use crate::support::{PATIENCE, eventually};

in_both_worlds! {
    plan_names_the_waves_to_come_and_changes_nothing,
    i11_approve_lets_a_stage_begin_for_exactly_one_version,
    i11_pause_starts_nothing_until_resume_and_retry_raises_the_attempt,
    plan_and_status_name_the_clusters_that_they_cannot_see,
    a_wrong_name_is_told_with_those_that_there_are,
    a_decision_is_about_what_the_daemon_follows_and_not_about_another_edition_of_the_file,
    what_is_printed_as_yaml_is_what_is_printed_as_json,
}

pub(super) const OLD: &str = "stable2503-6";
pub(super) const NEW: &str = "stable2503-7";

/// Runs a command on the world's fleet file.
pub(crate) async fn run(world: &World, arguments: &[&str]) -> (i32, String) {
    let (file, arguments) =
        (world.fleet_file(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
    let output: Output = tokio::task::spawn_blocking(move || {
        command().args(&arguments).arg("--fleet").arg(file).output().unwrap()
    })
    .await
    .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

/// In the sandbox, where the plan of a daemon can be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_is_in_the_plan_at_once() {
    let (world, daemon) = World::settled(Place::Sandbox, 2, OLD).await;
    world.write_fleet(2, &upgrade(NEW, "300d"));
    let waits_for = async |code: Code, patience| {
        eventually(&format!("the second stage waits: {code:?}"), patience, async || {
            daemon.plan().waits.iter().any(|wait| wait.code == code).then_some(())
        })
        .await;
    };
    waits_for(Code::EarlierStage, PATIENCE).await;
    // No timer of the daemon is as short as that, but for the simulated ones.
    let soon = Duration::from_secs(3);
    for (command, code) in [("pause", Code::UpgradePaused), ("resume", Code::EarlierStage)] {
        let (exit, said) = run(&world, &[command, "polkadot"]).await;
        assert_eq!(exit, 0, "{said}");
        let begun = std::time::Instant::now();
        waits_for(code, soon).await;
        eprintln!("{command}: {:?}", begun.elapsed());
    }
}

/// An upgrade whose second stage needs approval.
pub(super) fn guarded() -> Value {
    let mut rest = upgrade(NEW, "0s");
    rest["upgrades"][0]["stages"][1]["approval"] = json!("required");
    rest
}

async fn version(world: &World, member: usize) -> Option<String> {
    world.members[member].get().await.spec.client_version
}

async fn plan_names_the_waves_to_come_and_changes_nothing(place: Place) {
    let (world, mut daemon) = World::settled(place, 3, OLD).await;
    let (code, said) = run(&world, &["plan"]).await;
    assert_eq!(code, 0, "nothing to do: {said}");
    // A short Lease runs out for a moment on a busy machine, and who takes it again waits.
    eventually("a daemon leads and all is well", PATIENCE, async || {
        let (code, said) = run(&world, &["status"]).await;
        (code == 0 && said.contains(" leads\n")).then_some(())
    })
    .await;
    // Nobody carries it out.
    assert!(daemon.terminate().await);
    // One that ran out just before cannot be let go.
    eventually("no daemon is active", PATIENCE, async || {
        let (code, said) = run(&world, &["status"]).await;
        (code == 3 && said.contains("NO DAEMON IS ACTIVE")).then_some(())
    })
    .await;
    world.write_fleet(3, &guarded());
    let (code, said) = run(&world, &["plan", "-o", "json"]).await;
    assert_eq!(code, 3, "{said}");
    let plan: Value = serde_json::from_str(&said).unwrap();
    let waves: Vec<_> = plan["waves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wave| {
            let clusters: Vec<_> = wave["steps"]
                .as_array()
                .unwrap()
                .iter()
                .map(|step| step["cluster"].as_str().unwrap())
                .collect();
            (wave["stage"].as_str().unwrap(), wave["needsApproval"] == true, clusters)
        })
        .collect();
    assert_eq!(
        waves,
        [
            ("canary", false, vec!["cluster-1"]),
            ("production", true, vec!["cluster-2"]),
            ("production", true, vec!["cluster-3"])
        ]
    );
    let (code, said) = run(&world, &["plan"]).await;
    assert_eq!(code, 3);
    for words in
        ["wave 1  upgrade polkadot, stage canary", "when it is approved", "stage canary has not passed"]
    {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let (code, said) = run(&world, &["plan", "--target", OLD]).await;
    assert!(!said.contains("wave 1") && code == 0, "everything is there already: {said}");
    for (number, member) in world.members.iter().enumerate() {
        assert_eq!(version(&world, number).await.as_deref(), Some(OLD));
        assert!(!member.writers().contains(&"polkafleet-command".to_owned()));
    }
}

async fn i11_approve_lets_a_stage_begin_for_exactly_one_version(place: Place) {
    let (world, _daemon) = World::settled(place, 2, OLD).await;
    world.write_fleet(2, &guarded());
    world.members[0].settles_at(NEW).await;
    tokio::time::sleep(world.quiet()).await;
    eventually("the second stage waits for approval", PATIENCE, async || {
        let (code, said) = run(&world, &["status"]).await;
        assert_eq!(code, 3, "{said}");
        said.contains("polkafleet approve polkadot production").then_some(())
    })
    .await;
    assert_eq!(version(&world, 1).await.as_deref(), Some(OLD));
    let (code, said) =
        run(&world, &["approve", "polkadot", "production", "--reason", "canary finalises"]).await;
    assert_eq!((code, said.contains("approved stable2503-7 for stage production")), (0, true), "{said}");
    world.members[1].settles_at(NEW).await;
    eventually("everything has passed", PATIENCE, async || {
        let (code, said) = run(&world, &["status", "-o", "json"]).await;
        let status: Value = serde_json::from_str(&said).unwrap();
        let decision = &status["decisions"]["approvals"]["polkadot"]["production"];
        assert_eq!((&decision["version"], &decision["reason"]), (&json!(NEW), &json!("canary finalises")));
        (code == 0).then_some(())
    })
    .await;
    // Another version has to be approved anew.
    let mut next = guarded();
    next["upgrades"][0]["clientVersion"] = json!("stable2503-8");
    world.write_fleet(2, &next);
    world.members[0].settles_at("stable2503-8").await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(version(&world, 1).await.as_deref(), Some(NEW));
}

async fn i11_pause_starts_nothing_until_resume_and_retry_raises_the_attempt(place: Place) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    world.write_fleet(1, &upgrade(OLD, "0s"));
    let (code, said) = run(&world, &["pause", "polkadot", "--reason", "it is Friday"]).await;
    assert_eq!((code, said.contains(" paused upgrade polkadot")), (0, true), "{said}");
    assert!(!said.contains("does not name"), "the cluster says who it was: {said}");
    let control: Api<ConfigMap> = Api::namespaced(world.members[0].admin.clone(), &world.namespace);
    let first = control.get("polkafleet-control").await.unwrap();
    let (_, said) = run(&world, &["status"]).await;
    assert!(said.contains("PAUSED by ") && said.contains(": it is Friday"), "{said}");
    assert!(!said.contains("IT FOLLOWS ANOTHER FLEET FILE"), "a decision is no other file: {said}");
    let (code, said) = run(&world, &["pause", "polkadot", "--reason", "me too"]).await;
    let is_told = said.contains("already paused by") && said.contains(": it is Friday. That stays");
    assert_eq!((code, is_told), (0, true), "{said}");
    assert_eq!(control.get("polkafleet-control").await.unwrap(), first, "nothing was written");
    tokio::time::sleep(world.quiet()).await;
    world.write_fleet(1, &upgrade(NEW, "0s"));
    eventually("it is paused", PATIENCE, async || {
        let said = run(&world, &["status"]).await.1;
        (said.contains("UpgradePaused") && said.contains(": it is Friday") && said.contains("PAUSED by "))
            .then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(version(&world, 0).await.as_deref(), Some(OLD));
    let (code, said) = run(&world, &["resume", "polkadot"]).await;
    assert_eq!(code, 0, "{said}");
    world.members[0].settles_at(NEW).await;
    // Somebody changes it back: contested, until a person wants it tried again.
    world.members[0].edit_spec(json!({"clientVersion": "stable2503-5"})).await;
    eventually("it is contested", PATIENCE, async || {
        run(&world, &["status"]).await.1.contains("Contested").then_some(())
    })
    .await;
    for reason in ["UpgradeStep", "RestartAllowed", "Contested"] {
        world.members[0].event(reason).await;
    }
    let (code, said) = run(&world, &["retry", "polkadot"]).await;
    assert_eq!((code, said.contains("attempt 2")), (0, true), "{said}");
    world.members[0].settles_at(NEW).await;
    // Also what does not hold any more is told.
    let (_, said) = run(&world, &["status", "--history", "--upgrade", "polkadot", "-o", "json"]).await;
    let history: Value = serde_json::from_str(&said).unwrap();
    let decisions = history["decisions"].as_array().unwrap().iter();
    let decisions: Vec<_> =
        decisions.map(|made| (&made["what"], &made["reason"], &made["attempt"])).collect();
    let null = Value::Null;
    let expected = [
        (&json!("paused"), &json!("it is Friday"), &null),
        (&json!("resumed"), &null, &null),
        (&json!("retried"), &null, &json!(2)),
    ];
    assert_eq!(decisions, expected, "{said}");
    let (_, said) = run(&world, &["status", "--history"]).await;
    for words in [
        " paused upgrade polkadot: it is Friday\n",
        " resumed upgrade polkadot\n",
        " asked for attempt 2 of upgrade polkadot\n",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
}

async fn plan_and_status_name_the_clusters_that_they_cannot_see(place: Place) {
    let world = World::new(place, 2).await;
    world.write_fleet(2, &upgrade(NEW, "0s"));
    for member in &world.members {
        member.gate.set(Mode::Refuse);
    }
    for command in ["plan", "status"] {
        let (code, said) = run(&world, &[command]).await;
        let words = "OWNS NO RESOURCE: no Polkadot resource is seen in any cluster; nothing can be seen in cluster-1, cluster-2.";
        assert_eq!((code, said.contains(words.trim_end_matches('.'))), (3, true), "{said}");
    }
    let (_, said) = run(&world, &["plan"]).await;
    for words in ["NOT SEEN: cluster-1  unreachable: ", "NOT SEEN: cluster-2  unreachable: "] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let (code, said) = run(&world, &["plan", "-o", "json"]).await;
    let plan: Value = serde_json::from_str(&said).unwrap();
    let clusters = plan["clusters"].as_array().unwrap().iter();
    let states = clusters.map(|one| (one["name"].as_str().unwrap(), one["state"].as_str().unwrap()));
    let away: Vec<_> =
        states.filter(|(_, state)| state.starts_with("unreachable: ")).map(|(name, _)| name).collect();
    assert_eq!((code, away), (3, vec!["cluster-1", "cluster-2"]), "{said}");
}

async fn a_wrong_name_is_told_with_those_that_there_are(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &guarded());
    let (code, said) = run(&world, &["pause", "kusama"]).await;
    assert!(code == 2 && said.contains("it has: polkadot"), "{said}");
    let (code, said) = run(&world, &["approve", "polkadot", "prod"]).await;
    assert!(code == 2 && said.contains("there are: canary, production"), "{said}");
    let (code, said) = run(&world, &["approve", "polkadot", "canary"]).await;
    assert!(code == 2 && said.contains("needs no approval"), "{said}");
    for version in ["latest", "", "stable", "not-a-version"] {
        let (code, said) = run(&world, &["plan", "--target", version]).await;
        assert_eq!((code, said.contains("is not a release tag; name a release tag")), (2, true), "{said}");
    }
    for command in ["status", "plan"] {
        let (code, said) = run(&world, &[command]).await;
        let words = "OWNS NO RESOURCE: no Polkadot resource is seen in any cluster";
        assert_eq!((code, said.contains(words)), (3, true), "{said}");
    }
}

async fn a_decision_is_about_what_the_daemon_follows_and_not_about_another_edition_of_the_file(place: Place) {
    let (world, _daemon) = World::settled(place, 2, OLD).await;
    world.write_fleet(2, &guarded());
    world.members[0].settles_at(NEW).await;
    let control: Api<ConfigMap> = Api::namespaced(world.members[0].admin.clone(), &world.namespace);
    // Another edition, which the daemon does not read.
    let text = std::fs::read_to_string(world.fleet_file()).unwrap();
    let mut edition: Value = serde_yaml::from_str(&text).unwrap();
    edition["upgrades"][0]["clientVersion"] = json!("stable2503-8");
    let mut another = edition["upgrades"][0].clone();
    another["name"] = json!("kusama");
    edition["upgrades"].as_array_mut().unwrap().push(another);
    let file = world.folder.path().join("edition.yaml");
    std::fs::write(&file, edition.to_string()).unwrap();
    let of_edition = ["--fleet".to_owned(), file.display().to_string()];
    let status = ask(&["status"], &of_edition, &world).await.1;
    for difference in
        ["upgrade polkadot goes to stable2503-7 there, to stable2503-8 here", "no upgrade kusama"]
    {
        assert!(status.contains(difference), "{difference:?} in {status}");
    }
    for (command, why) in [
        (
            &["retry", "polkadot"][..],
            "takes upgrade polkadot to stable2503-7, the fleet file given here says",
        ),
        (&["approve", "polkadot", "production"], "takes upgrade polkadot to stable2503-7"),
        (&["pause", "kusama"], "has no upgrade \"kusama\"; it has: polkadot"),
    ] {
        let (code, said) = ask(command, &of_edition, &world).await;
        assert!(code == 2 && said.contains(why) && said.contains("nothing was decided"), "{code} {said}");
    }
    assert_eq!(control.get_opt("polkafleet-control").await.unwrap(), None);
    // A pause is about any version; and it needs no file.
    let of_context = ["--context".to_owned(), world.members[0].name.clone()];
    let (_, said) = ask(&["status"], &of_context, &world).await;
    for words in [
        "without the fleet file (--fleet FILE)",
        "It follows:\n    upgrade polkadot to stable2503-7, stages canary, production",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    for arguments in [&of_edition, &of_context] {
        for command in ["pause", "resume"] {
            let (code, said) = ask(&[command, "polkadot"], arguments, &world).await;
            assert_eq!(code, 0, "{said}");
        }
    }
    let (code, said) = ask(&["approve", "polkadot", "production"], &of_context, &world).await;
    assert_eq!((code, said.contains("approved stable2503-7")), (0, true), "{said}");
    world.members[1].settles_at(NEW).await;
}

async fn what_is_printed_as_yaml_is_what_is_printed_as_json(place: Place) {
    let (world, _daemon) = World::settled(place, 2, OLD).await;
    world.write_fleet(2, &guarded());
    world.members[0].settles_at(NEW).await;
    // Each with what it has to tell by now.
    for (line, told) in
        [(&["plan"][..], "waves"), (&["status"], "waits"), (&["status", "--history"], "history")]
    {
        let printed = async |format: &str| run(&world, &[line, &["-o", format]].concat()).await;
        let mut last = (Value::Null, Value::Null);
        // What it tells may change between the two.
        eventually(&format!("{line:?} prints both alike"), PATIENCE, async || {
            let ((code, json), (same, yaml)) = (printed("json").await, printed("yaml").await);
            assert!(serde_json::from_str::<Value>(&yaml).is_err(), "{line:?} prints no YAML: {yaml}");
            last = (serde_json::from_str(&json).unwrap(), serde_yaml::from_str(&yaml).unwrap());
            let (json, yaml) = &last;
            let is_told = json[told].as_array().is_some_and(|all| !all.is_empty());
            (code == same && json == yaml && is_told).then_some(())
        })
        .await;
    }
}

/// Runs a command on another fleet than the world's file says.
pub(crate) async fn ask(command_line: &[&str], fleet: &[String], world: &World) -> (i32, String) {
    let mut asked = command();
    asked.args(command_line).args(fleet);
    asked.env("KUBECONFIG", world.folder.path().join("kubeconfig"));
    asked.env("POLKAFLEET__HOMENAMESPACE", &world.namespace);
    let output = tokio::task::spawn_blocking(move || asked.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned());
    (output.status.code().unwrap(), said.concat())
}

/// A command that does not outlive its test.
pub(super) struct Ended(pub(super) std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the sandbox: how it ends has nothing to do with the clusters.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_ends_at_a_signal_whenever_it_comes() {
    let (world, _daemon) = World::settled(Place::Sandbox, 1, OLD).await;
    for moment in [0, 700] {
        let log = world.folder.path().join(format!("watched-{moment}"));
        let mut watching = command();
        watching.args(["status", "--watch", "--fleet"]).arg(world.fleet_file());
        watching.stdout(std::fs::File::create(&log).unwrap());
        let mut watching = Ended(watching.spawn().unwrap());
        let drawn = || std::fs::read_to_string(&log).unwrap();
        eventually("it is drawn", PATIENCE, async || drawn().contains("cluster-1  ").then_some(())).await;
        // Also while it has just drawn, and looks or waits.
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let pid = watching.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let ended = eventually("it has ended", PATIENCE, async || watching.0.try_wait().unwrap()).await;
        assert!(ended.code().is_some(), "by itself: {ended}");
    }
}
