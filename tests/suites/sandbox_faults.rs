//! Faults on demand: each looks to whoever asks as the real thing would, and the daemon lives through it and goes on when
//! it ends. In the sandbox only; what the control planes can be made to do is in the other suites.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::faults::{ApiFault, VersionFault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::daemon::Daemon;
use crate::support::world::{Gate, Member, Place, World};
use crate::support::{PATIENCE, eventually};

const VERSION: &str = "stable2503-6";
const NODE: &str = "validator-sset-0";
const SENTRY: &str = "sentry-sset-0";

fn cluster(member: &Member) -> &Cluster {
    match &member.gate {
        Gate::Simulated(cluster) => cluster,
        Gate::Proxy { .. } => panic!("this suite is for the sandbox"),
    }
}

fn fail(member: &Member, fault: ApiFault) {
    cluster(member).set_faults(|faults| faults.api = fault);
}

/// Changes a resource, and waits until the daemon has made it so.
async fn is_looked_after(world: &World, member: &Member) {
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    let replicas = async || sets.get("sentry-sset").await.unwrap().spec.unwrap().replicas.unwrap();
    let wanted = 3 - replicas().await;
    member.edit_spec(json!({"sentry": {"replicas": wanted}})).await;
    eventually(&format!("{} is looked after", member.name), PATIENCE, async || {
        (replicas().await == wanted).then_some(())
    })
    .await;
}

async fn says(daemon: &Daemon, words: &str) {
    eventually(&format!("the daemon says {words:?}"), PATIENCE, async || {
        daemon.said().contains(words).then_some(())
    })
    .await;
}

