//! How far an upgrade is, and in what state its stages are: summed up for people, decides nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::SelectorExt as _;

use crate::fleet::{Cluster, Upgrade};

use super::standing::Standing;
use super::survey::{Survey, Surveyed, is_stepped};
use super::{HALTED, Place, Progress, StageProgress, StageState, gates, lapse, passing};

/// So many clusters are named one by one.
const NAMED: usize = 5;

/// How far an upgrade is, stage by stage.
pub fn of(survey: &Survey<'_>, upgrade: &Upgrade) -> Progress {
    let mut all_passed = true;
    let halted = gates::halted(survey, upgrade);
    let stages = (0..upgrade.stages.len())
        .map(|index| {
            let passed = passing::passed(survey, upgrade, index).is_ok();
            let (mut begun, mut lapsed, mut failed_in_flight) = (false, 0, 0);
            let mut stage = StageProgress {
                stage: upgrade.stages[index].name.clone(),
                state: StageState::Waiting,
                healthy: 0,
                in_flight: 0,
                failed: 0,
                ahead: 0,
                total: 0,
            };
            let of_stage = |cluster: &&Cluster| passing::is_in_stage(upgrade, cluster, index);
            // Of a lost cluster nobody expects anything.
            for cluster in survey.fleet.clusters.iter().filter(of_stage).filter(|cluster| !cluster.lost) {
                for (resource, standing) in survey.owned(upgrade, cluster) {
                    count(&mut stage, standing);
                    lapsed += usize::from(has_lapsed(resource, standing));
                    failed_in_flight += usize::from(is_failed_in_flight(resource, standing));
                    begun |= has_moved(resource, standing);
                }
            }
            stage.state = match () {
                // What failed beyond what is tolerated is not passed over.
                () if halted.is_some()
                    && stage.failed + failed_in_flight > 0
                    && stage.in_flight == failed_in_flight =>
                {
                    StageState::Halted
                }
                () if passed && all_passed => StageState::Passed,
                () if stage.total > 0 && stage.healthy + stage.failed == stage.total => StageState::Soaking,
                () if lapsed > 0 && stage.healthy + stage.failed + lapsed == stage.total => {
                    StageState::Recovering
                }
                () if begun => StageState::Rolling,
                () if stage.total == 0 && is_seen_empty(survey, upgrade, index) => StageState::Empty,
                () if all_passed && halted.is_none() => StageState::Next,
                () => StageState::Waiting,
            };
            all_passed &= passed;
            stage
        })
        .collect();
    Progress {
        upgrade: upgrade.name.clone(),
        target: upgrade.client_version.clone(),
        attempt: upgrade.attempt,
        halted,
        owns_nothing: owns_nothing(survey, upgrade),
        stages,
    }
}

/// What has become of the steps that were taken.
pub fn outcomes(survey: &Survey<'_>) -> BTreeMap<Place, Option<String>> {
    let of = |(place, resource): (&Place, &Surveyed<'_>)| {
        let owner = resource.owner.as_ref().filter(|owner| is_stepped(owner.upgrade, &resource.view))?;
        match &owner.standing {
            Standing::Failed(why) => Some((place.clone(), Some(why.clone()))),
            Standing::Healthy(_) => Some((place.clone(), None)),
            _ => None,
        }
    };
    survey.resources.iter().filter_map(of).collect()
}

/// Where an upgrade stands, for who cannot look himself; `None` where it is through.
pub fn in_words(progress: &Progress) -> Option<String> {
    if progress.is_complete() {
        return None;
    }
    if let Some(why) = &progress.halted {
        return Some(format!("{HALTED}: {why}"));
    }
    if let Some(why) = &progress.owns_nothing {
        return Some(format!("owns no resource: {why}"));
    }
    let stage = progress.stages.iter().find(|stage| stage.state != StageState::Passed)?;
    Some(format!("stage {} {}", stage.stage, stage.in_words()))
}

/// Whether it was healthy at the target, and nothing of ours moves it since.
fn has_lapsed(resource: &Surveyed<'_>, standing: &Standing) -> bool {
    matches!(standing, Standing::InFlight { .. })
        && lapse::has_lapsed(&resource.view)
        && !resource.view.roll_pending()
}

