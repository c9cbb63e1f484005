//! What a rehearsal jumps over, and how far: a soak. Pure.
//!
//! A node that was not asked for a while has to show anew that it is well. So the time jumps only so far that all have
//! shown it again before the soak ends.

use jiff::{SignedDuration, Timestamp};

use crate::cli::play::STALLED;
use crate::fleet::{Fleet, Probe};
use crate::observed::{Board, ClusterState};
use crate::upgrade::Plan;

/// The fleet's own times.
pub(super) struct Rhythm {
    /// After this long an answer is old, in the cluster where that is soonest.
    stale: SignedDuration,
    /// How long a node has to be well, in the upgrade where that is longest.
    stable: SignedDuration,
    /// When nothing has moved for so long, nothing will.
    pub(super) patience: SignedDuration,
}

impl Rhythm {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let probes = fleet.clusters.iter().map(|cluster| &cluster.settings.probe);
        let stale = probes.map(Probe::stale).min().unwrap_or(STALLED);
        let proofs = fleet.upgrades.iter().map(|upgrade| upgrade.health.stable_for);
        let longest =
            fleet.upgrades.iter().map(|upgrade| upgrade.progress_deadline + upgrade.health.stable_for).max();
        let patience = longest.unwrap_or_default().max(STALLED);
        Self { stale, stable: proofs.max().unwrap_or_default(), patience }
    }

    /// How far the time may jump when all is quiet; for long enough, not even a write is expected any more.
    pub(super) fn jump(&self, plan: &Plan, now: Timestamp, long_quiet: bool) -> Option<SignedDuration> {
        let passing = || plan.waits.iter().any(|wait| wait.code.is_passing());
        let in_flight =
            plan.progress.iter().flat_map(|progress| &progress.stages).any(|stage| stage.in_flight > 0);
        if in_flight || !plan.actions.is_empty() || (!long_quiet && passing()) {
            return None;
        }
        let end = self.stable + self.stale * 3;
        let left = plan.wake?.duration_since(now);
        (left > end + self.stale).then(|| left - end)
    }
}

/// Whether every node runs, or cannot.
pub(super) fn is_calm(board: &Board) -> bool {
    let ready = board.clusters.values().filter(|view| view.state == ClusterState::Ready);
    let mut roles = ready.flat_map(|view| view.resources.values()).flat_map(|resource| &resource.roles);
    roles.all(|role| role.nodes.iter().all(|node| node.ready_since.is_some() || node.stuck.is_some()))
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
            ahead: 0,
            total: 1,
        };
        let progress = Progress {
            upgrade: "u".into(),
            target: "stable2503-7".into(),
            attempt: 1,
            halted: None,
            owns_nothing: None,
            stages: vec![stage],
        };
        let wake = wake.map(|seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds));
        Plan { progress: vec![progress], wake, ..Plan::default() }
    }

    #[test]
    fn only_a_soak_is_jumped_over_and_not_to_its_end() {
        let jump = |in_flight, wake| RHYTHM.jump(&plan(in_flight, wake), Timestamp::UNIX_EPOCH, false);
        let left = SignedDuration::from_hours(24) - jump(0, Some(86_400)).unwrap();
        assert!(left > RHYTHM.stable + RHYTHM.stale, "{left:#} is left to show that all is well");
        for nothing in [jump(1, Some(86_400)), jump(0, Some(60)), jump(0, None)] {
            assert_eq!(nothing, None);
        }
    }
}