/// Head and body of what the member's API server answers to a GET on its port; nothing, if it cuts the connection.
async fn asked(world: &World, member: &Member, path: &str) -> String {
    let kubeconfig = std::fs::read_to_string(world.folder.path().join("kubeconfig")).unwrap();
    let kubeconfig: Value = serde_json::from_str(&kubeconfig).unwrap();
    let entries = kubeconfig["clusters"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["name"] == member.name.as_str()).unwrap();
    let address = entry["cluster"]["server"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = vec![];
    // A connection that is cut may be reset while we write, or read.
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_cluster_takes_no_connection_and_holds_up_no_other() {
    let (world, daemon) = World::settled(Place::Sandbox, 2, VERSION).await;
    let [well, ill] = &world.members[..] else { panic!() };
    assert!(asked(&world, ill, "/version").await.starts_with("HTTP/1.1 200"));
    fail(ill, ApiFault::Unreachable);
    assert_eq!(asked(&world, ill, "/version").await, "");
    says(&daemon, "The cluster is unreachable").await;
    is_looked_after(&world, well).await;
    fail(ill, ApiFault::None);
    is_looked_after(&world, ill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_takes_requests_and_never_answers() {
    let (world, daemon) = World::settled(Place::Sandbox, 2, VERSION).await;
    let [well, ill] = &world.members[..] else { panic!() };
    fail(ill, ApiFault::Hangs);
    let answer = tokio::time::timeout(Duration::from_millis(300), asked(&world, ill, "/version")).await;
    assert!(answer.is_err(), "{answer:?}");
    says(&daemon, "no answer within").await;
    is_looked_after(&world, well).await;
    fail(ill, ApiFault::None);
    is_looked_after(&world, ill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_cluster_answers_late_and_is_looked_after_all_the_same() {
    let (world, _daemon) = World::settled(Place::Sandbox, 1, VERSION).await;
    let delay = Duration::from_millis(50);
    fail(&world.members[0], ApiFault::Slow(delay));
    let begun = Instant::now();
    assert!(asked(&world, &world.members[0], "/version").await.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() >= delay);
    is_looked_after(&world, &world.members[0]).await;
}

/// A server that answers every request with `code`, and `words` in the answer.
async fn refuses(code: u16, words: &[&str]) {
    let (world, daemon) = World::settled(Place::Sandbox, 2, VERSION).await;
    let [well, ill] = &world.members[..] else { panic!() };
    fail(ill, ApiFault::Refuses(code));
    let answer = asked(&world, ill, "/api/v1/namespaces").await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    for word in words {
        assert!(answer.contains(word), "{word} in {answer}");
    }
    says(&daemon, "The cluster is unreachable").await;
    is_looked_after(&world, well).await;
    fail(ill, ApiFault::None);
    is_looked_after(&world, ill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_too_many_requests_says_429_and_when_to_come_back() {
    refuses(429, &["retry-after: 1\r\n", "\"reason\":\"TooManyRequests\"", "\"retryAfterSeconds\":1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_inside_says_500() {
    refuses(500, &["\"reason\":\"InternalError\"", "\"status\":\"Failure\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_shutting_down_says_503() {
    refuses(503, &["\"reason\":\"ServiceUnavailable\"", "shutting down"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_dropped_end_without_an_error_and_are_taken_up_again() {
    let (world, _daemon) = World::settled(Place::Sandbox, 1, VERSION).await;
    let member = &world.members[0];
    let before = member.watches_started();
    cluster(member).drop_watches();
    eventually("the watches are taken up again", PATIENCE, async || {
        (member.watches_started() >= before + 6).then_some(())
    })
    .await;
    fail(member, ApiFault::DropsWatches);
    let answer = asked(&world, member, "/api/v1/namespaces?watch=true").await;
    assert!(answer.contains("\"ADDED\"") && !answer.contains("\"ERROR\""), "{answer}");
    is_looked_after(&world, member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_past_is_gone_gets_410_and_everything_is_listed_again() {
    let (world, _daemon) = World::settled(Place::Sandbox, 1, VERSION).await;
    let member = &world.members[0];
    let path = "/api/v1/namespaces?watch=true&resourceVersion=";
    let then = member.get().await.metadata.resource_version.unwrap();
    is_looked_after(&world, member).await;
    cluster(member).compact();
    let answer = asked(&world, member, &format!("{path}{then}")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"type\":\"ERROR\""), "{answer}");
    assert!(answer.contains("\"code\":410") && answer.contains("\"reason\":\"Expired\""), "{answer}");
    let lists = |member: &Member| {
        let asked = cluster(member).asked();
        asked
            .iter()
            .filter(|one| one.method == "GET" && one.uri.contains("/pods?") && !one.uri.contains("watch="))
            .count()
    };
    let before = lists(member);
    fail(member, ApiFault::Compacts);
    eventually("the pods are listed again", PATIENCE, async || (lists(member) > before).then_some(())).await;
    is_looked_after(&world, member).await;
    fail(member, ApiFault::None);
    is_looked_after(&world, member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_lists_show_the_past_and_change_no_node() {
    let (world, daemon) = World::settled(Place::Sandbox, 1, VERSION).await;
    let member = &world.members[0];
    let before = member.get().await.status.unwrap().nodes;
    fail(member, ApiFault::Stale);
    let maps: Api<ConfigMap> = Api::namespaced(member.admin.clone(), &world.namespace);
    let object = serde_json::from_value(json!({"metadata": {"name": "later"}})).unwrap();
    maps.create(&PostParams::default(), &object).await.unwrap();
    let path = format!("/api/v1/namespaces/{}/configmaps", world.namespace);
    assert!(!asked(&world, member, &path).await.contains("\"later\""));
    assert!(asked(&world, member, &format!("{path}/later")).await.starts_with("HTTP/1.1 200"));
    // Enough for the past to be forgotten, if nothing kept it.
    for round in 0..40 {
        let object = json!({"metadata": {"name": format!("m{round}")}, "data": {"text": "x".repeat(5000)}});
        maps.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    assert!(asked(&world, member, &path).await.starts_with("HTTP/1.1 200"));
    // One that starts now sees the past first.
    daemon.kill();
    let _daemon = world.daemon();
    is_looked_after(&world, member).await;
    fail(member, ApiFault::None);
    is_looked_after(&world, member).await;
    let after = member.get().await.status.unwrap().nodes;
    let peer = |nodes: &[polkafleet::polkadot::status::NodeStatus]| {
        nodes.iter().find(|node| node.pod == NODE).map(|node| node.peer_id.clone())
    };
    assert_eq!(peer(&before), peer(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_401_and_the_daemon_says_so() {
    let (world, daemon) = World::settled(Place::Sandbox, 2, VERSION).await;
    let [well, ill] = &world.members[..] else { panic!() };
    fail(ill, ApiFault::Expired);
    let answer = asked(&world, ill, "/api/v1/namespaces").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\"reason\":\"Unauthorized\""), "{answer}");
    says(&daemon, "Unauthorized").await;
    is_looked_after(&world, well).await;
    fail(ill, ApiFault::None);
    is_looked_after(&world, ill).await;
}

/// A daemon and a resource of a version with a fault.
async fn faulty(fault: VersionFault) -> (World, Daemon) {
    let world = World::new(Place::Sandbox, 1).await;
    cluster(&world.members[0]).set_faults(|faults| {
        faults.versions.insert(VERSION.into(), fault);
    });
    world.write_fleet(1, &json!({}));
    world.fill(VERSION).await;
    let daemon = world.daemon();
    (world, daemon)
}

/// The validator's pod as soon as `is_so` holds of the status of its container.
async fn container(world: &World, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    container_of(world, NODE, what, is_so).await
}

async fn container_of(world: &World, pod: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let pods: Api<Pod> = Api::namespaced(world.members[0].admin.clone(), &world.namespace);
    eventually(what, PATIENCE, async || {
        let pod = serde_json::to_value(pods.get_opt(pod).await.unwrap()?).unwrap();
        is_so(&pod["status"]["containerStatuses"][0]).then_some(pod)
    })
    .await
}

/// The fault ends, and the resource becomes well.
async fn recovers(world: &World) {
    cluster(&world.members[0]).set_faults(|faults| faults.versions.clear());
    world.members[0].settles_at(VERSION).await;
}

/// What the validator's client says on one of its ports, through the API server.
async fn said(world: &World, member: &Member, port: u16, path: &str) -> String {
    let path = format!("/api/v1/namespaces/{}/pods/{NODE}:{port}/proxy{path}", world.namespace);
    asked(world, member, &path).await
}

/// A figure of the validator's metrics.
async fn metric(world: &World, member: &Member, name: &str) -> u64 {
    let page = said(world, member, 9615, "/metrics").await;
    let line = page.lines().find(|line| line.starts_with(name));
    let figure = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    figure.unwrap_or_else(|| panic!("{name} in {page}"))
}

const BEST: &str = "substrate_block_height{status=\"best\"";
const FINALIZED: &str = "substrate_block_height{status=\"finalized\"";

async fn rises(world: &World, member: &Member, name: &str) -> u64 {
    let before = metric(world, member, name).await;
    eventually(&format!("{name} rises"), PATIENCE, async || {
        let now = metric(world, member, name).await;
        (now > before).then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_crash_loops_is_seen_with_its_last_words_and_its_exit_code() {
    let (world, _daemon) = faulty(VersionFault::CrashLoop).await;
    let pod = container(&world, "the pod crash-loops", |container| {
        container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })
    .await;
    let container = &pod["status"]["containerStatuses"][0];
    assert!(container["restartCount"].as_u64().unwrap() > 0, "{container}");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
    assert!(container["lastState"]["terminated"]["message"].as_str().unwrap().contains("panicked"));
    assert!(said(&world, &world.members[0], 9615, "/metrics").await.starts_with("HTTP/1.1 503"));
    recovers(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_leaves_its_pod_pending_and_says_why() {
    let (world, _daemon) = faulty(VersionFault::NoImage).await;
    let pod = container(&world, "the image is not found", |container| {
        container["state"]["waiting"]["reason"] == "ImagePullBackOff"
    })
    .await;
    assert_eq!(pod["status"]["phase"], "Pending");
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    assert!(waiting["message"].as_str().unwrap().contains(&format!("polkadot:{VERSION}")), "{waiting}");
    recovers(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_syncs_runs_and_does_not_become_ready() {
    let (world, _daemon) = faulty(VersionFault::NeverSyncs).await;
    let member = &world.members[0];
    container(&world, "the pod runs", |container| container["state"]["running"].is_object()).await;
    eventually("it has peers", PATIENCE, async || {
        (metric(&world, member, "substrate_sub_libp2p_peers_count").await > 0).then_some(())
    })
    .await;
    assert_eq!(metric(&world, member, "substrate_sub_libp2p_is_major_syncing").await, 1);
    assert!(metric(&world, member, "substrate_block_height{status=\"sync_target\"").await > 0);
    assert_eq!(metric(&world, member, BEST).await, 0);
    // The old clients' sentries have a probe that knows; a validator's port for it is its own.
    let running = |container: &Value| container["state"]["running"].is_object();
    let sentry = container_of(&world, SENTRY, "the sentry runs", running).await;
    assert_eq!(sentry["status"]["containerStatuses"][0]["ready"], false);
    // What runs goes on as it is; a pod that is started again runs well.
    cluster(member).set_faults(|faults| faults.versions.clear());
    let pods: Api<Pod> = Api::namespaced(member.admin.clone(), &world.namespace);
    for name in [NODE, SENTRY] {
        pods.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }
    member.settles_at(VERSION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_stalls_finality_follows_the_chain_and_is_ready_and_finalises_nothing() {
    let (world, _daemon) = faulty(VersionFault::StallsFinality).await;
    let member = &world.members[0];
    member.settles_at(VERSION).await;
    let before = metric(&world, member, FINALIZED).await;
    for _ in 0..5 {
        rises(&world, member, BEST).await;
    }
    assert_eq!(metric(&world, member, FINALIZED).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stalls_stands_still_in_every_cluster_and_no_node_calls_itself_syncing() {
    let (world, _daemon) = World::settled(Place::Sandbox, 2, VERSION).await;
    for member in &world.members {
        // While a node syncs its height rises as well, whatever the chain does.
        eventually(&format!("the node of {} has caught up", member.name), PATIENCE, async || {
            let syncs = metric(&world, member, "substrate_sub_libp2p_is_major_syncing").await;
            (syncs == 0).then_some(())
        })
        .await;
        rises(&world, member, FINALIZED).await;
    }
    world.stall_chain();
    let mut stood = vec![];
    for member in &world.members {
        stood.push(metric(&world, member, BEST).await);
    }
    // Some blocks' time.
    tokio::time::sleep(Duration::from_millis(400)).await;
    for (member, stood) in world.members.iter().zip(&stood) {
        assert_eq!(metric(&world, member, BEST).await, *stood, "{}", member.name);
        assert_eq!(metric(&world, member, "substrate_sub_libp2p_is_major_syncing").await, 0);
        assert!(said(&world, member, 9615, "/metrics").await.starts_with("HTTP/1.1 200"));
    }
    world.resume_chain();
    for member in &world.members {
        rises(&world, member, FINALIZED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_somebody_wrote_and_that_is_nowhere_is_replaced_and_so_is_a_slip_of_the_pen() {
    let (world, daemon) = World::settled(Place::Sandbox, 1, VERSION).await;
    let member = &world.members[0];
    let nowhere = ["1", "stable2503-99"].map(|tag| (tag.to_owned(), VersionFault::NoImage));
    cluster(member).set_faults(|faults| faults.versions = nowhere.into());
    drop(daemon);
    let evil = json!({"spec": {
        "updateStrategy": {"rollingUpdate": {"partition": 0}},
        "template": {"spec": {"containers": [{"name": "polkadot", "image": "evil/img:1"}]}},
    }});
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &world.namespace);
    sets.patch("sentry-sset", &PatchParams::default(), &Patch::Strategic(evil)).await.unwrap();
    let waits = |container: &Value| container["state"]["waiting"].is_object();
    container_of(&world, SENTRY, "the sentry has no image", waits).await;
    let _daemon = world.daemon();
    member.settles_at(VERSION).await;
    // A version that there is none of; what never ran has written to no database.
    member.edit_spec(json!({"clientVersion": "stable2503-99"})).await;
    container_of(&world, SENTRY, "the sentry has no image again", waits).await;
    member.edit_spec(json!({"clientVersion": VERSION})).await;
    member.settles_at(VERSION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_pod_on_a_machine_that_is_not_ready_stays_until_the_machine_is_back() {
    const BROKEN: &str = "stable2503-7";
    let (world, _daemon) = World::settled(Place::Sandbox, 1, VERSION).await;
    let member = &world.members[0];
    // Unlike a container that is started again and again, one that only is not Ready says nothing more.
    let fault = [(BROKEN.to_owned(), VersionFault::NeverSyncs)];
    cluster(member).set_faults(|faults| faults.versions = fault.into());
    let pods: Api<Pod> = Api::namespaced(member.admin.clone(), &world.namespace);
    member.edit_spec(json!({"clientVersion": BROKEN})).await;
    let stuck = eventually("the sentry runs and is not Ready", PATIENCE, async || {
        let pod = pods.get_opt(SENTRY).await.unwrap()?;
        let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        let runs = container.state.as_ref()?.running.is_some() && container.image.ends_with(BROKEN);
        (runs && !container.ready).then_some(pod)
    })
    .await;
    let host = stuck.spec.unwrap().node_name.unwrap();
    let is_ready = async |status: &str| {
        let nodes: Api<Node> = Api::all(member.admin.clone());
        let patch = Patch::Merge(json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}));
        nodes.patch_status(&host, &PatchParams::default(), &patch).await.unwrap();
    };
    is_ready("Unknown").await;
    member
        .edit_spec(json!({"sentry": {"extraArgs": ["--telemetry-url=wss://telemetry.example/submit 0"]}}))
        .await;
    let words = member.condition("polkadot-cr", "PodBlocked").await;
    assert!(words.contains(SENTRY) && words.contains(&host), "{words}");
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(pods.get(SENTRY).await.unwrap().metadata.uid, stuck.metadata.uid);
    // Nothing tells the daemon of it: it has to look again.
    is_ready("True").await;
    eventually("the pod is made anew", PATIENCE, async || {
        let pod = pods.get_opt(SENTRY).await.unwrap()?;
        (pod.metadata.uid != stuck.metadata.uid).then_some(())
    })
    .await;
}
