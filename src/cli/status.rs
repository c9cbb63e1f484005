//! `polkafleet status`: how far every upgrade is, how every cluster and node is, and what waits for what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::choose::FleetArgs;
use super::history;
use super::leader::Leader;
use super::look::{Instant, Look};
use super::picture;
use super::plan::{Format, waiting, waits};
use super::terminal::{fitting, laid_out, rows, say};
use crate::fleet::ClusterName;
use crate::fleet::file::Sources;
use crate::home::followed::{self, differences};
use crate::home::said::Said;
use crate::observed::{ClusterState, NodeView, ResourceView, RoleView};
use crate::upgrade::Progress;

/// A picture is drawn again at most so often.
const PACE: Duration = Duration::from_secs(1);

/// Say how far every upgrade is, how every cluster and node is, and what waits for what; changes nothing.
///
/// A node counts as healthy here when its pod is Ready: how the chain itself sees it, the daemon that leads knows.
/// What keeps the daemon from its work (a member that it cannot reach, a clock that differs), it says itself, a few seconds
/// later. Exit code 0: all is well; 3: an upgrade is on its way or halted, a cluster is away, no daemon leads, or the one that
/// does has something to complain of or to do, or a pod has to restart; 2: the fleet file is wrong.
#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// Stay, and show every change; Ctrl-C ends it. For people: not with --output.
    #[arg(short, long, conflicts_with = "output")]
    watch: bool,
    /// Tell instead what was done to which node, when and on whose approval, what failed, and what people decided, as home
    /// keeps it; exit code 0, or 1 where home or what is kept there cannot be read, or where there is no upgrade NAME.
    #[arg(long, conflicts_with = "watch")]
    history: bool,
    /// Of this upgrade only.
    #[arg(long, value_name = "NAME", requires = "history")]
    upgrade: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

