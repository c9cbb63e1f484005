//! How text is put on a terminal: at its width, words whole, the rest of a line set in under its beginning. What goes into a
//! pipe or a file stays one line for each thing, for grep.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use textwrap::{Options, WordSplitter};

/// How much further the rest of a line is set in than its beginning.
const FURTHER: usize = 4;

/// As the shell says of a program that wrote to a pipe which nobody reads any more.
const NOBODY_READS: i32 = 128 + 13;

/// Prints to standard output what a command was asked for. It ends with the command where nobody reads that any more, or it
/// cannot be written.
#[allow(clippy::print_stderr)]
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
        Err(error) => {
            eprintln!("error: standard output cannot be written: {error}");
            std::process::exit(1);
        }
    }
}

/// As much of a picture as so many lines have room for. What is left out first are nodes that are well: the reasons why
/// something waits stand below them.
pub(super) fn fitting(picture: &str, rows: usize) -> String {
    let (mut lines, rows): (Vec<&str>, _) = (picture.trim_end().lines().collect(), rows.max(2));
    if lines.len() <= rows {
        return lines.join("\n") + "\n";
    }
    lines.retain(|line| !(line.starts_with("    ") && line.ends_with("  ready")));
    if lines.len() < rows {
        return lines.join("\n") + "\n… (nodes that are ready are left out: this terminal is too low)\n";
    }
    let mut fitting = lines[..rows.saturating_sub(1)].join("\n");
    fitting.push_str("\n… (this terminal is too low for the rest)\n");
    fitting
}

/// A text as it is to be printed to standard output.
pub(super) fn laid_out(text: &str) -> String {
    if std::io::stdout().is_terminal() { wrapped(text, textwrap::termwidth()) } else { text.to_owned() }
}

/// How many lines the terminal shows at once.
pub(super) fn rows() -> usize {
    terminal_size::terminal_size().map_or(usize::MAX, |(_, rows)| rows.0.into())
}

/// As much of a text as fits on one line of the terminal.
pub(super) fn one_line(text: &str) -> String {
    let columns = textwrap::termwidth().saturating_sub(1);
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// The text with no line longer than so many columns, as far as its words allow.
fn wrapped(text: &str, columns: usize) -> String {
    let mut all = String::new();
    for line in text.split_inclusive('\n') {
        let (words, end) = line.strip_suffix('\n').map_or((line, ""), |words| (words, "\n"));
        let own = words.len() - words.trim_start_matches(' ').len();
        let indent = " ".repeat((own + FURTHER).min(columns / 2));
        let options = Options::new(columns)
            .subsequent_indent(&indent)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        all.push_str(&textwrap::wrap(words, options).join("\n"));
        all.push_str(end);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_too_high_is_cut_and_says_so() {
        assert_eq!(fitting("a\nb\nc\n", 3), "a\nb\nc\n");
        assert_eq!(fitting("a\nb\nc\nd\n", 3), "a\nb\n… (this terminal is too low for the rest)\n");
        let nodes = "a\n    pod-0  v1  ready\n    pod-1  v1  not ready\n    pod-2  v1  ready\nwhy\n";
        let left = "a\n    pod-1  v1  not ready\nwhy\n… (nodes that are ready are left out: this terminal is too low)\n";
        assert_eq!(fitting(nodes, 4), left);
    }

    #[test]
    fn a_long_line_goes_on_under_its_beginning_and_no_word_is_torn() {
        let text = "Waiting or left out now:\n  eu-1  polkadot/polkadot  EarlierStage: stage canary has not passed: eu-canary \
                    polkadot/polkadot soaks until 2026-11-27T12:00:00Z\nend\n";
        let expected = "Waiting or left out now:\n  eu-1  polkadot/polkadot  EarlierStage: stage canary has not passed: eu-canary\n      \
                        polkadot/polkadot soaks until 2026-11-27T12:00:00Z\nend\n";
        assert_eq!(wrapped(text, 80), expected);
    }

    #[test]
    fn what_fits_stays_as_it_is_and_a_word_that_is_too_long_stays_whole() {
        let fits = "  canary         [####################] passed, 1 of 1 healthy\n";
        assert_eq!(wrapped(fits, 80), fits);
        let name = "x".repeat(100);
        assert_eq!(wrapped(&format!("a {name} b"), 80), format!("a\n    {name}\n    b"));
        assert_eq!(wrapped("", 80), "");
    }
}
