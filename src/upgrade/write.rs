//! Makes one write of the planner, finds out what came of it, and tells of it: log line, event, span. This is I/O.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, info, info_span, warn};

use crate::identity::masked;
use crate::leader::fence::is_not_held;
use crate::polkadot::record::{
    EPOCH_ANNOTATION, FAILED_ANNOTATION, GRANT_ANNOTATION, HEALTH_ANNOTATION, STEP_ANNOTATION,
    TRACEPARENT_ANNOTATION,
};
use crate::polkadot::{FIELD_MANAGER, Failed, Polkadot, Stretch};
use crate::reconcile::events::Happening;
use crate::reconcile::{REQUEST_BOUND, tell};
use crate::telemetry::traces;

use super::execute::Reach;
use super::refused::Went;
use super::{Action, Wait, Write};

/// After a write without an answer, the resource is read again at this pace.
const REREAD_PAUSE: Duration = Duration::from_secs(2);

/// Makes one write; how else it went where it did not take place. Returns only when it is known whether it did.
pub(super) async fn write(
    action: &Action,
    reach: &Reach,
    now: Timestamp,
    stop: &CancellationToken,
) -> Result<Polkadot, Went> {
    let span = span(action);
    async {
        let (cluster, id) = &action.place;
        let api: Api<Polkadot> = Api::namespaced(reach.client(cluster).ok_or(Went::NotMade)?, &id.namespace);
        let patch = Patch::Merge(patch(action, traces::traceparent(&Span::current())));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        match tokio::time::timeout(REQUEST_BOUND, api.patch(&id.name, &params, &patch)).await {
            Ok(Ok(polkadot)) => {
                say(action);
                if let (Some(happening), Some(client)) = (happening(action), reach.client(cluster)) {
                    tell(&client, &polkadot, &[happening], now).await;
                }
                Ok(polkadot)
            }
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
                let why = masked(&status.message);
                debug!(%cluster, resource = %id, why, "A write was refused; it is planned anew.");
                // It has changed meanwhile, or is gone, or the server is busy: that refuses nothing.
                let passes = matches!(status.code, 404 | 409 | 410 | 429);
                Err(if passes { Went::NotMade } else { Went::Refused })
            }
            Ok(Err(error)) if is_not_held(&error) => {
                debug!(%cluster, resource = %id, "A write was not sent: the Lease is not ours.");
                Err(Went::NotMade)
            }
            unanswered => {
                let why = unanswered.map_or("no answer".into(), |answer| {
                    answer.err().map(|error| masked(&error.to_string())).unwrap_or_default()
                });
                warn!(%cluster, resource = %id, why, "It is not known whether a step took place; reading it again.");
                settle(action, reach, stop).await.ok_or(Went::NotMade)
            }
        }
    }
    .instrument(span)
    .await
}

/// Reads until the server answers: the write's own time is over by then, so what is read is what it came to. The
/// client is asked for anew each time: the cluster may come back under another address.
async fn settle(action: &Action, reach: &Reach, stop: &CancellationToken) -> Option<Polkadot> {
    let (cluster, id) = &action.place;
    loop {
        tokio::select! {
            () = tokio::time::sleep(REREAD_PAUSE) => {}
            // The next daemon reads what came of it.
            () = stop.cancelled() => return None,
        }
        let Some(client) = reach.client(cluster) else { continue };
        let api: Api<Polkadot> = Api::namespaced(client, &id.namespace);
        match tokio::time::timeout(REQUEST_BOUND, api.get_opt(&id.name)).await {
            Ok(Ok(Some(found))) if found.resource_version().as_ref() != Some(&action.resource_version) => {
                return Some(found);
            }
            Ok(Ok(_)) => return None,
            // Forbidden, or gone with its cluster: the next plan sees it from there.
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => return None,
            _ => {}
        }
    }
}

fn patch(action: &Action, traceparent: Option<String>) -> Value {
    let mut annotations = json!({});
    let mut patch = json!({"metadata": {"uid": action.uid, "resourceVersion": action.resource_version}});
    match &action.write {
        Write::Step(step) => {
            annotations[STEP_ANNOTATION] = json!(serde_json::to_string(step).unwrap_or_default());
            patch["spec"] = json!({"clientVersion": step.target});
            if let Some(traceparent) = traceparent {
                annotations[TRACEPARENT_ANNOTATION] = json!(traceparent);
            }
        }
        Write::Rollback(step) => {
            annotations[STEP_ANNOTATION] = json!(serde_json::to_string(step).unwrap_or_default());
            patch["spec"] = json!({"clientVersion": step.previous});
        }
        Write::Grant(grant) => {
            annotations[GRANT_ANNOTATION] = json!(serde_json::to_string(grant).unwrap_or_default());
        }
        Write::Health(stretch) => {
            annotations[HEALTH_ANNOTATION] = json!(serde_json::to_string(stretch).unwrap_or_default());
        }
        Write::Failed(failed) => {
            let text = failed.as_ref().map(|failed| serde_json::to_string(failed).unwrap_or_default());
            annotations[FAILED_ANNOTATION] = json!(text);
        }
        Write::Epoch(epoch) => annotations[EPOCH_ANNOTATION] = json!(epoch.to_string()),
        Write::Revoke => annotations[GRANT_ANNOTATION] = Value::Null,
    }
    patch["metadata"]["annotations"] = annotations;
    patch
}

