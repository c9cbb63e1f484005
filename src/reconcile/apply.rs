//! The writes of a reconcile: apply, create, delete, status. Each carries the identity of what was read, so that a
//! decision made on an old view fails instead of overwriting a new state.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tracing::{Instrument as _, info, info_span};

use crate::desired::{Child, ChildKind, Keys};
use crate::identity::{NodeKey, masked};
use crate::observed::{NodeView, RoleView};
use crate::polkadot::{
    FIELD_MANAGER, GROUP, LAST_CLIENT_ANNOTATION, Names, Polkadot, PolkadotStatus, ResourceId, Role,
};

use super::observe::LiveChild;
use super::prepull::Trial;
use super::volumes::Claim;
use super::{Error, Result, names};

/// No request may take longer, whatever the server does: kube itself has no read timeout.
pub(crate) const REQUEST_BOUND: Duration = Duration::from_secs(20);

/// A name that is taken by something that is not ours.
pub(super) struct Taken {
    pub(super) kind: ChildKind,
    pub(super) name: String,
    /// To whom it belongs, in words.
    pub(super) whose: String,
}

/// What became of an object that was to be applied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It is as wanted.
    Done,
    /// It had lost the label by which it is found, and has it back.
    Labelled,
    /// It is there, and not in our view yet.
    Unseen,
}

/// What was read of an object that is to be changed: its identity and version.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) uid: &'a str,
    pub(super) resource_version: &'a str,
}

