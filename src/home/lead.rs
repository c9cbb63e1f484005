//! Who plans: holds the planner's Lease in home, keeps the records there, and says what the planner may do.
//!
//! Home is a cluster like any other and may be away: then nothing new is planned, the workers go on, and this begins
//! again when its worker has a client.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use crate::clock::Clock;
use crate::cluster::Clients;
use crate::cluster::limits::Limits;
use crate::cluster::trouble::in_words;
use crate::fleet::{ClusterName, Fleet};
use crate::leader::keep::{Keeping, keep};
use crate::leader::lease::Wish;
use crate::leader::{Hold, PLANNER_LEASE, State};
use crate::observed::Board;

use super::agreement::Agreement;
use super::followed::differences;
use super::kept::Kept;
use super::record::Announcements;
use super::recording::Records;
use super::said::{Beside, Said, Standings};
use super::skew::{Skew, follow_clock, no_steps_by_clock};
use super::{HomeView, NoSteps};

/// What leading needs.
pub struct Lead {
    /// The fleet, as it changes.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// What the workers see.
    pub board: watch::Receiver<Arc<Board>>,
    /// Steps that are about to be taken.
    pub announced: watch::Receiver<Arc<Announcements>>,
    /// Where the upgrades stand.
    pub standings: watch::Receiver<Standings>,
    /// What is refused of the files that are followed.
    pub refused: watch::Receiver<Vec<String>>,
    /// The members' clients.
    pub clients: Clients,
    /// Fleet time; it is corrected by home's.
    pub clock: Clock,
    /// Who we are.
    pub me: String,
    /// The planner's Lease, as far as we have it.
    pub hold: Hold,
    /// How often home is asked for its time, and how much shorter a Lease counts than the fleet file says.
    pub limits: Limits,
    /// Whether we follow the same as the daemon that leads.
    pub agreement: Agreement,
    /// Cancelled when the daemon begins to end: home's worker goes then, and its Lease is held on to until `stop`.
    pub ending: CancellationToken,
}

