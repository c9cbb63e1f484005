//! A bad cluster has a named state with its remedy, holds up no other, and is taken up again when it is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use polkafleet::clock::Clock;
use polkafleet::cluster::board::BoardWriter;
use polkafleet::cluster::connect::{Connect, Connecting};
use polkafleet::cluster::limits::Limits;
use polkafleet::cluster::{Clients, Leases, Registry};
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load;
use polkafleet::fleet::{ClusterName, Connection};
use polkafleet::leader::lease::Wish;
use polkafleet::observed::ClusterState;
use polkafleet::sandbox::connect::InProcess;
use polkafleet::sandbox::faults::ApiFault;
use polkafleet::sandbox::fleet::Fleet;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::daemon::Daemon;
use crate::support::proxy::Mode;
use crate::support::world::{Member, Place, World, prepare};
use crate::support::{PATIENCE, eventually, in_both_worlds};

pub(super) const VERSION: &str = "stable2503-6";

in_both_worlds!(
    a_cluster_that_hangs_is_named_so_while_another_takes_twenty_changes_and_comes_back,
    a_cluster_that_cuts_connections_is_named_so_while_another_takes_twenty_changes_and_comes_back,
);

async fn a_cluster_that_hangs_is_named_so_while_another_takes_twenty_changes_and_comes_back(place: Place) {
    // Where a connection is made anew it is the connection that hangs.
    falls_ill(place, Mode::Hang, &["look at the API server and its etcd", "or its TLS never begins"]).await;
}

async fn a_cluster_that_cuts_connections_is_named_so_while_another_takes_twenty_changes_and_comes_back(
    place: Place,
) {
    falls_ill(place, Mode::Refuse, &["closes our connections", "load balancer"]).await;
}

/// A cluster falls ill under the eyes of the daemon, which says one of these; another one is well all the while.
async fn falls_ill(place: Place, mode: Mode, words: &[&str]) {
    let (world, daemon) = World::settled(place, 2, VERSION).await;
    let [well, ill] = &world.members[..] else { panic!() };
    ill.gate.set(mode);
    twenty_changes(&world, well).await;
    says(&daemon, &["The cluster is unreachable"]).await;
    says(&daemon, words).await;
    says(&daemon, &["since 2"]).await;
    ill.gate.set(Mode::Pass);
    is_looked_after(&world, ill).await;
}

pub(super) async fn says(daemon: &Daemon, words: &[&str]) {
    eventually(&format!("the daemon says one of {words:?}"), PATIENCE, async || {
        let said = daemon.said();
        words.iter().any(|words| said.contains(words)).then_some(())
    })
    .await;
}

/// Changes a resource, and waits until the daemon has made it so.
pub(super) async fn is_looked_after(world: &World, member: &Member) {
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    let replicas = async || sets.get_opt("sentry-sset").await.unwrap()?.spec?.replicas;
    let wanted = replicas().await.map_or(2, |now| 3 - now);
    member.edit_spec(json!({"sentry": {"replicas": wanted}})).await;
    eventually(&format!("{} is looked after", member.name), PATIENCE, async || {
        (replicas().await == Some(wanted)).then_some(())
    })
    .await;
}

