//! What the commands print for programs: every field is one that the README tells of.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::commands::{NEW, OLD, run};
use crate::support::daemon::command;
use crate::support::world::{Place, World, upgrade};
use crate::support::{PATIENCE, eventually};

/// The fields of a command in the README's table, such as `waves[].upgrade`; a name is `*`.
fn documented(command: &str) -> Vec<Vec<String>> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("### Output for programs").nth(1).unwrap();
    let table = section.split("```").nth(1).unwrap();
    let (mut is_ours, mut fields) = (false, vec![]);
    for line in table.lines().skip(1) {
        let (head, rest) = match line.strip_prefix("          ") {
            Some(rest) => ("", rest),
            // A heading of several commands has a line of its own.
            None if !line.contains("  ") => (line, ""),
            None => line.split_once(' ').unwrap_or((line, "")),
        };
        if !head.is_empty() {
            is_ours = head.split(", ").any(|name| name == command);
        }
        if is_ours {
            fields.extend(expanded(rest));
        }
    }
    fields
}

/// `a[].{b, c}, d` as `a[].b`, `a[].c` and `d`, each in its parts.
fn expanded(line: &str) -> Vec<Vec<String>> {
    let parts = |field: &str| field.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (mut fields, mut rest) = (vec![], line.trim());
    while !rest.is_empty() {
        let comma = rest.find(", ").unwrap_or(rest.len());
        match rest.find('{').filter(|open| *open < comma) {
            None => {
                fields.push(parts(&rest[..comma]));
                rest = rest.get(comma + 2..).unwrap_or_default();
            }
            Some(open) => {
                let close = rest.find('}').unwrap();
                let names = rest[open + 1..close].split(", ");
                fields.extend(names.map(|name| parts(&format!("{}{name}", &rest[..open]))));
                rest = rest[close + 1..].trim_start_matches(", ");
            }
        }
    }
    fields
}

/// The path of everything in a value that has no parts.
fn leaves(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, one)| leaves(one, &under(name), all)),
        Value::Array(entries) => entries.iter().for_each(|one| leaves(one, &format!("{path}[]"), all)),
        _ => drop(all.insert(path.to_owned())),
    }
}

fn is_told(path: &str, fields: &[Vec<String>]) -> bool {
    // A cluster's name has no dot in it, nor has an upgrade's.
    let parts: Vec<&str> = path.split('.').collect();
    let fits = |field: &Vec<String>| {
        let same = |(field, part): (&String, &&str)| {
            field == part || field.strip_prefix('*').is_some_and(|end| part.ends_with(end))
        };
        // An object may be absent.
        field.len() >= parts.len() && field.iter().zip(&parts).all(same)
    };
    fields.iter().any(fits)
}

fn check(command: &str, said: &str) -> BTreeSet<String> {
    let value: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let (mut all, mut fields) = (BTreeSet::new(), documented(command));
    assert!(fields.len() > 5, "{command}: {fields:?}");
    leaves(&value, "", &mut all);
    if command == "rehearse" {
        let waves = documented("plan").into_iter().filter(|field| field[0] == "waves[]");
        fields.extend(waves.flat_map(|field| {
            let predicted = [vec!["predicted[]".to_owned()], field[1..].to_vec()].concat();
            [field, predicted]
        }));
    }
    for path in &all {
        assert!(is_told(path, &fields), "{command} -o json prints {path}, of which the README does not tell");
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_a_command_prints_for_programs_is_in_the_readme() {
    let (world, _daemon) = World::settled(Place::Sandbox, 3, OLD).await;
    let mut fleet = upgrade(NEW, "0s");
    fleet["upgrades"][0]["stages"][1]["approval"] = json!("required");
    world.write_fleet(3, &fleet);
    world.members[0].settles_at(NEW).await;
    for line in [["retry", "polkadot"], ["pause", "polkadot"]] {
        let (code, said) = run(&world, &[line[0], line[1], "--reason", "to see it"]).await;
        assert_eq!(code, 0, "{said}");
    }
    let (code, said) = run(&world, &["approve", "polkadot", "production"]).await;
    assert_eq!(code, 0, "{said}");
    let said = eventually("the daemon says what it follows", PATIENCE, async || {
        let (_, said) = run(&world, &["status", "-o", "json"]).await;
        said.contains("\"production\"").then_some(said)
    })
    .await;
    let status = check("status", &said);
    for path in ["clusters[].resources[].nodes[].restartPending", "decisions.pauses.polkadot.by"] {
        assert!(status.contains(path), "{path} in {status:?}");
    }
    let plan = check("plan", &run(&world, &["plan", "-o", "json"]).await.1);
    assert!(plan.contains("waits[].endedBy"), "{plan:?}");
    let history = check("history", &run(&world, &["status", "--history", "-o", "json"]).await.1);
    for path in ["history[].upgrade.name", "decisions[].reason"] {
        assert!(history.contains(path), "{path} in {history:?}");
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet/fleet.yaml");
    let played = tokio::task::spawn_blocking(move || {
        command().args(["rehearse", "-o", "json"]).arg(example).output().unwrap()
    });
    let played = played.await.unwrap();
    let rehearse = check("rehearse", &String::from_utf8_lossy(&played.stdout));
    assert!(rehearse.contains("predicted[].steps[].to"), "{rehearse:?}");
}
