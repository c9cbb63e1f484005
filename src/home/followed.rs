//! What the daemon that leads follows, as it says in its Lease, so that whoever decides something at a command line
//! decides it about just that, and not about another edition of the fleet file. Pure.

use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Upgrade};

/// An upgrade, as far as decisions are about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    /// Its name.
    pub name: String,
    /// Its target.
    pub client_version: String,
    /// The fleet file's attempt.
    #[serde(default)]
    pub attempt: u32,
    /// Whether the fleet file pauses it.
    #[serde(default)]
    pub paused: bool,
    /// Its stages.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

/// A stage of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Whether it needs approval.
    #[serde(default)]
    pub approval: bool,
}

impl From<&Upgrade> for Followed {
    fn from(upgrade: &Upgrade) -> Self {
        let stages = upgrade.stages.iter();
        Self {
            name: upgrade.name.clone(),
            client_version: upgrade.client_version.clone(),
            attempt: upgrade.attempt,
            paused: upgrade.paused,
            stages: stages
                .map(|stage| Stage { name: stage.name.clone(), approval: stage.approval_required })
                .collect(),
        }
    }
}

/// All upgrades of a fleet.
#[must_use]
pub fn of(fleet: &Fleet) -> Vec<Followed> {
    fleet.upgrades.iter().map(Followed::from).collect()
}

/// What is followed, a line for each upgrade: for who has no fleet file at hand.
#[must_use]
pub fn lines(all: &[Followed]) -> Vec<String> {
    let line = |upgrade: &Followed| {
        let Followed { name, client_version, attempt, paused, .. } = upgrade;
        let attempt = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        let paused = if *paused { ", paused in its fleet file" } else { "" };
        format!("upgrade {name} to {client_version}{attempt}, stages {}{paused}", stages(upgrade))
    };
    all.iter().map(line).collect()
}

fn stages(upgrade: &Followed) -> String {
    let words = upgrade
        .stages
        .iter()
        .map(|stage| if stage.approval { format!("{} (approval)", stage.name) } else { stage.name.clone() });
    words.collect::<Vec<_>>().join(", ")
}

/// Where the daemon that leads has other upgrades than this fleet file, or other targets, attempts, pauses or stages, each in
/// words.
#[must_use]
pub fn differences(theirs: &[Followed], fleet: &Fleet) -> Vec<String> {
    let ours = of(fleet);
    let find = |all: &[Followed], name: &str| all.iter().find(|upgrade| upgrade.name == name).cloned();
    let mut words = vec![];
    for upgrade in &ours {
        let name = &upgrade.name;
        match find(theirs, name) {
            None => words.push(format!("it has no upgrade {name}")),
            Some(known) if known.client_version != upgrade.client_version => words.push(format!(
                "upgrade {name} goes to {} there, to {} here",
                known.client_version, upgrade.client_version
            )),
            Some(known) => words.extend(other_parts(&known, upgrade)),
        }
    }
    let more = theirs.iter().filter(|known| find(&ours, &known.name).is_none());
    words.extend(more.map(|known| format!("it has upgrade {}, which is not in this one", known.name)));
    words
}

fn other_parts(there: &Followed, here: &Followed) -> Vec<String> {
    let name = &here.name;
    let paused = |one: &Followed| if one.paused { "paused" } else { "not paused" };
    let parts = [
        (there.paused != here.paused).then(|| format!("is {} there, {} here", paused(there), paused(here))),
        (there.attempt != here.attempt)
            .then(|| format!("has attempt {} there, {} here", there.attempt, here.attempt)),
        (there.stages != here.stages)
            .then(|| format!("has the stages {} there, {} here", stages(there), stages(here))),
    ];
    parts.into_iter().flatten().map(|part| format!("upgrade {name} {part}")).collect()
}

/// The upgrade of that name; otherwise what there is instead, in words.
///
/// # Errors
/// Where there is none of that name.
pub fn named<'a>(all: &'a [Followed], name: &str) -> Result<&'a Followed, String> {
    let instead = || {
        let names: Vec<&str> = all.iter().map(|upgrade| upgrade.name.as_str()).collect();
        if names.is_empty() { "it has none".to_owned() } else { format!("it has: {}", names.join(", ")) }
    };
    all.iter()
        .find(|upgrade| upgrade.name == name)
        .ok_or_else(|| format!("has no upgrade {name:?}; {}", instead()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_is_told_with_target_stages_and_what_they_wait_for() {
        let stage = |name: &str, approval| Stage { name: name.into(), approval };
        let upgrade = Followed {
            name: "polkadot".into(),
            client_version: "stable2503-7".into(),
            attempt: 2,
            paused: true,
            stages: vec![stage("canary", false), stage("production", true)],
        };
        let expected = "upgrade polkadot to stable2503-7, attempt 2, stages canary, production (approval), paused in its \
                        fleet file";
        assert_eq!(lines(&[upgrade]), [expected]);
    }
}
