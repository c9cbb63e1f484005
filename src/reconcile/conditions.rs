//! The conditions of a resource: what is said of it, in which words. Pure.
//!
//! `Ready`, `Progressing`, `Degraded` and `RollPending` are always there. The others are there only while they hold: they
//! warn, and their message says what to do. `Stalled` and `Reconciling` are for kstatus and its kin, which take them for
//! "needs a person" and "in progress".

mod upgrade;

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use crate::desired::Keys;
use crate::identity::NodeKey;
use crate::observed::NodeView;
use crate::polkadot::{Grant, Kind, Polkadot, Role, record, status};
use crate::version::era::{self, Era};
use crate::version::{self, ClientVersion};

use super::status::Findings;

/// The reason of a refused change of volumes while which no other change reaches the pods either.
pub const TEMPLATE_KEPT: &str = "TemplateKept";

/// What is said about one type of condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition's type.
    pub type_: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, for a person, and what to do.
    pub message: String,
}

impl Verdict {
    fn holds(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, holds: true, reason, message: message.into() }
    }

    fn fails(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, holds: false, reason, message: message.into() }
    }

    /// A warning: a condition that is there only while it holds.
    #[must_use]
    pub fn warning(type_: &'static str, message: impl Into<String>) -> Self {
        Self::holds(type_, type_, message)
    }
}

/// Everything there is to say.
#[must_use]
pub fn verdicts(polkadot: &Polkadot, found: &Findings<'_>) -> Vec<Verdict> {
    let progressing = progressing(polkadot, found);
    let reconciling =
        progressing.holds.then(|| Verdict { type_: status::RECONCILING, ..progressing.clone() });
    let mut verdicts =
        vec![ready(found), progressing, degraded(polkadot, found), roll_pending(polkadot, found)];
    verdicts.extend(reconciling);
    if let Some((reason, words)) = &found.trouble {
        verdicts.push(Verdict::holds(status::STALLED, reason, words));
    }
    verdicts.extend(found.warnings.iter().cloned());
    let more = [
        held(polkadot),
        legacy(found),
        plain_key(polkadot),
        topology(polkadot),
        no_sentries(polkadot),
        ephemeral_keystore(polkadot, found),
        unsafe_rpc(polkadot),
        floating_version(polkadot),
        unknown_version(polkadot),
        upgrade::undone(polkadot),
        upgrade::failed(polkadot),
    ];
    verdicts.extend(more.into_iter().flatten());
    verdicts.extend(reserved_ids(polkadot, found.keys));
    verdicts.extend(shared_key(found));
    one_of_a_type(verdicts)
}

/// A resource has one condition of a type: what is said of several objects is put together.
fn one_of_a_type(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = vec![];
    for verdict in verdicts {
        match all.iter_mut().find(|known| known.type_ == verdict.type_) {
            Some(known) => known.message = format!("{}; {}", known.message, verdict.message),
            None => all.push(verdict),
        }
    }
    all
}

fn nodes<'a>(found: &'a Findings<'_>) -> impl Iterator<Item = &'a NodeView> {
    found.roles.iter().flat_map(|role| &role.nodes)
}

/// Nodes that are not Ready and could be: those that nothing asks for are neither starting nor down.
fn down<'a>(found: &'a Findings<'_>) -> impl Iterator<Item = &'a NodeView> {
    nodes(found).filter(|node| node.ready_since.is_none() && !found.pods.left_out.contains(&node.pod))
}

fn ready(found: &Findings<'_>) -> Verdict {
    if let Some((reason, words)) = &found.trouble {
        return Verdict::fails(status::READY, reason, words);
    }
    let waiting: Vec<_> = down(found).map(described).collect();
    let all = nodes(found).count();
    if waiting.is_empty() && !found.pods.left_out.is_empty() {
        let words =
            format!("left as it is, so not made: {}; the others are Ready", found.pods.left_out.join(", "));
        Verdict::fails(status::READY, "LeftAsItIs", words)
    } else if waiting.is_empty() {
        Verdict::holds(status::READY, "AllNodesReady", format!("{all} of {all} nodes Ready"))
    } else {
        Verdict::fails(status::READY, "NodesNotReady", format!("not Ready: {}", waiting.join(", ")))
    }
}

fn described(node: &NodeView) -> String {
    match &node.stuck {
        Some(why) => format!("{} ({why})", node.pod),
        None => node.pod.clone(),
    }
}

