//! Upgrades: versions, selectors and durations.

use super::{check, cluster, exactly, upgrade};

#[test]
fn a_number_where_a_text_belongs_should_be_quoted() {
    let text = "{version: 1, clusters: [{context: minikube}], \
                upgrades: [{name: u, clientVersion: 1.10, stages: [{name: all}]}]}";
    exactly(text, &[], &["upgrades[0].clientVersion: 1.1: has the wrong type; put it in quotes"]);
}

#[test]
fn a_selector_that_says_less_than_it_seems_to_is_refused() {
    let expression = |text: &str| upgrade(&format!("selector: {{matchExpressions: [{{{text}}}]}}"));
    // Without its key this one would have selected every resource.
    exactly(&expression("operator: DoesNotExist"), &[], &["matchExpressions[0].key"]);
    exactly(&expression("key: a, operator: Exists, vals: [x]"), &[], &["matchExpressions[0].vals"]);
    exactly(&expression("key: a, operator: In, values: []"), &[], &["does not go with In"]);
    exactly(&expression("key: a, operator: Exists, values: [x]"), &[], &["does not go with Exists"]);
    exactly(&expression("key: a, operator: in, values: [x]"), &[], &["did you mean In?"]);
    exactly(&expression("key: a"), &[], &["matchExpressions[0].operator: is missing"]);
    let fleet = check(&expression("key: a, operator: NotIn, values: [y, x]")).unwrap();
    assert_eq!(fleet.upgrades[0].selector.to_string(), "a notin (x,y)");
}

#[test]
fn versions_of_all_kinds_must_be_releases_and_must_matter() {
    exactly(&upgrade("expedite: {version: latest, reason: x}"), &[], &["upgrades[0].expedite.version"]);
    exactly(&upgrade("expedite: {version: v1.0.0}"), &[], &["upgrades[0].expedite.reason"]);
    let approved = "{version: 1, clusters: [{context: minikube}], upgrades: [{name: u, clientVersion: v1.0.0, \
                    stages: [{name: a, approvedVersion: v1.0.0}]}]}";
    exactly(approved, &[], &["stages[0].approvedVersion: \"v1.0.0\": has no effect"]);
}

#[test]
fn durations_may_be_days_and_deadlines_may_not_be_nothing() {
    let fleet = check(&upgrade("progressDeadline: 1d 2h, health: {stableFor: 90s}")).unwrap();
    assert_eq!(fleet.upgrades[0].progress_deadline.as_secs(), 26 * 3600);
    assert_eq!(fleet.upgrades[0].health.stable_for.as_secs(), 90);
    for wrong in ["0s", "-5m", "30", "1 month", "400d", "soon"] {
        exactly(&upgrade(&format!("progressDeadline: '{wrong}'")), &[], &["upgrades[0].progressDeadline"]);
    }
}

#[test]
fn a_node_cannot_have_been_well_for_longer_than_it_is_remembered() {
    let at = |stable: &str, interval: &str| {
        format!(
            "{{version: 1, clusters: [{{context: minikube, probe: {{interval: {interval}}}}}], upgrades: [{{name: u, \
             clientVersion: v1.0.0, progressDeadline: 5h, health: {{stableFor: {stable}}}, stages: [{{name: a, clusters: {{}}}}]}}]}}"
        )
    };
    assert!(check(&at("3h 20m", "60s")).is_ok());
    let says = "upgrades[0].health.stableFor: \"201m\": is longer than what is remembered of a node in cluster minikube";
    exactly(&at("201m", "60s"), &[], &[says]);
    assert!(check(&at("201m", "61s")).is_ok());
}

#[test]
fn a_node_has_to_have_been_well_before_it_fails_by_its_deadline() {
    let says = "upgrades[0].health.stableFor: \"30m\": is not shorter than progressDeadline (30m)";
    exactly(&upgrade("health: {stableFor: 30m}"), &[], &[says]);
    assert!(check(&upgrade("health: {stableFor: 29m}")).is_ok());
    assert!(check(&upgrade("health: {stableFor: 30m}, progressDeadline: 1h")).is_ok());
}

#[test]
fn a_duration_without_a_unit_is_told_the_same_with_and_without_quotes() {
    for number in ["30", "'30'"] {
        let says = "is a duration without a unit; write 30s, 30m or 30h";
        exactly(&upgrade(&format!("progressDeadline: {number}")), &[], &[says]);
        exactly(&upgrade(&format!("health: {{stableFor: {number}}}")), &[], &[says]);
        exactly(&cluster(&format!("probe: {{interval: {number}}}")), &[], &[says]);
    }
}
