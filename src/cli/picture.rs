//! How a node, and a stage and its bar, look on a terminal: for `status` and the sandbox. Pure.

use std::collections::BTreeMap;

use crate::observed::{Board, ClusterView, NodeView};
use crate::upgrade::{Code, Plan, StageProgress, Wait};

/// The width of a progress bar.
const BAR: usize = 20;

/// A node: what it runs, and how it does.
pub(super) fn node(node: &NodeView) -> String {
    let absent = if node.hash.is_none() { "no pod" } else { "no version yet" };
    let version = node.version.as_deref().unwrap_or(absent);
    match (&node.stuck, node.ready_since) {
        (Some(why), _) => format!("{version}  STUCK: {why}"),
        (None, Some(_)) => format!("{version}  ready"),
        (None, None) => format!("{version}  not ready"),
    }
}

/// A node of a cluster that is not seen: what it ran when it was.
pub(super) fn unseen(node: &NodeView) -> String {
    format!("{}  not seen now", node.version.as_deref().unwrap_or("no version yet"))
}

/// How far a stage is, drawn.
pub(super) fn bar(stage: &StageProgress) -> String {
    let full = (BAR * stage.healthy).checked_div(stage.total).unwrap_or(0);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

/// What there is to say, by what it is about.
pub(super) fn facts(board: &Board, plan: &Plan) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for (name, view) in &board.clusters {
        facts.insert(name.to_string(), format!("{}", view.state));
        for node in nodes(view) {
            facts.insert(format!("{}  {}", name, node.pod), self::node(node));
        }
    }
    for progress in &plan.progress {
        for stage in &progress.stages {
            let about = format!("upgrade {}  {}", progress.upgrade, stage.stage);
            facts.insert(about, stage.in_words());
        }
        if let Some(why) = &progress.halted {
            facts.insert(format!("upgrade {}", progress.upgrade), format!("HALTED: {why}"));
        }
    }
    facts.extend(obstacles(board, plan));
    facts
}

/// What only the chain nodes show, and stages wait for: chains that stand still, and nodes that cannot be asked.
pub(super) fn obstacles(board: &Board, plan: &Plan) -> BTreeMap<String, String> {
    let of = |wait: &Wait| {
        let (cluster, id) = &wait.place;
        match wait.code {
            // Since when changes as nodes answer.
            Code::ChainStalled => {
                let chain = &board.clusters.get(cluster)?.resources.get(id)?.chain;
                Some((
                    format!("chain {chain}"),
                    "STANDS STILL: everything on it waits until it goes on".into(),
                ))
            }
            Code::ProbeBlocked => Some((format!("{cluster}  {id}"), wait.words.clone())),
            _ => None,
        }
    };
    plan.waits.iter().filter_map(of).collect()
}

/// Every node of a cluster.
pub(super) fn nodes(view: &ClusterView) -> impl Iterator<Item = &NodeView> {
    view.resources.values().flat_map(|resource| &resource.roles).flat_map(|role| &role.nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upgrade::StageState;

    #[test]
    fn a_bar_is_as_full_as_its_stage() {
        let of = |healthy, total| StageProgress {
            stage: "canary".into(),
            state: StageState::Rolling,
            healthy,
            in_flight: 1,
            failed: 0,
            ahead: 0,
            total,
        };
        assert_eq!(bar(&of(1, 2)).matches('#').count(), BAR / 2);
        assert_eq!(bar(&of(2, 2)).matches('.').count(), 0);
        assert_eq!(bar(&of(0, 0)).matches('#').count(), 0, "an empty stage is no division by zero");
        assert_eq!(of(1, 2).in_words(), "rolling, 1 of 2 healthy");
        let empty = StageProgress { state: StageState::Empty, ..of(0, 0) }.in_words();
        assert!(empty.contains("label its clusters") && !empty.contains("0 of 0"), "{empty}");
    }
}