/// Applies `child`, over what was seen if it is there.
///
/// The caches select by label, so an object without ours is not in them: before creating, one look shows whether
/// the name is free. `Ok(Err(Taken))`: it is not, and nothing was touched. One of ours is not applied before it is in view:
/// what it must keep is not known.
pub(super) async fn apply(
    client: &Client,
    polkadot: &Polkadot,
    child: &Child,
    seen: Option<Seen<'_>>,
) -> Result<std::result::Result<Applied, Taken>> {
    let api = api(client, &ResourceId::of(polkadot), child.kind);
    let mut body = child.body.clone();
    if let Some(seen) = seen {
        body["metadata"]["uid"] = json!(seen.uid);
        body["metadata"]["resourceVersion"] = json!(seen.resource_version);
    } else if let Some(found) = bounded("look for", child, api.get_opt(&child.name)).await? {
        let controller = found.owner_references().iter().find(|owner| owner.controller == Some(true));
        let controller = controller.map(|controller| controller.uid.as_str());
        let uid = polkadot.uid().unwrap_or_default();
        if !names::is_of(
            child.kind,
            &uid,
            &polkadot.name_any(),
            controller,
            found.labels(),
            found.managed_fields(),
        ) {
            let whose = names::whose(found.owner_references(), found.labels(), found.managed_fields());
            return Ok(Err(Taken { kind: child.kind, name: child.name.clone(), whose }));
        }
        let Some(labels) = lost_labels(child, &found) else { return Ok(Ok(Applied::Unseen)) };
        let patch = Patch::Merge(json!({"metadata": {
            "uid": found.uid(), "resourceVersion": found.resource_version(), "labels": labels,
        }}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        bounded("label", child, api.patch(&child.name, &params, &patch)).await?;
        info!(
            kind = child.kind.api().1,
            name = child.name,
            "Gave an object the labels back by which it is found."
        );
        return Ok(Ok(Applied::Labelled));
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    bounded("apply", child, api.patch(&child.name, &params, &Patch::Apply(&body))).await?;
    let what = if seen.is_some() { "Repaired or updated an object." } else { "Created an object." };
    info!(kind = child.kind.api().1, name = child.name, "{what}");
    Ok(Ok(Applied::Done))
}

/// The labels of an object, where it lacks the one that the caches select by.
fn lost_labels<'a>(child: &'a Child, found: &DynamicObject) -> Option<&'a Value> {
    let labels = &child.body["metadata"]["labels"];
    let app = found.labels().get("app").map(String::as_str);
    (labels["app"].is_string() && app != labels["app"].as_str()).then_some(labels)
}

/// Makes the old operator's fields of an object ours, and nothing else; returns the object's new version.
pub(super) async fn take_over(
    client: &Client,
    id: &ResourceId,
    live: &LiveChild,
    managed: &[ManagedFieldsEntry],
) -> Result<String> {
    let patch = Patch::Merge(json!({"metadata": {
        "uid": live.uid, "resourceVersion": live.resource_version, "managedFields": managed,
    }}));
    let child = Child { kind: live.kind, name: live.name.clone(), body: Value::Null };
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let api = api(client, id, live.kind);
    let object = bounded("take over", &child, api.patch(&live.name, &params, &patch)).await?;
    info!(
        kind = live.kind.api().1,
        name = live.name,
        "Took over what somebody else had written on an object."
    );
    Ok(object.resource_version().unwrap_or_default())
}

/// Deletes an object that is no longer wanted, if it still is the one that was read; says whether it did.
pub(super) async fn delete(client: &Client, id: &ResourceId, live: &LiveChild) -> Result<bool> {
    let child = Child { kind: live.kind, name: live.name.clone(), body: Value::Null };
    let params = of_seen(DeleteParams::background(), live);
    let deleted = bounded("delete", &child, api(client, id, live.kind).delete(&live.name, &params)).await;
    if unless_gone(deleted)? {
        info!(kind = live.kind.api().1, name = live.name, "Deleted an object that is no longer wanted.");
        return Ok(true);
    }
    Ok(false)
}

/// What became of a pod that was to be deleted.
pub(super) enum Blocked {
    /// It is deleted.
    Deleted,
    /// It blocks no more.
    NoMore,
    /// Its node may be gone, with the old process still running there.
    HostNotReady(String),
}

/// Deletes a pod that blocks its StatefulSet: gracefully, if it still is the one that was seen, and not on a node
/// that is gone or not Ready, where the old process may still run.
pub(super) async fn delete_blocked_pod(
    client: &Client,
    id: &ResourceId,
    node: &NodeView,
    role: &RoleView,
    uid: &str,
) -> Result<Blocked> {
    use k8s_openapi::api::core::v1::Node;
    let api: Api<Pod> = Api::namespaced(client.clone(), &id.namespace);
    let failed = |source| Error::Api { what: format!("delete the blocked pod {}", node.pod), source };
    let found = in_time(api.get_opt(&node.pod)).await?.map_err(failed)?;
    let Some(pod) = found else { return Ok(Blocked::NoMore) };
    // The cache may be behind: what is deleted is the pod that was seen (what it was made from does not change), if it
    // still blocks.
    let now = super::observe::node_view(node.pod.clone(), node.ordinal, Some(&pod));
    if pod.metadata.deletion_timestamp.is_some()
        || pod.metadata.uid.as_deref() != Some(uid)
        || (now.ready_since.is_some() && !role.volumes_added)
    {
        return Ok(Blocked::NoMore);
    }
    if let Some(host) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
        let nodes: Api<Node> = Api::all(client.clone());
        // Without the right to look at nodes (deploy/rbac.yaml) the host is not known to be Ready.
        let host_is_ready = in_time(nodes.get_opt(host)).await?.ok().flatten().is_some_and(|host| {
            let conditions = host.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
        if !host_is_ready {
            return Ok(Blocked::HostNotReady(host.clone()));
        }
    }
    let params = DeleteParams::default()
        .preconditions(Preconditions { uid: pod.uid(), resource_version: pod.resource_version() });
    if unless_gone(in_time(api.delete(&node.pod, &params)).await?.map_err(failed))? {
        info!(pod = node.pod, "Deleted a pod that blocked its StatefulSet, with permission to restart it.");
        return Ok(Blocked::Deleted);
    }
    Ok(Blocked::NoMore)
}

/// Makes a pod that tries a version.
pub(super) async fn create_prepull(client: &Client, id: &ResourceId, trial: &Trial) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &id.namespace, &resource);
    let failed = |source| Error::Api { what: format!("make the pod {}", trial.name), source };
    let object =
        serde_json::from_value(trial.body.clone()).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    in_time(api.create(&params, &object)).await?.map_err(failed)?;
    info!(pod = trial.name, machine = trial.machine, "Trying a version before a pod restarts for it.");
    Ok(())
}