/// Whether something is on its way that will come by waiting.
fn progressing(polkadot: &Polkadot, found: &Findings<'_>) -> Verdict {
    // Of what is refused no pod is made.
    let is_refused = |node: &NodeView| node.hash.is_none() && is_refused(found);
    let coming: Vec<_> = down(found)
        .filter(|node| node.stuck.is_none() && !is_refused(node))
        .map(|node| node.pod.clone())
        .collect();
    if found.trouble.is_none() && !coming.is_empty() {
        return Verdict::holds(
            status::PROGRESSING,
            "NodesStarting",
            format!("starting: {}", coming.join(", ")),
        );
    }
    if let Some(words) = rolling(polkadot, found) {
        return Verdict::holds(status::PROGRESSING, "Rolling", words);
    }
    let stuck: Vec<_> = down(found).filter(|node| node.stuck.is_some()).map(described).collect();
    if stuck.is_empty() || found.trouble.is_some() {
        Verdict::fails(status::PROGRESSING, "Settled", "nothing is on its way")
    } else {
        let words = format!("does not start as it is: {}", stuck.join(", "));
        Verdict::fails(status::PROGRESSING, "NodesStuck", words)
    }
}

/// A roll that has begun and not ended, also between two permissions; none while it cannot go on. One that waits for its
/// first permission may wait for ever, so it is not on its way.
fn rolling(polkadot: &Polkadot, found: &Findings<'_>) -> Option<String> {
    let grant: Grant = record::read(polkadot.annotations(), record::GRANT_ANNOTATION)?;
    let role = found.roles.iter().find(|role| role.role == grant.role && role.hash == grant.hash)?;
    let left = role.outdated().count();
    let is_stopped = found.trouble.is_some()
        || polkadot.spec.hold.is_some()
        || down(found).any(|node| node.stuck.is_some());
    let (done, all) = (role.nodes.len() - left, role.nodes.len());
    let words = || format!("rolling: {done} of {all} {} nodes have template {}", role.role, role.hash);
    (left > 0 && !is_stopped).then(words)
}

/// Whether something that worked does not, or waiting will not mend it.
fn degraded(polkadot: &Polkadot, found: &Findings<'_>) -> Verdict {
    let worked = polkadot.status.as_ref().is_some_and(|status| status.first_settled.is_some());
    let down: Vec<_> = down(found).filter(|node| worked || node.stuck.is_some()).map(described).collect();
    if down.is_empty() {
        Verdict::fails(status::DEGRADED, "NodesWell", "no node is down")
    } else {
        Verdict::holds(status::DEGRADED, "NodesDown", format!("down: {}", down.join(", ")))
    }
}

fn roll_pending(polkadot: &Polkadot, found: &Findings<'_>) -> Verdict {
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    let (mut granted, mut waiting) = (vec![], vec![]);
    for role in found.roles {
        let permitted = grant.as_ref().filter(|grant| grant.role == role.role && grant.hash == role.hash);
        let (now, later): (Vec<&NodeView>, Vec<&NodeView>) =
            role.outdated().partition(|node| permitted.is_some_and(|grant| grant.ordinal == node.ordinal));
        let words = |nodes: &[&NodeView], what: &str| {
            let pods: Vec<_> = nodes.iter().map(|node| node.pod.as_str()).collect();
            (!pods.is_empty()).then(|| format!("{} {what} template {}", pods.join(", "), role.hash))
        };
        granted.extend(words(&now, "may restart now with"));
        waiting.extend(words(
            &later,
            if later.len() == 1 {
                "waits for permission to restart with"
            } else {
                "wait for permission to restart with"
            },
        ));
    }
    let is_refused = is_refused(found);
    let reason = match granted.is_empty() {
        true if is_refused => "DowngradeRefused",
        true => "WaitingForGrant",
        false => "Granted",
    };
    if let Some(last) = waiting.last_mut() {
        last.push_str(if is_refused {
            ", which is refused (see DowngradeRefused)"
        } else {
            " (polkafleet plan says what for)"
        });
    }
    if granted.is_empty() && found.trouble.is_some() {
        let words = "no pod restarts before what stalls the resource is mended";
        return Verdict::fails(status::ROLL_PENDING, status::STALLED, words);
    }
    granted.extend(waiting);
    if granted.is_empty() && is_refused {
        let words = "no pod restarts for what is wanted: it is refused (see DowngradeRefused)";
        Verdict::holds(status::ROLL_PENDING, "DowngradeRefused", words)
    } else if granted.is_empty() {
        Verdict::fails(status::ROLL_PENDING, "UpToDate", "every pod runs the wanted template")
    } else {
        Verdict::holds(status::ROLL_PENDING, reason, granted.join("; "))
    }
}

