//! What the daemon that leads says in its Lease: what it follows, and what keeps it from its work, as only it can see it. The
//! commands show that; a member may be away for the daemon, and near for whoever asks. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::observed::{Board, ClusterState};

use super::followed::{self, Followed};

/// An object's annotations may have 256 KiB in all: more clusters are only counted.
const MOST_CLUSTERS: usize = 50;
/// More mistakes of an edited file are left to the log.
const MOST_REFUSED: usize = 10;
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
    /// Upgrades that are not through, each with where it stands in words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unfinished: Unfinished,
    /// What it was given and does not take: mistakes of an edited fleet file, credentials that do not work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// Upgrades that are not through, each with where it stands in words.
pub type Unfinished = BTreeMap<String, String>;

/// What a daemon has to say beside what its Board shows.
#[derive(Clone, Debug, Default)]
pub struct Beside<'a> {
    /// Why it takes no step anywhere, if so.
    pub no_steps: Option<String>,
    /// Its upgrades that are not through; `None` before it has looked.
    pub unfinished: Option<&'a Unfinished>,
    /// What is refused of the files that it follows.
    pub refused: &'a [String],
}

#[allow(clippy::trivially_copy_pass_by_ref)] // So that serde can call it.
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Said {
    /// What there is to say; of lost members nobody expects anything, and of those that are being connected nothing is known
    /// yet.
    #[must_use]
    pub fn now(me: &str, fleet: &Fleet, board: &Board, beside: &Beside<'_>) -> Self {
        use ClusterState::{Connecting, Ready, Syncing};
        let members = fleet.clusters.iter().filter(|cluster| !cluster.lost);
        let states =
            members.filter_map(|cluster| Some((&cluster.name, &board.clusters.get(&cluster.name)?.state)));
        let all: Vec<_> =
            states.filter(|(_, state)| !matches!(state, Connecting | Syncing | Ready)).collect();
        let short = |words: &str| words.chars().take(LONGEST_STATE).collect::<String>();
        let not_looked = || {
            let all = fleet.upgrades.iter();
            all.map(|upgrade| (upgrade.name.clone(), "was not looked at yet".to_owned())).collect()
        };
        let concerns = fleet.clusters.iter().filter_map(|cluster| {
            let concern = board.clusters.get(&cluster.name)?.concern.as_ref()?;
            Some(format!("cluster {}: {concern}", cluster.name))
        });
        let refused = beside.refused.iter().cloned().chain(concerns);
        Self {
            by: me.to_owned(),
            follows: followed::of(fleet),
            no_steps: beside.no_steps.as_deref().map(short),
            more_away: all.len().saturating_sub(MOST_CLUSTERS),
            away: all
                .into_iter()
                .take(MOST_CLUSTERS)
                .map(|(name, state)| (name.0.clone(), short(&state.to_string())))
                .collect(),
            unfinished: beside.unfinished.map_or_else(not_looked, |all| {
                all.iter().map(|(name, words)| (name.clone(), short(words))).collect()
            }),
            refused: refused.take(MOST_REFUSED).map(|words| short(&words)).collect(),
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
                concern: None,
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
        let said = Said::now("me", &fleet, &board(&fleet, |index| states[index].clone()), &Beside::default());
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
        let unfinished = Unfinished::from([("polkadot".to_owned(), long.clone())]);
        let refused = vec![long.clone(); 1_000];
        let beside =
            Beside { no_steps: Some(long.clone()), unfinished: Some(&unfinished), refused: &refused };
        let said = Said::now("me", &fleet, &board, &beside);
        assert_eq!(said.away.len() + said.more_away, 1_000);
        assert!(said.written().len() < 64 * 1024, "{}", said.written().len());
    }

    #[test]
    fn credentials_that_are_refused_are_told_with_their_cluster_and_a_daemon_that_has_not_looked_says_so() {
        let fleet = fleet(2);
        let mut board = board(&fleet, |_| ClusterState::Ready);
        for view in board.clusters.values_mut().take(1) {
            Arc::make_mut(view).concern = Some("new credentials are refused".into());
        }
        let edit = ["fleet.yaml: clusters: missing; add it".to_owned()];
        let beside = Beside { refused: &edit, ..Beside::default() };
        let said = Said::now("me", &fleet, &board, &beside);
        assert_eq!(said.refused, [edit[0].as_str(), "cluster c000: new credentials are refused"]);
        assert!(said.unfinished.is_empty(), "it has no upgrade");
        assert_eq!(Said::read(&said.written()), Some(said));
    }
}
