//! Where one resource stands in the upgrade that owns it. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::Upgrade;
use crate::observed::{NodeView, ResourceView, RoleView, Stuck, UNSCHEDULABLE};
use crate::polkadot::{Failed, Role, Step, Stretch};
use crate::version::{ClientVersion, Order, is_floating};

use super::Code;
use super::chains::Chain;
use super::chart::{Chart, nodes};
use super::lapse;
use super::prepull;
use super::rollback;
use super::rolls;

/// Where machines are added for pods that fit on none, that takes this long at most.
const ADDING_A_MACHINE: SignedDuration = SignedDuration::from_mins(5);
/// A kubelet tries a container or a pull that has failed again after 5 minutes at the latest (its longest back-off), and
/// then the client takes its time.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What the kubelet says of a container that ends again and again.
const CRASHES: &str = "CrashLoopBackOff";

/// Why a validator whose keystore goes with its pod is left alone.
pub const EPHEMERAL_KEYSTORE: &str = "the running validator keeps its keystore on no volume and would lose its session \
    keys with a restart (dataPersistenceSupport, enabled or not, only helps the next pod: its volume begins empty); copy \
    the keystore to a safe place or be ready to rotate the session keys, then set allowEphemeral: true in an upgrade that \
    owns this resource";

/// Where a resource stands in an upgrade.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It runs something older and may be given the target.
    NotStarted,
    /// It has the target and is not healthy yet; not counted against the deadline where no step of ours gave it.
    InFlight {
        /// When it will count as failed.
        deadline: Option<Timestamp>,
    },
    /// It is healthy at the target, since then.
    Healthy(Timestamp),
    /// It is not healthy and waiting will not help, or the deadline has passed.
    Failed(String),
    /// It is left out of the order, for this reason.
    Out(Code, String),
    /// It runs something newer: done.
    Ahead,
}

/// Where `resource` stands in `upgrade`, which owns it.
pub fn standing(upgrade: &Upgrade, resource: &ResourceView, chart: &Chart, chain: &Chain) -> Standing {
    let target = upgrade.client_version.as_str();
    if let Some(reason) = &resource.held {
        return Standing::Out(Code::Held, format!("it is held: {reason}; remove spec.hold to let it go on"));
    }
    let step = own_step(upgrade, resource);
    // What never ran has no keys to lose.
    if !resource.keystore_kept
        && resource.has_run()
        && !upgrade.allow_ephemeral
        && resource.client_version.as_deref() != Some(target)
    {
        return Standing::Out(Code::EphemeralKeystore, EPHEMERAL_KEYSTORE.into());
    }
    let Some(version) = resource.client_version.as_deref() else { return Standing::NotStarted };
    if version == target {
        return at_target(upgrade, resource, step, chart, chain);
    }
    let step = step.filter(|step| step.attempt == upgrade.attempt);
    if let Some(why) = step.and_then(|step| rollback::taken(step, version)) {
        return Standing::Failed(why);
    }
    let order = order(target, version, resource, chart);
    // Whoever goes on beyond the target takes nothing back.
    if step.is_some() && (order != Order::Older || upgrade.allow_downgrade) {
        return Standing::Out(
            Code::Contested,
            format!(
                "{target} was set here and somebody changed it back to {version}; make them agree, then raise the \
                 upgrade's attempt"
            ),
        );
    }
    match order {
        Order::Newer => Standing::NotStarted,
        _ if upgrade.allow_downgrade => Standing::NotStarted,
        Order::Older | Order::Same => Standing::Ahead,
        Order::SameLine | Order::Unknown => Standing::Out(
            Code::VersionOrderUnknown,
            format!(
                "whether {target} is newer than {version} is not known; set spec.clientVersion to a release tag, or \
                 set allowDowngrade: true in the upgrade"
            ),
        ),
    }
}

fn at_target(
    upgrade: &Upgrade,
    resource: &ResourceView,
    step: Option<&Step>,
    chart: &Chart,
    chain: &Chain,
) -> Standing {
    if let Some((healthy, anchor)) = healthy_at(resource, chart)
        && healthy <= chart.now
    {
        return Standing::Healthy(anchor);
    }
    let Some(step) = step else { return Standing::InFlight { deadline: None } };
    match since_step(upgrade, resource, step, chart, chain) {
        // What failed in an earlier attempt begins anew, with a step of its own; what is on its way goes on.
        Standing::Failed(_) if step.attempt != upgrade.attempt => Standing::NotStarted,
        standing => standing,
    }
}

