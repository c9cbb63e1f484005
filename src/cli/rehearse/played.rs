//! The waves as they really happened, read from the steps that the daemon wrote, and compared with those of `plan`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::fleet::Fleet;
use crate::observed::Board;
use crate::polkadot::Step;
use crate::upgrade::Place;
use crate::upgrade::waves::{Wave, WaveStep};

/// Every step since the curtain rose.
pub(super) struct Played {
    began: Timestamp,
    taken: BTreeMap<Place, Taken>,
}

/// A step, and when all nodes of its resource first were Ready on what it brought.
struct Taken {
    step: Step,
    settled: Option<Timestamp>,
}

/// A wave, as it was put together.
pub(super) struct Happened {
    pub(super) wave: Wave,
    /// Whether no step can join it any more: a resource of it is through.
    pub(super) is_whole: bool,
    places: Vec<Place>,
}

impl Played {
    pub(super) fn new(began: Timestamp) -> Self {
        Self { began, taken: BTreeMap::new() }
    }

    /// When it began.
    pub(super) fn began(&self) -> Timestamp {
        self.began
    }

    /// Looks at the fleet once more; whether a step was taken, or is through, that was not before.
    pub(super) fn see(&mut self, board: &Board) -> bool {
        let before = (self.taken.len(), self.settled());
        for (cluster, view) in &board.clusters {
            for (id, resource) in &view.resources {
                let Some(step) = resource.step.as_ref().filter(|step| step.at >= self.began) else {
                    continue;
                };
                let place = (cluster.clone(), id.clone());
                let taken =
                    self.taken.entry(place).or_insert_with(|| Taken { step: step.clone(), settled: None });
                taken.settled = taken.settled.or(resource.settled_since.filter(|since| *since > step.at));
            }
        }
        before != (self.taken.len(), self.settled())
    }

    fn settled(&self) -> usize {
        self.taken.values().filter(|taken| taken.settled.is_some()).count()
    }

    /// The waves: a step begins another one when a resource of the last one of its stage was through before it.
    pub(super) fn waves(&self, fleet: &Fleet) -> Vec<Happened> {
        let mut steps: Vec<(&Place, &Taken)> = self.taken.iter().collect();
        let position = |place: &Place| fleet.clusters.iter().position(|cluster| cluster.name == place.0);
        steps.sort_by_key(|(place, taken)| (taken.step.at, position(place)));
        let mut waves: Vec<Happened> = vec![];
        for (place, taken) in steps {
            let (stage, needs_approval) = stage(fleet, place, &taken.step);
            let mut of_stage = waves.iter_mut().rev();
            let last = of_stage
                .find(|last| last.wave.upgrade == taken.step.upgrade && last.wave.stage == stage)
                .filter(|last| !last.places.iter().any(|place| self.was_through(place, taken.step.at)));
            let step = WaveStep {
                cluster: place.0.to_string(),
                resource: place.1.to_string(),
                from: taken.step.previous.clone(),
                to: taken.step.target.clone(),
            };
            let settled = taken.settled.is_some();
            if let Some(last) = last {
                last.wave.steps.push(step);
                last.places.push(place.clone());
                last.is_whole |= settled;
                continue;
            }
            let wave = Wave {
                upgrade: taken.step.upgrade.clone(),
                stage,
                after_seconds: taken.step.at.duration_since(self.began).as_secs(),
                needs_approval,
                steps: vec![step],
            };
            waves.push(Happened { wave, is_whole: settled, places: vec![place.clone()] });
        }
        waves
    }

    fn was_through(&self, place: &Place, at: Timestamp) -> bool {
        self.taken.get(place).and_then(|taken| taken.settled).is_some_and(|settled| settled <= at)
    }
}

/// The stage of a step, and whether somebody had to approve it.
fn stage(fleet: &Fleet, (cluster, _): &Place, step: &Step) -> (String, bool) {
    let upgrade = fleet.upgrades.iter().find(|upgrade| upgrade.name == step.upgrade);
    let found = upgrade.zip(fleet.cluster(cluster)).and_then(|(upgrade, cluster)| {
        let stage = &upgrade.stages[upgrade.stage_of(cluster)?];
        let approved = stage.approved_version.as_ref() == Some(&step.target);
        Some((stage.name.clone(), stage.approval_required && !approved))
    });
    found.unwrap_or_default()
}

/// Whether both have, stage by stage, the same resources in the same order of waves. When two upgrades go on beside each
/// other, which of them is ahead hangs on how long nodes take, and is no difference.
pub(super) fn are_the_same(one: &[Wave], other: &[Wave]) -> bool {
    by_stage(one) == by_stage(other)
}

type Stages<'a> = BTreeMap<(&'a str, &'a str), Vec<BTreeSet<(&'a str, &'a str, &'a str)>>>;

fn by_stage(waves: &[Wave]) -> Stages<'_> {
    let mut stages = Stages::new();
    for wave in waves {
        let steps = wave.steps.iter().map(|step| (&*step.cluster, &*step.resource, &*step.to));
        stages.entry((&wave.upgrade, &wave.stage)).or_default().push(steps.collect());
    }
    stages
}
