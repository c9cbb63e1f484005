//! `polkafleet approve`, `pause`, `resume`, `retry`: what a person decides, written to the home cluster under his name.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use super::choose::FleetArgs;
use super::leader::Leader;
use super::terminal::{laid_out, say};
use super::time::Ahead;
use crate::cluster::connect::{Connect as _, Kubernetes};
use crate::fleet::Fleet;
use crate::fleet::file::Sources;
use crate::home::control::{Attempt, Control, Decision, Did, Made};
use crate::home::followed::{self, Followed};
use crate::home::kept::{CONTROL, Error, decide};

/// What home may take.
const BOUND: Duration = Duration::from_secs(20);

/// So long it is waited for that the daemon reads a file which was just edited.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// Which upgrade, and why.
#[derive(Args)]
pub(super) struct DecideArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// The upgrade's name in the fleet file.
    upgrade: String,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Let a stage begin that needs approval, for the version that the fleet file has now.
#[derive(Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    pub(super) decide: DecideArgs,
    /// The stage's name.
    pub(super) stage: String,
}

/// What is decided.
pub(super) enum What {
    /// The stage may begin.
    Approve(String),
    /// Nothing new begins.
    Pause,
    /// It goes on.
    Resume,
    /// What failed is tried again.
    Retry,
}

/// Why nothing was decided.
enum Refused {
    /// What is asked for is not there.
    Wrong(String),
    /// It could not be written.
    Failed(String),
}

#[allow(clippy::print_stderr)]
pub(super) fn run(what: &What, args: &DecideArgs, sources: &Sources) -> ExitCode {
    let fleet = match super::load_to_look(sources) {
        Ok(fleet) => fleet,
        Err(problems) => {
            let code = super::refuse(&problems);
            eprintln!(
                "Without the file it can be decided with --context CONTEXT, the home cluster's (and POLKAFLEET__HOMENAMESPACE, \
                 if that is not polkafleet), for what the daemon that leads follows."
            );
            return code;
        }
    };
    let in_file = sources.file.as_ref().map(|_| followed::of(&fleet));
    if let Some(Err(why)) = in_file.as_ref().map(|all| chosen(all, "the fleet file", what, &args.upgrade)) {
        eprintln!("error: {why}");
        return ExitCode::from(2);
    }
    let Some(runtime) = super::runtime() else { return ExitCode::FAILURE };
    let done = runtime.block_on(async {
        let deciding = decide_at_home(&fleet, in_file.as_deref(), what, args);
        let late = || format!("the home cluster {} does not answer within {} s", fleet.home, BOUND.as_secs());
        tokio::time::timeout(BOUND, deciding).await.unwrap_or_else(|_| Err(Refused::Failed(late())))
    });
    let code = match done {
        Ok(said) => {
            say(&(laid_out(&said) + "\n"));
            ExitCode::SUCCESS
        }
        Err(Refused::Failed(why)) => {
            eprintln!("error: {why}; nothing was decided");
            ExitCode::FAILURE
        }
        Err(Refused::Wrong(why)) => {
            eprintln!("error: {why}; nothing was decided");
            ExitCode::from(2)
        }
    };
    super::end(runtime);
    code
}

/// The upgrade that is meant, if it is there and what is decided can be decided about it. `whose` says of what.
fn chosen<'a>(all: &'a [Followed], whose: &str, what: &What, name: &str) -> Result<&'a Followed, String> {
    let upgrade = followed::named(all, name).map_err(|words| format!("{whose} {words}"))?;
    if let What::Approve(stage) = what {
        let stages: Vec<&str> = upgrade.stages.iter().map(|stage| stage.name.as_str()).collect();
        let found = upgrade.stages.iter().find(|known| known.name == *stage);
        let found = found.ok_or_else(|| {
            format!("there is no stage {stage:?} in it; there are: {} (in {whose})", stages.join(", "))
        })?;
        if !found.approval {
            return Err(format!("stage {stage} needs no approval (approval: required is not set)"));
        }
    }
    Ok(upgrade)
}

