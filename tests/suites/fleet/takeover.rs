//! Several daemons on one fleet: one is active, the others stand by; whatever becomes of it, there are never two.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use polkafleet::home::NoSteps;
use polkafleet::leader::fence::{fenced, is_not_held};
use polkafleet::leader::keep::{Keeping, keep};
use polkafleet::leader::lease::Wish;
use polkafleet::leader::{Hold, State};
use polkafleet::upgrade::Code;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::daemon::Daemon;
use crate::support::in_both_worlds;
use crate::support::proxy::Mode;
use crate::support::world::{Member, Place, World, key, upgrade};
use crate::support::{PATIENCE, eventually};
use crate::upgrade::commands::run;

in_both_worlds! {
    a_second_daemon_stands_by_and_begins_when_the_first_lets_go,
    without_home_the_members_are_looked_after_all_the_same,
    kills_and_stalls_at_random_moments_never_make_two_writers,
    a_lease_is_handed_over_on_request_and_no_write_passes_after_that,
    an_edit_of_the_home_namespace_is_refused_while_daemons_run,
    a_restarted_daemon_knows_from_home_what_a_member_that_is_down_runs,
}

const VERSION: &str = "stable2503-6";

/// Who holds a Lease of a cluster.
async fn holder(world: &World, member: &Member, lease: &str) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(member.admin.clone(), &world.namespace);
    leases.get_opt(lease).await.unwrap()?.spec?.holder_identity
}

async fn is_held_by(world: &World, member: &Member, lease: &str, who: &str) {
    eventually(&format!("{lease} of {} is with {who}", member.name), PATIENCE, async || {
        (holder(world, member, lease).await.as_deref() == Some(who)).then_some(())
    })
    .await;
}

async fn name(daemon: &Daemon) -> String {
    eventually("the daemon says its name", PATIENCE, async || daemon.name()).await
}

async fn says(daemon: &Daemon, words: &str) {
    eventually(&format!("the daemon says {words:?}"), PATIENCE, async || {
        daemon.said().contains(words).then_some(())
    })
    .await;
}

/// Sentries of a resource, changed; returns when they are so.
async fn scales(world: &World, member: &Member, replicas: i32) {
    member.edit_spec(json!({"sentry": {"replicas": replicas}})).await;
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    eventually(&format!("{} has {replicas} sentries", member.name), PATIENCE, async || {
        (sets.get("sentry-sset").await.ok()?.spec?.replicas == Some(replicas)).then_some(())
    })
    .await;
}

fn short_lease(rest: &Value) -> Value {
    let mut rest = rest.clone();
    rest["lease"] = json!({"duration": "3s"});
    rest
}

/// Two clusters with a resource each, settled under the first of two daemons.
async fn two_daemons(place: Place, process: bool) -> (World, Daemon, Daemon) {
    let world = World::new(place, 2).await;
    world.write_fleet(2, &if process { short_lease(&json!({})) } else { json!({}) });
    let start = || if process { world.process() } else { world.daemon() };
    let first = start();
    world.fill(VERSION).await;
    for member in &world.members {
        member.settles_at(VERSION).await;
    }
    let second = start();
    says(&second, "leads; this one stands by").await;
    for member in &world.members {
        says(&second, &format!("\"cluster\":\"{}\",\"state\":\"standby", member.name)).await;
    }
    (world, first, second)
}

