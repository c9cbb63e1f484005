//! Makes one `Polkadot` resource so: observe, decide, apply, prune, report — level-triggered, from caches.
//!
//! The decisions are elsewhere: what should exist in [`crate::desired`], whether it already does in [`compare`],
//! what of the old operator's is taken over in [`adopt`], what may restart in [`roll`], what to report in [`status`]. When nothing differs, no request is sent. This is
//! also where the planner's word arrives: as annotations on the resource, see [`crate::polkadot::record`].

pub mod adopt;
mod apply;
mod claims;
pub mod compare;
pub mod conditions;
pub mod events;
mod keys;
pub mod observe;
pub mod roll;
pub mod status;
pub mod volumes;

use std::collections::BTreeMap;

use kube::{Client, ResourceExt as _};
use tracing::warn;

use crate::desired::{self, Basis, Child, ChildKind, Keys, Template};
use crate::fleet::Settings;
use crate::identity::masked;
use crate::observed::{ResourceView, RoleView};
use crate::polkadot::{Grant, Names, Polkadot, ResourceId, Role, record};
use crate::version::ClientVersion;

use self::apply::Taken;
use self::conditions::Verdict;
use self::events::{Deed, Done};
use self::observe::{Caches, LiveChild, Observed, observe};
use self::status::Findings;

pub(crate) use self::apply::REQUEST_BOUND;

/// How long after a Secret with a key was not there to look again.
const LOOK_FOR_KEY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Why a reconcile stopped half-way; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("could not {what}")]
    Api {
        /// What we were about to do.
        what: String,
        /// Its answer.
        source: kube::Error,
    },
    /// The API server did not answer within the bound of a request.
    #[error("the API server did not answer within {} s", REQUEST_BOUND.as_secs())]
    Timeout,
}

impl Error {
    /// What went wrong, with the server's own words: they name the field, and may repeat a key that stood in it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let words = match self {
            Self::Api { source: kube::Error::Api(status), .. } => format!("{self}: {}", status.message),
            Self::Api { source, .. } => format!("{self}: {source}"),
            Self::Timeout => self.to_string(),
        };
        masked(&words)
    }

    /// Whether somebody was faster: the view was old, and the next one is on its way.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 409)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// What a reconcile needs to know beside the resource.
pub struct Inputs<'a> {
    /// The cluster's client.
    pub client: &'a Client,
    /// Its caches.
    pub caches: &'a Caches,
    /// Its settings.
    pub settings: &'a Settings,
    /// Whether it is paused: then nothing is changed, the status neither.
    pub paused: bool,
    /// Now.
    pub now: jiff::Timestamp,
}

impl Inputs<'_> {
    /// Whether the cluster or the resource is to be left exactly as it is.
    fn changes_nothing(&self, polkadot: &Polkadot) -> bool {
        self.paused || polkadot.spec.hold.is_some()
    }
}

/// What came of a reconcile.
pub struct Outcome {
    /// The view for the Board.
    pub view: ResourceView,
    /// How many objects were written.
    pub changes: usize,
    /// When to look again although nothing happens.
    pub next_look: Option<jiff::SignedDuration>,
}

/// Reconciles one resource.
pub async fn reconcile(polkadot: &Polkadot, inputs: &Inputs<'_>) -> Result<Outcome> {
    if polkadot.metadata.deletion_timestamp.is_some() {
        // The garbage collector takes the children; whoever made them again would make it another node.
        let view = view_of_failed(polkadot, inputs, "it is being deleted".into());
        return Ok(Outcome { view, changes: 0, next_look: None });
    }
    let observed = observe(polkadot, inputs.caches);
    let mut made = make(polkadot, &observed, inputs).await?;
    if let Some((_, words)) = &made.trouble {
        warn!(why = words, "Could not make the resource so.");
    }
    if made.trouble.is_none() && !inputs.changes_nothing(polkadot) {
        prune(polkadot, &observed, inputs, &mut made).await?;
        delete_blocked(polkadot, &observed, inputs, &mut made).await?;
    }
    let keystore_kept = observe::keystore_kept(polkadot, &observed.pods);
    report(polkadot, made, keystore_kept, inputs).await
}

