//! The planner: from the fleet, the Board and the time to the writes that may be made now. Pure, and without memory.

use jiff::Timestamp;

use crate::fleet::{Fleet, Upgrade};
use crate::observed::{Board, ClusterState, NodeView, ResourceView};
use crate::polkadot::{Failed, Grant, Kind, Role, Step};

use super::chart::nodes;
use super::gates::{self, Candidate, Gate, STEP_GATES, Veto};
use super::lapse;
use super::prepull;
use super::progress;
use super::rollback;
use super::rolls::{self, Next};
use super::standing::{EPHEMERAL_KEYSTORE, Standing, is_well_so_far};
use super::survey::{Survey, Surveyed};
use super::{Action, Code, Ground, Place, Plan, Write, waits};

/// More letters of a reason are not noted on a resource.
const LONGEST_NOTE: usize = 600;

/// What is said of a resource beyond the target.
const AHEAD: &str = "it runs a newer version than the target, and is left as it is (allowDowngrade: true sets an older one; a \
    client may not open a newer one's database)";

/// Plans once. Everything that it needs to know is in its arguments; it never looks at the clock.
pub fn plan(fleet: &Fleet, board: &Board, ground: &Ground, now: Timestamp) -> Plan {
    plan_with(&STEP_GATES, fleet, board, ground, now)
}

/// [`plan`] with a given list of gates, so that tests can show what each of them is for.
pub fn plan_with(gates: &[Gate], fleet: &Fleet, board: &Board, ground: &Ground, now: Timestamp) -> Plan {
    let mut survey = Survey::new(fleet, board, ground, now);
    // As it is seen: what is about to be done has not happened.
    let progress = fleet.upgrades.iter().map(|upgrade| progress::of(&survey, upgrade)).collect();
    let mut plan = Plan { progress, outcomes: progress::outcomes(&survey), ..Plan::default() };
    let veto = ground.no_steps.clone().or_else(|| home_is_unseen(fleet, board)).or_else(|| {
        let words = "taking over: what a predecessor still had on its way is ruled out first".to_owned();
        mark_epoch(&survey, ground.epoch, &mut plan).then_some((Code::TakingOver, words))
    });
    if let Some((code, words)) = veto {
        hold_all(&survey, code, &words, &mut plan);
    } else {
        // What has begun is finished before anything begins.
        revoke_stale(&survey, &mut plan);
        grant_rolls(&mut survey, &mut plan);
        take_steps(gates, &mut survey, &mut plan);
        roll_back(&survey, &mut plan);
        note_health(&survey, &mut plan);
        note_failures(&survey, &mut plan);
    }
    waits::one_each(&mut plan.waits);
    plan.wake = wake(&survey);
    plan
}

fn home_is_unseen(fleet: &Fleet, board: &Board) -> Option<Veto> {
    let home = board.clusters.get(&fleet.home);
    let state = home.map_or_else(|| "connecting".to_owned(), |view| view.state.to_string());
    let words = || format!("the home cluster {} is {state}; no step is taken until it is well", fleet.home);
    // It may be there for the Leases and records only.
    let ready = home.is_some_and(|view| matches!(view.state, ClusterState::Ready | ClusterState::NoCrd(_)));
    (!ready).then(|| (Code::HomeUnreachable, words()))
}

/// Everything that has somewhere to go waits for one and the same reason.
fn hold_all(survey: &Survey<'_>, code: Code, words: &str, plan: &mut Plan) {
    for (place, resource) in &survey.resources {
        if resource.view.roll_pending() || candidate(resource).is_some() {
            waits::note(survey, plan, place.clone(), (code, words.to_owned()));
        }
    }
}

fn is_unmarked(resource: &Surveyed<'_>, epoch: i64) -> bool {
    epoch > 0 && resource.view.epoch != epoch
}

