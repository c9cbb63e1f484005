//! Pods that run an image which somebody wrote into their StatefulSet by hand. Pure.
//!
//! They carry the hash of our template all the same: it is an annotation. So they count as made from another one, and are
//! made anew when that is permitted.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::observed::RoleView;

use super::image;

/// Stands for the hash of a template that nobody has rendered.
const ALTERED: &str = "altered";

/// Marks them in `view`, whose pods should run the image `wanted`.
pub(super) fn mark(view: &mut RoleView, wanted: &str, set: Option<&StatefulSet>, pods: &[Arc<Pod>]) {
    for node in view.nodes.iter_mut().filter(|node| node.hash.as_ref() == Some(&view.hash)) {
        let Some(pod) = pods.iter().find(|pod| pod.name_any() == node.pod) else { continue };
        let Some(runs) = pod.spec.as_ref().and_then(image::of_client) else { continue };
        if view.hash.is_empty() || image::tag(runs) == image::tag(wanted) {
            continue;
        }
        match is_made_so_now(pod, wanted, set) {
            // Whoever rewrites images on their way in, to a mirror or to a digest, does it to the next pod as well.
            Some(true) => node.version = Some(image::tag(wanted).to_owned()),
            Some(false) => {
                node.hash = Some(ALTERED.into());
                node.version = node.version.take().filter(|_| !image::is_foreign(runs, wanted));
            }
            None => {}
        }
    }
}

/// Whether the pod is of the latest revision, and that has the wanted image: then another pod would be the same. `None`
/// while the controller has not seen the template that is in view.
fn is_made_so_now(pod: &Pod, wanted: &str, set: Option<&StatefulSet>) -> Option<bool> {
    let set = set?;
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    if template.and_then(image::of_client) != Some(wanted) {
        return Some(false);
    }
    let status =
        set.status.as_ref().filter(|status| status.observed_generation == set.metadata.generation)?;
    let latest = status.update_revision.as_ref()?;
    Some(pod.labels().get("controller-revision-hash") == Some(latest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observed::NodeView;
    use crate::polkadot::Role;

    const WANTED: &str = "parity/polkadot:stable2503-6";

    fn set(observed: i64) -> StatefulSet {
        let template = json!({"spec": {"containers": [{"name": "polkadot", "image": WANTED}]}});
        let set = json!({
            "metadata": {"generation": 2},
            "spec": {"selector": {}, "serviceName": "", "template": template},
            "status": {"replicas": 1, "observedGeneration": observed, "updateRevision": "new"},
        });
        serde_json::from_value(set).unwrap()
    }

    /// Whether a pod with our hash counts as outdated, and its version.
    fn seen(image: &str, revision: &str, set: &StatefulSet) -> (bool, Option<String>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "sentry-sset-0", "labels": {"controller-revision-hash": revision}},
            "spec": {"containers": [{"name": "polkadot", "image": image}]},
        }))
        .unwrap();
        let node = super::super::observe::node_view("sentry-sset-0".into(), 0, Some(&pod));
        let node = NodeView { hash: Some("ours".into()), ..node };
        let mut view =
            RoleView { role: Role::Sentry, hash: "ours".into(), nodes: vec![node], volumes_added: false };
        mark(&mut view, WANTED, Some(set), &[Arc::new(pod)]);
        (view.nodes[0].is_outdated("ours"), view.nodes[0].version.clone())
    }

    #[test]
    fn an_image_that_somebody_wrote_counts_as_another_template_and_its_tag_as_a_version_only_if_it_is_one() {
        let version = |tag: &str| Some(tag.to_owned());
        let old = |image: &str| seen(image, "old", &set(2));
        assert_eq!(old(WANTED), (false, version("stable2503-6")));
        assert_eq!(old("evil/img:1"), (true, None));
        assert_eq!(old("evil/img:stable2503-9"), (true, version("stable2503-9")));
        assert_eq!(old("parity/polkadot:mine"), (true, version("mine")));
        assert!(!old("mirror.example/parity/polkadot:stable2503-6").0, "a mirror");
    }

    #[test]
    fn an_image_that_is_rewritten_on_its_way_in_is_the_wanted_one() {
        let rewritten = "mirror.example/parity/polkadot@sha256:0123";
        assert_eq!(seen(rewritten, "new", &set(2)), (false, Some("stable2503-6".into())));
        assert!(!seen(rewritten, "old", &set(1)).0, "the controller has not spoken yet");
        assert!(seen(rewritten, "old", &set(2)).0);
    }
}