fn is_refused(found: &Findings<'_>) -> bool {
    found.warnings.iter().any(|warning| warning.type_ == "DowngradeRefused")
}

fn held(polkadot: &Polkadot) -> Option<Verdict> {
    let reason = polkadot.spec.hold.as_ref()?;
    let words = format!("left exactly as it is: {reason}; remove spec.hold to go on");
    Some(Verdict::warning("Held", words))
}

/// Pods that the old operator's template made.
fn legacy(found: &Findings<'_>) -> Option<Verdict> {
    let pods: Vec<_> =
        nodes(found).filter(|node| node.hash.as_deref() == Some("")).map(|node| node.pod.as_str()).collect();
    let words = format!(
        "made by another operator and left running as they are: {}. What that one left (its command line with the node \
         key on it, its probes, its init container that runs as root) goes with the next permitted roll: when this \
         resource is changed, or an upgrade gives it a version",
        pods.join(", ")
    );
    (!pods.is_empty()).then(|| Verdict::warning("LegacyTemplate", words))
}

fn plain_key(polkadot: &Polkadot) -> Option<Verdict> {
    let has_key = |role: &Role| polkadot.node(*role).is_some_and(|node| node.node_key.is_some());
    let roles: Vec<_> = Role::ALL.into_iter().filter(has_key).map(|role| format!("spec.{role}")).collect();
    let words = format!(
        "{}.nodeKey can be read by everybody who may read this resource; put the 64 hex digits into a Secret, entry \
         node-key, name it in nodeKeySecretRef, and remove nodeKey: nothing restarts",
        roles.join(".nodeKey and ")
    );
    (!roles.is_empty()).then(|| Verdict::warning("PlainNodeKey", words))
}

/// A validator that sees its sentries only is cut off from the other validators, which parachains need.
fn topology(polkadot: &Polkadot) -> Option<Verdict> {
    let version = ClientVersion::parse(polkadot.spec.client_version.as_deref()?);
    let secluded =
        polkadot.spec.kind == Kind::SentryAndValidator && polkadot.spec.secure_communication_support.enabled;
    let unsupported = era::era(&version).is_none_or(|era| era >= Era::SplitRpc);
    (secluded && unsupported).then(|| {
        Verdict::warning(
            "UnsupportedTopology",
            "secureCommunicationSupport hides the validator behind its sentries; since v0.8.29 validators must reach one \
             another directly (paritytech/substrate#6845), so it may miss parachain work; set enabled: false, unless you \
             know that you want this",
        )
    })
}

/// A policy that lets through the own sentries only, where there are none.
fn no_sentries(polkadot: &Polkadot) -> Option<Verdict> {
    let words = match polkadot.spec.kind {
        _ if !polkadot.spec.secure_communication_support.enabled => return None,
        Kind::Validator => {
            "secureCommunicationSupport has no effect on kind Validator: it lets a validator talk to its own sentries \
             only, and this resource has none; set enabled: false, or kind SentryAndValidator with a sentry"
        }
        Kind::SentryAndValidator if polkadot.replicas(Role::Sentry) == 0 => {
            "secureCommunicationSupport lets the validator talk to its own sentries only, and spec.sentry.replicas is 0: it \
             reaches nobody and misses its blocks; set replicas to 1 or more, or enabled: false"
        }
        _ => return None,
    };
    Some(Verdict::warning("NoSentries", words))
}

/// A validator whose session keys go with its pod: said before that happens.
fn ephemeral_keystore(polkadot: &Polkadot, found: &Findings<'_>) -> Option<Verdict> {
    let lost = "the next restart of the validator's pod leaves it with an empty keystore, without its session keys: it \
                misses its blocks and may be slashed as offline until new ones are made (author_rotateKeys) and set on \
                the chain";
    let words = if polkadot.is_persistent(Role::Validator) {
        format!(
            "the running validator was made without a volume, and the one of dataPersistenceSupport begins empty: {lost}; \
             copy its keystore (below /data/chains) to a safe place before it restarts, or be ready to rotate the keys"
        )
    } else {
        format!(
            "spec.validator.dataPersistenceSupport is off: {lost}; set enabled: true with a persistentVolumeClaim before \
             it validates. If it was on until now, put it back as it was and nothing is lost: the old volume is kept \
             unless retentionPolicy says otherwise. If it was never on, copy the keystore (below /data/chains) to a safe \
             place first: a new volume begins empty"
        )
    };
    (!found.pods.keystore_kept).then(|| Verdict::warning("EphemeralKeystore", words))
}

