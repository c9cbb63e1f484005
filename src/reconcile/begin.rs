//! One resource of a set of names at a time while its objects are first made: server-side apply has no "only if it is not
//! there", and with our field manager a second resource would silently take the first one's objects over.
//!
//! Within this process only: a cluster has one daemon that writes ([`crate::leader`]).

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::polkadot::{Names, Polkadot, ResourceId};

/// Who is beginning, by namespace and headless Service, which every resource has.
#[derive(Default)]
pub struct Beginnings(DashMap<(String, String), Arc<Mutex<()>>>);

impl Beginnings {
    /// Waits until no other resource of the same names begins; it may when the guard is dropped.
    pub(super) async fn alone(&self, polkadot: &Polkadot) -> OwnedMutexGuard<()> {
        let key = (ResourceId::of(polkadot).namespace, Names::of(polkadot).headless_service());
        // Those that nobody waits for are of no use any more.
        self.0.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = Arc::clone(&self.0.entry(key).or_default());
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn of(name: &str, prefix: Option<&str>) -> Polkadot {
        let mut polkadot = Polkadot::new(name, crate::polkadot::PolkadotSpec::default());
        polkadot.spec.name_prefix = prefix.map(Into::into);
        polkadot
    }

    #[tokio::test]
    async fn of_two_with_the_same_names_one_waits_until_the_other_has_begun_and_nobody_else_does() {
        let beginnings = Beginnings::default();
        let first = beginnings.alone(&of("one", None)).await;
        assert!(beginnings.alone(&of("two", None)).now_or_never().is_none());
        assert!(beginnings.alone(&of("three", Some("other"))).now_or_never().is_some());
        drop(first);
        assert!(beginnings.alone(&of("two", None)).now_or_never().is_some());
        drop(beginnings.alone(&of("three", Some("other"))).await);
        assert_eq!(beginnings.0.len(), 1, "what is over is forgotten");
    }
}
