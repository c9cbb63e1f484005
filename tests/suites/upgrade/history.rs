//! `status --history`: what was done to which node, when, and on whose approval.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use polkafleet::polkadot::{Polkadot, Step, record};
use serde_json::{Value, json};

use super::commands::{NEW, OLD, guarded, run};
use super::limits::settled;
use crate::support::in_both_worlds;
use crate::support::proxy::Mode;
use crate::support::world::{Member, Place, World, upgrade};
use crate::support::{PATIENCE, eventually};

in_both_worlds! {
    every_step_of_an_approved_upgrade_is_told_once_whichever_daemon_saw_it,
    a_history_that_cannot_be_read_is_an_error_that_says_what_to_do,
    the_waves_of_plan_are_those_that_were_carried_out,
    the_clusters_of_one_wave_go_together_and_the_waves_follow_each_other,
}

/// What is told, by cluster: what was done, for which attempt of which upgrade, and who approved it.
async fn told(world: &World, more: &[&str]) -> Vec<Value> {
    let (code, said) = run(world, &[&["status", "--history", "-o", "json"], more].concat()).await;
    assert_eq!(code, 0, "{said}");
    let history: Value = serde_json::from_str(&said).unwrap();
    history["history"].as_array().unwrap().clone()
}

/// What is told of one cluster.
fn of<'a>(told: &'a [Value], cluster: &str) -> Vec<&'a str> {
    told.iter()
        .filter(|entry| entry["cluster"] == cluster)
        .map(|entry| entry["what"].as_str().unwrap())
        .collect()
}

fn step(polkadot: &Polkadot) -> Step {
    record::read(polkadot.metadata.annotations.as_ref().unwrap(), record::STEP_ANNOTATION).unwrap()
}

async fn every_step_of_an_approved_upgrade_is_told_once_whichever_daemon_saw_it(place: Place) {
    let (world, daemon) = World::settled(place, 2, OLD).await;
    world.write_fleet(2, &guarded());
    world.members[0].settles_at(NEW).await;
    // It may have told, or not yet.
    daemon.kill();
    let (code, said) = run(&world, &["approve", "polkadot", "production"]).await;
    assert_eq!(code, 0, "{said}");
    let _daemon = world.daemon();
    world.members[1].settles_at(NEW).await;
    // Each has two pods.
    let all = ["appeared", "settled", "step", "restartAllowed", "restartAllowed", "settled"];
    let history = eventually("all is told", PATIENCE, async || {
        let history = told(&world, &[]).await;
        ["cluster-1", "cluster-2"].iter().all(|name| of(&history, name).len() >= all.len()).then_some(history)
    })
    .await;
    for name in ["cluster-1", "cluster-2"] {
        assert_eq!(of(&history, name), all, "{history:#?}");
    }
    let status: Value = serde_json::from_str(&run(&world, &["status", "-o", "json"]).await.1).unwrap();
    let by = &status["decisions"]["approvals"]["polkadot"]["production"]["by"];
    assert!(by.is_string());
    let upgrade = told(&world, &["--upgrade", "polkadot"]).await;
    let steps: Vec<&Value> = upgrade.iter().filter(|entry| entry["what"] == "step").collect();
    assert_eq!(upgrade.len(), 8, "a step, two restarts and an end in both: {upgrade:#?}");
    for (number, (entry, approver)) in steps.into_iter().zip([&Value::Null, by]).enumerate() {
        let member = &world.members[number];
        let polkadot = member.get().await;
        let expected = json!({
            "at": step(&polkadot).at, "cluster": member.name, "namespace": world.namespace,
            "name": polkadot.metadata.name, "what": "step", "from": OLD, "to": NEW,
            "upgrade": {"name": "polkadot", "attempt": 1},
        });
        let mut entry = entry.clone();
        let approved_by = entry.as_object_mut().unwrap().remove("approvedBy").unwrap();
        // What it does not tell is there as well.
        let silent = ["role", "ordinal", "template", "version", "why"];
        assert!(silent.iter().all(|key| entry.as_object_mut().unwrap().remove(*key) == Some(Value::Null)));
        assert_eq!((&entry, &approved_by), (&expected, approver));
    }
    let (code, said) = run(&world, &["status", "--history", "--upgrade", "polkadot"]).await;
    assert_eq!((code, said.lines().count()), (0, 9), "those, and the approval: {said}");
    let approval =
        format!(" {} approved {NEW} for stage production of upgrade polkadot\n", by.as_str().unwrap());
    assert!(said.contains(&approval), "{said}");
    let words = format!("{OLD} -> {NEW}, upgrade polkadot, approved by {}\n", by.as_str().unwrap());
    assert!(said.contains(&words), "{said}");
    let (code, said) = run(&world, &["status", "--history", "--upgrade", "kusama"]).await;
    assert_eq!((code, said.contains("no upgrade \"kusama\"")), (1, true), "{said}");
    assert!(said.contains("it tells of: polkadot"), "{said}");
}

