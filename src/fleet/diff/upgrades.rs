//! What changed in the upgrades, one line for each that did. Pure.

use std::fmt::Display;

use super::super::{Stage, Upgrade};

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
    let changed = |word: &str, is: bool| is.then(|| format!("{word} changed"));
    [
        moved("target", &old.client_version, &new.client_version),
        moved("attempt", &old.attempt, &new.attempt),
        switched("paused", old.paused, new.paused),
        moved("expedite", &expedited(old), &expedited(new)),
        changed("selector", old.selector != new.selector),
        stages(&old.stages, &new.stages),
        changed("maxFailures", old.max_failures != new.max_failures),
        moved(
            "progressDeadline",
            &format!("{:#}", old.progress_deadline),
            &format!("{:#}", new.progress_deadline),
        ),
        changed("unreachable", old.unreachable != new.unreachable),
        changed("health", old.health != new.health),
        switched("allowDowngrade", old.allow_downgrade, new.allow_downgrade),
        switched("allowEphemeral", old.allow_ephemeral, new.allow_ephemeral),
        switched("prepull", old.prepull, new.prepull),
        changed("the reason of expedite", old.expedite != new.expedite && expedited(old) == expedited(new)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn moved<T: PartialEq + Display>(word: &str, old: &T, new: &T) -> Option<String> {
    (old != new).then(|| format!("{word} {old} -> {new}"))
}

/// Which stages are other, and how far that can be told in a few words.
fn stages(old: &[Stage], new: &[Stage]) -> Option<String> {
    let names = |stages: &[Stage]| stages.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(", ");
    if names(old) != names(new) {
        return Some(format!("stages {} -> {}", names(old), names(new)));
    }
    let pairs = old.iter().zip(new).filter(|(old, new)| old != new);
    let other: Vec<String> = pairs.map(|(old, new)| stage(old, new)).collect();
    (!other.is_empty()).then(|| other.join(", "))
}

fn stage(old: &Stage, new: &Stage) -> String {
    let only_approved = Stage { approved_version: new.approved_version.clone(), ..old.clone() };
    match &new.approved_version {
        Some(version) if only_approved == *new => format!("stage {} approved for {version}", new.name),
        _ => format!("stage {} changed", new.name),
    }
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
             stage two changed, progressDeadline 30m -> 20m",
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
}
