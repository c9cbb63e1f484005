//! The invariants of the design (section 5), checked on every write that the planner decides, against what the fleet's
//! clusters have told to any daemon so far, and with arithmetic of its own: nothing here asks the planner's parts.
//!
//! "Any daemon" is what makes it a test of amnesia: a daemon that has forgotten something is held to it all the same.

mod look;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use self::look::Look;
use self::under_way::restarted_last;
use super::daemon::Daemon;
use super::schedule::DRIFT;
use super::world::{DEADLINE, STABLE, World, apply};
use crate::fleet::{Cluster, ClusterName, Count, Unreachable, Upgrade};
use crate::observed::health::DIP;
use crate::observed::{NodeView, ResourceView, RoleView, Tried};
use crate::polkadot::{Grant, Role, Step, Stretch};
use crate::upgrade::{Action, Place, Write};
use crate::version::{ClientVersion, Order};

/// A bad stretch so much longer than a dip was certainly noted before a daemon ended.
const NOTED: SignedDuration = SignedDuration::from_mins(6);

/// After so long without an answer nobody knows how it was meanwhile.
const GAP: SignedDuration = SignedDuration::from_secs(60);

/// What the clusters have told, with the writes that were decided since taken for made.
#[derive(Default)]
pub(super) struct Ledger {
    told: BTreeMap<Place, ResourceView>,
    /// The same before a write that was decided since was taken for made.
    before: BTreeMap<Place, (Action, ResourceView)>,
    nodes: BTreeMap<(Place, Role, i32), Told>,
    /// Steps that were taken: resource, upgrade, target, attempt.
    given: BTreeSet<(Place, String, String, u32)>,
    fared: BTreeMap<Place, Fared>,
    /// How resources fare as it was noted on them last.
    noted: BTreeMap<Place, Stretch>,
    /// When nobody could last tell that the chain moves: no node that nobody touched was seen well.
    doubt: Option<Timestamp>,
    /// What was broken, with the first decision that did.
    pub(super) broken: BTreeMap<&'static str, String>,
}

/// How a resource has fared, as far as that can have been noted on it.
#[derive(Clone, Copy, Default)]
struct Fared {
    /// When it was last well enough, for long enough, to have been noted as healthy.
    done: Option<Timestamp>,
    /// Since when one of its nodes has been down, or all of them again for too short a while, and somebody was there to note it.
    down: Option<Timestamp>,
}

/// What is known of a node's health.
#[derive(Clone, Copy, Default)]
struct Told {
    ready_since: Option<Timestamp>,
    /// The soak cannot count from before.
    anchor: Option<Timestamp>,
    /// When it was asked last.
    asked: Option<Timestamp>,
    /// Since when it is asked without a gap.
    asked_since: Option<Timestamp>,
    /// Since when this daemon has seen it sick, without a gap.
    sick_since: Option<Timestamp>,
    /// Since when it could have noted that as well.
    notable_since: Option<Timestamp>,
    /// Whether its last answer was of a sick one.
    is_sick: bool,
}

