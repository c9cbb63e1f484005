//! Derives a resource's status and its view on the Board from what was observed. Pure; time is an argument.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource as _, ResourceExt as _};

use crate::desired::{self, Keys};
use crate::observed::health::DIP;
use crate::observed::{ResourceView, RoleView, Tried};
use crate::polkadot::status::{NodeStatus, Reached, Settled};
use crate::polkadot::{Condition, Polkadot, PolkadotStatus, ResourceId, Role, record};

use super::conditions::{self, Verdict};

/// What a reconcile found, as far as the status speaks of it.
pub struct Findings<'a> {
    /// The roles with their wanted templates; empty where nothing could be rendered.
    pub roles: &'a [RoleView],
    /// The node keys, for the peer IDs.
    pub keys: &'a Keys,
    /// Why nothing could be done, in words, after a reason in one word.
    pub trouble: Option<(&'static str, String)>,
    /// What the pods tell beyond that.
    pub pods: Pods,
    /// What else the reconcile found worth a warning.
    pub warnings: Vec<Verdict>,
}

/// What the pods of a resource tell beyond its roles, by name.
#[derive(Clone, Debug)]
pub struct Pods {
    /// Whether the validator's keystore outlives its pod.
    pub keystore_kept: bool,
    /// Those that nothing asks for while the resource is left as it is: they are not there, and not down.
    pub left_out: Vec<String>,
    /// Those whose client has not started yet: they run no version.
    pub not_started: Vec<String>,
    /// How the version of the step fared where it was tried, by machine.
    pub prepulls: BTreeMap<String, Tried>,
}

impl Pods {
    /// Nothing beyond the roles.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { keystore_kept: true, left_out: vec![], not_started: vec![], prepulls: BTreeMap::new() }
    }
}

/// The status that the resource should have now.
#[must_use]
pub fn derive(polkadot: &Polkadot, found: &Findings<'_>, now: Timestamp) -> PolkadotStatus {
    let previous = polkadot.status.clone().unwrap_or_default();
    let settled = settled(polkadot, found, previous.settled.as_ref(), now);
    let first_settled =
        previous.first_settled.clone().or_else(|| settled.as_ref().map(|settled| settled.since.clone()));
    let reached = reached(polkadot, settled.as_ref(), previous.reached.as_ref(), now);
    let generation = polkadot.meta().generation;
    let nodes = nodes(found, &previous.nodes);
    let conditions = conditions::verdicts(polkadot, found)
        .into_iter()
        .map(|verdict| condition(&previous.conditions, generation, now, verdict))
        .collect();
    PolkadotStatus {
        observed_generation: generation,
        conditions,
        version: common_version(&nodes),
        nodes,
        sentry_replicas: sentries(found.roles),
        sentry_selector: polkadot.spec.kind.has(Role::Sentry).then(|| sentry_selector(polkadot)),
        settled,
        first_settled,
        reached,
    }
}

fn reached(
    polkadot: &Polkadot,
    settled: Option<&Settled>,
    previous: Option<&Reached>,
    now: Timestamp,
) -> Option<Reached> {
    let version = polkadot.spec.client_version.as_ref()?;
    let step: Option<record::Step> = record::read(polkadot.annotations(), record::STEP_ANNOTATION);
    let since = step.map_or(Timestamp::MIN, |step| step.at.min(now));
    let known = previous.filter(|known| known.version == *version);
    if let Some(known) = known.filter(|known| known.at.0 >= since) {
        return Some(known.clone());
    }
    let is_settled = settled.is_some_and(|settled| settled.interrupted.is_none());
    // Of an earlier step to the same version it stays known until this one has come through.
    if is_settled { Some(Reached { version: version.clone(), at: Time(now) }) } else { known.cloned() }
}

/// Sentries with a pod, for the `scale` subresource.
fn sentries(roles: &[RoleView]) -> i32 {
    let sentries = roles.iter().filter(|role| role.role == Role::Sentry).flat_map(|role| &role.nodes);
    i32::try_from(sentries.filter(|node| node.hash.is_some()).count()).unwrap_or(i32::MAX)
}

