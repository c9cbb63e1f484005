//! Carries the plan out: one patch per action, in its cluster, on condition that nothing has changed since.
//!
//! What was written stands in for the view until the watch has caught up, see [`super::overlay`]. No cluster's slowness
//! holds up another: every write is a task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::cluster::Clients;
use crate::fleet::{ClusterName, Fleet};
use crate::home::record::{Announcements, Outcome, Outcomes, Record};
use crate::home::said::{Standings, Stands};
use crate::home::{self, HomeView};
use crate::leader::fence::fenced;
use crate::leader::{Hold, PLANNER_LEASE};
use crate::observed::Board;
use crate::polkadot::Polkadot;

use super::overlay::{self, Overlays};
use super::refused::{Refused, Went};
use super::{Action, Code, Ground, Place, Plan, Progress, Wait, Write, plan, progress, write};

/// The plan is made again at least this often, whatever the timers say.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// After a refused write the view is on its way; without one, it is tried again after this time.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Plans and acts until stopped; every plan is published.
pub async fn run(
    (mut fleet, mut board, mut home): Inputs,
    reach: Reach,
    clock: Clock,
    (plans, announcing, standings): Outputs,
    stop: CancellationToken,
) {
    let mut executor = Executor {
        reach,
        clock: clock.clone(),
        refused: Refused::default(),
        progress: vec![],
        told: BTreeMap::new(),
        overlays: Overlays::default(),
        writes: JoinSet::new(),
        stop: stop.clone(),
    };
    loop {
        let (current, seen) = (fleet.borrow_and_update().clone(), board.borrow_and_update().clone());
        let known = home.borrow_and_update().clone();
        let now = clock.now();
        let current = known.control.applied_to(&current);
        let raw = Arc::clone(&seen);
        let seen = home::record::remembered(&seen, &current, &known.records);
        let seen = executor.overlays.applied_to(&seen, Instant::now().into_std());
        let ground = Ground {
            unmarkable: executor.refused.unmarkable(&seen),
            unnotable: executor.refused.unnotable(&seen, Instant::now().into_std()),
            ..overlay::ground(&current, &known, &executor.overlays, clock.has_jumped())
        };
        let mut made = plan(&current, &seen, &ground, now);
        executor.announce(&made, &announcing);
        let told = |action: &&Action| is_told(action, &raw, &known, &announcing.borrow());
        let (ready, untold): (Vec<_>, Vec<_>) = made.actions.iter().partition(told);
        for action in ready {
            executor.start(action);
        }
        let waits: Vec<Wait> = untold.into_iter().map(until_told).collect();
        made.waits.extend(waits);
        // A standby sees less than who leads: what that one says counts.
        if !matches!(ground.no_steps, Some((Code::Standby, _))) {
            tell_progress(&executor.progress, &made);
            executor.progress.clone_from(&made.progress);
        }
        let all = standings_of(&made, &seen);
        standings.send_if_modified(|known| std::mem::replace(known, all.clone()) != all);
        executor.tell_waits(&made);
        let longest = if executor.overlays.is_empty() { LONGEST_SLEEP } else { AFTER_REFUSAL };
        let wake = made.wake;
        let due = async {
            match wake {
                Some(wake) => clock.sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        plans.send_replace(Arc::new(made));
        tokio::select! {
            () = stop.cancelled() => break,
            changed = fleet.changed() => if changed.is_err() { break },
            changed = board.changed() => if changed.is_err() { break },
            changed = home.changed() => if changed.is_err() { break },
            Some(written) = executor.writes.join_next() => executor.finish(written.ok().flatten()),
            () = due => {}
            () = tokio::time::sleep(longest) => {}
        }
    }
    // Each is bounded; what has begun is not cut off half-way.
    while executor.writes.join_next().await.is_some() {}
}

/// What the plan is made from: the fleet, what is seen of it, and what home says.
pub type Inputs = (watch::Receiver<Arc<Fleet>>, watch::Receiver<Arc<Board>>, watch::Receiver<Arc<HomeView>>);

/// Every plan, the steps in it (home knows of a step before it is taken, so that a daemon that starts while the step's
/// cluster is away counts it), and where the upgrades stand.
pub type Outputs = (watch::Sender<Arc<Plan>>, watch::Sender<Arc<Announcements>>, watch::Sender<Standings>);

/// The way to the clusters, as long as we lead.
#[derive(Clone)]
pub struct Reach {
    /// The members' clients.
    pub clients: Clients,
    /// The planner's Lease: without it no write passes.
    pub hold: Hold,
}

impl Reach {
    pub(super) fn client(&self, cluster: &ClusterName) -> Option<Client> {
        let client = self.clients.get(cluster).map(|lent| lent.client.clone())?;
        Some(fenced(client, &self.hold, PLANNER_LEASE))
    }
}

struct Executor {
    reach: Reach,
    clock: Clock,
    refused: Refused,
    /// How far the upgrades were when that was told last.
    progress: Vec<Progress>,
    /// Resources whose reason to wait needs a person, and was told.
    told: BTreeMap<Place, Code>,
    overlays: Overlays,
    writes: JoinSet<Option<(Action, Result<Polkadot, Went>)>>,
    stop: CancellationToken,
}

impl Executor {
    /// Steps that are wanted now, and those that are on their way.
    fn announce(&self, made: &Plan, announcing: &watch::Sender<Arc<Announcements>>) {
        announcing.send_if_modified(|known| {
            let all = self.overlays.to_announce(made, known);
            let is_news = **known != all;
            *known = Arc::new(all);
            is_news
        });
    }

    fn start(&mut self, action: &Action) {
        if self.reach.client(&action.place.0).is_none() {
            return;
        }
        self.overlays.begin(action);
        let action = action.clone();
        let (reach, clock, stop) = (self.reach.clone(), self.clock.clone(), self.stop.clone());
        self.writes.spawn(async move {
            let written = write::write(&action, &reach, clock.now(), &stop).await;
            Some((action, written))
        });
    }

    /// An event on every resource that waits for a person, once for each reason.
    fn tell_waits(&mut self, made: &Plan) {
        let theirs = |wait: &&Wait| wait.code.needs_a_person();
        let waits: BTreeMap<&Place, &Wait> =
            made.waits.iter().filter(theirs).map(|wait| (&wait.place, wait)).collect();
        let hidden: BTreeSet<&Place> =
            made.waits.iter().filter(|wait| wait.code.is_passing()).map(|wait| &wait.place).collect();
        self.told.retain(|place, code| {
            hidden.contains(place) || waits.get(place).is_some_and(|wait| wait.code == *code)
        });
        for (place, wait) in waits {
            if self.reach.hold.is_held() && self.told.insert(place.clone(), wait.code).is_none() {
                let (wait, reach, now) = (wait.clone(), self.reach.clone(), self.clock.now());
                self.writes.spawn(async move {
                    write::tell_wait(&wait, &reach, now).await;
                    None
                });
            }
        }
    }

    fn finish(&mut self, written: Option<(Action, Result<Polkadot, Went>)>) {
        let Some((action, answer)) = written else { return };
        let (now, went) = (Instant::now(), answer.as_ref().map_or_else(|why| *why, |_| Went::Made));
        if let Some(words) = self.refused.note(&action, went, now.into_std()) {
            warn!(cluster = %action.place.0, resource = %action.place.1, "{words}");
        }
        self.overlays.finish(&action.place, answer.as_ref().ok(), (now + AFTER_REFUSAL).into_std());
    }
}

/// Whether home knows all that it has to before a write: what runs there, and that this very step is about to be taken. The
/// records may be of a Board that is older than this one; then a newer one is on its way. A mark restarts nothing, and needs
/// none.
pub(super) fn is_told(action: &Action, board: &Board, home: &HomeView, announced: &Announcements) -> bool {
    let cluster = &action.place.0;
    let both = board.clusters.get(cluster).zip(home.records.get(cluster));
    // An announcement of an earlier daemon may be on its way out of the record.
    let is_announced = |record: &Record| {
        overlay::announced(action).is_none_or(|step| {
            let ours = announced.get(cluster).into_iter().flatten().find(|ours| ours.is(&step));
            ours.is_some_and(|ours| record.announced.contains(ours))
        })
    };
    matches!(action.write, Write::Epoch(_))
        || both.is_some_and(|(view, known)| known.record.agrees_with(view) && is_announced(&known.record))
}

fn until_told(action: &Action) -> Wait {
    let words = format!("home is being told of it first, in the record of cluster {}", action.place.0);
    Wait { place: action.place.clone(), code: Code::RecordPending, words, until: None }
}

pub(super) fn standings_of(made: &Plan, board: &Board) -> Standings {
    let all = made.progress.iter().map(|progress| {
        let (target, attempt) = (progress.target.clone(), progress.attempt);
        (progress.upgrade.clone(), Stands { target, attempt, words: progress::in_words(progress) })
    });
    let is_told = |wait: &&Wait| {
        wait.code.needs_a_person() || matches!(wait.code, Code::ChainStalled | Code::ProbeBlocked)
    };
    // A chain that stands still holds up many, in the same words; all else is about one resource.
    let told = |wait: &Wait| match wait.code {
        Code::ChainStalled => wait.words.clone(),
        _ => format!("{} {}: {}", wait.place.0, wait.place.1, wait.words),
    };
    let waits: BTreeSet<String> = made.waits.iter().filter(is_told).map(told).collect();
    let mut outcomes = Outcomes::new();
    for ((cluster, id), failure) in &made.outcomes {
        let view = board.clusters.get(cluster).and_then(|view| view.resources.get(id));
        if let Some(step) = view.and_then(|view| view.step.clone()) {
            let outcome = Outcome { step, failure: failure.clone() };
            outcomes.entry(cluster.clone()).or_default().insert(id.clone(), outcome);
        }
    }
    Standings { upgrades: all.collect(), waits: waits.into_iter().collect(), outcomes }
}

/// One line per change of an upgrade's progress.
fn tell_progress(told: &[Progress], now: &Plan) {
    for progress in &now.progress {
        let known = told.iter().find(|known| known.upgrade == progress.upgrade);
        let known_halt = known.and_then(|known| known.halted.as_ref());
        if let Some(why) = progress.halted.as_ref().filter(|why| known_halt != Some(why)) {
            warn!(upgrade = progress.upgrade, why, "The upgrade is halted.");
        }
        if known.is_some_and(|known| (&known.target, &known.stages) == (&progress.target, &progress.stages)) {
            continue;
        }
        let stages: Vec<_> = progress
            .stages
            .iter()
            .map(|one| format!("{} {}, {} of {} healthy", one.stage, one.state, one.healthy, one.total))
            .collect();
        info!(
            upgrade = progress.upgrade,
            target = progress.target,
            stages = stages.join("; "),
            "Upgrade progress."
        );
    }
}