async fn a_second_daemon_stands_by_and_begins_when_the_first_lets_go(place: Place) {
    let (world, mut first, second) = two_daemons(place, false).await;
    let (one, two) = (name(&first).await, name(&second).await);
    scales(&world, &world.members[1], 2).await;
    assert!(world.members.iter().all(|member| !member.writers().contains(&two)), "it stands by");
    let begun = std::time::Instant::now();
    assert!(first.terminate().await);
    for member in &world.members {
        is_held_by(&world, member, "polkafleet", &two).await;
    }
    is_held_by(&world, &world.members[0], "polkafleet-planner", &two).await;
    says(&second, "This daemon leads").await;
    scales(&world, &world.members[1], 1).await;
    assert!(begun.elapsed() < PATIENCE);
    // A write is seen a moment before it is known who made it.
    let (writers, handed_over) = eventually("the second one writes now", PATIENCE, async || {
        let writers = world.members[1].writers();
        let handed_over = writers.iter().position(|who| *who == two)?;
        Some((writers, handed_over))
    })
    .await;
    assert!(writers[..handed_over].iter().all(|who| *who == one));
    assert!(writers[handed_over..].iter().all(|who| *who == two));
}

/// In the sandbox: on real control planes it would be minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stands_by_with_another_fleet_file_says_so_once_it_has_lasted() {
    let world = World::new(Place::Sandbox, 1).await;
    world.write_fleet(1, &upgrade("stable2503-8", "0s"));
    let other = world.folder.path().join("other.yaml");
    std::fs::copy(world.fleet_file(), &other).unwrap();
    world.write_fleet(1, &upgrade("stable2503-7", "0s"));
    let leads = world.daemon();
    says(&leads, "This daemon leads").await;
    let (same, stands_by) = (world.daemon(), world.daemon_on(&other));
    let words = "its upgrades are others than those of the one that leads";
    says(&stands_by, words).await;
    says(&stands_by, "upgrade polkadot goes to stable2503-7 there, to stable2503-8 here").await;
    says(&same, "leads; this one stands by").await;
    for daemon in [&leads, &same] {
        assert!(!daemon.said().contains(words), "{}", daemon.said());
    }
}

async fn without_home_the_members_are_looked_after_all_the_same(place: Place) {
    let (world, first) = World::settled(place, 2, VERSION).await;
    let (home, other) = (&world.members[0], &world.members[1]);
    home.gate.set(Mode::Refuse);
    says(&first, "No steps are taken").await;
    scales(&world, other, 2).await;
    // A gate is for all daemons: the second one comes when home is back, in the first one's place.
    drop(first);
    let second = world.daemon();
    let two = name(&second).await;
    home.gate.set(Mode::Pass);
    is_held_by(&world, other, "polkafleet", &two).await;
    is_held_by(&world, home, "polkafleet-planner", &two).await;
    scales(&world, other, 1).await;
}

