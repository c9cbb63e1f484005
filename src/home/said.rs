//! What the daemon that leads says in its Lease: what it follows, and what keeps it from its work, as only it can see it. The
//! commands show that; a member may be away for the daemon, and near for whoever asks. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Upgrade};
use crate::observed::{Board, ClusterState, ClusterView};

use super::followed::{self, Followed};
use super::record::Outcomes;

/// An object's annotations may have 256 KiB in all: more clusters are only counted.
const MOST: usize = 50;
/// More mistakes of an edited file are left to the log.
const MOST_REFUSED: usize = 10;
/// More characters of a state, or of a reason, are left out.
const LONGEST_WORDS: usize = 400;
/// More bytes are not written.
const LONGEST: usize = 128 * 1024;

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
    /// Upgrades that are not through, each with where it stands in words; `None` where it does not say, as an older edition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<BTreeMap<String, String>>,
    /// What is wrong with the files that it follows, which it does not take as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// What holds its upgrades up that only it sees, such as a chain that stands still, or that waits for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// Members that it looks after, and what a person should do there, such as give it credentials that work.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub concerns: BTreeMap<String, String>,
}

/// Where upgrades stand, as the planner has seen it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// By name.
    pub upgrades: BTreeMap<String, Stands>,
    /// What holds them up that only the daemon sees, or that waits for a person; each once.
    pub waits: Vec<String>,
    /// What has become of the steps that were taken: for the history, not for the Lease.
    pub outcomes: Outcomes,
}

/// Where one stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The target that was looked at: the fleet file may have another one by now.
    pub target: String,
    /// The attempt that was.
    pub attempt: u32,
    /// In words; `None` where it is through.
    pub words: Option<String>,
}

/// What a daemon has to say beside what its Board shows.
#[derive(Clone, Debug, Default)]
pub struct Beside<'a> {
    /// Why it takes no step anywhere, if so.
    pub no_steps: Option<String>,
    /// Where its upgrades stand.
    pub standings: Option<&'a Standings>,
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
        let views: Vec<_> = members
            .filter_map(|cluster| Some((&cluster.name, &**board.clusters.get(&cluster.name)?)))
            .collect();
        let is_away = |view: &ClusterView| !matches!(view.state, Connecting | Syncing | Ready);
        let all: Vec<_> = views.iter().filter(|(_, view)| is_away(view)).collect();
        let concern = |view: &ClusterView| view.concern.clone().filter(|_| view.state == Ready);
        let concerns = views.iter().filter_map(|(name, view)| Some((name.0.clone(), short(&concern(view)?))));
        Self {
            by: me.to_owned(),
            follows: followed::of(fleet),
            no_steps: beside.no_steps.as_deref().map(short),
            more_away: all.len().saturating_sub(MOST),
            away: all
                .into_iter()
                .take(MOST)
                .map(|(name, view)| (name.0.clone(), short(&view.state.to_string())))
                .collect(),
            unfinished: Some(unfinished(fleet, beside.standings)),
            refused: beside.refused.iter().take(MOST_REFUSED).map(|words| short(words)).collect(),
            waits: beside
                .standings
                .iter()
                .flat_map(|all| all.waits.iter().take(MOST_REFUSED))
                .map(|one| short(one))
                .collect(),
            concerns: concerns.take(MOST).collect(),
        }
    }

    /// As it stands in the Lease: whole, or, where that would be too much for an object, what it follows alone.
    #[must_use]
    pub fn written(&self) -> String {
        // Text and numbers only: that cannot fail.
        let text = |said: &Self| serde_json::to_string(said).unwrap_or_default();
        let whole = text(self);
        if whole.len() <= LONGEST {
            return whole;
        }
        text(&Self {
            more_away: self.more_away + self.away.len(),
            away: BTreeMap::new(),
            unfinished: None,
            refused: vec![],
            waits: vec![],
            concerns: BTreeMap::new(),
            ..self.clone()
        })
    }

    /// What stands in the Lease; `None` where it cannot be read, as of another edition of polkafleet.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// What is not through, or was not looked at as the fleet file has it now.
