//! The daemon that leads, by its Lease in home, and what it follows.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::home::followed::{self, Followed};
use crate::leader::{FOLLOWS, PLANNER_LEASE};

/// A Lease of minutes is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Who leads.
#[derive(Clone, Debug)]
pub(super) enum Leader {
    /// This one, which has spoken of late; with the upgrades that it follows, if it says so.
    Is(String, Option<Vec<Followed>>),
    /// This one did, and has fallen silent.
    Was(String, Timestamp),
    /// None: the Lease was let go, or never held.
    None,
    /// It cannot be read.
    Unknown(String),
}

impl Leader {
    /// Reads the Lease; where its holder seems to have fallen silent, again a few seconds later.
    ///
    /// # Errors
    /// Where it cannot be read; in words.
    pub(super) async fn read(client: &Client, fleet: &Fleet) -> Result<Self, String> {
        let first = Self::lease(client, fleet).await?;
        let found = Self::of(first.clone(), Clock::machine().now());
        let Self::Was(..) = &found else { return Ok(found) };
        // It may be our clock that is wrong: who lives renews it three times in its duration.
        let duration = first.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
        let pause = Duration::from_secs(u64::try_from(duration.unwrap_or_default()).unwrap_or_default() / 2);
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        let second = Self::lease(client, fleet).await?;
        let renewed =
            |lease: &Option<Lease>| lease.as_ref().and_then(|one| one.spec.as_ref()?.renew_time.clone());
        let lives = renewed(&first) != renewed(&second);
        let now = if lives { renewed(&second).map(|time| time.0) } else { None };
        Ok(Self::of(second, now.unwrap_or_else(|| Clock::machine().now())))
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

    /// What it follows, as far as that is known.
    pub(super) fn follows(&self) -> Option<&[Followed]> {
        match self {
            Self::Is(_, follows) => follows.as_deref(),
            _ => None,
        }
    }

    fn of(lease: Option<Lease>, now: Timestamp) -> Self {
        let Some(lease) = lease else { return Self::None };
        let follows = lease.annotations().get(FOLLOWS).and_then(|text| followed::read(text));
        let spec = lease.spec.unwrap_or_default();
        let (Some(name), Some(spoke)) = (spec.holder_identity, spec.renew_time) else { return Self::None };
        // What an earlier holder said is not this one's word.
        let follows = follows.filter(|(by, _)| *by == name).map(|(_, follows)| follows);
        let seconds = i64::from(spec.lease_duration_seconds.unwrap_or_default());
        let silent = now.duration_since(spoke.0) > SignedDuration::from_secs(2 * seconds);
        if silent { Self::Was(name, spoke.0) } else { Self::Is(name, follows) }
    }
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
