//! What it takes to ask nodes for their health: on real control planes, where rights are checked. They are those of
//! deploy/rbac.yaml, with and without the one for that.

use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::{NEW, OLD, held_up_by, impatient_at, step, version};
use crate::support::PATIENCE;
use crate::support::in_the_real_world;
use crate::support::world::{Place, World};

in_the_real_world! {
    nodes_are_asked_by_the_right_to_get_pods_proxy_and_without_it_no_step_is_taken_and_it_is_named,
}

async fn nodes_are_asked_by_the_right_to_get_pods_proxy_and_without_it_no_step_is_taken_and_it_is_named(
    place: Place,
) {
    let Some(world) = World::with_nodes(place, 1).await else { return };
    let member = &world.members[0];
    let shipped: Api<ClusterRole> = Api::all(member.admin.clone());
    let shipped = shipped.get("polkafleet").await.unwrap();
    let (asks, others): (Vec<_>, Vec<_>) =
        shipped.rules.unwrap().into_iter().partition(|rule| {
            rule.resources.iter().flatten().any(|resource| resource.starts_with("pods/proxy"))
        });
    assert_eq!(json!(asks), json!([{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}]));
    let roles: Api<Role> = Api::namespaced(member.admin.clone(), &world.namespace);
    let bindings: Api<RoleBinding> = Api::namespaced(member.admin.clone(), &world.namespace);
    let whole = bindings.get("polkafleet").await.unwrap();
    let without = json!({"metadata": {"name": "without"}, "rules": others});
    roles.create(&PostParams::default(), &serde_json::from_value(without).unwrap()).await.unwrap();
    let without = json!({
        "metadata": {"name": "without"}, "subjects": whole.subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "without"},
    });
    bindings.create(&PostParams::default(), &serde_json::from_value(without).unwrap()).await.unwrap();
    bindings.delete("polkafleet", &DeleteParams::default()).await.unwrap();

    let _daemon = world.settles(1, OLD).await;
    let mut fleet = impatient_at(place, "2m");
    fleet["upgrades"][0]["stages"][1]["optional"] = json!(true);
    world.write_fleet(1, &fleet);
    held_up_by(&world, "we may not get pods/proxy in its cluster; see deploy/rbac.yaml", PATIENCE).await;
    tokio::time::sleep(world.quiet()).await;
    assert_eq!((version(member).await.as_deref(), step(member).await), (Some(OLD), None));
    let given = json!({
        "metadata": {"name": "polkafleet"}, "subjects": whole.subjects, "roleRef": whole.role_ref,
    });
    bindings.create(&PostParams::default(), &serde_json::from_value(given).unwrap()).await.unwrap();
    member.settles_at(NEW).await;
}