/// Marks every resource that may be changed and bears the mark of an earlier planner; returns whether there are any.
fn mark_epoch(survey: &Survey<'_>, epoch: i64, plan: &mut Plan) -> bool {
    let mut any = false;
    for (place, resource) in &survey.resources {
        let open = gates::cluster_is_open(survey, resource.cluster).is_ok() && resource.view.held.is_none();
        if open && is_unmarked(resource, epoch) && !survey.is_unmarkable(place) {
            any = true;
            if !survey.is_unsettled(place) {
                plan.actions.push(action(place.clone(), resource, Write::Epoch(epoch)));
            }
        }
    }
    any
}

/// Takes back permissions for templates that are no longer wanted and that no new permission will replace.
fn revoke_stale(survey: &Survey<'_>, plan: &mut Plan) {
    for (place, resource) in &survey.resources {
        let open =
            gates::cluster_is_open(survey, resource.cluster).is_ok() && write_is_over(survey, place).is_ok();
        if open && !resource.view.roll_pending() && rolls::is_stale(&resource.view) {
            plan.actions.push(action(place.clone(), resource, Write::Revoke));
        }
    }
}

/// Permissions to restart pods: of steps that were taken, and of every other change of a template.
fn grant_rolls(survey: &mut Survey<'_>, plan: &mut Plan) {
    let mut pending: Vec<Place> = survey
        .resources
        .iter()
        .filter(|(_, resource)| resource.view.roll_pending())
        .map(|(place, _)| place.clone())
        .collect();
    // Half-way ones first, then in the order of steps.
    pending.sort_by_cached_key(|place| {
        survey.resources.get(place).map(|resource| (!resource.rolling, rank(resource.view.kind)))
    });
    for place in pending {
        let Some(resource) = survey.resources.get(&place).cloned() else { continue };
        match grant(survey, &place, &resource) {
            Ok(grant) => {
                survey.note_roll(&place, grant.mends);
                plan.actions.push(action(place, &resource, Write::Grant(grant)));
            }
            Err(veto) => waits::note(survey, plan, place, veto),
        }
    }
}

fn grant(survey: &Survey<'_>, place: &Place, resource: &Surveyed<'_>) -> Result<Grant, Veto> {
    let view = &resource.view;
    let owner = resource.owner.as_ref().map(|owner| owner.upgrade);
    gates::cluster_is_open(survey, resource.cluster)?;
    write_is_over(survey, place)?;
    if survey.may_be_set(place) {
        let words = "its templates are being made for the version that was just set".to_owned();
        return Err((Code::WriteUnderWay, words));
    }
    if let Some(reason) = &view.held {
        return Err((Code::Held, format!("it is held: {reason}; remove spec.hold to let it go on")));
    }
    if let Some(trouble) = &view.trouble {
        return Err((Code::Trouble, trouble.clone()));
    }
    gates::chain_moves(survey, resource)?;
    let chart = &resource.chart;
    if let Some(words) = rolls::downgrade(owner, chart, view) {
        return Err((Code::DowngradeRefused, words));
    }
    if let Some(words) = prepull::untried(owner, view) {
        return Err((Code::Prepull, words));
    }
    if rolls::is_outstanding(chart, view) && !rolls::is_late(owner, chart, view) {
        return Err((
            Code::NotHealthyYet,
            with_reason("the pod that was restarted last is not healthy yet", resource),
        ));
    }
    let (role, hash, ordinal) = match rolls::next(chart, view) {
        Some(Next::Pod { role, hash, ordinal }) => (role, hash, ordinal),
        Some(Next::After(pod)) => {
            return Err((
                Code::NotHealthyYet,
                with_reason(&format!("{pod}, restarted before, is not healthy yet"), resource),
            ));
        }
        None => return Err((Code::NotHealthyYet, "its pods are not there yet".into())),
    };
    if rolls::loses_keystore(owner, view, role) {
        return Err((Code::EphemeralKeystore, EPHEMERAL_KEYSTORE.into()));
    }
    // What does not come up by itself has nothing to lose, and whoever mends it should not have to wait.
    let mends = is_stuck(view, role, ordinal);
    if !mends {
        gates::nodes_in_flight(resource.cluster, &survey.rolling_before(place))?;
    }
    if validator_will_roll(resource) {
        gates::validator_budget(survey, place, resource, true)?;
    }
    if is_up(view, role, ordinal) {
        gates::chain_is_known(survey, resource)?;
    }
    let again = rolls::is_late(owner, chart, view);
    Ok(Grant { role, hash, ordinal, at: survey.now, mends, again })
}