async fn a_history_that_cannot_be_read_is_an_error_that_says_what_to_do(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &json!({}));
    let (code, said) = run(&world, &["status", "--history"]).await;
    assert_eq!((code, said.contains("Nothing was done yet")), (0, true), "{said}");
    world.write_fleet(1, &upgrade(NEW, "0s"));
    let (code, said) = run(&world, &["status", "--history", "--upgrade", "polkadot"]).await;
    assert_eq!((code, said.contains("Upgrade polkadot has done nothing yet")), (0, true), "{said}");
    // It may be what such a record tells of.
    let maps: Api<ConfigMap> = Api::namespaced(world.members[0].admin.clone(), &world.namespace);
    let broken = json!({
        "metadata": {
            "name": "fleet-record-cluster-1", "labels": {"polkadot.swisscomblockchain.com/kept": "record"},
        },
        "data": {"json": "{"},
    });
    let broken = serde_json::from_value(broken).unwrap();
    maps.create(&PostParams::default(), &broken).await.unwrap();
    for name in ["polkadot", "kusama"] {
        let (code, said) = run(&world, &["status", "--history", "--upgrade", name]).await;
        assert_eq!((code, said.contains(&format!("upgrade {name}"))), (1, false), "{said}");
        assert!(
            said.contains("the ConfigMap fleet-record-cluster-1") && !said.contains("no upgrade"),
            "{said}"
        );
    }
    world.members[0].gate.set(Mode::Refuse);
    let (code, said) = run(&world, &["status", "--history"]).await;
    assert_eq!(code, 1, "{said}");
    for words in ["kept in the home cluster cluster-1", "polkafleet validate --connect"] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
}

/// The clusters of each wave that `plan` names, in order.
async fn planned(world: &World) -> Vec<Vec<String>> {
    let (code, said) = run(world, &["plan", "-o", "json"]).await;
    assert_eq!(code, 3, "{said}");
    let plan: Value = serde_json::from_str(&said).unwrap();
    let clusters = |wave: &Value| -> Vec<String> {
        let steps = wave["steps"].as_array().unwrap().iter();
        steps.map(|step| step["cluster"].as_str().unwrap().to_owned()).collect()
    };
    plan["waves"].as_array().unwrap().iter().map(clusters).collect()
}

/// Of each cluster, when it got a step and permissions to restart, as soon as home tells of so many in all.
async fn done(world: &World, count: usize) -> BTreeMap<String, Vec<Timestamp>> {
    let done = ["step", "restartAllowed"];
    let history = eventually("all is told", PATIENCE, async || {
        let mut history = told(world, &[]).await;
        history.retain(|entry| done.iter().any(|what| entry["what"] == *what));
        (history.len() == count).then_some(history)
    })
    .await;
    let mut by_cluster = BTreeMap::<String, Vec<Timestamp>>::new();
    for entry in history {
        let at = entry["at"].as_str().unwrap().parse().unwrap();
        by_cluster.entry(entry["cluster"].as_str().unwrap().to_owned()).or_default().push(at);
    }
    by_cluster
}

