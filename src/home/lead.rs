//! Who plans: holds the planner's Lease in home, keeps the records there, and says what the planner may do.
//!
//! Home is a cluster like any other and may be away: then nothing new is planned, the workers go on, and this begins
//! again when its worker has a client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::clock::Clock;
use crate::cluster::Clients;
use crate::cluster::limits::Limits;
use crate::cluster::trouble::in_words;
use crate::fleet::{ClusterName, Fleet};
use crate::leader::keep::{Keeping, keep};
use crate::leader::lease::Wish;
use crate::leader::{Hold, PLANNER_LEASE, State};
use crate::observed::{Board, ClusterState, ClusterView};

use super::followed;
use super::kept::Kept;
use super::{HomeView, NoSteps};

/// What home may take to say its time, or to take a record.
const CLOCK_BOUND: Duration = Duration::from_secs(5);
/// An answer that took no longer says what time it is.
const QUICK: Duration = Duration::from_secs(2);
/// A larger difference stops the steps: soaks and deadlines would be measured wrongly.
const LARGEST_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// A record that could not be written is tried again after this time.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What leading needs.
pub struct Lead {
    /// The fleet, as it changes.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// What the workers see.
    pub board: watch::Receiver<Arc<Board>>,
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

    fn keeping(&self, namespace: &str, duration: Duration, says: &watch::Sender<String>) -> Keeping {
        Keeping {
            namespace: namespace.to_owned(),
            name: PLANNER_LEASE,
            me: self.me.clone(),
            duration,
            words: |error| in_words(error, "the home cluster"),
            says: Some(says.subscribe()),
        }
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
        let says = watch::Sender::new(followed::written(&self.me, &self.fleet.borrow()));
        let keeping = self.keeping(&namespace, duration, &says);
        let let_go = stop.child_token();
        let wants = watch::Sender::new(Wish::Have);
        let keeper = keep(client.clone(), keeping, self.hold.clone(), wants.subscribe(), let_go.clone());
        let keeper = tokio::spawn(keeper.in_current_span());
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
            say(&says, followed::written(&self.me, &current));
            held.mark_unchanged();
            let state = self.hold.state();
            let seen = self.board.borrow_and_update().clone();
            let recorded = records.compare(&kept, &current, &seen);
            let (view, again) = if kept.is_filled() {
                view(&kept, recorded, &state, &skew.borrow_and_update())
            } else {
                (views.borrow().without_steps("its records are being read"), None)
            };
            if matches!(state, State::Ours(_)) && kept.is_filled() {
                records.keep(&kept, &current, &seen, &view, &self.clock);
            }
            let wish = match state {
                State::Ours(_) => Wish::Insist,
                State::Others(_) => Wish::Yield,
                State::Unknown | State::Failed(_) => Wish::Have,
            };
            publish(views, wishes, (view, wish));
            let again = again.into_iter().chain(records.retry).min();
            tokio::select! {
                () = stop.cancelled() => {}
                () = &mut watching => {}
                () = &mut following_clock => {}
                () = rings.notified() => {}
                _ = held.changed() => {}
                Ok(()) = self.board.changed() => {}
                Ok(()) = self.fleet.changed() => {}
                Some(written) = records.writes.join_next() => records.finish(written.ok()),
                () = until(again) => records.retry = None,
                _ = skew.changed() => {}
            }
        }
        while records.writes.join_next().await.is_some() {}
        let_go.cancel();
        let _ = keeper.await;
    }
}

