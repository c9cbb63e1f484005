//! What happens to a fleet while it is being upgraded, at random.

use proptest::prelude::*;

use super::Simulation;
use super::world::{DRIFT, FIRST, Fault, Shape, version};
use crate::fleet::Expedite;
use crate::observed::Tried;
use crate::polkadot::{Kind, Role};
use crate::upgrade::Place;

/// A fleet, and what happens to it: each event after so many seconds.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) shape: Shape,
    pub(super) events: Vec<(i64, Event)>,
}

/// One thing that happens; numbers choose who it happens to.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Nothing,
    /// A node finalises nothing from now on, or again.
    Sicken(u16, bool),
    /// A node's process ends and comes back, or does not.
    Crash(u16, bool),
    /// The next restart goes wrong.
    Fault(Fault),
    /// The next trial of a version ends so.
    Trial(Tried),
    /// Everything that is wrong with nodes is mended.
    Mend,
    Cluster(u16, ClusterEvent),
    Upgrade(u16, UpgradeEvent),
    /// Somebody edits a resource.
    Resource(u16, ResourceEvent),
    /// A cluster joins a stage.
    Join(u16),
    /// The chain stands still, or goes on.
    Chain(bool),
    /// The daemon is killed and another begins; what was under way arrives so many ticks later.
    Kill(u32),
    /// Writes take so long from now on.
    Latency(u32),
    LoseAnswers(bool),
    /// The daemon's clock is so many seconds ahead from now on.
    Clock(i64),
}

#[derive(Clone, Debug)]
pub(super) enum ClusterEvent {
    Down,
    Up,
    Lag(u32),
    Pause(bool),
    Lost(bool),
    /// Its API server does not reach the pods.
    Deaf(bool),
    Leave,
}

#[derive(Clone, Debug)]
pub(super) enum UpgradeEvent {
    Pause(bool),
    Retarget,
    Backwards,
    Attempt,
    Approve(u16),
    /// Its present target is urgent, or is not any more.
    Expedite(bool),
}

#[derive(Clone, Debug)]
pub(super) enum ResourceEvent {
    /// `GitOps` sets the version of before.
    Revert,
    Edit,
    Hold(bool),
    /// Its worker cannot make it so.
    Trouble(bool),
    Ephemeral,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let kind = prop_oneof![Just(Kind::Sentry), Just(Kind::Validator), Just(Kind::SentryAndValidator)];
    let sentries = prop_oneof![12 => 1..3_u8, 1 => 3..7_u8];
    let cluster = (0..3_usize, prop::collection::vec((kind, sentries), 1..4));
    let clusters = prop_oneof![
        480 => prop::collection::vec(cluster.clone(), 1..6),
        40 => prop::collection::vec(cluster.clone(), 6..24),
        1 => prop::collection::vec(cluster, 24..200),
    ];
    let soak = prop_oneof![Just(0_i64), Just(300), Just(900)];
    let stages = prop::collection::vec((1..3_u32, soak, prop::bool::weighted(0.2)), 1..4);
    (
        clusters,
        stages,
        1..3_u32,
        1..3_u32,
        0..3_u32,
        any::<bool>(),
        prop::collection::vec(5..240_i64, 1..6),
        any::<bool>(),
        (any::<bool>(), prop::bool::weighted(0.2), any::<bool>(), prop::bool::weighted(0.3)),
    )
        .prop_map(|(mut clusters, stages, nodes, budget, max_failures, skip, delays, two, rest)| {
            let (prepull, clocks, optional, percent) = rest;
            // Hundreds of clusters one by one would take a day of the fleet's time, and minutes of ours.
            let share = u32::try_from(clusters.len() / 8).unwrap();
            let (stages, budget) = (wider(stages, share), u32::max(budget, share));
            for (stage, _) in &mut clusters {
                *stage %= stages.len();
            }
            clusters[0].0 = 0;
            Shape {
                clusters,
                stages,
                nodes,
                budget,
                max_failures,
                skip,
                delays,
                two,
                prepull,
                optional,
                percent,
                clocks,
            }
        })
}

fn wider(stages: Vec<(u32, i64, bool)>, width: u32) -> Vec<(u32, i64, bool)> {
    stages.into_iter().map(|(own, soak, approval)| (own.max(width), soak, approval)).collect()
}