/// What is decided about: the upgrade as the daemon that leads has it. Of a file that says otherwise it would be for
/// nothing, or, as an approval or a retry of another version, take the place of what counts.
async fn agreed(
    client: &Client,
    ahead: Ahead,
    fleet: &Fleet,
    in_file: Option<&[Followed]>,
    what: &What,
    name: &str,
) -> Result<(Followed, Option<Leader>), Refused> {
    let until = tokio::time::Instant::now() + READ_AGAIN;
    loop {
        let leader = Leader::read(client, fleet, ahead).await;
        let leader =
            leader.map_err(|why| Refused::Failed(format!("which daemon leads is not known: {why}")))?;
        let ours = in_file.map(|all| chosen(all, "the fleet file", what, name)).transpose();
        let ours = ours.map_err(Refused::Wrong)?.cloned();
        let Some(theirs) = leader.follows() else {
            // Nobody follows anything, or says so: the file is what there is.
            let none = || match leader {
                Leader::Was(..) | Leader::None => Refused::Wrong(format!(
                    "{}; with --fleet FILE it can be decided also while no daemon leads",
                    leader.none_from(fleet)
                )),
                _ => Refused::Wrong(format!("{leader}, and does not say what it follows; give --fleet FILE")),
            };
            return Ok((ours.ok_or_else(none)?, Some(leader)));
        };
        let whose = format!("the daemon that leads ({})", leader.name().unwrap_or_default());
        let disagrees = match (chosen(theirs, &whose, what, name), ours) {
            (Err(why), _) => why,
            (Ok(theirs), Some(ours))
                if matches!(what, What::Approve(_) | What::Retry)
                    && theirs.client_version != ours.client_version =>
            {
                format!(
                    "{whose} takes upgrade {name} to {}, the fleet file given here says {}",
                    theirs.client_version, ours.client_version
                )
            }
            (Ok(theirs), _) => return Ok((theirs.clone(), None)),
        };
        // It may be about to read the file again.
        if in_file.is_none() {
            return Err(Refused::Wrong(disagrees));
        }
        if tokio::time::Instant::now() > until {
            return Err(Refused::Wrong(format!(
                "{disagrees}; give the file that it follows, or see in its log why it has not taken this one"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn decide_at_home(
    fleet: &Fleet,
    in_file: Option<&[Followed]>,
    what: &What,
    args: &DecideArgs,
) -> Result<String, Refused> {
    let home = fleet.cluster(&fleet.home);
    let home = home.ok_or_else(|| Refused::Failed("home is no member of the fleet".into()))?;
    let client = Kubernetes.connect(&home.connection).await;
    let client = client.map_err(|error| Refused::Failed(error.to_string()))?.client;
    let (name, ahead) = (&args.upgrade, Ahead::of(&client).await);
    let (upgrade, leader) = agreed(&client, ahead, fleet, in_file, what, name).await?;
    let (by, at) = (user(&client).await, ahead.now());
    // It is shown on terminals.
    let reason = args.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let decision = Decision { version: Some(upgrade.client_version.clone()), by, at, reason };
    let change = |control: &mut Control| change(control, &upgrade, what, &decision);
    let (before, control) = decide(&client, &fleet.home_namespace, change).await.map_err(|error| {
        let why = match &error {
            Error::Api(error) => super::home_in_words(error, &home.name),
            error => error.to_string(),
        };
        Refused::Failed(format!(
            "the ConfigMap {CONTROL} in {} of cluster {}: {why}",
            fleet.home_namespace, home.name
        ))
    })?;
    let said = in_words(what, &upgrade, &decision, (&before, &control));
    let written = if before == control {
        "Nothing was written.".to_owned()
    } else {
        format!("Written to home, cluster {}, namespace {}.", home.name, fleet.home_namespace)
    };
    // It counts from then on.
    let there = leader.map_or_else(String::new, |leader| format!("\nHome says: {leader}."));
    Ok(format!("{said} {written}{there}"))
}

/// The reason of a decision.
fn reason_of(known: &Decision) -> &str {
    if known.reason.is_empty() { "no reason was given" } else { &known.reason }
}

/// What was decided, or was so already.
fn in_words(
    what: &What,
    upgrade: &Followed,
    decision: &Decision,
    (before, now): (&Control, &Control),
) -> String {
    let Followed { name, client_version: target, .. } = upgrade;
    let by = &decision.by;
    match (what, before.pauses.get(name)) {
        (What::Approve(stage), _) => {
            if let Some(known) = approved(before, upgrade, stage) {
                let (first, at, reason) = (&known.by, known.at, reason_of(known));
                return format!(
                    "Stage {stage} of upgrade {name} is already approved for {target} by {first} since {at:.0}: {reason}. That \
                     stays as it is."
                );
            }
            format!("{by} approved {target} for stage {stage} of upgrade {name}.")
        }
        (What::Pause, Some(known)) => {
            format!(
                "Upgrade {name} is already paused by {} since {:.0}: {}. That stays as it is.",
                known.by,
                known.at,
                reason_of(known)
            )
        }
        (What::Pause, None) => {
            format!(
                "{by} paused upgrade {name}: what is in flight finishes (polkafleet status names it), nothing new begins."
            )
        }
        (What::Resume, known) => {
            let resumed = match known {
                Some(_) => format!("{by} resumed upgrade {name}"),
                None => format!("Upgrade {name} was not paused by polkafleet pause"),
            };
            let file = if upgrade.paused {
                ", but the fleet file says paused: true; change that to let it go on"
            } else {
                ""
            };
            format!("{resumed}{file}.")
        }
        (What::Retry, _) => {
            let attempt = now.attempts.get(name).map_or(upgrade.attempt, |attempt| attempt.number);
            format!(
                "{by} wants attempt {attempt} of upgrade {name}: what failed at {target}, or was changed back from it, is \
                 tried again; where nothing was, nothing happens. polkafleet status tells."
            )
        }
    }
}

/// The approval of just this version, if there is one.
fn approved<'a>(control: &'a Control, upgrade: &Followed, stage: &str) -> Option<&'a Decision> {
    let known = control.approvals.get(&upgrade.name)?.get(stage)?;
    (known.version.as_ref() == Some(&upgrade.client_version)).then_some(known)
}

fn change(control: &mut Control, upgrade: &Followed, what: &What, decision: &Decision) {
    let name = upgrade.name.clone();
    let made =
        |what| Made { what, upgrade: name.clone(), stage: None, attempt: None, decision: decision.clone() };
    match what {
        // The history tells on whose approval it was.
        What::Approve(stage) if approved(control, upgrade, stage).is_some() => {}
        What::Approve(stage) => {
            control.note(Made { stage: Some(stage.clone()), ..made(Did::Approved) });
            control.approvals.entry(name).or_default().insert(stage.clone(), decision.clone());
        }
        // Whoever asks later wants to know why it was stopped, not who stopped it once more.
        What::Pause if control.pauses.contains_key(&name) => {}
        What::Pause => {
            control.note(made(Did::Paused));
            control.pauses.insert(name, decision.clone());
        }
        What::Resume => {
            if control.pauses.remove(&name).is_some() {
                control.note(made(Did::Resumed));
            }
        }
        What::Retry => {
            let known =
                control.attempts.get(&name).filter(|known| known.decision.version == decision.version);
            let number = known.map_or(upgrade.attempt, |known| known.number.max(upgrade.attempt)) + 1;
            control.note(Made { attempt: Some(number), ..made(Did::Retried) });
            control.attempts.insert(name, Attempt { number, decision: decision.clone() });
        }
    }
}

/// Who we are to the home cluster.
async fn user(client: &Client) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok();
    let user = review.and_then(|review| review.status?.user_info?.username);
    user.unwrap_or_else(|| "somebody whom the cluster does not name".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade() -> Followed {
        let (name, client_version) = ("polkadot".to_owned(), "stable2503-7".to_owned());
        Followed { name, client_version, attempt: 1, paused: false, stages: vec![] }
    }

    fn by(by: &str, reason: &str) -> Decision {
        Decision { by: by.into(), reason: reason.into(), ..Decision::default() }
    }

    /// What is said, and what is kept then.
    fn decided(control: &Control, what: &What, decision: &Decision) -> (String, Control) {
        let mut now = control.clone();
        change(&mut now, &upgrade(), what, decision);
        (in_words(what, &upgrade(), decision, (control, &now)), now)
    }

    #[test]
    fn the_first_pause_keeps_its_reason_and_the_second_says_whose_it_is() {
        let (said, paused) = decided(&Control::default(), &What::Pause, &by("anna", "disk full on eu-1"));
        assert!(said.starts_with("anna paused upgrade polkadot"), "{said}");
        let (said, again) = decided(&paused, &What::Pause, &by("ben", "me too"));
        assert_eq!(again, paused);
        let words = "already paused by anna since 1970-01-01T00:00:00Z: disk full on eu-1. That stays";
        assert!(said.contains(words), "{said}");
        let (said, resumed) = decided(&again, &What::Resume, &by("ben", "new disk"));
        assert_eq!((said.as_str(), resumed.pauses.len()), ("ben resumed upgrade polkadot.", 0));
        let made = resumed
            .made
            .iter()
            .map(|made| (made.what, made.decision.by.as_str(), made.decision.reason.as_str()));
        let expected = [(Did::Paused, "anna", "disk full on eu-1"), (Did::Resumed, "ben", "new disk")];
        assert_eq!(made.collect::<Vec<_>>(), expected, "what was decided is told also when it holds no more");
    }

    #[test]
    fn the_first_approval_of_a_version_stays_and_another_version_takes_its_place() {
        let (stage, of) = (What::Approve("canary".into()), |who: &str, version: &str| Decision {
            version: Some(version.into()),
            ..by(who, "seen")
        });
        let (said, approved) = decided(&Control::default(), &stage, &of("anna", "stable2503-7"));
        assert!(said.starts_with("anna approved stable2503-7"), "{said}");
        let (said, again) = decided(&approved, &stage, &of("ben", "stable2503-7"));
        assert_eq!(again, approved);
        assert!(
            said.contains("already approved for stable2503-7 by anna") && said.contains("seen."),
            "{said}"
        );
        let mut earlier = approved.clone();
        earlier.approvals.get_mut("polkadot").unwrap().insert("canary".into(), of("anna", "stable2503-6"));
        let (_, now) = decided(&earlier, &stage, &of("ben", "stable2503-7"));
        assert_eq!(now.approvals["polkadot"]["canary"].by, "ben");
    }

    #[test]
    fn to_resume_what_is_not_paused_changes_nothing_and_says_so() {
        let (said, now) = decided(&Control::default(), &What::Resume, &by("ben", ""));
        assert_eq!(now, Control::default());
        assert!(said.contains("was not paused by polkafleet pause"), "{said}");
    }

    #[test]
    fn a_retry_says_that_it_is_for_what_failed_and_for_nothing_else() {
        let (said, now) = decided(&Control::default(), &What::Retry, &by("ben", ""));
        assert_eq!(now.attempts["polkadot"].number, 2);
        assert!(said.contains("attempt 2") && said.contains("where nothing was, nothing happens"), "{said}");
    }
}