/// Deletes such a pod, if it still is the one that was seen; says whether it did.
pub(super) async fn delete_prepull(client: &Client, id: &ResourceId, pod: &Pod) -> Result<bool> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &id.namespace);
    let name = pod.name_any();
    let failed = |source| Error::Api { what: format!("delete the pod {name}"), source };
    let params =
        DeleteParams::default().preconditions(Preconditions { uid: pod.uid(), resource_version: None });
    unless_gone(in_time(api.delete(&name, &params)).await?.map_err(failed))
}

/// Deletes a StatefulSet and leaves its pods and claims; the next reconcile makes it again around them. Says whether it
/// did.
pub(super) async fn orphan(client: &Client, id: &ResourceId, live: &LiveChild) -> Result<bool> {
    let child = Child { kind: live.kind, name: live.name.clone(), body: Value::Null };
    let params = of_seen(DeleteParams::orphan(), live);
    let deleted = bounded("make again", &child, api(client, id, live.kind).delete(&live.name, &params)).await;
    if unless_gone(deleted)? {
        info!(
            name = live.name,
            "Making a StatefulSet again around its pods: its volumes are wanted otherwise."
        );
        return Ok(true);
    }
    Ok(false)
}

/// With the identity and version of what was read.
fn of_seen(params: DeleteParams, live: &LiveChild) -> DeleteParams {
    params.preconditions(Preconditions {
        uid: Some(live.uid.clone()),
        resource_version: Some(live.resource_version.clone()),
    })
}

/// Whether there was something to delete: what is gone already, as the cache will learn, is no failure.
fn unless_gone<T>(deleted: Result<T>) -> Result<bool> {
    match deleted {
        Ok(_) => Ok(true),
        Err(Error::Api { source: kube::Error::Api(status), .. }) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets a claim grow, if it still is as it was seen; or says, in the server's words, why it may not.
pub(super) async fn grow(
    client: &Client,
    id: &ResourceId,
    claim: &Claim,
    size: &str,
) -> Result<std::result::Result<(), String>> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &id.namespace);
    let patch = Patch::Merge(json!({
        "metadata": {"uid": claim.uid, "resourceVersion": claim.resource_version},
        "spec": {"resources": {"requests": {"storage": size}}},
    }));
    let claim = &claim.name;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match in_time(api.patch(claim, &params, &patch)).await? {
        Ok(_) => {
            info!(claim, size, "Let a volume grow.");
            Ok(Ok(()))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(Err(masked(&status.message))),
        Err(source) => Err(Error::Api { what: format!("let the claim {claim} grow"), source }),
    }
}

/// Notes on a claim which version of the client uses it, if it still is as it was seen.
pub(super) async fn note_client(
    client: &Client,
    id: &ResourceId,
    claim: &Claim,
    version: &str,
) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &id.namespace);
    let patch = Patch::Merge(json!({"metadata": {
        "uid": claim.uid, "resourceVersion": claim.resource_version,
        "annotations": {LAST_CLIENT_ANNOTATION: version},
    }}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match in_time(api.patch(&claim.name, &params, &patch)).await? {
        Ok(_) => Ok(()),
        // It has changed, or is gone: the next look is on its way.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(source) => {
            Err(Error::Api { what: format!("note its version on the claim {}", claim.name), source })
        }
    }
}

