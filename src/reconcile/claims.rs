//! Takes the steps that [`volumes`] decides on: claims grow, a StatefulSet is made again around its pods.

use kube::ResourceExt as _;

use crate::desired::{Child, ChildKind};
use crate::polkadot::{Grant, Names, Polkadot, ResourceId, Role, record};

use super::conditions::{TEMPLATE_KEPT, Verdict};
use super::events::Deed;
use super::observe::{self, LiveChild, Observed};
use super::{Inputs, Made, Result, apply, roll, volumes};

/// What is to be done about volumes, by StatefulSet; lets the apply configurations keep what cannot be changed.
pub(super) fn steps<'a>(
    polkadot: &Polkadot,
    observed: &'a Observed,
    made: &mut Made,
    children: &mut [Child],
) -> Vec<(&'a LiveChild, volumes::Step)> {
    let names = Names::of(polkadot);
    let grant: Option<Grant> = record::read(polkadot.annotations(), record::GRANT_ANNOTATION);
    let mut steps = vec![];
    for role in &mut made.roles {
        let name = names.stateful_set(role.role);
        let is_set = |child: &&mut Child| child.kind == ChildKind::StatefulSet && child.name == name;
        let Some(child) = children.iter_mut().find(is_set) else { continue };
        let Some(live) = observed.child(ChildKind::StatefulSet, &name) else { continue };
        // Whoever deletes it, we or a person in the foreground, is not to be overtaken.
        if live.is_going() {
            continue;
        }
        let keystore = role.role == Role::Validator && !role.nodes.is_empty();
        let (wanted, kept) = volumes::keep(&mut child.body, &live.value, keystore);
        let template = live.value.pointer("/spec/volumeClaimTemplates/0");
        let all = observed.claims.iter().map(AsRef::as_ref);
        let replicas = polkadot.replicas(role.role);
        let claims = volumes::of_role(&names, role.role, template, replicas, all);
        let set = observed.stateful_sets.get(&name).map(AsRef::as_ref);
        let step = volumes::next(&volumes::Situation {
            wanted: wanted.as_ref(),
            live: template,
            claims: &claims,
            idle: observe::is_finished(set, role),
            granted: replicas == 0
                || grant.as_ref().is_some_and(|grant| grant.role == role.role && grant.hash == role.hash),
            keystore,
            wedged: role.volumes_added && set.is_some_and(roll::has_two_revisions),
        });
        if kept && matches!(step, volumes::Step::Refused(_)) {
            // What will never be applied waits for no permission, and no pod may go for it.
            let hash = set.map(observe::template_hash).unwrap_or_default();
            *role = observe::role_view(polkadot, role.role, &hash, replicas, &observed.pods);
            role.volumes_added = false;
            made.kept.push(name.clone());
        }
        steps.push((live, step));
    }
    steps
}

pub(super) async fn take(
    polkadot: &Polkadot,
    set: &LiveChild,
    step: volumes::Step,
    inputs: &Inputs<'_>,
    made: &mut Made,
) -> Result<()> {
    let id = ResourceId::of(polkadot);
    let refused = |words: String| Verdict::warning("VolumeChangeRefused", format!("{}: {words}", set.name));
    match step {
        volumes::Step::None => {}
        volumes::Step::Refused(words) => {
            let kept = made.kept.contains(&set.name);
            let reason = if kept { TEMPLATE_KEPT } else { "VolumeChangeRefused" };
            made.warnings.push(Verdict { reason, ..refused(words) });
        }
        volumes::Step::Remake => {
            // The apply before may have changed it: then the view is old, and the next one is on its way.
            if apply::orphan(inputs.client, &id, set).await? {
                made.did(Deed::MadeAgain, format!("StatefulSet {}", set.name));
            }
        }
        volumes::Step::Grow(claims, size) => {
            for claim in claims {
                match apply::grow(inputs.client, &id, &claim, &size).await? {
                    Ok(()) => {
                        made.did(Deed::Grown, format!("PersistentVolumeClaim {} to {size}", claim.name));
                    }
                    Err(words) => made.warnings.push(refused(format!(
                        "the server does not let the claim {} grow to {size}: {words}; set \
                         {} back, or let its storage class grow volumes (allowVolumeExpansion: true)",
                        claim.name,
                        volumes::SIZE_FIELD
                    ))),
                }
            }
        }
    }
    Ok(())
}
