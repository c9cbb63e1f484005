//! A simulator: random fleets under random schedules of faults, edits, lost and late messages, and daemons that are
//! killed. Every decision of the planner is checked against the invariants; in the end, with everything mended, every
//! upgrade must come to its end.
//!
//! [`schedule`] is what happens, at random; [`world`] what is, and [`events`] what becomes of it; [`daemon`] what one daemon
//! knows and sends, [`check`] the invariants. The same schedules are played by the whole daemon on simulated clusters
//! (`tests/suites/upgrade/simulation`).

mod check;
mod daemon;
mod events;
pub mod schedule;
mod types;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

use self::check::Ledger;
use self::daemon::{Daemon, Home};
use self::schedule::{FIRST, Schedule, schedule, shrunk, version};
use self::world::World;
use super::super::gates::{Gate, STEP_GATES};
use crate::fleet::Count;
use crate::home::history::{Entry, What};
use crate::polkadot::{Grant, ResourceId, Step};
use crate::upgrade::{Place, Write};

/// Ticks of a minute that the rest of every upgrade may take once everything is mended…
const LONGEST: usize = 3_000;
/// …or so many for each resource, where they go one after the other.
const LONGEST_EACH: usize = 60;

/// One run.
struct Simulation {
    world: World,
    daemon: Daemon,
    home: Home,
    ledger: Ledger,
    /// Steps and permissions that were written: the history has to tell them.
    made: Vec<(Place, Timestamp)>,
    gates: Vec<Gate>,
}

impl Simulation {
    fn new(schedule: &Schedule, gates: &[Gate]) -> Self {
        Self {
            world: World::new(&schedule.shape),
            daemon: Daemon::default(),
            home: Home::default(),
            ledger: Ledger::default(),
            made: vec![],
            gates: gates.to_vec(),
        }
    }

    /// Some time passes; returns whether anything was decided.
    fn tick(&mut self, seconds: i64) -> bool {
        self.world.pass(seconds);
        for (action, was_made) in self.daemon.deliver(&mut self.world) {
            if !was_made {
                self.ledger.refused(&action);
                continue;
            }
            self.ledger.made(&action);
            match action.write {
                Write::Step(Step { at, .. }) | Write::Grant(Grant { at, .. }) => {
                    self.made.push((action.place, at));
                }
                Write::Rollback(_)
                | Write::Health(_)
                | Write::Failed(_)
                | Write::Epoch(_)
                | Write::Revoke => {}
            }
        }
        self.world.work();
        self.daemon.observe(&self.world);
        self.ledger.hear(&self.world, &self.daemon);
        let plan = self.daemon.plan(&self.gates, &self.world, &mut self.home);
        for action in &plan.actions {
            self.ledger.decide(action, &self.world, &self.daemon);
            self.daemon.send(action);
        }
        !plan.actions.is_empty()
    }

    fn replace_daemon(&mut self, late: u32) {
        self.daemon.replaced(&mut self.home, late);
        self.ledger.another_daemon(self.world.now);
    }

    /// Everything is mended and approved; every upgrade comes to its end.
    fn ends(&mut self) -> Result<(), String> {
        self.world.faults.clear();
        self.world.trials.clear();
        self.world.chain_goes_on();
        self.world.mend();
        (self.daemon.latency, self.daemon.loses_answers) = (0, false);
        for truth in self.world.clusters.values_mut() {
            (truth.up, truth.lags, truth.deaf) = (true, 0, false);
        }
        for cluster in &mut self.world.fleet.clusters {
            (cluster.paused, cluster.lost) = (false, false);
        }
        for upgrade in &mut self.world.fleet.upgrades {
            (upgrade.paused, upgrade.max_failures, upgrade.expedite) = (false, Count::Number(0), None);
            // What somebody set back to before what it runs needs a person, or a version beyond both.
            upgrade.client_version = version(FIRST + 100);
            for stage in &mut upgrade.stages {
                // Without a resource it would never pass, rightly.
                (stage.optional, stage.approved_version) = (true, Some(upgrade.client_version.clone()));
            }
        }
        for place in self.world.places() {
            self.world.edit(&place, |view| {
                (view.held, view.trouble, view.keystore_kept) = (None, None, true);
            });
        }
        let mut unfinished = vec![];
        for _ in 0..LONGEST.max(LONGEST_EACH * self.world.places().len()) {
            let decided = self.tick(60);
            unfinished = self.unfinished();
            if !decided && unfinished.is_empty() {
                return self.all_is_told();
            }
        }
        let plan = self.daemon.plan(&self.gates, &self.world, &mut self.home);
        Err(format!("I13: these do not end: {unfinished:#?}; waits: {:#?}", plan.waits))
    }

