//! How a daemon starts and ends: on one cluster without a file, on a cluster that lacks something, and at signals.

use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::workers::twenty_changes;
use crate::support::daemon::{Daemon, command};
use crate::support::in_both_worlds;
use crate::support::proxy::Mode;
use crate::support::world::{Place, World, sample, upgrade};
use crate::support::{PATIENCE, eventually};

in_both_worlds! {
    a_daemon_whose_clusters_hang_ends_well_at_a_signal_within_its_bound,
    a_second_signal_ends_a_daemon_that_is_still_finishing,
    what_has_begun_is_finished_and_leases_are_let_go_at_a_signal,
}

const VERSION: &str = "stable2503-6";

async fn says(daemon: &Daemon, words: &str) {
    eventually(&format!("the daemon says {words:?}"), PATIENCE, async || {
        daemon.said().contains(words).then_some(())
    })
    .await;
}

async fn a_second_signal_ends_a_daemon_that_is_still_finishing(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &json!({"lease": {"duration": "5m"}}));
    let mut daemon = world.process();
    says(&daemon, "\"state\":\"ready\"").await;
    // Its Lease cannot be let go any more: it tries for as long as that may matter.
    world.members[0].gate.set(Mode::Hang);
    daemon.signal("-TERM");
    says(&daemon, "Stopping").await;
    says(&daemon, "\"state\":\"stopping: what is in flight there is finished first\"").await;
    let Daemon::Process { child, .. } = &mut daemon else { panic!() };
    assert!(child.try_wait().unwrap().is_none(), "it is still finishing");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = eventually("the daemon ends", PATIENCE, async || child.try_wait().unwrap()).await;
    assert!(!ended.success(), "it says that not everything was finished");
}

async fn a_daemon_whose_clusters_hang_ends_well_at_a_signal_within_its_bound(place: Place) {
    for signal in ["-TERM", "-INT"] {
        let world = World::new(place, 2).await;
        world.write_fleet(2, &json!({"lease": {"duration": "5m"}}));
        let mut daemon = world.process();
        world.fill(VERSION).await;
        for member in &world.members {
            member.settles_at(VERSION).await;
        }
        // Something is in flight wherever that can be.
        for member in &world.members {
            member.edit_spec(json!({"sentry": {"replicas": 2}})).await;
            member.gate.set(Mode::Hang);
        }
        // And the planner's Lease is to be written as well, for it says what is followed.
        world.write_fleet(2, &upgrade("stable2503-7", "0s"));
        says(&daemon, "The fleet file changed").await;
        daemon.signal(signal);
        let Daemon::Process { child, .. } = &mut daemon else { panic!() };
        let ended = eventually("the daemon ends", PATIENCE, async || child.try_wait().unwrap()).await;
        assert!(ended.success(), "{signal}: {ended}");
    }
}

async fn what_has_begun_is_finished_and_leases_are_let_go_at_a_signal(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &json!({"lease": {"duration": "5m"}}));
    let mut daemon = world.daemon();
    world.members[0].create(&sample(VERSION, 0x61)).await;
    says(&daemon, "Created an object").await;
    let before = daemon.said().len();
    assert!(daemon.terminate().await, "it ends well");
    let said = daemon.said();
    assert!(!said[before..].contains("cannot be used"), "home goes with the daemon: {}", &said[before..]);
    // With a lease of minutes, only one that was let go can be had at once.
    let _next = world.daemon();
    world.members[0].settles_at(VERSION).await;
}

