//! What of a reconcile a person would want to read under `kubectl describe`: what was written, and what changed for the
//! better or the worse. Pure; `apply` writes them, and losing one loses nothing, for the conditions say the same.

use crate::polkadot::{Condition, PolkadotStatus, status};

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// It was not there.
    Created,
    /// It was not as wanted.
    Updated,
    /// It is no longer wanted.
    Deleted,
    /// It was another operator's.
    TakenOver,
    /// A StatefulSet, around its pods.
    MadeAgain,
    /// A claim.
    Grown,
    /// A pod, with permission.
    Restarted,
}

impl Deed {
    /// The event's reason, its action, and how its note begins.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Created => ("Created", "Apply", "created"),
            Self::Updated => ("Updated", "Apply", "updated"),
            Self::Deleted => ("Deleted", "Delete", "deleted, as no longer wanted:"),
            Self::TakenOver => ("TakenOver", "Apply", "taken over from somebody else who wrote on it:"),
            Self::MadeAgain => ("MadeAgain", "Delete", "about to be made again around its running pods:"),
            Self::Grown => ("VolumeGrown", "Patch", "asked to grow:"),
            Self::Restarted => ("Restarted", "Delete", "deleted with permission, to be made anew:"),
        }
    }
}

/// Something that was done: a write that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What.
    pub deed: Deed,
    /// To what: kind and name.
    pub what: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Whether somebody should look.
    pub warning: bool,
    /// In one word, what.
    pub reason: String,
    /// In one word, what was done about it.
    pub action: &'static str,
    /// For a person.
    pub words: String,
}

/// One event for all that was done alike.
#[must_use]
pub fn deeds(done: &[Done]) -> Vec<Happening> {
    let mut done: Vec<_> = done.iter().collect();
    done.sort_by_key(|done| done.deed);
    let of_one = |same: &[&Done]| {
        let (reason, action, begin) = same[0].deed.words();
        let what: Vec<_> = same.iter().map(|done| done.what.as_str()).collect();
        normal(reason, action, format!("{begin} {}", what.join(", ")))
    };
    done.chunk_by(|one, other| one.deed == other.deed).map(of_one).collect()
}

/// The events of a reconcile that found the status `before` and leaves the status `after`.
#[must_use]
pub fn changes(before: &PolkadotStatus, after: &PolkadotStatus) -> Vec<Happening> {
    let mut all = warnings(&before.conditions, &after.conditions);
    all.extend(stuck(&before.conditions, &after.conditions));
    all.extend(version(before, after));
    all.extend(ready(before, after));
    all
}

/// Warnings of a reconcile that got as far as the objects: while it does not, nobody knows whether they still hold.
const OF_OBJECTS: [&str; 4] = ["Contested", "DowngradeRefused", "PodBlocked", "VolumeChangeRefused"];

/// Conditions that are there only while they hold: they are what a person should know.
fn warnings(before: &[Condition], after: &[Condition]) -> Vec<Happening> {
    let passing = |one: &&Condition| !QUIET.contains(&one.type_.as_str());
    let known = |one: &Condition, among: &[Condition]| {
        among.iter().any(|other| other.type_ == one.type_ && other.reason == one.reason)
    };
    let come = after.iter().filter(passing).filter(|one| !known(one, before));
    let stopped = after.iter().any(|one| matches!(one.type_.as_str(), status::STALLED | "Held"));
    let unknown = |one: &&Condition| stopped && OF_OBJECTS.contains(&one.type_.as_str());
    let gone = before.iter().filter(passing).filter(|one| !known(one, after) && !unknown(one));
    let come = come.map(|one| warning(&one.reason, &one.message));
    let gone = gone.map(|one| normal("Resolved", "Observe", format!("no longer so: {}", one.reason)));
    come.chain(gone).collect()
}

/// Nodes that are down and will not come up by waiting.
fn stuck(before: &[Condition], after: &[Condition]) -> Option<Happening> {
    let is = |all: &[Condition], type_| all.iter().any(|one| one.type_ == type_ && one.status == "True");
    let stuck = |all: &[Condition]| is(all, status::DEGRADED) && !is(all, status::PROGRESSING);
    let words = after.iter().find(|one| one.type_ == status::DEGRADED)?;
    (stuck(after) && !stuck(before)).then(|| warning(&words.reason, &words.message))
}

/// A version that every node that is wanted runs now, and did not at last. (A status's own version leaves out nodes without
/// a pod, so that it is there while nodes come and go.)
fn version(before: &PolkadotStatus, after: &PolkadotStatus) -> Option<Happening> {
    let new = after.version.as_ref()?;
    let runs = |of: &PolkadotStatus| {
        !of.nodes.is_empty() && of.nodes.iter().all(|node| node.version.as_ref() == Some(new))
    };
    // A node that restarts at the same version is no news.
    let ran = runs(before) || before.settled.as_ref().is_some_and(|settled| settled.version == *new);
    (runs(after) && !ran).then(|| normal("VersionRuns", "Observe", format!("every node runs {new}")))
}

