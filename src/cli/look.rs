//! Looks at a whole fleet as the daemon that leads does, and changes nothing: the workers watch, none takes a Lease.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use super::leader::{Keepers, Leader};
use super::time::Ahead;
use crate::clock::Clock;
use crate::cluster::board::BoardWriter;
use crate::cluster::connect::{Connect as _, Kubernetes};
use crate::cluster::{Clients, Leases, Registry};
use crate::fleet::{ClusterName, Fleet};
use crate::home::control::Control;
use crate::home::kept::Kept;
use crate::home::record::remembered;
use crate::leader::lease::Wish;
use crate::observed::{Board, ClusterState};
use crate::upgrade::waves::by_readiness;
use crate::upgrade::{Ground, HALTED, Plan, plan};

/// What a cluster may take to be listed.
const BOUND: Duration = Duration::from_secs(15);
/// What home's clock shows is waited for so long.
const QUICK: Duration = Duration::from_secs(3);
/// What is not watched is asked for again.
const AGAIN: Duration = Duration::from_secs(10);

/// A fleet that is being looked at.
pub(super) struct Look {
    fleet: Arc<Fleet>,
    board: watch::Receiver<Arc<Board>>,
    home: Option<Arc<Kept>>,
    clients: Clients,
    /// Home's time, as well as it is known.
    clock: Clock,
    /// Who looks after clusters although nobody leads, and when that was asked.
    keepers: Mutex<Option<(Keepers, tokio::time::Instant)>>,
    stop: CancellationToken,
    _wishes: watch::Sender<Wish>,
    _fleets: watch::Sender<Arc<Fleet>>,
}

/// One instant of it.
pub(super) struct Instant {
    /// The fleet, with what people decided.
    pub(super) fleet: Fleet,
    /// The fleet as its file has it.
    pub(super) written: Arc<Fleet>,
    /// The Board as it is seen from here.
    pub(super) board: Board,
    /// The same without the members that the daemon that leads says it cannot look after.
    pub(super) theirs: Board,
    /// When that was, by home's clock.
    pub(super) now: Timestamp,
    /// What people decided at the command line.
    pub(super) control: Control,
    /// What would be done now, and why the rest waits.
    pub(super) plan: Plan,
    /// Who leads.
    pub(super) leader: Leader,
    /// Where nobody does: who looks after clusters all the same.
    pub(super) keepers: Keepers,
}

impl Look {
    /// Begins, and returns when every cluster was listed, or found to be away.
    pub(super) async fn begin(fleet: Fleet) -> Self {
        let fleet = Arc::new(fleet);
        let (fleets, followed) = watch::channel(Arc::clone(&fleet));
        let (writer, mut board) = BoardWriter::new();
        let (clients, stop) = (Clients::default(), CancellationToken::new());
        let (wishes, wish) = watch::channel(Wish::Yield);
        let leases = Leases { me: "polkafleet-command".into(), wish };
        let clock = home_clock(&fleet).await;
        let registry =
            Registry::new(Arc::new(Kubernetes), writer, Arc::clone(&clients), clock.clone(), leases);
        tokio::spawn(registry.follow(followed, stop.clone()));
        let listed = board.wait_for(|board| {
            fleet.clusters.iter().all(|cluster| {
                board.clusters.get(&cluster.name).is_some_and(|view| {
                    !matches!(view.state, ClusterState::Connecting | ClusterState::Syncing)
                })
            })
        });
        let _ = tokio::time::timeout(BOUND, listed).await;
        let client = clients.get(&fleet.home).map(|lent| lent.unfenced.clone());
        let home = match client {
            Some(client) => keep_watching(Arc::new(Kept::new(client, &fleet.home_namespace))).await,
            None => None,
        };
        let keepers = Mutex::default();
        Self { fleet, board, home, clients, clock, keepers, stop, _wishes: wishes, _fleets: fleets }
    }

    /// Whether it looks at just this fleet.
    pub(super) fn is_at(&self, fleet: &Fleet) -> bool {
        *self.fleet == *fleet
    }

    /// How it is now.
    pub(super) async fn now(&self) -> Instant {
        let (leader, ahead) = self.leader().await;
        let keepers = match leader {
            Leader::Is(..) => Keepers::default(),
            _ => self.keepers(ahead).await,
        };
        let (records, control) =
            self.home.as_ref().map(|kept| (kept.records(), kept.control())).unwrap_or_default();
        let mut fleet = control.applied_to(&self.fleet);
        let mut board = as_leading(&remembered(&self.board.borrow(), &fleet, &records));
        let now = ahead.now();
        // Whether a node has been well for long enough, only a daemon that has watched it for so long can say.
        by_readiness(&mut fleet, &mut board);
        let theirs = as_told(&board, &leader);
        let mut plan = plan(&fleet, &theirs, &Ground::default(), now);
        as_halted(&mut plan, &self.fleet, &leader);
        let written = Arc::clone(&self.fleet);
        Instant { fleet, written, board, theirs, now, control, plan, leader, keepers }
    }