/// In the sandbox, where a cluster is the test's alone.
#[tokio::test(flavor = "multi_thread")]
async fn one_cluster_needs_no_file_only_a_context() {
    let world = World::new(Place::Sandbox, 1).await;
    let log = world.folder.path().join("single.log");
    let mut without_file = command();
    without_file.args(["run", "--context", "cluster-1"]);
    without_file.env("KUBECONFIG", world.folder.path().join("kubeconfig"));
    let mut daemon = Daemon::spawned(&mut without_file, log);
    world.members[0].create(&sample(VERSION, 0x62)).await;
    eventually("its nodes run", PATIENCE, async || (world.members[0].pods().await.len() == 2).then_some(()))
        .await;
    let said = daemon.said();
    assert!(said.contains("Made the namespace of the Leases"), "{said}");
    let Daemon::Process { child, .. } = &mut daemon else { panic!() };
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

/// In the sandbox, where a cluster is the test's alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_crd_is_installed_where_the_fleet_file_says_so_and_nowhere_else() {
    let world = World::new(Place::Sandbox, 2).await;
    for member in &world.members {
        let crds: Api<CustomResourceDefinition> = Api::all(member.admin.clone());
        crds.delete("polkadots.polkadot.swisscomblockchain.com", &DeleteParams::default()).await.unwrap();
    }
    world.write_fleet(2, &json!({}));
    let text = std::fs::read_to_string(world.fleet_file()).unwrap();
    let mut fleet: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    fleet["clusters"][0]["installCrd"] = json!(true);
    world.write_text(&serde_yaml::to_string(&fleet).unwrap());
    let daemon = world.daemon();
    says(&daemon, "Installed the Polkadot CRD").await;
    eventually("a resource can be made", PATIENCE, async || {
        world.members[0]
            .polkadots()
            .create(&kube::api::PostParams::default(), &sample(VERSION, 0x63))
            .await
            .ok()
    })
    .await;
    world.members[0].settles_at(VERSION).await;
    assert!(world.members[1].polkadots().get_opt("polkadot-cr").await.is_err());
    says(&daemon, "the Polkadot CRD is not installed; kubectl apply --server-side -f deploy/crd.yaml").await;
    twenty_changes(&world, &world.members[0]).await;
}

/// In the sandbox: a plugin is the same everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_ends_with_the_daemon_and_with_a_command_that_waited_for_it() {
    let world = World::new(Place::Sandbox, 1).await;
    world.write_fleet(1, &json!({}));
    // What it has started writes down who it is.
    let started = world.folder.path().join("started");
    std::fs::create_dir(&started).unwrap();
    let script = format!("sleep 600 & touch {}/$!; wait", started.display());
    let kubeconfig = world.folder.path().join("kubeconfig");
    let mut edited: Value = serde_json::from_str(&std::fs::read_to_string(&kubeconfig).unwrap()).unwrap();
    for user in edited["users"].as_array_mut().unwrap() {
        user["user"] = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "interactiveMode": "Never",
        }});
    }
    std::fs::write(&kubeconfig, edited.to_string()).unwrap();
    let ran = async |count: usize| {
        eventually("the plugin runs", PATIENCE, async || {
            let names = std::fs::read_dir(&started).unwrap().map(|one| one.unwrap().file_name());
            let all: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            (all.len() >= count).then_some(all)
        })
        .await
    };
    // Of what nobody has waited for, the system keeps the number, but no command line.
    let lives = |process: &String| {
        std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
    };
    let mut daemon = world.process();
    let first = ran(1).await;
    assert!(lives(&first[0]));
    assert!(daemon.terminate().await);
    let mut status = command().args(["status", "--fleet"]).arg(world.fleet_file()).spawn().unwrap();
    let both = ran(2).await;
    let code = tokio::task::spawn_blocking(move || status.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(3));
    eventually("what the plugins have started has ended", PATIENCE, async || {
        (!both.iter().any(lives)).then_some(())
    })
    .await;
}

/// On a real control plane: in the sandbox everybody may do everything.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_its_lease_a_cluster_is_forbidden_and_nothing_is_written_there() {
    let Some(planes) = crate::support::planes::shared() else { return };
    let world = World::new(Place::Real(planes), 1).await;
    let member = &world.members[0];
    let bindings: Api<RoleBinding> = Api::namespaced(member.admin.clone(), &world.namespace);
    bindings.delete("polkafleet-home", &DeleteParams::default()).await.unwrap();
    world.write_fleet(1, &json!({}));
    let daemon = world.daemon();
    member.create(&sample(VERSION, 0x64)).await;
    says(&daemon, "forbidden: cannot get, create and update the Lease").await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(member.writers(), Vec::<String>::new());
}
