//! What `status` and `plan` tell of the daemon that leads: what is unfinished for it, what it was given and refuses, and which
//! members it cannot look after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polkafleet::sandbox::faults::VersionFault;
use serde_json::{Value, json};

use super::commands::{Ended, NEW, OLD, ask, guarded, run};
use crate::chain_gates_upgrade::{cluster, impatient};
use crate::support::between::Instead;
use crate::support::daemon::command;
use crate::support::in_both_worlds;
use crate::support::world::{Place, World, upgrade};
use crate::support::{PATIENCE, eventually};

in_both_worlds! {
    home_alone_tells_that_an_upgrade_is_on_its_way_and_when_it_is_through,
    a_member_that_is_not_home_says_who_looks_after_it,
    an_edit_that_is_refused_is_told_until_it_is_mended,
}

/// Waits until a command says all of `words`, with this code.
async fn says(world: &World, line: &[&str], fleet: &[String], (code, words): (i32, &[&str])) -> String {
    let mut last = Last(String::new());
    eventually(&format!("{line:?} says {words:?} with {code}"), PATIENCE, async || {
        let (found, said) = ask(line, fleet, world).await;
        last.0 = format!("{found}: {said}");
        (found == code && words.iter().all(|words| said.contains(words))).then_some(said)
    })
    .await
}

/// Waits until a command's answer for programs is right: a short Lease may run out for a moment between two answers.
async fn as_json(world: &World, command: &str, fleet: &[String], is_right: impl Fn(&Value) -> bool) {
    let mut last = Last(String::new());
    eventually(&format!("{command} -o json is right"), PATIENCE, async || {
        let (code, said) = ask(&[command, "-o", "json"], fleet, world).await;
        let right = serde_json::from_str(&said).is_ok_and(|value| is_right(&value));
        last.0 = format!("{code}: {said}");
        right.then_some(())
    })
    .await;
}

/// What was said last, told when it was waited for in vain.
pub(super) struct Last(pub(super) String);

impl Drop for Last {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it said at last, with code {}", self.0);
        }
    }
}

fn context(world: &World, member: usize) -> [String; 2] {
    ["--context".to_owned(), world.members[member].name.clone()]
}

async fn home_alone_tells_that_an_upgrade_is_on_its_way_and_when_it_is_through(place: Place) {
    let (world, _daemon) = World::settled(place, 2, OLD).await;
    world.write_fleet(2, &guarded());
    world.members[0].settles_at(NEW).await;
    let home = context(&world, 0);
    let (code, said) = ask(&["plan", "--target", NEW], &home, &world).await;
    assert_eq!((code, said.contains("give --fleet FILE")), (2, true), "{said}");
    says(
        &world,
        &["status"],
        &home,
        (3, &["upgrade polkadot to stable2503-7", "stage production has not begun"]),
    )
    .await;
    as_json(&world, "status", &home, |status| {
        status["unfinished"]["polkadot"].as_str().is_some_and(|words| words.contains("production"))
    })
    .await;
    let (code, said) = run(&world, &["approve", "polkadot", "production"]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&world, &["approve", "polkadot", "production", "--reason", "once more"]).await;
    assert_eq!((code, said.contains("is already approved for stable2503-7 by ")), (0, true), "{said}");
    world.members[1].settles_at(NEW).await;
    // Whose rights are for one namespace cannot look into all of them, and hears of that.
    let code = if matches!(place, Place::Real(_)) { 3 } else { 0 };
    says(&world, &["status"], &home, (code, &["      through"])).await;
}

async fn a_member_that_is_not_home_says_who_looks_after_it(place: Place) {
    let (world, daemon) = World::settled(place, 2, OLD).await;
    let member = context(&world, 1);
    let words = ["NO DAEMON LEADS from cluster ", "if another cluster is home", " looks after "];
    let said = says(&world, &["status"], &member, (3, &words)).await;
    assert!(!said.contains("NO DAEMON IS ACTIVE"), "{said}");
    let (_, said) = ask(&["status", "--history"], &member, &world).await;
    assert!(said.contains("if that is home"), "{said}");
    let (code, said) = ask(&["pause", "polkadot"], &member, &world).await;
    let told = words[..2].iter().all(|words| said.contains(words)) && said.contains("nothing was decided");
    assert_eq!((code, told), (2, true), "{said}");
    assert!(!said.contains("NO DAEMON IS ACTIVE"), "{said}");
    drop(daemon);
}

async fn an_edit_that_is_refused_is_told_until_it_is_mended(place: Place) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    let good = std::fs::read_to_string(world.fleet_file()).unwrap();
    // What a person has at hand is not what the daemon was given.
    let edition = world.folder.path().join("edition.yaml");
    std::fs::write(&edition, &good).unwrap();
    let edition = ["--fleet".to_owned(), edition.display().to_string()];
    world.write_text(&format!("{good}\nupgrade: []\n"));
    let words = ["IT REFUSES WHAT IT WAS GIVEN", "fleet.yaml: upgrade: "];
    says(&world, &["status"], &edition, (3, &words)).await;
    says(&world, &["status"], &context(&world, 0), (3, &words)).await;
    as_json(&world, "status", &edition, |status| status["refused"].as_array().map(Vec::len) == Some(1)).await;
    world.write_text(&good);
    let said = says(&world, &["status"], &edition, (0, &[" leads\n"])).await;
    assert!(!said.contains("REFUSES"), "{said}");
}

