//! What is wrong with a fleet file, in words for an operator: where, which value, what to do.

use std::fmt;

/// One mistake. A file is refused with all of its problems at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written: the file's path, or the name of an environment variable or a flag.
    pub source: String,
    /// The path in the file, for example `clusters[2].context`.
    pub path: String,
    /// The value that was found, as short text; `None` where something is missing.
    pub value: Option<String>,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// The same without the value, for who may read less than the fleet file: it may be a password in the wrong place.
    #[must_use]
    pub fn without_value(&self) -> String {
        Self { value: None, ..self.clone() }.to_string()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.path)?;
        if let Some(value) = &self.value {
            write!(f, ": {value}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}