fn unfinished(fleet: &Fleet, standings: Option<&Standings>) -> BTreeMap<String, String> {
    let standing = |upgrade: &Upgrade| {
        let known = standings.and_then(|all| all.upgrades.get(&upgrade.name)).filter(|known| {
            // A retry at the command line raises the attempt as well.
            known.target == upgrade.client_version && known.attempt >= upgrade.attempt
        });
        match known {
            Some(known) => known.words.as_deref().map(short),
            None => Some("was not looked at yet".to_owned()),
        }
    };
    let all = fleet.upgrades.iter();
    all.filter_map(|upgrade| Some((upgrade.name.clone(), standing(upgrade)?))).collect()
}

/// For a Lease, and for terminals: a bounded line.
fn short(words: &str) -> String {
    let mut line = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = line.by_ref().take(LONGEST_WORDS).collect();
    if line.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{Cluster, ClusterName, Connection, Count, Health, Settings, Unreachable};
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
        let refused = vec![long.clone(); 1_000];
        let beside = Beside { no_steps: Some(long.clone()), refused: &refused, ..Beside::default() };
        let said = Said::now("me", &fleet, &board, &beside);
        assert_eq!(said.away.len() + said.more_away, 1_000);
        assert!(said.no_steps.as_ref().is_some_and(|words| words.ends_with('…')), "{said:?}");
        assert!(said.written().len() < 64 * 1024, "{}", said.written().len());
        let names = (0..1_000).map(|number| (number.to_string(), long.clone()));
        let said = Said { unfinished: Some(names.collect()), ..said };
        let read = Said::read(&said.written()).unwrap();
        assert_eq!(
            (read.unfinished, read.more_away),
            (None, 1_000),
            "it does not say more than what it follows"
        );
    }

    #[test]
    fn an_upgrade_that_was_not_looked_at_as_it_is_now_is_not_said_to_be_through() {
        let mut fleet = fleet(1);
        fleet.upgrades = vec![Upgrade {
            name: "polkadot".into(),
            client_version: "stable2503-7".into(),
            selector: kube::core::Selector::default(),
            attempt: 2,
            paused: false,
            allow_downgrade: false,
            allow_ephemeral: false,
            expedite: None,
            stages: vec![],
            max_failures: Count::Number(0),
            progress_deadline: jiff::SignedDuration::from_mins(30),
            unreachable: Unreachable::Wait,
            health: Health::default(),
            prepull: false,
        }];
        let board = board(&fleet, |_| ClusterState::Ready);
        let unfinished = |target: &str, attempt, words: Option<&str>| {
            let words = words.map(str::to_owned);
            let upgrades = [("polkadot".to_owned(), Stands { target: target.into(), attempt, words })];
            let standings = Standings { upgrades: upgrades.into(), waits: vec![], outcomes: Outcomes::new() };
            let beside = Beside { standings: Some(&standings), ..Beside::default() };
            Said::now("me", &fleet, &board, &beside).unfinished.unwrap().remove("polkadot")
        };
        assert_eq!(unfinished("stable2503-7", 2, None), None);
        assert_eq!(unfinished("stable2503-7", 3, Some("HALTED")).as_deref(), Some("HALTED"));
        for (target, attempt) in [("stable2503-6", 2), ("stable2503-7", 1)] {
            assert_eq!(unfinished(target, attempt, None).as_deref(), Some("was not looked at yet"));
        }
        let nothing_yet = Said::now("me", &fleet, &board, &Beside::default()).unfinished;
        assert_eq!(nothing_yet.unwrap()["polkadot"], "was not looked at yet");
    }

    #[test]
    fn new_credentials_that_do_not_work_are_told_where_the_old_ones_do() {
        let fleet = fleet(3);
        let states = [ClusterState::Ready, ClusterState::Ready, ClusterState::Unauthorized("401".into())];
        let mut board = board(&fleet, |index| states[index].clone());
        for view in board.clusters.values_mut() {
            Arc::make_mut(view).concern = Some("two\nlines".into());
        }
        let said = Said::now("me", &fleet, &board, &Beside::default());
        let expected = BTreeMap::from([("c001".to_owned(), "two lines".to_owned())]);
        assert_eq!(said.concerns, expected, "not of the lost member, nor where nothing works");
        assert_eq!(Said::read(&said.written()), Some(said));
    }
}
