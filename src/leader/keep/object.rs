//! The Lease as an object: what is read in it, and what a move changes of it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;

use super::Keeping;
use crate::leader::SAYS;
use crate::leader::lease::{Move, Seen};

/// The annotation by which a daemon asks for a Lease.
pub(super) const WANTED_BY: &str = "polkadot.swisscomblockchain.com/wanted-by";
/// The annotation that counts the times that a Lease was taken from a silent daemon.
const EPOCH: &str = "polkadot.swisscomblockchain.com/epoch";

impl Keeping {
    /// The Lease as a move leaves it.
    pub(super) fn changed(&self, known: &Lease, decided: Move, now: Timestamp) -> Lease {
        let mut lease = known.clone();
        let annotations = lease.annotations_mut();
        match decided {
            Move::Ask => {
                annotations.insert(WANTED_BY.into(), self.me.clone());
                return lease;
            }
            Move::Release => {
                annotations.remove(SAYS);
                lease.spec.get_or_insert_default().holder_identity = None;
                return lease;
            }
            Move::TakeFromSilent => {
                let next = epoch(known) + 1;
                annotations.insert(EPOCH.into(), next.to_string());
                annotations.remove(WANTED_BY);
            }
            _ => drop(annotations.remove(WANTED_BY)),
        }
        if let Some(says) = self.words_to_say() {
            annotations.insert(SAYS.into(), says);
        }
        lease.spec = Some(self.spec(known.spec.as_ref(), now));
        lease
    }

    /// What is said in it now.
    pub(super) fn words_to_say(&self) -> Option<String> {
        self.says.as_ref().map(|says| says.borrow().clone())
    }

    /// The Lease as ours, after another one or none.
    pub(super) fn spec(&self, known: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let now = MicroTime(now);
        let is_ours = known.is_some_and(|known| known.holder_identity.as_ref() == Some(&self.me));
        let transitions = known.and_then(|known| known.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            // Whole seconds, rounded up: the promise may be longer than what we keep to, never shorter.
            lease_duration_seconds: i32::try_from(self.duration.as_millis().div_ceil(1000)).ok(),
            acquire_time: known
                .filter(|_| is_ours)
                .and_then(|known| known.acquire_time.clone())
                .or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if is_ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }
}

/// Who holds it.
pub(super) fn holder(lease: &Lease) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

/// Whether the holder has renewed it, or another one taken it. Who asks for it changes the Lease as well, and must not
/// by that give a holder who has fallen silent more time.
pub(super) fn has_spoken(before: &Lease, now: &Lease) -> bool {
    before.uid() != now.uid() || before.spec != now.spec
}

/// How often it was taken from a silent daemon.
pub(super) fn epoch(lease: &Lease) -> i64 {
    lease.annotations().get(EPOCH).and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// What a decision about it needs.
pub(super) fn seen(lease: &Lease) -> Seen {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Seen {
        holder: holder(lease),
        wanted_by: lease.annotations().get(WANTED_BY).cloned(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    }
}
