//! What the suites share: real control planes ([`planes`]) and simulated ones, a namespace of one's own in each of them
//! ([`world`]), chain nodes in the pods of real ones ([`nodes`]), what was asked of each ([`requests`]), the daemon
//! ([`daemon`]), a proxy that can fail ([`proxy`]), what answers for a simulated cluster ([`between`]) and an OTLP receiver
//! ([`collector`]).

pub mod between;
pub mod collector;
pub mod daemon;
pub mod nodes;
pub mod planes;
pub mod proxy;
pub mod random;
mod requests;
pub mod way;
pub mod world;

use std::time::Duration;

/// Waits until `condition` gives something; panics with `what` when it takes too long.
pub async fn eventually<T>(what: &str, bound: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(started.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(pause).await;
        // Simulated clusters are quick, and real ones have better things to do than to answer us.
        pause = pause.mul_f64(1.5).min(Duration::from_millis(100));
    }
}

/// Makes tests of bodies that take a place: `real::…` on control planes, `sandbox::…` in the sandbox.
macro_rules! in_both_worlds {
    ($($name:ident),* $(,)?) => {
        crate::support::in_the_real_world!($($name),*);
        mod sandbox {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::world::Place::Sandbox).await;
            })*
        }
    };
}
pub(crate) use in_both_worlds;

/// The same of bodies that only the control planes can do.
macro_rules! in_the_real_world {
    ($($name:ident),* $(,)?) => {
        mod real {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(planes) = crate::support::planes::shared() else { return };
                super::$name(crate::support::world::Place::Real(planes)).await;
            })*
        }
    };
}
pub(crate) use in_the_real_world;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