/// `POLKAFLEET_TAKEOVERS` rounds: the active daemon is killed or stopped in the middle of an upgrade, the other takes
/// over, the first comes back.
async fn kills_and_stalls_at_random_moments_never_make_two_writers(place: Place) {
    let rounds: u32 = std::env::var("POLKAFLEET_TAKEOVERS").map_or(3, |rounds| rounds.parse().unwrap());
    let seed: u64 =
        std::env::var("POLKAFLEET_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("POLKAFLEET_SEED={seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    // Simulated clusters are killed only: their time is not the machine's, which a process goes by.
    let process = matches!(place, Place::Real(_));
    let (world, first, second) = two_daemons(place, process).await;
    let (mut active, mut standby) = (first, second);
    for round in 1..=rounds {
        use rand::RngExt as _;
        let (old, new) = (name(&active).await, name(&standby).await);
        let version = format!("stable2503-{}", 6 + round);
        let upgrade = upgrade(&version, "0s");
        world.write_fleet(2, &if process { short_lease(&upgrade) } else { upgrade });
        let moments = if process { 4000 } else { 400 };
        tokio::time::sleep(Duration::from_millis(random.random_range(0..moments))).await;
        // Of three rounds one at least is of each kind.
        let stall = process && (round == 1 || round != 2 && random.random_bool(0.5));
        // It wakes up while the other one is taking over, or when all is over.
        let wakes_early = round == 1 || random.random_bool(0.5);
        let without = std::time::Instant::now();
        let mut stopped = Some(active);
        if stall {
            stopped.as_ref().unwrap().signal("-STOP");
        } else {
            stopped.take().unwrap().kill();
        }
        for member in &world.members {
            is_held_by(&world, member, "polkafleet", &new).await;
        }
        let without = without.elapsed();
        // Until it has run out, until that is looked for, until the answer to it, and a busy machine's share of it.
        let lease = Duration::from_secs(3);
        let bound = lease + lease / 3 + lease / 3 + PATIENCE / 2;
        assert!(without < bound, "round {round}: without a writer for {without:.1?}, at most {bound:?}");
        if let Some(stopped) = stopped.as_ref().filter(|_| wakes_early) {
            stopped.signal("-CONT");
        }
        for member in &world.members {
            member.settles_at(&version).await;
        }
        if let Some(stopped) = &stopped {
            stopped.signal("-CONT");
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        for member in &world.members {
            let writers = member.writers();
            let from = writers.iter().position(|who| *who == new).unwrap_or(writers.len());
            let late = writers[from..].iter().filter(|who| **who == old).count();
            assert_eq!(
                late, 0,
                "{}: {old} wrote after {new} (round {round}, stall: {stall}): {writers:?}",
                member.name
            );
        }
        if let Some(stopped) = stopped {
            says(&stopped, "leads; this one stands by").await;
            stopped.kill();
        }
        for member in &world.members {
            is_held_by(&world, member, "polkafleet", &new).await;
        }
        // The next one has a name of its own: who wrote when can be told apart for ever.
        active = standby;
        standby = if process { world.process() } else { world.daemon() };
        says(&standby, "leads; this one stands by").await;
    }
    for member in &world.members {
        if let Some(silence) = member.longest_silence() {
            eprintln!("{}: at most {silence:.1?} between two writes of whoever held its Lease", member.name);
        }
    }
}

async fn a_restarted_daemon_knows_from_home_what_a_member_that_is_down_runs(place: Place) {
    let (world, first) = World::settled(place, 2, VERSION).await;
    let (home, down) = (&world.members[0], &world.members[1]);
    let maps: Api<ConfigMap> = Api::namespaced(home.admin.clone(), &world.namespace);
    eventually("home remembers a settled validator", PATIENCE, async || {
        let map = maps.get_opt(&format!("fleet-record-{}", down.name)).await.unwrap()?;
        let record: Value = serde_json::from_str(&map.data?["json"]).unwrap();
        let resource = &record["resources"][0];
        assert!(!record.to_string().contains(&format!("{:02x}", key(1)).repeat(32)), "no key is in a record");
        (resource["ever_settled"] == true && resource["client_version"] == VERSION).then_some(())
    })
    .await;
    first.kill();
    down.gate.set(Mode::Refuse);
    let second = world.daemon();
    says(&second, "This daemon leads").await;
    // The validator that cannot be seen counts as down: the budget of one is used up, by what home remembers. Of a member
    // of which nothing was remembered, that would be said, and not this.
    world.write_fleet(2, &upgrade("stable2503-7", "0s"));
    eventually("the budget is used up", PATIENCE, async || match place {
        Place::Sandbox => {
            let waits = second.plan().waits.clone();
            waits.iter().any(|wait| wait.code == Code::ValidatorBudget).then_some(())
        }
        Place::Real(_) => {
            let (_, said) = run(&world, &["plan"]).await;
            said.contains("validators are unavailable or rolling already").then_some(())
        }
    })
    .await;
    tokio::time::sleep(world.quiet() * 2).await;
    assert_eq!(home.get().await.spec.client_version.as_deref(), Some(VERSION));
    down.gate.set(Mode::Pass);
    for member in &world.members {
        member.settles_at("stable2503-7").await;
    }
}

/// In the sandbox, where a Lease and the bound of a request count a tenth, and the daemon can be looked into.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_silent_daemon_no_step_is_taken_for_its_lease_and_the_bound_of_a_request() {
    let (lease, request) = (Duration::from_millis(800), Duration::from_millis(1500));
    let (world, first, second) = two_daemons(Place::Sandbox, false).await;
    let Daemon::Inside { daemon: inside, .. } = &second else { panic!() };
    let home = inside.home.clone();
    world.write_fleet(2, &upgrade("stable2503-7", "0s"));
    first.kill();
    let mut before = std::time::Instant::now();
    let (mut waits, mut leads) = (false, None);
    let started = std::time::Instant::now();
    while leads.is_none() {
        assert!(started.elapsed() < PATIENCE, "{:?}", home.borrow().no_steps);
        let now = std::time::Instant::now();
        let no_steps = home.borrow().no_steps.clone();
        match no_steps {
            Some(NoSteps::TakingOver) => waits = true,
            None => leads = Some(now),
            // It was not the one that leads yet.
            Some(_) if !waits => before = now,
            Some(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(waits, "it takes over");
    // The Lease counts from when it was asked for, on a busy machine some time before it was ours; without the bound it would
    // be over long before.
    let waited = leads.unwrap() - before;
    assert!(waited >= request && request > lease, "{waited:?}");
    for member in &world.members {
        member.settles_at("stable2503-7").await;
    }
}

/// A daemon that leads asks one that was cut off from home, and goes on, for a member's Lease.
async fn a_lease_is_handed_over_on_request_and_no_write_passes_after_that(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    let stop = CancellationToken::new();
    let start = |me: &str, wish: Wish| {
        let (hold, wishes) = (Hold::new(me), watch::Sender::new(wish));
        let keeping = Keeping {
            namespace: world.namespace.clone(),
            name: "handed-over",
            me: me.into(),
            duration: Duration::from_secs(6),
            words: ToString::to_string,
            says: None,
            hears: None,
        };
        let wish = wishes.subscribe();
        tokio::spawn(keep(member.admin.clone(), keeping, hold.clone(), wish, stop.clone()));
        (hold, wishes)
    };
    let (old, _old_wish) = start("old", Wish::Have);
    eventually("the first one has it", PATIENCE, async || old.is_held().then_some(())).await;
    let maps = |hold: &Hold| -> Api<ConfigMap> {
        Api::namespaced(fenced(member.admin.clone(), hold, "handed-over"), &world.namespace)
    };
    let map =
        |name: &str| -> ConfigMap { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    maps(&old).create(&PostParams::default(), &map("while-held")).await.unwrap();

    let (new, wish) = start("new", Wish::Have);
    eventually("the second one sees whose it is", PATIENCE, async || {
        (new.state() == State::Others("old".into())).then_some(())
    })
    .await;
    let refused = maps(&new).create(&PostParams::default(), &map("not-held")).await.unwrap_err();
    assert!(is_not_held(&refused), "{refused}");
    wish.send_replace(Wish::Insist);
    let asked = std::time::Instant::now();
    eventually("the second one has it", PATIENCE, async || {
        assert!(!(old.is_held() && new.is_held()), "never two");
        new.is_held().then_some(())
    })
    .await;
    let State::Ours(ours) = new.state() else { panic!("{:?}", new.state()) };
    assert!(!ours.from_silent, "it was handed over after {:?}, not taken", asked.elapsed());
    let refused = maps(&old).create(&PostParams::default(), &map("not-held")).await.unwrap_err();
    assert!(is_not_held(&refused), "{refused}");
    maps(&new).create(&PostParams::default(), &map("handed-over")).await.unwrap();
    maps(&old).get("handed-over").await.unwrap();
    stop.cancel();
}

async fn an_edit_of_the_home_namespace_is_refused_while_daemons_run(place: Place) {
    let (world, daemon) = World::settled(place, 1, VERSION).await;
    let member = &world.members[0];
    world.write_fleet(1, &json!({"homeNamespace": "another"}));
    says(&daemon, "stop all daemons of this fleet").await;
    scales(&world, member, 2).await;
    world.write_fleet(1, &json!({}));
    says(&daemon, "The fleet file is valid again").await;
}