fn events() -> impl Strategy<Value = Event> {
    let cluster = prop_oneof![
        4 => Just(ClusterEvent::Down),
        6 => Just(ClusterEvent::Up),
        3 => (1..4_u32).prop_map(ClusterEvent::Lag),
        2 => any::<bool>().prop_map(ClusterEvent::Pause),
        2 => any::<bool>().prop_map(ClusterEvent::Lost),
        2 => prop::bool::weighted(0.3).prop_map(ClusterEvent::Deaf),
        1 => Just(ClusterEvent::Leave),
    ];
    let upgrade = prop_oneof![
        2 => any::<bool>().prop_map(UpgradeEvent::Pause),
        2 => Just(UpgradeEvent::Retarget),
        1 => Just(UpgradeEvent::Backwards),
        2 => Just(UpgradeEvent::Attempt),
        6 => any::<u16>().prop_map(UpgradeEvent::Approve),
        1 => any::<bool>().prop_map(UpgradeEvent::Expedite),
    ];
    let resource = prop_oneof![
        2 => Just(ResourceEvent::Revert),
        3 => Just(ResourceEvent::Edit),
        2 => any::<bool>().prop_map(ResourceEvent::Hold),
        2 => prop::bool::weighted(0.4).prop_map(ResourceEvent::Trouble),
        1 => Just(ResourceEvent::Ephemeral),
    ];
    let fault = prop_oneof![Just(Fault::NeverReady), Just(Fault::NoImage), Just(Fault::FinalisesNothing)];
    prop_oneof![
        60 => Just(Event::Nothing),
        4 => (any::<u16>(), any::<bool>()).prop_map(|(who, sick)| Event::Sicken(who, sick)),
        3 => (any::<u16>(), any::<bool>()).prop_map(|(who, back)| Event::Crash(who, back)),
        2 => fault.prop_map(Event::Fault),
        4 => prop_oneof![Just(Tried::Failed("no image".into())), Just(Tried::Unable("a quota".into()))]
            .prop_map(Event::Trial),
        3 => Just(Event::Mend),
        6 => (any::<u16>(), cluster).prop_map(|(who, what)| Event::Cluster(who, what)),
        4 => (any::<u16>(), upgrade).prop_map(|(who, what)| Event::Upgrade(who, what)),
        3 => (any::<u16>(), resource).prop_map(|(who, what)| Event::Resource(who, what)),
        1 => any::<u16>().prop_map(Event::Join),
        1 => any::<bool>().prop_map(Event::Chain),
        3 => (0..4_u32).prop_map(Event::Kill),
        2 => (0..3_u32).prop_map(Event::Latency),
        2 => any::<bool>().prop_map(Event::LoseAnswers),
        2 => (-DRIFT..=DRIFT).prop_map(Event::Clock),
    ]
}

/// Schedules of so many steps, and some more.
pub(super) fn schedules(steps: usize) -> impl Strategy<Value = Schedule> {
    let seconds = prop_oneof![20 => 5..60_i64, 1 => 60..1200_i64];
    let events = prop::collection::vec((seconds, events()), steps..steps + 50);
    (shapes(), events).prop_map(|(shape, events)| Schedule { shape, events })
}

impl Simulation {
    pub(super) fn happens(&mut self, event: &Event) {
        match event {
            Event::Nothing => {}
            Event::Sicken(who, sick) => {
                if let Some((place, role, ordinal)) = self.node(*who) {
                    self.world.sicken(&place, role, ordinal, *sick);
                }
            }
            Event::Crash(who, back) => {
                if let Some((place, role, ordinal)) = self.node(*who) {
                    self.world.crash(&place, role, ordinal, back.then_some(90));
                }
            }
            Event::Fault(fault) => self.world.faults.push(*fault),
            Event::Trial(tried) => self.world.trials.push(tried.clone()),
            Event::Mend => self.world.mend(),
            Event::Cluster(who, what) => self.cluster(*who, what),
            Event::Upgrade(who, what) => self.upgrade(*who, what),
            Event::Resource(who, what) => self.resource(*who, what),
            Event::Join(who) => {
                let stages = self.world.fleet.upgrades[0].stages.len();
                self.world.join(usize::from(*who) % stages, &[(Kind::Validator, 1), (Kind::Sentry, 1)]);
            }
            Event::Chain(stands) => {
                if *stands {
                    let now = self.world.now;
                    self.world.chain_stands.get_or_insert(now);
                } else {
                    self.world.chain_goes_on();
                }
            }
            Event::Kill(late) => self.replace_daemon(*late),
            Event::Latency(ticks) => self.daemon.latency = *ticks,
            Event::Clock(ahead) => self.world.set_clock(*ahead),
            Event::LoseAnswers(lost) => self.daemon.loses_answers = *lost,
        }
    }