/// Where a resource stands that was given the target by `step` and is not healthy yet.
fn since_step(
    upgrade: &Upgrade,
    resource: &ResourceView,
    step: &Step,
    chart: &Chart,
    chain: &Chain,
) -> Standing {
    let permitted = counts_from(resource, step, chart, chain);
    let lapsed = permitted.and_then(|permitted| lapse::since(resource, permitted, chart));
    let begun = lapsed.or(permitted);
    // While the chain stood still nobody could become healthy.
    let from = begun.map(|begun| chain.resumed.map_or(begun, |resumed| resumed.max(begun)));
    let deadline = from.map_or(Timestamp::MAX, |from| from + upgrade.progress_deadline);
    if let Some(why) = prepull::failed(upgrade, resource) {
        return Standing::Failed(why.to_owned());
    }
    // Of what ran well, waiting may help: a machine comes back, and an image can be had again.
    let counts = |(.., why): &(Timestamp, &str, &Stuck)| lapsed.is_none() || why.reason == CRASHES;
    match hopeless(resource, step, chart).filter(counts) {
        Some((since, pod, why)) if since <= chart.now => {
            Standing::Failed(format!("{pod} cannot start: {why}"))
        }
        _ if chart.now >= deadline
            && !is_excused(resource, chart, chain, deadline)
            && !was_well(resource, chart, deadline)
            && !waits_for_turn(upgrade, resource, chart, chain) =>
        {
            let within = match lapsed {
                Some(since) => format!(
                    "it was healthy at first, and has not been so again within {:#} since {since:.0}",
                    upgrade.progress_deadline
                ),
                None => format!("not healthy within {:#}", upgrade.progress_deadline),
            };
            let why = prepull::untried(Some(upgrade), resource);
            let why = why.or_else(|| refused(upgrade, resource, chart)).or_else(|| resource.trouble.clone());
            Standing::Failed(match (why, chart.ill(resource)) {
                (Some(words), _) => format!("{within}: {words}"),
                (_, Some((pod, why))) => format!("{within}: {pod}: {why}"),
                _ => within,
            })
        }
        soon => {
            let deadline = soon.map_or(deadline, |(since, ..)| since.min(deadline));
            Standing::InFlight { deadline: from.map(|_| deadline) }
        }
    }
}

/// From when the deadline counts, for what was not healthy since: from the step, or from the last restart that was permitted.
/// While what is edited after all of it came up waits for permission, nothing can be late, unless a node is sick.
pub fn counts_from(resource: &ResourceView, step: &Step, chart: &Chart, chain: &Chain) -> Option<Timestamp> {
    let is_sick = |(role, node)| chart.is_sick(resource, role, node, chain.resumed);
    let waits = resource.reached >= Some(step.at)
        && resource.roll_pending()
        && !rolls::is_outstanding(chart, resource)
        && !nodes(resource).any(is_sick);
    (!waits).then_some(permitted(resource, step))
}

/// When it was last permitted to restart for what is wanted now: by the step, or by a permission after it.
pub fn permitted(resource: &ResourceView, step: &Step) -> Timestamp {
    let granted = resource.grant.as_ref().filter(|grant| rolls::current(resource, grant).is_some());
    granted.map_or(step.at, |grant| grant.at.max(step.at))
}

/// The step that this upgrade took to its present target.
pub fn own_step<'a>(upgrade: &Upgrade, resource: &'a ResourceView) -> Option<&'a Step> {
    let is_own = |step: &&Step| step.upgrade == upgrade.name && step.target == upgrade.client_version;
    resource.step.as_ref().filter(is_own)
}

/// Why it has failed, as far as that stops others: by what is seen, or by what was noted of its step and is not over. A pod
/// that somebody deletes, a chain that stands for a while or a daemon that starts anew gives its own resource time, and
/// nobody else a turn. What was noted says why: what ails it later may be another thing.
pub fn failure(
    upgrade: &Upgrade,
    resource: &ResourceView,
    standing: &Standing,
    chart: &Chart,
    chain: &Chain,
) -> Option<String> {
    let step = own_step(upgrade, resource).filter(|step| step.attempt == upgrade.attempt);
    let is_there = resource.client_version.as_ref() == Some(&upgrade.client_version);
    let noted = step.filter(|_| is_there).and_then(|step| noted_failure(resource, step));
    match (standing, noted) {
        (Standing::Failed(why), None) => Some(why.clone()),
        (Standing::Failed(_), Some(noted)) => Some(noted.why.clone()),
        (Standing::InFlight { .. }, Some(noted)) if !is_well_so_far(upgrade, resource, chart, chain) => {
            Some(format!("{} (that was at {:.0}, and it has not been healthy since)", noted.why, noted.at))
        }
        _ => None,
    }
}

