//! The sessions of a worker: with another server everything begins anew, and one that ends badly is not the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::api::PostParams;
use polkafleet::clock::Clock;
use polkafleet::cluster::limits::Limits;
use polkafleet::fleet::ClusterName;
use polkafleet::polkadot::Polkadot;
use polkafleet::sandbox::faults::ApiFault;
use polkafleet::sandbox::fleet::Fleet;
use serde_json::json;

use super::workers::VERSION;
use crate::support::way::{Way, Workers};
use crate::support::world::{prepare, sample};
use crate::support::{PATIENCE, eventually};

const NAMESPACE: &str = "nodes";

/// Simulated clusters, and a fleet file of one of them, `one`.
async fn clusters(names: &[&str]) -> (Fleet, tempfile::TempDir) {
    let fleet = Fleet::start(names, &Clock::machine());
    for cluster in &fleet.clusters {
        prepare(&cluster.backstage("tests"), NAMESPACE).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = fleet.serve().await.unwrap();
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let file = json!({"version": 1, "home": "one", "homeNamespace": NAMESPACE, "clusters": [
        {"name": "one", "context": "one", "kubeconfig": "kubeconfig", "namespaces": [NAMESPACE]},
    ]});
    std::fs::write(folder.path().join("fleet.yaml"), serde_yaml::to_string(&file).unwrap()).unwrap();
    (fleet, folder)
}

/// A heartbeat of a busy machine may be late, and is none of these tests' business.
fn limits() -> Limits {
    Limits { heartbeat_answer: PATIENCE, ..Limits::default().divided_by(10) }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_api_server_nothing_is_written_before_its_lease_was_read() {
    let (fleet, folder) = clusters(&["one", "two"]).await;
    let [one, two] = &fleet.clusters[..] else { panic!() };
    let moved = Arc::new(AtomicBool::new(false));
    let leads = {
        let (moved, one, two) = (Arc::clone(&moved), one.clone(), two.clone());
        move |_: &_| {
            if moved.load(Ordering::SeqCst) {
                ("https://two".to_owned(), two.clone())
            } else {
                ("https://one".to_owned(), one.clone())
            }
        }
    };
    // The hold lasts for all of the test, and nobody can read the Lease of the other server.
    let mut way = Way::new(Limits { lease_divisor: 1, ..limits() }, leads);
    let hangs = Arc::clone(&moved);
    way.passes = Arc::new(move |uri, answer| {
        let hangs = Arc::clone(&hangs);
        Box::pin(async move {
            if hangs.load(Ordering::SeqCst) && uri.contains("/leases") {
                std::future::pending::<()>().await;
            }
            answer
        })
    });
    let workers = Workers::start(&folder.path().join("fleet.yaml"), Arc::new(way), "me");
    eventually("its Lease is ours", PATIENCE, async || (workers.state("one") == "ready").then_some(())).await;

    let polkadots: kube::Api<Polkadot> = kube::Api::namespaced(two.backstage("tests"), NAMESPACE);
    polkadots.create(&PostParams::default(), &sample(VERSION, 0x71)).await.unwrap();
    moved.store(true, Ordering::SeqCst);
    let path = folder.path().join("kubeconfig");
    workers.credentials.send_replace(std::iter::once((path, 1)).collect());
    eventually("the other server is watched whole", PATIENCE, async || {
        let board = workers.board.borrow().clone();
        (!board.clusters[&ClusterName::from("one")].resources.is_empty()).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let writes = two.asked().into_iter().filter(|asked| {
        asked.by.starts_with("polkafleet") && asked.method != "GET" && !asked.uri.contains("/leases")
    });
    let writes: Vec<_> = writes.filter(|asked| !asked.uri.contains("/selfsubjectreviews")).collect();
    assert!(writes.is_empty(), "{writes:#?}");
    workers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_crashes_is_told_so_and_started_again() {
    let (fleet, folder) = clusters(&["one"]).await;
    let one = fleet.clusters[0].clone();
    let crashes = Arc::new(AtomicBool::new(false));
    let leads = {
        let crashes = Arc::clone(&crashes);
        move |_: &_| {
            assert!(!crashes.load(Ordering::SeqCst), "a fault of ours");
            ("https://one".to_owned(), one.clone())
        }
    };
    let workers =
        Workers::start(&folder.path().join("fleet.yaml"), Arc::new(Way::new(limits(), leads)), "me");
    let ready = async || {
        eventually("it is ready", PATIENCE, async || (workers.state("one") == "ready").then_some(())).await;
    };
    ready().await;
    crashes.store(true, Ordering::SeqCst);
    fleet.clusters[0].set_faults(|faults| faults.api = ApiFault::Unreachable);
    eventually("the crash is told", PATIENCE, async || {
        let state = workers.state("one");
        assert!(!state.contains("a fault of ours"), "what a panic says is for the log: {state}");
        let words = "has crashed in polkafleet itself and is started again by itself";
        (state.starts_with("unreachable since") && state.contains(words)).then_some(())
    })
    .await;
    crashes.store(false, Ordering::SeqCst);
    fleet.clusters[0].set_faults(|faults| faults.api = ApiFault::None);
    ready().await;
    workers.end().await;
}