pub(super) fn run(args: &StatusArgs, sources: &Sources) -> ExitCode {
    let fleet = match super::load_to_look(sources) {
        Ok(fleet) => fleet,
        Err(problems) => return super::refuse(&problems),
    };
    if args.history {
        return history::run(&fleet, args.upgrade.as_deref(), args.output);
    }
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let has_file = sources.file.is_some();
    let ended = runtime.block_on(async {
        let mut look = Look::begin(fleet).await;
        let seen = look.now().await;
        if !args.watch {
            return seen;
        }
        let mut last = seen;
        tokio::select! {
            // One for the whole time: a signal that comes while nobody listens would be lost.
            _ = tokio::signal::ctrl_c() => {}
            () = watch(&mut look, &mut last, sources) => {}
        }
        last
    });
    if !args.watch && !args.output.print(&as_value(&ended)) {
        say(&laid_out(&as_text(&ended, has_file)));
    }
    super::end(runtime);
    if is_well(&ended) { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// Draws every change, for ever.
async fn watch(look: &mut Look, last: &mut Instant, sources: &Sources) {
    let has_file = sources.file.is_some();
    let mut drawn = String::new();
    loop {
        let text = as_text(last, has_file);
        if text != drawn {
            say(&pictured(&laid_out(&text)));
            drawn = text;
        }
        look.changed().await;
        tokio::time::sleep(PACE).await;
        // The daemon follows the file's edits, too; a wrong one changes nothing.
        if let Ok(edited) = super::load_to_look(sources)
            && !look.is_at(&edited)
        {
            *look = Look::begin(edited).await;
        }
        *last = look.now().await;
    }
}

/// As it is drawn: from the top of an empty screen, as much as it has room for. Into a pipe goes all of it, one picture after
/// the other.
fn pictured(text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return format!("{text}\n");
    }
    format!("\x1b[H\x1b[J{}", fitting(text, rows().saturating_sub(1)))
}

fn is_well(seen: &Instant) -> bool {
    let away = seen.fleet.clusters.iter().any(|cluster| {
        let view = seen.board.clusters.get(&cluster.name);
        !cluster.lost && view.is_none_or(|view| view.state != ClusterState::Ready)
    });
    let looked_after = |name: &ClusterName| {
        seen.fleet.clusters.iter().any(|one| one.name == *name && !one.lost && !one.paused)
    };
    let views = seen.board.clusters.iter().filter(|(name, _)| looked_after(name));
    let rolls = views.flat_map(|(_, view)| view.resources.values()).any(|one| one.roll_pending());
    !away
        && !rolls
        && matches!(seen.leader, Leader::Is(..))
        && seen.leader.says().is_none_or(is_content)
        && seen.plan.progress.iter().all(|progress| progress.halted.is_none() && progress.is_complete())
}

/// Whether the daemon that leads has nothing to complain of, and nothing to do.
fn is_content(said: &Said) -> bool {
    let is_through = said.unfinished.as_ref().is_some_and(BTreeMap::is_empty);
    let is_well = said.no_steps.is_none() && said.away.is_empty() && said.more_away == 0;
    is_through && is_well && said.refused.is_empty() && said.concerns.is_empty()
}

fn as_value(seen: &Instant) -> Value {
    let clusters: Vec<Value> = seen
        .fleet
        .clusters
        .iter()
        .map(|cluster| {
            let view = seen.board.clusters.get(&cluster.name);
            let resources: Vec<Value> =
                view.iter().flat_map(|view| view.resources.values()).map(|one| resource(one)).collect();
            json!({
                "name": cluster.name,
                "state": view.map_or_else(|| "connecting".into(), |view| view.state.to_string()),
                "forDaemon": away(seen, &cluster.name),
                "paused": cluster.paused, "lost": cluster.lost,
                "resources": resources,
            })
        })
        .collect();
    json!({
        "leader": seen.leader.name(),
        "follows": seen.leader.follows(),
        "noSteps": seen.leader.says().and_then(|said| said.no_steps.as_ref()),
        "away": seen.leader.says().map(|said| &said.away),
        "moreAway": seen.leader.says().map(|said| said.more_away),
        "unfinished": seen.leader.says().and_then(|said| said.unfinished.as_ref()),
        "heldUpBy": seen.leader.says().map(|said| &said.waits),
        "refused": seen.leader.says().map(|said| &said.refused),
        "concerns": seen.leader.says().map(|said| &said.concerns),
        "keepers": seen.keepers,
        "progress": seen.plan.progress,
        "clusters": clusters,
        "waits": waits(&seen.plan.waits),
        "decisions": {
            "approvals": seen.control.approvals, "pauses": seen.control.pauses, "attempts": seen.control.attempts,
        },
    })
}

/// A resource and its nodes, for programs.
fn resource(view: &ResourceView) -> Value {
    let node = |role: &RoleView, node: &NodeView| {
        json!({
            "pod": node.pod, "role": role.role, "version": node.version, "readySince": node.ready_since,
            "stuck": node.stuck.as_ref().map(ToString::to_string), "restartPending": node.is_outdated(&role.hash),
        })
    };
    let nodes: Vec<Value> =
        view.roles.iter().flat_map(|role| role.nodes.iter().map(move |one| node(role, one))).collect();
    json!({
        "namespace": view.id.namespace, "name": view.id.name, "kind": view.kind, "chain": view.chain,
        "clientVersion": view.client_version, "settledSince": view.settled_since, "held": view.held,
        "trouble": view.trouble, "restartPending": view.roll_pending(), "nodes": nodes,
        "step": view.step.as_ref().map(|step| {
            json!({"upgrade": step.upgrade, "target": step.target, "attempt": step.attempt, "at": step.at})
        }),
    })
}

fn as_text(seen: &Instant, has_file: bool) -> String {
    let mut text = headline(seen, has_file) + &in_the_way(seen);
    // The environment may have them without a file.
    let knows_upgrades = has_file || !seen.fleet.upgrades.is_empty();
    if !knows_upgrades {
        text.push_str(&without_file(seen.leader.says()));
        for (name, pause) in &seen.control.pauses {
            let _ = writeln!(
                text,
                "  upgrade {name} is PAUSED by {} at {:.0}{}",
                pause.by,
                pause.at,
                because(&pause.reason)
            );
        }
    }
    // A fleet of one from a flag says nothing of upgrades.
    let theirs = seen.leader.follows().filter(|_| knows_upgrades);
    for difference in theirs.into_iter().flat_map(|theirs| differences(theirs, &seen.written)) {
        let _ = writeln!(text, "  IT FOLLOWS ANOTHER FLEET FILE THAN THIS ONE: {difference}");
    }
    for progress in &seen.plan.progress {
        let _ = writeln!(
            text,
            "upgrade {} to {}, attempt {}",
            progress.upgrade, progress.target, progress.attempt
        );
        if let Some(pause) = seen.control.pauses.get(&progress.upgrade) {
            let _ = writeln!(text, "  PAUSED by {} at {:.0}{}", pause.by, pause.at, because(&pause.reason));
        } else if seen.fleet.upgrades.iter().any(|known| known.name == progress.upgrade && known.paused) {
            let _ = writeln!(text, "  PAUSED in the fleet file");
        }
        if let Some(why) = &progress.owns_nothing {
            let _ = writeln!(text, "  IT OWNS NO RESOURCE: {why}");
        }
        for stage in &progress.stages {
            let _ = writeln!(text, "  {:<14} {} {}", stage.stage, picture::bar(stage), stage.in_words());
        }
        if let Some(why) = &progress.halted {
            let _ = writeln!(text, "  HALTED: {why}");
        } else if let Some(theirs) = unfinished(seen, progress) {
            let _ = writeln!(text, "  FOR THE DAEMON THAT LEADS: {theirs}");
        }
    }
    for cluster in &seen.fleet.clusters {
        let view = seen.board.clusters.get(&cluster.name);
        let state = view.map_or_else(|| "connecting".to_owned(), |view| view.state.to_string());
        let mark = [(cluster.paused, ", paused"), (cluster.lost, ", lost")];
        let marks: String = mark.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let _ = writeln!(text, "{}  {state}{marks}", cluster.name);
        if let Some(theirs) = away(seen, &cluster.name).filter(|theirs| **theirs != state) {
            let _ = writeln!(text, "  FOR THE DAEMON THAT LEADS: {theirs}");
        }
        for resource in view.iter().flat_map(|view| view.resources.values()) {
            let trouble = resource.trouble.as_ref().map(|why| format!("  {why}")).unwrap_or_default();
            let pending =
                if resource.roll_pending() { "  a restart of its pods waits, or is under way" } else { "" };
            let _ = writeln!(text, "  {}{pending}{trouble}", resource.id);
            for node in resource.roles.iter().flat_map(|role| &role.nodes) {
                let is_seen = view.is_some_and(|view| view.state.is_watched());
                let words = if is_seen { picture::node(node) } else { picture::unseen(node) };
                let _ = writeln!(text, "    {:<28} {words}", node.pod);
            }
        }
    }
    text + &waiting(&seen.plan.waits)
}

/// Who leads, or what is known of who does not.
fn headline(seen: &Instant, has_file: bool) -> String {
    let Instant { leader, keepers, fleet, .. } = seen;
    let (home, namespace) = (&fleet.home, &fleet.home_namespace);
    let led = leader.led();
    match leader {
        Leader::Is(..) | Leader::Unknown(_) => format!("{leader}\n{keepers}"),
        _ if keepers.is_empty() => format!("{leader}\n"),
        _ if has_file => format!(
            "NO DAEMON LEADS{led}; no step is taken until one can use the home cluster {home} (namespace {namespace})\n\
             {keepers}"
        ),
        _ => format!("{}\n{keepers}", leader.none_from(fleet)),
    }
}

/// Where an upgrade stands for the daemon that leads, where that is worse than it looks from here: only that one asks the
/// chain's nodes.
fn unfinished<'a>(seen: &'a Instant, progress: &Progress) -> Option<&'a String> {
    let theirs = seen.leader.says()?.unfinished.as_ref()?.get(&progress.upgrade)?;
    progress.is_complete().then_some(theirs)
}

