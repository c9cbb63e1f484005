//! The fleet file as it is written: its JSON Schema, and loading by figment (file, environment, flags).
//!
//! YAML stays behind this file. Whether what is written makes sense is decided in [`super::validate`]; here it is only
//! read.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format as _, Serialized, Yaml};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use super::problem::Problem;
use super::raw::RawFleet;

mod environment;
mod parse;
mod plain;

/// Where the fleet comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The fleet file; without one, `flags` alone make the fleet.
    pub file: Option<PathBuf>,
    /// The environment, as it was when the daemon started.
    pub env: Vec<(String, String)>,
    /// What flags say, in the file's own shape; wins over the rest.
    pub flags: Option<Value>,
}

/// The JSON Schema of the file (draft 2020-12).
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(plain::plain));
    settings.into_generator().into_root_schema_for::<RawFleet>().to_value()
}

/// What was written, and by whom.
pub(super) struct Written {
    /// The merged file, environment and flags.
    pub(super) value: Value,
    /// Where most of it was written.
    pub(super) source: String,
    /// Paths that an environment variable set.
    by_env: BTreeMap<String, String>,
}

impl Written {
    /// Where the value at `path` was written.
    pub(super) fn source_of(&self, path: &str) -> String {
        let by_env = self.by_env.iter().find(|(set, _)| within(path, set));
        by_env.map_or_else(|| self.source.clone(), |(_, name)| format!("environment variable {name}"))
    }

    /// Where what does not fit at `path` was written: it may be the first part of what a variable names, which then made it.
    pub(super) fn source_of_misfit(&self, path: &str) -> String {
        let below = self.by_env.keys().find(|set| within(set, path));
        self.source_of(below.map_or(path, String::as_str))
    }

    /// Whether environment variables set parts of the value at `path`.
    pub(super) fn has_parts_from_env(&self, path: &str) -> bool {
        self.by_env.keys().any(|set| set != path && within(set, path))
    }

    /// Whether an environment variable set the value at `path`.
    pub(super) fn is_from_env(&self, path: &str) -> bool {
        self.by_env.keys().any(|set| within(path, set))
    }
}

/// Whether `path` is `outer`, or leads to a part of it.
pub(super) fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The text of a fleet file; otherwise what is wrong with it, and what to do.
fn text_of(file: &Path) -> Result<String, (String, &'static str)> {
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => ("cannot be read: it is a directory".into(), "name the fleet file in it"),
        ErrorKind::NotFound => ("cannot be read: it is not there".into(), "name a fleet file that is there"),
        ErrorKind::PermissionDenied => {
            let what = format!("cannot be read by the user that polkafleet runs as ({error})");
            (what, "give that user the right to read it")
        }
        _ => (format!("cannot be read ({error})"), "name a file that can be read"),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = 1 + good.matches('\n').count();
        (
            format!("cannot be read: it is not UTF-8 text, from line {line} on"),
            "save it as UTF-8, and see that it is the fleet file",
        )
    })
}

/// Reads and merges the sources; nothing is judged yet but the YAML.
pub(super) fn read(sources: &Sources) -> Result<Written, Problem> {
    let source = sources
        .file
        .as_ref()
        .map_or_else(|| "the command line".to_owned(), |file| file.display().to_string());
    let unreadable = |what: String, remedy: &str| Problem {
        source: source.clone(),
        path: "(file)".into(),
        value: None,
        what,
        remedy: remedy.into(),
    };
    let text = match &sources.file {
        Some(file) => text_of(file).map_err(|(what, remedy)| unreadable(what, remedy))?,
        // Flags alone make the fleet.
        None => "{}".to_owned(),
    };
    let text = parse::without_mark(&text);
    parse::parse(text).map_err(|(what, remedy)| unreadable(what, remedy))?;
    let (from_env, by_env) = environment::overlay(&sources.env);
    let merged = Figment::new()
        .merge(Yaml::string(text))
        .merge(Serialized::defaults(from_env))
        .merge(Serialized::defaults(sources.flags.clone().unwrap_or_else(|| json!({}))));
    let value = merged.extract::<Value>().map_err(|error| {
        unreadable(format!("is not YAML of the right form ({error})"), "mend the YAML there")
    })?;
    Ok(Written { value, source, by_env })
}
