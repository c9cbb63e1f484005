//! `polkafleet plan`: the waves to come, and why anything waits or is left out.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::choose::FleetArgs;
use super::leader::Leader;
use super::look::{Instant, Look};
use super::terminal::{laid_out, say};
use crate::fleet::ClusterName;
use crate::fleet::file::Sources;
use crate::fleet::validate::load;
use crate::observed::ClusterState;
use crate::upgrade::waits::ended_by;
use crate::upgrade::waves::{Wave, waves};
use crate::upgrade::{Action, Code, Plan, StageState, Wait, Write};

/// There is something to do, or on its way.
const SOMETHING: u8 = 3;

/// Say what an upgrade would do: the waves to come, and why anything waits; changes nothing.
///
/// A node counts as healthy here when its pod is Ready: how the chain itself sees it, the daemon that leads knows.
/// Exit code 0: nothing to do; 3: something, or an upgrade is not through; 2: the fleet file is wrong.
#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// As if this were every upgrade's clientVersion.
    #[arg(long, value_name = "VERSION", value_parser = super::release)]
    target: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How a command prints.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people; on a terminal as wide as that is.
    Text,
    /// For programs; fields are only ever added.
    Json,
    /// The same.
    Yaml,
}

impl Format {
    /// Prints a value for programs; returns whether it did.
    pub(super) fn print(self, value: &Value) -> bool {
        match self {
            Self::Text => return false,
            Self::Json => say(&format!("{value:#}\n")),
            Self::Yaml => say(&serde_yaml::to_string(value).unwrap_or_default()),
        }
        true
    }
}

#[allow(clippy::print_stderr)]
pub(super) fn run(args: &PlanArgs, sources: &Sources) -> ExitCode {
    let mut fleet = match load(sources) {
        Ok(fleet) => fleet,
        Err(problems) => return super::refuse(&problems),
    };
    if let Some(target) = &args.target {
        if fleet.upgrades.is_empty() {
            eprintln!(
                "error: --target {target}: there is no upgrade to take there, as no fleet file is given or it has none; give \
                 --fleet FILE with the file that the daemon follows"
            );
            return ExitCode::from(2);
        }
        fleet.upgrades.iter_mut().for_each(|upgrade| upgrade.client_version.clone_from(target));
    }
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let seen = runtime.block_on(async { Look::begin(fleet).await.now().await });
    let mut waves = waves(&seen.fleet, &seen.theirs, seen.now);
    // The daemon knows more of health than this command: what is halted for it has no wave to come.
    waves.retain(|wave| !halted(&seen).any(|(name, _)| *name == wave.upgrade));
    if !args.output.print(&as_value(&seen, &waves)) {
        say(&laid_out(&as_text(&seen, &waves)));
    }
    super::end(runtime);
    let unfinished = seen.plan.progress.iter().any(|progress| !progress.is_complete());
    let theirs = seen.leader.says().and_then(|said| said.unfinished.as_ref());
    let something = unfinished
        || theirs.is_some_and(|all| !all.is_empty())
        || !waves.is_empty()
        || seen.plan.actions.iter().any(moves);
    if something { ExitCode::from(SOMETHING) } else { ExitCode::SUCCESS }
}

/// Whether a write is more than a note.
fn moves(action: &Action) -> bool {
    !matches!(action.write, Write::Health(_) | Write::Failed(_) | Write::Epoch(_))
}

/// Upgrades that are halted, and why.
fn halted(seen: &Instant) -> impl Iterator<Item = (&String, &String)> {
    let all = seen.plan.progress.iter();
    all.filter_map(|progress| Some((&progress.upgrade, progress.halted.as_ref()?)))
}

fn as_value(seen: &Instant, waves: &[Wave]) -> Value {
    let unfinished = seen.leader.says().and_then(|said| said.unfinished.as_ref());
    let clusters: Vec<Value> =
        states(seen).map(|(name, state)| json!({"name": name, "state": state})).collect();
    json!({
        "waves": waves, "unfinished": unfinished, "waits": waits(&seen.plan.waits), "progress": seen.plan.progress,
        "clusters": clusters,
    })
}

