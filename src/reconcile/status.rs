//! Derives a resource's status and its view on the Board from what was observed. Pure; time is an argument.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource as _, ResourceExt as _};

use crate::desired::{self, Keys};
use crate::observed::{ResourceView, RoleView};
use crate::polkadot::status::{NodeStatus, Settled};
use crate::polkadot::{Condition, Polkadot, PolkadotStatus, ResourceId, Role, record};

use super::conditions::{self, Verdict};

/// A dip shorter than this does not end a settled stretch (design section 5, anchors).
pub const DIP: SignedDuration = SignedDuration::from_mins(2);

/// What a reconcile found, as far as the status speaks of it.
pub struct Findings<'a> {
    /// The roles with their wanted templates; empty where nothing could be rendered.
    pub roles: &'a [RoleView],
    /// The node keys, for the peer IDs.
    pub keys: &'a Keys,
    /// Why nothing could be done, in words, after a reason in one word.
    pub trouble: Option<(&'static str, String)>,
    /// What else the reconcile found worth a warning.
    pub warnings: Vec<Verdict>,
}

/// The status that the resource should have now.
#[must_use]
pub fn derive(polkadot: &Polkadot, found: &Findings<'_>, now: Timestamp) -> PolkadotStatus {
    let previous = polkadot.status.clone().unwrap_or_default();
    let settled = settled(polkadot, found, previous.settled.as_ref(), now);
    let first_settled =
        previous.first_settled.clone().or_else(|| settled.as_ref().map(|settled| settled.since.clone()));
    let generation = polkadot.meta().generation;
    let conditions = conditions::verdicts(polkadot, found)
        .into_iter()
        .map(|verdict| condition(&previous.conditions, generation, now, verdict))
        .collect();
    PolkadotStatus {
        observed_generation: generation,
        conditions,
        version: conditions::common_version(found.roles),
        nodes: nodes(found),
        sentry_replicas: sentries(found.roles),
        sentry_selector: polkadot.spec.kind.has(Role::Sentry).then(|| sentry_selector(polkadot)),
        settled,
        first_settled,
    }
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
        epoch: record::read(polkadot.annotations(), record::EPOCH_ANNOTATION).unwrap_or(0),
        roles: found.roles.to_vec(),
        held: polkadot.spec.hold.clone(),
        trouble: found.trouble.as_ref().map(|(_, words)| words.clone()),
        settled_since: current.map(|settled| settled.since.0.min(now)),
        ever_settled: status.first_settled.is_some(),
        keystore_kept: polkadot.replicas(Role::Validator) == 0 || polkadot.is_persistent(Role::Validator),
        reserved_only: polkadot.spec.secure_communication_support.enabled
            && polkadot.replicas(Role::Sentry) > 0,
    }
}

/// When the status has to be derived again although nothing happens: a dip that has grown too long.
#[must_use]
pub fn next_look(status: &PolkadotStatus, now: Timestamp) -> Option<SignedDuration> {
    let interrupted = status.settled.as_ref()?.interrupted.as_ref()?;
    Some((DIP - now.duration_since(interrupted.0)).max(SignedDuration::ZERO))
}

/// Since when all nodes are Ready on the wanted template; `None` while one is not, or there is none.
fn ready_since(roles: &[RoleView], version: &str) -> Option<Timestamp> {
    let mut nodes = roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node))).peekable();
    nodes.peek()?;
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
    let ready = found.trouble.is_none().then(|| ready_since(found.roles, &version)).flatten();
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

fn nodes(found: &Findings<'_>) -> Vec<NodeStatus> {
    found
        .roles
        .iter()
        .flat_map(|role| {
            role.nodes.iter().map(|node| NodeStatus {
                pod: node.pod.clone(),
                role: role.role,
                version: node.version.clone(),
                peer_id: found.keys.get(&(role.role, node.ordinal)).map(crate::identity::NodeKey::peer_id),
            })
        })
        .collect()
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
        };
        vec![RoleView { role: Role::Sentry, hash: "wanted".into(), nodes: vec![node], volumes_added: false }]
    }

    fn next(polkadot: &Polkadot, roles: &[RoleView], now: Timestamp) -> Polkadot {
        let found = Findings { roles, keys: &Keys::new(), trouble: None, warnings: vec![] };
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
    fn the_status_is_the_same_when_nothing_has_changed() {
        let first = next(&sentry(), &role(Some(at(0)), "wanted"), at(10));
        let second = next(&first, &role(Some(at(0)), "wanted"), at(500));
        assert_eq!(first.status, second.status);
    }

    #[test]
    fn an_outdated_pod_shows_as_a_pending_roll() {
        let polkadot = next(&sentry(), &role(Some(at(0)), "old"), at(10));
        let conditions = polkadot.status.unwrap().conditions;
        let pending = conditions.iter().find(|condition| condition.type_ == "RollPending").unwrap();
        assert_eq!(pending.status, "True");
        assert!(pending.message.contains("sentry-sset-0"));
    }
}
