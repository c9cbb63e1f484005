//! Marks and notes that resources refused, as by a webhook: such a resource must neither stop the fleet nor be asked all the
//! time. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::observed::Board;

use super::{Action, Place, Write};

/// A resource that refused to be marked so often gets no step.
pub const MARK_TRIES: u32 = 10;
/// A refused note is tried again after so long.
pub const NOTE_PAUSE: Duration = Duration::from_secs(300);

const UNMARKABLE: &str = "The resource cannot be marked with the daemon that leads now; it gets no steps, all others do. Does a \
    webhook refuse patches, or is it not valid by the CRD? Try kubectl annotate.";
const UNNOTABLE: &str = "How the resource fares cannot be noted on it; that is tried again every five minutes, and where it is \
    not healthy any more, its upgrade takes no step before. Does a webhook refuse patches, or is it not valid by the CRD? Try \
    kubectl annotate.";

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// It was made.
    Made,
    /// The server, or a webhook, does not want it.
    Refused,
    /// It was not made, for another reason.
    NotMade,
}

/// What was refused, each at the version that the resource had: changed, it may be tried again.
#[derive(Default)]
pub struct Refused {
    /// And how often.
    marks: BTreeMap<Place, (String, u32)>,
    /// And when it is to be tried again.
    notes: BTreeMap<Place, (String, Instant)>,
    /// Of which notes a person was told.
    told: BTreeSet<Place>,
}

impl Refused {
    /// Takes down how a write went; what a person should know, the first time.
    pub fn note(&mut self, action: &Action, went: Went, now: Instant) -> Option<&'static str> {
        let (place, version) = (&action.place, &action.resource_version);
        match (&action.write, went) {
            (Write::Epoch(_), Went::Made) => {
                self.marks.remove(place);
                None
            }
            (Write::Epoch(_), _) => {
                let (known, times) = self.marks.entry(place.clone()).or_default();
                if known != version {
                    (*known, *times) = (version.clone(), 0);
                }
                *times += 1;
                (*times == MARK_TRIES).then_some(UNMARKABLE)
            }
            (Write::Health(_) | Write::Failed(_), Went::Refused) => {
                self.notes.insert(place.clone(), (version.clone(), now + NOTE_PAUSE));
                self.told.insert(place.clone()).then_some(UNNOTABLE)
            }
            (Write::Health(_) | Write::Failed(_), Went::Made) => {
                self.notes.remove(place);
                self.told.remove(place);
                None
            }
            _ => None,
        }
    }

    /// Resources that refused to be marked too often, as long as they are what they were then.
    pub fn unmarkable(&self, board: &Board) -> BTreeSet<Place> {
        let refused = self.marks.iter().filter(|(place, (version, times))| {
            *times >= MARK_TRIES && version_of(board, place) == Some(version.as_str())
        });
        refused.map(|(place, _)| place.clone()).collect()
    }

    /// Resources on which a note was refused a moment ago, as long as they are what they were then.
    pub fn unnotable(&mut self, board: &Board, now: Instant) -> BTreeSet<Place> {
        self.notes.retain(|place, (version, _)| version_of(board, place) == Some(version.as_str()));
        self.told.retain(|place| version_of(board, place).is_some());
        self.notes.iter().filter(|(_, (_, until))| now < *until).map(|(place, _)| place.clone()).collect()
    }
}

fn version_of<'a>(board: &'a Board, (cluster, id): &Place) -> Option<&'a str> {
    let resource = board.clusters.get(cluster)?.resources.get(id)?;
    Some(resource.resource_version.as_str())
}
