//! Whether the text of a fleet file is YAML of one mapping, no key twice, and if not, where and what to do. Pure.
//!
//! Figment alone would take the last of two equal keys, and so a second `clusters:` further down would silently replace
//! the first.

use serde_yaml::Location;

/// What is wrong, and what to do.
type Wrong = (String, &'static str);

/// The text without the mark that some editors put at the beginning of a file; the parser would take it for a document.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Parses, to see whether that can be done.
pub(super) fn parse(text: &str) -> Result<(), Wrong> {
    use serde_yaml::Value::{Mapping, Null};
    match serde_yaml::from_str(text) {
        Ok(Mapping(_)) => Ok(()),
        Ok(Null) => Err(("is empty".into(), "begin with `version: 1` and `clusters:`")),
        Ok(_) => {
            Err(("is not a mapping of keys to values".into(), "begin with `version: 1` and `clusters:`"))
        }
        Err(error) => Err(in_words(&error, text)),
    }
}

fn in_words(error: &serde_yaml::Error, text: &str) -> Wrong {
    let said = error.to_string();
    if said.contains("more than one document") {
        let what = "holds more than one YAML document".into();
        return (what, "keep one; a line of three dashes begins another");
    }
    let twice = error.location().and_then(|begin| {
        let key = said.split_once("duplicate entry with key \"")?.1.split_once('"')?.0;
        // Where it is not a key to a line, the place is that of the mapping.
        let lines = lines_of(key, &begin, text).map(|lines| format!("on lines {lines}"));
        let place =
            || format!("in the mapping that begins on line {}, column {}", begin.line(), begin.column());
        Some(format!("has the key {key:?} twice, {}", lines.unwrap_or_else(place)))
    });
    if let Some(what) = twice {
        return (what, "keep one of them");
    }
    let line = error.location().and_then(|place| text.lines().nth(place.line().checked_sub(1)?));
    if line.is_some_and(|line| line.trim_start_matches(' ').starts_with('\t')) {
        let what = format!("cannot be parsed as YAML: line {} begins with a tab", at_line(error));
        return (what, "indent it with spaces");
    }
    let place = error
        .location()
        .map_or_else(String::new, |place| format!(" at line {}, column {}", place.line(), place.column()));
    (format!("cannot be parsed as YAML{place}: {said}"), "mend the YAML there")
}

fn at_line(error: &serde_yaml::Error) -> usize {
    error.location().map_or(0, |place| place.line())
}

/// The lines on which a key of the mapping stands that begins there, where it is written a key to a line.
fn lines_of(key: &str, begin: &Location, text: &str) -> Option<String> {
    let column = begin.column() - 1;
    let is_it = |line: &str| {
        // The same key may be written with quotes and without.
        let plain = |rest: &str| match rest.chars().next()? {
            quote @ ('"' | '\'') => {
                rest.strip_prefix(quote)?.strip_prefix(key)?.strip_prefix(quote).map(str::to_owned)
            }
            _ => rest.strip_prefix(key).map(str::to_owned),
        };
        let found = line.get(column..).and_then(plain);
        found.is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    // A line that begins before the column ends the mapping.
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let lines = text.lines().enumerate().skip(begin.line() - 1);
    let within = lines
        .take_while(|(number, line)| *number == begin.line() - 1 || is_blank(line) || indent(line) >= column);
    let found: Vec<String> =
        within.filter(|(_, line)| is_it(line)).map(|(number, _)| (number + 1).to_string()).collect();
    (found.len() > 1).then(|| found.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        let (what, remedy) = parse(text).unwrap_err();
        format!("{what}; {remedy}")
    }

    #[test]
    fn a_key_that_is_there_twice_is_told_with_both_its_lines() {
        assert_eq!(
            says("home: a\nversion: 1\n# home: x\nhome: b\n"),
            "has the key \"home\" twice, on lines 1 and 4; keep one of them"
        );
        let nested = "clusters:\n  - name: a\n    context: a\n\n    labels:\n      context: x\n    context: b\n  - name: b\n    context: c\n";
        assert_eq!(says(nested), "has the key \"context\" twice, on lines 3 and 7; keep one of them");
        assert!(says("{a: 1, a: 2}").contains("the key \"a\" twice, in the mapping that begins on line 1"));
    }

    #[test]
    fn a_key_that_is_there_with_quotes_and_without_is_there_twice() {
        for text in ["home: a\n\"home\": b\n", "'home': a\nhome: b\n", "\"home\" : a\n'home': b\n"] {
            assert_eq!(
                says(text),
                "has the key \"home\" twice, on lines 1 and 2; keep one of them",
                "{text}"
            );
        }
    }

    #[test]
    fn a_mark_at_the_beginning_and_other_ends_of_lines_are_no_matter() {
        for text in ["\u{feff}version: 1\n", "\u{feff}# x\r\nversion: 1\r\nclusters: []\r\n"] {
            assert_eq!(parse(without_mark(text)), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_mapping_says_how_to_begin() {
        assert!(says("").contains("is empty"));
        assert!(says("- a\n").contains("not a mapping"));
        assert!(says("version: 1\n---\nx: 1\n").contains("more than one YAML document; keep one"));
        assert!(says("version: 1\n\thome: a\n").contains("line 2 begins with a tab"));
    }
}
