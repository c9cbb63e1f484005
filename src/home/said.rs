//! What the daemon that leads says in its Lease: what it follows, and what keeps it from its work, as only it can see it. The
//! commands show that; a member may be away for the daemon, and near for whoever asks. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::observed::{Board, ClusterState};

use super::followed::{self, Followed};

/// An object's annotations may have 256 KiB in all: more clusters are only counted.
const MOST_CLUSTERS: usize = 50;
/// More characters of a state, or of a reason, are left out.
const LONGEST_STATE: usize = 400;

/// The words of one daemon. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Who says it: an edition that says nothing leaves standing what another one said.
    pub by: String,
    /// The upgrades of its fleet file.
    pub follows: Vec<Followed>,
    /// Why it takes no step anywhere, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_steps: Option<String>,
    /// Members that it cannot look after, each with its state in words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub away: BTreeMap<String, String>,
    /// How many there are beside those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_away: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // So that serde can call it.
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Said {
    /// What there is to say; of lost members nobody expects anything, and of those that are being connected nothing is known
    /// yet.
    #[must_use]
    pub fn now(me: &str, fleet: &Fleet, board: &Board, no_steps: Option<String>) -> Self {
        use ClusterState::{Connecting, Ready, Syncing};
        let members = fleet.clusters.iter().filter(|cluster| !cluster.lost);
        let states =
            members.filter_map(|cluster| Some((&cluster.name, &board.clusters.get(&cluster.name)?.state)));
        let all: Vec<_> =
            states.filter(|(_, state)| !matches!(state, Connecting | Syncing | Ready)).collect();
        let words = |state: &ClusterState| state.to_string().chars().take(LONGEST_STATE).collect();
        Self {
            by: me.to_owned(),
            follows: followed::of(fleet),
            no_steps: no_steps.map(|why| why.chars().take(LONGEST_STATE).collect()),
            more_away: all.len().saturating_sub(MOST_CLUSTERS),
            away: all
                .into_iter()
                .take(MOST_CLUSTERS)
                .map(|(name, state)| (name.0.clone(), words(state)))
                .collect(),
        }
    }

    /// As it stands in the Lease.
    #[must_use]
    pub fn written(&self) -> String {
        // Text and numbers only: that cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What stands in the Lease; `None` where it cannot be read, as of another edition of polkafleet.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{Cluster, ClusterName, Connection, Settings};
    use crate::observed::{ClusterView, Healths};

    fn fleet(members: usize) -> Fleet {
        let cluster = |index: usize| Cluster {
            name: ClusterName(format!("c{index:03}")),
            connection: Connection::InCluster,
            labels: BTreeMap::new(),
            namespaces: vec![],
            paused: false,
            lost: index == 0,
            settings: Settings::default(),
        };
        Fleet {
            home: "c000".into(),
            home_namespace: "polkafleet".into(),
            clusters: (0..members).map(cluster).collect(),
            validators: crate::fleet::Validators { max_unavailable: 1, guard: crate::fleet::Guard::Strict },
            upgrades: vec![],
            lease: jiff::SignedDuration::from_secs(15),
            telemetry: crate::fleet::Telemetry::default(),
            admin: None,
        }
    }

    fn board(fleet: &Fleet, state: impl Fn(usize) -> ClusterState) -> Board {
        let view = |index| {
            let state = state(index);
            Arc::new(ClusterView {
                state,
                seen: true,
                remembered: false,
                resources: BTreeMap::new(),
                health: Healths::default(),
            })
        };
        let members = fleet.clusters.iter().enumerate();
        let clusters = members.map(|(index, cluster)| (cluster.name.clone(), view(index))).collect();
        Board { clusters }
    }

    #[test]
    fn members_that_are_away_are_named_but_not_lost_ones_or_those_that_are_just_being_connected() {
        let fleet = fleet(5);
        let states = [
            ClusterState::Unreachable("gone".into()),
            ClusterState::Connecting,
            ClusterState::Ready,
            ClusterState::NoLease("why".into()),
            ClusterState::Unreachable("hangs".into()),
        ];
        let said = Said::now("me", &fleet, &board(&fleet, |index| states[index].clone()), None);
        let names: Vec<&String> = said.away.keys().collect();
        assert_eq!((names, said.more_away), (vec![&"c003".to_owned(), &"c004".to_owned()], 0));
        assert_eq!(said.away["c004"], "unreachable: hangs");
        assert_eq!(Said::read(&said.written()), Some(said));
    }

    #[test]
    fn however_many_are_away_it_fits_into_the_lease() {
        let fleet = fleet(1_001);
        let long = "ü".repeat(10_000);
        let board = board(&fleet, |_| ClusterState::NoLease(long.clone()));
        let said = Said::now("me", &fleet, &board, Some(long.clone()));
        assert_eq!(said.away.len() + said.more_away, 1_000);
        assert!(said.written().len() < 64 * 1024, "{}", said.written().len());
    }
}
