//! What home has to know before a write, and what it is told of waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::model::{Model, one_canary, planned};
use crate::fleet::ClusterName;
use crate::home::HomeView;
use crate::home::record::{Announcements, Record, Remembered};
use crate::observed::Board;
use crate::upgrade::execute::{is_told, standings_of};
use crate::upgrade::overlay::announced;
use crate::upgrade::{Action, Code, Plan, Wait, Write};

/// The first step of a plan, what is announced for it, and home as it knows both.
struct About {
    model: Model,
    step: Action,
    announced: Announcements,
    home: HomeView,
}

impl About {
    fn new() -> Self {
        let model = one_canary();
        let mut actions = planned(&model).actions.into_iter();
        let step = actions.find(|action| matches!(action.write, Write::Step(_))).unwrap();
        let name = step.place.0.clone();
        let ours = vec![announced(&step).unwrap()];
        let record = Record::of(&model.board.clusters[&name], None, &ours, model.now);
        let remembered = Remembered { version: "1".into(), record: Arc::new(record) };
        let home = HomeView { records: BTreeMap::from([(name.clone(), remembered)]), ..HomeView::default() };
        Self { model, step, announced: BTreeMap::from([(name, ours)]), home }
    }

    /// Changes what home remembers.
    fn record(&mut self, change: impl FnOnce(&mut Record)) {
        let remembered = self.home.records.get_mut(&self.step.place.0).unwrap();
        change(Arc::make_mut(&mut remembered.record));
    }

    fn is_told(&self, action: &Action) -> bool {
        is_told(action, &self.model.board, &self.home, &self.announced)
    }
}

#[test]
fn a_step_is_written_when_home_knows_it_and_what_runs_there() {
    let about = About::new();
    assert!(about.is_told(&about.step));
}

#[test]
fn a_step_waits_for_a_record_of_what_runs_there_now() {
    let mut about = About::new();
    let name: ClusterName = about.step.place.0.clone();
    let view = Arc::make_mut(about.model.board.clusters.get_mut(&name).unwrap());
    let resource = Arc::make_mut(view.resources.values_mut().next().unwrap());
    resource.labels.insert("chain".into(), "kusama".into());
    assert!(!about.is_told(&about.step));
    about.home.records.clear();
    assert!(!about.is_told(&about.step), "nor is one taken where home knows nothing at all");
}

#[test]
fn a_step_waits_for_its_own_announcement_and_not_for_that_of_an_earlier_daemon() {
    let mut about = About::new();
    about.record(|record| record.announced[0].step.at -= SignedDuration::from_secs(1));
    assert!(!about.is_told(&about.step));
    about.record(|record| record.announced.clear());
    assert!(!about.is_told(&about.step));
    about.announced.clear();
    assert!(!about.is_told(&about.step), "nor is one taken that nobody has announced");
}

#[test]
fn a_permission_needs_no_announcement_and_an_epoch_not_even_a_record() {
    let mut about = About::new();
    about.record(|record| record.announced.clear());
    let as_write = |write: Write| Action { write, ..about.step.clone() };
    assert!(about.is_told(&as_write(Write::Revoke)));
    let epoch = as_write(Write::Epoch(3));
    about.home.records.clear();
    assert!(about.is_told(&epoch));
    assert!(!about.is_told(&as_write(Write::Revoke)));
}

#[test]
fn of_what_waits_the_lease_tells_what_only_the_daemon_sees_and_what_needs_a_person_each_once() {
    let place = about_place();
    let wait = |code, words: &str| Wait { place: place.clone(), code, words: words.into(), until: None };
    let told = [
        wait(Code::ChainStalled, "the chain stands"),
        wait(Code::ChainStalled, "the chain stands"),
        wait(Code::ProbeBlocked, "no way to its metrics"),
        wait(Code::Contested, "somebody set it back"),
        wait(Code::DowngradeRefused, "older than what runs"),
    ];
    let not_told = [
        wait(Code::NotHealthyYet, "for a minute more"),
        wait(Code::Width, "others first"),
        wait(Code::RecordPending, "home is told"),
    ];
    let made = Plan { waits: told.into_iter().chain(not_told).collect(), ..Plan::default() };
    let here = |words: &str| format!("{} {}: {words}", place.0, place.1);
    let expected = [
        here("no way to its metrics"),
        here("older than what runs"),
        here("somebody set it back"),
        "the chain stands".to_owned(),
    ];
    assert_eq!(standings_of(&made, &Board::default()).waits, expected);
}

fn about_place() -> crate::upgrade::Place {
    About::new().step.place
}
