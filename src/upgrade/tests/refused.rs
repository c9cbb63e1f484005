//! What resources refuse to have written on them.

use std::collections::BTreeSet;
use std::time::Instant;

use super::model::{one_canary, planned};
use crate::polkadot::Stretch;
use crate::upgrade::refused::{MARK_TRIES, NOTE_PAUSE, Refused, Went};
use crate::upgrade::{Action, Write};

fn refused(write: Write, model_version: &str) -> Action {
    let mut action = planned(&one_canary()).actions.remove(0);
    (action.write, action.resource_version) = (write, model_version.to_owned());
    action
}

#[test]
fn a_refused_note_is_tried_again_after_a_while_or_when_the_resource_has_changed() {
    let (model, now) = (one_canary(), Instant::now());
    let note = refused(Write::Health(Stretch::default()), "1");
    let mut known = Refused::default();
    assert!(known.note(&note, Went::Refused, now).is_some());
    assert_eq!(known.note(&note, Went::Refused, now), None, "told once");
    assert_eq!(known.unnotable(&model.board, now), [note.place.clone()].into());
    assert_eq!(known.unnotable(&model.board, now + NOTE_PAUSE), BTreeSet::new());
    known.note(&refused(Write::Failed(None), "another version"), Went::Refused, now);
    assert_eq!(known.unnotable(&model.board, now), BTreeSet::new());
    assert_eq!(known.note(&note, Went::Refused, now), None, "nor again when it has changed");
    known.note(&refused(Write::Failed(None), "another version"), Went::Refused, now);
    known.unnotable(&model.board, now);
    known.note(&note, Went::NotMade, now);
    assert_eq!(known.unnotable(&model.board, now), BTreeSet::new());
    known.note(&note, Went::Refused, now);
    known.note(&note, Went::Made, now);
    assert_eq!(known.unnotable(&model.board, now), BTreeSet::new());
    assert!(known.note(&note, Went::Refused, now).is_some(), "that is another time");
}

#[test]
fn a_resource_is_given_up_when_it_has_refused_its_mark_often_enough() {
    let (model, now) = (one_canary(), Instant::now());
    let (mark, mut known) = (refused(Write::Epoch(2), "1"), Refused::default());
    let given_up: Vec<bool> =
        (0..=MARK_TRIES).map(|_| known.note(&mark, Went::NotMade, now).is_some()).collect();
    let told: Vec<usize> = (0..given_up.len()).filter(|index| given_up[*index]).collect();
    assert_eq!(told, [MARK_TRIES as usize - 1], "told once");
    assert_eq!(known.unmarkable(&model.board), [mark.place.clone()].into());
    let mut changed = one_canary();
    changed.edit(&mark.place.0, &mark.place.1, |view| view.resource_version = "2".into());
    assert_eq!(known.unmarkable(&changed.board), BTreeSet::new(), "it may take the mark now");
    known.note(&mark, Went::Made, now);
    known.note(&mark, Went::NotMade, now);
    assert_eq!(known.unmarkable(&model.board), BTreeSet::new(), "it is counted from the start");
}
