//! What is not compared, and why. Nothing else is left out.
//!
//! - uids: random. They are numbered as they appear, so that it still shows which are the same.
//! - resourceVersions: etcd's revision counts all writes to all clusters that share it. Those of objects are numbered as
//!   they appear, so that a write that changed nothing shows; those of lists and bookmarks depend on everybody else.
//! - times of the run, and ages in kubectl's tables: the two servers do not answer in the same moment.
//! - the order of managedFields: by time, to the second. (How they are ordered is tested where the time is given.)
//! - Service addresses and node ports that the server chose (of its range's upper part): the choice is random.
//! - names that the server made up of a `generateName`, `kube-api-access-` volumes: random.
//! - `continue` tokens: opaque.
//! - descriptions of a table's columns: documentation, generated from the server's own source.
//! - where etcd keeps an object, in the message that tells it: the prefix is the installation's.
//! - the address in `serverAddressByClientCIDRs`, and ports of the servers themselves: where a server listens.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::cases::Step;
use super::server::Answer;

/// What one server has shown in one subject so far.
#[derive(Default)]
pub struct Normalizer {
    uids: BTreeMap<String, usize>,
    versions: BTreeMap<String, usize>,
}

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

static UID: LazyLock<Regex> =
    LazyLock::new(|| regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\b"));
/// As `kubectl describe` writes it.
static LONG_TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"([A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4}|\d{4}-\d\d-\d\d) \d\d:\d\d:\d\d [+-]\d{4}")
});
/// Ages are aligned, too.
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\d{1,3}(ms|s)\b *"));
static VERSION_IN_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(resourceVersion: "|"resourceVersion": "|Resource Version: +|"resourceVersion\\*":\\*"|ResourceVersion in the precondition \(|ResourceVersion in record \(|ResourceVersion in object meta: |ResourceVersion in precondition: |too old resource version: |Too large resource version: |current: |\()(\d+)"#,
    )
});
static CHOSEN_ADDRESS: LazyLock<Regex> = LazyLock::new(|| regex(r"\b10\.96\.([1-9]\d*)\.\d+\b *"));
static CHOSEN_PORT: LazyLock<Regex> = LazyLock::new(|| regex(r"\b3(00[89]\d|0[1-9]\d\d|[12]\d\d\d)/"));
static MADE_UP: LazyLock<Regex> = LazyLock::new(|| regex("kube-api-access-[a-z0-9]{5}"));
static STORED_AT: LazyLock<Regex> = LazyLock::new(|| regex("Key: /[^/]*/"));
static OWN_PORT: LazyLock<Regex> = LazyLock::new(|| regex(r"https?://127\.0\.0\.1:\d+|127\.0\.0\.1:\d+"));

impl Normalizer {
    /// The answer without what cannot be the same.
    pub fn normalize(&mut self, mut answer: Answer, step: &Step) -> Answer {
        if !step.only.is_empty() {
            only(&mut answer.body, &step.only);
        }
        self.walk(&mut answer.body, "");
        for body in &mut answer.meanwhile {
            self.walk(body, "");
        }
        for warning in &mut answer.warnings {
            *warning = self.text(warning);
        }
        answer
    }

    fn walk(&mut self, value: &mut Value, key: &str) {
        match value {
            Value::Object(map) => {
                let is_list = map.contains_key("items") || map.contains_key("rows");
                if let Some(metadata) = map.get_mut("metadata").filter(|_| is_list) {
                    hide(metadata, "resourceVersion");
                    hide(metadata, "continue");
                }
                if map.get("type").is_some_and(|event| event == "BOOKMARK") {
                    hide(&mut map["object"]["metadata"], "resourceVersion");
                }
                generated(map);
                if let Some(owners) = map.get_mut("managedFields").and_then(Value::as_array_mut) {
                    owners.sort_by_key(owner);
                }
                if key == "columnDefinitions" {
                    map.insert("description".into(), json!("<description>"));
                }
                // Keys of managedFields may be uids.
                for (key, mut value) in std::mem::take(map) {
                    self.walk(&mut value, &key);
                    map.insert(UID.replace_all(&key, "<uid>").into_owned(), value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, key)),
            Value::Number(number)
                if key == "nodePort" && number.as_i64().is_some_and(|port| port >= 30086) =>
            {
                *value = json!("<port>");
            }
            Value::String(text) if key == "resourceVersion" && text.parse::<u64>().is_ok() => {
                let next = self.versions.len() + 1;
                let number = *self.versions.entry(text.clone()).or_insert(next);
                *text = format!("<version {number}>");
            }
            Value::String(text) if key == "serverAddress" => *text = "<address>".into(),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> String {
        let text = UID.replace_all(text, |found: &Captures<'_>| {
            let next = self.uids.len() + 1;
            format!("<uid {}>", self.uids.entry(found[0].to_owned()).or_insert(next))
        });
        let text = TIME.replace_all(&text, |found: &Captures<'_>| {
            let time: jiff::Timestamp = found[0].parse().unwrap_or_default();
            let distance = jiff::Timestamp::now().duration_since(time).abs();
            if distance < jiff::SignedDuration::from_hours(24) {
                "<time>".into()
            } else {
                found[0].to_owned()
            }
        });
        let text = LONG_TIME.replace_all(&text, "<time>");
        let text = AGE.replace_all(&text, "<age> ");
        let text = VERSION_IN_WORDS.replace_all(&text, "$1<version>");
        let text = CHOSEN_ADDRESS.replace_all(&text, "<ip>");
        let text = CHOSEN_PORT.replace_all(&text, "<port>/");
        let text = OWN_PORT.replace_all(&text, "<server>");
        let text = STORED_AT.replace_all(&text, "Key: /<prefix>/");
        MADE_UP.replace_all(&text, "kube-api-access-<random>").into_owned()
    }
}

fn hide(metadata: &mut Value, key: &str) {
    if let Some(value) = metadata.get_mut(key)
        && value.as_str().is_some_and(|text| !text.is_empty())
    {
        *value = json!("<opaque>");
    }
}

/// By what the entries of managedFields are put in order here.
fn owner(entry: &Value) -> [String; 4] {
    ["operation", "manager", "subresource", "apiVersion"]
        .map(|key| entry[key].as_str().unwrap_or_default().to_owned())
}

/// A name that the server made up.
fn generated(metadata: &mut serde_json::Map<String, Value>) {
    let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    if let Some(Value::String(name)) = metadata.get_mut("name")
        && name.len() == prefix.len() + 5
    {
        *name = format!("{prefix}<random>");
    }
}

/// Keeps the named entries of a discovery document's lists.
fn only(document: &mut Value, names: &[String]) {
    for list in
        document.as_object_mut().into_iter().flat_map(|map| map.values_mut()).filter_map(Value::as_array_mut)
    {
        list.retain(|entry| entry["name"].as_str().is_none_or(|name| names.iter().any(|one| one == name)));
    }
}
