//! The real daemon under random schedules of faults, edits, slow and lost writes, kills and take-overs, on simulated
//! clusters in time that passes only while nobody has anything to do. Every write of a planner is checked as it reaches
//! its cluster, against what is true there at that moment; in the end, with everything mended, every upgrade must come
//! to its end.
//!
//! [`stage`] is the fleet and the daemons, [`wire`] what lies between a daemon and a cluster, [`ledger`] the invariants, of
//! what is the [`truth`], [`events`] what happens, and [`fares`] how clusters and nodes fare by it. The planner's own
//! simulator (`src/upgrade/tests`) plays longer schedules without a daemon.

mod events;
mod fares;
mod ledger;
mod stage;
mod truth;
mod wire;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::stage::Stage;

/// Events of a schedule.
const EVENTS: usize = 40;

/// How many schedules: as many as `POLKAFLEET_PLAYS` says, or what CI's run can afford.
fn count() -> u64 {
    std::env::var("POLKAFLEET_PLAYS").map_or(3, |count| count.parse().unwrap())
}

/// The first seed: always the same in CI. The daemon's own jitter is not in it, so that a failure may need more than one
/// try to come again.
fn first_seed() -> u64 {
    std::env::var("POLKAFLEET_SEED").map_or(0, |seed| seed.parse().unwrap())
}

fn play(seed: u64) {
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    let runtime = one_thread.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stage = Stage::set(&mut random).await;
        let mut happened = vec![];
        for _ in 0..EVENTS {
            happened.push(stage.happen(&mut random).await);
            stage.pass(random.random_range(5..120)).await;
            let broken = stage.ledger.broken();
            assert!(
                broken.is_empty(),
                "POLKAFLEET_SEED={seed} POLKAFLEET_PLAYS=1: {broken:#?}\n{happened:#?}"
            );
        }
        let steps = stage.ledger.steps();
        let unfinished = stage.ends().await;
        let broken = stage.ledger.broken();
        assert!(
            broken.is_empty() && unfinished.is_empty(),
            "POLKAFLEET_SEED={seed} POLKAFLEET_PLAYS=1: {broken:#?} unfinished {unfinished:#?}\n{happened:#?}"
        );
        eprintln!("seed {seed}: {steps} and then {} steps", stage.ledger.steps() - steps);
    });
    runtime.shutdown_background();
}

#[test]
fn no_schedule_of_faults_edits_and_kills_makes_the_daemon_break_an_invariant() {
    for number in 0..count() {
        play(first_seed() + number);
    }
}
