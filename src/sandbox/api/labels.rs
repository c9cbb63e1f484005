//! Label selectors: the server's own grammar and words (k8s.io/apimachinery `labels/selector.go`), and whether labels
//! are meant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::sandbox::builtin::validate::names;
use crate::sandbox::cause::Cause;

/// Requirements, all of which have to hold.
#[derive(Debug, Default)]
pub struct Labels(Vec<Requirement>);

#[derive(Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Greater,
    Less,
}

impl Labels {
    /// Reads a selector; an error is the server's own.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut all = vec![];
        loop {
            let next = parser.peek();
            match next.kind {
                Token::Text | Token::Not => {}
                Token::End => return Ok(Self(all)),
                _ => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        next.text
                    ));
                }
            }
            let requirement = parser.requirement();
            all.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            let after = parser.take();
            match after.kind {
                Token::End => return Ok(Self(all)),
                Token::Comma => {
                    let next = parser.peek();
                    if !matches!(next.kind, Token::Text | Token::Not) {
                        return Err(format!("found '{}', expected: identifier after ','", next.text));
                    }
                }
                _ => return Err(format!("found '{}', expected: ',' or 'end of string'", after.text)),
            }
        }
    }

    /// Whether everything is meant.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels.get(&requirement.key)))
    }
}

impl Requirement {
    fn new(key: String, operator: Operator, values: BTreeSet<String>) -> Result<Self, String> {
        if matches!(operator, Operator::In | Operator::NotIn) && values.is_empty() {
            let detail = "for 'in', 'notin' operators, values set can't be empty";
            return Err(said(&Cause::invalid("values", &json!([]), detail)));
        }
        for (index, value) in values.iter().enumerate() {
            if matches!(operator, Operator::Greater | Operator::Less) && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(said(&Cause::invalid(format!("values[{index}]"), &json!(value), detail)));
            }
            refuse(&format!("values[{index}][{key}]"), value, &names::label_value(value))?;
        }
        Ok(Self { key, operator, values })
    }

    fn matches(&self, found: Option<&String>) -> bool {
        let compare = |holds: fn(&i64, &i64) -> bool| {
            let bound = self.values.first().and_then(|value| value.parse().ok());
            let found = found.and_then(|value| value.parse().ok());
            matches!((found, bound), (Some(found), Some(bound)) if holds(&found, &bound))
        };
        match self.operator {
            Operator::In => found.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => found.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Greater => compare(i64::gt),
            Operator::Less => compare(i64::lt),
        }
    }
}

fn refuse(field: &str, value: &str, why: &[String]) -> Result<(), String> {
    if why.is_empty() {
        return Ok(());
    }
    Err(said(&Cause::invalid(field, &Value::from(value), why.join("; "))))
}

fn said(cause: &Cause) -> String {
    format!("{}: {}", cause.field, cause.message)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Text,
    Not,
    Comma,
    Open,
    Close,
    Equal,
    NotEqual,
    Greater,
    Less,
    End,
}

#[derive(Clone, Debug)]
struct Lexeme {
    kind: Token,
    text: String,
}

/// What the texts of two signs and of one are.
const SIGNS: [(&str, Token); 9] = [
    ("==", Token::Equal),
    ("!=", Token::NotEqual),
    ("=", Token::Equal),
    ("!", Token::Not),
    (",", Token::Comma),
    ("(", Token::Open),
    (")", Token::Close),
    (">", Token::Greater),
    ("<", Token::Less),
];

fn tokens(mut text: &str) -> Vec<Lexeme> {
    let mut all = vec![];
    loop {
        text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            all.push(Lexeme { kind: Token::End, text: String::new() });
            return all;
        }
        let sign = SIGNS.into_iter().find(|(sign, _)| text.starts_with(sign));
        let (length, kind) = sign.map_or_else(
            || (text.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']), Token::Text),
            |(sign, kind)| (Some(sign.len()), kind),
        );
        let (word, rest) = text.split_at(length.unwrap_or(text.len()));
        all.push(Lexeme { kind, text: word.to_owned() });
        text = rest;
    }
}

struct Parser {
    tokens: Vec<Lexeme>,
    at: usize,
}

impl Parser {
    /// The next one; after the end there is only the end.
    fn peek(&self) -> Lexeme {
        let end = Lexeme { kind: Token::End, text: String::new() };
        self.tokens.get(self.at).cloned().unwrap_or(end)
    }

    fn take(&mut self) -> Lexeme {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut key = self.take();
        let missing = key.kind == Token::Not;
        if missing {
            key = self.take();
        }
        if key.kind != Token::Text {
            return Err(format!("found '{}', expected: identifier", key.text));
        }
        refuse("", &key.text, &names::qualified(&key.text))?;
        if missing {
            return Requirement::new(key.text, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek().kind, Token::End | Token::Comma) {
            return Requirement::new(key.text, Operator::Exists, BTreeSet::new());
        }
        let sign = self.take();
        let (operator, many) = match (sign.kind, &*sign.text) {
            (Token::Text, "in") => (Operator::In, true),
            (Token::Text, "notin") => (Operator::NotIn, true),
            (Token::Equal, _) => (Operator::In, false),
            (Token::NotEqual, _) => (Operator::NotIn, false),
            (Token::Greater, _) => (Operator::Greater, false),
            (Token::Less, _) => (Operator::Less, false),
            _ => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", sign.text)),
        };
        let values = if many { self.values()? } else { BTreeSet::from([self.value()?]) };
        Requirement::new(key.text, operator, values)
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek().kind, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let value = self.take();
        if value.kind == Token::Text {
            return Ok(value.text);
        }
        Err(format!("found '{}', expected: identifier", value.text))
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let open = self.take();
        if open.kind != Token::Open {
            return Err(format!("found '{}' expected: '('", open.text));
        }
        let first = self.peek();
        if first.kind == Token::Close {
            self.take();
            return Ok(BTreeSet::new());
        }
        if !matches!(first.kind, Token::Text | Token::Comma) {
            return Err(format!("found '{}', expected: ',', ')' or identifier", first.text));
        }
        let mut values = BTreeSet::new();
        loop {
            // An empty value is one that is left out.
            if self.peek().kind == Token::Text {
                values.insert(self.take().text);
            } else {
                values.insert(String::new());
            }
            let after = self.take();
            match after.kind {
                Token::Comma => {}
                Token::Close => return Ok(values),
                _ => return Err(format!("found '{}', expected: ',' or ')'", after.text)),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_requirement_is_understood() {
        let labels: BTreeMap<String, String> = [("a".into(), "1".into()), ("b".into(), "2".into())].into();
        let holds = |text| Labels::parse(text).unwrap().matches(&labels);
        for yes in [
            "a=1",
            "a==1,b!=3",
            "a in (1,2),b",
            "b notin (1, 3)",
            "!c",
            "a, !d",
            "",
            "b>1",
            "b<3",
            "c notin (x,)",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["a=2", "a in (2,3)", "b notin (2)", "!a", "c", "a=1,c", "b>2", "c<3", "a="] {
            assert!(!holds(no), "{no}");
        }
        for wrong in ["a in 1", "@=1", "a=b=c", "a b", ",", "a,", "a in ()", "a in (b", "a>x"] {
            assert!(Labels::parse(wrong).is_err(), "{wrong}");
        }
    }
}
