//! What the server must know of a type to prune, merge and track its objects: which maps and lists are one value,
//! which are made of parts with owners of their own, and by which keys the parts of a list are told apart.
//!
//! A shape says nothing of what is valid: ranges, patterns and required fields are somebody else's. Shapes of custom
//! resources come from the schema of their definition, those of the built-in kinds from [`builtin`]. Pure.

mod builtin;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// The shape of one value.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A value without parts.
    Scalar(Scalar),
    /// Anything at all: nothing is unknown in it; its maps are made of parts, its lists are one value each.
    Any,
    /// A map of named fields.
    Struct(Struct),
    /// A map with keys of the user's choice, each entry a part of its own.
    Map(Arc<Shape>),
    /// A map that is one value, whatever is in it.
    Atomic(Arc<Shape>),
    /// A list that is one value.
    List(Arc<Shape>),
    /// A list of distinct scalars, each a part of its own.
    Set(Arc<Shape>),
    /// A list of maps that are told apart by some of their fields.
    Keyed {
        /// The fields that tell the items apart, with the value of an item that leaves one out.
        keys: Vec<(String, Option<Value>)>,
        /// The items.
        item: Arc<Shape>,
    },
}

/// The sorts of scalars the server tells apart in an applied configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Any of them: times, quantities, ports by number or name.
    Untyped,
}

/// The fields of a struct.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// The known fields.
    pub fields: BTreeMap<String, Field>,
    /// Whether unknown fields are kept.
    pub open: bool,
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its shape.
    pub shape: Arc<Shape>,
    /// What the field holds when nobody set it. The built-in kinds have fields that are always there, and what is
    /// always there is never added by anybody.
    pub zero: Option<Value>,
}

static ANY: Shape = Shape::Any;

impl Shape {
    /// The shape of a built-in kind.
    pub fn of_builtin(api_version: &str, kind: &str) -> Option<Arc<Self>> {
        builtin::shape(api_version, kind)
    }

    /// The shape that a version of a custom resource definition gives its resources by its `openAPIV3Schema`.
    pub fn of_crd(schema: &Value) -> Self {
        let mut root = match Self::of_structural(schema) {
            Self::Struct(root) => root,
            _ => Struct { open: true, ..Struct::default() },
        };
        root.add_type_and_metadata();
        Self::Struct(root)
    }

    fn of_structural(schema: &Value) -> Self {
        let is = |extension: &str| schema[extension] == json!(true);
        if is("x-kubernetes-int-or-string") {
            return Self::Scalar(Scalar::Untyped);
        }
        match schema["type"].as_str() {
            Some("object") => Self::of_object(schema),
            Some("array") => {
                let item = Arc::new(Self::of_structural(&schema["items"]));
                match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => Self::Set(item),
                    Some("map") => Self::Keyed { keys: keys_of(schema), item },
                    _ => Self::List(item),
                }
            }
            Some(_) => Self::Scalar(Scalar::of(schema)),
            None => Self::Any,
        }
    }

    fn of_object(schema: &Value) -> Self {
        let open = schema["x-kubernetes-preserve-unknown-fields"] == json!(true);
        let properties = schema["properties"].as_object();
        let shape = match &schema["additionalProperties"] {
            Value::Bool(true) => Self::Map(Arc::new(Self::Any)),
            values @ Value::Object(_) => Self::Map(Arc::new(Self::of_structural(values))),
            _ if open && properties.is_none() => Self::Any,
            _ => {
                let fields = properties.into_iter().flatten();
                let fields =
                    fields.map(|(name, schema)| (name.clone(), Field::of(Self::of_structural(schema))));
                let mut shape = Struct { fields: fields.collect(), open };
                if schema["x-kubernetes-embedded-resource"] == json!(true) {
                    shape.add_type_and_metadata();
                }
                Self::Struct(shape)
            }
        };
        if schema["x-kubernetes-map-type"] == "atomic" { Self::Atomic(Arc::new(shape)) } else { shape }
    }

    /// The shape behind a key of a map or struct; none where the key is unknown and would be refused.
    pub fn under(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(value) => Some(value),
            Self::Struct(shape) => match shape.fields.get(key) {
                Some(field) => Some(&field.shape),
                // Nothing is known of an object without properties: it is pruned to nothing, but never refused.
                None => (shape.open || shape.fields.is_empty()).then_some(&ANY),
            },
            Self::Atomic(inner) => inner.under(key),
            _ => Some(&ANY),
        }
    }

    /// The fields of a struct that are there although nobody set them.
    pub fn zeros(&self) -> impl Iterator<Item = (&str, &Value)> {
        let fields = if let Self::Struct(shape) = self { Some(&shape.fields) } else { None };
        fields.into_iter().flatten().filter_map(|(name, field)| Some((name.as_str(), field.zero.as_ref()?)))
    }

    /// The key by which a strategic merge patch tells the items of a list apart.
    pub fn merge_key(&self) -> Option<&str> {
        match self {
            Self::Keyed { keys, .. } => keys.first().map(|(key, _)| key.as_str()),
            _ => None,
        }
    }

    /// Whether a key is a named field, rather than a key of the user's choice.
    pub fn names(&self, key: &str) -> bool {
        matches!(self, Self::Struct(shape) if shape.fields.contains_key(key))
    }

    /// The shape of a list's items.
    pub fn item(&self) -> &Self {
        match self {
            Self::List(item) | Self::Set(item) | Self::Keyed { item, .. } => item,
            Self::Atomic(inner) => inner.item(),
            _ => &ANY,
        }
    }
}

impl Scalar {
    fn of(schema: &Value) -> Self {
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("integer" | "number"), _) => Self::Number,
            (Some("boolean"), _) => Self::Bool,
            (Some("string"), None | Some("" | "byte")) => Self::String,
            _ => Self::Untyped,
        }
    }
}

impl Struct {
    /// Every object has them, whatever its schema says.
    fn add_type_and_metadata(&mut self) {
        for name in ["apiVersion", "kind"] {
            self.fields.insert(name.into(), Field::of(Shape::Scalar(Scalar::String)));
        }
        self.fields.insert("metadata".into(), Field { shape: builtin::metadata(), zero: None });
    }
}

impl Field {
    fn of(shape: Shape) -> Self {
        Self { shape: Arc::new(shape), zero: None }
    }
}

fn keys_of(list: &Value) -> Vec<(String, Option<Value>)> {
    let keys = list["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    keys.filter_map(Value::as_str)
        .map(|key| (key.to_owned(), list["items"]["properties"][key].get("default").cloned()))
        .collect()
}

/// Drops what the shape does not know, and names it as strict field validation does, sorted.
pub fn prune(object: &mut Value, shape: &Shape) -> Vec<String> {
    let mut unknown = vec![];
    prune_at(object, shape, "", &mut unknown);
    unknown.sort();
    unknown
}

fn prune_at(value: &mut Value, shape: &Shape, path: &str, unknown: &mut Vec<String>) {
    if let Shape::Atomic(inner) = shape {
        return prune_at(value, inner, path, unknown);
    }
    match value {
        Value::Object(map) => {
            let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            if let Shape::Struct(known) = shape
                && !known.open
            {
                let is_known = |key: &String| known.fields.contains_key(key);
                unknown.extend(map.keys().filter(|key| !is_known(key)).map(|key| at(key)));
                map.retain(|key, _| is_known(key));
            }
            for (key, value) in map {
                if let Some(shape) = shape.under(key) {
                    prune_at(value, shape, &at(key), unknown);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(item, shape.item(), &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}