/// What the planner needs to know, and when to look again although nothing happens.
fn view(
    kept: &Kept,
    recorded: BTreeSet<ClusterName>,
    state: &State,
    skew: &Skew,
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
            let settled = ours.since + ours.patience;
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

/// How far home's clock is ahead of this machine's, or why that is not known.
type Skew = Result<SignedDuration, String>;

/// Why no step is taken by what is known of the clocks: with a wrong one a soak would seem to be over.
fn no_steps_by_clock(skew: &Skew) -> Option<NoSteps> {
    match skew {
        Err(why) => Some(NoSteps::ClockUnknown(why.clone())),
        Ok(skew) => (skew.abs() > LARGEST_SKEW).then(|| NoSteps::ClockSkew(skew.as_secs())),
    }
}

/// Asks home for its time, again and again: small differences are corrected, `skews` gets all of them. What was known stays
/// known when an answer fails to come: home's state tells that.
async fn follow_clock(client: &Client, clock: &Clock, every: Duration, skews: &watch::Sender<Skew>) {
    loop {
        let skew = skew_of(client, clock).await;
        match &skew {
            Ok(skew) if skew.abs() > LARGEST_SKEW => warn!(
                seconds = skew.as_secs(),
                "This machine's clock and home's differ; no steps are taken until they agree."
            ),
            Err(why) if skews.borrow().is_err() => {
                warn!(why, "Home's time cannot be found out; no steps are taken until it is known.");
            }
            _ => {}
        }
        if skew.is_ok() || skews.borrow().is_err() {
            drop(skews.send_replace(skew));
        }
        let is_known = skews.borrow().is_ok();
        tokio::time::sleep(if is_known { every } else { every.min(CLOCK_BOUND) }).await;
    }
}

/// How far home's clock is ahead of this machine's; fleet time is corrected by a small difference.
async fn skew_of(client: &Client, clock: &Clock) -> Skew {
    let request = http::Request::get("/version").body(kube::client::Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let asked = Instant::now();
    let answer = tokio::time::timeout(CLOCK_BOUND, client.send(request)).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let Some(date) = answer.headers().get(http::header::DATE) else {
        // The sandbox's clusters have one clock, and this is it.
        let is_ours = clock.is_simulated().then_some(SignedDuration::ZERO);
        return is_ours.ok_or_else(|| "its answer has no Date".into());
    };
    let (ours, theirs) = (clock.uncorrected(), date.to_str().ok().and_then(time_of));
    let theirs = theirs.ok_or_else(|| format!("{date:?} is no Date"))?;
    let skew = theirs.duration_since(ours);
    // Nobody knows when in the meantime a slow answer was written.
    if skew.abs() <= LARGEST_SKEW && (asked.elapsed() <= QUICK || clock.has_jumped()) {
        clock.correct(theirs);
    }
    Ok(skew)
}

/// The time in a server's `Date` (RFC 9110, section 6.6.1; whole seconds).
fn time_of(date: &str) -> Option<jiff::Timestamp> {
    Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())
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

/// Says something in the Lease, if it is news.
fn say(says: &watch::Sender<String>, words: String) {
    says.send_if_modified(|known| {
        let is_news = *known != words;
        *known = words;
        is_news
    });
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The writing of records: one at a time for each member.
#[derive(Default)]
struct Records {
    /// Whether a view agrees with a version of its record; both are immutable.
    compared: BTreeMap<ClusterName, (Arc<ClusterView>, String, bool)>,
    writes: JoinSet<(ClusterName, bool)>,
    under_way: BTreeSet<ClusterName>,
    /// When to try again what failed.
    retry: Option<Instant>,
}

impl Records {
    /// Members that are seen whole and of which home knows all that a step depends on.
    fn compare(&mut self, kept: &Kept, fleet: &Fleet, board: &Board) -> BTreeSet<ClusterName> {
        let records = kept.records();
        let mut recorded = BTreeSet::new();
        self.compared.retain(|name, _| fleet.cluster(name).is_some());
        for cluster in &fleet.clusters {
            let name = &cluster.name;
            let (Some(view), Some(known)) = (board.clusters.get(name), records.get(name)) else { continue };
            if view.state != ClusterState::Ready {
                continue;
            }
            let before = self.compared.get(name);
            let agrees = match before {
                Some((seen, version, agrees)) if Arc::ptr_eq(seen, view) && *version == known.version => {
                    *agrees
                }
                _ => known.record.agrees_with(view),
            };
            self.compared.insert(name.clone(), (Arc::clone(view), known.version.clone(), agrees));
            if agrees {
                recorded.insert(name.clone());
            }
        }
        recorded
    }

    /// Writes the records of members that are seen whole and are not as home remembers them.
    fn keep(&mut self, kept: &Arc<Kept>, fleet: &Fleet, board: &Board, view: &HomeView, clock: &Clock) {
        if self.retry.is_some() {
            return;
        }
        for cluster in &fleet.clusters {
            let name = &cluster.name;
            let Some(seen) = board.clusters.get(name).filter(|view| view.state == ClusterState::Ready) else {
                continue;
            };
            if view.recorded.contains(name) || !self.under_way.insert(name.clone()) {
                continue;
            }
            let (kept, name, seen, now) = (Arc::clone(kept), name.clone(), Arc::clone(seen), clock.now());
            self.writes.spawn(async move {
                let written = tokio::time::timeout(CLOCK_BOUND, kept.remember(&name, &seen, now)).await;
                match written {
                    Ok(Ok(())) => return (name, true),
                    // Our cache is behind: the watch brings the newer one.
                    Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                    Ok(Err(error)) => {
                        warn!(cluster = %name, %error, "A member's record could not be written to home.");
                    }
                    Err(_) => {
                        debug!(cluster = %name, "Home did not answer in time; the record is written again.");
                    }
                }
                (name, false)
            });
        }
    }

    fn finish(&mut self, written: Option<(ClusterName, bool)>) {
        let Some((name, well)) = written else {
            self.under_way.clear();
            return;
        };
        self.under_way.remove(&name);
        if !well {
            self.retry = Some(Instant::now() + AFTER_FAILURE);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_taken_before_homes_time_is_known_or_while_it_differs() {
        assert!(matches!(no_steps_by_clock(&Err("no Date".into())), Some(NoSteps::ClockUnknown(_))));
        let skewed = no_steps_by_clock(&Ok(SignedDuration::from_secs(-31)));
        assert_eq!(skewed, Some(NoSteps::ClockSkew(-31)));
        assert_eq!(no_steps_by_clock(&Ok(SignedDuration::from_secs(30))), None);
    }

    /// A server that answers with this `Date`, if any.
    fn dated(date: Option<String>) -> Client {
        let answer = move |_: http::Request<kube::client::Body>| {
            let mut answer = http::Response::new(kube::client::Body::empty());
            if let Some(date) = &date {
                answer.headers_mut().insert(http::header::DATE, date.parse().unwrap());
            }
            std::future::ready(Ok::<_, kube::Error>(answer))
        };
        Client::new(tower::service_fn(answer), "n")
    }

    #[tokio::test]
    async fn a_home_that_gives_no_date_says_so_and_one_that_gives_it_corrects_fleet_time() {
        let clock = Clock::machine();
        assert_eq!(skew_of(&dated(None), &clock).await, Err("its answer has no Date".to_owned()));
        let is_no_date = skew_of(&dated(Some("soon".into())), &clock).await;
        assert!(is_no_date.is_err_and(|why| why.contains("soon")));
        let ahead = |seconds| {
            let at = jiff::Timestamp::now() + SignedDuration::from_secs(seconds);
            Some(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        };
        let skew = skew_of(&dated(ahead(20)), &clock).await.unwrap();
        assert!((18..=20).contains(&skew.as_secs()), "{skew:?}");
        let corrected = clock.now().duration_since(jiff::Timestamp::now()).as_secs();
        assert!((17..=20).contains(&corrected), "{corrected}");
        // So much is not corrected; steps stop instead.
        assert!(skew_of(&dated(ahead(3_600)), &clock).await.is_ok());
        let after = clock.now().duration_since(jiff::Timestamp::now()).as_secs();
        assert!(after.abs_diff(corrected) <= 1, "{after}");
    }

    #[test]
    fn the_time_is_read_from_the_servers_date() {
        assert_eq!(time_of("Wed, 25 Nov 2026 12:00:45 GMT"), Some("2026-11-25T12:00:45Z".parse().unwrap()));
        assert_eq!(time_of("soon"), None);
    }
}