fn is_stuck(view: &ResourceView, role: Role, ordinal: i32) -> bool {
    node(view, role, ordinal).is_some_and(|node| node.ready_since.is_none() && node.stuck.is_some())
}

fn is_up(view: &ResourceView, role: Role, ordinal: i32) -> bool {
    node(view, role, ordinal).is_some_and(|node| node.ready_since.is_some())
}

fn node(view: &ResourceView, role: Role, ordinal: i32) -> Option<&NodeView> {
    view.role(role)?.nodes.iter().find(|node| node.ordinal == ordinal)
}

/// With the first node that is not healthy, and why.
fn with_reason(words: &str, resource: &Surveyed<'_>) -> String {
    match resource.chart.ill(&resource.view) {
        Some((pod, why)) => format!("{words} ({pod}: {why})"),
        None => words.to_owned(),
    }
}

/// The budget of a validator is reserved before the first pod of its resource restarts.
fn validator_will_roll(resource: &Surveyed<'_>) -> bool {
    resource.view.role(Role::Validator).is_some_and(|role| role.outdated().next().is_some())
}

/// New versions, each past all gates.
fn take_steps(gates: &[Gate], survey: &mut Survey<'_>, plan: &mut Plan) {
    let mut places: Vec<Place> = survey.resources.keys().cloned().collect();
    // Clusters that have begun come first, then the file's order; within a cluster by kind, then by name.
    places.sort_by_cached_key(|place| {
        let resource = &survey.resources[place];
        let position = survey.fleet.clusters.iter().position(|cluster| cluster.name == place.0);
        let begun =
            resource.owner.as_ref().is_some_and(|owner| survey.is_in_flight(owner.upgrade, resource.cluster));
        (!begun, position, rank(resource.view.kind))
    });
    for place in places {
        let Some(resource) = survey.resources.get(&place).cloned() else { continue };
        let Some((upgrade, stage)) = candidate(&resource) else {
            if let Some(veto) = excluded(survey, &resource) {
                waits::note(survey, plan, place, veto);
            }
            continue;
        };
        let Some(stage) = stage else {
            let words =
                format!("cluster {} is in no stage of upgrade {}", resource.cluster.name, upgrade.name);
            waits::note(survey, plan, place, (Code::NoStage, words));
            continue;
        };
        let candidate = Candidate { place: place.clone(), resource: resource.clone(), upgrade, stage };
        let verdict = write_is_over(survey, &place)
            .and_then(|()| gates.iter().try_for_each(|gate| gate(survey, &candidate)));
        match verdict {
            Ok(()) => {
                let step = Step {
                    upgrade: upgrade.name.clone(),
                    target: upgrade.client_version.clone(),
                    attempt: upgrade.attempt,
                    previous: resource.view.client_version.clone(),
                    finalized: resource.chart.finalized(&resource.view),
                    approver: gates::approver(upgrade, &upgrade.stages[stage]),
                    // A node that never ran has nothing to lose.
                    prepull: upgrade.prepull && resource.view.has_run(),
                    rolled_back: None,
                    at: survey.now,
                };
                survey.note_step(&place);
                // A permission for the template of the old version is moot.
                plan.actions.retain(|action| action.place != place);
                plan.actions.push(action(place, &resource, Write::Step(step)));
            }
            Err(veto) => waits::note(survey, plan, place, veto),
        }
    }
}

/// I14: takes back what no pod was restarted for.
fn roll_back(survey: &Survey<'_>, plan: &mut Plan) {
    for (place, resource) in &survey.resources {
        let Some(owner) = &resource.owner else { continue };
        let open = gates::cluster_is_open(survey, resource.cluster).is_ok()
            && !owner.upgrade.paused
            && resource.view.held.is_none()
            && write_is_over(survey, place).is_ok()
            && !plan.actions.iter().any(|action| action.place == *place);
        let back = open.then(|| rollback::of(owner.upgrade, &resource.view)).flatten();
        if let Some((step, _)) = back.filter(|(_, from)| *from <= survey.now) {
            plan.actions.push(action(place.clone(), resource, Write::Rollback(step)));
        }
    }
}

