//! What the sandbox and a rehearsal share: what goes wrong on demand, how a simulated cluster is set up, and what is to
//! be said of pods that do not run.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::polkadot::{PREPULL_APP, Polkadot};
use crate::sandbox::cluster::Cluster;
use crate::sandbox::faults::{NAMES, Wanted};
use crate::sandbox::fleet::Fleet;

/// When nothing has moved for this long in simulated time, the upgrade cannot end.
pub(super) const STALLED: SignedDuration = SignedDuration::from_mins(45);
/// The agent that the stage hands are remembered by.
pub(super) const BACKSTAGE: &str = "polkafleet-sandbox";
/// The name that stands for every cluster in `--fail`.
const ALL: &str = "all";
/// The exit code of what was ended by a signal before it was through, as shells have it for SIGINT.
pub(super) const INTERRUPTED: u8 = 130;
/// How soon it is looked again whether the CRD is served.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Reads what `--fail` says.
pub(super) fn fault(text: &str) -> Result<(String, Wanted), String> {
    let (cluster, fault) =
        text.split_once('=').ok_or("it has the form CLUSTER=FAULT, for example production-1=crash-loop")?;
    Ok((cluster.to_owned(), fault.parse()?))
}

pub(super) fn fault_help(clusters: &str) -> String {
    let faults: Vec<String> = NAMES.iter().map(|(name, what)| format!("  {name:<20} {what}")).collect();
    format!(
        "What goes wrong during the upgrade, as CLUSTER=FAULT; may be given more than once.\n\
         Clusters: {clusters}, or all of them: {ALL}. Faults:\n{}",
        faults.join("\n")
    )
}

pub(super) fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.1..=1000.0).contains(&speed) { Ok(speed) } else { Err("it must be between 0.1 and 1000".into()) }
}

/// Whether there is every cluster that is to fail; if not, what to say.
pub(super) fn known(fail: &[(String, Wanted)], names: &[String]) -> Result<(), String> {
    let unknown = fail.iter().find(|(cluster, _)| cluster != ALL && !names.contains(cluster));
    unknown.map_or(Ok(()), |(cluster, _)| {
        let all = names.join(", ");
        Err(format!(
            "--fail {cluster}=…: there is no such cluster; there are: {all}, or {ALL} for all of them"
        ))
    })
}

/// Lets go wrong what is to go wrong, with these versions and chains.
pub(super) fn cause(
    fleet: &Fleet,
    fail: &[(String, Wanted)],
    versions: &[&str],
    chains: &[&str],
    now: Timestamp,
) {
    for (name, wanted) in fail {
        let meant = |cluster: &&Cluster| name == ALL || cluster.name() == name;
        for cluster in fleet.clusters.iter().filter(meant) {
            match wanted {
                Wanted::Api(fault) => cluster.set_faults(|faults| faults.api = fault.clone()),
                Wanted::Version(fault) => cluster.set_faults(|faults| {
                    faults.versions.extend(versions.iter().map(|version| ((*version).to_owned(), *fault)));
                }),
                Wanted::ChainStalls => {
                    for chain in chains {
                        fleet.chains.with(chain, now, |chain| chain.stall(now));
                    }
                }
            }
        }
    }
}

/// A namespace and the CRD for a cluster; returns when the CRD is served.
pub(super) async fn prepare(cluster: &Cluster, namespace: &str) -> Result<(), kube::Error> {
    let client = cluster.backstage(BACKSTAGE);
    let params = PatchParams::apply("sandbox").force();
    let object = |version: &str, kind: &str, name: &str| -> (Api<DynamicObject>, Value) {
        let (group, version_only) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version_only, kind);
        let api = Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
        (api, json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}}))
    };
    let (namespaces, object_of) = object("v1", "Namespace", namespace);
    namespaces.patch(namespace, &params, &Patch::Apply(object_of)).await?;
    let crd = Polkadot::crd();
    let (crds, _) = object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "");
    crds.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await?;
    let polkadots: Api<Polkadot> = Api::namespaced(client, namespace);
    // The CRD is served a moment after it has been taken.
    while polkadots.list(&ListParams::default()).await.is_err() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Returns at SIGINT or SIGTERM.
pub(super) async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Returns at SIGHUP.
pub(super) async fn hung_up() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::hangup())?.recv().await;
    Ok(())
}

/// Chain nodes' pods that do not run, and the last that they wrote.
pub(super) async fn troubles(fleet: &Fleet) -> Vec<String> {
    // A pod that tries a version is to end: how it did is in the reasons already.
    let nodes = ListParams::default().labels(&format!("app!={PREPULL_APP}"));
    let mut lines = vec![];
    for cluster in &fleet.clusters {
        let pods: Api<Pod> = Api::all(cluster.backstage(BACKSTAGE));
        // A cluster that cannot be asked is named in the reason already.
        let Ok(pods) = pods.list(&nodes).await else { continue };
        for pod in pods {
            let status = serde_json::to_value(&pod.status).unwrap_or_default();
            lines.extend(trouble(cluster.name(), &pod.name_any(), &status["containerStatuses"][0]));
        }
    }
    lines
}

fn trouble(cluster: &str, pod: &str, container: &Value) -> Option<String> {
    if container["ready"] == true {
        return None;
    }
    let word = container["state"]["waiting"]["reason"].as_str().unwrap_or("not ready");
    let last = &container["lastState"]["terminated"];
    if let Some(says) = container["state"]["waiting"]["message"].as_str().filter(|_| last.is_null()) {
        return Some(format!("  {cluster}  {pod}  {word}: {says}"));
    }
    let wrote = last["message"].as_str().unwrap_or_default();
    let wrote =
        wrote.lines().rfind(|line| line.contains("panicked") || line.contains("rror")).unwrap_or(wrote);
    let ended =
        last["exitCode"].as_i64().map(|code| format!("; it ended with {code}: {wrote}")).unwrap_or_default();
    Some(format!("  {cluster}  {pod}  {word}{ended}"))
}
