//! Disruption budgets: how many of the selected pods may be evicted now.

use serde_json::{Value, json};

/// The status of a budget over `pods`, which its selector selects.
#[must_use]
pub fn status(budget: &Value, pods: &[Value]) -> Value {
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
    json!({
        "observedGeneration": budget["metadata"]["generation"], "expectedPods": expected,
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