/// Notes how it fares what has come to its target. Of a chain that stands still as a whole nothing is noted: no node is sick by
/// it.
fn note_health(survey: &Survey<'_>, plan: &mut Plan) {
    for (place, resource) in &survey.resources {
        let Some(owner) = &resource.owner else { continue };
        let chain = survey.chain(&resource.view);
        let open = resource.view.client_version.as_ref() == Some(&owner.upgrade.client_version)
            && chain.stalled.is_none()
            && is_free(survey, place, resource, plan);
        let note = open.then(|| lapse::to_note(owner, &resource.view, &resource.chart, chain)).flatten();
        if let Some(stretch) = note {
            plan.actions.push(action(place.clone(), resource, Write::Health(stretch)));
        }
    }
}

/// Notes steps that failed, and those that do so no more, on their resources: events are gone after an hour.
fn note_failures(survey: &Survey<'_>, plan: &mut Plan) {
    for (place, resource) in &survey.resources {
        let view = &resource.view;
        let Some(step) = view.step.as_ref() else { continue };
        if view.client_version.as_deref().is_some_and(|version| rollback::taken(step, version).is_some()) {
            // One that was taken back says so itself.
            continue;
        }
        let is_noted = super::standing::noted_failure(view, step).is_some();
        // Whatever upgrade it belongs to by now.
        let healthy = super::standing::healthy_at(view, &resource.chart);
        let is_well = healthy.is_some_and(|(at, _)| at <= survey.now) || is_over(survey, resource);
        let note = match plan.outcomes.get(place) {
            Some(Some(why)) if !is_noted => Some(Failed {
                upgrade: step.upgrade.clone(),
                target: step.target.clone(),
                attempt: step.attempt,
                why: why.chars().take(LONGEST_NOTE).collect(),
                at: survey.now.max(super::standing::permitted(view, step)),
            }),
            // Never beside a failure: the two would take turns.
            None | Some(None) if is_well && view.failed.is_some() => None,
            _ => continue,
        };
        if is_free(survey, place, resource, plan) {
            plan.actions.push(action(place.clone(), resource, Write::Failed(note)));
        }
    }
}

/// Whether it is on its way, and all that was restarted so far is healthy.
fn is_over(survey: &Survey<'_>, resource: &Surveyed<'_>) -> bool {
    let chain = survey.chain(&resource.view);
    resource.owner.as_ref().is_some_and(|owner| {
        matches!(owner.standing, Standing::InFlight { .. })
            && is_well_so_far(owner.upgrade, &resource.view, &resource.chart, chain)
    })
}

/// Whether something may be noted on a resource, and nothing else is to be written there.
fn is_free(survey: &Survey<'_>, place: &Place, resource: &Surveyed<'_>, plan: &Plan) -> bool {
    resource.view.held.is_none()
        && !survey.is_unnotable(place)
        && gates::cluster_is_open(survey, resource.cluster).is_ok()
        && write_is_over(survey, place).is_ok()
        && !plan.actions.iter().any(|action| action.place == *place)
}

/// What keeps a resource at the target from counting as healthy.
fn not_healthy(resource: &Surveyed<'_>) -> String {
    let words = if lapse::has_lapsed(&resource.view) {
        "healthy at the target before, and not now"
    } else {
        "not healthy at the target yet"
    };
    match &resource.view.trouble {
        Some(trouble) => format!("{words}: {trouble}"),
        None => with_reason(words, resource),
    }
}

/// The upgrade that has a step for the resource, with the stage of its cluster.
fn candidate<'a>(resource: &Surveyed<'a>) -> Option<(&'a Upgrade, Option<usize>)> {
    let owner = resource.owner.as_ref()?;
    (owner.standing == Standing::NotStarted).then_some((owner.upgrade, owner.stage))
}