fn span(action: &Action) -> Span {
    let (cluster, id) = &action.place;
    match &action.write {
        Write::Step(step) | Write::Rollback(step) => {
            let is_rollback = matches!(action.write, Write::Rollback(_));
            let span = info_span!(
                parent: None,
                "upgrade step",
                otel.name = if is_rollback { "roll back" } else { "upgrade step" },
                k8s.cluster.name = %cluster,
                k8s.namespace.name = id.namespace,
                polkadot.name = id.name,
                upgrade.name = step.upgrade,
                upgrade.target = step.target,
                upgrade.attempt = step.attempt,
            );
            traces::export_upgrade_root(&step.upgrade, &step.target, step.attempt);
            traces::under_upgrade(&span, &step.upgrade, &step.target, step.attempt);
            span
        }
        Write::Grant(grant) => {
            let span = info_span!(
                parent: None,
                "grant roll",
                k8s.cluster.name = %cluster,
                k8s.namespace.name = id.namespace,
                polkadot.name = id.name,
                role = %grant.role,
                ordinal = grant.ordinal,
            );
            if let Some(step) = &action.step {
                traces::under_upgrade(&span, &step.upgrade, &step.target, step.attempt);
            }
            span
        }
        Write::Health(_) => {
            info_span!(parent: None, "note health", k8s.cluster.name = %cluster, polkadot.name = id.name)
        }
        Write::Failed(_) => {
            info_span!(parent: None, "note failure", k8s.cluster.name = %cluster, polkadot.name = id.name)
        }
        Write::Epoch(_) => {
            info_span!(parent: None, "mark epoch", k8s.cluster.name = %cluster, polkadot.name = id.name)
        }
        Write::Revoke => {
            info_span!(parent: None, "revoke roll", k8s.cluster.name = %cluster, polkadot.name = id.name)
        }
    }
}

fn say(action: &Action) {
    let (cluster, id) = &action.place;
    match &action.write {
        Write::Step(step) => {
            let from = step.previous.as_deref().unwrap_or("none");
            info!(%cluster, resource = %id, upgrade = step.upgrade, from, to = step.target, "Took an upgrade step.");
        }
        Write::Rollback(step) => {
            let (to, why) = (step.previous.as_deref().unwrap_or("none"), step.rolled_back.as_deref());
            warn!(%cluster, resource = %id, upgrade = step.upgrade, from = step.target, to, why, "Took an upgrade step back.");
        }
        Write::Grant(grant) => {
            info!(%cluster, resource = %id, role = %grant.role, ordinal = grant.ordinal, "Allowed a pod to restart.");
        }
        Write::Health(Stretch { since: None, .. }) => {
            info!(%cluster, resource = %id, "It is sick; its soak will count from its recovery.");
        }
        Write::Health(Stretch { since: Some(soaks_since), ill, .. }) => {
            let not_healthy_since = ill.map(tracing::field::display);
            info!(%cluster, resource = %id, %soaks_since, not_healthy_since, "Noted how it fares.");
        }
        Write::Failed(Some(Failed { upgrade, target, why, .. })) => {
            warn!(%cluster, resource = %id, upgrade, target, why, "The upgrade failed there.");
        }
        Write::Failed(None) => info!(%cluster, resource = %id, "It is healthy, after it had failed."),
        Write::Epoch(epoch) => {
            debug!(%cluster, resource = %id, epoch, "Marked with the planner that writes now.");
        }
        Write::Revoke => info!(%cluster, resource = %id, "Took back an unused permission to restart."),
    }
}

/// What a person would want to read under `kubectl describe`.
fn happening(action: &Action) -> Option<Happening> {
    let (reason, words) = match &action.write {
        Write::Step(step) => {
            let from = step.previous.as_deref().unwrap_or("no version");
            let attempt = step.attempt;
            let approved =
                step.approver.as_ref().map(|who| format!(", approved by {who}")).unwrap_or_default();
            let words = format!(
                "upgrade {}, attempt {attempt}: from {from} to {}{approved}",
                step.upgrade, step.target
            );
            ("UpgradeStep", words)
        }
        Write::Rollback(step) => {
            let to = step.previous.as_deref().unwrap_or("no version");
            let why = step.rolled_back.as_deref().unwrap_or_default();
            let words = format!(
                "upgrade {}: back from {} to {to}, no pod was restarted: {why}",
                step.upgrade, step.target
            );
            return Some(Happening { warning: true, reason: "RolledBack".into(), action: "Patch", words });
        }
        Write::Grant(grant) => {
            let words =
                format!("{} {} may restart, to run template {}", grant.role, grant.ordinal, grant.hash);
            ("RestartAllowed", words)
        }
        Write::Failed(None) => ("Recovered", "healthy, after it had failed".to_owned()),
        // That is told as what it waits for.
        Write::Failed(Some(_)) | Write::Health(_) | Write::Epoch(_) | Write::Revoke => return None,
    };
    Some(Happening { warning: false, reason: reason.into(), action: "Patch", words })
}

/// An event about a resource that does not move until a person acts.
pub(super) async fn tell_wait(wait: &Wait, reach: &Reach, now: Timestamp) {
    let (cluster, id) = &wait.place;
    let Some(client) = reach.client(cluster) else { return };
    let api: Api<Polkadot> = Api::namespaced(client.clone(), &id.namespace);
    if let Ok(Ok(polkadot)) = tokio::time::timeout(REQUEST_BOUND, api.get(&id.name)).await {
        let reason = format!("{:?}", wait.code);
        let happening = Happening { warning: true, reason, action: "Wait", words: wait.words.clone() };
        tell(&client, &polkadot, &[happening], now).await;
    }
}
