//! The daemon that leads, by its Lease in home, and what it says there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;

use super::time::Ahead;
use crate::cluster::Clients;
use crate::fleet::{ClusterName, Fleet};
use crate::home::followed::Followed;
use crate::home::said::Said;
use crate::leader::{MEMBER_LEASE, PLANNER_LEASE, SAYS};

/// A Lease of minutes is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Clusters that are asked at once.
const AT_ONCE: usize = 16;

/// Who leads.
#[derive(Clone, Debug)]
pub(super) enum Leader {
    /// This one, which has spoken of late; with what it says.
    Is(String, Option<Said>),
    /// This one did, and has fallen silent.
    Was(String, Timestamp),
    /// None: the Lease was let go, or never held.
    None,
    /// It cannot be read.
    Unknown(String),
}

impl Leader {
    /// Reads the Lease, by home's time; where its holder seems to have fallen silent, or to speak from times to come, again a
    /// few seconds later.
    ///
    /// # Errors
    /// Where it cannot be read; in words.
    pub(super) async fn read(client: &Client, fleet: &Fleet, ahead: Ahead) -> Result<Self, String> {
        let first = Self::lease(client, fleet).await?;
        let now = now_for(first.as_ref(), ahead);
        let found = Self::of(first.clone(), now);
        // The clock of who renewed it may be wrong, or ours where home does not say what time it is.
        if !matches!(found, Self::Was(..))
            && renewed(first.as_ref()).is_none_or(|at| at <= now + duration(first.as_ref()))
        {
            return Ok(found);
        }
        let pause = duration(first.as_ref()).unsigned_abs() / 2;
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        let second = Self::lease(client, fleet).await?;
        // What is not waited for counts as alive: whoever decides something should know what it follows.
        let lives = renewed(first.as_ref()) != renewed(second.as_ref())
            || (pause > LONGEST_PAUSE && found.name().is_some());
        let silent = renewed(second.as_ref())
            .map(|at| (at + 3 * duration(second.as_ref())).max(now_for(second.as_ref(), ahead)));
        let now = if lives { renewed(second.as_ref()) } else { silent };
        Ok(Self::of(second, now.unwrap_or_else(|| ahead.now())))
    }

    async fn lease(client: &Client, fleet: &Fleet) -> Result<Option<Lease>, String> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &fleet.home_namespace);
        let found = leases.get_opt(PLANNER_LEASE).await;
        found.map_err(|error| super::home_in_words(&error, &fleet.home))
    }

    /// Its name, if there is one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Is(name, _) => Some(name),
            _ => None,
        }
    }

    /// That nobody leads from a cluster which somebody named instead of a fleet file: it need not be home.
    pub(super) fn none_from(&self, fleet: &Fleet) -> String {
        let (home, namespace) = (&fleet.home, &fleet.home_namespace);
        format!(
            "NO DAEMON LEADS from cluster {home} (namespace {namespace}){}; if another cluster is home, give that one, or --fleet \
             FILE",
            self.led()
        )
    }

    /// Who led, if that is known, and until when; goes on a sentence.
    pub(super) fn led(&self) -> String {
        match self {
            Self::Was(name, spoke) => format!(": {name} led and was last heard of at {spoke:.0}"),
            _ => String::new(),
        }
    }

    /// What it follows, as far as that is known.
    pub(super) fn follows(&self) -> Option<&[Followed]> {
        match self {
            Self::Is(_, said) => said.as_ref().map(|said| said.follows.as_slice()),
            _ => None,
        }
    }

    /// What it says, if it does.
    pub(super) fn says(&self) -> Option<&Said> {
        match self {
            Self::Is(_, said) => said.as_ref(),
            _ => None,
        }
    }

    fn of(lease: Option<Lease>, now: Timestamp) -> Self {
        let Some(lease) = lease else { return Self::None };
        let said = lease.annotations().get(SAYS).and_then(|text| Said::read(text));
        let silent = is_silent(&lease, now);
        let spec = lease.spec.unwrap_or_default();
        let (Some(name), Some(spoke)) = (spec.holder_identity, spec.renew_time) else { return Self::None };
        // What an earlier holder said is not this one's word.
        let said = said.filter(|said| said.by == name);
        if silent { Self::Was(name, spoke.0) } else { Self::Is(name, said) }
    }
}

/// Daemons that look after clusters although none leads, as their Leases there say: one whose home is another cluster, or
/// cannot be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Keepers(BTreeMap<String, BTreeSet<ClusterName>>);

impl Keepers {
    /// Asks every cluster that is connected; one that does not answer says nothing.
    pub(super) async fn read(clients: &Clients, fleet: &Fleet, ahead: Ahead) -> Self {
        let clients: Vec<_> =
            clients.iter().map(|lent| (lent.key().clone(), lent.unfenced.clone())).collect();
        let asking = futures::stream::iter(clients).map(async |(cluster, client)| {
            let leases: Api<Lease> = Api::namespaced(client, &fleet.home_namespace);
            let lease = tokio::time::timeout(LONGEST_PAUSE, leases.get_opt(MEMBER_LEASE)).await;
            let lease = lease.ok()?.ok()??;
            Some((holder(&lease, now_for(Some(&lease), ahead))?, cluster))
        });
        let mut found = Self::default();
        for (holder, cluster) in
            asking.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect::<Vec<_>>().await
        {
            found.0.entry(holder).or_default().insert(cluster);
        }
        found
    }

    /// Whether nobody does.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Keepers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (holder, clusters) in &self.0 {
            let clusters: Vec<&str> = clusters.iter().map(|cluster| cluster.0.as_str()).collect();
            writeln!(f, "  Daemon {holder} looks after {} all the same.", clusters.join(", "))?;
        }
        Ok(())
    }
}

/// Who holds a Lease, if he has spoken of late.
fn holder(lease: &Lease, now: Timestamp) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone().filter(|_| !is_silent(lease, now))
}

/// Who lives renews it three times in its duration.
fn is_silent(lease: &Lease, now: Timestamp) -> bool {
    renewed(Some(lease)).is_none_or(|at| now.duration_since(at) > 2 * duration(Some(lease)))
}

/// What time it is for who renewed it.
fn now_for(lease: Option<&Lease>, ahead: Ahead) -> Timestamp {
    renewed(lease).map_or_else(|| ahead.now(), |at| ahead.now_near(at))
}

fn renewed(lease: Option<&Lease>) -> Option<Timestamp> {
    lease?.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

fn duration(lease: Option<&Lease>) -> SignedDuration {
    let seconds = lease.and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
    SignedDuration::from_secs(seconds.unwrap_or_default().into())
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(name, _) => write!(f, "daemon {name} leads"),
            Self::Was(name, spoke) => write!(
                f,
                "NO DAEMON IS ACTIVE: {name} led and was last heard of at {spoke:.0}; start one with polkafleet run"
            ),
            Self::None => f.write_str("NO DAEMON IS ACTIVE; start one with polkafleet run"),
            Self::Unknown(why) => write!(f, "which daemon leads is not known: {why}"),
        }
    }
}
