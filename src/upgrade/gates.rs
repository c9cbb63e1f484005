//! The gates: each may veto the start of a step, with a reason. The planner applies them as a list. Pure.
//!
//! Every gate guards one or more of the design's invariants (section 5); leaving one out must break it.

use crate::fleet::{Cluster, Stage, Upgrade};

use super::standing::has_validator;
use super::survey::{Survey, Surveyed};
use super::{Code, Place, lapse, passing};

/// A veto: the reason in one word and in words.
pub type Veto = (Code, String);

/// A resource that has a step to take.
pub struct Candidate<'a> {
    /// Where it is.
    pub place: Place,
    /// What is known of it.
    pub resource: Surveyed<'a>,
    /// The upgrade.
    pub upgrade: &'a Upgrade,
    /// The index of its stage.
    pub stage: usize,
}

/// A rule that may veto a step.
pub type Gate = fn(&Survey<'_>, &Candidate<'_>) -> Result<(), Veto>;

/// All gates of a step, in the order in which their reasons are worth telling.
pub const STEP_GATES: [Gate; 10] =
    [blindness, trouble, pause, failures, order, approval, width_and_nodes, validators, chain, probe];

/// I5: nothing is changed in a cluster that is not seen as it is, or is not ours to change.
pub fn cluster_is_open(survey: &Survey<'_>, cluster: &Cluster) -> Result<(), Veto> {
    if !survey.is_ready(cluster) {
        let words = format!("cluster {}: {}", cluster.name, survey.state_of(cluster));
        return Err((Code::ClusterUnreachable, words));
    }
    if cluster.lost {
        return Err((
            Code::ClusterLost,
            format!("cluster {} is declared lost in the fleet file", cluster.name),
        ));
    }
    if cluster.paused {
        return Err((Code::ClusterPaused, format!("cluster {} is paused in the fleet file", cluster.name)));
    }
    Ok(())
}

fn blindness(survey: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    cluster_is_open(survey, candidate.resource.cluster)
}

/// Nothing is rolled onto a resource that its worker cannot make so.
fn trouble(_: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    let view = &candidate.resource.view;
    match &view.trouble {
        // A missing version is what the step will mend.
        Some(trouble) if view.client_version.is_some() => Err((Code::Trouble, trouble.clone())),
        _ => Ok(()),
    }
}

/// Nothing begins on a chain that stands still, or may: nobody could tell whether it went well.
fn chain(survey: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    chain_moves(survey, &candidate.resource)?;
    chain_is_known(survey, &candidate.resource)
}

/// Why nothing that runs is touched on the resource's chain, if it may stand still for all that is known.
pub fn chain_is_known(survey: &Survey<'_>, resource: &Surveyed<'_>) -> Result<(), Veto> {
    let view = &resource.view;
    if survey.chain(view).is_unknown && view.has_run() {
        let words = format!(
            "whether the chain {} moves is not known yet: the nodes that answer have not been watched for two minutes, those \
             without a step have not been asked since their cluster came back, or they came up just now to where \
             others have stood",
            view.chain
        );
        return Err((Code::ChainUnknown, words));
    }
    Ok(())
}

/// Why nothing is rolled on the resource's chain, if it stands still. A node that never ran has nothing to lose.
pub fn chain_moves(survey: &Survey<'_>, resource: &Surveyed<'_>) -> Result<(), Veto> {
    match survey.chain(&resource.view).stalled {
        Some(since) if resource.view.has_run() => {
            let chain = &resource.view.chain;
            let words = format!(
                "the chain {chain} has finalised no block since {since:.0}, on nodes that were not touched either; \
                 everything on it waits until it goes on, and nothing has failed by it"
            );
            Err((Code::ChainStalled, words))
        }
        _ => Ok(()),
    }
}

/// A node whose health cannot be told after a step is not given one.
fn probe(_: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    match candidate.resource.chart.blocked(&candidate.resource.view) {
        Some((pod, why)) => Err((
            Code::ProbeBlocked,
            format!(
                "whether {pod} is healthy could not be told after the step: {why}; mend that, or set \
                 health: {{probe: optional}} in the upgrade to go by readiness alone"
            ),
        )),
        None => Ok(()),
    }
}