/// Whether it is on its way again after it had failed, and that still stops others.
fn is_failed_in_flight(resource: &Surveyed<'_>, standing: &Standing) -> bool {
    matches!(standing, Standing::InFlight { .. })
        && resource.owner.as_ref().is_some_and(|owner| owner.failure.is_some())
}

/// Whether anything of the upgrade has happened to a resource; one that was made at the target and comes up, or has not been
/// healthy for long enough, is no step of it.
fn has_moved(resource: &Surveyed<'_>, standing: &Standing) -> bool {
    match standing {
        Standing::InFlight { deadline } => deadline.is_some() || resource.rolling,
        Standing::Healthy(_) | Standing::Ahead | Standing::Failed(_) => true,
        Standing::NotStarted | Standing::Out(..) => false,
    }
}

/// Why an upgrade has nothing to do anywhere, if no resource that is seen is its own.
fn owns_nothing(survey: &Survey<'_>, upgrade: &Upgrade) -> Option<String> {
    let mut seen = survey.resources.values();
    let owner = |resource: &Surveyed<'_>| resource.owner.as_ref().map(|owner| owner.upgrade.name.clone());
    if seen.any(|resource| owner(resource).as_ref() == Some(&upgrade.name)) {
        return None;
    }
    let selected = survey.resources.values().filter(|one| upgrade.selector.matches(&one.view.labels));
    let earlier: BTreeSet<String> = selected.filter_map(owner).collect();
    let unseen = unseen(survey);
    Some(if survey.resources.is_empty() {
        format!("no Polkadot resource is seen in any cluster{unseen}")
    } else if earlier.is_empty() {
        format!(
            "its selector ({}) matches none of the resources that are seen; label them so, or correct the selector{unseen}",
            upgrade.selector
        )
    } else {
        let names: Vec<String> = earlier.into_iter().collect();
        format!(
            "all that its selector matches belongs to upgrades that stand before it: {}",
            names.join(", ")
        )
    })
}

/// The clusters of which nothing is known, as the end of a sentence; empty where there is none.
fn unseen(survey: &Survey<'_>) -> String {
    let is_known = |cluster: &Cluster| survey.is_ready(cluster) || survey.is_without_resources(cluster);
    let away = |cluster: &&Cluster| !cluster.lost && !is_known(cluster);
    let all: Vec<&Cluster> = survey.fleet.clusters.iter().filter(away).collect();
    let names: Vec<&str> = all.iter().take(NAMED).map(|cluster| cluster.name.0.as_str()).collect();
    match all.len().saturating_sub(NAMED) {
        _ if all.is_empty() => String::new(),
        0 => format!("; nothing can be seen in {}", names.join(", ")),
        more => format!("; nothing can be seen in {} and {more} more", names.join(", ")),
    }
}

/// Whether a stage that has to have a resource has none, as far as is known of its clusters: all there is to know.
fn is_seen_empty(survey: &Survey<'_>, upgrade: &Upgrade, stage: usize) -> bool {
    let mut members =
        survey.fleet.clusters.iter().filter(|cluster| passing::is_in_stage(upgrade, cluster, stage));
    // What is left out for a reason of its own is there, and its reason is told.
    let has_none =
        |cluster: &Cluster| survey.is_ready(cluster) && survey.owned(upgrade, cluster).next().is_none();
    !upgrade.stages[stage].optional
        && members.all(|cluster| cluster.paused || cluster.lost || has_none(cluster))
}

fn count(stage: &mut StageProgress, standing: &Standing) {
    match standing {
        Standing::Out(..) => return,
        Standing::Healthy(_) => stage.healthy += 1,
        Standing::Ahead => (stage.healthy, stage.ahead) = (stage.healthy + 1, stage.ahead + 1),
        Standing::InFlight { .. } => stage.in_flight += 1,
        Standing::Failed(_) => stage.failed += 1,
        Standing::NotStarted => {}
    }
    stage.total += 1;
}