pub(super) async fn twenty_changes(world: &World, member: &Member) {
    for _ in 0..20 {
        is_looked_after(world, member).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_kubeconfig_is_tried_and_taken_into_use_without_a_new_watch_and_ends_a_pause() {
    let (fleet, connect, folder) = counted().await;
    let cluster = &fleet.clusters[0];
    let sources = Sources { file: Some(folder.path().join("fleet.yaml")), ..Sources::default() };
    let loaded = load(&sources).map_err(|problems| format!("{problems:?}")).unwrap();
    let (_keep, followed) = watch::channel(Arc::new(loaded));
    let (writer, board) = BoardWriter::new();
    let (contents, kubeconfigs) = watch::channel(std::iter::empty().collect());
    let stop = CancellationToken::new();
    let (_wishes, wish) = watch::channel(Wish::default());
    let leases = Leases { me: "alone".into(), wish };
    let registry = Registry::new(connect.clone(), writer, Clients::default(), Clock::machine(), leases)
        .with_kubeconfigs(kubeconfigs);
    let running = tokio::spawn(registry.follow(followed, stop.clone()));
    let is = async |what: &str, wanted: fn(&ClusterState) -> bool| {
        eventually(what, PATIENCE, async || {
            let seen = board.borrow().clone();
            seen.clusters.get(&ClusterName::from("one")).filter(|view| wanted(&view.state)).map(|_| ())
        })
        .await;
    };
    is("the cluster is ready", |state| *state == ClusterState::Ready).await;
    let lists = || cluster.asked().iter().filter(|asked| asked.uri.contains("/pods?")).count();
    let (connected, listed) = (connect.count.load(Ordering::SeqCst), lists());

    let path = folder.path().join("kubeconfig");
    contents.send_replace(std::iter::once((path.clone(), 1)).collect());
    eventually("a new client is made", PATIENCE, async || {
        (connect.count.load(Ordering::SeqCst) > connected).then_some(())
    })
    .await;
    is("the cluster stays ready", |state| *state == ClusterState::Ready).await;
    assert_eq!(lists(), listed, "no watch was begun anew");

    // It falls ill for long: the pauses between attempts become an hour.
    cluster.set_faults(|faults| faults.api = ApiFault::Unreachable);
    is("the cluster is unreachable", |state| matches!(state, ClusterState::Unreachable(_))).await;
    cluster.set_faults(|faults| faults.api = ApiFault::None);
    contents.send_replace(std::iter::once((path, 2)).collect());
    is("the cluster is ready again", |state| *state == ClusterState::Ready).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_hang_at_the_start_take_nobodys_place() {
    let names: Vec<String> = (0..100).map(|number| format!("cluster-{number}")).collect();
    let fleet = Fleet::start(&names.iter().map(String::as_str).collect::<Vec<_>>(), &Clock::machine());
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = fleet.serve().await.unwrap();
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let clusters: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "context": name, "kubeconfig": "kubeconfig", "namespaces": ["nodes"]}))
        .collect();
    let file = json!({"version": 1, "home": names[0], "clusters": clusters});
    std::fs::write(folder.path().join("fleet.yaml"), serde_yaml::to_string(&file).unwrap()).unwrap();
    // Half of them hang from the start.
    for (number, cluster) in fleet.clusters.iter().enumerate() {
        prepare(&cluster.backstage("tests"), "nodes").await;
        if number % 2 == 1 {
            cluster.set_faults(|faults| faults.api = ApiFault::Hangs);
        }
    }
    let daemon = Daemon::inside(&folder.path().join("fleet.yaml"), fleet.clusters.clone(), &Clock::machine());
    let Daemon::Inside { daemon: inside, .. } = &daemon else { panic!() };
    let board = inside.board.clone();
    let ready = async |wanted: usize| {
        eventually(&format!("{wanted} clusters are ready"), PATIENCE, async || {
            let seen = board.borrow().clone();
            let ready = seen.clusters.values().filter(|view| view.state == ClusterState::Ready).count();
            (ready == wanted).then_some(())
        })
        .await;
    };
    ready(50).await;
    // Fifty others return at once.
    for cluster in &fleet.clusters {
        cluster.set_faults(|faults| faults.api = ApiFault::None);
    }
    ready(100).await;
}

/// A way to simulated clusters that counts who takes it, and never tries again by itself.
struct Counted {
    inner: InProcess,
    count: AtomicUsize,
}

impl Connect for Counted {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.inner.connect(connection)
    }

    fn limits(&self) -> Limits {
        self.inner.limits
    }
}

async fn counted() -> (Fleet, Arc<Counted>, tempfile::TempDir) {
    let fleet = Fleet::start(&["one"], &Clock::machine());
    prepare(&fleet.clusters[0].backstage("tests"), "nodes").await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = fleet.serve().await.unwrap();
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let file = json!({"version": 1, "home": "one", "clusters": [
        {"name": "one", "context": "one", "kubeconfig": "kubeconfig", "namespaces": ["nodes"]},
    ]});
    std::fs::write(folder.path().join("fleet.yaml"), serde_yaml::to_string(&file).unwrap()).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let mut limits = Limits::default().divided_by(50);
    (limits.first_pause, limits.longest_pause) = (hour, hour);
    // The machine is busy, and a late answer is none of this test's business.
    limits.heartbeat_answer = PATIENCE;
    let inner = InProcess { clusters: fleet.clusters.clone(), limits };
    (fleet, Arc::new(Counted { inner, count: AtomicUsize::new(0) }), folder)
}