fn sentry_selector(polkadot: &Polkadot) -> String {
    let labels = desired::selector(&ResourceId::of(polkadot), Role::Sentry);
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The view for the Board. A time in the future counts as now: whoever may write an annotation must not be able to
/// stretch a deadline with it.
#[must_use]
pub fn view(
    polkadot: &Polkadot,
    found: &Findings<'_>,
    status: &PolkadotStatus,
    now: Timestamp,
) -> ResourceView {
    let current = status.settled.as_ref().filter(|settled| settled.interrupted.is_none());
    ResourceView {
        id: ResourceId::of(polkadot),
        uid: polkadot.uid().unwrap_or_default(),
        resource_version: polkadot.resource_version().unwrap_or_default(),
        labels: polkadot.labels().clone(),
        kind: polkadot.spec.kind,
        chain: polkadot.spec.chain.clone().unwrap_or_else(|| "polkadot".into()),
        client_version: polkadot.spec.client_version.clone(),
        step: record::read(polkadot.annotations(), record::STEP_ANNOTATION)
            .map(|step: record::Step| record::Step { at: step.at.min(now), ..step }),
        grant: record::read(polkadot.annotations(), record::GRANT_ANNOTATION)
            .map(|grant: record::Grant| record::Grant { at: grant.at.min(now), ..grant }),
        healthy: record::read(polkadot.annotations(), record::HEALTH_ANNOTATION).map(
            |stretch: record::Stretch| record::Stretch {
                since: stretch.since.map(|since| since.min(now)),
                proven: stretch.proven.map(|proven| proven.min(now)),
                ill: stretch.ill.map(|ill| ill.min(now)),
                ..stretch
            },
        ),
        failed: record::read(polkadot.annotations(), record::FAILED_ANNOTATION),
        epoch: record::read(polkadot.annotations(), record::EPOCH_ANNOTATION).unwrap_or(0),
        roles: found.roles.iter().map(|role| not_in_the_future(role, now)).collect(),
        held: polkadot.spec.hold.clone(),
        trouble: found.trouble.as_ref().map(|(_, words)| words.clone()).or_else(|| contest(found)),
        settled_since: current.map(|settled| settled.since.0.min(now)),
        ever_settled: status.first_settled.is_some(),
        reached: status
            .reached
            .as_ref()
            .filter(|reached| Some(&reached.version) == polkadot.spec.client_version.as_ref())
            .map(|reached| reached.at.0.min(now)),
        keystore_kept: found.pods.keystore_kept,
        reserved_only: polkadot.spec.secure_communication_support.enabled
            && polkadot.replicas(Role::Sentry) > 0,
        prepulls: found.pods.prepulls.clone(),
    }
}

/// While somebody else writes the objects they are left alone, so that no permission would be used; nor would it be while
/// the pods' template cannot be changed.
fn contest(found: &Findings<'_>) -> Option<String> {
    let stops =
        |warning: &&Verdict| warning.type_ == "Contested" || warning.reason == conditions::TEMPLATE_KEPT;
    let contested = found.warnings.iter().find(stops);
    contested.map(|warning| warning.message.clone())
}

fn not_in_the_future(role: &RoleView, now: Timestamp) -> RoleView {
    let mut role = role.clone();
    for node in &mut role.nodes {
        node.ready_since = node.ready_since.map(|since| since.min(now));
    }
    role
}

/// When the status has to be derived again although nothing happens: a dip that has grown too long.
#[must_use]
pub fn next_look(status: &PolkadotStatus, now: Timestamp) -> Option<SignedDuration> {
    let interrupted = status.settled.as_ref()?.interrupted.as_ref()?;
    Some((DIP - now.duration_since(interrupted.0)).max(SignedDuration::ZERO))
}

/// Since when all nodes are Ready on the wanted template; `None` while one is not, or nothing is rendered. Where no node
/// is wanted that is now.
fn ready_since(roles: &[RoleView], version: &str, now: Timestamp) -> Option<Timestamp> {
    let mut nodes = roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node))).peekable();
    if nodes.peek().is_none() {
        return (!roles.is_empty()).then_some(now);
    }
    nodes.try_fold(Timestamp::MIN, |latest, (role, node)| {
        let since = node.settled_since(&role.hash).filter(|_| node.version.as_deref() == Some(version))?;
        Some(latest.max(since))
    })
}

fn settled(
    polkadot: &Polkadot,
    found: &Findings<'_>,
    previous: Option<&Settled>,
    now: Timestamp,
) -> Option<Settled> {
    let version = polkadot.spec.client_version.clone()?;
    let previous = previous.filter(|previous| previous.version == version);
    let over = |interrupted: &Time| now.duration_since(interrupted.0) >= DIP;
    let held = previous.filter(|previous| !previous.interrupted.as_ref().is_some_and(over));
    let ready = found.trouble.is_none().then(|| ready_since(found.roles, &version, now)).flatten();
    match (ready, held) {
        (Some(_), Some(held)) => Some(Settled { interrupted: None, ..held.clone() }),
        // A timestamp in the future counts as now.
        (Some(since), None) => Some(Settled { version, since: Time(since.min(now)), interrupted: None }),
        (None, Some(held)) => {
            let interrupted = held.interrupted.clone().unwrap_or(Time(now));
            Some(Settled { interrupted: Some(interrupted), ..held.clone() })
        }
        (None, None) => None,
    }
}

