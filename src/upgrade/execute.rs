//! Carries the plan out: one patch per action, in its cluster, on condition that nothing has changed since.
//!
//! What a patch answered stands in for the view until the watch has caught up; what did not answer counts as under
//! way until a fresh read says otherwise. No cluster's slowness holds up another: every write is a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, info, info_span, warn};

use crate::clock::Clock;
use crate::cluster::Clients;
use crate::fleet::{ClusterName, Fleet};
use crate::home::{self, HomeView, NoSteps};
use crate::identity::masked;
use crate::leader::fence::{fenced, is_not_held};
use crate::leader::{Hold, PLANNER_LEASE};
use crate::observed::{Board, ResourceView};
use crate::polkadot::record::{EPOCH_ANNOTATION, GRANT_ANNOTATION, STEP_ANNOTATION, TRACEPARENT_ANNOTATION};
use crate::polkadot::{FIELD_MANAGER, Grant, Polkadot, Step, record};
use crate::reconcile::REQUEST_BOUND;
use crate::telemetry::traces;

use super::{Action, Code, Ground, Place, Plan, Unsettled, Write, plan};

/// The plan is made again at least this often, whatever the timers say.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// After a write without an answer, the resource is read again at this pace.
const REREAD_PAUSE: Duration = Duration::from_secs(2);
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
    let mut executor =
        Executor { reach, overlays: BTreeMap::new(), writes: JoinSet::new(), stop: stop.clone() };
    loop {
        let (current, seen) = (fleet.borrow_and_update().clone(), board.borrow_and_update().clone());
        let known = home.borrow_and_update().clone();
        let now = clock.now();
        let current = known.control.applied_to(&current);
        let seen = executor.overlay(&home::record::remembered(&seen, &current, &known.records));
        let made = plan(&current, &seen, &executor.ground(&current, &known), now);
        for action in &made.actions {
            executor.start(action);
        }
        announce(&plans.borrow(), &made);
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
            Some(written) = executor.writes.join_next() => executor.finish(written.ok()),
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
    fn client(&self, cluster: &ClusterName) -> Option<Client> {
        let client = self.clients.get(cluster).map(|lent| lent.client.clone())?;
        Some(fenced(client, &self.hold, PLANNER_LEASE))
    }
}

/// What stands in for a resource's view until the watch has caught up.
struct Overlay {
    /// The version that the write was made on: any other version in the view is a later one.
    from: String,
    /// What became of it.
    answer: Answer,
}

/// What became of a write.
enum Answer {
    /// Not known yet.
    Open,
    /// It was made.
    Written(Written),
    /// It was refused, because the view was old; a newer one is on its way, or this moment passes.
    Refused(tokio::time::Instant),
}

/// The parts of a resource that our writes change.
struct Written {
    resource_version: String,
    client_version: Option<String>,
    step: Option<Step>,
    grant: Option<Grant>,
    epoch: i64,
}

struct Executor {
    reach: Reach,
    overlays: BTreeMap<Place, Overlay>,
    writes: JoinSet<(Place, Option<Polkadot>)>,
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
    fn ground(&self, fleet: &Fleet, home: &HomeView) -> Ground {
        let unrecorded = fleet.clusters.iter().map(|cluster| &cluster.name);
        let unrecorded = unrecorded.filter(|name| !home.recorded.contains(name)).cloned().collect();
        let no_steps = home.no_steps.as_ref().map(|why| (code(why), why.to_string()));
        Ground { unsettled: self.unsettled(), no_steps, unrecorded, epoch: home.epoch }
    }

    fn unsettled(&self) -> Unsettled {
        let open = self.overlays.iter().filter(|(_, overlay)| !matches!(overlay.answer, Answer::Written(_)));
        open.map(|(place, _)| place.clone()).collect()
    }

    fn start(&mut self, action: &Action) {
        if self.reach.client(&action.place.0).is_none() {
            return;
        }
        let overlay = Overlay { from: action.resource_version.clone(), answer: Answer::Open };
        self.overlays.insert(action.place.clone(), overlay);
        let action = action.clone();
        let (reach, stop) = (self.reach.clone(), self.stop.clone());
        self.writes.spawn(async move {
            let written = write(&action, &reach, &stop).await;
            (action.place, written)
        });
    }

    fn finish(&mut self, written: Option<(Place, Option<Polkadot>)>) {
        let Some((place, answer)) = written else { return };
        if let Some(overlay) = self.overlays.get_mut(&place) {
            overlay.answer = match answer {
                Some(polkadot) => Answer::Written(Written::of(&polkadot)),
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
            epoch: record::read(polkadot.annotations(), EPOCH_ANNOTATION).unwrap_or(0),
        }
    }

    /// Puts the write into a view that is older than it. The pods in it are those of before: whoever asks whether
    /// they run the new version is told no.
    fn stand_in(&self, view: &mut Arc<ResourceView>) {
        let view = Arc::make_mut(view);
        view.resource_version.clone_from(&self.resource_version);
        view.client_version.clone_from(&self.client_version);
        view.step.clone_from(&self.step);
        view.grant.clone_from(&self.grant);
        view.epoch = self.epoch;
    }
}

/// Makes one write; `None` where it did not take place. Returns only when it is known whether it did.
async fn write(action: &Action, reach: &Reach, stop: &CancellationToken) -> Option<Polkadot> {
    let span = span(action);
    async {
        let (cluster, id) = &action.place;
        let api: Api<Polkadot> = Api::namespaced(reach.client(cluster)?, &id.namespace);
        let patch = Patch::Merge(patch(action, traces::traceparent(&Span::current())));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        match tokio::time::timeout(REQUEST_BOUND, api.patch(&id.name, &params, &patch)).await {
            Ok(Ok(polkadot)) => {
                say(action);
                Some(polkadot)
            }
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
                let why = masked(&status.message);
                debug!(%cluster, resource = %id, why, "A write was refused; it is planned anew.");
                None
            }
            Ok(Err(error)) if is_not_held(&error) => {
                debug!(%cluster, resource = %id, "A write was not sent: the Lease is not ours.");
                None
            }
            unanswered => {
                let why = unanswered.map_or("no answer".into(), |answer| {
                    answer.err().map(|error| masked(&error.to_string())).unwrap_or_default()
                });
                warn!(%cluster, resource = %id, why, "It is not known whether a step took place; reading it again.");
                settle(action, reach, stop).await
            }
        }
    }
    .instrument(span)
    .await
}