/// Why a resource that is not at its upgrade's target is not a candidate.
fn excluded(survey: &Survey<'_>, resource: &Surveyed<'_>) -> Option<Veto> {
    let owner = resource.owner.as_ref()?;
    Some(match &owner.standing {
        Standing::Out(code, words) => (*code, words.clone()),
        Standing::Ahead => (Code::Ahead, AHEAD.into()),
        _ if owner.failure.is_some() => (Code::Failed, owner.failure.clone()?),
        Standing::InFlight { .. } if !resource.view.roll_pending() => {
            match (gates::cluster_is_open(survey, resource.cluster), gates::chain_moves(survey, resource)) {
                (Err((_, words)), _) => (Code::NotHealthyYet, words),
                (_, Err(veto)) => veto,
                _ => (Code::NotHealthyYet, not_healthy(resource)),
            }
        }
        _ => return None,
    })
}

/// A write whose answer is not known may still arrive; another one on top of it could undo it.
fn write_is_over(survey: &Survey<'_>, place: &Place) -> Result<(), Veto> {
    if survey.is_unsettled(place) {
        return Err((Code::WriteUnderWay, "the answer to the last write has not been seen yet".into()));
    }
    if survey.is_unmarkable(place) {
        let words =
            "the cluster refuses to mark it with the daemon that leads now; see the daemon's log".to_owned();
        return Err((Code::TakingOver, words));
    }
    if !survey.is_recorded(&place.0) {
        // Of what cannot be seen there is nothing to write down.
        survey.fleet.cluster(&place.0).map_or(Ok(()), |cluster| gates::cluster_is_open(survey, cluster))?;
        let words = format!("what cluster {} runs is being written down in home", place.0);
        return Err((Code::RecordPending, words));
    }
    Ok(())
}

fn action(place: Place, resource: &Surveyed<'_>, write: Write) -> Action {
    Action {
        place,
        uid: resource.view.uid.clone(),
        resource_version: resource.view.resource_version.clone(),
        step: resource
            .view
            .step
            .clone()
            .filter(|_| is_for_step(resource) && matches!(write, Write::Grant(_))),
        write,
    }
}

/// Whether what restarts does so for the step of an upgrade, and not for a later edit.
fn is_for_step(resource: &Surveyed<'_>) -> bool {
    let standing = resource.owner.as_ref().map(|owner| &owner.standing);
    let is_reached = resource.view.reached >= resource.view.step.as_ref().map(|step| step.at);
    matches!(standing, Some(Standing::InFlight { deadline: Some(_) } | Standing::Failed(_))) && !is_reached
}

/// The order within a cluster.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Sentry => 0,
        Kind::SentryAndValidator => 1,
        Kind::Validator | Kind::Unknown => 2,
    }
}

/// The next moment at which time alone changes the plan.
fn wake(survey: &Survey<'_>) -> Option<Timestamp> {
    let mut moments: Vec<Timestamp> = vec![];
    for resource in survey.resources.values() {
        let upgrade = resource.owner.as_ref().map(|owner| owner.upgrade);
        let chart = &resource.chart;
        let well = nodes(&resource.view).filter_map(|(role, node)| chart.well(&resource.view, role, node));
        moments.extend(well.map(|well| well.since + chart.stable_for()));
        moments.extend(super::survey::proven_at(resource));
        // Of a permission that is used up nothing changes any more.
        let open = rolls::is_under_way(upgrade, chart, &resource.view);
        if let Some(grant) = resource.view.grant.as_ref().filter(|_| open) {
            let deadline =
                upgrade.map_or(super::survey::PROGRESS_DEADLINE, |upgrade| upgrade.progress_deadline);
            moments.push(grant.at + deadline);
        }
        let Some(owner) = &resource.owner else { continue };
        moments.extend(rollback::of(owner.upgrade, &resource.view).map(|(_, from)| from));
        if let Standing::InFlight { deadline: Some(deadline) } = &owner.standing {
            moments.push(*deadline);
        }
        if let Some((healthy, anchor)) = super::standing::healthy_at(&resource.view, chart) {
            moments.push(healthy);
            moments.extend(owner.stage.map(|stage| anchor + owner.upgrade.stages[stage].soak));
        }
    }
    moments.into_iter().filter(|moment| *moment > survey.now).min()
}