/// By what home tells, and on real control planes by their audit logs.
async fn the_waves_of_plan_are_those_that_were_carried_out(place: Place) {
    let (world, mut daemon) = World::settled(place, 3, OLD).await;
    // Nobody carries it out while it is planned.
    assert!(daemon.terminate().await);
    world.write_fleet(3, &upgrade(NEW, "0s"));
    let waves = planned(&world).await;
    assert_eq!(waves.concat().len(), 3, "{waves:?}");
    let _daemon = world.daemon();
    for member in &world.members {
        member.settles_at(NEW).await;
    }
    // A step and two restarts each.
    let by_home = done(&world, 9).await;
    is_in_order(&waves, |cluster| by_home[cluster].clone());
    is_in_order(&waves, |cluster| {
        let member = world.members.iter().find(|member| member.name == cluster).unwrap();
        moves(member, 3)
    });
}

/// When the planner wrote so many steps and permissions to a cluster. The note that it is healthy comes after them, whatever
/// begins elsewhere meanwhile.
fn moves(member: &Member, count: usize) -> Vec<Timestamp> {
    let mut times = member.planner_write_times();
    times.sort();
    assert!(times.len() <= count + 1, "{}: {times:?}", member.name);
    times.truncate(count);
    times
}

/// Whether every write of a wave came after all of the one before.
fn is_in_order(waves: &[Vec<String>], writes: impl Fn(&str) -> Vec<Timestamp>) {
    let of_wave = |wave: &[String]| wave.iter().flat_map(|cluster| writes(cluster)).collect::<Vec<_>>();
    for two in waves.windows(2) {
        let (before, after) = (of_wave(&two[0]), of_wave(&two[1]));
        let (last, first) = (before.iter().max(), after.iter().min());
        assert!(last < first || (last.is_none() && first.is_none()), "{before:?} and then {after:?}");
    }
}

/// Sentries only, so that the stage's width is all that keeps them from going together.
async fn the_clusters_of_one_wave_go_together_and_the_waves_follow_each_other(place: Place) {
    let (world, mut daemon) = settled(place, 4, 2).await;
    assert!(daemon.terminate().await);
    let mut fleet = upgrade(NEW, "0s");
    fleet["upgrades"][0]["stages"][1]["maxConcurrent"] = json!(2);
    let last = json!({"name": "last", "clusters": {"matchLabels": {"stage": "last"}}});
    fleet["upgrades"][0]["stages"].as_array_mut().unwrap().push(last);
    let text = std::fs::read_to_string(world.fleet_file()).unwrap();
    fleet["clusters"] = serde_yaml::from_str::<Value>(&text).unwrap()["clusters"].clone();
    // Not in the order of their names.
    fleet["clusters"][1]["labels"]["stage"] = json!("last");
    world.write_fleet(4, &fleet);
    let waves = planned(&world).await;
    assert_eq!(waves, [vec!["cluster-1"], vec!["cluster-3", "cluster-4"], vec!["cluster-2"]]);
    let _daemon = world.daemon();
    for member in &world.members {
        member.settles_at(NEW).await;
    }
    let by_home = done(&world, 12).await;
    assert_eq!(grouped(&by_home), waves, "{by_home:#?}");
    if matches!(place, Place::Real(_)) {
        let times = world.members.iter().map(|member| (member.name.clone(), moves(member, 3)));
        let by_audit = times.collect();
        assert_eq!(grouped(&by_audit), waves, "{by_audit:#?}");
    }
}

/// The clusters that were written to in the same time, in the order of these times.
fn grouped(writes: &BTreeMap<String, Vec<Timestamp>>) -> Vec<Vec<String>> {
    let mut spans: Vec<_> = writes
        .iter()
        .map(|(cluster, times)| (*times.iter().min().unwrap(), *times.iter().max().unwrap(), cluster.clone()))
        .collect();
    spans.sort();
    let mut waves: Vec<(Timestamp, Vec<String>)> = vec![];
    for (from, until, cluster) in spans {
        match waves.last_mut().filter(|(last, _)| from <= *last) {
            Some((last, wave)) => {
                *last = until.max(*last);
                wave.push(cluster);
                wave.sort();
            }
            None => waves.push((until, vec![cluster])),
        }
    }
    waves.into_iter().map(|(_, wave)| wave).collect()
}
