//! Keeps one Lease: reads it, makes the next move, and says in its [`Hold`] what came of it.

mod object;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::lease::{Move, Wish, next};
use super::{Hold, Moment, Ours, SAYS, State};

use self::object::{epoch, has_spoken, holder, seen};

/// A held Lease is renewed so many times before it would run out.
const RENEWALS: u32 = 3;

/// What letting it go may take at the end.
const RELEASE_BOUND: Duration = Duration::from_secs(5);

/// Which Lease, and how it is kept.
#[derive(Clone)]
pub struct Keeping {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: &'static str,
    /// Who we are; no other daemon, not even an earlier one on this machine, may have the same name.
    pub me: String,
    /// How long it counts as held after its last renewal.
    pub duration: Duration,
    /// What is wrong where a request fails, in words.
    pub words: fn(&kube::Error) -> String,
    /// What its holder says in it, under [`SAYS`].
    pub says: Option<watch::Receiver<String>>,
    /// Where what another holder says in it is put.
    pub hears: Option<watch::Sender<Option<String>>>,
}

/// Keeps it until `stop`, then lets it go. Returns when it is let go.
pub async fn keep(
    client: Client,
    keeping: Keeping,
    hold: Hold,
    mut wish: watch::Receiver<Wish>,
    stop: CancellationToken,
) {
    let seen = hold.sighting().take();
    let mut keeper = Keeper {
        api: Api::namespaced(client.clone(), &keeping.namespace),
        client,
        keeping,
        // It is the same Lease, perhaps: then its holder has been silent since he was last seen to speak.
        seen: seen.map(|seen| Known { is_current: false, ..seen }),
        hold,
    };
    let pause = keeper.keeping.duration / RENEWALS;
    let mut told = false;
    let mut says = keeper.keeping.says.clone();
    loop {
        let wanted = *wish.borrow_and_update();
        let bound = tokio::time::timeout(pause, keeper.turns(wanted));
        let ended = tokio::select! {
            ended = bound => ended,
            // Nor is an answer waited for that may never come.
            () = stop.cancelled() => {
                keeper.seen = keeper.seen.take().map(|seen| Known { is_current: false, ..seen });
                break;
            }
        };
        let failed = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(keeper.words(&error)),
            Err(_) => Some("no answer in time".to_owned()),
        };
        keeper.expire();
        if let Some(why) = &failed {
            if !keeper.hold.is_held() {
                keeper.hold.set(State::Failed(why.clone()));
            }
            // What is there now is not known.
            keeper.seen = keeper.seen.take().map(|seen| Known { is_current: false, ..seen });
            if told {
                debug!(lease = keeper.keeping.name, why, "The Lease could not be looked after.");
            } else {
                warn!(
                    lease = keeper.keeping.name,
                    why, "The Lease could not be looked after; it is tried again."
                );
            }
        }
        told = failed.is_some();
        let pause = pause.mul_f64(rand::random_range(0.8..=1.0));
        let pause = if failed.is_some() { pause / 4 } else { pause };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
            changed = wish.changed() => if changed.is_err() { break },
            Ok(()) = changes(&mut says) => {}
        }
    }
    // Who cannot be told in time finds out when the Lease runs out.
    // A renewal that was not waited for may have come in between: then once more.
    let _ = tokio::time::timeout(pause.min(RELEASE_BOUND), keeper.turns(Wish::Yield)).await;
    keeper.hold.set(State::Unknown);
}

/// Waits for another word to say; for ever, where none is to come.
async fn changes(says: &mut Option<watch::Receiver<String>>) -> Result<(), watch::error::RecvError> {
    match says {
        Some(says) => says.changed().await,
        None => std::future::pending().await,
    }
}

/// A Lease as it was last seen.
pub(super) struct Known {
    object: Lease,
    /// When its holder's last word was first seen.
    since: Instant,
    /// Whether nothing has gone wrong since; otherwise it is read again.
    is_current: bool,
}

struct Keeper {
    client: Client,
    api: Api<Lease>,
    keeping: Keeping,
    hold: Hold,
    seen: Option<Known>,
}

impl Drop for Keeper {
    /// However it ends, also with the session of a member that has fallen ill: who keeps the Lease next goes on from here,
    /// or a member that comes and goes would count its silent holder's time anew each time.
    fn drop(&mut self) {
        *self.hold.sighting() = self.seen.take();
    }
}

impl Keeper {
    /// A turn, and another one at once where somebody was faster.
    async fn turns(&mut self, wish: Wish) -> Result<(), kube::Error> {
        self.turn(wish).await?;
        if self.seen.as_ref().is_some_and(|known| known.is_current) {
            return Ok(());
        }
        self.turn(wish).await
    }

    /// Looks, unless we wrote it ourselves the last time, and makes one move.
    async fn turn(&mut self, wish: Wish) -> Result<(), kube::Error> {
        let ours =
            |known: &Known| known.is_current && holder(&known.object).as_deref() == Some(&self.keeping.me);
        if !self.seen.as_ref().is_some_and(ours) {
            self.look().await?;
        }
        let view = self.seen.as_ref().map(|known| seen(&known.object));
        let now = Instant::now();
        let since = self.seen.as_ref().map_or(now, |known| known.since);
        let decided = next(&self.keeping.me, wish, view.as_ref(), since.into_std(), now.into_std());
        self.make(decided).await
    }