/// The view of a resource whose reconcile failed with `trouble`: what the caches say, without a request.
#[must_use]
pub fn view_of_failed(polkadot: &Polkadot, inputs: &Inputs<'_>, trouble: String) -> ResourceView {
    let observed = observe(polkadot, inputs.caches);
    let roles = match desired::client(polkadot) {
        Ok(version) => roles(
            polkadot,
            &observed,
            &desired::templates(&basis(polkadot, inputs, &observed, &observed.keys, version)),
        ),
        Err(_) => observe::live_roles(polkadot, &observed),
    };
    let trouble = Some(("Failed", trouble));
    let keystore_kept = observe::keystore_kept(polkadot, &observed.pods);
    let found = Findings { roles: &roles, keys: &observed.keys, trouble, keystore_kept, warnings: vec![] };
    status::view(polkadot, &found, &status::derive(polkadot, &found, inputs.now), inputs.now)
}

fn roles(polkadot: &Polkadot, observed: &Observed, templates: &[Template]) -> Vec<RoleView> {
    let view = |template: &Template| {
        let replicas = polkadot.replicas(template.role);
        observe::role_view(polkadot, template.role, &template.hash, replicas, &observed.pods)
    };
    templates.iter().map(view).collect()
}

/// What was made of the resource, so far.
#[derive(Default)]
struct Made {
    roles: Vec<RoleView>,
    keys: Keys,
    stored: Keys,
    wanted: Vec<(ChildKind, String)>,
    done: Vec<Done>,
    warnings: Vec<Verdict>,
    trouble: Option<(&'static str, String)>,
}

impl Made {
    fn did(&mut self, deed: Deed, what: String) {
        self.done.push(Done { deed, what });
    }
}

/// Decides what should exist and applies what differs.
async fn make(polkadot: &Polkadot, observed: &Observed, inputs: &Inputs<'_>) -> Result<Made> {
    let mut made = Made { roles: observe::live_roles(polkadot, observed), ..Made::default() };
    let version = match desired::client(polkadot) {
        Ok(version) => version,
        Err(refusal) => {
            made.trouble = Some((refusal.reason, refusal.words));
            return Ok(made);
        }
    };
    match wanted_keys(polkadot, observed, inputs).await? {
        Ok((keys, stored)) => (made.keys, made.stored) = (keys, stored),
        Err(words) => {
            made.trouble = Some(("NodeKeyMissing", words));
            return Ok(made);
        }
    }
    let keys = made.keys.clone();
    let basis = basis(polkadot, inputs, observed, &keys, version);
    let templates = desired::templates(&basis);
    made.roles = roles(polkadot, observed, &templates);
    let mut children = children(&basis, observed, &templates, &made);
    let steps = claims::steps(polkadot, observed, &mut made, &mut children);
    made.wanted = children.iter().map(|child| (child.kind, child.name.clone())).collect();
    if let Some(words) = taken_names(polkadot, observed, &children) {
        made.trouble = Some(("NameConflict", words));
        return Ok(made);
    }
    if inputs.changes_nothing(polkadot) {
        return Ok(made);
    }
    for child in &children {
        if let Err(Taken { kind, name }) = bring_about(polkadot, child, observed, inputs, &mut made).await? {
            made.trouble = Some(("NameConflict", name_conflict(kind, &name)));
            return Ok(made);
        }
    }
    for (set, step) in steps {
        claims::take(polkadot, set, step, inputs, &mut made).await?;
    }
    Ok(made)
}

/// Applies one object, if it is not yet as wanted and nobody else writes to it; takes it over first, if it is the old
/// operator's.
async fn bring_about(
    polkadot: &Polkadot,
    child: &Child,
    observed: &Observed,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<std::result::Result<(), Taken>> {
    let (id, uid) = (ResourceId::of(polkadot), polkadot.uid().unwrap_or_default());
    let live = observed.child(child.kind, &child.name);
    if live.is_some_and(LiveChild::is_going) {
        return Ok(Ok(()));
    }
    if let Some(who) = live.and_then(|live| adopt::contested(live, inputs.now)) {
        made.warnings.push(contested(child, who));
        return Ok(Ok(()));
    }
    let taken_over = match live.and_then(|live| Some((live, adopt::rewritten(live)?))) {
        Some((live, managed)) => Some(apply::take_over(inputs.client, &id, live, &managed).await?),
        None => None,
    };
    if taken_over.is_none()
        && live.is_some_and(|live| !compare::differs(&child.body, &live.value, &live.managed))
    {
        return Ok(Ok(()));
    }
    let seen = live.map(|live| apply::Seen {
        uid: &live.uid,
        resource_version: taken_over.as_deref().unwrap_or(&live.resource_version),
    });
    let applied = apply::apply(inputs.client, &id, &uid, child, seen).await?;
    if applied.is_ok() {
        let deed = match (live, &taken_over) {
            (None, _) => Deed::Created,
            (_, Some(_)) => Deed::TakenOver,
            _ => Deed::Updated,
        };
        made.did(deed, format!("{} {}", child.kind.api().1, child.name));
    }
    Ok(applied)
}

/// What is decided from.
fn basis<'a>(
    polkadot: &'a Polkadot,
    inputs: &Inputs<'a>,
    observed: &'a Observed,
    keys: &'a Keys,
    version: ClientVersion,
) -> Basis<'a> {
    Basis { polkadot, settings: inputs.settings, keys, version, inherited: &observed.inherited }
}

