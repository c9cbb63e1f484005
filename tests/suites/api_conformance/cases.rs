//! The cases: YAML files beside this one, each a subject; a list of steps, read here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A file of steps, which run in order.
pub struct Subject {
    /// The file's name.
    pub name: String,
    pub steps: Vec<Step>,
}

/// One request, or one command of kubectl. In all texts `{ns}` is the subject's namespace, `{run}` what all names of
/// the run begin with, `{core}`, `{dots}` and the like are paths within the namespace ([`super::server`]), and `{NAME}`
/// is what an earlier step kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `METHOD PATH` or `kubectl ARGUMENT…`; single quotes keep an argument together.
    #[serde(rename = "do")]
    pub act: String,
    /// The HTTP status; kubectl's exit code.
    pub code: i32,
    /// The body; for kubectl, what it reads from its standard input (several documents: a list).
    #[serde(default)]
    pub body: Value,
    /// A body that is no YAML.
    pub raw: Option<String>,
    /// The body's content type; `merge`, `json`, `strategic` and `apply` are the patches.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// `Accept`; `table`, `partial` and `partial-list` are the forms that the server knows.
    pub accept: Option<String>,
    /// What to remember of the answer: a name, and the JSON pointer.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
    /// Asked again until the answer has these values at these JSON pointers.
    #[serde(default)]
    pub until: BTreeMap<String, Value>,
    /// A watch (of HTTP or of kubectl): ends after this many events (or lines).
    pub watch: Option<usize>,
    /// What is done while the watch is under way, once its first event (or line) is there.
    #[serde(default)]
    pub then: Vec<Step>,
    /// Of discovery, which tells more of a real server: the entries of these names.
    #[serde(default)]
    pub only: Vec<String>,
}

impl Step {
    pub fn requests(&self) -> usize {
        1 + self.then.len()
    }

    pub fn is_kubectl(&self) -> bool {
        self.act.starts_with("kubectl ")
    }
}

impl Subject {
    pub fn needs_kubectl(&self) -> bool {
        self.steps.iter().any(Step::is_kubectl)
    }
}

/// All subjects.
pub fn all() -> Vec<Subject> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/api_conformance");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Subject {
    let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(file).unwrap();
    // By way of the YAML value, where merges (`<<`) are merged.
    let mut value: serde_yaml::Value =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    value.apply_merge().unwrap();
    let steps = serde_yaml::from_value(value).unwrap_or_else(|error| panic!("{name}: {error}"));
    Subject { name, steps }
}
