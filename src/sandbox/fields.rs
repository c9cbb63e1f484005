//! Sets of fields of an object: what a manager owns, as `fieldsV1` writes it down.
//!
//! A set is a tree of path elements. Being in the set and having parts in the set are two things: the owner of a map
//! is not the owner of what is in it, nor the other way round. Pure.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde_json::{Map, Value};

/// A step from a value to one of its parts.
#[derive(Clone, Debug)]
pub enum Element {
    /// A field of a map.
    Field(String),
    /// The item of a list that has these values in its key fields; sorted by name.
    Key(Vec<(String, Value)>),
    /// The item of a set.
    Value(Value),
    /// The item at a place of a list.
    Index(i64),
}

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Element, Node>);

/// Nodes that are neither in the set nor lead to something in it are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    parts: FieldSet,
}

impl FieldSet {
    /// Reads `fieldsV1`; none if it is malformed. Kinds of elements that are not known are left out.
    pub fn parse(fields: &Value) -> Option<Self> {
        let Some(fields) = fields.as_object() else { return fields.is_null().then(Self::default) };
        let mut set = Self::default();
        for (key, below) in fields.iter().filter(|(key, _)| *key != ".") {
            let (kind, rest) = key.split_once(':')?;
            let element = match kind {
                "f" => Element::Field(rest.to_owned()),
                "v" => Element::Value(serde_json::from_str(rest).ok()?),
                "i" => Element::Index(rest.parse().ok()?),
                "k" => Element::Key(serde_json::from_str::<Map<_, _>>(rest).ok()?.into_iter().collect()),
                _ => continue,
            };
            let parts = Self::parse(below)?;
            // Something that has no parts in the set is there for itself.
            let member = below.get(".").is_some() || parts.is_empty();
            set.0.insert(element, Node { member, parts });
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub fn print(&self) -> Value {
        let mut fields = Map::new();
        for (element, node) in &self.0 {
            let mut below = node.parts.print();
            if node.member
                && !node.parts.is_empty()
                && let Some(below) = below.as_object_mut()
            {
                below.insert(".".into(), Value::Object(Map::new()));
            }
            fields.insert(element.print(), below);
        }
        Value::Object(fields)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a path into the set. The object itself, at the empty path, has no owner.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((last, above)) = path.split_last() else { return };
        let mut set = self;
        for element in above {
            set = &mut set.0.entry(element.clone()).or_default().parts;
        }
        set.0.entry(last.clone()).or_default().member = true;
    }

    /// Whether a path is in the set.
    pub fn contains(&self, path: &[Element]) -> bool {
        let Some((last, above)) = path.split_last() else { return false };
        let set = above.iter().try_fold(self, |set, element| set.below(element));
        set.is_some_and(|set| set.has(last))
    }

    /// Whether a part of the value is itself in the set.
    pub fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What is in the set below a part of the value, if anything.
    pub fn below(&self, element: &Element) -> Option<&Self> {
        self.0.get(element).map(|node| &node.parts).filter(|parts| !parts.is_empty())
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (element, node) in &other.0 {
            let mine = all.0.entry(element.clone()).or_default();
            mine.member |= node.member;
            mine.parts = mine.parts.union(&node.parts);
        }
        all
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(|element, node| {
            let theirs = other.0.get(element)?;
            let parts = node.parts.intersection(&theirs.parts);
            Some(Node { member: node.member && theirs.member, parts })
        })
    }

    /// What is in this set but not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(|element, node| {
            let Some(theirs) = other.0.get(element) else { return Some(node.clone()) };
            let parts = node.parts.difference(&theirs.parts);
            Some(Node { member: node.member && !theirs.member, parts })
        })
    }

    /// The set made of what `change` leaves of each node.
    pub(super) fn map(&self, mut change: impl FnMut(&Element, bool, &Self) -> (bool, Self)) -> Self {
        self.combine(|element, node| {
            let (member, parts) = change(element, node.member, &node.parts);
            Some(Node { member, parts })
        })
    }

    fn combine(&self, mut change: impl FnMut(&Element, &Node) -> Option<Node>) -> Self {
        let nodes = self.0.iter().filter_map(|(element, node)| {
            change(element, node)
                .filter(|left| left.member || !left.parts.is_empty())
                .map(|left| (element.clone(), left))
        });
        Self(nodes.collect())
    }

    /// The paths in the set as people read them (`.spec.replicas`), in the server's order: what is in the set of each
    /// level before what lies below it.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> =
            self.0.iter().filter(|(_, node)| node.member).map(|(element, _)| element.to_string()).collect();
        for (element, node) in &self.0 {
            paths.extend(node.parts.paths().iter().map(|path| format!("{element}{path}")));
        }
        paths
    }
}

impl<P: AsRef<[Element]>> FromIterator<P> for FieldSet {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let mut set = Self::default();
        paths.into_iter().for_each(|path| set.insert(path.as_ref()));
        set
    }
}

impl Element {
    /// The field of a name.
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    fn print(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                format!("k:{}", escaped(&Value::Object(fields.iter().cloned().collect())))
            }
            Self::Value(value) => format!("v:{}", escaped(value)),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// JSON inside JSON is written as Go does it, safe inside HTML.
fn escaped(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

// === impl Ord for Element: numbers by size, so it is not the order of their texts ===

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Value(a), Self::Value(b)) => order(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let pairs = a.iter().zip(b).map(|((a, x), (b, y))| a.cmp(b).then_with(|| order(x, y)));
                pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element {}

fn order(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default())
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}
