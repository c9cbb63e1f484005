//! What changed in the upgrades, one line for each that did. Pure.

use jiff::SignedDuration;
use kube::core::Selector;

use super::super::{Count, Health, Probing, Stage, Unreachable, Upgrade};
use super::{joined, moved};

/// The difference in words.
pub(super) fn difference(old: &[Upgrade], new: &[Upgrade]) -> Vec<String> {
    let mut lines = vec![];
    for upgrade in new {
        let (name, target) = (&upgrade.name, &upgrade.client_version);
        match old.iter().find(|known| known.name == *name) {
            None => lines.push(format!("upgrade {name} is new, target {target}")),
            Some(known) if known != upgrade => {
                lines.push(format!("upgrade {name}: {}", parts(known, upgrade).join(", ")));
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|known| new.iter().all(|upgrade| upgrade.name != known.name));
    lines.extend(gone.map(|known| {
        format!("upgrade {} is removed; what it changed stays, and it changes nothing more", known.name)
    }));
    let in_both = |list: &[Upgrade], other: &[Upgrade]| -> Vec<String> {
        let is_there = |one: &&Upgrade| other.iter().any(|known| known.name == one.name);
        list.iter().filter(is_there).map(|one| one.name.clone()).collect()
    };
    let order = in_both(new, old);
    if in_both(old, new) != order {
        lines.push(format!("the order of the upgrades is {} now", order.join(", ")));
    }
    lines
}

/// What is other in an upgrade, most important first.
fn parts(old: &Upgrade, new: &Upgrade) -> Vec<String> {
    let switched = |word: &str, before: bool, now: bool| {
        (before != now).then(|| if now { word.to_owned() } else { format!("no longer {word}") })
    };
    let expedited = |upgrade: &Upgrade| {
        upgrade.expedite.as_ref().map_or_else(|| "nothing".to_owned(), |expedite| expedite.version.clone())
    };
    let reason = |upgrade: &Upgrade| {
        format!("{:?}", upgrade.expedite.as_ref().map_or("", |expedite| expedite.reason.as_str()))
    };
    // Whoever adds a field finds this place.
    let Upgrade {
        name: _,
        client_version: _,
        selector: _,
        attempt: _,
        paused: _,
        allow_downgrade: _,
        allow_ephemeral: _,
        expedite: _,
        stages: _,
        max_failures: _,
        progress_deadline: _,
        unreachable: _,
        health: _,
        prepull: _,
    } = new;
    [
        moved("target", &old.client_version, &new.client_version),
        moved("attempt", &old.attempt, &new.attempt),
        switched("paused", old.paused, new.paused),
        moved("expedite", &expedited(old), &expedited(new)),
        moved("selector", &selector(&old.selector), &selector(&new.selector)),
        stages(&old.stages, &new.stages),
        moved("maxFailures", &count(old.max_failures), &count(new.max_failures)),
        moved("progressDeadline", &duration(old.progress_deadline), &duration(new.progress_deadline)),
        moved("unreachable", &unreachable(old.unreachable), &unreachable(new.unreachable)),
        health(&old.health, &new.health),
        switched("allowDowngrade", old.allow_downgrade, new.allow_downgrade),
        switched("allowEphemeral", old.allow_ephemeral, new.allow_ephemeral),
        switched("prepull", old.prepull, new.prepull),
        moved("the reason of expedite", &reason(old), &reason(new))
            .filter(|_| expedited(old) == expedited(new)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn health(old: &Health, new: &Health) -> Option<String> {
    let Health { min_peers, max_sync_lag, max_finality_lag, stable_for, probe } = new;
    let probing = |probe: Probing| match probe {
        Probing::Required => "required",
        Probing::Optional => "optional",
    };
    joined([
        moved("health.minPeers", &old.min_peers, min_peers),
        moved("health.maxSyncLag", &old.max_sync_lag, max_sync_lag),
        moved("health.maxFinalityLag", &old.max_finality_lag, max_finality_lag),
        moved("health.stableFor", &duration(old.stable_for), &duration(*stable_for)),
        moved("health.probe", &probing(old.probe), &probing(*probe)),
    ])
}

fn duration(duration: SignedDuration) -> String {
    format!("{duration:#}")
}

fn count(count: Count) -> String {
    match count {
        Count::Number(number) => number.to_string(),
        Count::Percent(percent) => format!("{percent}%"),
    }
}

fn selector(selector: &Selector) -> String {
    Some(selector.to_string()).filter(|words| !words.is_empty()).unwrap_or_else(|| "all".into())
}

fn unreachable(unreachable: Unreachable) -> &'static str {
    match unreachable {
        Unreachable::Wait => "wait",
        Unreachable::Skip => "skip",
    }
}

/// Which stages are other, and how far that can be told in a few words.
fn stages(old: &[Stage], new: &[Stage]) -> Option<String> {
    let names = |stages: &[Stage]| stages.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(", ");
    if names(old) != names(new) {
        return Some(format!("stages {} -> {}", names(old), names(new)));
    }
    let other: Vec<String> = old.iter().zip(new).filter_map(|(old, new)| stage(old, new)).collect();
    (!other.is_empty()).then(|| other.join(", "))
}

fn stage(old: &Stage, new: &Stage) -> Option<String> {
    // Whoever adds a field finds this place. Who approved it at the command line, no file says.
    let Stage {
        name,
        clusters,
        optional,
        max_concurrent,
        soak,
        approval_required,
        approved_version,
        approver: _,
    } = new;
    let switched = |word: &str, before: bool, now: bool| {
        (before != now).then(|| if now { word.to_owned() } else { format!("no longer {word}") })
    };
    let approved = (old.approved_version != *approved_version).then(|| match approved_version {
        Some(version) => format!("approved for {version}"),
        None => "no longer approved".into(),
    });
    let parts = joined([
        approved,
        moved("clusters", &selector(&old.clusters), &selector(clusters)),
        moved("maxConcurrent", &count(old.max_concurrent), &count(*max_concurrent)),
        moved("soak", &duration(old.soak), &duration(*soak)),
        switched("with approval", old.approval_required, *approval_required),
        switched("optional", old.optional, *optional),
    ]);
    parts.map(|parts| format!("stage {name} {parts}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::file::Sources;
    use crate::fleet::validate::load;

    fn upgrades(text: &str) -> Vec<Upgrade> {
        let upgrades: serde_json::Value = serde_yaml::from_str(text).unwrap();
        let flags = serde_json::json!({
            "version": 1, "clusters": [{"name": "a", "inCluster": true}], "upgrades": upgrades
        });
        load(&Sources { flags: Some(flags), ..Sources::default() }).unwrap().upgrades
    }

    #[test]
    fn every_upgrade_that_changed_has_one_line_that_says_what() {
        let old = upgrades(
            "[{name: a, clientVersion: v1.1.0, stages: [{name: one, approval: required}, {name: two}]}, \
              {name: same, clientVersion: v1.0.0, stages: [{name: one}]}, \
              {name: old, clientVersion: v1.0.0, stages: [{name: one}]}]",
        );
        let new = upgrades(
            "[{name: a, clientVersion: v1.2.0, attempt: 2, paused: true, progressDeadline: 20m, \
               stages: [{name: one, approval: required, approvedVersion: v1.2.0}, {name: two, soak: 1h}]}, \
              {name: same, clientVersion: v1.0.0, stages: [{name: one}]}, \
              {name: next, clientVersion: v1.3.0, stages: [{name: one}]}]",
        );
        let expected = [
            "upgrade a: target v1.1.0 -> v1.2.0, attempt 1 -> 2, paused, stage one approved for v1.2.0, \
             stage two soak 0s -> 1h, progressDeadline 30m -> 20m",
            "upgrade next is new, target v1.3.0",
            "upgrade old is removed; what it changed stays, and it changes nothing more",
        ];
        assert_eq!(difference(&old, &new), expected);
        assert_eq!(difference(&new, &new), Vec::<String>::new());
    }

    #[test]
    fn other_stages_and_another_order_are_told() {
        let old = upgrades(
            "[{name: a, clientVersion: v1.1.0, paused: true, stages: [{name: one}]}, \
              {name: b, clientVersion: v1.1.0, stages: [{name: one}]}]",
        );
        let new = upgrades(
            "[{name: b, clientVersion: v1.1.0, stages: [{name: one}]}, \
              {name: a, clientVersion: v1.1.0, stages: [{name: zero}, {name: one}]}]",
        );
        let expected =
            ["upgrade a: no longer paused, stages one -> zero, one", "the order of the upgrades is b, a now"];
        assert_eq!(difference(&old, &new), expected);
    }

    #[test]
    fn every_field_of_stages_and_limits_has_its_old_value_and_its_new_one() {
        let old = "[{name: a, clientVersion: v1.1.0, stages: [{name: one}]}]";
        for (upgrade, stage, words) in [
            ("", "clusters: {matchLabels: {tier: x}}", "stage one clusters all -> tier=x"),
            ("", "maxConcurrent: 25%, soak: 1h", "stage one maxConcurrent 1 -> 25%, soak 0s -> 1h"),
            ("", "approval: required", "stage one with approval"),
            ("", "optional: true", "stage one optional"),
            ("maxFailures: 2", "", "maxFailures 0 -> 2"),
            ("unreachable: skip", "", "unreachable wait -> skip"),
            ("selector: {matchLabels: {chain: x}}", "", "selector all -> chain=x"),
            (
                "health: {minPeers: 1, stableFor: 1m, probe: optional}",
                "",
                "health.minPeers 3 -> 1, health.stableFor 3m -> 1m, health.probe required -> optional",
            ),
        ] {
            let new =
                format!("[{{name: a, clientVersion: v1.1.0, stages: [{{name: one, {stage}}}], {upgrade}}}]");
            assert_eq!(difference(&upgrades(old), &upgrades(&new)), [format!("upgrade a: {words}")]);
        }
    }
}