/// I11: a paused upgrade starts nothing.
fn pause(_: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    if candidate.upgrade.paused {
        return Err((
            Code::UpgradePaused,
            "the upgrade is paused, in the fleet file or by polkafleet pause (see polkafleet status)".into(),
        ));
    }
    Ok(())
}

/// I6: with more failures than tolerated, nothing new starts.
fn failures(survey: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    if !candidate.resource.view.has_run() {
        return Ok(());
    }
    if let Some(words) = halted(survey, candidate.upgrade) {
        return Err((Code::Halted, words));
    }
    unnoted(survey, candidate.upgrade).map_or(Ok(()), |words| Err((Code::NotePending, words)))
}

/// What fell ill and has no note of it yet: whether it has failed is counted from there, so nothing begins before.
fn unnoted(survey: &Survey<'_>, upgrade: &Upgrade) -> Option<String> {
    let known = &survey.known.unnoted;
    if let Some(unnoted) = known.borrow().get(&upgrade.name) {
        return unnoted.clone();
    }
    let mut owned = survey.fleet.clusters.iter().flat_map(|cluster| survey.owned(upgrade, cluster));
    let unnoted = owned.find(|(resource, _)| {
        let view = &resource.view;
        view.held.is_none()
            && cluster_is_open(survey, resource.cluster).is_ok()
            && resource
                .owner
                .as_ref()
                .is_some_and(|owner| lapse::is_unnoted(owner, view, &resource.chart, survey.chain(view)))
    });
    let words = unnoted.map(|(resource, _)| {
        format!(
            "{} {} was healthy at the target and is not any more; nothing begins before that is noted on it",
            resource.cluster.name, resource.view.id
        )
    });
    known.borrow_mut().insert(upgrade.name.clone(), words.clone());
    words
}

/// Why the upgrade is halted, if it is. No step of this plan changes that, so it is found out once.
pub fn halted(survey: &Survey<'_>, upgrade: &Upgrade) -> Option<String> {
    let known = &survey.known.halted;
    if let Some(halted) = known.borrow().get(&upgrade.name) {
        return halted.clone();
    }
    let halted = failures_of(survey, upgrade);
    known.borrow_mut().insert(upgrade.name.clone(), halted.clone());
    halted
}

fn failures_of(survey: &Survey<'_>, upgrade: &Upgrade) -> Option<String> {
    let owned = || survey.fleet.clusters.iter().flat_map(|cluster| survey.owned(upgrade, cluster));
    let failed: Vec<_> = owned()
        .filter(|(resource, _)| !resource.cluster.lost)
        .filter_map(|(resource, _)| {
            let why = resource.owner.as_ref()?.failure.as_ref()?;
            Some(format!("{} {}: {why}", resource.cluster.name, resource.view.id))
        })
        .collect();
    let tolerated = upgrade.max_failures.of(owned().count());
    (failed.len() > tolerated).then(|| {
        format!(
            "{} failed, {tolerated} tolerated ({}); mend them, then polkafleet retry {} (or raise its attempt in the fleet \
             file), or change its target",
            failed.len(),
            failed.join("; "),
            upgrade.name
        )
    })
}

/// I1: a stage starts when all stages before it have passed. A cluster that has begun is not held half-way, and a
/// node that was never healthy stands outside the order.
fn order(survey: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    let upgrade = candidate.upgrade;
    if !candidate.resource.view.has_run() || survey.has_begun(upgrade, candidate.resource.cluster) {
        return Ok(());
    }
    for earlier in 0..candidate.stage {
        if let Err(why) = passing::passed(survey, upgrade, earlier) {
            return Err((
                Code::EarlierStage,
                format!("stage {} has not passed: {why}", upgrade.stages[earlier].name),
            ));
        }
    }
    Ok(())
}

fn is_approved(upgrade: &Upgrade, stage: &Stage) -> bool {
    stage.approved_version.as_ref() == Some(&upgrade.client_version)
}

