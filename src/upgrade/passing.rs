//! When a stage has passed (I1), and until when it soaks. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Cluster, Unreachable, Upgrade};

use super::standing::Standing;
use super::survey::{Survey, Surveyed};

/// Whether a stage has passed, or why not.
///
/// At least one resource in it has soaked, and so have all others in scope, except failed ones (the budget for those
/// is another gate's) and, under `skip`, those in unreachable clusters. A step of this plan makes none pass, nor takes
/// one's passing away: so it is found out once.
pub fn passed(survey: &Survey<'_>, upgrade: &Upgrade, stage: usize) -> Result<(), String> {
    let (known, key) = (&survey.known.passed, (upgrade.name.clone(), stage));
    if let Some(passed) = known.borrow().get(&key) {
        return passed.clone();
    }
    let passed = has_passed(survey, upgrade, stage);
    known.borrow_mut().insert(key, passed.clone());
    passed
}

fn has_passed(survey: &Survey<'_>, upgrade: &Upgrade, stage: usize) -> Result<(), String> {
    let rules = &upgrade.stages[stage];
    let (mut soaked, mut left_out) = (0, None);
    for cluster in survey.fleet.clusters.iter().filter(|cluster| is_in_stage(upgrade, cluster, stage)) {
        if cluster.paused || cluster.lost {
            continue;
        }
        if !survey.is_ready(cluster) {
            if survey.is_without_resources(cluster) {
                continue;
            }
            // What has not been asked yet, or is on its way to us, is not out of reach: it may be in the middle of this.
            if upgrade.unreachable == Unreachable::Skip && survey.is_out_of_reach(cluster) {
                continue;
            }
            return Err(format!("cluster {}: {}", cluster.name, survey.state_of(cluster)));
        }
        for (resource, standing) in survey.owned(upgrade, cluster) {
            // What is ahead, or has failed, may be at the target when the answer is known, and has to be watched there.
            let id = &resource.view.id;
            if resource.view.ever_settled && survey.may_be_set(&(cluster.name.clone(), id.clone())) {
                return Err(format!(
                    "whether {} {id} has got another version is not known yet",
                    cluster.name
                ));
            }
            if let Standing::Out(code, _) = standing {
                left_out.get_or_insert_with(|| format!("{} {id}: {code:?}", cluster.name));
            }
            match soak(survey, upgrade, stage, standing) {
                Soak::Done if has_nodes(resource) => soaked += 1,
                // Done without a node: nothing ran there that could have failed.
                Soak::Done | Soak::Excluded => {}
                Soak::Waiting(..) if !resource.view.ever_settled => {}
                Soak::Waiting(why, _) => return Err(format!("{} {} {why}", cluster.name, resource.view.id)),
            }
        }
    }
    if soaked > 0 || rules.optional {
        return Ok(());
    }
    Err(match left_out {
        Some(first) => {
            format!("no resource in it has soaked: what there is was left out ({first}); mend that first")
        }
        None => "it has no resource that has soaked; label its clusters and resources, or set optional: true"
            .into(),
    })
}

fn has_nodes(resource: &Surveyed<'_>) -> bool {
    resource.view.roles.iter().any(|role| !role.nodes.is_empty())
}

enum Soak {
    Done,
    Excluded,
    /// Why, and until when, where time alone ends it.
    Waiting(String, Option<Timestamp>),
}

fn soak(survey: &Survey<'_>, upgrade: &Upgrade, stage: usize, standing: &Standing) -> Soak {
    match standing {
        Standing::Ahead => Soak::Done,
        Standing::Healthy(since) => {
            let until = *since
                + if upgrade.is_expedited() { SignedDuration::ZERO } else { upgrade.stages[stage].soak };
            if until <= survey.now {
                return Soak::Done;
            }
            Soak::Waiting(format!("soaks until {until:.0}"), Some(until))
        }
        Standing::Out(..) | Standing::Failed(_) => Soak::Excluded,
        Standing::InFlight { .. } => Soak::Waiting("is not healthy at the target yet".into(), None),
        Standing::NotStarted => Soak::Waiting("has not got the target yet".into(), None),
    }
}

/// Until when a stage soaks, if time alone makes it pass.
pub fn soaks_until(survey: &Survey<'_>, upgrade: &Upgrade, stage: usize) -> Option<Timestamp> {
    let (known, key) = (&survey.known.soaks, (upgrade.name.clone(), stage));
    if let Some(until) = known.borrow().get(&key) {
        return *until;
    }
    let until = last_soak(survey, upgrade, stage);
    known.borrow_mut().insert(key, until);
    until
}

fn last_soak(survey: &Survey<'_>, upgrade: &Upgrade, stage: usize) -> Option<Timestamp> {
    let clusters = survey.fleet.clusters.iter().filter(|cluster| is_in_stage(upgrade, cluster, stage));
    let mut last = None;
    for cluster in clusters.filter(|cluster| !cluster.paused && !cluster.lost) {
        if !survey.is_ready(cluster) && !survey.is_without_resources(cluster) {
            return None;
        }
        for (resource, standing) in survey.owned(upgrade, cluster) {
            if let Soak::Waiting(_, until) = soak(survey, upgrade, stage, standing)
                && resource.view.ever_settled
            {
                last = last.max(Some(until?));
            }
        }
    }
    last
}

/// Whether the cluster belongs to that stage: the first that selects it.
pub fn is_in_stage(upgrade: &Upgrade, cluster: &Cluster, stage: usize) -> bool {
    upgrade.stage_of(cluster) == Some(stage)
}
