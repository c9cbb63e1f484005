//! Every kind of entry, told once; and the bounds.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::observed::{ClusterState, ClusterView, Healths, NodeView, RoleView};
use crate::polkadot::Kind;

/// So many seconds after noon.
fn at(second: i64) -> Timestamp {
    "2026-11-26T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn resource(name: &str, version: &str) -> ResourceView {
    let node = NodeView {
        machine: None,
        pod: "sentry-sset-0".into(),
        ordinal: 0,
        hash: Some("h".into()),
        version: Some(version.into()),
        ready_since: Some(at(0)),
        stuck: None,
    };
    ResourceView {
        prepulls: BTreeMap::new(),
        id: ResourceId { namespace: "n".into(), name: name.into() },
        uid: name.into(),
        resource_version: "1".into(),
        labels: BTreeMap::new(),
        kind: Kind::Sentry,
        chain: "polkadot".into(),
        client_version: Some(version.into()),
        step: None,
        grant: None,
        healthy: None,
        failed: None,
        epoch: 0,
        roles: vec![RoleView {
            role: Role::Sentry,
            hash: "h".into(),
            nodes: vec![node],
            volumes_added: false,
        }],
        held: None,
        trouble: None,
        settled_since: Some(at(0)),
        ever_settled: true,
        reached: None,
        keystore_kept: true,
        reserved_only: false,
    }
}

fn with_step(mut resource: ResourceView, target: &str, second: i64) -> ResourceView {
    resource.step = Some(Step {
        prepull: false,
        rolled_back: None,
        upgrade: "polkadot".into(),
        target: target.into(),
        attempt: 1,
        previous: resource.client_version.replace(target.into()),
        finalized: Some(7),
        approver: Some("bob".into()),
        at: at(second),
    });
    resource.settled_since = None;
    resource
}

fn with_grant(mut resource: ResourceView, second: i64) -> ResourceView {
    let (role, hash) = (Role::Sentry, "i".into());
    resource.grant = Some(Grant { role, hash, ordinal: 0, at: at(second), mends: false, again: false });
    resource
}

/// A member that is seen one way after another, and what is told of it; a restart comes after every one.
#[derive(Default)]
struct Member {
    record: Option<Record>,
}

impl Member {
    fn of(resources: &[ResourceView]) -> Self {
        let mut member = Self::default();
        member.seen(resources, 0);
        member
    }

    /// What is told then that was not told before.
    fn seen(&mut self, resources: &[ResourceView], second: i64) -> Vec<Entry> {
        let resources = resources.iter().map(|one| (one.id.clone(), Arc::new(one.clone()))).collect();
        let view = ClusterView {
            state: ClusterState::Ready,
            seen: true,
            remembered: false,
            concern: None,
            resources,
            health: Healths::default(),
        };
        let before = self.record.as_ref().map_or(0, |record| record.history.len());
        let text = serde_json::to_string(&Record::of(&view, self.record.as_ref(), &[], at(second))).unwrap();
        let record: Record = serde_json::from_str(&text).unwrap();
        assert!(record.agrees_with(&view));
        let told = record.history[before..].to_vec();
        assert_eq!(
            Record::of(&view, Some(&record), &[], at(second + 1)).history,
            record.history,
            "told once"
        );
        self.record = Some(record);
        told
    }
}

fn whats(told: &[Entry]) -> Vec<String> {
    told.iter().map(|entry| entry.what.to_string()).collect()
}

#[test]
fn a_resource_that_appears_and_goes_is_told() {
    let mut member = Member::of(&[]);
    let told = member.seen(&[resource("a", "v1")], 5);
    assert_eq!(whats(&told), ["first seen, v1", "settled at v1"]);
    assert_eq!((told[0].at, told[1].at), (at(5), at(5)), "not settled before it was there");
    let mut again = resource("a", "v1");
    (again.uid, again.settled_since) = ("another".into(), None);
    assert_eq!(whats(&member.seen(&[again], 6)), ["gone", "first seen, v1"], "made again, it is another one");
    assert_eq!(whats(&member.seen(&[], 7)), ["gone"]);
}

#[test]
fn an_upgrade_is_told_step_by_step_with_its_times_and_who_approved_it() {
    let mut member = Member::of(&[resource("a", "v1")]);
    let stepped = with_step(resource("a", "v1"), "v2", 10);
    let told = member.seen(std::slice::from_ref(&stepped), 20);
    assert_eq!(whats(&told), ["v1 -> v2"]);
    let cause = Some(Cause { name: "polkadot".into(), attempt: 1 });
    assert_eq!((told[0].at, &told[0].upgrade, told[0].approved_by.as_deref()), (at(10), &cause, Some("bob")));
    let granted = with_grant(stepped, 30);
    let told = member.seen(std::slice::from_ref(&granted), 40);
    assert_eq!((whats(&told), told[0].at), (vec!["sentry 0 may restart".to_owned()], at(30)));
    assert_eq!(told[0].upgrade, cause);
    let mut done = granted;
    done.roles[0].nodes[0].version = Some("v2".into());
    // The kubelet tells whole seconds, by its own clock.
    done.settled_since = Some(at(29));
    let told = member.seen(&[done], 50);
    assert_eq!((whats(&told), told[0].at), (vec!["settled at v2".to_owned()], at(30)));
    assert_eq!(told[0].upgrade, cause);
}

