//! How fast a rehearsal plays: what may be jumped over, and how far. Pure.
//!
//! A node that was not asked for a while has to show anew that it is well. So the time jumps near while something has to
//! be seen to be well for long enough, from one look at all nodes to the next; and far only over a soak, so far that
//! they have shown it again before the soak ends. Pods that start and stop do so at an even pace.

use jiff::{SignedDuration, Timestamp};

use crate::cli::play::STALLED;
use crate::fleet::Fleet;
use crate::observed::{Board, ClusterState, NodeHealth, NodeView};
use crate::upgrade::{Code, Plan};

/// Real seconds within which every node is asked again, on a busy machine: for the pause between two rounds, and for every
/// resource.
const ROUND_SECONDS: (f64, f64) = (0.3, 0.01);
/// The slowest and the fastest pace that nobody asked for.
const PACES: (f64, f64) = (5.0, 200.0);

/// After a longer gap between two answers, a chain counts as one that stood still meanwhile; what is jumped over is half
/// of that, so that the round of questions has the rest.
const LONGEST_GAP: SignedDuration = SignedDuration::from_secs(60);

/// What is waited for in real time, however fast the fleet's runs.
const REAL: [Code; 7] = [
    Code::HomeUnreachable,
    Code::Standby,
    Code::TakingOver,
    Code::ClockSkew,
    Code::RecordPending,
    Code::WriteUnderWay,
    Code::ClusterUnreachable,
];

/// The fleet's own times.
pub(super) struct Rhythm {
    /// After this long an answer is old, in the cluster where that is soonest.
    stale: SignedDuration,
    /// How long a node has to be well, in the upgrade where that is longest.
    stable: SignedDuration,
    /// When nothing has moved for so long, nothing will.
    pub(super) patience: SignedDuration,
}

/// What may be jumped over now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Jump {
    /// Nothing: somebody is about to act.
    None,
    /// As much as leaves the last answers fresh.
    Near(SignedDuration),
    /// A soak, but for its end.
    Far(SignedDuration),
}

impl Rhythm {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let probes = fleet.clusters.iter().map(|cluster| &cluster.settings.probe);
        let stale = probes.map(|probe| probe.interval * 3 + probe.timeout).min().unwrap_or(STALLED);
        let proofs = fleet.upgrades.iter().map(|upgrade| upgrade.health.stable_for);
        let longest =
            fleet.upgrades.iter().map(|upgrade| upgrade.progress_deadline + upgrade.health.stable_for).max();
        let patience = longest.unwrap_or_default().max(STALLED);
        Self { stale, stable: proofs.max().unwrap_or_default(), patience }
    }

    /// The pace at which a round of questions takes a third of the time for which answers are fresh.
    pub(super) fn pace(&self, resources: usize) -> f64 {
        let resources = f64::from(u32::try_from(resources).unwrap_or(u32::MAX));
        let round = ROUND_SECONDS.0 + ROUND_SECONDS.1 * resources;
        (self.stale.as_secs_f64() / 3.0 / round).clamp(PACES.0, PACES.1)
    }

    /// How far the time may jump when all is quiet; for long enough, not even a write is expected any more.
    pub(super) fn jump(&self, plan: &Plan, now: Timestamp, long_quiet: bool) -> Jump {
        let real = || plan.waits.iter().any(|wait| REAL.contains(&wait.code));
        if !plan.actions.is_empty() || (!long_quiet && real()) {
            return Jump::None;
        }
        let left = plan.wake.map_or(SignedDuration::MAX, |wake| wake.duration_since(now));
        let near = left.min(self.stale / 2).min(LONGEST_GAP);
        let in_flight =
            plan.progress.iter().flat_map(|progress| &progress.stages).any(|stage| stage.in_flight > 0);
        let end = self.stable + self.stale * 3;
        if !in_flight && plan.wake.is_some() && left > end + self.stale {
            Jump::Far(left - end)
        } else if near > SignedDuration::from_secs(1) {
            Jump::Near(near)
        } else {
            Jump::None
        }
    }

    /// Whether a node that has run for a while was not asked for longer than two rounds take: the machine does not keep up.
    pub(super) fn is_behind(&self, board: &Board, now: Timestamp) -> bool {
        let since = now - self.stale * 2 / 3;
        let missed = |node: &NodeView, health: Option<&NodeHealth>| {
            node.ready_since.is_some_and(|ready| ready < since)
                && !health.is_some_and(|health| was_asked(health, since))
        };
        nodes(board).any(|(node, health)| missed(node, health))
    }
}

/// Whether every node runs, or cannot.
pub(super) fn is_calm(board: &Board) -> bool {
    nodes(board).all(|(node, _)| node.ready_since.is_some() || node.stuck.is_some())
}

/// Whether every node that runs has been asked since.
pub(super) fn all_asked(board: &Board, since: Timestamp) -> bool {
    let asked = |health| was_asked(health, since);
    nodes(board).all(|(node, health)| node.ready_since.is_none() || health.is_some_and(asked))
}

fn was_asked(health: &NodeHealth, since: Timestamp) -> bool {
    let answered = health.samples.back().is_some_and(|sample| sample.at >= since);
    answered || health.blocked.as_ref().is_some_and(|blocked| blocked.at >= since)
}

/// The nodes of all clusters that can be seen.
fn nodes(board: &Board) -> impl Iterator<Item = (&NodeView, Option<&NodeHealth>)> {
    let ready = board.clusters.values().filter(|view| view.state == ClusterState::Ready);
    ready.flat_map(|view| {
        let nodes = view.resources.values().flat_map(|resource| {
            let nodes = resource.roles.iter().flat_map(|role| &role.nodes);
            nodes.map(move |node| (&resource.id.namespace, node))
        });
        nodes.map(|(namespace, node)| {
            let health = view.health.get(&(namespace.clone(), node.pod.clone()));
            (node, health.map(AsRef::as_ref))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upgrade::{Progress, StageProgress, StageState};

    const RHYTHM: Rhythm = Rhythm {
        stale: SignedDuration::from_secs(185),
        stable: SignedDuration::from_mins(3),
        patience: STALLED,
    };

    fn plan(in_flight: usize, wake: Option<i64>) -> Plan {
        let stage = StageProgress {
            stage: "canary".into(),
            state: StageState::Soaking,
            healthy: 1,
            in_flight,
            failed: 0,
            total: 1,
        };
        let progress = Progress {
            upgrade: "u".into(),
            target: "stable2503-7".into(),
            attempt: 1,
            halted: None,
            stages: vec![stage],
        };
        let wake = wake.map(|seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds));
        Plan { progress: vec![progress], wake, ..Plan::default() }
    }

    #[test]
    fn only_a_soak_is_jumped_over_at_once_and_not_to_its_end() {
        let jump = |in_flight, wake| RHYTHM.jump(&plan(in_flight, wake), Timestamp::UNIX_EPOCH, false);
        let Jump::Far(far) = jump(0, Some(86_400)) else { panic!() };
        let left = SignedDuration::from_hours(24) - far;
        assert!(left > RHYTHM.stable + RHYTHM.stale, "{left:#} is left to show that all is well");
        let Jump::Near(near) = jump(1, Some(86_400)) else { panic!() };
        assert!(near < RHYTHM.stale);
        assert_eq!(jump(1, Some(60)), Jump::Near(SignedDuration::from_secs(60)));
        assert_eq!(jump(1, Some(0)), Jump::None);
        assert!(matches!(jump(0, None), Jump::Near(_)), "that nothing will happen is found out soon");
    }
}
