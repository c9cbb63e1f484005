//! The planner's simulator, played with the real thing: its random fleets and schedules (`src/upgrade/tests/simulator`), on
//! simulated clusters, by whole daemons, in time that passes only while nobody has anything to do. Every write of a planner
//! is checked as it reaches its cluster, against what is true there at that moment; in the end, with everything mended, every
//! upgrade must come to its end.
//!
//! [`schedule`] is what happens, [`events`] what becomes of it here; [`stage`] is the fleet and the daemons, [`furniture`] what
//! it begins with, [`wire`] what lies between a daemon and a cluster, [`ledger`] the invariants, of what is the [`truth`], and
//! [`fares`] how clusters and nodes fare.

mod events;
mod fares;
mod furniture;
mod ledger;
#[path = "../../../src/upgrade/tests/simulator/schedule.rs"]
#[allow(dead_code)] // The planner's own simulator has a use for the rest.
mod schedule;
mod stage;
mod truth;
mod types;
mod wire;

use self::furniture::CLUSTERS;
use self::schedule::{Schedule, schedule, shrunk};
use self::stage::Stage;

/// Events of a schedule: each of them takes a whole fleet of daemons and clusters some time.
const EVENTS: usize = 100;

/// A schedule that fails is played so often at most to leave out what it does not need.
const SHRINKS: u32 = 40;

/// How many schedules: as many as `POLKAFLEET_PLAYS` says, or what CI's run can afford.
fn count() -> u64 {
    std::env::var("POLKAFLEET_PLAYS").map_or(3, |count| count.parse().unwrap())
}

/// The first seed: always the same in CI. The daemon's own jitter is not in it, so that a failure may need more than one
/// try to come again.
fn first_seed() -> u64 {
    std::env::var("POLKAFLEET_SEED").map_or(0, |seed| seed.parse().unwrap())
}

/// The schedule of a seed, with as many clusters as can be played here.
fn small(seed: u64) -> Schedule {
    let mut schedule = schedule(seed, 200);
    schedule.shape.clusters.truncate(CLUSTERS);
    schedule.events.truncate(EVENTS);
    schedule
}

/// Plays it; how many steps were taken, or what went wrong.
fn play(schedule: &Schedule) -> Result<String, String> {
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    let runtime = one_thread.enable_all().start_paused(true).build().unwrap();
    let played = runtime.block_on(async {
        let mut stage = Stage::set(schedule).await;
        for (seconds, event) in &schedule.events {
            stage.happens(event).await;
            stage.pass(*seconds).await;
            let broken = stage.ledger.broken();
            if !broken.is_empty() {
                return Err(format!("{broken:#?}"));
            }
        }
        let steps = stage.ledger.steps();
        let unfinished = stage.ends().await;
        let broken = stage.ledger.broken();
        if !broken.is_empty() || !unfinished.is_empty() {
            return Err(format!("{broken:#?} unfinished {unfinished:#?}"));
        }
        Ok(format!("{steps} and then {} steps", stage.ledger.steps() - steps))
    });
    runtime.shutdown_background();
    played
}

#[test]
fn no_schedule_of_faults_edits_and_kills_makes_the_daemon_break_an_invariant() {
    for seed in first_seed()..first_seed() + count() {
        // Before all else, so that whatever ends this test leaves it behind.
        eprint!("POLKAFLEET_SEED={seed} POLKAFLEET_PLAYS=1: ");
        match play(&small(seed)) {
            Ok(words) => eprintln!("{words}"),
            Err(broken) => {
                eprintln!("{broken}\nLeaving out what it does not need…");
                let mut left = SHRINKS;
                let fails = |less: &Schedule| {
                    left = left.saturating_sub(1);
                    left > 0 && play(less).is_err()
                };
                panic!(
                    "POLKAFLEET_SEED={seed} POLKAFLEET_PLAYS=1: {broken}\n{:#?}",
                    shrunk(small(seed), fails)
                );
            }
        }
    }
}
