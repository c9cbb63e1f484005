//! The forms of names, keys and labels, and what the server says of a text that does not have one.

use regex::Regex;
use std::sync::LazyLock;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const DATA_KEY: &str = "[-._a-zA-Z0-9]+";

const LABEL_WORDS: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                           must start and end with an alphanumeric character";
const LABEL_1035_WORDS: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
                                an alphabetic character, and end with an alphanumeric character";
const SUBDOMAIN_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
                               or '.', and must start and end with an alphanumeric character";
const KEY_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE_WORDS: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
                                 or '.', and must start and end with an alphanumeric character";
const DATA_KEY_WORDS: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

fn is(form: &str, text: &str) -> bool {
    // A handful of forms, each compiled once.
    static FORMS: LazyLock<Vec<(&str, Option<Regex>)>> = LazyLock::new(|| {
        let compiled = |form| (form, Regex::new(&format!("^(?:{form})$")).ok());
        [LABEL, LABEL_1035, SUBDOMAIN, KEY, LABEL_VALUE, DATA_KEY].map(compiled).to_vec()
    });
    let found = FORMS.iter().find(|(name, _)| *name == form);
    found.and_then(|(_, regex)| regex.as_ref()).is_some_and(|regex| regex.is_match(text))
}

fn form(words: &str, examples: &[&str], form: &str) -> String {
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{form}')", examples.join(" or "))
}

fn limit(length: usize, limit: usize, unit: &str) -> Option<String> {
    (length > limit).then(|| format!("must be no more than {limit} {unit}"))
}

/// An RFC 1123 label: the name of most things that become part of a host name.
pub fn label(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = limit(text.len(), 63, "characters").into_iter().collect();
    if !is(LABEL, text) {
        wrong.push(if is(SUBDOMAIN, text) {
            "must not contain dots".to_owned()
        } else {
            form(LABEL_WORDS, &["my-name", "123-abc"], LABEL)
        });
    }
    wrong
}

/// An RFC 1035 label: an RFC 1123 one that begins with a letter.
pub fn label_1035(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = limit(text.len(), 63, "characters").into_iter().collect();
    if !is(LABEL_1035, text) {
        wrong.push(form(LABEL_1035_WORDS, &["my-name", "abc-123"], LABEL_1035));
    }
    wrong
}

/// An RFC 1123 subdomain: the name of most objects.
pub fn subdomain(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = limit(text.len(), 253, "characters").into_iter().collect();
    if !is(SUBDOMAIN, text) {
        wrong.push(form(SUBDOMAIN_WORDS, &["example.com"], SUBDOMAIN));
    }
    wrong
}

/// The key of a label or an annotation, with an optional domain before a slash.
pub fn qualified(text: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain(prefix).iter().map(|words| format!("prefix part {words}")));
            }
            name
        }
        _ => {
            let key = form(&format!("a valid label key {KEY_WORDS}"), &examples, KEY);
            return vec![format!(
                "{key} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if let Some(words) = limit(name.len(), 63, "bytes") {
        wrong.push(format!("name part {words}"));
    }
    if !is(KEY, name) {
        wrong.push(form(&format!("name part {KEY_WORDS}"), &examples, KEY));
    }
    wrong
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = limit(text.len(), 63, "bytes").into_iter().collect();
    if !is(LABEL_VALUE, text) {
        wrong.push(form(LABEL_VALUE_WORDS, &["MyValue", "my_value", "12345"], LABEL_VALUE));
    }
    wrong
}

/// A key in the data of a ConfigMap or a Secret: a file's name.
pub fn data_key(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = limit(text.len(), 253, "characters").into_iter().collect();
    if !is(DATA_KEY, text) {
        wrong.push(form(DATA_KEY_WORDS, &["key.name", "KEY_NAME", "key-name"], DATA_KEY));
    }
    match text {
        "." | ".." => wrong.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// What can stand in a URL between two slashes.
pub fn segment(text: &str) -> Vec<String> {
    if [".", ".."].contains(&text) {
        return vec![format!("may not be '{text}'")];
    }
    let forbidden = ['/', '%'].into_iter().filter(|letter| text.contains(*letter));
    forbidden.map(|letter| format!("may not contain '{letter}'")).collect()
}

/// The name of a port.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = limit(text.len(), 15, "characters").into_iter().collect();
    if !text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// The number of a port.
pub fn port_number(number: i64) -> Vec<String> {
    if (1..=65535).contains(&number) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}
