//! The main job, end to end: three clusters, one daemon, an upgrade through canary and production.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use polkafleet::polkadot::record::{STEP_ANNOTATION, Step, read};

use crate::support::collector::Collector;
use crate::support::daemon::command;
use crate::support::in_both_worlds;
use crate::support::proxy::Mode;
use crate::support::world::{Member, Place, World, as_written, sample, upgrade};
use crate::support::{PATIENCE, eventually};
use crate::upgrade::written::Written;

in_both_worlds! {
    the_old_readmes_resources_apply_unchanged_become_ready_and_go_away_whole,
    a_role_that_goes_and_comes_back_is_the_same_node,
    drift_is_repaired_sentries_scale_and_an_idle_fleet_sends_no_request,
    i01_i10_an_upgrade_goes_canary_soak_production_and_a_killed_daemon_repeats_no_step,
    i08_a_fourth_cluster_joins_by_an_edit_and_no_other_watch_is_restarted,
    i05_a_cluster_that_is_down_or_hangs_holds_up_no_other_and_joins_when_it_comes_back,
    i03_i04_a_changed_setting_restarts_nothing_without_a_grant_and_then_one_validator_at_a_time,
    an_upgrade_is_one_trace_that_reaches_into_the_reconciles_it_caused,
}

const OLD: &str = "stable2503-6";
const NEW: &str = "stable2503-7";

fn sets(member: &Member, world: &World) -> Api<StatefulSet> {
    Api::namespaced(member.admin.clone(), &world.namespace)
}

async fn the_old_readmes_resources_apply_unchanged_become_ready_and_go_away_whole(place: Place) {
    let world = World::new(place, 2).await;
    world.write_fleet(2, &json!({}));
    world.members[0].create(&as_written(false)).await;
    world.members[1].create(&as_written(true)).await;
    let mut daemon = world.daemon();
    for (member, expected) in world.members.iter().zip([6, 5]) {
        member.settles_at("latest").await;
        let services: Api<Service> = Api::namespaced(member.admin.clone(), &world.namespace);
        let policies: Api<k8s_openapi::api::networking::v1::NetworkPolicy> =
            Api::namespaced(member.admin.clone(), &world.namespace);
        let count = async || {
            sets(member, &world).list(&ListParams::default()).await.unwrap().items.len()
                + services.list(&ListParams::default()).await.unwrap().items.len()
                + policies.list(&ListParams::default()).await.unwrap().items.len()
        };
        assert_eq!(count().await, expected, "{}", member.name);
        // In the foreground the resource stays until its children are gone: they must not be made again meanwhile.
        let how = if expected == 6 { DeleteParams::foreground() } else { DeleteParams::default() };
        member.polkadots().delete("polkadot-cr", &how).await.unwrap();
        eventually("everything is gone", PATIENCE, async || {
            let resource = member.polkadots().get_opt("polkadot-cr").await.unwrap();
            (count().await == 0 && member.pods().await.is_empty() && resource.is_none()).then_some(())
        })
        .await;
    }
    assert!(daemon.terminate().await);
}

async fn a_role_that_goes_and_comes_back_is_the_same_node(place: Place) {
    let world = World::new(place, 1).await;
    let member = &world.members[0];
    let mut polkadot = sample(OLD, 0x50);
    // No key in the resource: one is made, and only the Secret has it.
    polkadot.spec.validator.as_mut().unwrap().node.node_key = None;
    member.create(&polkadot).await;
    world.write_fleet(1, &json!({}));
    let _daemon = world.daemon();
    let peer_of = |polkadot: polkafleet::polkadot::Polkadot| {
        let nodes = polkadot.status.unwrap().nodes;
        nodes.into_iter().find(|node| node.pod == "validator-sset-0").map(|node| node.peer_id)
    };
    let before = peer_of(member.settles_at(OLD).await);
    assert!(before.is_some());
    member.edit_spec(json!({"kind": "Sentry"})).await;
    eventually("the validator is gone", PATIENCE, async || {
        (!member.pods().await.contains_key("validator-sset-0")).then_some(())
    })
    .await;
    member.edit_spec(json!({"kind": "SentryAndValidator"})).await;
    let after = eventually("the validator is back", PATIENCE, async || {
        member.pods().await.get("validator-sset-0")?;
        peer_of(member.get().await)
    })
    .await;
    assert_eq!(Some(after), before);
}

