//! Whether a daemon that stands by follows the same as the one that leads: when it takes over, it goes by its own file. Pure.

use std::time::{Duration, Instant};

/// What it found, and since when.
#[derive(Default)]
pub struct Agreement {
    differs: Option<(String, Instant)>,
    told: Option<String>,
}

impl Agreement {
    /// Hears how what the daemon that leads follows differs from the file here, in words, if it does; not while that is not
    /// known. Returns what there is to tell: differences that have lasted for longer than an edit may take to every daemon,
    /// each of them once.
    pub fn hear(&mut self, differs: Option<String>, patience: Duration, now: Instant) -> Option<String> {
        let Some(words) = differs else {
            *self = Self::default();
            return None;
        };
        let known = self.differs.take().filter(|(known, _)| *known == words);
        let (words, since) = self.differs.insert(known.unwrap_or((words, now)));
        let is_news = now.duration_since(*since) >= patience && self.told.as_ref() != Some(words);
        is_news.then(|| self.told.insert(words.clone()).clone())
    }

    /// When there will be something to tell, if nothing changes.
    pub fn next(&self, patience: Duration) -> Option<Instant> {
        let untold = self.differs.as_ref().filter(|(words, _)| self.told.as_ref() != Some(words));
        untold.map(|(_, since)| *since + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    #[test]
    fn what_differs_is_told_once_when_it_has_lasted_and_again_when_it_is_something_else() {
        let (mut agreement, begun) = (Agreement::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut after = |seconds, words: Option<&str>| {
            let told = agreement.hear(words.map(str::to_owned), PATIENCE, at(seconds));
            (told, agreement.next(PATIENCE))
        };
        let told = |words: &str| Some(words.to_owned());
        assert_eq!(after(0, Some("a target")), (None, Some(at(120))), "an edit may be on its way");
        assert_eq!(after(60, Some("a target")), (None, Some(at(120))));
        assert_eq!(after(120, Some("a target")), (told("a target"), None));
        assert_eq!(after(240, Some("a target")), (None, None), "once");
        assert_eq!(after(250, Some("a stage")), (None, Some(at(370))));
        assert_eq!(after(370, Some("a stage")), (told("a stage"), None));
        assert_eq!(after(380, None), (None, None), "they agree");
        assert_eq!(after(390, Some("a stage")), (None, Some(at(510))), "and then they do not");
    }
}
