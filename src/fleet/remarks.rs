//! What a fleet file says that may not be meant: it is valid, and may be right. Pure.

use super::Fleet;

/// A line for each, with the path in the file.
#[must_use]
pub fn remarks(fleet: &Fleet) -> Vec<String> {
    let mut lines = vec![];
    for (index, upgrade) in fleet.upgrades.iter().enumerate() {
        for (number, stage) in upgrade.stages.iter().enumerate() {
            let at = format!("upgrades[{index}].stages[{number}]");
            if !fleet.clusters.iter().any(|cluster| upgrade.stage_of(cluster) == Some(number)) {
                lines.push(format!(
                    "{at}.clusters: selects no cluster that an earlier stage leaves over; {}",
                    if stage.optional {
                        "the stage is passed over"
                    } else {
                        "later stages wait for it for ever"
                    }
                ));
            }
            let target = &upgrade.client_version;
            if upgrade.is_expedited() {
                continue;
            }
            if let Some(approved) = stage.approved_version.as_ref().filter(|approved| *approved != target) {
                lines.push(format!(
                    "{at}.approvedVersion: {approved} is not the upgrade's clientVersion, so {target} still needs approval"
                ));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::file::Sources;
    use crate::fleet::validate::load;

    #[test]
    fn a_stage_without_a_cluster_and_an_approval_of_another_version_are_remarked() {
        let stages = |canary: &str, approved: &str| {
            let flags = serde_json::json!({
                "version": 1,
                "clusters": [{"name": "a", "inCluster": true, "labels": {"stage": "canary"}}],
                "upgrades": [{"name": "u", "clientVersion": "v1.1.0", "stages": [
                    {"name": "canary", "clusters": {"matchLabels": {"stage": canary}}},
                    {"name": "rest", "optional": true, "approval": "required", "approvedVersion": approved},
                ]}],
            });
            remarks(&load(&Sources { flags: Some(flags), ..Sources::default() }).unwrap())
        };
        let words = |lines: Vec<String>, parts: &[&str]| {
            assert_eq!(lines.len(), parts.len(), "{lines:?}");
            for (line, part) in lines.iter().zip(parts) {
                assert!(line.contains(part), "{part:?} in {line:?}");
            }
        };
        words(stages("canry", "v1.1.0"), &["stages[0].clusters: selects no cluster"]);
        let passed_over = "the stage is passed over";
        words(stages("canary", "v1.0.0"), &[passed_over, "stages[1].approvedVersion: v1.0.0 is not"]);
    }
}
