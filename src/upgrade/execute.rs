//! Carries the plan out: one patch per action, in its cluster, on condition that nothing has changed since.
//!
//! What a patch answered stands in for the view until the watch has caught up; what did not answer counts as under
//! way until a fresh read says otherwise. No cluster's slowness holds up another: every write is a task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::cluster::Clients;
use crate::fleet::{ClusterName, Fleet};
use crate::home::{self, HomeView, NoSteps};
use crate::leader::fence::fenced;
use crate::leader::{Hold, PLANNER_LEASE};
use crate::observed::{Board, ResourceView};
use crate::polkadot::record::{EPOCH_ANNOTATION, GRANT_ANNOTATION, HEALTH_ANNOTATION, STEP_ANNOTATION};
use crate::polkadot::{Grant, Polkadot, Step, Stretch, record};

use super::{Action, Code, Ground, Place, Plan, Unsettled, Wait, Write, plan, write};

/// The plan is made again at least this often, whatever the timers say.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A resource that refuses to be marked so often is left out.
const MARK_TRIES: u32 = 10;
/// After a refused write the view is on its way; without one, it is tried again after this time.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Plans and acts until stopped; every plan is published.
pub async fn run(
    (mut fleet, mut board, mut home): Inputs,
    reach: Reach,
    clock: Clock,
    plans: watch::Sender<Arc<Plan>>,
    stop: CancellationToken,
) {
    let mut executor = Executor {
        reach,
        clock: clock.clone(),
        refused_marks: BTreeMap::new(),
        told: BTreeMap::new(),
        overlays: BTreeMap::new(),
        writes: JoinSet::new(),
        stop: stop.clone(),
    };
    loop {
        let (current, seen) = (fleet.borrow_and_update().clone(), board.borrow_and_update().clone());
        let known = home.borrow_and_update().clone();
        let now = clock.now();
        let current = known.control.applied_to(&current);
        let raw = Arc::clone(&seen);
        let seen = executor.overlay(&home::record::remembered(&seen, &current, &known.records));
        let made = plan(&current, &seen, &executor.ground(&current, &seen, &known), now);
        // The records may be of a Board that is older than this one; then a newer one is on its way. A mark restarts
        // nothing, and needs none.
        let written_down = |action: &&Action| {
            let (cluster, record) = (&action.place.0, known.records.get(&action.place.0));
            let both = raw.clusters.get(cluster).zip(record);
            matches!(action.write, Write::Epoch(_))
                || both.is_some_and(|(view, known)| known.record.agrees_with(view))
        };
        for action in made.actions.iter().filter(written_down) {
            executor.start(action);
        }
        announce(&plans.borrow(), &made);
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

/// What stands in for a resource's view until the watch has caught up.
struct Overlay {
    /// The version that the write was made on: any other version in the view is a later one.
    from: String,
    /// Whether it sets another version.
    sets_version: bool,
    /// What became of it.
    answer: Answer,
}

/// What became of a write.
enum Answer {
    /// Not known yet.
    Open,
    /// It was made.
    Written(Box<Written>),
    /// It was refused, because the view was old; a newer one is on its way, or this moment passes.
    Refused(tokio::time::Instant),
}

/// The parts of a resource that our writes change.
struct Written {
    resource_version: String,
    client_version: Option<String>,
    step: Option<Step>,
    grant: Option<Grant>,
    healthy: Option<Stretch>,
    epoch: i64,
}

struct Executor {
    reach: Reach,
    clock: Clock,
    /// How often a resource refused to be marked, and at which version: changed, it may be tried again.
    refused_marks: BTreeMap<Place, (String, u32)>,
    /// Resources whose reason to wait needs a person, and was told.
    told: BTreeMap<Place, Code>,
    overlays: BTreeMap<Place, Overlay>,
    writes: JoinSet<Option<(Action, Option<Polkadot>)>>,
    stop: CancellationToken,
}

impl Executor {
    /// The Board with the answers of our own writes in it.
    fn overlay(&mut self, seen: &Board) -> Board {
        let mut board = seen.clone();
        self.overlays.retain(|(cluster, id), overlay| {
            let view = board.clusters.get_mut(cluster);
            let Some(view) = view.filter(|view| {
                view.resources.get(id).is_some_and(|resource| resource.resource_version == overlay.from)
            }) else {
                // A write under way is remembered whatever the view says.
                return matches!(overlay.answer, Answer::Open);
            };
            if let Answer::Refused(until) = &overlay.answer {
                return tokio::time::Instant::now() < *until;
            }
            if let Answer::Written(written) = &overlay.answer {
                Arc::make_mut(view)
                    .resources
                    .entry(id.clone())
                    .and_modify(|resource| written.stand_in(resource));
            }
            true
        });
        board
    }

    /// What the plan has to respect.
    fn ground(&self, fleet: &Fleet, board: &Board, home: &HomeView) -> Ground {
        let unrecorded = fleet.clusters.iter().map(|cluster| &cluster.name);
        let unrecorded = unrecorded.filter(|name| !home.recorded.contains(name)).cloned().collect();
        let jumped = || self.clock.has_jumped().then_some(NoSteps::ClockJumped);
        let no_steps = home.no_steps.clone().or_else(jumped).map(|why| (code(&why), why.to_string()));
        let version = |(cluster, id): &Place| {
            let resource = board.clusters.get(cluster)?.resources.get(id)?;
            Some(resource.resource_version.as_str())
        };
        let refused = self.refused_marks.iter().filter(|(place, (refused, times))| {
            *times >= MARK_TRIES && version(place) == Some(refused.as_str())
        });
        let unmarkable = refused.map(|(place, _)| place.clone()).collect();
        // Also what was written and is not in the view yet: the templates in it are those of the version before.
        let sets = |overlay: &Overlay| overlay.sets_version && !matches!(overlay.answer, Answer::Refused(_));
        let to_be_set = self.overlays.iter().filter(|(_, overlay)| sets(overlay));
        let to_be_set = to_be_set.map(|(place, _)| place.clone()).collect();
        Ground { unsettled: self.unsettled(), to_be_set, no_steps, unrecorded, unmarkable, epoch: home.epoch }
    }

    fn unsettled(&self) -> Unsettled {
        let open = self.overlays.iter().filter(|(_, overlay)| !matches!(overlay.answer, Answer::Written(_)));
        open.map(|(place, _)| place.clone()).collect()
    }

    fn start(&mut self, action: &Action) {
        if self.reach.client(&action.place.0).is_none() {
            return;
        }
        let sets_version = matches!(action.write, Write::Step(_) | Write::Rollback(_));
        let overlay = Overlay { from: action.resource_version.clone(), sets_version, answer: Answer::Open };
        self.overlays.insert(action.place.clone(), overlay);
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

    /// One resource that cannot be marked must not stop the fleet.
    fn note_mark(&mut self, Action { place, resource_version, write, .. }: &Action, well: bool) {
        if !matches!(write, Write::Epoch(_)) {
            return;
        }
        if well {
            self.refused_marks.remove(place);
            return;
        }
        let (version, times) = self.refused_marks.entry(place.clone()).or_default();
        if version != resource_version {
            (*version, *times) = (resource_version.clone(), 0);
        }
        *times += 1;
        if *times == MARK_TRIES {
            warn!(
                cluster = %place.0, resource = %place.1,
                "The resource cannot be marked with the daemon that leads now; it gets no steps, all others do. Does a \
                 webhook refuse patches, or is it not valid by the CRD? Try kubectl annotate."
            );
        }
    }

    fn finish(&mut self, written: Option<(Action, Option<Polkadot>)>) {
        let Some((action, answer)) = written else { return };
        self.note_mark(&action, answer.is_some());
        if let Some(overlay) = self.overlays.get_mut(&action.place) {
            overlay.answer = match answer {
                Some(polkadot) => Answer::Written(Box::new(Written::of(&polkadot))),
                None => Answer::Refused(tokio::time::Instant::now() + AFTER_REFUSAL),
            };
        }
    }
}

impl Written {
    fn of(polkadot: &Polkadot) -> Self {
        Self {
            resource_version: polkadot.resource_version().unwrap_or_default(),
            client_version: polkadot.spec.client_version.clone(),
            step: record::read(polkadot.annotations(), STEP_ANNOTATION),
            grant: record::read(polkadot.annotations(), GRANT_ANNOTATION),
            healthy: record::read(polkadot.annotations(), HEALTH_ANNOTATION),
            epoch: record::read(polkadot.annotations(), EPOCH_ANNOTATION).unwrap_or(0),
        }
    }

    /// Puts the write into a view that is older than it. The pods in it are those of before: whoever asks whether
    /// they run the new version is told no.
    fn stand_in(&self, view: &mut Arc<ResourceView>) {
        let view = Arc::make_mut(view);
        view.resource_version.clone_from(&self.resource_version);
        view.client_version.clone_from(&self.client_version);
        if view.step != self.step {
            // Those were of an earlier attempt.
            view.prepulls.clear();
        }
        view.step.clone_from(&self.step);
        view.grant.clone_from(&self.grant);
        view.healthy.clone_from(&self.healthy);
        view.epoch = self.epoch;
    }
}

fn code(why: &NoSteps) -> Code {
    match why {
        NoSteps::Unseen(_) => Code::HomeUnreachable,
        NoSteps::Standby(_) => Code::Standby,
        NoSteps::TakingOver => Code::TakingOver,
        NoSteps::ClockSkew(_) | NoSteps::ClockUnknown(_) | NoSteps::ClockJumped => Code::ClockSkew,
    }
}

/// One line per change of an upgrade's progress.
fn announce(before: &Plan, now: &Plan) {
    for progress in &now.progress {
        let known = before.progress.iter().find(|known| known.upgrade == progress.upgrade);
        if known == Some(progress) {
            continue;
        }
        let known_halt = known.and_then(|known| known.halted.as_ref());
        if let Some(why) = progress.halted.as_ref().filter(|why| known_halt != Some(why)) {
            warn!(upgrade = progress.upgrade, why, "The upgrade is halted.");
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