/// Reads until the server answers: the write's own time is over by then, so what is read is what it came to. The
/// client is asked for anew each time: the cluster may come back under another address.
async fn settle(action: &Action, reach: &Reach, stop: &CancellationToken) -> Option<Polkadot> {
    let (cluster, id) = &action.place;
    loop {
        tokio::select! {
            () = tokio::time::sleep(REREAD_PAUSE) => {}
            // The next daemon reads what came of it.
            () = stop.cancelled() => return None,
        }
        let Some(client) = reach.client(cluster) else { continue };
        let api: Api<Polkadot> = Api::namespaced(client, &id.namespace);
        match tokio::time::timeout(REQUEST_BOUND, api.get_opt(&id.name)).await {
            Ok(Ok(Some(found))) if found.resource_version().as_ref() != Some(&action.resource_version) => {
                return Some(found);
            }
            Ok(Ok(_)) => return None,
            // Forbidden, or gone with its cluster: the next plan sees it from there.
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => return None,
            _ => {}
        }
    }
}

fn code(why: &NoSteps) -> Code {
    match why {
        NoSteps::Unseen(_) => Code::HomeUnreachable,
        NoSteps::Standby(_) => Code::Standby,
        NoSteps::TakingOver => Code::TakingOver,
        NoSteps::ClockSkew(_) => Code::ClockSkew,
    }
}

fn patch(action: &Action, traceparent: Option<String>) -> Value {
    let mut annotations = json!({});
    let mut patch = json!({"metadata": {"uid": action.uid, "resourceVersion": action.resource_version}});
    match &action.write {
        Write::Step(step) => {
            annotations[STEP_ANNOTATION] = json!(serde_json::to_string(step).unwrap_or_default());
            patch["spec"] = json!({"clientVersion": step.target});
            if let Some(traceparent) = traceparent {
                annotations[TRACEPARENT_ANNOTATION] = json!(traceparent);
            }
        }
        Write::Grant(grant) => {
            annotations[GRANT_ANNOTATION] = json!(serde_json::to_string(grant).unwrap_or_default());
        }
        Write::Epoch(epoch) => annotations[EPOCH_ANNOTATION] = json!(epoch.to_string()),
        Write::Revoke => annotations[GRANT_ANNOTATION] = Value::Null,
    }
    patch["metadata"]["annotations"] = annotations;
    patch
}

fn span(action: &Action) -> Span {
    let (cluster, id) = &action.place;
    match &action.write {
        Write::Step(step) => {
            let span = info_span!(
                parent: None,
                "upgrade step",
                k8s.cluster.name = %cluster,
                k8s.namespace.name = id.namespace,
                polkadot.name = id.name,
                upgrade.name = step.upgrade,
                upgrade.target = step.target,
                upgrade.attempt = step.attempt,
            );
            traces::export_upgrade_root(&step.upgrade, &step.target, step.attempt);
            traces::under_upgrade(&span, &step.upgrade, &step.target, step.attempt);
            span
        }
        Write::Grant(grant) => info_span!(
            parent: None,
            "grant roll",
            k8s.cluster.name = %cluster,
            k8s.namespace.name = id.namespace,
            polkadot.name = id.name,
            role = %grant.role,
            ordinal = grant.ordinal,
        ),
        Write::Epoch(_) => {
            info_span!(parent: None, "mark epoch", k8s.cluster.name = %cluster, polkadot.name = id.name)
        }
        Write::Revoke => {
            info_span!(parent: None, "revoke roll", k8s.cluster.name = %cluster, polkadot.name = id.name)
        }
    }
}

fn say(action: &Action) {
    let (cluster, id) = &action.place;
    match &action.write {
        Write::Step(step) => {
            let from = step.previous.as_deref().unwrap_or("none");
            info!(%cluster, resource = %id, upgrade = step.upgrade, from, to = step.target, "Took an upgrade step.");
        }
        Write::Grant(grant) => {
            info!(%cluster, resource = %id, role = %grant.role, ordinal = grant.ordinal, "Allowed a pod to restart.");
        }
        Write::Epoch(epoch) => {
            debug!(%cluster, resource = %id, epoch, "Marked with the planner that writes now.")
        }
        Write::Revoke => info!(%cluster, resource = %id, "Took back an unused permission to restart."),
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
            .map(|stage| format!("{} {:?} {}/{}", stage.stage, stage.state, stage.healthy, stage.total))
            .collect();
        info!(
            upgrade = progress.upgrade,
            target = progress.target,
            stages = stages.join(", "),
            "Upgrade progress."
        );
    }
}
