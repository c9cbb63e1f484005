//! The schema of a custom resource as it is written in its definition, with its patterns and CEL rules compiled.

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::{Cause, cel::Rule};

/// One level of a schema.
#[derive(Debug, Default, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // they are what a schema has
#[serde(rename_all = "camelCase", default)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    pub type_: String,
    pub format: String,
    pub nullable: bool,
    pub default: Option<Value>,
    #[serde(rename = "enum")]
    pub allowed: Vec<Value>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<i64>,
    pub max_length: Option<i64>,
    pub pattern: String,
    pub min_items: Option<i64>,
    pub max_items: Option<i64>,
    pub unique_items: bool,
    pub min_properties: Option<i64>,
    pub max_properties: Option<i64>,
    pub required: Vec<String>,
    pub properties: BTreeMap<String, Schema>,
    pub additional_properties: Option<Additional>,
    pub items: Option<Box<Schema>>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
    #[serde(rename = "$ref")]
    pub reference: Option<String>,
    #[serde(rename = "x-kubernetes-int-or-string")]
    pub int_or_string: bool,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    pub preserve_unknown: bool,
    #[serde(rename = "x-kubernetes-embedded-resource")]
    pub embedded: bool,
    #[serde(rename = "x-kubernetes-list-type")]
    pub list_type: String,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    pub list_keys: Vec<String>,
    #[serde(skip)]
    pub regex: Option<Regex>,
    #[serde(skip)]
    pub rules: Vec<Rule>,
}

/// What a schema says about properties that it does not name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Additional {
    /// Allowed as they are, or not at all.
    Any(bool),
    /// Allowed, and this is what they look like.
    Schema(Box<Schema>),
}

/// Where in the whole a schema stands: the sentence about a missing type differs.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
    /// Inside `allOf` and the like, where a type must not stand.
    Nested,
}

impl Schema {
    /// Reads a schema and compiles what is in it; `path` is where it stands in the definition.
    pub(super) fn compile(raw: &Value, path: &str) -> Result<Self, Vec<Cause>> {
        let mut schema: Self = serde_json::from_value(raw.clone())
            .map_err(|error| vec![Cause::invalid(path, &Value::String(String::new()), error.to_string())])?;
        let mut causes = Vec::new();
        schema.check(path, Level::Root, &mut causes);
        if causes.is_empty() {
            schema.compile_rules(raw, path, &mut causes);
        }
        if causes.is_empty() { Ok(schema) } else { Err(causes) }
    }

    /// The types that a value may have, as the server lists them.
    pub(super) fn types(&self) -> &[&str] {
        if self.int_or_string {
            return &["integer", "string"];
        }
        match self.type_.as_str() {
            "string" => &["string"],
            "integer" => &["integer"],
            "number" => &["number"],
            "boolean" => &["boolean"],
            "array" => &["array"],
            "object" => &["object"],
            _ => &[],
        }
    }

