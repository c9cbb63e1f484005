//! What a resource's nodes say of their health, measured by the rules of the upgrade that owns it. Pure.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Cluster, Health, Probing, Upgrade};
use crate::health::{Expected, Verdict, verdict};
use crate::observed::{ClusterView, Healths, NodeHealth, NodeView, ResourceView, RoleView};
use crate::polkadot::Role;
use crate::version::is_floating;

/// The rules where no upgrade owns the resource: those of an upgrade by default, but that nobody has said how many peers
/// there are, or that the API server reaches the pods.
const UNOWNED: Health = Health {
    min_peers: 1,
    max_sync_lag: 5,
    max_finality_lag: 10,
    stable_for: SignedDuration::from_mins(3),
    probe: Probing::Optional,
};
/// A validator that is unhealthy for so long is unavailable.
const UNAVAILABLE_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// The health of one resource's nodes, at one moment.
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own, and they come in all combinations.
pub struct Chart {
    rules: Health,
    health: Healths,
    stale: SignedDuration,
    /// Whether an upgrade owns the resource.
    pub owned: bool,
    /// Whether its cluster is paused: nothing that is permitted there is done.
    pub paused: bool,
    /// Whether its cluster is only remembered: how its nodes fare, nobody has seen since we started.
    pub remembered: bool,
    /// Whether its version was just set, and its templates are still those of the one before: of the new one they say nothing.
    pub is_unmade: bool,
    /// Now.
    pub now: Timestamp,
    /// Verdicts, by pod, as they were asked for: each is a walk over a window, and many rules ask.
    verdicts: Rc<RefCell<BTreeMap<String, Verdict>>>,
}

/// Since when a node has been well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Well {
    /// It counts from here how long it has been so.
    pub since: Timestamp,
    /// The soak counts from here: not from a gap in observation.
    pub anchor: Timestamp,
}

impl Chart {
    /// The chart of a resource in `cluster`.
    #[must_use]
    pub fn new(owner: Option<&Upgrade>, cluster: &Cluster, view: &ClusterView, now: Timestamp) -> Self {
        Self {
            rules: owner.map_or(UNOWNED, |upgrade| upgrade.health),
            health: Healths::clone(&view.health),
            stale: cluster.settings.probe.stale(),
            owned: owner.is_some(),
            paused: cluster.paused,
            remembered: view.remembered,
            is_unmade: false,
            now,
            verdicts: Rc::default(),
        }
    }

    /// How long all must have been well.
    #[must_use]
    pub fn stable_for(&self) -> SignedDuration {
        self.rules.stable_for
    }

    /// What a node said of late.
    #[must_use]
    pub fn of(&self, resource: &ResourceView, node: &NodeView) -> Option<&NodeHealth> {
        self.health.get(&(resource.id.namespace.clone(), node.pod.clone())).map(AsRef::as_ref)
    }

    /// What it comes to.
    #[must_use]
    pub fn verdict(&self, resource: &ResourceView, role: &RoleView, node: &NodeView) -> Verdict {
        if let Some(known) = self.verdicts.borrow().get(&node.pod) {
            return known.clone();
        }
        let verdict = self.judge(resource, role, node);
        self.verdicts.borrow_mut().insert(node.pod.clone(), verdict.clone());
        verdict
    }

    fn judge(&self, resource: &ResourceView, role: &RoleView, node: &NodeView) -> Verdict {
        let sentries = resource.role(Role::Sentry).map_or(0, |role| role.nodes.len());
        let reserved = resource.reserved_only && role.role == Role::Validator;
        let expected = Expected {
            rules: self.rules,
            tag: node.version.as_deref(),
            is_validator: role.role == Role::Validator,
            reserved_peers: reserved.then_some(u32::try_from(sentries).unwrap_or(u32::MAX)),
            baseline: baseline(resource, node),
            ready_since: node.ready_since,
            stale: self.stale,
        };
        verdict(self.of(resource, node), &expected, self.now)
    }

    /// Since when a node has been Ready on the wanted template, and well; `None` while it is not.
    #[must_use]
    pub fn well(&self, resource: &ResourceView, role: &RoleView, node: &NodeView) -> Option<Well> {
        let ready = node.settled_since(&role.hash)?;
        match self.verdict(resource, role, node) {
            Verdict::Healthy { since, sound } => {
                let since = since.max(ready);
                Some(Well { since, anchor: sound.map_or(ready, |sound| sound.max(ready)) })
            }
            Verdict::Blocked(_) if self.rules.probe == Probing::Optional => {
                Some(Well { since: ready, anchor: ready })
            }
            _ => None,
        }
    }

    /// Whether a node has been well for long enough.
    #[must_use]
    pub fn is_healthy(&self, resource: &ResourceView, role: &RoleView, node: &NodeView) -> bool {
        self.well(resource, role, node).is_some_and(|well| well.since + self.stable_for() <= self.now)
    }

    /// A Ready node that has to be asked and cannot be, or was not yet, and why. A pod that was not made by us may have
    /// no port to be asked on; the step mends that.
    #[must_use]
    pub fn blocked(&self, resource: &ResourceView) -> Option<(String, String)> {
        if self.rules.probe == Probing::Optional {
            return None;
        }
        let ready = nodes(resource)
            .filter(|(_, node)| node.ready_since.is_some() && node.hash.as_deref() != Some(""));
        ready.into_iter().find_map(|(_, node)| {
            let why = match self.of(resource, node) {
                // The last answer may be fresh enough for a verdict; for a step it is not.
                Some(health) => health.blocked.as_ref()?.why.clone(),
                None => "it has not been asked yet".into(),
            };
            Some((node.pod.clone(), why))
        })
    }