fn contested(child: &Child, who: &str) -> Verdict {
    let words = format!(
        "{who} writes the {} {} as well, so it is left alone; if that is the old operator, scale its Deployment to 0 \
         (and never delete its CRD: that deletes the nodes)",
        child.kind.api().1,
        child.name
    );
    Verdict::warning("Contested", words)
}

/// The keys of all nodes, and those that the Secrets hold. Missing ones are made here; the Secrets are applied first.
async fn wanted_keys(
    polkadot: &Polkadot,
    observed: &Observed,
    inputs: &Inputs<'_>,
) -> Result<std::result::Result<(Keys, Keys), String>> {
    let mut given = Keys::new();
    for role in keys::to_be_copied(polkadot, observed) {
        match apply::read_given_key(inputs.client, polkadot, role).await? {
            Ok(key) => drop(given.insert((role, 0), key)),
            Err(words) => return Ok(Err(words)),
        }
    }
    let mut stored = observed.keys.clone();
    let mut wanted = keys::wanted(polkadot, observed, &stored, &given);
    if !wanted.as_ref().is_ok_and(|wanted| wanted.missing.is_empty()) {
        // The cache may be behind; a key is made, or called lost, only on the server's word.
        stored = apply::read_keys(inputs.client, polkadot).await?;
        wanted = keys::wanted(polkadot, observed, &stored, &given);
    }
    Ok(wanted.map(|wanted| {
        let mut keys = wanted.keys;
        if !inputs.changes_nothing(polkadot) {
            keys.extend(wanted.missing.into_iter().map(|node| (node, apply::new_key())));
        }
        (keys, stored)
    }))
}

/// Everything that should exist, Secrets first.
fn children(basis: &Basis<'_>, observed: &Observed, templates: &[Template], made: &Made) -> Vec<Child> {
    let (polkadot, names) = (basis.polkadot, basis.names());
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    let partitions: BTreeMap<Role, i32> = made
        .roles
        .iter()
        .map(|role| {
            let set = observed.stateful_sets.get(&names.stateful_set(role.role));
            let finished = observe::is_finished(set.map(AsRef::as_ref), role);
            (role.role, roll::partition(role, polkadot.replicas(role.role), grant.as_ref(), finished))
        })
        .collect();
    let secrets = templates.iter().map(|template| {
        let keys = keys::of_role(template.role, &made.keys, &made.stored);
        desired::secret(polkadot, template.role, &keys)
    });
    secrets.chain(desired::build(basis, templates, &partitions)).collect()
}

/// Names that something else of the namespace has already; one of them is enough to touch nothing.
fn taken_names(polkadot: &Polkadot, observed: &Observed, children: &[Child]) -> Option<String> {
    let uid = polkadot.uid();
    let live = children.iter().filter_map(|child| observed.child(child.kind, &child.name));
    let mut others = live.filter(|live| live.owner != uid);
    if let Some(rival) = &observed.elder {
        return others.next().map(|live| {
            format!(
                "the {} {} would be taken over by {rival}, which is older and uses the same names; give this resource a \
                 namePrefix, or move it to another namespace",
                live.kind.api().1,
                live.name
            )
        });
    }
    // What the old operator made and then lost is taken over.
    others
        .find(|live| live.owner.is_some() || !adopt::is_legacy(live))
        .map(|live| name_conflict(live.kind, &live.name))
}