fn ready(before: &PolkadotStatus, after: &PolkadotStatus) -> Option<Happening> {
    let is = |of: &PolkadotStatus| of.settled.as_ref().is_some_and(|settled| settled.interrupted.is_none());
    (is(after) && !is(before)).then(|| {
        let words = after.conditions.iter().find(|one| one.type_ == status::READY);
        normal("Ready", "Observe", words.map(|one| one.message.clone()).unwrap_or_default())
    })
}

/// Conditions that warn of nothing: those that are always there, and that a resource is on its way.
const QUIET: [&str; 5] =
    [status::READY, status::PROGRESSING, status::RECONCILING, status::DEGRADED, status::ROLL_PENDING];

fn warning(reason: &str, words: &str) -> Happening {
    Happening { warning: true, reason: reason.into(), action: "Reconcile", words: words.into() }
}

fn normal(reason: &str, action: &'static str, words: String) -> Happening {
    Happening { warning: false, reason: reason.into(), action, words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polkadot::status::{NodeStatus, Settled};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn with(conditions: &[(&str, &str, &str)]) -> PolkadotStatus {
        let one = |(type_, status, reason): &(&str, &str, &str)| Condition {
            type_: (*type_).into(),
            status: (*status).into(),
            reason: (*reason).into(),
            message: format!("{reason} in words"),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        PolkadotStatus { conditions: conditions.iter().map(one).collect(), ..PolkadotStatus::default() }
    }

    fn reasons(before: &PolkadotStatus, after: &PolkadotStatus) -> Vec<(bool, String)> {
        changes(before, after).into_iter().map(|event| (event.warning, event.reason)).collect()
    }

    #[test]
    fn what_was_done_alike_is_one_event() {
        let done = |deed, what: &str| Done { deed, what: what.into() };
        let done = [
            done(Deed::Created, "Secret a"),
            done(Deed::Updated, "Service c"),
            done(Deed::Created, "StatefulSet b"),
        ];
        let words: Vec<_> = deeds(&done).into_iter().map(|event| event.words).collect();
        assert_eq!(words, ["created Secret a, StatefulSet b", "updated Service c"]);
    }

    #[test]
    fn a_warning_is_told_once_and_so_is_its_end() {
        let (well, ill) = (with(&[]), with(&[("Stalled", "True", "NameConflict")]));
        assert_eq!(reasons(&well, &ill), [(true, "NameConflict".into())]);
        assert_eq!(reasons(&ill, &ill), []);
        assert_eq!(reasons(&ill, &well), [(false, "Resolved".into())]);
        let other = with(&[("Stalled", "True", "Invalid")]);
        assert_eq!(reasons(&ill, &other), [(true, "Invalid".into()), (false, "Resolved".into())]);
    }

    #[test]
    fn a_node_that_restarts_is_no_news_and_one_that_is_stuck_is() {
        let down = |progressing| {
            with(&[("Degraded", "True", "NodesDown"), ("Progressing", progressing, "NodesStarting")])
        };
        assert_eq!(reasons(&with(&[]), &down("True")), []);
        assert_eq!(reasons(&down("True"), &down("False")), [(true, "NodesDown".into())]);
        assert_eq!(reasons(&down("False"), &down("False")), []);
    }

    #[test]
    fn that_a_resource_is_on_its_way_is_no_warning() {
        let on_its_way = with(&[("Progressing", "True", "Rolling"), ("Reconciling", "True", "Rolling")]);
        assert_eq!(reasons(&with(&[]), &on_its_way), []);
        assert_eq!(reasons(&on_its_way, &with(&[])), []);
    }

    #[test]
    fn what_was_not_looked_at_is_not_called_over() {
        let contested = ("Contested", "True", "Contested");
        for stopped in [("Stalled", "True", "NodeKeyMissing"), ("Held", "True", "Held")] {
            let told = reasons(&with(&[contested]), &with(&[stopped]));
            assert_eq!(told, [(true, stopped.2.into())]);
        }
        assert_eq!(reasons(&with(&[contested]), &with(&[])), [(false, "Resolved".into())]);
    }

    #[test]
    fn a_version_that_every_node_runs_is_told_once() {
        let status_of = |version: Option<&str>| NodeStatus {
            pod: "sentry-sset-0".into(),
            role: crate::polkadot::Role::Sentry,
            version: version.map(Into::into),
            peer_id: None,
        };
        let runs = |versions: &[Option<&str>]| PolkadotStatus {
            version: versions.iter().flatten().next().map(|version| (*version).into()),
            nodes: versions.iter().map(|version| status_of(*version)).collect(),
            ..PolkadotStatus::default()
        };
        let (some, none) = (Some("v2"), None);
        assert_eq!(reasons(&runs(&[some]), &runs(&[none])), []);
        assert_eq!(reasons(&runs(&[none]), &runs(&[some])), [(false, "VersionRuns".into())]);
        assert_eq!(reasons(&runs(&[some]), &runs(&[some])), []);
        assert_eq!(reasons(&runs(&[none, none]), &runs(&[some, none])), [], "one of two");
        let mut restarted = runs(&[none]);
        restarted.settled = Some(Settled {
            version: "v2".into(),
            since: Time(jiff::Timestamp::UNIX_EPOCH),
            interrupted: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
        });
        assert_eq!(reasons(&restarted, &runs(&[some])), [], "a restart at the same version");
    }
}
