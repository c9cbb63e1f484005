//! A cluster whose Lease cannot be had is not written to, says why and what to do, and holds up no other.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::workers::{VERSION, is_looked_after, says};
use crate::support::between::Instead;
use crate::support::daemon::Daemon;
use crate::support::in_both_worlds;
use crate::support::world::{Member, Place, World};
use crate::support::{PATIENCE, eventually};
use crate::upgrade::commands::run;

in_both_worlds! {
    where_the_home_namespace_is_missing_and_cannot_be_made_that_is_said_and_the_others_are_looked_after,
    where_the_api_server_refuses_the_lease_its_words_are_told_and_the_others_are_looked_after,
}

/// One that is well has changes made so, one whose Lease cannot be had has not.
async fn only_the_first_is_looked_after(world: &World) {
    let [well, ill] = &world.members[..] else { panic!() };
    let before = generation(ill).await;
    ill.edit_spec(json!({"sentry": {"resources": {"memoryLimit": "2Gi"}}})).await;
    is_looked_after(world, well).await;
    is_looked_after(world, well).await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!(generation(ill).await, before, "without a Lease nothing is written");
}

/// Of the StatefulSets there, all together.
async fn generation(member: &Member) -> i64 {
    let sets: Api<StatefulSet> = Api::namespaced(member.admin.clone(), &member.namespace);
    let all = sets.list(&ListParams::default()).await.unwrap();
    all.items.iter().map(|set| set.metadata.generation.unwrap_or_default()).sum()
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn subject(world: &World) -> Value {
    json!([{"kind": "ServiceAccount", "name": "polkafleet", "namespace": world.namespace}])
}

fn role_of_home() -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "polkafleet-home"})
}

async fn where_the_home_namespace_is_missing_and_cannot_be_made_that_is_said_and_the_others_are_looked_after(
    place: Place,
) {
    let world = World::new(place, 2).await;
    let [well, ill] = &world.members[..] else { panic!() };
    let home = format!("{}-home", world.namespace);
    let namespace: Namespace = object(json!({"metadata": {"name": home}}));
    let namespaces = |member: &Member| Api::<Namespace>::all(member.admin.clone());
    namespaces(well).create(&PostParams::default(), &namespace).await.unwrap();
    if let Place::Real(_) = place {
        let binding: RoleBinding = object(json!({
            "metadata": {"name": "polkafleet-home"}, "roleRef": role_of_home(), "subjects": subject(&world),
        }));
        let bindings: Api<RoleBinding> = Api::namespaced(well.admin.clone(), &home);
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        // In every namespace, also in those that there are not.
        let binding: ClusterRoleBinding = object(json!({
            "metadata": {"name": home}, "roleRef": role_of_home(), "subjects": subject(&world),
        }));
        let bindings: Api<ClusterRoleBinding> = Api::all(ill.admin.clone());
        bindings.create(&PostParams::default(), &binding).await.unwrap();
    }
    world.write_fleet(2, &json!({"homeNamespace": home}));
    world.fill(VERSION).await;
    let daemon = match place {
        Place::Real(_) => world.daemon(),
        // Everybody may do everything there, but for this.
        Place::Sandbox => world.daemon_behind(|asked| match (asked.cluster, asked.path) {
            ("cluster-2", "/api/v1/namespaces") => Instead::Refuse(403, "you may not make namespaces"),
            _ => Instead::Nothing,
        }),
    };
    says(&daemon, &["its Lease cannot be had: there is no namespace"]).await;
    says(&daemon, &[&format!("kubectl create namespace {home}")]).await;
    well.settles_at(VERSION).await;
    only_the_first_is_looked_after(&world).await;
    assert_eq!(generation(ill).await, 0);
    namespaces(ill).create(&PostParams::default(), &namespace).await.unwrap();
    ill.settles_at(VERSION).await;
}

async fn where_the_api_server_refuses_the_lease_its_words_are_told_and_the_others_are_looked_after(
    place: Place,
) {
    let world = World::new(place, 2).await;
    let ill = &world.members[1];
    let refuses = Arc::new(AtomicBool::new(false));
    let daemon = match place {
        Place::Real(_) => world.settles(2, VERSION).await,
        Place::Sandbox => {
            world.write_fleet(2, &json!({}));
            world.fill(VERSION).await;
            let refuses = Arc::clone(&refuses);
            let daemon = world.daemon_behind(move |asked| {
                let is_lease = asked.cluster == "cluster-2" && asked.path.contains("/leases");
                if is_lease && refuses.load(Ordering::SeqCst) {
                    return Instead::Refuse(500, "Internal error occurred: failed calling webhook");
                }
                Instead::Nothing
            });
            for member in &world.members {
                member.settles_at(VERSION).await;
            }
            daemon
        }
    };
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(ill.admin.clone());
    if let Place::Real(_) = place {
        webhooks.create(&PostParams::default(), &webhook_of_nobody(&world)).await.unwrap();
    }
    refuses.store(true, Ordering::SeqCst);
    refused(&daemon).await;
    eventually("a command tells how it is for the daemon", PATIENCE, async || {
        let (_, said) = run(&world, &["status"]).await;
        said.contains("cluster-2  ready\n  FOR THE DAEMON THAT LEADS: its Lease cannot be had: ")
            .then_some(())
    })
    .await;
    only_the_first_is_looked_after(&world).await;
    if let Place::Real(_) = place {
        webhooks.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    }
    refuses.store(false, Ordering::SeqCst);
    is_looked_after(&world, ill).await;
}

async fn refused(daemon: &Daemon) {
    says(daemon, &["its Lease cannot be had: the cluster answers 500 (Internal error occurred: failed calling webhook"])
        .await;
    says(daemon, &["ask it for /readyz?verbose"]).await;
}

/// A webhook where nobody listens has a word in every write of a Lease in the test's namespace.
fn webhook_of_nobody(world: &World) -> ValidatingWebhookConfiguration {
    object(json!({
        "metadata": {"name": world.namespace},
        "webhooks": [{
            "name": "leases.polkafleet.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 1,
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
            "rules": [{
                "apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "resources": ["leases"],
                "operations": ["CREATE", "UPDATE"],
            }],
        }],
    }))
}
