//! Random fleets, and what happens to them at random while they are being upgraded: plain data. One simulator plays it for
//! the planner alone, another for the whole daemon; `types` is where each of them finds the types.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::types::{Expedite, Kind, Tried, Upgrade};

/// The version that everything runs at first.
pub const FIRST: u32 = 6;
/// A clock is wrong by no more than so many seconds.
pub const DRIFT: i64 = 15;
pub fn version(patch: u32) -> String {
    format!("stable2503-{patch}")
}

/// The shape of a random fleet.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a coin that is tossed for itself.
pub struct Shape {
    /// For every cluster its stage and its resources: the kind and how many sentries.
    pub clusters: Vec<(usize, Vec<(Kind, u8)>)>,
    /// For every stage: width, soak in seconds, whether it needs approval.
    pub stages: Vec<(u32, i64, bool)>,
    pub nodes: u32,
    pub budget: u32,
    pub max_failures: u32,
    pub skip: bool,
    /// How long a restarted pod takes to become Ready, by turns, in seconds.
    pub delays: Vec<i64>,
    /// Two upgrades side by side instead of one.
    pub two: bool,
    /// Whether a version is tried before a pod restarts for it.
    pub prepull: bool,
    /// Whether a stage without a resource that has soaked passes.
    pub optional: bool,
    /// Whether widths are shares of their stage: a third of it for each.
    pub percent: bool,
    /// Whether the daemon's clock is set now and then: then nothing can be said to the second.
    pub clocks: bool,
}

/// What goes wrong with the pods that restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NeverReady,
    NoImage,
    FinalisesNothing,
}

/// A fleet, and what happens to it: each event after so many seconds.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub shape: Shape,
    pub events: Vec<(i64, Event)>,
}

/// One thing that happens; numbers choose who it happens to.
#[derive(Clone, Debug)]
pub enum Event {
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
pub enum ClusterEvent {
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
pub enum UpgradeEvent {
    Pause(bool),
    Retarget,
    Backwards,
    Attempt,
    Approve(u16),
    /// Its present target is urgent, or is not any more.
    Expedite(bool),
}

#[derive(Clone, Debug)]
pub enum ResourceEvent {
    /// `GitOps` sets the version of before.
    Revert,
    Edit,
    Hold(bool),
    /// Its worker cannot make it so.
    Trouble(bool),
    Ephemeral,
}

impl UpgradeEvent {
    /// What becomes of the upgrade in the fleet file.
    pub fn happens_to(&self, upgrade: &mut Upgrade) {
        let patch: u32 = upgrade.client_version.rsplit('-').next().unwrap().parse().unwrap();
        match self {
            Self::Pause(paused) => upgrade.paused = *paused,
            Self::Retarget => upgrade.client_version = version(patch + 1),
            Self::Backwards => upgrade.client_version = version((patch - 1).max(FIRST - 1)),
            Self::Attempt => upgrade.attempt += 1,
            Self::Expedite(is_urgent) => {
                let (version, reason) = (upgrade.client_version.clone(), "a hole".to_owned());
                upgrade.expedite = is_urgent.then_some(Expedite { version, reason });
            }
            Self::Approve(stage) => {
                let (target, count) = (upgrade.client_version.clone(), upgrade.stages.len());
                upgrade.stages[usize::from(*stage) % count].approved_version = Some(target);
            }
        }
    }
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
pub fn schedules(steps: usize) -> impl Strategy<Value = Schedule> {
    let seconds = prop_oneof![20 => 5..60_i64, 1 => 60..1200_i64];
    let events = prop::collection::vec((seconds, events()), steps..steps + 50);
    (shapes(), events).prop_map(|(shape, events)| Schedule { shape, events })
}

/// The schedule of a seed: always the same one.
pub fn schedule(seed: u64, steps: usize) -> Schedule {
    let bytes: [u8; 32] = std::array::from_fn(|index| seed.to_le_bytes()[index % 8]);
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    schedules(steps).new_tree(&mut runner).unwrap().current()
}

/// Leaves out as many events as possible, half of them first, such that it still fails.
pub fn shrunk(mut schedule: Schedule, mut fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let mut chunk = schedule.events.len() / 2;
    while chunk > 0 {
        let mut from = 0;
        while from < schedule.events.len() {
            let mut less = schedule.clone();
            less.events.drain(from..(from + chunk).min(schedule.events.len()));
            if fails(&less) { schedule = less } else { from += chunk }
        }
        chunk /= 2;
    }
    schedule
}
