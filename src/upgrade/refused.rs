//! Marks and notes that resources refused, as by a webhook: such a resource must neither stop the fleet nor be asked all the
//! time. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::observed::Board;

use super::{Action, Place, Write};

/// A resource that refused to be marked so often gets no step.
pub const MARK_TRIES: u32 = 10;
/// A refused note is tried again after so long: nothing hangs on it that cannot wait.
pub const NOTE_PAUSE: Duration = Duration::from_secs(300);

/// What was refused, each at the version that the resource had: changed, it may be tried again.
#[derive(Default)]
pub struct Refused {
    /// And how often.
    marks: BTreeMap<Place, (String, u32)>,
    /// And when it is to be tried again.
    notes: BTreeMap<Place, (String, Instant)>,
}

impl Refused {
    /// Takes down how a write went; whether the resource is not marked any more from now on.
    pub fn note(&mut self, action: &Action, well: bool, now: Instant) -> bool {
        let (place, version) = (&action.place, &action.resource_version);
        match action.write {
            Write::Epoch(_) if well => {
                self.marks.remove(place);
                false
            }
            Write::Epoch(_) => {
                let (known, times) = self.marks.entry(place.clone()).or_default();
                if known != version {
                    (*known, *times) = (version.clone(), 0);
                }
                *times += 1;
                *times == MARK_TRIES
            }
            Write::Health(_) | Write::Failed(_) if !well => {
                self.notes.insert(place.clone(), (version.clone(), now + NOTE_PAUSE));
                false
            }
            _ => false,
        }
    }

    /// Resources that refused to be marked too often, as long as they are what they were then.
    pub fn unmarkable(&self, board: &Board) -> BTreeSet<Place> {
        let refused = self.marks.iter().filter(|(place, (version, times))| {
            *times >= MARK_TRIES && version_of(board, place) == Some(version.as_str())
        });
        refused.map(|(place, _)| place.clone()).collect()
    }

    /// Resources on which a note was refused a while ago, as long as they are what they were then.
    pub fn unnotable(&mut self, board: &Board, now: Instant) -> BTreeSet<Place> {
        self.notes.retain(|place, (version, until)| {
            now < *until && version_of(board, place) == Some(version.as_str())
        });
        self.notes.keys().cloned().collect()
    }
}

fn version_of<'a>(board: &'a Board, (cluster, id): &Place) -> Option<&'a str> {
    let resource = board.clusters.get(cluster)?.resources.get(id)?;
    Some(resource.resource_version.as_str())
}
