//! Keeps the credentials of one session fresh: when its kubeconfig has changed, when they are about to expire, or when
//! the cluster no longer accepts them, a new client is built, tried with one request that is not answered to everybody, and
//! put in the old one's place.
//! If it fails, the old one stays.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::backoff::backoff;
use super::board::BoardWriter;
use super::connect::{Connect, Connected};
use super::swap::Exchange;
use super::trouble::Trouble;
use crate::fleet::watch::{Credentials, generation};
use crate::fleet::{ClusterName, Connection};

/// What the kubeconfigs of the fleet contain: a number for each that changes with it.
pub type Contents = watch::Receiver<Credentials>;

/// So long before credentials expire, new ones are fetched.
const AHEAD: Duration = Duration::from_secs(60);
/// Credentials that live shorter than that are not fetched in a circle without a pause.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

/// The kubeconfig of one cluster, as it changes.
pub(super) struct Kubeconfig {
    contents: Contents,
    connection: Connection,
    known: u64,
}

impl Kubeconfig {
    pub(super) fn of(connection: &Connection, mut contents: Contents) -> Self {
        let known = generation(&contents.borrow_and_update(), connection);
        Self { contents, connection: connection.clone(), known }
    }

    /// Returns when it has changed; never, if nobody follows it.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.contents.changed().await.is_err() {
                return std::future::pending().await;
            }
            let now = generation(&self.contents.borrow_and_update(), &self.connection);
            if std::mem::replace(&mut self.known, now) != now {
                return;
            }
        }
    }
}

/// What a session's credentials are kept fresh with.
pub(super) struct Renewal {
    pub(super) name: ClusterName,
    pub(super) board: BoardWriter,
    pub(super) connection: Connection,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) exchange: Exchange,
    /// The API server of the session; another one is another session.
    pub(super) server: String,
    /// Where it leads, for people: the way there may change within a session.
    pub(super) at: watch::Sender<String>,
    pub(super) kubeconfig: Kubeconfig,
    /// When the present credentials expire.
    pub(super) valid_until: Option<Timestamp>,
    /// Rings when the cluster does not accept them.
    pub(super) unauthorized: Arc<Notify>,
    /// Counts the exchanges.
    pub(super) renewed: watch::Sender<u64>,
}

impl Renewal {
    /// Runs as long as the session; returns the API server to which the kubeconfig leads when it is another one.
    pub(super) async fn keep_fresh(mut self) -> String {
        loop {
            let why = tokio::select! {
                () = self.kubeconfig.changed() => "the kubeconfig has changed",
                () = self.unauthorized.notified() => "the cluster does not accept the old ones",
                () = expiry(self.valid_until) => "the old ones expire",
            };
            if let Some(server) = self.renew(why).await {
                return server;
            }
            // What was said of the old ones does not count against the new ones.
            tokio::time::sleep(self.connect.limits().in_doubt).await;
            let _ = self.unauthorized.notified().now_or_never();
        }
    }