#[test]
fn a_permission_that_is_for_no_upgrade_does_not_name_one() {
    let mut known = with_step(resource("a", "v1"), "v2", 10);
    known.roles[0].nodes[0].version = Some("v2".into());
    let mut member = Member::of(std::slice::from_ref(&known));
    let told = member.seen(&[with_grant(known, 30)], 30);
    assert_eq!((whats(&told), &told[0].upgrade), (vec!["sentry 0 may restart".to_owned()], &None));
}

#[test]
fn a_version_that_somebody_else_set_is_told() {
    let mut member = Member::of(&[resource("a", "v1")]);
    // Changed back before anybody looked.
    let mut back = with_step(resource("a", "v1"), "v2", 10);
    back.client_version = Some("v1".into());
    assert_eq!(whats(&member.seen(&[back.clone()], 20)), ["v1 -> v2", "v2 -> v1, not by an upgrade"]);
    back.client_version = None;
    let told = member.seen(std::slice::from_ref(&back), 21);
    assert_eq!((whats(&told), told[0].at), (vec!["v1 -> no version, not by an upgrade".to_owned()], at(21)));
}

#[test]
fn a_step_is_told_once_though_its_clock_differs_or_an_old_manifest_brings_it_back() {
    let first = with_step(resource("a", "v1"), "v2", 10);
    let mut member = Member::of(&[resource("a", "v1")]);
    assert_eq!(member.seen(std::slice::from_ref(&first), 20).len(), 1);
    let mut later = first.clone();
    later.step.as_mut().unwrap().at = at(25);
    assert!(member.seen(&[later], 26).is_empty());
    let second = with_step(first.clone(), "v3", 1000);
    assert_eq!(whats(&member.seen(&[second], 1001)), ["v2 -> v3"]);
    assert_eq!(whats(&member.seen(&[first], 1002)), ["v3 -> v2, not by an upgrade"]);
    // Another attempt is another step.
    let mut retried = with_step(resource("a", "v3"), "v2", 2000);
    retried.step.as_mut().unwrap().attempt = 2;
    let told = member.seen(&[retried], 2001);
    assert_eq!((whats(&told), told[0].upgrade.as_ref().unwrap().attempt), (vec!["v3 -> v2".to_owned()], 2));
}

#[test]
fn pods_that_come_and_go_do_not_fill_the_history() {
    let mut member = Member::of(&[resource("a", "v1")]);
    for second in 1..20 {
        let mut flaps = resource("a", "v1");
        flaps.settled_since = (second % 2 == 0).then(|| at(second));
        assert!(member.seen(&[flaps], second).is_empty());
    }
}

#[test]
fn a_record_of_before_there_was_a_history_begins_with_what_happens_then() {
    let known = with_step(resource("a", "v1"), "v2", 10);
    let text = serde_json::json!({"seen": at(11), "resources": [known]}).to_string();
    let mut member = Member { record: Some(serde_json::from_str(&text).unwrap()) };
    assert!(member.seen(std::slice::from_ref(&known), 20).is_empty());
    assert_eq!(whats(&member.seen(&[with_grant(known, 30)], 30)), ["sentry 0 may restart"]);
}

#[test]
fn an_entry_that_cannot_be_read_costs_neither_the_record_nor_the_others() {
    let entry = entry(&resource("a", "v1"), at(0), What::Gone);
    let later = serde_json::json!({"at": at(1), "namespace": "n", "name": "a", "what": "movedToMars"});
    let text = serde_json::json!({"seen": at(2), "resources": [], "history": [later, entry]}).to_string();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap().history, [entry]);
}

#[test]
fn the_newest_entries_are_kept_and_stay_far_below_what_a_configmap_holds() {
    let mut member = Member::of(&[]);
    let hostile = "\"\u{1b}".repeat(50_000);
    for second in 0..i64::try_from(NEWEST).unwrap() + 50 {
        let mut one =
            with_step(resource(&"a".repeat(253), &hostile), &format!("{second}{hostile}"), 100 * second);
        one.id.namespace = "n".repeat(63);
        let step = one.step.as_mut().unwrap();
        (step.upgrade, step.approver) = (hostile.clone(), Some(hostile.clone()));
        let view = [one];
        let history = continued(member.record.as_ref(), &view, at(100 * second));
        member.record = Some(Record { seen: at(0), resources: view.into(), announced: vec![], history });
    }
    let history = &member.record.unwrap().history;
    let text = serde_json::to_string(history).unwrap();
    assert_eq!((history.len(), history.last().unwrap().at), (NEWEST, at(100 * 249)));
    assert!(text.len() < 400 << 10, "{}", text.len());
    assert!(!text.contains("u001b"), "no control characters for a terminal");
}