/// Every cluster of the fleet with its state, as it is seen from here, or for the daemon that leads where that is worse.
fn states(seen: &Instant) -> impl Iterator<Item = (&ClusterName, String)> {
    let state = |name| seen.theirs.clusters.get(name).map(|view| view.state.to_string());
    let all = seen.fleet.clusters.iter().map(|cluster| &cluster.name);
    all.map(move |name| (name, state(name).unwrap_or_else(|| "connecting".into())))
}

/// Clusters that have to be looked after and cannot be seen, for people.
fn unseen(seen: &Instant) -> String {
    let is_away = |name: &ClusterName| {
        let view = seen.theirs.clusters.get(name);
        let is_lost = seen.fleet.cluster(name).is_some_and(|cluster| cluster.lost);
        // Without the CRD and without anything to remember there is nothing to see; home may be there for its Leases alone.
        let is_well = view.is_some_and(|view| match view.state {
            ClusterState::Ready => true,
            ClusterState::NoCrd(_) => view.resources.is_empty(),
            _ => false,
        });
        !is_lost && !is_well
    };
    let mut text = String::new();
    for (name, state) in states(seen).filter(|(name, _)| is_away(name)) {
        let _ = writeln!(text, "NOT SEEN: {name}  {state}");
    }
    text
}

/// Why each resource waits, for programs.
pub(super) fn waits(waits: &[Wait]) -> Value {
    waits
        .iter()
        .map(|wait| {
            let (cluster, id) = &wait.place;
            json!({
                "cluster": cluster, "namespace": id.namespace, "name": id.name, "code": wait.code, "words": wait.words,
                "until": wait.until, "endedBy": ended_by(wait.code),
            })
        })
        .collect()
}

fn as_text(seen: &Instant, waves: &[Wave]) -> String {
    let (mut text, stopped) = (unseen(seen), nobody_takes_steps(&seen.leader));
    if waves.is_empty() {
        text.push_str("No upgrade has a step to take.\n");
    } else if let Some(why) = &stopped {
        let _ = writeln!(text, "{why}");
    }
    for progress in &seen.plan.progress {
        if let Some(why) = &progress.owns_nothing {
            let _ = writeln!(text, "Upgrade {} OWNS NO RESOURCE: {why}.", progress.upgrade);
        }
    }
    for (name, why) in halted(seen) {
        let _ = writeln!(text, "Upgrade {name} is HALTED: {why}");
    }
    text.push_str(&empty_stages(&seen.plan));
    for (name, standing) in seen.leader.says().and_then(|said| said.unfinished.as_ref()).into_iter().flatten()
    {
        // Of one that is not in this file nothing else is told.
        if !seen.plan.progress.iter().any(|progress| progress.upgrade == *name) {
            let _ = writeln!(
                text,
                "The daemon that leads follows upgrade {name}, which is not in this fleet file: {standing}"
            );
        }
    }
    for words in seen.leader.says().into_iter().flat_map(|said| &said.waits) {
        let _ = writeln!(text, "For the daemon that leads something waits: {words}");
    }
    for (number, wave) in waves.iter().enumerate() {
        text.push_str(&wave_in_words(number + 1, wave, &when(wave, &seen.plan, stopped.is_some())));
    }
    if let Some(more) = seen.leader.says().map(|said| said.more_away).filter(|more| *more > 0) {
        let _ = writeln!(
            text,
            "The daemon that leads cannot look after {more} more clusters, which it does not name: their steps wait, too."
        );
    }
    text + &waiting(&seen.plan.waits)
}

/// Stages that cannot pass as long as nothing is in them, for people.
pub(super) fn empty_stages(plan: &Plan) -> String {
    let mut text = String::new();
    for progress in &plan.progress {
        for stage in progress.stages.iter().filter(|stage| stage.state == StageState::Empty) {
            let _ =
                writeln!(text, "Upgrade {}, stage {} is {}", progress.upgrade, stage.stage, stage.in_words());
        }
    }
    text
}

/// Why none of the waves will begin before a person does something, as far as that is to be seen.
fn nobody_takes_steps(leader: &Leader) -> Option<String> {
    match leader {
        Leader::Was(..) | Leader::None => Some(leader.to_string()),
        _ => leader.says()?.no_steps.as_ref().map(|why| format!("{leader}, and takes no steps: {why}")),
    }
}

