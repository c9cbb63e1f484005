//! Decides what should exist and applies what differs, object by object.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use crate::desired::{self, Basis, Child, ChildKind, Keys, Template};
use crate::observed::RoleView;
use crate::polkadot::{ADOPTED_ANNOTATION, Grant, Polkadot, ResourceId, Role, record};
use crate::version::ClientVersion;

use super::apply::{Applied, Taken};
use super::conditions::Verdict;
use super::events::{Deed, Done};
use super::observe::{LiveChild, Observed};
use super::{Inputs, Result, adopt, apply, claims, compare, keys, last_client, names, observe, roles, roll};

/// What was made of the resource, so far.
#[derive(Default)]
pub(super) struct Made {
    pub(super) roles: Vec<RoleView>,
    pub(super) keys: Keys,
    pub(super) stored: Keys,
    pub(super) wanted: Vec<(ChildKind, String)>,
    pub(super) done: Vec<Done>,
    pub(super) warnings: Vec<Verdict>,
    pub(super) trouble: Option<(&'static str, String)>,
    /// StatefulSets whose pods' template stays as it is, because of a volume that cannot be changed.
    pub(super) kept: Vec<String>,
    /// Why the API server let no pod be made that tries a version.
    pub(super) refused: Option<String>,
}

impl Made {
    pub(super) fn did(&mut self, deed: Deed, what: String) {
        self.done.push(Done { deed, what });
    }
}

/// Decides what should exist and applies what differs.
///
/// What was done is in `made` also where the rest failed.
pub(super) async fn make(
    polkadot: &Polkadot,
    observed: &Observed,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<()> {
    made.roles = observe::live_roles(polkadot, observed);
    let version = match desired::client(polkadot) {
        Ok(version) => version,
        Err(refusal) => {
            let words =
                format!("{}; until that is mended nothing of it is changed or repaired", refusal.words);
            made.trouble = Some((refusal.reason, words));
            return Ok(());
        }
    };
    match wanted_keys(polkadot, observed, inputs).await? {
        Ok((keys, stored)) => (made.keys, made.stored) = (keys, stored),
        Err(words) => {
            made.trouble = Some(("NodeKeyMissing", words));
            return Ok(());
        }
    }
    let keys = made.keys.clone();
    let basis = basis(polkadot, inputs, observed, &keys, version);
    let templates = desired::templates(&basis);
    made.roles = roles(polkadot, observed, &templates);
    let mut children = children(&basis, observed, &templates, made);
    let steps = claims::steps(polkadot, observed, made, &mut children);
    made.wanted = children.iter().map(|child| (child.kind, child.name.clone())).collect();
    for template in &templates {
        if let Some(refusal) = last_client::refusal(polkadot, observed, &made.roles, template) {
            made.warnings.extend(refusal.words.map(|words| Verdict::warning("DowngradeRefused", words)));
            keep_out(&basis.names().stateful_set(template.role), observed, &mut children);
        }
    }
    if let Some(words) = names::taken(polkadot, observed, &children) {
        stop_at_name(polkadot, words, made);
        return Ok(());
    }
    if inputs.changes_nothing(polkadot) {
        return Ok(());
    }
    let headless = basis.names().headless_service();
    let begins = observed.child(ChildKind::Service, &headless).is_none();
    let _alone = if begins { Some(inputs.beginnings.alone(polkadot).await) } else { None };
    for child in &children {
        if let Err(Taken { kind, name, whose }) = bring_about(polkadot, child, observed, inputs, made).await?
        {
            stop_at_name(polkadot, names::conflict(kind, &name, &whose), made);
            return Ok(());
        }
    }
    for (set, step) in steps {
        claims::take(polkadot, set, step, inputs, made).await?;
    }
    Ok(())
}

/// Nothing goes on. A key that was made just now and is in no Secret is none: the next look makes another one.
fn stop_at_name(polkadot: &Polkadot, words: String, made: &mut Made) {
    made.trouble = Some(("NameConflict", words));
    let stored = &made.stored;
    made.keys.retain(|(role, ordinal), _| {
        stored.contains_key(&(*role, *ordinal)) || desired::given_key(polkadot, *role, *ordinal).is_some()
    });
}

/// Leaves a StatefulSet its template, and whom that reaches while pods are of two; one that is not there is not made.
fn keep_out(name: &str, observed: &Observed, children: &mut Vec<Child>) {
    let is_set = |child: &Child| child.kind == ChildKind::StatefulSet && child.name == name;
    let live = observed.child(ChildKind::StatefulSet, name).filter(|live| !live.is_going());
    let is_one = observed.stateful_sets.get(name).is_some_and(|set| roll::has_one_revision(set));
    match (live, children.iter_mut().find(|child| is_set(child))) {
        (Some(live), Some(child)) => {
            let kept: &[&str] = if is_one { &["template"] } else { &["template", "updateStrategy"] };
            for field in kept {
                child.body["spec"][*field] = live.value["spec"][*field].clone();
            }
            // Since when it is kept, or it would count as taken over only now.
            if let Some(since) = live.value["metadata"]["annotations"].get(ADOPTED_ANNOTATION) {
                child.body["metadata"]["annotations"][ADOPTED_ANNOTATION] = since.clone();
            }
        }
        _ => children.retain(|child| !is_set(child)),
    }
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
    let id = ResourceId::of(polkadot);
    let live = observed.child(child.kind, &child.name);
    if live.is_some_and(LiveChild::is_going) {
        return Ok(Ok(()));
    }
    if let Some(who) = live.and_then(|live| adopt::contested(live, inputs.now)) {
        made.warnings.push(contested(child, who));
        return Ok(Ok(()));
    }
    let taken_over = match live.and_then(|live| Some((live, adopt::rewritten(live, &child.body)?))) {
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
    let applied = match apply::apply(inputs.client, polkadot, child, seen).await? {
        Ok(applied) => applied,
        Err(taken) => return Ok(Err(taken)),
    };
    let deed = match (applied, live, &taken_over) {
        // The next look, which comes when it is in view, decides.
        (Applied::Unseen, ..) => return Ok(Ok(())),
        (Applied::Done, None, _) => Deed::Created,
        (Applied::Done, _, Some(_)) => Deed::TakenOver,
        (Applied::Done | Applied::Labelled, ..) => Deed::Updated,
    };
    made.did(deed, format!("{} {}", child.kind.api().1, child.name));
    Ok(Ok(()))
}

/// What is decided from.
pub(super) fn basis<'a>(
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
    // A Secret that has lost our label is in no cache, and its apply would drop the keys of replicas scaled away.
    let unseen = keys::secrets(polkadot).any(|name| observed.child(ChildKind::Secret, &name).is_none());
    if unseen || !wanted.as_ref().is_ok_and(|wanted| wanted.missing.is_empty()) {
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

/// Everything that should exist: first the Service that every resource of these names has, so that of two that begin at
/// once the later one stops before it has made anything; then the Secrets, which the pods need.
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
    let mut others = desired::build(basis, templates, &partitions).into_iter();
    let headless = others.next();
    headless.into_iter().chain(secrets).chain(others).collect()
}