impl Lead {
    /// Leads, or stands by, until `stop`; then lets the Lease go. `views` gets what the planner needs to know, `wishes`
    /// what the workers want with the Leases of their clusters.
    pub async fn run(
        mut self,
        views: watch::Sender<Arc<HomeView>>,
        wishes: watch::Sender<Wish>,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let name = self.fleet.borrow_and_update().home.clone();
            let found = self.clients.get(&name).map(|lent| (lent.session, lent.unfenced.clone()));
            let Some((session, client)) = found else {
                if self.ending.is_cancelled() {
                    // That is no news.
                    return stop.cancelled().await;
                }
                let unseen = views.borrow().without_steps("it is not connected");
                publish(&views, &wishes, (unseen, Wish::Have));
                tokio::select! {
                    () = stop.cancelled() => {}
                    Ok(()) = self.board.changed() => {}
                    Ok(()) = self.fleet.changed() => {}
                }
                continue;
            };
            let span = info_span!(target: "polkafleet::log", "home", name = %name);
            self.session(&name, session, client, (&views, &wishes), &stop).instrument(span).await;
        }
    }

    /// Keeps the Lease until `let_go`. Returns what is said in it, and where what another one says in it is heard.
    fn keeps(
        &self,
        client: Client,
        (namespace, duration): (&str, Duration),
        let_go: CancellationToken,
    ) -> (JoinHandle<()>, watch::Sender<String>, watch::Receiver<Option<String>>) {
        let says = watch::Sender::new(self.said(None).written());
        let (tell, heard) = watch::channel(None);
        let keeping = Keeping {
            namespace: namespace.to_owned(),
            name: PLANNER_LEASE,
            me: self.me.clone(),
            duration,
            words: |error| in_words(error, "the home cluster"),
            says: Some(says.subscribe()),
            hears: Some(tell),
        };
        let wants = watch::Sender::new(Wish::Have);
        let keeper = keep(client, keeping, self.hold.clone(), wants.subscribe(), let_go);
        // Nobody wishes anything else, to the end.
        let keeper = async move {
            keeper.await;
            drop(wants);
        };
        (tokio::spawn(keeper.in_current_span()), says, heard)
    }

    /// What there is to say in the Lease.
    fn said(&self, no_steps: Option<&NoSteps>) -> Said {
        let (standings, refused) = (self.standings.borrow(), self.refused.borrow());
        let no_steps = no_steps.map(ToString::to_string);
        let beside = Beside { no_steps, standings: Some(&standings), refused: &refused };
        Said::now(&self.me, &self.fleet.borrow(), &self.board.borrow(), &beside)
    }

    /// As long as home is that cluster, with that client.
    async fn session(
        &mut self,
        name: &ClusterName,
        session: u64,
        client: Client,
        (views, wishes): (&watch::Sender<Arc<HomeView>>, &watch::Sender<Wish>),
        stop: &CancellationToken,
    ) {
        let (namespace, duration) = {
            let fleet = self.fleet.borrow();
            (fleet.home_namespace.clone(), fleet.lease.unsigned_abs() / self.limits.lease_divisor)
        };
        let let_go = stop.child_token();
        let (keeper, says, mut heard) = self.keeps(client.clone(), (&namespace, duration), let_go.clone());
        let rings = Notify::new();
        let kept = Arc::new(Kept::new(client.clone(), &namespace));
        let mut watching = std::pin::pin!(kept.watch(&rings));
        let mut records = Records::default();
        let (skews, mut skew) = watch::channel(Err("it was not asked yet".to_owned()));
        let mut following_clock =
            std::pin::pin!(follow_clock(&client, &self.clock, self.limits.clock_look, &skews));
        let mut held = self.hold.follow();
        loop {
            let current = self.fleet.borrow_and_update().clone();
            let same = self.ending.is_cancelled()
                || self.clients.get(name).is_some_and(|lent| lent.session == session);
            let moved = current.home != *name
                || current.home_namespace != namespace
                || current.lease.unsigned_abs() / self.limits.lease_divisor != duration;
            if moved || !same || stop.is_cancelled() {
                break;
            }
            held.mark_unchanged();
            let state = self.hold.state();
            let seen = self.board.borrow_and_update().clone();
            let recorded = records.compare(&kept, &current, &seen);
            let (view, again) = if kept.is_filled() {
                view(&kept, recorded, &state, (&skew.borrow_and_update(), self.limits.on_its_way()))
            } else {
                (views.borrow().without_steps("its records are being read"), None)
            };
            let keeps = matches!(state, State::Ours(_)) && kept.is_filled();
            if keeps {
                let wanted = self.announced.borrow_and_update().clone();
                let outcomes = self.standings.borrow().outcomes.clone();
                records.keep(&kept, (&current, &seen, &view), (&wanted, &outcomes), self.clock.now());
            }
            // Before the Lease is ours it is not for us to say why nothing happens.
            let why = view.no_steps.as_ref().filter(|_| matches!(state, State::Ours(_)));
            self.standings.mark_unchanged();
            self.refused.mark_unchanged();
            say(&says, &self.said(why));
            publish(views, wishes, (view, wish(&state)));
            let theirs = (&state, &mut heard);
            let unlike = told_unlike(&mut self.agreement, theirs, &current, self.limits.edit_spread);
            // Where nothing is tried, what has come due must not wake us.
            let due = records.next_try().filter(|_| keeps);
            let again = again.into_iter().chain(due).chain(unlike).min();
            tokio::select! {
                () = stop.cancelled() => {}
                () = &mut watching => {}
                () = &mut following_clock => {}
                () = rings.notified() => {}
                _ = held.changed() => {}
                Ok(()) = heard.changed() => {}
                Ok(()) = self.board.changed() => {}
                Ok(()) = self.fleet.changed() => {}
                Ok(()) = self.announced.changed() => {}
                Ok(()) = self.standings.changed() => {}
                Ok(()) = self.refused.changed() => {}
                Some(written) = records.writes.join_next() => records.finish(written.ok()),
                () = until(again) => {}
                _ = skew.changed() => {}
            }
        }
        records.end().await;
        let_go.cancel();
        let _ = keeper.await;
    }
}