    /// What the schema says about the property `key`.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        self.properties.get(key).or(match &self.additional_properties {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    fn check(&mut self, path: &str, level: Level, causes: &mut Vec<Cause>) {
        if self.reference.is_some() {
            causes.push(Cause::forbidden(format!("{path}.$ref"), "$ref is not supported"));
            return;
        }
        self.check_type(path, level, causes);
        let named =
            |schema: &Self| schema.properties.keys().all(|key| key == "name" || key == "generateName");
        if level == Level::Root && self.properties.get("metadata").is_some_and(|metadata| !named(metadata)) {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly \
                          specified";
            causes.push(Cause::forbidden(format!("{path}.properties[metadata]"), detail));
        }
        if self.unique_items {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            causes.push(Cause::forbidden(format!("{path}.uniqueItems"), detail));
        }
        if self.additional_properties.is_some() && !self.properties.is_empty() {
            let detail = "additionalProperties and properties are mutual exclusive";
            causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
        }
        if self.list_type == "map" && self.list_keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            causes.push(Cause::required(format!("{path}.x-kubernetes-list-map-keys"), detail));
        }
        if !self.pattern.is_empty() {
            match Regex::new(&self.pattern) {
                Ok(regex) => self.regex = Some(regex),
                Err(error) => {
                    let detail = format!("must be a valid regular expression, but isn't: {error}");
                    let pattern = Value::String(self.pattern.clone());
                    causes.push(Cause::invalid(format!("{path}.pattern"), &pattern, detail));
                }
            }
        }
        self.each_child(path, |child, path, level| child.check(path, level, causes), level);
        if let Some(default) = &self.default {
            let mut wrong = Vec::new();
            super::openapi::check(self, default, None, "", &mut wrong);
            let at = format!("{path}.default");
            causes.extend(wrong.into_iter().map(|cause| Cause { field: at.clone(), ..cause }));
        }
    }

    fn check_type(&self, path: &str, level: Level, causes: &mut Vec<Cause>) {
        let at = format!("{path}.type");
        let type_ = Value::String(self.type_.clone());
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        if !self.type_.is_empty() && !known.contains(&self.type_.as_str()) {
            causes.push(Cause::not_supported(&at, &type_, &known));
        } else if level == Level::Nested {
            if !self.type_.is_empty() {
                causes.push(Cause::forbidden(&at, "must be empty to be structural"));
            }
        } else if self.type_.is_empty() && !self.int_or_string && !self.preserve_unknown {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field | Level::Nested => "must not be empty for specified object fields",
            };
            causes.push(Cause::required(&at, detail));
        } else if level == Level::Root && self.type_ != "object" {
            causes.push(Cause::invalid(&at, &type_, "must be object at the root"));
        }
        if self.type_ == "array" && self.items.is_none() {
            causes.push(Cause::required(format!("{path}.items"), "must be specified"));
        }
    }

    /// Calls `visit` with every schema one level below, and where it stands.
    fn each_child(&mut self, path: &str, mut visit: impl FnMut(&mut Self, &str, Level), level: Level) {
        let nested = level == Level::Nested;
        let below = |level| if nested { Level::Nested } else { level };
        for (key, child) in &mut self.properties {
            visit(child, &format!("{path}.properties[{key}]"), below(Level::Field));
        }
        if let Some(Additional::Schema(child)) = &mut self.additional_properties {
            visit(child, &format!("{path}.additionalProperties"), below(Level::Field));
        }
        if let Some(child) = &mut self.items {
            visit(child, &format!("{path}.items"), below(Level::Item));
        }
        // The one place where types may stand inside: the long way to write an int-or-string.
        if !self.int_or_string {
            let all = [("anyOf", &mut self.any_of), ("allOf", &mut self.all_of), ("oneOf", &mut self.one_of)];
            for (word, children) in all {
                for (index, child) in children.iter_mut().enumerate() {
                    visit(child, &format!("{path}.{word}[{index}]"), Level::Nested);
                }
            }
            if let Some(child) = &mut self.not {
                visit(child, &format!("{path}.not"), Level::Nested);
            }
        }
    }

    fn compile_rules(&mut self, raw: &Value, path: &str, causes: &mut Vec<Cause>) {
        let rules = raw.get("x-kubernetes-validations").and_then(Value::as_array);
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            match Rule::compile(raw, rule, &format!("{path}.x-kubernetes-validations[{index}]")) {
                Ok(rule) => self.rules.push(rule),
                Err(cause) => causes.push(cause),
            }
        }
        for (key, child) in &mut self.properties {
            child.compile_rules(&raw["properties"][key], &format!("{path}.properties[{key}]"), causes);
        }
        if let Some(Additional::Schema(child)) = &mut self.additional_properties {
            child.compile_rules(
                &raw["additionalProperties"],
                &format!("{path}.additionalProperties"),
                causes,
            );
        }
        if let Some(child) = &mut self.items {
            child.compile_rules(&raw["items"], &format!("{path}.items"), causes);
        }
    }
}
