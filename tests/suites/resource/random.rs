//! Resources that nobody would think of.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use polkafleet::desired::{self, Basis, Child, ChildKind, Inherited, Keys};
use polkafleet::fleet::Settings;
use polkafleet::identity::NodeKey;
use polkafleet::polkadot::{Polkadot, Role, validate};
use polkafleet::sandbox::chain::{Behaviour, Node, Start};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::in_both_worlds;
use crate::support::random::{resource, resources};
use crate::support::world::{Place, World};

in_both_worlds! {
    what_is_rendered_for_two_hundred_random_resources_is_taken_by_the_api_server,
}

/// Everything that should exist for a resource; nothing, where it is refused.
fn rendered(polkadot: &Polkadot) -> Vec<Child> {
    let Ok(version) = desired::client(polkadot) else { return vec![] };
    let nodes = |role| (0..polkadot.replicas(role)).map(move |ordinal| (role, ordinal));
    let key = |(role, ordinal): (Role, i32)| {
        let seed = [u8::try_from(ordinal).unwrap() + if role == Role::Sentry { 1 } else { 101 }; 32];
        ((role, ordinal), NodeKey::from_seed(seed))
    };
    let keys: Keys = Role::ALL.into_iter().flat_map(nodes).map(key).collect();
    let (settings, inherited) = (Settings::default(), Inherited::default());
    let basis = Basis { polkadot, settings: &settings, keys: &keys, version, inherited: &inherited };
    let templates = desired::templates(&basis);
    let secret = |role: Role| {
        let own = keys.iter().filter(|((of, _), _)| *of == role);
        desired::secret(polkadot, role, &own.map(|((_, ordinal), key)| (*ordinal, key.clone())).collect())
    };
    let secrets: Vec<_> = templates.iter().map(|template| secret(template.role)).collect();
    secrets.into_iter().chain(desired::build(&basis, &templates, &BTreeMap::new())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn ten_thousand_random_resources_never_panic_and_render_the_same_bytes_twice(polkadot in resource()) {
        let bytes = |children: Vec<Child>| -> Vec<String> {
            children.iter().map(|child| child.body.to_string()).collect()
        };
        prop_assert_eq!(bytes(rendered(&polkadot)), bytes(rendered(&polkadot)));
    }
}

#[test]
fn what_is_rendered_for_a_random_resource_starts_the_simulated_client_of_every_version() {
    let mut started = 0;
    for polkadot in resources(2000) {
        for child in rendered(&polkadot).iter().filter(|child| child.kind == ChildKind::StatefulSet) {
            let container = &child.body["spec"]["template"]["spec"]["containers"][0];
            let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
            let pod = format!("{}-0", child.name);
            let args: Vec<_> = args.iter().map(|argument| argument.replace("$(POD_NAME)", &pod)).collect();
            let start = Start {
                tag: polkadot.spec.client_version.as_deref().unwrap(),
                args: &args,
                key: Some(&[7; 32]),
                behaviour: Behaviour::Sound,
                now: jiff::Timestamp::UNIX_EPOCH,
                instance: 1,
                restored_height: None,
            };
            let node = Node::start(&start);
            assert!(node.is_ok(), "{} {args:?}: {node:?}", start.tag);
            started += 1;
        }
    }
    assert!(started >= 1000, "only {started} were started");
}

async fn what_is_rendered_for_two_hundred_random_resources_is_taken_by_the_api_server(place: Place) {
    let world = World::new(place, 1).await;
    let (admin, namespace) = (&world.members[0].admin, &world.namespace);
    let polkadots: Api<Polkadot> = Api::namespaced(admin.clone(), namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let each = futures::stream::iter(resources(380)).map(async |mut polkadot| {
        polkadot.metadata.namespace = Some(namespace.clone());
        let accepted = polkadots.create(&dry, &polkadot).await;
        let wrong = validate(&polkadot);
        assert_eq!(accepted.is_ok(), wrong.is_empty(), "{accepted:?} {wrong:?}");
        let mut taken = 0;
        for child in rendered(&polkadot) {
            let (api_version, kind) = child.kind.api();
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::namespaced_with(admin.clone(), namespace, &resource);
            let params = PatchParams { dry_run: true, ..PatchParams::apply("polkafleet").force() };
            let applied = api.patch(&child.name, &params, &Patch::Apply(&child.body)).await;
            assert!(
                applied.is_ok(),
                "{kind} {}: {applied:?}\n{}",
                polkadot.name_any(),
                readable(&child, &polkadot)
            );
            taken += 1;
        }
        taken
    });
    let taken: Vec<usize> = each.buffer_unordered(16).collect().await;
    let rendered = taken.iter().filter(|taken| **taken > 0).count();
    assert!(rendered >= 200, "only {rendered} are not refused");
}

fn readable(child: &Child, polkadot: &Polkadot) -> String {
    // The keys are the tests' own.
    let both: [&Value; 2] = [&child.body, &serde_json::to_value(&polkadot.spec).unwrap()];
    serde_yaml::to_string(&both).unwrap()
}