/// Whether what was restarted so far is healthy, and all that is missing is permission for the rest: then nothing has failed
/// any more. Who is not known to be sick is not healthy by that.
pub fn is_well_so_far(upgrade: &Upgrade, resource: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let mut restarted = nodes(resource).filter(|(role, node)| !node.is_outdated(&role.hash));
    waits_for_turn(upgrade, resource, chart, chain)
        && restarted.all(|(role, node)| chart.is_healthy(resource, role, node))
}

/// What is noted of a failure of this step since a restart was permitted last: what is permitted after that is another try.
pub fn noted_failure<'a>(resource: &'a ResourceView, step: &Step) -> Option<&'a Failed> {
    let current = |failed: &&Failed| failed.is_of(step) && failed.at >= permitted(resource, step);
    resource.failed.as_ref().filter(current)
}

/// Whether all that is missing is permission to restart, which other nodes hold up: what was restarted so far is well, and
/// what is still to be restarted runs, and is not sick at the version that it has got. A wait for somebody else is nobody's
/// failure; what no turn will ever come for, because it is refused, waits for a person.
pub fn waits_for_turn(upgrade: &Upgrade, resource: &ResourceView, chart: &Chart, chain: &Chain) -> bool {
    let is_well = |(role, node): (&RoleView, &NodeView)| {
        let Some(since) = node.ready_since else { return false };
        let has_version = node.version == resource.client_version;
        let is_sick = chart.is_sick(resource, role, node, chain.resumed);
        if node.is_outdated(&role.hash) {
            return !has_version || !is_sick;
        }
        // Whoever began to look a moment ago does not know yet that it is healthy.
        since + chart.stable_for() <= chart.now && !is_sick
    };
    resource.trouble.is_none()
        && resource.roll_pending()
        && !resource.grant.as_ref().is_some_and(|grant| rolls::is_unused(resource, grant))
        && prepull::untried(Some(upgrade), resource).is_none()
        && refused(upgrade, resource, chart).is_none()
        && nodes(resource).all(is_well)
}

/// Why the roll that is to come is not permitted before a person changes something.
fn refused(upgrade: &Upgrade, resource: &ResourceView, chart: &Chart) -> Option<String> {
    // What a tag that moves stands for is not known before its node was asked.
    let unasked = |node: &NodeView| chart.running(resource, node).is_some_and(is_floating);
    if resource.roles.iter().flat_map(RoleView::outdated).any(unasked) {
        return None;
    }
    rolls::downgrade(Some(upgrade), chart, resource).or_else(|| match rolls::next(chart, resource)? {
        rolls::Next::Pod { role, .. } => {
            rolls::loses_keystore(Some(upgrade), resource, role).then(|| EPHEMERAL_KEYSTORE.to_owned())
        }
        rolls::Next::After(_) => None,
    })
}

/// Whether what is only remembered may be on its way, whatever it failed by: it may have waited for its turn, or have found
/// its image since, and nobody can tell. So it has failed as far as that stops others, and holds its place as well.
pub fn may_go_on(resource: &ResourceView, chart: &Chart) -> bool {
    // Of a step that was announced, the template is still the one of before.
    let is_behind = |node: &NodeView| node.version != resource.client_version;
    chart.remembered && (resource.roll_pending() || nodes(resource).any(|(_, node)| is_behind(node)))
}

/// Past the deadline and not failed: its cluster was paused before the pod could restart, the chain stands still, a node that
/// syncs is on its way, or nobody can ask.
fn is_excused(resource: &ResourceView, chart: &Chart, chain: &Chain, deadline: Timestamp) -> bool {
    let unused = resource.grant.as_ref().filter(|grant| rolls::is_unused(resource, grant));
    // Nobody remembers how long a cluster was paused: who did not use a permission gets it once more.
    let is_given_again =
        resource.trouble.is_none() && unused.is_some_and(|grant| chart.paused || !grant.again);
    is_given_again
        || chain.stalled.is_some()
        || chart.is_rising(resource)
        || chart.only_unasked(resource, deadline)
}