impl Ledger {
    /// Takes down what the daemon was told just now.
    pub(super) fn hear(&mut self, world: &World, daemon: &Daemon) {
        let members: BTreeMap<&ClusterName, &Cluster> =
            world.fleet.clusters.iter().map(|cluster| (&cluster.name, cluster)).collect();
        self.told.retain(|place, _| members.contains_key(&place.0));
        let home = &world.clusters[&world.fleet.home];
        let is_led = home.up && home.lags == 0;
        for (name, truth) in world.clusters.iter().filter(|(_, truth)| truth.up && truth.lags == 0) {
            let Some(cluster) = members.get(name) else { continue };
            for (id, view) in &truth.resources {
                let place = (name.clone(), id.clone());
                let noted = !cluster.paused && !cluster.lost && view.held.is_none();
                for (role, node) in nodes(view) {
                    let is_sick = world.is_sick(&place, role.role, node.ordinal);
                    let told = self.nodes.entry((place.clone(), role.role, node.ordinal)).or_default();
                    // Who cannot be asked is what it said last.
                    let says = (!truth.deaf).then_some(is_sick && world.chain_stands.is_none());
                    told.hear(node, says, noted && is_led, world.now);
                }
                self.fare(&place, view, noted && is_led, world.now);
                self.before.remove(&place);
                self.told.insert(place, view.clone());
            }
        }
        for (place, fared) in &mut self.fared {
            let is_told = world.clusters.get(&place.0).is_some_and(|truth| truth.up && truth.lags == 0);
            if !is_told {
                fared.forget(world.now);
            }
        }
        if !self.is_seen_to_move(world) {
            self.doubt = Some(world.now);
        }
        for action in daemon.under_way() {
            // What somebody else has changed meanwhile refuses it.
            let view = self.told.get_mut(&action.place);
            if let Some(view) = view.filter(|view| view.resource_version == action.resource_version) {
                self.before.insert(action.place.clone(), (action.clone(), view.clone()));
                apply(view, &action.write);
            }
        }
    }

    fn fare(&mut self, place: &Place, view: &ResourceView, noted: bool, now: Timestamp) {
        let done = self.is_done(place, view, STABLE, now);
        let is_down = nodes(view).any(|(_, node)| node.ready_since.is_none());
        let fared = self.fared.entry(place.clone()).or_default();
        if done {
            *fared = Fared { done: Some(now), down: None };
        } else if is_down && noted {
            fared.down.get_or_insert(now);
        } else if !noted {
            fared.forget(now);
        }
    }

    /// Whether a node that nobody touched is asked, and well.
    fn is_seen_to_move(&self, world: &World) -> bool {
        let well = |(place, view): (&Place, &ResourceView)| {
            let truth = world.clusters.get(&place.0);
            let is_asked = truth.is_some_and(|truth| truth.up && truth.lags == 0 && !truth.deaf);
            is_asked
                && !is_touched(view, &world.fleet.upgrades)
                && nodes(view).any(|(role, node)| {
                    let told = self.nodes.get(&(place.clone(), role.role, node.ordinal));
                    node.ready_since.is_some() && told.is_some_and(|told| !told.is_sick)
                })
        };
        world.chain_stands.is_none() && self.told.iter().any(well)
    }

    /// Another daemon looks: how long a node has been sick already, it does not know.
    pub(super) fn another_daemon(&mut self, now: Timestamp) {
        self.fared.values_mut().for_each(|fared| fared.forget(now));
        self.nodes.values_mut().for_each(Told::lose_sight);
    }

    /// Somebody changed an upgrade's target: what was given before may be given again, when the target comes back.
    pub(super) fn another_target(&mut self, upgrade: &str) {
        self.given.retain(|(_, name, ..)| name != upgrade);
    }

    /// A write was refused: what it was decided by is all that is known still.
    pub(super) fn refused(&mut self, action: &Action) {
        if self.before.get(&action.place).is_some_and(|(decided, _)| decided == action)
            && let Some((_, view)) = self.before.remove(&action.place)
        {
            self.told.insert(action.place.clone(), view);
        }
    }

    /// A write took place.
    pub(super) fn made(&mut self, action: &Action) {
        if let Write::Step(step) = &action.write
            && !self.given.insert(key(&action.place, step))
        {
            self.broken.entry("I12: a step was taken twice").or_insert_with(|| format!("{action:?}"));
        }
        if let Write::Health(stretch) = &action.write {
            let before = self.noted.insert(action.place.clone(), stretch.clone());
            let is_same = |before: &Stretch| before.version == stretch.version;
            let ill = before.filter(is_same).and_then(|before| before.ill);
            if stretch.ill.is_some() && ill.is_some() && stretch.ill != ill {
                self.broken.insert("I6: what is not healthy gets more time", format!("{action:?}"));
            }
        }
    }