/// When a wave begins if all goes well, for people.
fn when(wave: &Wave, plan: &Plan, is_stopped: bool) -> String {
    let is_of_wave = |action: &&Action| {
        let (cluster, id) = &action.place;
        wave.steps.iter().any(|step| step.cluster == cluster.0 && step.resource == id.to_string())
    };
    let steps = plan.actions.iter().filter(|action| matches!(action.write, Write::Step(_)));
    let is_possible = steps.filter(is_of_wave).count() > 0;
    match (wave.after_seconds, wave.needs_approval) {
        (0, true) => "as soon as it is approved".into(),
        (0, false) if is_possible && is_stopped => "as soon as steps are taken".into(),
        (0, false) if is_possible => "at once".into(),
        // What waits for it is told below, with what it waits for.
        (0, false) => "as soon as what is on its way is through".into(),
        (seconds, true) => format!("in {} at the earliest, when it is approved", in_words(seconds)),
        (seconds, false) => format!("in {} at the earliest", in_words(seconds)),
    }
}

/// A wave, for people: what begins, when, and with which resources.
pub(super) fn wave_in_words(number: usize, wave: &Wave, when: &str) -> String {
    let mut text = format!("wave {number}  upgrade {}, stage {}, {when}\n", wave.upgrade, wave.stage);
    for step in &wave.steps {
        let from = step.from.as_deref().unwrap_or("nothing");
        let _ = writeln!(text, "  {}  {}  {from} -> {}", step.cluster, step.resource, step.to);
    }
    text
}

/// Why each resource waits, for people.
pub(super) fn waiting(waits: &[Wait]) -> String {
    let mut text = String::new();
    if !waits.is_empty() {
        text.push_str("Waiting or left out now:\n");
    }
    for wait in waits {
        let _ = write!(text, "  {}  {}  {:?}: {}", wait.place.0, wait.place.1, wait.code, wait.words);
        // A soak's words tell its end.
        if let Some(until) = wait.until.filter(|_| matches!(wait.code, Code::NotHealthyYet | Code::Prepull)) {
            let _ = write!(text, " (it counts as failed from {until:.0} on, unless it makes headway)");
        }
        text.push('\n');
    }
    text
}

/// A time in words, to the unit that matters.
pub(super) fn in_words(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polkadot::ResourceId;
    use crate::upgrade::waves::WaveStep;

    #[test]
    fn a_wave_that_may_begin_says_what_it_waits_for_if_for_anything() {
        let step = |cluster: &str| WaveStep {
            cluster: cluster.into(),
            resource: "n/a".into(),
            from: None,
            to: "stable2503-7".into(),
        };
        let wave = |after_seconds, needs_approval| Wave {
            upgrade: "polkadot".into(),
            stage: "canary".into(),
            after_seconds,
            needs_approval,
            steps: vec![step("one")],
        };
        let taken = crate::polkadot::Step {
            upgrade: "polkadot".into(),
            target: "stable2503-7".into(),
            attempt: 1,
            previous: None,
            finalized: None,
            approver: None,
            prepull: false,
            rolled_back: None,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let action = |cluster: &str, write| Action {
            place: (cluster.into(), ResourceId { namespace: "n".into(), name: "a".into() }),
            uid: String::new(),
            resource_version: String::new(),
            write,
            step: None,
        };
        let (ours, other) = (action("one", Write::Step(taken.clone())), action("two", Write::Step(taken)));
        let marked = action("one", Write::Epoch(1));
        let plan = |actions: &[&Action]| {
            let actions = actions.iter().map(|action| (*action).clone()).collect();
            Plan { actions, ..Plan::default() }
        };
        let says = |wave, actions: &[&Action]| when(&wave, &plan(actions), false);
        assert_eq!(says(wave(0, false), &[&ours]), "at once");
        assert_eq!(when(&wave(0, false), &plan(&[&ours]), true), "as soon as steps are taken");
        assert_eq!(says(wave(0, false), &[&other, &marked]), "as soon as what is on its way is through");
        assert_eq!(says(wave(0, true), &[]), "as soon as it is approved");
        assert_eq!(says(wave(7_200, false), &[]), "in 2 h 0 min at the earliest");
        assert_eq!(says(wave(60, true), &[]), "in 1 min at the earliest, when it is approved");
    }
}