#[test]
fn a_resource_that_is_taken_back_is_told_as_that_and_not_as_somebodys_edit() {
    let stepped = with_step(resource("one", "stable2503-6"), "stable2503-7", 10);
    let mut member = Member::of(std::slice::from_ref(&stepped));
    let mut back = stepped;
    back.client_version = back.step.as_ref().unwrap().previous.clone();
    back.step.as_mut().unwrap().rolled_back = Some("no image".into());
    let told = member.seen(&[back], 60);
    assert_eq!(whats(&told).len(), 1, "{told:?}");
    assert!(
        matches!(&told[0].what, What::RolledBack { from, .. } if from.as_deref() == Some("stable2503-7"))
    );
    assert_eq!(told[0].upgrade.as_ref().map(|cause| cause.name.as_str()), Some("polkadot"));
}

#[test]
fn a_history_makes_room_for_many_resources() {
    let entry = |second| entry(&resource("a", "v1"), at(second), What::Gone);
    let history: Vec<Entry> = (0..200).map(entry).collect();
    let resources = |count: usize| -> Vec<ResourceView> {
        (0..count).map(|number| resource(&format!("r{number}"), "v1")).collect()
    };
    let written = |count: usize| {
        let mut record =
            Record { seen: at(0), resources: resources(count), announced: vec![], history: history.clone() };
        let text = record.written().unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        (text.len(), record)
    };
    let (one, whole) = written(1);
    assert_eq!(whole.history, history);
    let each = (written(101).0 - one) / 100;
    let (size, record) = written((1_000_000 - one / 2) / each);
    assert!(size <= 1_000_000, "{size}");
    assert!(!record.history.is_empty() && history.ends_with(&record.history), "{}", record.history.len());
}

/// A resource that was given a version, in its cluster.
fn view(one: &ResourceView) -> ClusterView {
    ClusterView {
        state: ClusterState::Ready,
        seen: true,
        remembered: false,
        concern: None,
        resources: [(one.id.clone(), Arc::new(one.clone()))].into(),
        health: Healths::default(),
    }
}

fn outcome(of: &ResourceView, failure: Option<&str>) -> BTreeMap<ResourceId, Outcome> {
    let outcome = Outcome { step: of.step.clone().unwrap(), failure: failure.map(str::to_owned) };
    [(of.id.clone(), outcome)].into()
}

#[test]
fn a_failure_is_told_once_for_its_step_and_never_for_another_one() {
    let stepped = with_step(resource("a", "v1"), "v2", 10);
    let first = outcome(&stepped, Some("crashes\u{1b}"));
    let record = Record::of(&view(&stepped), None, &[], at(20));
    assert!(!record.tells(&first, at(20)));
    let record = record.with_outcomes(&first, at(20));
    assert_eq!(whats(&record.history), ["first seen, v2", "v1 -> v2", "FAILED: crashes?"]);
    assert_eq!(record.history[2].upgrade.as_ref().map(|cause| cause.attempt), Some(1));
    assert!(record.tells(&first, at(9_000)));
    assert_eq!(record.clone().with_outcomes(&first, at(9_000)), record, "told once");
    // Another attempt was made meanwhile: what is known of the first says nothing of it.
    let mut again = stepped.clone();
    (again.step.as_mut().unwrap().attempt, again.step.as_mut().unwrap().at) = (2, at(40));
    let record = Record::of(&view(&again), Some(&record), &[], at(41)).with_outcomes(&first, at(41));
    assert_eq!(whats(&record.history[3..]), ["v1 -> v2"], "so soon after the first, too");
    assert!(record.tells(&first, at(42)), "and nothing is written for it");
    let second = outcome(&again, Some("crashes"));
    assert!(!record.tells(&second, at(42)));
    assert_eq!(whats(&record.with_outcomes(&second, at(200)).history[4..]), ["FAILED: crashes"]);
    // A resource that nobody remembers is no reason to write.
    assert!(Record::of(&view(&resource("b", "v1")), None, &[], at(1)).tells(&first, at(1)));
}

#[test]
fn what_heals_after_a_failure_and_fails_again_is_told_and_what_goes_to_and_fro_only_now_and_then() {
    let stepped = with_step(resource("a", "v1"), "v2", 0);
    let (well, ill) = (outcome(&stepped, None), outcome(&stepped, Some("crashes")));
    let mut record = Record::of(&view(&stepped), None, &[], at(0));
    assert!(record.tells(&well, at(1)), "that all went well is told otherwise");
    record = record.with_outcomes(&ill, at(1_800));
    for (second, outcome) in [(1_900, &well), (2_399, &well), (2_400, &well), (2_500, &ill), (9_000, &ill)] {
        record = record.with_outcomes(outcome, at(second));
    }
    let told: Vec<(Timestamp, String)> =
        record.history[2..].iter().map(|entry| (entry.at, entry.what.to_string())).collect();
    let expected = [
        (at(1_800), "FAILED: crashes".to_owned()),
        (at(2_400), "is healthy, after it had failed".to_owned()),
        (at(9_000), "FAILED: crashes".to_owned()),
    ];
    assert_eq!(told, expected);
}