/// Whether it was healthy before `deadline` as far as anybody saw: nobody looked for a while, by a new start of ours or
/// because it could not be asked, and it only has to be seen well for long enough again.
fn was_well(resource: &ResourceView, chart: &Chart, deadline: Timestamp) -> bool {
    healthy_at(resource, chart).is_some_and(|(_, anchor)| anchor <= deadline)
}

/// How the target stands to the version of the spec; where that moves, to what all nodes report.
fn order(target: &str, version: &str, resource: &ResourceView, chart: &Chart) -> Order {
    let to = |version: &str| ClientVersion::parse(target).order(&ClientVersion::parse(version));
    if !is_floating(version) {
        return to(version);
    }
    // A node that does not run it yet says nothing of it.
    let running = |node: &NodeView| {
        chart.running(resource, node).filter(|_| node.version.as_deref() == Some(version)).map(to)
    };
    let mut orders = nodes(resource).map(|(_, node)| running(node).unwrap_or(Order::Unknown));
    let first = orders.next().unwrap_or(Order::Unknown);
    if orders.all(|order| order == first) { first } else { Order::Unknown }
}

/// When the resource, at the version of its spec, will have been healthy long enough, if nothing happens; and the
/// moment from which it soaks then.
pub fn healthy_at(resource: &ResourceView, chart: &Chart) -> Option<(Timestamp, Timestamp)> {
    let (since, anchor) = well_since(resource, chart)?;
    Some((since + chart.stable_for(), anchor + chart.stable_for()))
}

/// Since when the resource, at the version of its spec, has been well as far as we saw, and as far as anybody did.
pub fn well_since(resource: &ResourceView, chart: &Chart) -> Option<(Timestamp, Timestamp)> {
    let version = resource.client_version.as_deref()?;
    let runs = |role: &RoleView| role.nodes.iter().all(|node| node.version.as_deref() == Some(version));
    let settled = resource.settled_since.filter(|_| resource.roles.iter().all(runs))?;
    let (mut since, mut anchor) = (settled, settled);
    for (role, node) in nodes(resource) {
        let well = chart.well(resource, role, node)?;
        since = since.max(well.since);
        // A short dip of readiness does not move the anchor.
        if well.anchor != node.ready_since? {
            anchor = anchor.max(well.anchor);
        }
    }
    match resource.healthy.as_ref().filter(|stretch| stretch.version == version) {
        // Somebody saw it sick; that it is well, we did.
        Some(Stretch { since: None, .. }) => anchor = anchor.max(since),
        Some(Stretch { since: Some(noted), .. }) => anchor = anchor.max(*noted),
        None => {}
    }
    Some((since, anchor))
}

/// The node on the wanted template that waiting will not start, and from when that is so: of one that fits on no machine
/// only after a while, not before the step; of a step that retries, once the kubelet has tried again.
fn hopeless<'a>(
    resource: &'a ResourceView,
    step: &Step,
    chart: &Chart,
) -> Option<(Timestamp, &'a str, &'a Stuck)> {
    if chart.is_unmade {
        return None;
    }
    let retries = step.previous.as_ref() == Some(&step.target);
    let nodes = resource.roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node)));
    let hopeless = nodes.filter_map(|(role, node)| {
        let why = node.stuck.as_ref().filter(|_| node.hash.as_deref() == Some(&role.hash))?;
        let since = match why.reason.as_str() {
            UNSCHEDULABLE => why.since?.max(step.at) + ADDING_A_MACHINE,
            _ if why.is_hopeless() && retries => step.at + TRIED_AGAIN,
            _ if why.is_hopeless() => Timestamp::MIN,
            _ => return None,
        };
        Some((since, node.pod.as_str(), why))
    });
    hopeless.min_by_key(|(since, ..)| *since)
}

/// Whether some node of it will not be started by waiting.
pub fn is_hopeless(resource: &ResourceView, step: &Step, chart: &Chart) -> bool {
    hopeless(resource, step, chart).is_some_and(|(since, ..)| since <= chart.now)
}

/// Whether the resource runs a validator.
pub fn has_validator(resource: &ResourceView) -> bool {
    // A resource of a kind that nobody knows may still have one running.
    resource.kind.has(Role::Validator) || resource.role(Role::Validator).is_some()
}