/// In the sandbox, where a member can be away for the daemon alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_away_for_the_daemon_is_waited_for_also_in_the_plan() {
    let world = World::new(Place::Sandbox, 2).await;
    world.write_fleet(2, &json!({}));
    world.fill(OLD).await;
    let away = Arc::new(AtomicBool::new(false));
    let (is_away, second) = (Arc::clone(&away), world.members[1].name.clone());
    let _daemon = world.daemon_behind(move |asked| {
        let refuses = asked.cluster == second && is_away.load(Ordering::SeqCst);
        if refuses { Instead::Refuse(503, "it is away") } else { Instead::Nothing }
    });
    for member in &world.members {
        member.settles_at(OLD).await;
    }
    away.store(true, Ordering::SeqCst);
    let fleet = ["--fleet".to_owned(), world.fleet_file().display().to_string()];
    says(&world, &["status"], &fleet, (3, &["FOR THE DAEMON THAT LEADS: unreachable"])).await;
    world.write_fleet(2, &upgrade(NEW, "0s"));
    // Its validator may be down for all that the daemon knows, and no other one may go as well.
    let words = ["for the daemon that leads, which says: unreachable", "ValidatorBudget"];
    says(&world, &["plan"], &fleet, (3, &words)).await;
    // None is promised.
    as_json(&world, "plan", &fleet, |plan| plan["waves"] == json!([])).await;
    assert_eq!(world.members[0].get().await.spec.client_version.as_deref(), Some(OLD));
    away.store(false, Ordering::SeqCst);
    world.members[1].settles_at(NEW).await;
    says(&world, &["status"], &fleet, (0, &[" leads\n"])).await;
}

/// In the sandbox, whose chain can be made to stand still.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stands_still_is_told_by_the_commands_as_what_holds_the_upgrade_up() {
    let (world, _daemon) = World::settled(Place::Sandbox, 2, OLD).await;
    world.stall_chain();
    world.write_fleet(2, &upgrade(NEW, "0s"));
    let fleet = ["--fleet".to_owned(), world.fleet_file().display().to_string()];
    let words = "waits: the chain polkadot has finalised no block since";
    let status = ["SOMETHING WAITS", words.trim_start_matches("waits: ")];
    says(&world, &["status"], &fleet, (3, &status)).await;
    says(&world, &["plan"], &fleet, (3, &[words])).await;
    says(&world, &["status"], &context(&world, 0), (3, &status)).await;
}

/// In the sandbox, whose chain tells what no Pod does.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_halted_for_the_daemon_alone_is_halted_for_the_commands_until_the_target_is_another() {
    let (world, _daemon) = World::settled(Place::Sandbox, 2, OLD).await;
    cluster(&world.members[0]).set_faults(|faults| {
        faults.versions.insert(NEW.into(), VersionFault::StallsFinality);
    });
    world.write_fleet(2, &impatient());
    let fleet = ["--fleet".to_owned(), world.fleet_file().display().to_string()];
    let remedy = "polkafleet retry polkadot";
    says(&world, &["status"], &fleet, (3, &["HALTED: 1 failed, 0 tolerated", remedy])).await;
    let is_halted = |value: &Value| {
        value["progress"][0]["halted"].as_str().is_some_and(|why| why.contains("has finalised no block"))
    };
    as_json(&world, "status", &fleet, is_halted).await;
    as_json(&world, "plan", &fleet, |plan| is_halted(plan) && plan["waves"] == json!([])).await;
    let (code, said) = ask(&["plan", "--target", "stable2503-8", "-o", "json"], &fleet, &world).await;
    let plan: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &plan["progress"][0]["halted"]), (3, &Value::Null), "{said}");
    assert_ne!(plan["waves"], json!([]), "{said}");
}

/// In the sandbox: what is drawn has nothing to do with the clusters.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_follows_edits_of_its_file() {
    let (world, _daemon) = World::settled(Place::Sandbox, 1, OLD).await;
    let log = world.folder.path().join("watched");
    let mut watching = command();
    watching.args(["status", "--watch", "--fleet"]).arg(world.fleet_file());
    watching.stdout(std::fs::File::create(&log).unwrap());
    let _watching = Ended(watching.spawn().unwrap());
    let drawn = || std::fs::read_to_string(&log).unwrap();
    eventually("it is drawn", PATIENCE, async || drawn().contains("cluster-1  ").then_some(())).await;
    world.write_fleet(1, &upgrade(NEW, "0s"));
    world.members[0].settles_at(NEW).await;
    let through = |text: &str| text.contains("upgrade polkadot to stable2503-7") && text.contains("passed");
    eventually("it shows the new upgrade", PATIENCE, async || through(&drawn()).then_some(())).await;
    assert!(!drawn().contains('\x1b'), "a file is no terminal: {}", drawn());
}
