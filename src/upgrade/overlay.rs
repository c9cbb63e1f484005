//! Our own writes on top of what is seen: what a patch answered stands in for the view until the watch has caught up; what
//! did not answer counts as under way until a fresh read says otherwise. Pure: the writes themselves are `write`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt as _;

use crate::fleet::Fleet;
use crate::home::record::{Announced, Announcements};
use crate::home::{HomeView, NoSteps};
use crate::observed::{Board, ResourceView};
use crate::polkadot::record::{
    EPOCH_ANNOTATION, FAILED_ANNOTATION, GRANT_ANNOTATION, HEALTH_ANNOTATION, STEP_ANNOTATION,
};
use crate::polkadot::{Failed, Grant, Polkadot, Step, Stretch, record};

use super::{Action, Code, Ground, Place, Plan, Unsettled, Write};

/// The writes that the view does not show yet.
#[derive(Default)]
pub struct Overlays(BTreeMap<Place, Overlay>);

struct Overlay {
    /// The version that the write was made on: any other version in the view is a later one.
    from: String,
    /// Whether it sets another version.
    sets_version: bool,
    /// The step that it takes, as home was told.
    step: Option<Announced>,
    answer: Answer,
}

/// What became of a write.
enum Answer {
    /// Not known yet.
    Open,
    /// It was made.
    Written(Box<Written>),
    /// It was refused, because the view was old; a newer one is on its way, or this moment passes.
    Refused(Instant),
}

/// The parts of a resource that our writes change.
struct Written {
    resource_version: String,
    client_version: Option<String>,
    step: Option<Step>,
    grant: Option<Grant>,
    healthy: Option<Stretch>,
    failed: Option<Failed>,
    epoch: i64,
}

impl Overlays {
    /// A write is on its way.
    pub fn begin(&mut self, action: &Action) {
        let sets_version = matches!(action.write, Write::Step(_) | Write::Rollback(_));
        let (from, step) = (action.resource_version.clone(), announced(action));
        let overlay = Overlay { from, sets_version, step, answer: Answer::Open };
        self.0.insert(action.place.clone(), overlay);
    }

    /// What a write answered: the resource as it is now, or nothing where it was refused; then the view is believed again
    /// at the given moment, if no newer one has come by then.
    pub fn finish(&mut self, place: &Place, answer: Option<&Polkadot>, refused_until: Instant) {
        if let Some(overlay) = self.0.get_mut(place) {
            overlay.answer = match answer {
                Some(polkadot) => Answer::Written(Box::new(Written::of(polkadot))),
                None => Answer::Refused(refused_until),
            };
        }
    }

    /// Whether the view shows all writes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Board with the answers of our own writes in it; what the Board shows by itself is forgotten.
    pub fn applied_to(&mut self, seen: &Board, now: Instant) -> Board {
        let mut board = seen.clone();
        self.0.retain(|(cluster, id), overlay| {
            let view = board.clusters.get_mut(cluster);
            let Some(view) = view.filter(|view| {
                view.resources.get(id).is_some_and(|resource| resource.resource_version == overlay.from)
            }) else {
                // A write under way is remembered whatever the view says.
                return matches!(overlay.answer, Answer::Open);
            };
            if let Answer::Refused(until) = &overlay.answer {
                return now < *until;
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

    /// Steps of a plan, and those that may have been taken and are not seen yet; each as it was announced first.
    pub fn to_announce(&self, made: &Plan, known: &Announcements) -> Announcements {
        let under_way = self.0.iter().filter(|(_, overlay)| !matches!(overlay.answer, Answer::Refused(_)));
        let under_way = under_way.filter_map(|(place, overlay)| Some((&place.0, overlay.step.clone()?)));
        let planned = made.actions.iter().filter_map(|action| Some((&action.place.0, announced(action)?)));
        let mut all = Announcements::new();
        for (cluster, step) in under_way.chain(planned) {
            let mut before = known.get(cluster).into_iter().flatten();
            let step = before.find(|known| known.is(&step)).cloned().unwrap_or(step);
            all.entry(cluster.clone()).or_default().push(step);
        }
        all
    }

    fn unsettled(&self) -> Unsettled {
        self.places(|overlay| !matches!(overlay.answer, Answer::Written(_)))
    }

    /// Also what was written and is not in the view yet: the templates in it are those of the version before.
    fn to_be_set(&self) -> Unsettled {
        self.places(|overlay| overlay.sets_version && !matches!(overlay.answer, Answer::Refused(_)))
    }

    fn places(&self, which: impl Fn(&Overlay) -> bool) -> BTreeSet<Place> {
        self.0.iter().filter(|(_, overlay)| which(overlay)).map(|(place, _)| place.clone()).collect()
    }
}

/// What home has to know before a write is made.
pub fn announced(action: &Action) -> Option<Announced> {
    let Write::Step(step) = &action.write else { return None };
    Some(Announced { resource: action.place.1.clone(), uid: action.uid.clone(), step: step.clone() })
}

/// What the plan has to respect, as far as our writes, home and this machine's clock go.
pub fn ground(fleet: &Fleet, home: &HomeView, overlays: &Overlays, clock_has_jumped: bool) -> Ground {
    let unrecorded = fleet.clusters.iter().map(|cluster| &cluster.name);
    let jumped = || clock_has_jumped.then_some(NoSteps::ClockJumped);
    Ground {
        unsettled: overlays.unsettled(),
        to_be_set: overlays.to_be_set(),
        no_steps: home.no_steps.clone().or_else(jumped).map(|why| (code(&why), why.to_string())),
        unrecorded: unrecorded.filter(|name| !home.recorded.contains(name)).cloned().collect(),
        unmarkable: BTreeSet::new(),
        unnotable: BTreeSet::new(),
        epoch: home.epoch,
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

impl Written {
    fn of(polkadot: &Polkadot) -> Self {
        Self {
            resource_version: polkadot.resource_version().unwrap_or_default(),
            client_version: polkadot.spec.client_version.clone(),
            step: record::read(polkadot.annotations(), STEP_ANNOTATION),
            grant: record::read(polkadot.annotations(), GRANT_ANNOTATION),
            healthy: record::read(polkadot.annotations(), HEALTH_ANNOTATION),
            failed: record::read(polkadot.annotations(), FAILED_ANNOTATION),
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
        view.failed.clone_from(&self.failed);
        view.epoch = self.epoch;
    }
}
