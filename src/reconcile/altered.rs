//! Pods that run an image which somebody wrote into their StatefulSet by hand. Pure.
//!
//! They carry the hash of our template all the same: it is an annotation. So they count as made from another one, and are
//! made anew when that is permitted.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt as _;

use crate::observed::RoleView;
use crate::version::{ClientVersion, is_floating};

/// Stands for the hash of a template that nobody has rendered.
const ALTERED: &str = "altered";

/// Marks them in `view`, whose pods should run the image `wanted`.
pub(super) fn mark(view: &mut RoleView, wanted: &str, set: Option<&StatefulSet>, pods: &[Arc<Pod>]) {
    for node in view.nodes.iter_mut().filter(|node| node.hash.as_ref() == Some(&view.hash)) {
        let Some(pod) = pods.iter().find(|pod| pod.name_any() == node.pod) else { continue };
        let Some(runs) = pod.spec.as_ref().and_then(image) else { continue };
        // Whoever rewrites images on their way in, to a mirror say, leaves the tag, or does it to the next pod as well.
        if view.hash.is_empty() || tag(runs) == tag(wanted) || is_made_so_now(pod, wanted, set) {
            continue;
        }
        node.hash = Some(ALTERED.into());
        node.version = node.version.take().filter(|_| !is_foreign(runs, wanted));
    }
}

/// Whether the pod is of the latest revision, and that has the wanted image: then another pod would be the same.
fn is_made_so_now(pod: &Pod, wanted: &str, set: Option<&StatefulSet>) -> bool {
    let Some(set) = set else { return false };
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let latest = set.status.as_ref().and_then(|status| status.update_revision.as_ref());
    template.and_then(image) == Some(wanted)
        && latest.is_some()
        && pod.labels().get("controller-revision-hash") == latest
}

/// Whether an image is of another repository than `ours` and its tag no release: then the tag is no version.
pub(super) fn is_foreign(image: &str, ours: &str) -> bool {
    let is_release =
        |tag: &str| is_floating(tag) || !matches!(ClientVersion::parse(tag), ClientVersion::Other(_));
    repository(image) != repository(ours) && !tag(image).is_some_and(is_release)
}

/// The client's image: its container comes first.
pub(super) fn image(spec: &PodSpec) -> Option<&str> {
    spec.containers.first()?.image.as_deref()
}

/// The tag of an image, where it has one.
pub(super) fn tag(image: &str) -> Option<&str> {
    let named = image.split('@').next()?;
    let (_, tag) = named.rsplit('/').next()?.split_once(':')?;
    Some(tag)
}

fn repository(image: &str) -> &str {
    let named = image.split('@').next().unwrap_or_default();
    tag(image).map_or(named, |tag| &named[..named.len() - tag.len() - 1])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observed::NodeView;
    use crate::polkadot::Role;

    const WANTED: &str = "parity/polkadot:stable2503-6";

    fn pod(image: &str, revision: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": "sentry-sset-0", "labels": {"controller-revision-hash": revision}},
            "spec": {"containers": [{"name": "polkadot", "image": image}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn set() -> StatefulSet {
        let template = json!({"spec": {"containers": [{"name": "polkadot", "image": WANTED}]}});
        let set = json!({
            "spec": {"selector": {}, "serviceName": "", "template": template},
            "status": {"replicas": 1, "updateRevision": "new"},
        });
        serde_json::from_value(set).unwrap()
    }

    /// Whether a pod with our hash counts as outdated, and its version.
    fn seen(image: &str, revision: &str) -> (bool, Option<String>) {
        let pod = pod(image, revision);
        let node = super::super::observe::node_view("sentry-sset-0".into(), 0, Some(&pod));
        let node = NodeView { hash: Some("ours".into()), ..node };
        let mut view =
            RoleView { role: Role::Sentry, hash: "ours".into(), nodes: vec![node], volumes_added: false };
        mark(&mut view, WANTED, Some(&set()), &[pod]);
        (view.nodes[0].is_outdated("ours"), view.nodes[0].version.clone())
    }

    #[test]
    fn an_image_that_somebody_wrote_counts_as_another_template_and_its_tag_as_a_version_only_if_it_is_one() {
        let version = |tag: &str| Some(tag.to_owned());
        assert_eq!(seen(WANTED, "old"), (false, version("stable2503-6")));
        assert_eq!(seen("evil/img:1", "old"), (true, None));
        assert_eq!(seen("mirror.example:5000/polkadot", "old"), (true, None), "a port is no tag");
        assert_eq!(seen("evil/img:stable2503-9", "old"), (true, version("stable2503-9")));
        assert_eq!(seen("parity/polkadot:mine", "old"), (true, version("mine")));
        assert!(!seen("mirror.example/parity/polkadot:stable2503-6", "old").0, "a mirror");
        assert!(!seen("evil/img:1", "new").0, "rewritten on its way in: the next would be, too");
    }

    #[test]
    fn a_digest_is_not_taken_for_a_tag() {
        assert_eq!(tag("parity/polkadot:v1.16.0@sha256:0123"), Some("v1.16.0"));
        assert_eq!(tag("parity/polkadot@sha256:0123"), None);
        assert_eq!(repository("a.example:5000/parity/polkadot:v1.16.0"), "a.example:5000/parity/polkadot");
    }
}