/// A verdict as a condition; its transition time is the old one's while its status is the same.
fn condition(previous: &[Condition], generation: Option<i64>, now: Timestamp, verdict: Verdict) -> Condition {
    let status = if verdict.holds { "True" } else { "False" };
    let since = previous
        .iter()
        .find(|condition| condition.type_ == verdict.type_ && condition.status == status)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    Condition {
        type_: verdict.type_.into(),
        status: status.into(),
        reason: verdict.reason.into(),
        message: verdict.message,
        last_transition_time: since,
        observed_generation: generation,
    }
}

/// The nodes; where the reconcile stopped early, perhaps for want of a key, their peer IDs are the last known.
fn nodes(found: &Findings<'_>, previous: &[NodeStatus]) -> Vec<NodeStatus> {
    let last_known = |pod: &str| {
        let known = previous.iter().filter(|_| found.trouble.is_some()).find(|node| node.pod == pod)?;
        known.peer_id.clone()
    };
    found
        .roles
        .iter()
        .flat_map(|role| {
            role.nodes.iter().map(|node| NodeStatus {
                pod: node.pod.clone(),
                role: role.role,
                version: node.version.clone().filter(|_| !found.pods.not_started.contains(&node.pod)),
                peer_id: found
                    .keys
                    .get(&(role.role, node.ordinal))
                    .map(crate::identity::NodeKey::peer_id)
                    .or_else(|| last_known(&node.pod)),
            })
        })
        .collect()
}