    fn words(&self, error: &kube::Error) -> String {
        let Keeping { name, namespace, .. } = &self.keeping;
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                format!("cannot get, create and update the Lease {namespace}/{name} ({})", status.message)
            }
            kube::Error::Api(status) if status.code == 404 => {
                format!(
                    "there is no namespace {namespace}; kubectl create namespace {namespace} ({})",
                    status.message
                )
            }
            other => (self.keeping.words)(other),
        }
    }

    async fn look(&mut self) -> Result<(), kube::Error> {
        let found = self.api.get_opt(self.keeping.name).await?;
        self.saw(found);
        Ok(())
    }

    /// Remembers a Lease, and since when its holder has said no more.
    fn saw(&mut self, found: Option<Lease>) {
        let known = self.seen.take();
        self.seen = found.map(|object| {
            let since = known.filter(|known| !has_spoken(&known.object, &object));
            let since = since.map_or_else(Instant::now, |known| known.since);
            Known { object, since, is_current: true }
        });
    }

    async fn make(&mut self, decided: Move) -> Result<(), kube::Error> {
        let started = Moment::now();
        match decided {
            Move::Wait => {
                let other = self.seen.as_ref().and_then(|known| holder(&known.object));
                self.hear(other.is_some());
                self.hold.set(other.map_or(State::Unknown, State::Others));
                Ok(())
            }
            Move::Create => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.keeping.name.into()),
                        annotations: self.keeping.words_to_say().map(|says| [(SAYS.to_owned(), says)].into()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.keeping.spec(None, jiff::Timestamp::now())),
                };
                let made = match self.api.create(&PostParams::default(), &lease).await {
                    Err(kube::Error::Api(missing)) if missing.code == 404 => {
                        // Where we may not make it, what is missing is the namespace and not the right.
                        self.make_namespace().await.map_err(|_| kube::Error::Api(missing))?;
                        self.api.create(&PostParams::default(), &lease).await
                    }
                    made => made,
                };
                self.written(made, started, decided)
            }
            Move::Renew | Move::Take | Move::TakeFromSilent | Move::Ask | Move::Release => {
                let Some(known) = &self.seen else { return Ok(()) };
                let lease = self.keeping.changed(&known.object, decided, jiff::Timestamp::now());
                if decided == Move::Release {
                    self.let_go().await;
                    if self.hold.is_in_doubt() {
                        // It runs out instead, and whoever comes next waits for what may still be on its way.
                        return Ok(());
                    }
                }
                // The version in it is the precondition.
                let made = self.api.replace(self.keeping.name, &PostParams::default(), &lease).await;
                self.written(made, started, decided)
            }
        }
    }

    /// What another one says in the Lease, if it has it.
    fn hear(&self, is_theirs: bool) {
        let Some(hears) = &self.keeping.hears else { return };
        let says = self.seen.as_ref().and_then(|known| known.object.annotations().get(SAYS)).cloned();
        let says = says.filter(|_| is_theirs);
        hears.send_if_modified(|known| std::mem::replace(known, says.clone()) != says);
    }

    /// No write of ours may pass any more, and those under way are waited for.
    async fn let_go(&self) {
        self.hold.set(State::Unknown);
        self.hold.writes.close();
        self.hold.writes.wait().await;
        self.hold.writes.reopen();
    }

    fn written(
        &mut self,
        made: Result<Lease, kube::Error>,
        started: Moment,
        decided: Move,
    ) -> Result<(), kube::Error> {
        let lease = match made {
            // Somebody was faster, or asks for it: the next turn reads it.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // Somebody has deleted it, and another daemon may make it anew at any moment.
                self.hold.set(State::Unknown);
                self.seen = None;
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.seen = self.seen.take().map(|known| Known { is_current: false, ..known });
                return Ok(());
            }
            made => made?,
        };
        let epoch = epoch(&lease);
        self.saw(Some(lease));
        let name = self.keeping.name;
        let held = |from_silent| Ours {
            until: started.after(self.keeping.duration),
            since: started.steady,
            from_silent,
            epoch,
            patience: self.keeping.duration,
        };
        let state = match (decided, self.hold.state()) {
            (Move::Renew, State::Ours(known)) => {
                State::Ours(Ours { until: started.after(self.keeping.duration), ..known })
            }
            // It had run out, but nobody has taken it meanwhile.
            (Move::Renew | Move::Take, _) => State::Ours(held(false)),
            // There may have been one before, which somebody has deleted.
            (Move::Create, _) => State::Ours(held(true)),
            (Move::TakeFromSilent, _) => {
                info!(lease = name, epoch, "Took over the Lease of a daemon that has fallen silent.");
                State::Ours(held(true))
            }
            (Move::Release | Move::Wait, _) => State::Unknown,
            (Move::Ask, state) => state,
        };
        self.hold.set(state);
        Ok(())
    }

    /// The hold ends by itself; this tells who follows it.
    fn expire(&self) {
        if self.hold.is_stale() {
            self.hold.set(State::Unknown);
        }
    }

    /// For a first try on a cluster without `scripts/init`; where we may not, the error says what is missing.
    async fn make_namespace(&self) -> Result<(), kube::Error> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(self.keeping.namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        match Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            made => {
                made.map(|_| info!(namespace = self.keeping.namespace, "Made the namespace of the Leases."))
            }
        }
    }
}

#[cfg(test)]
mod tests;
