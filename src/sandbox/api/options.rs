//! The options of requests: what a query and a `DeleteOptions` may say, and what the server says of the rest.

use http::Method;
use serde_json::{Value, json};

use super::request::Head;
use super::state::text;
use super::status::Status;
use super::{go, patch};
use crate::sandbox::cause::Cause;

/// Reads `DeleteOptions` from body and query.
pub fn read(head: &Head, body: &[u8]) -> Result<Value, Status> {
    let mut options: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).map_err(|error| Status::bad_request(go::json_error(body, &error)))?
    };
    let kind = text(&options, &["kind"]);
    if !matches!(kind, "" | "DeleteOptions") {
        return Err(Status::bad_request(go::not_registered(kind, text(&options, &["apiVersion"]))));
    }
    // The body, where there is one, is all that counts.
    if body.is_empty() {
        if let Some(policy) = head.query("propagationPolicy") {
            options["propagationPolicy"] = json!(policy);
        }
        if let Some(grace) = head.query("gracePeriodSeconds").and_then(|grace| grace.parse::<i64>().ok()) {
            options["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(dry_run) = head.query("dryRun") {
            options["dryRun"] = json!([dry_run]);
        }
    }
    let causes = mistakes(&options);
    if causes.is_empty() {
        Ok(options)
    } else {
        Err(Status::invalid_as("meta.k8s.io", "DeleteOptions", "", &causes))
    }
}

fn mistakes(options: &Value) -> Vec<Cause> {
    let mut causes = vec![];
    let policy = &options["propagationPolicy"];
    if !policy.is_null() && !options["orphanDependents"].is_null() {
        causes.push(Cause::invalid(
            "propagationPolicy",
            policy,
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    let known = ["Foreground", "Background", "Orphan"];
    if !policy.is_null() && !policy.as_str().is_some_and(|policy| known.contains(&policy)) {
        causes.push(Cause::not_supported(
            "propagationPolicy",
            policy,
            &["Foreground", "Background", "Orphan", "nil"],
        ));
    }
    check_dry_run(&options["dryRun"], &mut causes);
    causes
}

fn check_dry_run(dry_run: &Value, causes: &mut Vec<Cause>) {
    if !dry_run.is_null() && *dry_run != json!(["All"]) {
        causes.push(Cause::not_supported("dryRun", dry_run, &["All"]));
    }
}

/// Query parameters of writes that have only a few values. (What deletes say is read above.)
pub fn check(head: &Head) -> Result<(), Status> {
    let name = match head.method {
        Method::PATCH => "PatchOptions",
        Method::PUT => "UpdateOptions",
        Method::POST => "CreateOptions",
        _ => return Ok(()),
    };
    let mut causes = vec![];
    let is_patch = head.method == Method::PATCH;
    let is_apply = head.content_type == patch::APPLY;
    if is_apply && head.query("fieldManager").is_none() {
        causes.push(Cause::required("fieldManager", "is required for apply patch"));
    }
    if head.query("force").is_some() && is_patch && !is_apply {
        causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
    }
    if head.query("fieldManager").is_some_and(|manager| manager.len() > 128) {
        causes.push(Cause::too_long("fieldManager", 128));
    }
    check_dry_run(&head.query("dryRun").map_or(Value::Null, |dry_run| json!([dry_run])), &mut causes);
    if let Some(asked) = head.query("fieldValidation")
        && !matches!(asked, "Strict" | "Warn" | "Ignore")
    {
        let known = ["", "Ignore", "Strict", "Warn"];
        causes.push(Cause::not_supported("fieldValidation", &json!(asked), &known));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid_as("meta.k8s.io", name, "", &causes)) }
}

/// What a list or a watch may say of revisions.
pub fn check_list(head: &Head) -> Result<(), Status> {
    const FIELD: &str = "resourceVersionMatch";
    let (wanted, version) = (head.query(FIELD), head.query("resourceVersion"));
    let initial = head.query("sendInitialEvents").is_some();
    let mut causes = vec![];
    if head.is_set("watch") {
        if initial && wanted != Some("NotOlderThan") {
            causes.push(Cause::forbidden(
                FIELD,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if let Some(wanted) = wanted {
            if !initial {
                let detail =
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                causes.push(Cause::forbidden(FIELD, detail));
            }
            if wanted != "NotOlderThan" {
                causes.push(Cause::not_supported(FIELD, &json!(wanted), &["NotOlderThan"]));
            }
        }
    } else {
        if let Some(wanted) = wanted {
            if version.is_none() {
                let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                causes.push(Cause::forbidden(FIELD, detail));
            }
            if !matches!(wanted, "Exact" | "NotOlderThan") {
                causes.push(Cause::not_supported(FIELD, &json!(wanted), &["Exact", "NotOlderThan", ""]));
            }
            if wanted == "Exact" && version == Some("0") {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                causes.push(Cause::forbidden(FIELD, detail));
            }
        }
        if initial {
            causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid_as("meta.k8s.io", "ListOptions", "", &causes))
    }
}