    /// Checks a decision, and takes it for made.
    pub(super) fn decide(&mut self, action: &Action, world: &World, daemon: &Daemon) {
        let Some(view) = self.told.get(&action.place).cloned() else {
            self.broken.insert("I5: a write to what nobody has seen", format!("{action:?}"));
            return;
        };
        let Some(cluster) = world.fleet.cluster(&action.place.0).cloned() else {
            self.broken.insert("I8: a write to a cluster that has left", format!("{action:?}"));
            return;
        };
        let (place, view, cluster) = (&action.place, &view, &cluster);
        let broken_at = |now| {
            let look = Look { ledger: &*self, world, daemon, place, view, cluster, now };
            match &action.write {
                Write::Step(step) => look.step(step),
                Write::Grant(grant) => look.grant(grant),
                Write::Rollback(step) => look.rollback(step),
                Write::Health(stretch) => look.health(stretch),
                Write::Failed(None) => look.recovered(),
                Write::Failed(Some(_)) | Write::Epoch(_) | Write::Revoke => look.open(),
            }
        };
        let mut broken = broken_at(world.now);
        // Right at one of the moments that it may be is right.
        for now in doubtful_moments(world) {
            if broken.is_empty() {
                break;
            }
            let then = broken_at(now);
            broken.retain(|what| then.contains(what));
        }
        for what in broken {
            self.broken.entry(what).or_insert_with(|| {
                let of_fleet: Vec<String> =
                    self.told.iter().map(|(place, view)| in_words(place, view)).collect();
                format!("at {}: {:?} {:?} in {of_fleet:#?}", world.now, action.place, action.write)
            });
        }
        let role_nodes = |view: &ResourceView, grant: &Grant| {
            view.role(grant.role)
                .is_some_and(|role| role.nodes.iter().any(|node| node.ordinal == grant.ordinal))
        };
        if let Write::Grant(grant) = &action.write
            && !role_nodes(view, grant)
        {
            self.broken.insert("a permission for a pod that is not wanted", format!("{action:?}"));
        }
        if let Some(view) = self.told.get_mut(&action.place) {
            self.before.insert(action.place.clone(), (action.clone(), view.clone()));
            apply(view, &action.write);
        }
    }
}

impl Fared {
    /// Nobody is there to note that it is down; what has lasted was noted already.
    fn forget(&mut self, now: Timestamp) {
        self.down = self.down.filter(|since| now.duration_since(*since) >= NOTED);
    }
}

impl Told {
    /// How it was until now, nobody knows any more.
    fn lose_sight(&mut self) {
        (self.sick_since, self.notable_since, self.asked_since) = (None, None, None);
    }

    fn hear(&mut self, node: &NodeView, says: Option<bool>, noted: bool, now: Timestamp) {
        if self.ready_since != node.ready_since {
            *self = Self { ready_since: node.ready_since, anchor: node.ready_since, ..Self::default() };
        }
        if self.asked.is_some_and(|asked| now.duration_since(asked) > GAP) {
            self.lose_sight();
        }
        let Some(is_sick) = says else { return };
        (self.asked, self.is_sick) = (Some(now), is_sick);
        self.asked_since.get_or_insert(now);
        if node.ready_since.is_none() {
            return;
        }
        if is_sick {
            let since = *self.sick_since.get_or_insert(now);
            self.notable_since = noted.then(|| self.notable_since.unwrap_or(now).max(since));
            return;
        }
        self.sick_since = None;
        let notable = self.notable_since.take().filter(|_| noted);
        if notable.is_some_and(|since| now.duration_since(since) >= DIP + NOTED) {
            self.anchor = Some(now);
        }
    }
}

/// What else may be called now: stamps of a clock that was set meanwhile are wrong by up to so much, against each other twice.
fn doubtful_moments(world: &World) -> impl Iterator<Item = Timestamp> {
    let shifts: &[i64] = if world.was_ahead { &[1, -1, DRIFT, -DRIFT, 2 * DRIFT, -2 * DRIFT] } else { &[] };
    shifts.iter().map(|shift| world.now + SignedDuration::from_secs(*shift))
}