async fn drift_is_repaired_sentries_scale_and_an_idle_fleet_sends_no_request(place: Place) {
    let (world, _daemon) = World::settled(place, 1, OLD).await;
    let member = &world.members[0];
    // At its target already: it owns the resource, for a short stableFor.
    world.write_fleet(1, &upgrade(OLD, "0s"));

    let drift = Patch::Merge(json!({"metadata": {"labels": {"role": "other"}}, "spec": {"replicas": 3}}));
    sets(member, &world).patch("sentry-sset", &PatchParams::default(), &drift).await.unwrap();
    eventually("the StatefulSet is repaired", PATIENCE, async || {
        let set = sets(member, &world).get("sentry-sset").await.unwrap();
        (set.labels()["role"] == "sentry" && set.spec.unwrap().replicas == Some(1)).then_some(())
    })
    .await;

    member.edit_spec(json!({"sentry": {"replicas": 3}})).await;
    eventually("three sentries are Ready", PATIENCE, async || {
        let set = sets(member, &world).get("sentry-sset").await.unwrap();
        (set.status?.ready_replicas == Some(3)).then_some(())
    })
    .await;
    let peers: std::collections::BTreeSet<_> =
        eventually("every node has its peer ID", PATIENCE, async || {
            let nodes = member.get().await.status?.nodes;
            (nodes.len() == 4).then(|| nodes.into_iter().map(|node| node.peer_id).collect())
        })
        .await;
    assert_eq!(peers.len(), 4, "every replica has a key of its own");

    // The scaled sentries change the validator's reserved peers: it waits for permission and then settles.
    member.settles_at(OLD).await;
    let quiet = eventually("nothing more to do", PATIENCE, async || {
        let before = member.busy_requests();
        tokio::time::sleep(world.quiet()).await;
        (member.busy_requests() == before).then_some(before)
    })
    .await;
    // A change that changes nothing we own: the resource is reconciled, and no request is sent for it.
    let label = Patch::Merge(json!({"metadata": {"labels": {"someone": "else"}}}));
    sets(member, &world).patch("sentry-sset", &PatchParams::default(), &label).await.unwrap();
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(member.busy_requests(), quiet, "{}", member.last_requests());
}

async fn i01_i10_an_upgrade_goes_canary_soak_production_and_a_killed_daemon_repeats_no_step(place: Place) {
    let (world, daemon) = World::settled(place, 3, OLD).await;
    let (canary, production) = (&world.members[0], &world.members[1..]);
    let mut written = vec![];
    for member in &world.members {
        written.push(Written::of(member).await);
    }
    world.write_fleet(3, &upgrade(NEW, "4s"));
    eventually("the canary is given the version", PATIENCE, async || {
        (canary.get().await.spec.client_version.as_deref() == Some(NEW)).then_some(())
    })
    .await;
    daemon.kill();
    let daemon = world.daemon();
    let begun = eventually("a production cluster is given the version", PATIENCE, async || {
        for member in production {
            if let Some(step) = read::<Step>(member.get().await.annotations(), STEP_ANNOTATION) {
                return Some(step);
            }
        }
        None
    })
    .await;
    // Not since when it is settled: meanwhile a node may have been away for a moment.
    let status = canary.get().await.status.unwrap();
    let reached = status.reached.expect("the canary came up before production began");
    assert!(reached.version == NEW && reached.at.0 < begun.at, "{reached:?} {begun:?}");
    daemon.kill();
    let _daemon = world.daemon();
    for (member, written) in world.members.iter().zip(&written) {
        member.settles_at(NEW).await;
        // Although the daemon was killed twice.
        written.is_once_each(member, &[NEW]).await;
    }
}

