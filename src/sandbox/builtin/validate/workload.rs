//! StatefulSets.

use serde_json::{Value, json};

use super::{metadata, names, non_negative, pod, small};
use crate::sandbox::{
    builtin::{items, number, text},
    cause::Cause,
};

/// The mistakes in the spec of `new`. What is wrong in the pods of `old` already is not said again.
pub(super) fn spec(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    let policy = text(spec, "/podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy) {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        causes.push(Cause::invalid("spec.podManagementPolicy", &json!(policy), detail));
    }
    strategy(spec, causes);
    for key in ["whenDeleted", "whenScaled"] {
        let value = text(spec, &format!("/persistentVolumeClaimRetentionPolicy/{key}"));
        if !value.is_empty() && !["Retain", "Delete"].contains(&value) {
            let field = format!("spec.persistentVolumeClaimRetentionPolicy.{key}");
            causes.push(Cause::not_supported(field, &json!(value), &["Retain", "Delete"]));
        }
    }
    let claims = items(spec, "/volumeClaimTemplates");
    for (index, claim) in claims.iter().enumerate().filter(|_| old.is_none()) {
        small::claim(&claim["spec"], &format!("spec.volumeClaimTemplates[{index}].spec"), causes);
    }
    non_negative(spec, "replicas", "spec", causes);
    non_negative(spec, "minReadySeconds", "spec", causes);
    non_negative(&spec["ordinals"], "start", "spec.ordinals", causes);
    let service = text(spec, "/serviceName");
    if old.is_none() && !service.is_empty() {
        let wrong = names::label(service).into_iter();
        causes.extend(wrong.map(|words| Cause::invalid("spec.serviceName", &json!(service), words)));
    }
    selector(spec, causes);
    let broken = old.is_some_and(|old| {
        let mut before = Vec::new();
        template(&old["spec"], &mut before);
        !before.is_empty()
    });
    if !broken {
        template(spec, causes);
    }
    let wrong = &spec["template"]["metadata"];
    metadata::labels(wrong, "/labels", "spec.template.labels", causes);
    let restart = text(spec, "/template/spec/restartPolicy");
    if restart != "Always" {
        causes.push(Cause::not_supported("spec.template.spec.restartPolicy", &json!(restart), &["Always"]));
    }
    if spec.pointer("/template/spec/activeDeadlineSeconds").is_some() {
        let detail = "activeDeadlineSeconds in StatefulSet is not Supported";
        causes.push(Cause::forbidden("spec.template.spec.activeDeadlineSeconds", detail));
    }
}

fn strategy(spec: &Value, causes: &mut Vec<Cause>) {
    let strategy = &spec["updateStrategy"];
    let rolling = strategy.get("rollingUpdate");
    // The server shows its internal structures here.
    let inner = rolling.map_or_else(
        || "null".to_owned(),
        |rolling| {
            let (partition, unavailable) = (number(rolling, "/partition"), &rolling["maxUnavailable"]);
            format!("{{\"Partition\":{partition},\"MaxUnavailable\":{unavailable}}}")
        },
    );
    match text(strategy, "/type") {
        "RollingUpdate" => {
            if let Some(rolling) = rolling {
                non_negative(rolling, "partition", "spec.updateStrategy.rollingUpdate", causes);
            }
        }
        "OnDelete" if rolling.is_none() => {}
        "OnDelete" => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            causes.push(Cause::invalid_as("spec.updateStrategy.rollingUpdate", &inner, detail));
        }
        other => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{inner}}}", json!(other));
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            causes.push(Cause::invalid_as("spec.updateStrategy", &shown, detail));
        }
    }
}

fn selector(spec: &Value, causes: &mut Vec<Cause>) {
    let Some(selector) = spec.get("selector") else {
        causes.push(Cause::required("spec.selector", ""));
        let labels = labels(spec);
        causes.push(mismatch(&labels));
        return;
    };
    metadata::selector(selector, "spec.selector", causes);
    let empty = selector.get("matchLabels").is_none() && items(selector, "/matchExpressions").is_empty();
    if empty {
        causes.push(Cause::invalid("spec.selector", selector, "empty selector is invalid for statefulset"));
    } else if !metadata::selects(selector, &labels(spec)) {
        causes.push(mismatch(&labels(spec)));
    }
}

fn labels(spec: &Value) -> Value {
    spec.pointer("/template/metadata/labels").cloned().unwrap_or_default()
}

fn mismatch(labels: &Value) -> Cause {
    Cause::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
}

fn template(spec: &Value, causes: &mut Vec<Cause>) {
    let template = &spec["template"];
    metadata::labels(&template["metadata"], "/labels", "spec.template.labels", causes);
    let claims: Vec<_> =
        items(spec, "/volumeClaimTemplates").iter().map(|claim| text(claim, "/metadata/name")).collect();
    pod::spec(&template["spec"], "spec.template.spec", &claims, causes);
}

/// What an update of a StatefulSet may not do.
pub(super) fn update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    const CHANGEABLE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|key, _| !CHANGEABLE.contains(&key.as_str()));
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                      'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                      'minReadySeconds' are forbidden";
        causes.push(Cause::forbidden("spec", detail));
    }
}

/// The mistakes in a status.
pub(super) fn status(new: &Value, causes: &mut Vec<Cause>) {
    let status = &new["status"];
    let counts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    for key in ["replicas"].iter().chain(&counts).chain(&["observedGeneration", "collisionCount"]) {
        non_negative(status, key, "status", causes);
    }
    let count = |key: &str| status[key].as_i64().unwrap_or_default();
    let mut over = |key: &str, limit: &str| {
        if count(key) > count(limit) {
            let detail = format!("cannot be greater than status.{limit}");
            causes.push(Cause::invalid(format!("status.{key}"), &json!(count(key)), detail));
        }
    };
    for key in counts {
        over(key, "replicas");
    }
    over("availableReplicas", "readyReplicas");
}