fn name_conflict(kind: ChildKind, name: &str) -> String {
    format!(
        "the {} {name} exists and does not belong to this resource, so nothing was touched; give this resource a \
         namePrefix, move one of the two to another namespace, or delete that object",
        kind.api().1
    )
}

/// Removes what we own and no longer want: the other role after a change of kind, the policy after its end.
async fn prune(polkadot: &Polkadot, observed: &Observed, inputs: &Inputs<'_>, made: &mut Made) -> Result<()> {
    let uid = polkadot.uid();
    let is_wanted =
        |live: &LiveChild| made.wanted.iter().any(|(kind, name)| *kind == live.kind && *name == live.name);
    let unwanted: Vec<_> = observed
        .children
        .iter()
        .filter(|live| live.owner == uid && !is_wanted(live))
        // Keys go with their resource and never before: a role that comes back must be the same node.
        .filter(|live| live.kind != ChildKind::Secret)
        // On its way out already.
        .filter(|live| !live.is_going())
        .collect();
    for live in unwanted {
        if apply::delete(inputs.client, &ResourceId::of(polkadot), live).await? {
            made.did(Deed::Deleted, format!("{} {}", live.kind.api().1, live.name));
        }
    }
    Ok(())
}

async fn delete_blocked(
    polkadot: &Polkadot,
    observed: &Observed,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<()> {
    let names = Names::of(polkadot);
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    for role in made.roles.clone() {
        let Some(node) = roll::blocked(&role, grant.as_ref()) else { continue };
        // As it was seen: after a change, the next look decides.
        let set = observed.stateful_sets.get(&names.stateful_set(role.role));
        if !set.is_some_and(|set| roll::comes_back_on(set, &role.hash, node.ordinal)) {
            continue;
        }
        match apply::delete_blocked_pod(inputs.client, &ResourceId::of(polkadot), node, &role).await? {
            apply::Blocked::Deleted => made.did(Deed::Restarted, format!("Pod {}", node.pod)),
            apply::Blocked::HostNotReady(host) => made.warnings.push(Verdict::warning(
                "PodBlocked",
                format!(
                    "{} may restart, but its machine {host} is not known to be Ready, and the old process may still run \
                     there; when it is certain that it does not, delete the pod by hand (or let polkafleet get nodes, \
                     see deploy/rbac.yaml)",
                    node.pod
                ),
            )),
            apply::Blocked::NoMore => {}
        }
    }
    Ok(())
}

/// Writes the status where it changed, tells of what happened, and makes the view.
async fn report(
    polkadot: &Polkadot,
    made: Made,
    keystore_kept: bool,
    inputs: &Inputs<'_>,
) -> Result<Outcome> {
    let Made { roles, keys, trouble, warnings, .. } = &made;
    let found = Findings { roles, keys, trouble: trouble.clone(), keystore_kept, warnings: warnings.clone() };
    let status = status::derive(polkadot, &found, inputs.now);
    // A person's Secret is not watched: that would be the right to read every Secret.
    let waits_for_key = found.trouble.as_ref().is_some_and(|(reason, _)| *reason == "NodeKeyMissing");
    let look_for_key = waits_for_key.then_some(LOOK_FOR_KEY);
    let changed = polkadot.status.as_ref() != Some(&status) && !inputs.paused;
    if changed {
        apply::write_status(inputs.client, polkadot, &status).await?;
    }
    if changed || !made.done.is_empty() {
        let before = polkadot.status.clone().unwrap_or_default();
        let happenings = events::of(&before, &status, &made.done);
        apply::tell(inputs.client, polkadot, &happenings, inputs.now).await;
    }
    Ok(Outcome {
        view: status::view(polkadot, &found, &status, inputs.now),
        changes: made.done.len() + usize::from(changed),
        next_look: status::next_look(&status, inputs.now).into_iter().chain(look_for_key).min(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_servers_words_keep_the_field_and_lose_the_key() {
        let key = "a1".repeat(32);
        let message = format!("Polkadot is invalid: spec.validator.nodeKey: Invalid value: \"0x{key}\"");
        let status = kube::core::Status::failure(&message, "Invalid").with_code(422);
        let error = Error::Api { what: "write the status".into(), source: kube::Error::Api(status.boxed()) };
        let words = error.in_words();
        assert!(words.contains("spec.validator.nodeKey") && !words.contains("a1a1"), "{words}");
    }
}
