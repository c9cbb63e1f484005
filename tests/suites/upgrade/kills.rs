//! The daemon dies at random instants of an upgrade; on real control planes by SIGKILL. The witnesses are every version of
//! the resources, and the servers' audit logs.

use std::time::Duration;

use serde_json::json;

use super::written::Written;
use crate::support::in_both_worlds;
use crate::support::world::{Place, World, upgrade};

in_both_worlds! {
    an_upgrade_survives_kills_at_random_instants_without_an_extra_or_a_missing_step,
}

/// How often it is killed in every upgrade.
const IN_EACH: u32 = 3;

/// `POLKAFLEET_KILLS` in all: one upgrade after the other, with some in each.
async fn an_upgrade_survives_kills_at_random_instants_without_an_extra_or_a_missing_step(place: Place) {
    use rand::RngExt as _;
    let kills: u32 = std::env::var("POLKAFLEET_KILLS").map_or(IN_EACH, |kills| kills.parse().unwrap());
    let seed: u64 =
        std::env::var("POLKAFLEET_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("POLKAFLEET_SEED={seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    // So long does an upgrade take about, with what a take-over adds.
    let moments = if matches!(place, Place::Real(_)) { 9_000 } else { 900 };
    let (world, mut daemon) = World::settled(place, 3, "stable2503-6").await;
    let mut written = vec![];
    for member in &world.members {
        written.push(Written::of(member).await);
    }
    let mut targets: Vec<String> = vec![];
    for round in 1..=kills.div_ceil(IN_EACH) {
        let version = format!("stable2503-{}", 6 + round);
        let mut fleet = upgrade(&version, "0s");
        targets.push(version.clone());
        fleet["lease"] = json!({"duration": "3s"});
        world.write_fleet(3, &fleet);
        for _ in 0..IN_EACH {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..moments))).await;
            daemon.kill();
            daemon = world.daemon();
        }
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        for (member, written) in world.members.iter().zip(&written) {
            member.settles_at(&version).await;
            written.is_once_each(member, &targets).await;
        }
    }
}