/// What keeps the daemon that leads from its work, as it says itself, beside what is marked at its clusters.
fn in_the_way(seen: &Instant) -> String {
    let mut text = String::new();
    let Some(said) = seen.leader.says() else { return text };
    if let Some(why) = &said.no_steps {
        let _ = writeln!(text, "  IT TAKES NO STEPS: {why}");
    }
    for (name, state) in &said.away {
        if !seen.fleet.clusters.iter().any(|cluster| cluster.name.0 == *name) {
            let _ = writeln!(text, "  It cannot look after cluster {name}: {state}");
        }
    }
    if said.more_away > 0 {
        let _ = writeln!(text, "  Nor after {} more.", said.more_away);
    }
    for words in &said.waits {
        let _ = writeln!(text, "  FOR IT, SOMETHING WAITS: {words}");
    }
    for (name, concern) in &said.concerns {
        let _ = writeln!(text, "  NEW CREDENTIALS DO NOT WORK, cluster {name}: {concern}");
    }
    for what in &said.refused {
        let _ = writeln!(text, "  IT REFUSES WHAT IT WAS GIVEN, and goes on with what it had: {what}");
    }
    text
}

/// The state of a cluster that the daemon that leads cannot look after, as it says itself.
fn away<'a>(seen: &'a Instant, cluster: &ClusterName) -> Option<&'a String> {
    seen.leader.says()?.away.get(&cluster.0)
}

