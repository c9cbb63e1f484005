//! Disruption budgets: how many of the selected pods may be evicted now.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::api::time;

/// The status of a budget over `pods`, which its selector selects.
#[must_use]
pub fn status(budget: &Value, pods: &[Value], now: Timestamp) -> Value {
    let spec = &budget["spec"];
    let expected = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let healthy = i64::try_from(pods.iter().filter(is_ready).count()).unwrap_or(i64::MAX);
    let desired = if spec["maxUnavailable"].is_null() {
        amount(&spec["minAvailable"], expected)
    } else {
        expected - amount(&spec["maxUnavailable"], expected)
    };
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    let (state, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let before = &budget["status"]["conditions"][0];
    let since =
        if before["status"] == state { before["lastTransitionTime"].clone() } else { json!(time(now)) };
    let generation = &budget["metadata"]["generation"];
    let condition = json!({
        "type": "DisruptionAllowed", "status": state, "reason": reason, "message": "",
        "lastTransitionTime": since, "observedGeneration": generation,
    });
    json!({
        "conditions": [condition], "observedGeneration": budget["metadata"]["generation"], "expectedPods": expected,
        "currentHealthy": healthy, "desiredHealthy": desired.max(0), "disruptionsAllowed": allowed,
    })
}

/// A number, or a percentage rounded up.
fn amount(value: &Value, of: i64) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match percent {
        Some(percent) => (of * percent + 99) / 100,
        None => value.as_i64().unwrap_or(0),
    }
}
