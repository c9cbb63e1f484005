//! The CEL rules of a schema (`x-kubernetes-validations`): when one runs, and what is said when it fails.
//!
//! The language itself is the crate `kube-cel`. It walks schemas on its own, but without ratcheting and in its own
//! words; so it is given one rule at a time here, at the level where the rule stands.

use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::LazyLock;

use super::{Cause, schema::Schema};

/// One compiled rule.
pub(super) struct Rule {
    spec: RuleSpec,
    uses_old: bool,
    /// The rule where there is no old value to compare with, if it runs then.
    alone: Option<CompiledSchema>,
    /// The rule where there is one.
    compared: CompiledSchema,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleSpec {
    rule: String,
    message: String,
    message_expression: String,
    reason: Option<String>,
    field_path: String,
    optional_old_self: Option<bool>,
}

impl Rule {
    /// Compiles `rule`, which stands at `path`, for values of the schema `raw`.
    pub(super) fn compile(raw: &Value, rule: &Value, path: &str) -> Result<Self, Cause> {
        let spec: RuleSpec = serde_json::from_value(rule.clone())
            .map_err(|error| Cause::invalid(path, &Value::Null, error.to_string()))?;
        if spec.rule.trim().is_empty() {
            return Err(Cause::required(format!("{path}.rule"), "rule is not specified"));
        }
        if spec.message.is_empty() && spec.rule.trim().contains('\n') {
            let detail = "message must be specified if rule contains line breaks";
            return Err(Cause::required(format!("{path}.message"), detail));
        }
        let uses_old = kube_cel::cel::Program::compile(&spec.rule)
            .map_err(|error| not_compiled(&spec, path, &error.to_string()))?
            .references()
            .has_variable("oldSelf");
        let optional = spec.optional_old_self == Some(true);
        let with = |expression: &str| compile_alone(raw, rule, expression);
        // With optionalOldSelf the rule sees an optional value; the crate would bind the bare one.
        let wrapped = |value: &str| with(&with_old_self(&spec.rule, value));
        let (alone, compared) = match (uses_old, optional) {
            (false, _) => (Some(with(&spec.rule)), with(&spec.rule)),
            (true, false) => (None, with(&spec.rule)),
            (true, true) => (Some(wrapped("optional.none()")), wrapped("optional.of(oldSelf)")),
        };
        if let Some(error) = compared.compilation_errors().first() {
            return Err(not_compiled(&spec, path, &error.to_string()));
        }
        Ok(Self { spec, uses_old, alone, compared })
    }

    fn check(&self, validator: &Validator, place: &Place<'_>, causes: &mut Vec<Cause>) {
        let result = match (place.old, &self.alone) {
            (Some(old), _) => validator.validate_compiled(&self.compared, place.value, Some(old)),
            (None, Some(alone)) => validator.validate_compiled(alone, place.value, None),
            (None, None) => return,
        };
        // An old mistake that nobody touched is let pass, if the rule does not compare.
        if place.unchanged && !self.uses_old {
            return;
        }
        let errors = result.err();
        causes.extend(errors.iter().flatten().map(|error| self.cause(error, place)));
    }

    fn cause(&self, error: &ValidationError, place: &Place<'_>) -> Cause {
        let (path, schema) = (place.path, place.schema);
        let rule = self.spec.rule.trim();
        if error.kind != ErrorKind::ValidationFailure {
            let detail = format!("{} evaluating rule: {rule}", evaluation_words(&error.message));
            return Cause::invalid(path, &json!(schema.type_), detail);
        }
        let field = format!("{path}{}", self.spec.field_path);
        let field = field.trim_start_matches('.');
        let detail = if self.spec.message.trim().is_empty() && self.spec.message_expression.is_empty() {
            format!("failed rule: {rule}")
        } else {
            error.message.trim().to_owned()
        };
        let hidden = matches!(schema.type_.as_str(), "object" | "array");
        match self.spec.reason.as_deref() {
            Some("FieldValueForbidden") => Cause::forbidden(field, detail),
            Some("FieldValueRequired") => Cause::required(field, detail),
            Some("FieldValueDuplicate") => Cause::duplicate(field, place.value),
            _ if hidden => Cause::invalid_hidden(field, detail),
            _ => Cause::invalid(field, place.value, detail),
        }
    }
}

/// A value, the value that it replaces, and where both stand.
struct Place<'a> {
    schema: &'a Schema,
    value: &'a Value,
    old: Option<&'a Value>,
    path: &'a str,
    unchanged: bool,
}