/// Writes the status.
pub(super) async fn write_status(
    client: &Client,
    polkadot: &Polkadot,
    status: &PolkadotStatus,
) -> Result<()> {
    let id = ResourceId::of(polkadot);
    let api: Api<Polkadot> = Api::namespaced(client.clone(), &id.namespace);
    let body = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "Polkadot",
        "metadata": {"name": id.name, "uid": polkadot.uid(), "resourceVersion": polkadot.resource_version()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let span = info_span!("write status");
    in_time(api.patch_status(&id.name, &params, &Patch::Apply(&body)).instrument(span))
        .await?
        .map(drop)
        .map_err(|source| Error::Api { what: "write the status".into(), source })
}

/// The keys as they stand on the server, when the cache lacks one that must be there.
pub(super) async fn read_keys(client: &Client, polkadot: &Polkadot) -> Result<Keys> {
    let (id, names) = (ResourceId::of(polkadot), Names::of(polkadot));
    let api: Api<Secret> = Api::namespaced(client.clone(), &id.namespace);
    let mut keys = Keys::new();
    for role in Role::ALL {
        let name = names.secret(role);
        let failed = |source| Error::Api { what: format!("read the Secret {name}"), source };
        let Some(secret) = in_time(api.get_opt(&name)).await?.map_err(failed)? else { continue };
        keys.extend(super::observe::keys_of(&names, role, &secret));
    }
    Ok(keys)
}

/// The key that the resource has in a Secret of its own; or, in words, why there is none.
pub(super) async fn read_given_key(
    client: &Client,
    polkadot: &Polkadot,
    role: Role,
) -> Result<std::result::Result<NodeKey, String>> {
    let id = ResourceId::of(polkadot);
    let Some(from) = polkadot.node(role).and_then(|node| node.node_key_secret_ref.as_ref()) else {
        return Ok(Err(format!("spec.{role}.nodeKeySecretRef is not set")));
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), &id.namespace);
    let failed = |source| Error::Api { what: format!("read the Secret {}", from.name), source };
    let (name, key) = (&from.name, &from.key);
    let wrong = |what: String| format!("spec.{role}.nodeKeySecretRef: {what}");
    let Some(secret) = in_time(api.get_opt(name)).await?.map_err(failed)? else {
        let words = format!(
            "there is no Secret {name} in this namespace; create it, with 64 hex digits as entry {key}"
        );
        return Ok(Err(wrong(words)));
    };
    let Some(entry) = secret.data.and_then(|mut data| data.remove(key)) else {
        return Ok(Err(wrong(format!("the Secret {name} has no entry {key}; add it, with 64 hex digits"))));
    };
    let given = std::str::from_utf8(&entry.0).ok().and_then(|text| NodeKey::from_hex(text).ok());
    Ok(given.ok_or_else(|| {
        wrong(format!("entry {key} of the Secret {name} is not a node key; it has to be 64 hex digits"))
    }))
}

/// A new node key.
pub(super) fn new_key() -> NodeKey {
    NodeKey::from_seed(rand::random())
}

fn api(client: &Client, id: &ResourceId, kind: ChildKind) -> Api<DynamicObject> {
    let (api_version, kind_name) = kind.api();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind_name));
    Api::namespaced_with(client.clone(), &id.namespace, &resource)
}

async fn bounded<T>(
    verb: &str,
    child: &Child,
    request: impl Future<Output = std::result::Result<T, kube::Error>>,
) -> Result<T> {
    let kind = child.kind.api().1;
    let span = info_span!("request", otel.name = format!("{verb} {kind}"), kind, name = child.name);
    in_time(request.instrument(span))
        .await?
        .map_err(|source| Error::Api { what: format!("{verb} the {kind} {}", child.name), source })
}

pub(super) async fn in_time<F: Future>(request: F) -> Result<F::Output> {
    tokio::time::timeout(REQUEST_BOUND, request).await.map_err(|_| Error::Timeout)
}