    fn place(&self, who: u16) -> Option<Place> {
        let places = self.world.places();
        places.get(usize::from(who) % places.len().max(1)).cloned()
    }

    fn node(&self, who: u16) -> Option<(Place, Role, i32)> {
        let place = self.place(who)?;
        let view = self.world.view(&place)?;
        let nodes: Vec<(Role, i32)> = view
            .roles
            .iter()
            .flat_map(|role| role.nodes.iter().map(|node| (role.role, node.ordinal)))
            .collect();
        let (role, ordinal) = nodes[usize::from(who / 7) % nodes.len()];
        Some((place, role, ordinal))
    }

    fn cluster(&mut self, who: u16, what: &ClusterEvent) {
        let count = self.world.fleet.clusters.len();
        let index = usize::from(who) % count;
        let name = self.world.fleet.clusters[index].name.clone();
        let Some(truth) = self.world.clusters.get_mut(&name) else { return };
        match what {
            ClusterEvent::Down => truth.up = false,
            ClusterEvent::Up => truth.up = true,
            ClusterEvent::Lag(ticks) => truth.lags = *ticks,
            ClusterEvent::Deaf(deaf) => truth.deaf = *deaf,
            ClusterEvent::Pause(paused) => self.world.fleet.clusters[index].paused = *paused,
            ClusterEvent::Lost(lost) => self.world.fleet.clusters[index].lost = *lost,
            // Home cannot leave.
            ClusterEvent::Leave if index > 0 && count > 2 => {
                self.world.fleet.clusters.remove(index);
                self.world.clusters.remove(&name);
            }
            ClusterEvent::Leave => {}
        }
    }

    fn upgrade(&mut self, who: u16, what: &UpgradeEvent) {
        let count = self.world.fleet.upgrades.len();
        let upgrade = &mut self.world.fleet.upgrades[usize::from(who) % count];
        if matches!(what, UpgradeEvent::Retarget | UpgradeEvent::Backwards) {
            self.ledger.another_target(&upgrade.name);
        }
        let patch = |version: &str| version.rsplit('-').next().and_then(|patch| patch.parse::<u32>().ok());
        match what {
            UpgradeEvent::Pause(paused) => upgrade.paused = *paused,
            UpgradeEvent::Retarget => {
                let next = patch(&upgrade.client_version).unwrap_or(FIRST) + 1;
                upgrade.client_version = version(next);
            }
            UpgradeEvent::Backwards => {
                let before = patch(&upgrade.client_version).unwrap_or(FIRST) - 1;
                upgrade.client_version = version(before.max(FIRST - 1));
            }
            UpgradeEvent::Attempt => upgrade.attempt += 1,
            UpgradeEvent::Expedite(is_urgent) => {
                let (version, reason) = (upgrade.client_version.clone(), "a hole".to_owned());
                upgrade.expedite = is_urgent.then_some(Expedite { version, reason });
            }
            UpgradeEvent::Approve(stage) => {
                let (target, count) = (upgrade.client_version.clone(), upgrade.stages.len());
                upgrade.stages[usize::from(*stage) % count].approved_version = Some(target);
            }
        }
    }

    fn resource(&mut self, who: u16, what: &ResourceEvent) {
        let Some(place) = self.place(who) else { return };
        match what {
            ResourceEvent::Revert => self.world.edit(&place, |view| {
                let previous = view.step.as_ref().and_then(|step| step.previous.clone());
                if let Some(previous) = previous {
                    view.client_version = Some(previous);
                }
            }),
            ResourceEvent::Edit => self.world.edit_template(&place),
            ResourceEvent::Hold(held) => {
                self.world.edit(&place, |view| view.held = held.then(|| "for a test".into()));
            }
            ResourceEvent::Trouble(trouble) => {
                self.world.edit(&place, |view| view.trouble = trouble.then(|| "a name is taken".into()));
            }
            ResourceEvent::Ephemeral => self.world.edit(&place, |view| {
                view.keystore_kept = !view.kind.has(Role::Validator);
            }),
        }
    }
}