    /// Tries until it has worked; returns the server if it is another one.
    async fn renew(&mut self, why: &str) -> Option<String> {
        let limits = self.connect.limits();
        let mut attempt = 0;
        let mut last_words = String::new();
        loop {
            match self.fresh().await {
                Ok(connected) if connected.server != self.server => {
                    let server = connected.server;
                    warn!(cluster = %self.name, server, "The kubeconfig leads to another API server; connecting anew.");
                    return Some(server);
                }
                Ok(connected) => {
                    info!(cluster = %self.name, why, "New credentials are in use.");
                    self.board.set_concern(&self.name, None);
                    self.valid_until = connected.valid_until;
                    self.at.send_replace(connected.at(&self.connection));
                    self.exchange.exchange(connected.client);
                    self.renewed.send_modify(|count| *count += 1);
                    return None;
                }
                Err((words, for_others)) => {
                    if words != last_words {
                        warn!(
                            cluster = %self.name, why, error = words,
                            "The credentials could not be renewed; the old ones stay in use."
                        );
                        let concern = format!(
                            "its credentials could not be renewed yet ({why}), the old ones stay in use: {for_others}"
                        );
                        self.board.set_concern(&self.name, Some(&concern));
                        last_words = words;
                    }
                }
            }
            let pause = backoff(attempt, limits.first_pause, limits.longest_pause);
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.kubeconfig.changed() => {}
            }
        }
    }

    /// A new client by which the cluster knows us; or why there is none, for the log and for others.
    async fn fresh(&self) -> Result<Connected, (String, String)> {
        let connected = self.connect.connect(&self.connection).await;
        let connected = connected.map_err(|error| (error.to_string(), error.for_others()))?;
        let bound = self.connect.limits().heartbeat_answer;
        // Who we are to another server, its own session finds out; here, only that there is one.
        if connected.server != self.server {
            let asked = tokio::time::timeout(bound, connected.client.apiserver_version()).await;
            let trouble = match asked {
                Ok(Ok(_)) => return Ok(connected),
                Ok(Err(error)) => Trouble::of(&error),
                Err(_) => Trouble::Hung(bound),
            };
            if matches!(trouble, Trouble::Forbidden(_) | Trouble::Unauthorized(_)) {
                return Ok(connected);
            }
            let words = trouble.state(&connected.at(&self.connection), None).to_string();
            return Err((words.clone(), words));
        }
        let trouble = match who(&connected.client, bound).await {
            Ok(Who::Somebody) => return Ok(connected),
            // Where the old ones are of nobody as well, nobody is asked who he is.
            Ok(Who::Nobody) if matches!(who(&self.exchange.inside(), bound).await, Ok(Who::Nobody)) => {
                return Ok(connected);
            }
            Ok(Who::Nobody) => {
                let words = format!(
                    "the new ones are of nobody: {} takes us for system:anonymous; does the kubeconfig's user have \
                     its token or its certificate?",
                    connected.at(&self.connection)
                );
                return Err((words.clone(), words));
            }
            Err(trouble) => trouble,
        };
        let words = trouble.state(&connected.at(&self.connection), None).to_string();
        Err((words.clone(), words))
    }
}

/// Who we are to a cluster.
#[derive(Debug, PartialEq, Eq)]
enum Who {
    Somebody,
    Nobody,
}

/// The name of whoever shows no credentials.
const ANONYMOUS: &str = "system:anonymous";

/// Asks a cluster who we are: unlike its version, that is not told to everybody.
async fn who(client: &Client, bound: Duration) -> Result<Who, Trouble> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = tokio::time::timeout(bound, async {
        match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
            // Before Kubernetes 1.28 nobody could ask.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {
                client.apiserver_version().await.map(|_| None)
            }
            answered => answered.map(|review| review.status.and_then(|status| status.user_info?.username)),
        }
    });
    match asked.await.map_err(|_| Trouble::Hung(bound))? {
        Ok(name) => Ok(if name.as_deref() == Some(ANONYMOUS) { Who::Nobody } else { Who::Somebody }),
        Err(error) => match Trouble::of(&error) {
            // Whoever has no right to ask has been recognised before; its name is in the refusal.
            Trouble::Forbidden(words) if words.contains(ANONYMOUS) => Ok(Who::Nobody),
            Trouble::Forbidden(_) => Ok(Who::Somebody),
            trouble => Err(trouble),
        },
    }
}

async fn expiry(valid_until: Option<Timestamp>) {
    let Some(valid_until) = valid_until else { return std::future::pending().await };
    let left = Duration::try_from(valid_until.duration_since(Timestamp::now())).unwrap_or_default();
    tokio::time::sleep(until_renewal(left, rand::random_range(0.0..=1.0))).await;
}

/// When to renew credentials that have so much left. The credentials of many clusters are often of one moment: `spread`, from
/// 0 to 1, is drawn, so that they are not all renewed in one.
fn until_renewal(left: Duration, spread: f64) -> Duration {
    let earlier = AHEAD.min(left / 10).mul_f64(spread);
    left.saturating_sub(AHEAD + earlier).max(SHORTEST_LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_expire_together_are_not_renewed_together_and_none_of_them_late() {
        let seconds = |left, spread| until_renewal(Duration::from_secs(left), spread).as_secs();
        assert_eq!([seconds(3600, 0.0), seconds(3600, 0.5), seconds(3600, 1.0)], [3540, 3510, 3480]);
        assert_eq!([seconds(900, 0.0), seconds(900, 1.0)], [840, 780]);
        assert_eq!([seconds(100, 0.0), seconds(100, 1.0)], [40, 30], "a short life is not made much shorter");
        assert_eq!([seconds(30, 0.0), seconds(0, 1.0)], [5, 5], "nor is there a circle without a pause");
    }
}