/// Runs every rule of `schema` and below it.
pub(super) fn check(schema: &Schema, value: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let place = Place { schema, value, old, path: "", unchanged: false };
    descend(&Validator::new(), &place, causes);
}

fn descend(validator: &Validator, place: &Place<'_>, causes: &mut Vec<Cause>) {
    let Place { schema, value, old, path, .. } = *place;
    if value.is_null() {
        return; // what may be null is said by the level above
    }
    let unchanged = place.unchanged || old == Some(value);
    let place = Place { unchanged, old: old.filter(|old| !old.is_null()), ..*place };
    for rule in &schema.rules {
        rule.check(validator, &place, causes);
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let Some(child) = schema.child(key) else { continue };
                let path = match (schema.properties.contains_key(key), path) {
                    (false, _) => format!("{path}[{key}]"),
                    (true, "") => key.clone(),
                    (true, _) => format!("{path}.{key}"),
                };
                let old = old.and_then(|old| old.get(key));
                descend(validator, &Place { schema: child, value, old, path: &path, unchanged }, causes);
            }
        }
        Value::Array(items) => {
            let Some(child) = &schema.items else { return };
            for (index, value) in items.iter().enumerate() {
                let old = super::correlated(schema, value, old);
                let path = format!("{path}[{index}]");
                descend(validator, &Place { schema: child, value, old, path: &path, unchanged }, causes);
            }
        }
        _ => {}
    }
}

/// A rule that speaks of `value` instead of `oldSelf`.
fn with_old_self(rule: &str, value: &str) -> String {
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\boldSelf\b").ok());
    NAME.as_ref().map_or_else(|| rule.to_owned(), |name| name.replace_all(rule, value).into_owned())
}

/// `expression` as the only rule of `raw`; what is below keeps its formats and loses its rules.
fn compile_alone(raw: &Value, rule: &Value, expression: &str) -> CompiledSchema {
    let mut schema = raw.clone();
    strip_rules(&mut schema);
    let mut rule = rule.clone();
    rule["rule"] = json!(expression);
    schema["x-kubernetes-validations"] = json!([rule]);
    compile_schema(&schema)
}

fn strip_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            // Defaults are set before, and by the server's rules.
            fields.remove("default");
            fields.values_mut().for_each(strip_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_rules),
        _ => {}
    }
}

fn not_compiled(spec: &RuleSpec, path: &str, error: &str) -> Cause {
    let text = |value: &str| super::super::cause::go_json(&json!(value));
    let shown = format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        text(&spec.rule),
        text(&spec.message),
        text(&spec.message_expression),
        json!(spec.reason),
        text(&spec.field_path),
        json!(spec.optional_old_self),
    );
    Cause::invalid_as(
        format!("{path}.rule"),
        &shown,
        format!("compilation failed: {}", error.replace("\n| ", "\n | ")),
    )
}

/// The crate's words for a rule that could not be evaluated, as the server says them.
fn evaluation_words(message: &str) -> String {
    let message = message.trim_start_matches("rule evaluation error: ");
    if let Some(key) = message.strip_prefix("No such key: ") {
        return format!("no such key: {key}");
    }
    if message.starts_with("Division by zero") {
        return "division by zero".to_owned();
    }
    if message.starts_with("Remainder by zero") {
        return "modulus by zero".to_owned();
    }
    if message.starts_with("Index out of bounds") {
        return message.replacen("Index out of bounds", "index out of bounds", 1);
    }
    message.to_owned()
}
