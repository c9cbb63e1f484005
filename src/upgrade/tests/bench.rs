//! How long a plan takes: figures for `scripts/bench plan`, compared within one run because machines differ.

// Figures are there to be printed.
#![allow(clippy::print_stderr)]

use std::time::{Duration, Instant};

use super::model::{Model, Shape, planned};
use crate::polkadot::Kind;

/// The shortest of several plans for so many clusters of twenty resources, a tenth of them canaries, half-way.
fn of(clusters: usize) -> Duration {
    let kinds = || [Kind::Sentry, Kind::SentryAndValidator].into_iter().cycle().take(20).collect();
    let mut model = Model::new(&Shape {
        clusters: (0..clusters).map(|index| (usize::from(index % 10 > 0), kinds())).collect(),
        width: 10,
        nodes: 2,
        delays: vec![30],
        broken: None,
    });
    for _ in 0..3 {
        let made = planned(&model);
        model.act(&made);
        model.pass(20);
    }
    let once = || {
        let begun = Instant::now();
        let made = planned(&model);
        assert!(!made.waits.is_empty());
        begun.elapsed()
    };
    (0..5).map(|_| once()).min().unwrap()
}

#[test]
#[ignore = "a bench: scripts/bench plan"]
fn a_plan_takes_about_as_much_longer_as_the_fleet_is_larger() {
    let (small, large) = (of(50), of(200));
    let times = large.as_secs_f64() / small.as_secs_f64();
    eprintln!("1,000 resources: {small:?}; 4,000: {large:?}; {times:.1} times as long");
    assert!(times < 8.0, "four times would be in proportion, sixteen quadratic");
}