/// Of what a fleet of one cannot tell: its upgrades are in the fleet file, which only the daemon has.
fn without_file(said: Option<&Said>) -> String {
    let mut text = "  Stages are not shown without the fleet file (--fleet FILE).\n".to_owned();
    let Some(said) = said else { return text };
    let lines = followed::lines(&said.follows);
    text.push_str(if lines.is_empty() { "  It follows no upgrade.\n" } else { "  It follows:\n" });
    for (upgrade, line) in said.follows.iter().zip(lines) {
        let _ = writeln!(text, "    {line}");
        let standing = match &said.unfinished {
            Some(all) => all.get(&upgrade.name).map_or("through", String::as_str),
            None => "how far it is, this daemon does not say",
        };
        let _ = writeln!(text, "      {standing}");
    }
    text
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::followed::Followed;

    #[test]
    fn without_a_fleet_file_it_is_said_that_stages_need_it_and_what_the_daemon_follows() {
        let upgrade = Followed {
            name: "polkadot".into(),
            client_version: "stable2503-7".into(),
            attempt: 1,
            paused: false,
            stages: vec![],
        };
        let mut says = Said {
            by: "me".into(),
            follows: vec![upgrade],
            no_steps: None,
            away: BTreeMap::new(),
            more_away: 0,
            unfinished: Some([("polkadot".into(), "stage canary soaking, 1 of 1 healthy".into())].into()),
            refused: vec![],
            waits: vec![],
            concerns: BTreeMap::new(),
        };
        assert!(!is_content(&says), "a pipeline waits for it");
        let said = without_file(Some(&says));
        assert!(said.contains("      stage canary soaking"), "{said}");
        assert!(said.contains("not shown without the fleet file (--fleet FILE)"), "{said}");
        assert!(said.contains("It follows:\n    upgrade polkadot to stable2503-7"), "{said}");
        says.unfinished = None;
        assert!(!is_content(&says), "an older daemon");
        assert!(without_file(Some(&says)).contains("this daemon does not say"));
        says.unfinished = Some(BTreeMap::new());
        assert!(is_content(&says) && without_file(Some(&says)).contains("      through\n"));
        says.follows.clear();
        assert!(without_file(Some(&says)).contains("It follows no upgrade."));
        assert!(!without_file(None).contains("follows"), "nobody said");
    }
}