    /// Whether home tells every step and every permission, each of them once.
    fn all_is_told(&self) -> Result<(), String> {
        for (cluster, known) in &self.home.records {
            let is_done =
                |entry: &&Entry| matches!(entry.what, What::Step { .. } | What::RestartAllowed { .. });
            let history = &known.record.history;
            let mut told: Vec<_> =
                history.iter().filter(is_done).map(|entry| (entry.at, entry.resource.clone())).collect();
            let theirs = self.made.iter().filter(|(place, _)| place.0 == *cluster);
            let mut made: Vec<_> = theirs.map(|(place, at)| (*at, place.1.clone())).collect();
            told.sort();
            made.sort();
            // Of a long history, the beginning is not kept; and of who left, not everything was seen.
            let is_whole = history.len() < 200 && self.world.clusters.contains_key(cluster);
            // A clock that is set back may show one time at two of them.
            let count =
                |all: &[(Timestamp, ResourceId)], one| all.iter().filter(|other| *other == one).count();
            let once = told.iter().all(|one| count(&told, one) <= count(&made, one));
            // The same again within a minute counts as the same.
            let near = |one: &(Timestamp, ResourceId), other: &(Timestamp, ResourceId)| {
                one.1 == other.1 && one.0.duration_since(other.0).abs() < SignedDuration::from_mins(1)
            };
            let all = made.iter().all(|one| told.iter().any(|other| near(one, other)));
            if is_whole && !(once && all) {
                return Err(format!("{cluster}: told {told:#?}, made {made:#?}"));
            }
        }
        Ok(())
    }

    fn unfinished(&self) -> Vec<String> {
        use kube::core::SelectorExt as _;
        let members: BTreeSet<_> = self.world.fleet.clusters.iter().map(|cluster| &cluster.name).collect();
        let mut unfinished = vec![];
        for place in self.world.places().iter().filter(|place| members.contains(&place.0)) {
            let Some(view) = self.world.view(place) else { continue };
            let upgrade = self.world.fleet.upgrades.iter().find(|one| one.selector.matches(&view.labels));
            let Some(upgrade) = upgrade else { continue };
            let to = |version: &String| {
                use crate::version::{ClientVersion, Order};
                ClientVersion::parse(&upgrade.client_version).order(&ClientVersion::parse(version))
                    != Order::Newer
            };
            let reached = view.client_version.as_ref().is_some_and(to);
            let rolled = view.settled_since.is_some() && !view.roll_pending();
            if !(reached && rolled) {
                unfinished.push(format!("{place:?} {:?} {:?}", view.client_version, view.roles));
            }
        }
        unfinished
    }
}

/// Plays a schedule; what was broken.
fn play(
    schedule: &Schedule,
    gates: &[Gate],
    to_the_end: bool,
) -> (BTreeMap<&'static str, String>, Result<(), String>) {
    let mut simulation = Simulation::new(schedule, gates);
    for (seconds, event) in &schedule.events {
        simulation.happens(event);
        simulation.tick(*seconds);
    }
    let end = if to_the_end { simulation.ends() } else { Ok(()) };
    (simulation.ledger.broken, end)
}

/// How many schedules: as many as `POLKAFLEET_SCHEDULES` says, or what CI's run can afford.
fn count() -> u64 {
    std::env::var("POLKAFLEET_SCHEDULES").map_or(500, |count| count.parse().unwrap())
}

/// The first seed: always the same in CI, so that what fails there fails here.
fn first_seed() -> u64 {
    std::env::var("POLKAFLEET_SEED").map_or(0, |seed| seed.parse().unwrap())
}

/// Plays the schedules of so many seeds, on every core; the seed of one that fails.
fn find(count: u64, fails: impl Fn(&Schedule) -> bool + Sync) -> Option<u64> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(None));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|threads| {
        for _ in 0..cores {
            threads.spawn(|| {
                while found.lock().unwrap().is_none() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let seed = first_seed().wrapping_add(number);
                    if fails(&schedule(seed, 200)) {
                        found.lock().unwrap().get_or_insert(seed);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn no_schedule_of_faults_edits_and_kills_breaks_an_invariant_and_every_upgrade_ends() {
    let fails = |schedule: &Schedule| {
        let (broken, end) = play(schedule, &STEP_GATES, true);
        !broken.is_empty() || end.is_err()
    };
    let Some(seed) = find(count(), fails) else { return };
    let schedule = shrunk(schedule(seed, 200), fails);
    let (broken, end) = play(&schedule, &STEP_GATES, true);
    panic!("POLKAFLEET_SEED={seed} POLKAFLEET_SCHEDULES=1: {broken:#?} {end:?}\n{schedule:?}");
}

/// Every gate is needed: with one left out, some schedule breaks what it guards.
#[test]
fn with_any_gate_left_out_some_schedule_breaks_what_it_guards() {
    let guarded = [
        "I5",
        "a step in trouble",
        "I11",
        "I6",
        "I1",
        "I11",
        "I2",
        "I4",
        "a step on a chain",
        "a step unasked",
    ];
    for (left_out, guards) in guarded.into_iter().enumerate() {
        let mut gates = STEP_GATES.to_vec();
        gates.remove(left_out);
        let breaks = |schedule: &Schedule| {
            let broken = play(schedule, &gates, false).0;
            broken.keys().any(|what| what.split(':').next() == Some(guards))
        };
        assert!(find(2000, breaks).is_some(), "without gate {left_out} nothing breaks {guards}");
    }
    assert_eq!(guarded.len(), STEP_GATES.len());
}