/// Tells how what the daemon that leads says that it follows differs from the fleet here, if another one leads. Returns when to
/// look again.
fn told_unlike(
    agreement: &mut Agreement,
    (state, heard): (&State, &mut watch::Receiver<Option<String>>),
    fleet: &Fleet,
    patience: Duration,
) -> Option<Instant> {
    let differs = match state {
        State::Ours(_) => Some(vec![]),
        // What stands in a Lease may still be an earlier holder's.
        State::Others(other) => heard
            .borrow_and_update()
            .as_deref()
            .and_then(Said::read)
            .filter(|said| said.by == *other)
            .map(|said| differences(&said.follows, fleet)),
        State::Unknown | State::Failed(_) => None,
    };
    if let Some(all) = differs {
        let words = Some(all.join("; ")).filter(|words| !words.is_empty());
        if let Some(what) = agreement.hear(words, patience, Instant::now().into_std()) {
            warn!(
                what,
                "This daemon stands by, and its upgrades are others than those of the one that leads; if it took over, it would go \
                 by its own. Give both the same fleet file, and see whether one of them refuses it."
            );
        }
    }
    agreement.next(patience).map(Instant::from_std)
}

/// What the workers want with the Leases of their clusters.
fn wish(state: &State) -> Wish {
    match state {
        State::Ours(_) => Wish::Insist,
        State::Others(_) => Wish::Yield,
        State::Unknown | State::Failed(_) => Wish::Have,
    }
}

/// What the planner needs to know, and when to look again although nothing happens.
fn view(
    kept: &Kept,
    recorded: BTreeSet<ClusterName>,
    state: &State,
    (skew, on_its_way): (&Skew, Duration),
) -> (HomeView, Option<Instant>) {
    let (records, control) = (kept.records(), kept.control());
    let mut view = HomeView { records, recorded, control, ..HomeView::default() };
    let mut again = None;
    view.no_steps = match state {
        State::Unknown => Some(NoSteps::Unseen("its Lease is not ours yet".into())),
        State::Failed(why) => Some(NoSteps::Unseen(why.clone())),
        State::Others(other) => Some(NoSteps::Standby(other.clone())),
        State::Ours(ours) => {
            view.epoch = ours.epoch;
            // So long it may have taken the one before us to notice, and so long its last request may be under way.
            let settled = ours.since + ours.patience + on_its_way;
            if ours.from_silent && Instant::now() < settled {
                again = Some(settled);
                Some(NoSteps::TakingOver)
            } else {
                no_steps_by_clock(skew)
            }
        }
    };
    (view, again)
}

fn publish(
    views: &watch::Sender<Arc<HomeView>>,
    wishes: &watch::Sender<Wish>,
    (view, wish): (HomeView, Wish),
) {
    views.send_if_modified(|known| {
        if **known == view {
            return false;
        }
        if known.control != view.control {
            info!("What people decided at the command line has changed; polkafleet status shows it.");
        }
        if known.no_steps != view.no_steps {
            if let Some(why) = &view.no_steps {
                info!(%why, "No steps are taken.");
            } else {
                info!(epoch = view.epoch, "This daemon leads: steps are taken.");
            }
        }
        *known = Arc::new(view);
        true
    });
    wishes.send_if_modified(|known| std::mem::replace(known, wish) != wish);
}

/// Says something in the Lease: at once where another file is followed, for decisions are about that; the rest when the Lease
/// is renewed next, so that members that come and go cost home no requests.
fn say(says: &watch::Sender<String>, said: &Said) {
    let words = said.written();
    says.send_if_modified(|known| {
        if *known == words {
            return false;
        }
        let follows = Said::read(known).map(|known| known.follows);
        *known = words;
        follows.as_ref() != Some(&said.follows)
    });
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
