//! Figures, printed by scripts/bench; not part of a usual run.

mod waves;

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::PostParams;
use polkafleet::clock::Clock;
use polkafleet::polkadot::Polkadot;
use polkafleet::sandbox::fleet::Fleet;

use crate::support::world::{prepare, sample};

const CLUSTERS: usize = 1000;
const RESOURCES: u8 = 5;
/// What they may take, in bytes.
const BOUND: u64 = 1_610_612_736;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: scripts/bench sandbox"]
async fn a_thousand_clusters_live_in_one_process() {
    let begun = Instant::now();
    let names: Vec<String> = (0..CLUSTERS).map(|number| format!("cluster-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fleet = Fleet::start(&names, &Clock::simulated(jiff::Timestamp::now(), 1.0));
    for cluster in &fleet.clusters {
        let client = cluster.backstage("bench");
        prepare(&client, "bench").await;
        let polkadots: Api<Polkadot> = Api::namespaced(client, "bench");
        for number in 0..RESOURCES {
            let mut polkadot = sample("stable2503-6", number);
            polkadot.metadata.name = Some(format!("polkadot-{number}"));
            polkadots.create(&PostParams::default(), &polkadot).await.unwrap();
        }
    }
    let started = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = resident();
    eprintln!(
        "{CLUSTERS} clusters with {RESOURCES} resources each: {started:.1?} to start and fill, {} MiB resident",
        used / 1024 / 1024
    );
    assert!(used < BOUND, "over 1.5 GiB");
}

/// What this process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
