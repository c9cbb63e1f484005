//! Where workers publish what they see: the one writer's side of [`crate::observed::Board`].

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fleet::ClusterName;
use crate::observed::{Board, ClusterState, ClusterView, Healths, NodeHealth, NodeId, ResourceView};
use crate::polkadot::ResourceId;

/// The writing side. A reader holds a [`watch::Receiver`] and takes a whole Board at a time.
#[derive(Clone)]
pub struct BoardWriter {
    board: Arc<watch::Sender<Arc<Board>>>,
    /// When this is cancelled, nothing more is written: the cluster may have left, or have another worker.
    until: CancellationToken,
}

impl BoardWriter {
    /// An empty Board and its first reader.
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<Arc<Board>>) {
        let (sender, receiver) = watch::channel(Arc::new(Board::default()));
        (Self { board: Arc::new(sender), until: CancellationToken::new() }, receiver)
    }

    /// The same Board, for a worker that ends with `until`: what it still has to say then is of no interest.
    #[must_use]
    pub fn until(&self, until: CancellationToken) -> Self {
        Self { board: Arc::clone(&self.board), until }
    }

    /// Where a worker stands; readers wake only if that is news. Returns whether it was.
    pub fn set_state(&self, cluster: &ClusterName, state: &ClusterState) -> bool {
        self.change(cluster, |view| {
            let news = view.state != *state;
            view.state = state.clone();
            let seen = view.seen;
            // Who stands by has listed it whole as well.
            view.seen |= state.is_watched();
            news || seen != view.seen
        })
    }

    /// What a person should know although the cluster is looked after.
    pub fn set_concern(&self, cluster: &ClusterName, concern: Option<&str>) {
        self.change(cluster, |view| {
            let news = view.concern.as_deref() != concern;
            view.concern = concern.map(str::to_owned);
            news
        });
    }

    /// A resource as it is now.
    pub fn publish(&self, cluster: &ClusterName, resource: ResourceView) {
        self.change(cluster, |view| {
            let news = view.resources.get(&resource.id).is_none_or(|known| **known != resource);
            if news {
                view.resources.insert(resource.id.clone(), Arc::new(resource));
            }
            news
        });
    }

    /// What nodes answered in one round; those that were not asked are forgotten.
    pub fn publish_health(&self, cluster: &ClusterName, health: BTreeMap<NodeId, Arc<NodeHealth>>) {
        self.change(cluster, |view| {
            let news = *view.health != health;
            view.health = Arc::new(health);
            news
        });
    }

    /// The cluster as it is on the Board.
    #[must_use]
    pub fn view(&self, cluster: &ClusterName) -> Option<Arc<ClusterView>> {
        self.board.borrow().clusters.get(cluster).cloned()
    }

    /// Leaves only the resources that `is_there` knows.
    pub fn retain(&self, cluster: &ClusterName, is_there: impl Fn(&ResourceId) -> bool) {
        self.change(cluster, |view| {
            let before = view.resources.len();
            view.resources.retain(|id, _| is_there(id));
            view.resources.len() != before
        });
    }

    /// A cluster that is no longer a member.
    pub fn remove(&self, cluster: &ClusterName) {
        self.board.send_if_modified(|board| Arc::make_mut(board).clusters.remove(cluster).is_some());
    }

    fn change(&self, cluster: &ClusterName, change: impl FnOnce(&mut ClusterView) -> bool) -> bool {
        self.board.send_if_modified(|board| {
            // Asked while the Board is locked: whoever takes the cluster off it cancels first.
            if self.until.is_cancelled() {
                return false;
            }
            let view = Arc::make_mut(board).clusters.entry(cluster.clone()).or_insert_with(|| {
                Arc::new(ClusterView {
                    state: ClusterState::Connecting,
                    seen: false,
                    remembered: false,
                    concern: None,
                    resources: BTreeMap::new(),
                    health: Healths::default(),
                })
            });
            change(Arc::make_mut(view))
        })
    }
}