async fn i08_a_fourth_cluster_joins_by_an_edit_and_no_other_watch_is_restarted(place: Place) {
    let world = World::new(place, 4).await;
    let daemon = world.settles(3, OLD).await;
    let before: Vec<_> = world.members[..3].iter().map(Member::watches_started).collect();
    world.write_fleet(4, &json!({}));
    world.members[3].settles_at(OLD).await;
    let after: Vec<_> = world.members[..3].iter().map(Member::watches_started).collect();
    assert_eq!(before, after);

    world.write_text("version: 1\nclusters: [");
    eventually("the broken edit is reported", PATIENCE, async || {
        daemon.said().contains("not valid; the last good fleet goes on").then_some(())
    })
    .await;
    world.members[3].edit_spec(json!({"sentry": {"replicas": 2}})).await;
    eventually("the last good fleet goes on", PATIENCE, async || {
        let set = sets(&world.members[3], &world).get("sentry-sset").await.unwrap();
        (set.spec?.replicas == Some(2)).then_some(())
    })
    .await;
}

async fn i05_a_cluster_that_is_down_or_hangs_holds_up_no_other_and_joins_when_it_comes_back(place: Place) {
    let world = World::new(place, 3).await;
    world.members[2].gate.set(Mode::Refuse);
    world.write_fleet(3, &json!({}));
    world.fill(OLD).await;
    let _daemon = world.daemon();
    for member in &world.members[..2] {
        member.settles_at(OLD).await;
    }
    world.members[2].gate.set(Mode::Pass);
    world.members[2].settles_at(OLD).await;

    world.members[1].gate.set(Mode::Hang);
    for change in 0..20 {
        let replicas = 2 + change % 2;
        world.members[0].edit_spec(json!({"sentry": {"replicas": replicas}})).await;
        eventually("the change is applied", PATIENCE, async || {
            let set = sets(&world.members[0], &world).get("sentry-sset").await.unwrap();
            (set.spec?.replicas == Some(replicas)).then_some(())
        })
        .await;
    }
    world.members[1].gate.set(Mode::Pass);
    world.members[1].edit_spec(json!({"sentry": {"replicas": 2}})).await;
    eventually("the cluster that hung is looked after again", PATIENCE, async || {
        let set = sets(&world.members[1], &world).get("sentry-sset").await.unwrap();
        (set.spec?.replicas == Some(2)).then_some(())
    })
    .await;
}