    /// Asked now and then: it costs a request to every cluster.
    async fn keepers(&self, ahead: Ahead) -> Keepers {
        let mut known = self.keepers.lock().await;
        if let Some((keepers, _)) = known.as_ref().filter(|(_, at)| at.elapsed() < AGAIN) {
            return keepers.clone();
        }
        let keepers = Keepers::read(&self.clients, &self.fleet, ahead).await;
        *known = Some((keepers.clone(), tokio::time::Instant::now()));
        keepers
    }

    /// Who leads, and what time it is in home.
    async fn leader(&self) -> (Leader, Ahead) {
        let Some(client) = self.clients.get(&self.fleet.home).map(|lent| lent.unfenced.clone()) else {
            let why = format!("the home cluster {} is not connected", self.fleet.home);
            return (Leader::Unknown(why), Ahead::default());
        };
        let ahead = Ahead::of(&client).await;
        self.clock.correct(ahead.now());
        let leader = match tokio::time::timeout(BOUND, Leader::read(&client, &self.fleet, ahead)).await {
            Ok(Ok(leader)) => leader,
            Ok(Err(why)) => Leader::Unknown(why),
            Err(_) => Leader::Unknown("home does not answer".into()),
        };
        (leader, ahead)
    }

    /// Returns when something has changed, or may have: what the daemon says is not watched.
    pub(super) async fn changed(&mut self) {
        let changed = async {
            if self.board.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout(AGAIN, changed).await;
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A clock that shows home's time: what is seen is stamped by it. Where home does not say what time it is, this machine's.
async fn home_clock(fleet: &Fleet) -> Clock {
    let clock = Clock::machine();
    let asking = async {
        let home = fleet.cluster(&fleet.home)?;
        let client = Kubernetes.connect(&home.connection).await.ok()?.client;
        Some(Ahead::of(&client).await)
    };
    if let Ok(Some(ahead)) = tokio::time::timeout(QUICK, asking).await {
        clock.correct(ahead.now());
    }
    clock
}

/// Watches home beside everything else; `None` if it does not answer.
async fn keep_watching(kept: Arc<Kept>) -> Option<Arc<Kept>> {
    let (rings, watched) = (Arc::new(Notify::new()), Arc::clone(&kept));
    let ringing = Arc::clone(&rings);
    tokio::spawn(async move { watched.watch(&ringing).await });
    let filled = async {
        while !kept.is_filled() {
            rings.notified().await;
        }
    };
    tokio::time::timeout(BOUND, filled).await.ok().map(|()| kept)
}

/// A member that is near for us may be away for the daemon that leads, and it is that one which takes the steps.
fn as_told(board: &Board, leader: &Leader) -> Board {
    let mut board = board.clone();
    for (name, state) in leader.says().into_iter().flat_map(|said| &said.away) {
        if let Some(view) = board.clusters.get_mut(&ClusterName(name.clone()))
            && view.state == ClusterState::Ready
        {
            Arc::make_mut(view).state = theirs(state);
        }
    }
    board
}

/// A state as the daemon that leads says it. What is only being handed over is not out of reach.
fn theirs(state: &str) -> ClusterState {
    if let Some(why) = state.strip_prefix("standby: ") {
        return ClusterState::Standby(format!("for the daemon that leads, {why}"));
    }
    if state == ClusterState::Stopping.to_string() {
        return ClusterState::Stopping;
    }
    let why = format!("for the daemon that leads, which says: {state}");
    ClusterState::Unreachable(why.as_str().into())
}

/// What is halted for the daemon that leads is halted, however it looks from here: only that one asks the chain's nodes. What it
/// says of another target or attempt says nothing of this one.
fn as_halted(plan: &mut Plan, written: &Fleet, leader: &Leader) {
    let unfinished = leader.says().and_then(|said| said.unfinished.as_ref());
    let (Some(unfinished), Some(followed)) = (unfinished, leader.follows()) else { return };
    for progress in plan.progress.iter_mut().filter(|progress| progress.halted.is_none()) {
        let ours = written.upgrades.iter().find(|upgrade| upgrade.name == progress.upgrade);
        let theirs = followed.iter().find(|theirs| theirs.name == progress.upgrade);
        let is_same = ours.zip(theirs).is_some_and(|(ours, theirs)| {
            ours.client_version == theirs.client_version && ours.attempt == theirs.attempt
        });
        let words = unfinished.get(&progress.upgrade).filter(|_| is_same);
        let why = words.and_then(|words| words.strip_prefix(HALTED)?.strip_prefix(": "));
        progress.halted = why.map(str::to_owned);
    }
}

/// A cluster that this process stands by in is one that the daemon that leads has.
fn as_leading(board: &Board) -> Board {
    let mut board = board.clone();
    for view in board.clusters.values_mut() {
        if matches!(view.state, ClusterState::Standby(_)) {
            Arc::make_mut(view).state = ClusterState::Ready;
        }
    }
    board
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_that_leads_is_about_to_get_is_not_unreachable() {
        let states = [ClusterState::Standby("its Lease is with x".into()), ClusterState::Stopping];
        for state in states {
            let shown = theirs(&state.to_string());
            assert!(!matches!(shown, ClusterState::Unreachable(_)), "{shown}");
            assert_eq!(state.to_string().split(':').next(), shown.to_string().split(':').next());
        }
        let away = ClusterState::Unauthorized("401".into()).to_string();
        assert!(theirs(&away).to_string().contains("unauthorized: 401"));
    }
}
