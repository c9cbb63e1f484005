//! Counts and durations. Pure.

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::Checker;
use crate::fleet::Count;
use crate::fleet::raw::RawCount;
use crate::fleet::shape::with_a_unit;

/// A year: longer is a slip, and times must not overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);

impl Checker<'_> {
    pub(super) fn count(&mut self, path: &str, raw: Option<&RawCount>, default: u32, least: u32) -> Count {
        let count = match raw {
            None => return Count::Number(default),
            Some(RawCount::Number(number)) => Some(Count::Number(*number)).filter(|_| *number >= least),
            Some(RawCount::Percent(text)) => {
                let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
                number.filter(|percent| (1..=100).contains(percent)).map(Count::Percent)
            }
        };
        count.unwrap_or_else(|| {
            let value = match raw {
                Some(RawCount::Percent(text)) => text.clone(),
                Some(RawCount::Number(number)) => number.to_string(),
                None => String::new(),
            };
            let remedy = format!("write a number from {least}, or a percentage from 1% to 100%");
            self.problem(path, Some(&value), "is neither a count nor a percentage", remedy);
            Count::Number(default)
        })
    }

    pub(super) fn duration(
        &mut self,
        path: &str,
        raw: Option<&String>,
        default: SignedDuration,
    ) -> SignedDuration {
        let Some(text) = raw else { return default };
        // A soak of two days is two times 24 hours, whatever the clocks do.
        let span =
            text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        match span {
            Ok(duration) if !duration.is_negative() && duration <= LONGEST => duration,
            _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.once(path.to_owned(), Some(text), "is a duration without a unit", &with_a_unit(text));
                default
            }
            _ => {
                self.once(
                    path.to_owned(),
                    Some(text),
                    "is not a duration",
                    "write it as 90s, 30m, 1h 30m or 2d, at most a year",
                );
                default
            }
        }
    }
}
