//! Why resources wait: one reason for each, and what ends it, as an event or as a time. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::gates::Veto;
use super::standing::Standing;
use super::survey::Survey;
use super::{Code, Place, Plan, Wait, passing, rollback};

/// Notes why a resource waits.
pub(super) fn note(survey: &Survey<'_>, plan: &mut Plan, place: Place, (code, words): Veto) {
    let until = until(survey, &place, code);
    plan.waits.push(Wait { place, code, words, until });
}

/// Leaves one reason for each resource: of a restart that is pending and a step that is to come, why the restart waits, which
/// is nearer, unless only a person can let the step come.
pub(super) fn one_each(waits: &mut Vec<Wait>) {
    let mut first = BTreeMap::<Place, usize>::new();
    for index in 0..waits.len() {
        let known = *first.entry(waits[index].place.clone()).or_insert(index);
        if waits[index].code.needs_a_person() {
            waits.swap(known, index);
        }
    }
    let mut index = 0;
    waits.retain(|wait| {
        index += 1;
        first.get(&wait.place) == Some(&(index - 1))
    });
}

/// When time alone changes the reason, if it does.
fn until(survey: &Survey<'_>, place: &Place, code: Code) -> Option<Timestamp> {
    let owner = survey.resources.get(place)?.owner.as_ref()?;
    let is_open = super::gates::cluster_is_open(survey, survey.resources.get(place)?.cluster).is_ok();
    let moment = match (code, &owner.standing) {
        // What nothing is done to has no time of its own.
        (Code::NotHealthyYet | Code::Prepull, _) if !is_open => None,
        (Code::NotHealthyYet | Code::Prepull, Standing::InFlight { deadline }) => *deadline,
        (Code::Failed, _) => {
            let view = &survey.resources.get(place)?.view;
            rollback::of(owner.upgrade, view).map(|(_, from)| from)
        }
        (Code::EarlierStage, _) => {
            let earlier = 0..owner.stage?;
            let mut open = earlier.filter(|stage| passing::passed(survey, owner.upgrade, *stage).is_err());
            let first = open.next()?;
            // Whoever waits for two stages waits for more than time.
            if open.next().is_some() { None } else { passing::soaks_until(survey, owner.upgrade, first) }
        }
        _ => None,
    };
    moment.filter(|moment| *moment > survey.now && *moment < Timestamp::MAX)
}

/// The event that ends a wait.
#[must_use]
pub fn ended_by(code: Code) -> &'static str {
    match code {
        Code::HomeUnreachable => "the home cluster answers again",
        Code::Standby => "the daemon that leads ends",
        Code::TakingOver => "what a daemon before had on its way is ruled out",
        Code::ClockSkew => "this machine's clock and home's agree again",
        Code::RecordPending => "home has written it down",
        Code::ClusterUnreachable => "the cluster answers again, or the fleet file says lost: true",
        Code::ClusterPaused => "the fleet file no longer says paused: true for the cluster",
        Code::ClusterLost => "the fleet file no longer says lost: true for the cluster",
        Code::Held => "spec.hold is removed",
        Code::NoStage => "a stage of the upgrade selects the cluster",
        Code::UpgradePaused => "polkafleet resume, or paused: false in the fleet file",
        Code::Trouble => "the worker can make it so again, see the resource's conditions",
        Code::Contested => "the upgrade's target or attempt changes, or the spec says the target",
        Code::Ahead => "a target that is newer than what it runs",
        Code::VersionOrderUnknown => {
            "spec.clientVersion is a release tag, or the upgrade says allowDowngrade: true"
        }
        Code::EphemeralKeystore => "the keystore is on a volume, or the upgrade says allowEphemeral: true",
        Code::EarlierStage => "the stages before have passed",
        Code::Approval => "polkafleet approve, or approvedVersion in the fleet file",
        Code::Halted => "what failed becomes healthy, polkafleet retry, or another target",
        Code::Failed => "it becomes healthy, polkafleet retry, or another target",
        Code::Width => "a cluster of the stage that is in flight is through",
        Code::NodesInFlight => "a resource of the cluster that rolls is through",
        Code::ValidatorBudget => "another validator of the chain is healthy again",
        Code::FleetUnknown => "the cluster is seen, or the fleet file says lost: true",
        Code::DowngradeRefused => "a newer version in its spec, or allowDowngrade: true in the upgrade",
        Code::NotHealthyYet => "its pods are healthy, or its time is up",
        Code::NotePending => {
            "that is noted on the one that is not healthy any more (a webhook may refuse it), or that one is well again"
        }
        Code::WriteUnderWay => "the answer to the last write is known",
        Code::ProbeBlocked => "its nodes can be asked, or the upgrade says health: {probe: optional}",
        Code::ChainStalled => "the chain finalises blocks again",
        Code::ChainUnknown => "its nodes have been asked and watched for long enough, some minutes in all",
        Code::Prepull => "the image has been tried on its machines",
    }
}