/// The version that all nodes run whose client has started; `None` while they differ.
fn common_version(nodes: &[NodeStatus]) -> Option<String> {
    let mut versions = nodes.iter().filter_map(|node| node.version.as_ref());
    let first = versions.next()?;
    versions.all(|version| version == first).then(|| first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::NodeView;
    use crate::polkadot::PolkadotSpec;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn sentry() -> Polkadot {
        let spec: PolkadotSpec =
            serde_yaml::from_str("{kind: Sentry, clientVersion: stable2503, sentry: {replicas: 1}}").unwrap();
        Polkadot::new("one", spec)
    }

    fn role(ready_since: Option<Timestamp>, hash: &str) -> Vec<RoleView> {
        let node = NodeView {
            pod: "sentry-sset-0".into(),
            ordinal: 0,
            hash: Some(hash.into()),
            version: Some("stable2503".into()),
            ready_since,
            stuck: None,
            machine: None,
        };
        vec![RoleView { role: Role::Sentry, hash: "wanted".into(), nodes: vec![node], volumes_added: false }]
    }

    fn next(polkadot: &Polkadot, roles: &[RoleView], now: Timestamp) -> Polkadot {
        let keys = Keys::new();
        let found = Findings { roles, keys: &keys, trouble: None, pods: Pods::plain(), warnings: vec![] };
        let mut polkadot = polkadot.clone();
        polkadot.status = Some(derive(&polkadot, &found, now));
        polkadot
    }

    fn since(polkadot: &Polkadot) -> Option<Timestamp> {
        let settled = polkadot.status.as_ref()?.settled.as_ref()?;
        settled.interrupted.is_none().then_some(settled.since.0)
    }

    #[test]
    fn a_resource_is_settled_since_its_last_node_became_ready_on_the_wanted_template() {
        assert_eq!(since(&next(&sentry(), &role(Some(at(5)), "wanted"), at(60))), Some(at(5)));
        assert_eq!(since(&next(&sentry(), &role(Some(at(5)), "old"), at(60))), None);
        assert_eq!(since(&next(&sentry(), &role(None, "wanted"), at(60))), None);
        assert_eq!(
            since(&next(&sentry(), &role(Some(at(90)), "wanted"), at(60))),
            Some(at(60)),
            "future is now"
        );
    }

    #[test]
    fn a_short_dip_does_not_restart_the_soak_and_a_long_one_does() {
        let settled = next(&sentry(), &role(Some(at(0)), "wanted"), at(10));
        let dipped = next(&settled, &role(None, "wanted"), at(20));
        assert_eq!(since(&dipped), None);
        assert_eq!(since(&next(&dipped, &role(Some(at(100)), "wanted"), at(101))), Some(at(0)));
        assert_eq!(since(&next(&dipped, &role(Some(at(200)), "wanted"), at(201))), Some(at(200)));
    }

    #[test]
    fn a_resource_without_wanted_nodes_is_settled_from_when_that_was_seen() {
        let mut none = role(None, "wanted");
        none[0].nodes.clear();
        let settled = next(&sentry(), &none, at(10));
        assert_eq!(since(&settled), Some(at(10)));
        assert_eq!(since(&next(&settled, &none, at(500))), Some(at(10)));
        assert_eq!(since(&next(&sentry(), &[], at(10))), None, "nothing was rendered");
    }

    #[test]
    fn a_view_holds_no_time_in_the_future_and_a_contest_is_trouble() {
        let (roles, keys) = (role(Some(Timestamp::MAX), "wanted"), Keys::new());
        let contested = Verdict::warning("Contested", "somebody writes it as well");
        let warnings = vec![contested];
        let found = Findings { roles: &roles, keys: &keys, trouble: None, pods: Pods::plain(), warnings };
        let view = view(&sentry(), &found, &derive(&sentry(), &found, at(60)), at(60));
        assert_eq!(view.roles[0].nodes[0].ready_since, Some(at(60)));
        assert_eq!(view.trouble.as_deref(), Some("somebody writes it as well"));
    }

    #[test]
    fn the_status_is_the_same_when_nothing_has_changed() {
        let first = next(&sentry(), &role(Some(at(0)), "wanted"), at(10));
        let second = next(&first, &role(Some(at(0)), "wanted"), at(500));
        assert_eq!(first.status, second.status);
    }

    #[test]
    fn a_pod_whose_client_has_not_started_runs_no_version() {
        let (roles, keys) = (role(None, "wanted"), Keys::new());
        let of = |not_started: Vec<String>| {
            let pods = Pods { not_started, ..Pods::plain() };
            let found = Findings { roles: &roles, keys: &keys, trouble: None, pods, warnings: vec![] };
            derive(&sentry(), &found, at(10))
        };
        let pending = of(vec!["sentry-sset-0".into()]);
        assert_eq!((pending.version.as_deref(), pending.nodes[0].version.as_deref()), (None, None));
        assert_eq!(of(vec![]).version.as_deref(), Some("stable2503"));
    }

    #[test]
    fn the_peer_id_of_a_node_whose_key_is_lost_is_the_last_known() {
        let (roles, no_keys) = (role(Some(at(0)), "wanted"), Keys::new());
        let keys = Keys::from([((Role::Sentry, 0), crate::identity::NodeKey::from_seed([7; 32]))]);
        let mut polkadot = sentry();
        let mut status_of = |keys: &Keys, trouble: Option<(&'static str, String)>| {
            let found = Findings { roles: &roles, keys, trouble, pods: Pods::plain(), warnings: vec![] };
            let status = derive(&polkadot, &found, at(10));
            polkadot.status = Some(status.clone());
            status.nodes[0].peer_id.clone()
        };
        let known = status_of(&keys, None);
        assert!(known.is_some());
        assert_eq!(status_of(&no_keys, Some(("NodeKeyMissing", "it is gone".into()))), known);
        assert_eq!(status_of(&no_keys, None), None, "it was looked for, and there is none");
    }

    #[test]
    fn an_outdated_pod_shows_as_a_pending_roll() {
        let polkadot = next(&sentry(), &role(Some(at(0)), "old"), at(10));
        let conditions = polkadot.status.unwrap().conditions;
        let pending = conditions.iter().find(|condition| condition.type_ == "RollPending").unwrap();
        assert_eq!(pending.status, "True");
        assert!(pending.message.contains("sentry-sset-0"));
        assert_eq!(pending.reason, "WaitingForGrant");
    }

    #[test]
    fn a_roll_that_is_permitted_does_not_wait_for_permission() {
        let mut polkadot = sentry();
        let grant = record::Grant {
            role: Role::Sentry,
            hash: "wanted".into(),
            ordinal: 0,
            at: at(0),
            mends: false,
            again: false,
        };
        let annotation = (record::GRANT_ANNOTATION.to_owned(), serde_json::to_string(&grant).unwrap());
        polkadot.metadata.annotations = Some([annotation].into());
        let conditions = next(&polkadot, &role(Some(at(0)), "old"), at(10)).status.unwrap().conditions;
        let pending = conditions.iter().find(|condition| condition.type_ == "RollPending").unwrap();
        assert_eq!((&*pending.status, &*pending.reason), ("True", "Granted"));
        assert!(pending.message.contains("sentry-sset-0 may restart now"), "{}", pending.message);
    }
}