/// A client that does not tell safe RPC methods from others serves all of them to whoever reaches its Service.
fn unsafe_rpc(polkadot: &Polkadot) -> Option<Verdict> {
    let version = polkadot.spec.client_version.as_deref()?;
    let parsed = ClientVersion::parse(version);
    let tells = era::era(&parsed).is_none() || era::modern_peer_ids(&parsed);
    (polkadot.replicas(Role::Sentry) > 0 && !tells).then(|| {
        Verdict::warning(
            "UnsafeRpc",
            format!(
                "the sentries' Service serves every RPC method, also those that change the node: {version} cannot tell the \
                 safe ones apart; set spec.clientVersion to v0.8.0 or later, or let nobody else reach the Service"
            ),
        )
    })
}

fn floating_version(polkadot: &Polkadot) -> Option<Verdict> {
    let version = polkadot.spec.client_version.as_deref().filter(|tag| version::is_floating(tag))?;
    let words = format!(
        "{version} moves: two nodes with it may run different releases, and nothing is upgraded by it; set \
         spec.clientVersion to a release that is newer than what the nodes run (a client prints its version when it starts: \
         kubectl logs), or to the same one with allowDowngrade: true in an upgrade that owns this resource"
    );
    Some(Verdict::warning("FloatingVersion", words))
}

/// A tag that is no release: a custom build, or a slip of the pen.
fn unknown_version(polkadot: &Polkadot) -> Option<Verdict> {
    let version = polkadot.spec.client_version.as_deref().filter(|tag| !version::is_floating(tag))?;
    let is_unknown = matches!(ClientVersion::parse(version), ClientVersion::Other(_));
    is_unknown.then(|| {
        let words = format!(
            "{version} is no release tag that polkafleet knows (v1.16.0, stable2503-7), so nothing is known to be newer than \
             it: whatever comes after it needs an upgrade with allowDowngrade: true. If it is a mistake, correct \
             spec.clientVersion before nodes run it"
        );
        Verdict::warning("UnknownVersion", words)
    })
}

/// Two nodes with one key are one to their peers, who drop one or the other.
fn shared_key(found: &Findings<'_>) -> Option<Verdict> {
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for role in found.roles {
        for node in &role.nodes {
            if let Some(key) = found.keys.get(&(role.role, node.ordinal)) {
                owners.entry(key.peer_id()).or_default().push(&node.pod);
            }
        }
    }
    let shared: Vec<String> =
        owners.into_values().filter(|pods| pods.len() > 1).map(|pods| pods.join(" and ")).collect();
    let words = format!(
        "{} have the same node key, so to their peers they are one node, and one of them is always cut off; give each its \
         own in nodeKeySecretRef, or none to have it made",
        shared.join("; ")
    );
    (!shared.is_empty()).then(|| Verdict::warning("SharedNodeKey", words))
}

/// Reserved IDs that are not those of the keys, in either encoding.
fn reserved_ids(polkadot: &Polkadot, keys: &Keys) -> Option<Verdict> {
    let sentry = polkadot.spec.sentry.as_ref().and_then(|sentry| sentry.reserved_validator_id.as_ref());
    let validator = polkadot.spec.validator.as_ref().and_then(|one| one.reserved_sentry_id.as_ref());
    let given = BTreeMap::from([
        ("spec.sentry.reservedValidatorID", (sentry, Role::Validator)),
        ("spec.validator.reservedSentryID", (validator, Role::Sentry)),
    ]);
    let wrong: Vec<_> = given
        .into_iter()
        .filter_map(|(field, (given, role))| {
            let (given, key) = (given?, keys.get(&(role, 0))?);
            (!is_id_of(key, given))
                .then(|| format!("{field} is {given}, but the key's peer ID is {}", key.peer_id()))
        })
        .collect();
    let words = format!("{}; the one of the key is used. Correct the field, or remove it", wrong.join("; "));
    (!wrong.is_empty()).then(|| Verdict::warning("ReservedIDMismatch", words))
}

fn is_id_of(key: &NodeKey, id: &str) -> bool {
    id == key.peer_id() || id == key.legacy_peer_id()
}

#[cfg(test)]
mod tests;