/// On whose word the target goes to a stage, for the record; `None` where that needs none.
pub fn approver(upgrade: &Upgrade, stage: &Stage) -> Option<String> {
    let word = || match (&stage.approver, &upgrade.expedite) {
        (Some(person), _) => person.clone(),
        (_, Some(expedite)) if !is_approved(upgrade, stage) => {
            format!("the fleet file (expedite: {})", expedite.reason)
        }
        _ => "the fleet file".to_owned(),
    };
    stage.approval_required.then(word)
}

/// I11: an approval is for one exact version of one stage.
fn approval(_: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    let stage = &candidate.upgrade.stages[candidate.stage];
    let target = &candidate.upgrade.client_version;
    if stage.approval_required && !is_approved(candidate.upgrade, stage) && !candidate.upgrade.is_expedited()
    {
        let (upgrade, stage) = (&candidate.upgrade.name, &stage.name);
        let words = format!(
            "stage {stage} needs approval for {target}: polkafleet approve {upgrade} {stage}, or approvedVersion: {target} \
             in the fleet file"
        );
        return Err((Code::Approval, words));
    }
    Ok(())
}

/// I2 and I3: no more clusters of the stage in flight, and no more resources of the cluster rolling, than allowed.
fn width_and_nodes(survey: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    let upgrade = candidate.upgrade;
    let cluster = candidate.resource.cluster;
    let stage = &upgrade.stages[candidate.stage];
    let in_stage = survey
        .fleet
        .clusters
        .iter()
        .filter(|other| passing::is_in_stage(upgrade, other, candidate.stage))
        .count();
    let allowed = stage.max_concurrent.of(in_stage).max(1);
    let taken = survey.slots_taken(upgrade, candidate.stage, cluster);
    // Outside order and width: a node that was never healthy is not part of the rollout.
    if candidate.resource.view.has_run() && taken.len() >= allowed {
        let names: Vec<_> = taken.into_iter().collect();
        let words = format!("{allowed} of stage {} may be in flight: {}", stage.name, names.join(", "));
        return Err((Code::Width, words));
    }
    nodes_in_flight(cluster, &survey.rolling_besides(&candidate.place))
}

/// I3: no more resources rolling within a cluster than `maxNodesInFlight`; so many others count.
pub fn nodes_in_flight(cluster: &Cluster, others: &[String]) -> Result<(), Veto> {
    let allowed = cluster.settings.max_nodes_in_flight.max(1) as usize;
    if others.len() >= allowed {
        let words = format!(
            "{allowed} of cluster {} may roll at once (maxNodesInFlight): {}",
            cluster.name,
            others.join(", ")
        );
        return Err((Code::NodesInFlight, words));
    }
    Ok(())
}

fn validators(survey: &Survey<'_>, candidate: &Candidate<'_>) -> Result<(), Veto> {
    validator_budget(survey, &candidate.place, &candidate.resource, false)
}

/// I4: no roll of a validator that would leave more of its chain unavailable than the budget, over the whole fleet
/// and whatever the cause. A roll of one that is unavailable already costs nothing. What `goes_on` does not wait for what
/// waits for it.
pub fn validator_budget(
    survey: &Survey<'_>,
    place: &Place,
    resource: &Surveyed<'_>,
    goes_on: bool,
) -> Result<(), Veto> {
    if !has_validator(&resource.view) || !survey.is_available(resource) {
        return Ok(());
    }
    if let Some(unknown) = survey.unknown_member() {
        let words = format!(
            "cluster {} was not seen since the daemon started, so its validators may be down; bring it back, or set \
             lost: true for it in the fleet file",
            unknown.name
        );
        return Err((Code::FleetUnknown, words));
    }
    let down = survey.validators_down(&resource.view.chain, place, goes_on);
    let budget = survey.fleet.validators.max_unavailable as usize;
    if down.len() + 1 > budget {
        let words = format!(
            "{} of chain {}'s validators are unavailable or rolling already ({}); {budget} may be (validators.maxUnavailable)",
            down.len(),
            resource.view.chain,
            down.join(", ")
        );
        return Err((Code::ValidatorBudget, words));
    }
    Ok(())
}