async fn i03_i04_a_changed_setting_restarts_nothing_without_a_grant_and_then_one_validator_at_a_time(
    place: Place,
) {
    let (world, daemon) = World::settled(place, 3, OLD).await;
    // An upgrade that is at its target already: it owns the resources, for a short stableFor.
    world.write_fleet(3, &upgrade(OLD, "0s"));
    let uids = async |member: &Member| -> Vec<_> {
        member.pods().await.into_values().map(|pod| pod.uid()).collect()
    };
    let mut before = vec![];
    for member in &world.members {
        before.push(uids(member).await);
    }
    // Without home no step is taken; the members are reconciled all the same.
    world.members[0].gate.set(Mode::Refuse);
    let mut changed = upgrade(OLD, "0s");
    changed["defaults"] = json!({"ports": {"metrics": 9616}});
    eventually("home is seen to be gone", PATIENCE, async || {
        daemon.said().contains("The cluster is unreachable").then_some(())
    })
    .await;
    world.write_fleet(3, &changed);
    for member in &world.members[1..] {
        eventually("the roll is pending", PATIENCE, async || {
            let conditions = member.get().await.status?.conditions;
            conditions.iter().any(|one| one.type_ == "RollPending" && one.status == "True").then_some(())
        })
        .await;
    }
    for (member, before) in world.members.iter().zip(&before).skip(1) {
        assert_eq!(uids(member).await, *before, "nothing was restarted in {}", member.name);
    }
    world.members[0].gate.set(Mode::Pass);
    let template = "containers";
    let bound = std::time::Instant::now();
    loop {
        let (mut down, mut done) = (0, 0);
        for member in &world.members {
            let pods = member.pods().await;
            let ready = |pod: &k8s_openapi::api::core::v1::Pod| {
                let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
                conditions
                    .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
            };
            let validator = pods.get("validator-sset-0");
            down += usize::from(!validator.is_some_and(ready));
            let new = |pod: &k8s_openapi::api::core::v1::Pod| {
                let text = serde_json::to_string(&pod.spec).unwrap();
                assert!(text.contains(template));
                text.contains("--prometheus-port=9616") && ready(pod)
            };
            done += usize::from(pods.len() == 2 && pods.values().all(new));
        }
        assert!(down <= 1, "{down} validators down at once");
        if done == 3 {
            break;
        }
        assert!(bound.elapsed() < PATIENCE, "the setting did not reach every pod");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn an_upgrade_is_one_trace_that_reaches_into_the_reconciles_it_caused(place: Place) {
    let (world, daemon) = World::settled(place, 1, OLD).await;
    daemon.kill();
    let (collector, endpoint) = Collector::start().await;
    let mut fleet = upgrade(NEW, "0s");
    fleet["telemetry"] = json!({"otlp": {"endpoint": endpoint}});
    fleet["upgrades"][0]["stages"][1]["optional"] = json!(true);
    world.write_fleet(1, &fleet);
    let mut daemon = world.daemon();
    world.members[0].settles_at(NEW).await;
    assert!(daemon.terminate().await, "spans are flushed on the way out");

    let spans = collector.spans();
    let root = spans.iter().find(|span| span.name == "upgrade").expect("the upgrade's root span");
    let step = spans.iter().find(|span| span.name == "upgrade step").expect("the step's span");
    assert!(root.parent_span_id.is_empty());
    assert_eq!((&step.trace_id, &step.parent_span_id), (&root.trace_id, &root.span_id));
    let caused = spans.iter().find(|span| span.name == "reconcile" && span.parent_span_id == step.span_id);
    let caused = caused.expect("a reconcile under the step");
    assert_eq!(caused.trace_id, root.trace_id);
    let reconciles: Vec<_> =
        spans.iter().filter(|span| span.name == "reconcile" && span.trace_id == root.trace_id).collect();
    let is_child = |id: &[u8]| reconciles.iter().any(|reconcile| reconcile.span_id == id);
    let applied = spans.iter().any(|span| span.name == "apply StatefulSet" && is_child(&span.parent_span_id));
    assert!(applied, "requests are children of the reconcile that sent them");
    let others = spans.iter().filter(|span| span.name == "reconcile" && span.trace_id != root.trace_id);
    assert!(others.count() > 0, "other reconciles are traces of their own");
}

#[test]
fn a_fleet_file_with_three_mistakes_is_refused_with_all_three_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(
        folder.path().join("kubeconfig"),
        "{contexts: [{name: kind-eu, context: {cluster: c, user: u}}]}",
    )
    .unwrap();
    let text = "{version: 1, clusters: [{context: kind-ue, kubeconfig: kubeconfig}], validaters: {}, \
                upgrades: [{name: u, clientVersion: latest, stages: [{name: all}]}]}";
    std::fs::write(&file, text).unwrap();
    for verb in ["run", "validate"] {
        let output = command().args([verb, "--fleet"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        for parts in [
            ["clusters[0].context", "kind-ue", "did you mean kind-eu?"],
            ["validaters", "is not a key", "did you mean validators?"],
            ["upgrades[0].clientVersion", "latest", "release tag"],
        ] {
            let told = said
                .lines()
                .any(|line| line.contains("fleet.yaml") && parts.iter().all(|part| line.contains(part)));
            assert!(told, "{parts:?} in {said}");
        }
    }
}