fn key(place: &Place, step: &Step) -> (Place, String, String, u32) {
    (place.clone(), step.upgrade.clone(), step.target.clone(), step.attempt)
}

fn nodes(view: &ResourceView) -> impl Iterator<Item = (&RoleView, &NodeView)> {
    view.roles.iter().flat_map(|role| role.nodes.iter().map(move |node| (role, node)))
}

fn order(one: &str, other: &str) -> Order {
    ClientVersion::parse(one).order(&ClientVersion::parse(other))
}

impl Ledger {
    fn is_well(&self, place: &Place, role: Role, node: &NodeView, seconds: i64, now: Timestamp) -> bool {
        let anchor = self.nodes.get(&(place.clone(), role, node.ordinal)).and_then(|told| told.anchor);
        let anchor = anchor.max(node.ready_since);
        node.ready_since.is_some()
            && anchor.is_some_and(|anchor| anchor + SignedDuration::from_secs(seconds) <= now)
    }

    /// What is noted of a resource that was healthy after its last permitted restart.
    fn through(&self, place: &Place, view: &ResourceView, step: &Step) -> Option<&Stretch> {
        let permitted = restarted_last(view, step);
        self.noted.get(place).filter(|noted| {
            view.client_version.as_ref() == Some(&noted.version) && noted.proven >= Some(permitted)
        })
    }

    /// Whether all of it runs what its spec says, and has been well for so long.
    fn is_done(&self, place: &Place, view: &ResourceView, seconds: i64, now: Timestamp) -> bool {
        nodes(view).all(|(role, node)| {
            !node.is_outdated(&role.hash)
                && node.version == view.client_version
                && self.is_well(place, role.role, node, seconds, now)
        })
    }
}

/// Whether its present target is urgent: no soak, no approval.
fn is_expedited(upgrade: &Upgrade) -> bool {
    upgrade.expedite.as_ref().is_some_and(|urgent| urgent.version == upgrade.client_version)
}

fn has_step(view: &ResourceView, upgrade: &Upgrade) -> bool {
    view.step.as_ref().is_some_and(|step| step.upgrade == upgrade.name)
}

fn in_words((cluster, id): &Place, view: &ResourceView) -> String {
    let nodes: Vec<_> = nodes(view)
        .map(|(role, node)| {
            format!("{} {:?}/{} ready {:?}", node.pod, node.hash, role.hash, node.ready_since)
        })
        .collect();
    let (step, grant) = (&view.step, &view.grant);
    format!("{cluster} {}: {:?} {step:?} {grant:?} {nodes:?}", id.name, view.client_version)
}

/// Whether an upgrade has given it the target that it has now: then it may be that version which fails.
fn is_touched(view: &ResourceView, upgrades: &[Upgrade]) -> bool {
    view.step.as_ref().is_some_and(|step| {
        upgrades.iter().any(|one| one.name == step.upgrade && one.client_version == step.target)
    })
}

/// The trials of the step's version on machines where it is still to come, if it has to be tried.
fn trials(view: &ResourceView) -> impl Iterator<Item = Option<&Tried>> {
    let step = view.step.as_ref().filter(|step| step.prepull && step.rolled_back.is_none());
    let target = step.map(|step| &step.target).filter(|target| view.client_version.as_ref() == Some(*target));
    let to_come = nodes(view).filter(move |(role, node)| {
        node.is_outdated(&role.hash) && target.is_some_and(|target| node.version.as_ref() != Some(target))
    });
    to_come.filter_map(|(_, node)| node.machine.as_ref()).map(|machine| view.prepulls.get(machine))
}

fn trial_failed(view: &ResourceView) -> bool {
    trials(view).any(|tried| matches!(tried, Some(Tried::Failed(_))))
}

fn is_stuck(view: &ResourceView) -> bool {
    nodes(view).any(|(_, node)| node.stuck.is_some())
}