    /// The first node that is not well, and what is the matter with it.
    #[must_use]
    pub fn ill(&self, resource: &ResourceView) -> Option<(String, String)> {
        // What only waits for the others is not what they wait for.
        let waits = |(role, node): &(&RoleView, &NodeView)| node.waits_for_restart(&role.hash);
        let (waiting, first): (Vec<_>, Vec<_>) = nodes(resource).partition(waits);
        first.into_iter().chain(waiting).find_map(|(role, node)| {
            if self.is_healthy(resource, role, node) {
                return None;
            }
            let words = match self.verdict(resource, role, node) {
                Verdict::Unhealthy { words, .. } => words,
                _ if node.ready_since.is_none() => "its pod is not Ready".into(),
                _ if node.is_outdated(&role.hash) => "its pod waits to be restarted".into(),
                // By readiness alone it is well, for too short a while.
                Verdict::Blocked(_) if self.rules.probe == Probing::Optional => {
                    format!("it has not been Ready for {:#} yet", self.stable_for())
                }
                Verdict::Blocked(why) => format!("its health is not known: {why}"),
                Verdict::Unknown => "its health is not known yet".into(),
                Verdict::Healthy { .. } => {
                    format!("it has not been healthy for {:#} yet", self.stable_for())
                }
            };
            Some((node.pod.clone(), words))
        })
    }

    /// Whether what is missing is only that a node can be asked, while all others were well by `deadline`, as far as
    /// anybody saw: that is nobody's failure.
    #[must_use]
    pub fn only_unasked(&self, resource: &ResourceView, deadline: Timestamp) -> bool {
        // Those that wait to be restarted wait for the others.
        let is_ill = |(role, node): &(&RoleView, &NodeView)| {
            !node.waits_for_restart(&role.hash) && !self.is_healthy(resource, role, node)
        };
        let unasked = |(role, node): (&RoleView, &NodeView)| {
            let says_nothing =
                || matches!(self.verdict(resource, role, node), Verdict::Blocked(_) | Verdict::Unknown);
            node.settled_since(&role.hash).is_some() && says_nothing()
        };
        let was_well = |(role, node)| {
            self.well(resource, role, node).is_some_and(|well| well.anchor + self.stable_for() <= deadline)
        };
        let ill = || nodes(resource).filter(is_ill);
        ill().any(unasked) && ill().all(|one| unasked(one) || was_well(one))
    }

    /// Whether some node is on its way: it syncs, and its height rises.
    #[must_use]
    pub fn is_rising(&self, resource: &ResourceView) -> bool {
        nodes(resource).any(|(role, node)| {
            matches!(self.verdict(resource, role, node), Verdict::Unhealthy { rising: true, .. })
        })
    }

    /// Whether a node that is Ready is known to be sick, and not just for a moment. While its chain stood still no node was
    /// sick by that: it counts from when the chain went on, and of who was not asked since nobody knows.
    #[must_use]
    pub fn is_sick(
        &self,
        resource: &ResourceView,
        role: &RoleView,
        node: &NodeView,
        resumed: Option<Timestamp>,
    ) -> bool {
        match self.verdict(resource, role, node) {
            Verdict::Unhealthy { since, .. } => {
                let asked_since = self.last_asked(resource, node) >= resumed;
                let since = resumed.map_or(since, |resumed| since.max(resumed));
                asked_since && self.now.duration_since(since) >= UNAVAILABLE_AFTER
            }
            _ => false,
        }
    }

    /// Whether a node was sick when it last answered, however long ago that is.
    #[must_use]
    pub fn was_sick(
        &self,
        resource: &ResourceView,
        role: &RoleView,
        node: &NodeView,
        resumed: Option<Timestamp>,
    ) -> bool {
        self.last_asked(resource, node).is_some_and(|last| {
            Self { now: last, verdicts: Rc::default(), ..self.clone() }.is_sick(resource, role, node, resumed)
        })
    }

    /// When a node answered last.
    fn last_asked(&self, resource: &ResourceView, node: &NodeView) -> Option<Timestamp> {
        Some(self.of(resource, node)?.samples.back()?.at)
    }

    /// The highest finalised height of its nodes.
    #[must_use]
    pub fn finalized(&self, resource: &ResourceView) -> Option<u64> {
        let last = |node: &NodeView| Some(self.of(resource, node)?.samples.back()?.finalized);
        nodes(resource).filter_map(|(_, node)| last(node)).max()
    }

    /// The version that a node runs: its image's tag, or what it reports where that moves or says nothing.
    #[must_use]
    pub fn running<'a>(&'a self, resource: &ResourceView, node: &'a NodeView) -> Option<&'a str> {
        let tag = node.version.as_deref();
        if tag.is_some_and(|tag| !is_floating(tag)) {
            return tag;
        }
        // What a pod of the same name said before says nothing of one that has not started.
        let said = self.of(resource, node).filter(|health| {
            let last = health.samples.back().map(|sample| sample.at);
            tag.is_some() || node.ready_since.is_some_and(|since| last >= Some(since))
        });
        let reported = said.and_then(NodeHealth::version);
        reported.map(|version| version.split('-').next().unwrap_or(version)).or(tag)
    }
}

/// All nodes of a resource with their roles.
pub fn nodes(resource: &ResourceView) -> impl Iterator<Item = (&RoleView, &NodeView)> {
    resource.roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node)))
}

/// A node that runs what the last step brought must get beyond the height of before.
fn baseline(resource: &ResourceView, node: &NodeView) -> Option<u64> {
    let step = resource.step.as_ref()?;
    step.finalized.filter(|_| node.version.as_ref() == Some(&step.target))
}
