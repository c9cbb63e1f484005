//! The daemon of the simulator: what it was told, what it has on its way, and the planner. Killed, it keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;

use super::world::{World, apply};
use crate::fleet::ClusterName;
use crate::home::record::{Announced, Record, Remembered, remembered};
use crate::observed::{Blocked, Board, ClusterState, ClusterView, Healths};
use crate::upgrade::gates::Gate;
use crate::upgrade::overlay::announced;
use crate::upgrade::plan::plan_with;
use crate::upgrade::{Action, Ground, Place, Plan, Write};

/// A write between the daemon and its cluster.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) action: Action,
    /// How many ticks it is still under way.
    ticks: u32,
    /// Its answer does not come back.
    is_lost: bool,
    /// Which daemon sent it.
    sender: u32,
}

/// Home, which outlives every daemon.
#[derive(Default)]
pub(super) struct Home {
    pub(super) records: BTreeMap<ClusterName, Remembered>,
    pub(super) epoch: i64,
}

/// One daemon, and those before it as far as they still have writes under way.
#[derive(Default)]
pub(super) struct Daemon {
    number: u32,
    /// How often it has looked.
    looks: u32,
    board: Board,
    /// Writes whose answer is not known; `true` where it never comes, and the resource has to be read again.
    unsettled: BTreeMap<Place, bool>,
    /// Those of them that may set another version.
    to_be_set: BTreeSet<Place>,
    /// Steps of ours, as home was told of them.
    announced: BTreeMap<Place, Announced>,
    air: Vec<Request>,
    /// How long writes take from now on, in ticks.
    pub(super) latency: u32,
    /// The answers to the next writes do not come back.
    pub(super) loses_answers: bool,
}

impl Daemon {
    /// Another one takes its place, which knows nothing but what is in the clusters and in home. What was under way may
    /// still arrive, up to so many ticks later.
    pub(super) fn replaced(&mut self, home: &mut Home, late: u32) {
        home.epoch += 1;
        let mut air = std::mem::take(&mut self.air);
        for request in &mut air {
            request.ticks += late;
        }
        *self = Self { number: self.number + 1, air, ..Self::default() };
    }

    /// What the watches and probes bring.
    pub(super) fn observe(&mut self, world: &World) {
        self.looks += 1;
        let members: Vec<&ClusterName> = world.fleet.clusters.iter().map(|cluster| &cluster.name).collect();
        self.board.clusters.retain(|name, _| members.contains(&name));
        for name in members {
            let truth = &world.clusters[name];
            let view = self.board.clusters.entry(name.clone()).or_insert_with(|| {
                Arc::new(ClusterView {
                    state: ClusterState::Connecting,
                    seen: false,
                    remembered: false,
                    concern: None,
                    resources: BTreeMap::new(),
                    health: Healths::default(),
                })
            });
            let view = Arc::make_mut(view);
            if !truth.up {
                view.state = ClusterState::Unreachable("refused".into());
                continue;
            }
            if truth.lags > 0 {
                continue;
            }
            (view.state, view.seen) = (ClusterState::Ready, true);
            let resources = truth.resources.iter().map(|(id, one)| (id.clone(), Arc::new(one.clone())));
            view.resources = resources.collect();
            let health = Arc::make_mut(&mut view.health);
            for (id, one) in &truth.resources {
                let place = (name.clone(), id.clone());
                for role in &one.roles {
                    for node in &role.nodes {
                        let known = health.entry((id.namespace.clone(), node.pod.clone())).or_default();
                        let blocked = Blocked { at: world.shown(), why: "refused".into() };
                        let answer = world.sample(&place, role.role, node).filter(|_| !truth.deaf);
                        let answer = answer.ok_or(blocked);
                        Arc::make_mut(known).note(answer, SignedDuration::from_mins(1));
                    }
                }
            }
            let is_air = |place: &Place| self.air.iter().any(|request| request.action.place == *place);
            self.unsettled.retain(|place, unknown| place.0 != *name || !*unknown || is_air(place));
        }
    }

    /// Whether it has looked often enough to see that a chain stands still.
    pub(super) fn has_looked(&self) -> bool {
        self.looks > 20
    }

    /// Whether a cluster is Ready, as far as it knows.
    pub(super) fn is_ready(&self, name: &ClusterName) -> bool {
        self.board.clusters.get(name).is_some_and(|view| view.state == ClusterState::Ready)
    }

    /// Whether it has tried to reach a cluster in vain.
    pub(super) fn cannot_reach(&self, name: &ClusterName) -> bool {
        let view = self.board.clusters.get(name);
        view.is_some_and(|view| matches!(view.state, ClusterState::Unreachable(_)))
    }

