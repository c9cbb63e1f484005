//! What the daemons wrote to a member's resources, by its content: a watch from before the first write shows every version
//! of them, whoever writes and whoever is killed meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use polkafleet::polkadot::record::{
    EPOCH_ANNOTATION, FAILED_ANNOTATION, GRANT_ANNOTATION, Grant, HEALTH_ANNOTATION, STEP_ANNOTATION, Step,
    read,
};
use polkafleet::polkadot::{Polkadot, Role};
use tokio::task::JoinHandle;

use crate::support::world::Member;
use crate::support::{PATIENCE, eventually};

/// One thing that a daemon wrote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    Step(Step),
    /// With the version that the resource asked for then.
    Grant(Grant, String),
    Revoke,
    Epoch,
    Health,
    Failed,
}

/// What was written to a member's resources since it was begun.
pub(crate) struct Written {
    known: Arc<Mutex<Known>>,
    watching: JoinHandle<()>,
    /// What the daemons had asked to be written before.
    before: usize,
}

#[derive(Default)]
struct Known {
    /// As they were seen last, by name.
    resources: BTreeMap<String, Polkadot>,
    /// In their order, with the resource.
    writes: Vec<(String, Write)>,
}

impl Written {
    /// Begins to look, from how it stands now.
    pub(crate) async fn of(member: &Member) -> Self {
        let polkadots = member.polkadots();
        let listed = polkadots.list(&ListParams::default()).await.unwrap();
        let version = listed.metadata.resource_version.unwrap();
        let resources = listed.items.into_iter().map(|one| (one.name_any(), one)).collect();
        let known = Arc::new(Mutex::new(Known { resources, writes: vec![] }));
        let watching = tokio::spawn(watch(polkadots, version, Arc::clone(&known)));
        Self { known, watching, before: member.planner_writes() }
    }

    /// Waits until all that has happened to a resource by now was seen.
    pub(crate) async fn is_current(&self, member: &Member, resource: &str) {
        let now = member.polkadots().get(resource).await.unwrap().resource_version();
        eventually("every version of the resource was seen", PATIENCE, async || {
            assert!(!self.watching.is_finished(), "the watch has ended, and may have missed something");
            let known = self.known.lock().unwrap();
            // They are numbers, in their order, though nobody promises that.
            let number = |version: Option<String>| version.and_then(|text| text.parse::<u64>().ok());
            let seen = known.resources.get(resource).and_then(|seen| number(seen.resource_version()));
            (seen >= number(now.clone())).then_some(())
        })
        .await;
    }

    /// All of it, in its order.
    pub(crate) fn all(&self) -> Vec<(String, Write)> {
        self.known.lock().unwrap().writes.clone()
    }

    /// The steps of a resource: target and attempt.
    pub(crate) fn steps(&self, resource: &str) -> Vec<(String, u32)> {
        let all = self.all().into_iter().filter(|(name, _)| name == resource);
        all.filter_map(|(_, write)| match write {
            Write::Step(step) => Some((step.target, step.attempt)),
            _ => None,
        })
        .collect()
    }

    /// The permissions to restart a pod of a resource: the version that it restarts for, the pod's role and number.
    pub(crate) fn grants(&self, resource: &str) -> Vec<(String, Role, i32)> {
        let all = self.all().into_iter().filter(|(name, _)| name == resource);
        all.filter_map(|(_, write)| match write {
            Write::Grant(grant, version) => Some((version, grant.role, grant.ordinal)),
            _ => None,
        })
        .collect()
    }

    /// That each of `targets`, in this order, was given to the member's sample once, with one permission for its sentry and
    /// then one for its validator; and that nothing else was written, but for marks of daemons that took over.
    pub(crate) async fn is_once_each(&self, member: &Member, targets: &[&str]) {
        const SAMPLE: &str = "polkadot-cr";
        self.is_current(member, SAMPLE).await;
        let all = self.all();
        let told = || format!("{}: {all:#?}", member.name);
        let steps: Vec<_> = targets.iter().map(|target| ((*target).to_owned(), 1)).collect();
        assert_eq!(self.steps(SAMPLE), steps, "{}", told());
        let roles = |target: &&str| Role::ALL.map(|role| ((*target).to_owned(), role, 0));
        let grants: Vec<_> = targets.iter().flat_map(roles).collect();
        assert_eq!(self.grants(SAMPLE), grants, "{}", told());
        let marks = all.iter().filter(|(_, write)| *write == Write::Epoch).count();
        let health = all.iter().filter(|(_, write)| *write == Write::Health).count();
        assert_eq!(all.len(), steps.len() + grants.len() + marks + health, "{}", told());
        // What changes nothing makes no version. Of what was cut off the server may say that it failed, whatever it did.
        let asked = member.planner_writes() - self.before;
        assert!(asked <= all.len(), "{asked} writes were made, and of these seen: {}", told());
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Notes every version; ends only when one may have been missed.
async fn watch(polkadots: Api<Polkadot>, mut version: String, known: Arc<Mutex<Known>>) {
    loop {
        let events = polkadots.watch(&WatchParams::default(), &version).await;
        let Ok(events) = events else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut events = events.boxed();
        while let Some(Ok(event)) = events.next().await {
            let polkadot = match event {
                WatchEvent::Added(polkadot)
                | WatchEvent::Modified(polkadot)
                | WatchEvent::Deleted(polkadot) => polkadot,
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(_) => return,
            };
            version = polkadot.resource_version().unwrap();
            let mut known = known.lock().unwrap();
            let name = polkadot.name_any();
            let before = known.resources.insert(name.clone(), polkadot.clone());
            let writes = before.map(|before| differences(&before, &polkadot)).unwrap_or_default();
            known.writes.extend(writes.into_iter().map(|write| (name.clone(), write)));
        }
    }
}

/// What a version of a resource has that the one before it had not.
fn differences(before: &Polkadot, after: &Polkadot) -> Vec<Write> {
    let changed = |key: &str| before.annotations().get(key) != after.annotations().get(key);
    let version = || after.spec.client_version.clone().unwrap_or_default();
    let mut all = vec![];
    if changed(STEP_ANNOTATION) {
        all.extend(read(after.annotations(), STEP_ANNOTATION).map(Write::Step));
    }
    if changed(GRANT_ANNOTATION) {
        let grant = read(after.annotations(), GRANT_ANNOTATION);
        all.push(grant.map_or(Write::Revoke, |grant| Write::Grant(grant, version())));
    }
    if changed(EPOCH_ANNOTATION) {
        all.push(Write::Epoch);
    }
    if changed(HEALTH_ANNOTATION) {
        all.push(Write::Health);
    }
    if changed(FAILED_ANNOTATION) {
        all.push(Write::Failed);
    }
    all
}