    /// Its own writes that have not arrived yet.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Action> {
        self.air.iter().filter(|request| request.sender == self.number).map(|request| &request.action)
    }

    /// Plans, after home has been told what is seen.
    pub(super) fn plan(&self, gates: &[Gate], world: &World, home: &mut Home) -> Plan {
        let home_is_up = self.is_ready(&world.fleet.home);
        let ready = self.board.clusters.iter().filter(|(_, view)| view.state == ClusterState::Ready);
        let mut unrecorded = vec![];
        for (name, view) in ready {
            let agrees = home.records.get(name).is_some_and(|known| known.record.agrees_with(view));
            if agrees {
                continue;
            }
            if home_is_up {
                let known = home.records.get(name).map(|known| Arc::clone(&known.record));
                let wanted = self.announced_in(name);
                let record = Arc::new(Record::of(view, known.as_deref(), &wanted, world.shown()));
                home.records.insert(name.clone(), Remembered { version: String::new(), record });
            } else {
                unrecorded.push(name.clone());
            }
        }
        let ground = Ground {
            unsettled: self.unsettled.keys().cloned().collect(),
            to_be_set: self
                .to_be_set
                .iter()
                .filter(|one| self.unsettled.contains_key(one))
                .cloned()
                .collect(),
            unrecorded: unrecorded.into_iter().collect(),
            epoch: home.epoch,
            ..Ground::default()
        };
        let board = remembered(&self.board, &world.fleet, &home.records);
        let plan = plan_with(gates, &world.fleet, &board, &ground, world.shown());
        for action in &plan.actions {
            self.announce(action, world, home);
        }
        plan
    }

    /// Steps of ours in a cluster that are not seen yet.
    fn announced_in(&self, name: &ClusterName) -> Vec<Announced> {
        let ours = self.announced.iter().filter(|(place, _)| place.0 == *name);
        ours.filter(|(place, _)| self.unsettled.contains_key(place)).map(|(_, one)| one.clone()).collect()
    }

    /// Home knows of a step before it is taken.
    fn announce(&self, action: &Action, world: &World, home: &mut Home) {
        let name = &action.place.0;
        let (Some(step), Some(view)) = (announced(action), self.board.clusters.get(name)) else { return };
        let wanted: Vec<_> = self.announced_in(name).into_iter().chain([step]).collect();
        let known = home.records.get(name).map(|known| Arc::clone(&known.record));
        let record = Arc::new(Record::of(view, known.as_deref(), &wanted, world.shown()));
        home.records.insert(name.clone(), Remembered { version: String::new(), record });
    }

    /// Sends one write.
    pub(super) fn send(&mut self, action: &Action) {
        self.announced.remove(&action.place);
        self.announced.extend(announced(action).map(|step| (action.place.clone(), step)));
        self.unsettled.insert(action.place.clone(), false);
        if matches!(action.write, Write::Step(_) | Write::Rollback(_)) {
            self.to_be_set.insert(action.place.clone());
        } else {
            self.to_be_set.remove(&action.place);
        }
        let (ticks, is_lost, sender) = (self.latency, self.loses_answers, self.number);
        self.air.push(Request { action: action.clone(), ticks, is_lost, sender });
    }

    /// Writes arrive, and are answered; returns what was made, with whether it was, and by whom.
    pub(super) fn deliver(&mut self, world: &mut World) -> Vec<(Action, bool)> {
        let mut done = vec![];
        for mut request in std::mem::take(&mut self.air) {
            if request.ticks > 0 {
                request.ticks -= 1;
                self.air.push(request);
                continue;
            }
            let place = &request.action.place;
            let is_up = world.clusters.get(&place.0).is_some_and(|truth| truth.up);
            let applies = world.view(place).is_some_and(|view| {
                is_up
                    && view.uid == request.action.uid
                    && view.resource_version == request.action.resource_version
            });
            if applies {
                world.edit(place, |view| apply(view, &request.action.write));
            }
            done.push((request.action.clone(), applies));
            if request.sender != self.number {
                continue;
            }
            if request.is_lost || !is_up {
                self.unsettled.insert(place.clone(), true);
            } else {
                self.unsettled.remove(place);
                if applies {
                    self.stand_in(place, &request.action.write, world);
                }
            }
        }
        done
    }

    /// The answer stands in for the view until the watch has caught up.
    fn stand_in(&mut self, place: &Place, write: &Write, world: &World) {
        let Some(version) = world.view(place).map(|view| view.resource_version.clone()) else { return };
        if let Some(view) = self.board.clusters.get_mut(&place.0)
            && let Some(resource) = Arc::make_mut(view).resources.get_mut(&place.1)
        {
            let resource = Arc::make_mut(resource);
            apply(resource, write);
            resource.resource_version = version;
        }
    }
}
