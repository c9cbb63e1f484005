//! Volumes of a StatefulSet that are wanted otherwise than they are. Pure.
//!
//! A StatefulSet's claim templates cannot be changed. Claims grow by themselves where their storage class allows it; then
//! the StatefulSet is made again around its pods, which keeps pods and claims. That is done only while nothing waits to
//! be rolled: a StatefulSet made again has one revision, and a pod drained then would come back at it. Volumes that are
//! switched on later need new pods, so they come with a permitted roll. Everything else is refused, in words.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::polkadot::{ADOPTED_ANNOTATION, Names, Role};

use super::compare::{covers, quantity};

/// What is to be done about the volumes of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: they are as wanted, or what is wanted has to wait.
    None,
    /// These claims are to grow to this size.
    Grow(Vec<Claim>, String),
    /// The StatefulSet is to be made again around its pods.
    Remake,
    /// It cannot be done; why, and what to do.
    Refused(String),
}

/// A claim, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
}

impl Claim {
    /// The claim, as it is.
    pub(super) fn of(claim: &PersistentVolumeClaim) -> Self {
        Self {
            name: claim.name_any(),
            uid: claim.uid().unwrap_or_default(),
            resource_version: claim.resource_version().unwrap_or_default(),
        }
    }
}

/// What a role has, and what is wanted.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct Situation<'a> {
    /// The claim template that is wanted.
    pub wanted: Option<&'a Value>,
    /// The one that the StatefulSet has.
    pub live: Option<&'a Value>,
    /// The claims of its pods.
    pub claims: &'a [&'a PersistentVolumeClaim],
    /// No pod waits to be rolled, and the last roll is finished.
    pub idle: bool,
    /// The planner has permitted a roll to the template with the wanted volumes, or there is no pod to roll.
    pub granted: bool,
    /// What is on them must not be lost by an edit: a validator's session keys.
    pub keystore: bool,
    /// Pods lack a volume, so that no controller rolls them, and would come back on an earlier template than wanted.
    pub wedged: bool,
}

/// What comes next. Until the answer is [`Step::None`] with the wanted template in place, the live one is kept.
#[must_use]
pub fn next(situation: &Situation<'_>) -> Step {
    let remake = |when: bool| if when { Step::Remake } else { Step::None };
    match (situation.wanted, situation.live) {
        (None, None) => Step::None,
        (Some(_), None) => remake(situation.granted),
        (Some(_), Some(_)) if situation.wedged && situation.granted => Step::Remake,
        (None, Some(_)) if situation.keystore => Step::Refused(
            "dataPersistenceSupport cannot be switched off for a validator: its keystore is on the volume, and the \
             next pod would begin without session keys; set enabled: true with the persistentVolumeClaim of before. To give \
             the keystore up all the same, delete the StatefulSet with --cascade=orphan: it is rolled then"
                .into(),
        ),
        // A pod of the old template needs them until it is replaced.
        (None, Some(_)) => remake(situation.idle),
        (Some(wanted), Some(live)) => both(wanted, live, situation),
    }
}

fn both(wanted: &Value, live: &Value, situation: &Situation<'_>) -> Step {
    if let Some(field) = fixed(wanted, live) {
        return Step::Refused(format!(
            "persistentVolumeClaim.{field} cannot be changed for volumes that are there; set it back, or make a new \
             resource and let its nodes sync"
        ));
    }
    let size = |of: &Value| of.pointer(SIZE).and_then(Value::as_str).map(str::to_owned);
    // Without a size there is nothing to grow.
    let Some((wanted_size, live_size)) = size(wanted).zip(size(live)) else {
        return metadata(wanted, live, situation);
    };
    let Some((want, have)) = quantity(&wanted_size).zip(quantity(&live_size)) else {
        if wanted_size == live_size {
            return metadata(wanted, live, situation);
        }
        return Step::Refused(format!(
            "volumes have {live_size} and {wanted_size} is wanted, which cannot be compared; write {SIZE_FIELD} like 500Gi"
        ));
    };
    if want < have {
        return Step::Refused(format!(
            "volumes cannot shrink: they have {live_size} and {wanted_size} is wanted; set {SIZE_FIELD} back"
        ));
    }
    // Also those of replicas that were scaled away when the others grew.
    let small = |claim: &&&PersistentVolumeClaim| {
        requested(claim).and_then(|size| quantity(&size)).is_some_and(|size| size < want)
    };
    let claims: Vec<_> = situation.claims.iter().filter(small).map(|claim| Claim::of(claim)).collect();
    match () {
        () if !claims.is_empty() => Step::Grow(claims, wanted_size),
        () if want > have && situation.idle => Step::Remake,
        () => metadata(wanted, live, situation),
    }
}

/// The first field that no volume can change. All but the size: a server may drop what it does not know, and what is not
/// there after the StatefulSet was made again would have it made again for ever.
fn fixed(wanted: &Value, live: &Value) -> Option<String> {
    let differs = |path: &str| {
        let wanted = wanted.pointer(path);
        wanted.is_some_and(|wanted| !covers(wanted, live.pointer(path).unwrap_or(&Value::Null), true))
    };
    let spec = wanted["spec"].as_object().into_iter().flat_map(|spec| spec.keys());
    let fields = spec.filter(|key| *key != "resources").map(|key| format!("spec/{key}"));
    let all = ["metadata/name".into(), "spec/resources/limits".into()].into_iter().chain(fields);
    all.into_iter().find(|path| differs(&format!("/{path}"))).map(|path| path.replace('/', "."))
}

/// Labels and annotations of the claims to come.
fn metadata(wanted: &Value, live: &Value, situation: &Situation<'_>) -> Step {
    let same = covers(&wanted["metadata"], &live["metadata"], false);
    if situation.idle && !same { Step::Remake } else { Step::None }
}

const SIZE: &str = "/spec/resources/requests/storage";
/// Where a resource says how large its volumes are.
pub(super) const SIZE_FIELD: &str = "persistentVolumeClaim.spec.resources.requests.storage";

fn requested(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.clone())
}

/// The claims of a role's pods, by the name of the StatefulSet's claim template.
pub fn of_role<'a>(
    names: &'a Names,
    role: Role,
    template: Option<&'a Value>,
    replicas: i32,
    claims: impl Iterator<Item = &'a PersistentVolumeClaim>,
) -> Vec<&'a PersistentVolumeClaim> {
    let Some(template) = template.and_then(|template| template.pointer("/metadata/name")?.as_str()) else {
        return vec![];
    };
    let own: Vec<_> =
        (0..replicas).map(|ordinal| format!("{template}-{}", names.pod(role, ordinal))).collect();
    claims.filter(|claim| own.contains(&claim.name_any())).collect()
}

/// Gives the apply configuration of a StatefulSet what its live object has and cannot change; returns the claim
/// template that was wanted, and whether the pods' template had to be kept as well.
///
/// Pods can mount no claim that the StatefulSet does not make: while it makes another one or none, their template stays,
/// too. So it does where the volume holds a `keystore` that must not be lost.
pub fn keep(body: &mut Value, live: &Value, keystore: bool) -> (Option<Value>, bool) {
    let wanted = body.pointer("/spec/volumeClaimTemplates/0").cloned();
    let spec = &mut body["spec"];
    for field in ["serviceName", "podManagementPolicy"] {
        spec[field] = live["spec"][field].clone();
    }
    let claim = live.pointer("/spec/volumeClaimTemplates/0");
    let name = |claim: Option<&Value>| claim.and_then(|claim| claim.pointer("/metadata/name")).cloned();
    let is_dropped = wanted.is_none() && claim.is_some() && keystore;
    let other_mounts = is_dropped || (wanted.is_some() && name(wanted.as_ref()) != name(claim));
    if other_mounts {
        spec["template"] = live["spec"]["template"].clone();
        if is_dropped {
            // A pod that was rolled already must come back as it is.
            spec["updateStrategy"] = live["spec"]["updateStrategy"].clone();
        }
        // Since when it is kept, or it would count as taken over only now.
        if let Some(since) = live["metadata"]["annotations"].get(ADOPTED_ANNOTATION) {
            body["metadata"]["annotations"][ADOPTED_ANNOTATION] = since.clone();
        }
    }
    let (spec, live) = (&mut body["spec"], claim);
    let same = match (&wanted, live) {
        (Some(wanted), Some(live)) => covers(wanted, live, true),
        (None, None) => true,
        _ => false,
    };
    if !same {
        match (live, spec.as_object_mut()) {
            (Some(live), _) => spec["volumeClaimTemplates"] = serde_json::json!([live]),
            (None, Some(spec)) => drop(spec.remove("volumeClaimTemplates")),
            (None, None) => {}
        }
    }
    (wanted, other_mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(size: &str) -> Value {
        json!({"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": size}},
        }})
    }

    fn claim(ordinal: i32, size: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": format!("data-sentry-sset-{ordinal}"), "uid": "u", "resourceVersion": "7"},
            "spec": {"resources": {"requests": {"storage": size}}},
        }))
        .unwrap()
    }

    fn step(
        wanted: Option<&Value>,
        live: Option<&Value>,
        claims: &[&PersistentVolumeClaim],
        idle: bool,
    ) -> Step {
        next(&Situation { wanted, live, claims, idle, granted: false, keystore: false, wedged: false })
    }

    #[test]
    fn larger_volumes_grow_claim_by_claim_and_then_the_set_is_made_again() {
        let (small, large) = (template("10Gi"), template("20Gi"));
        let (grown, not_yet) = (claim(0, "20Gi"), claim(1, "10Gi"));
        let first = step(Some(&large), Some(&small), &[&grown, &not_yet], true);
        assert_eq!(first, Step::Grow(vec![Claim::of(&not_yet)], "20Gi".into()));
        assert_eq!(step(Some(&large), Some(&small), &[&grown], true), Step::Remake);
        assert_eq!(step(Some(&large), Some(&small), &[&grown], false), Step::None, "a roll is pending");
        assert_eq!(step(Some(&large), Some(&large), &[&grown], true), Step::None);
    }

    #[test]
    fn a_claim_that_was_scaled_away_while_the_others_grew_grows_when_it_is_back() {
        let large = template("20Gi");
        let (grown, left_out) = (claim(0, "20Gi"), claim(1, "10Gi"));
        let next = step(Some(&large), Some(&large), &[&grown, &left_out], false);
        assert_eq!(next, Step::Grow(vec![Claim::of(&left_out)], "20Gi".into()));
    }

    #[test]
    fn a_set_is_made_again_only_for_what_making_it_again_can_change() {
        let same = step(Some(&template("1e11")), Some(&template("100e9")), &[&claim(0, "100e9")], true);
        assert_eq!(same, Step::None, "the server's words for the same size");
        let Step::Refused(words) = step(Some(&template("1x")), Some(&template("1Gi")), &[], true) else {
            panic!()
        };
        assert!(words.contains("cannot be compared"), "{words}");
        let mut unknown = template("10Gi");
        unknown["spec"]["volumeAttributesClassName"] = json!("gold");
        let Step::Refused(words) = step(Some(&unknown), Some(&template("10Gi")), &[], true) else { panic!() };
        assert!(words.contains("spec.volumeAttributesClassName"), "{words}");
        let mut labelled = template("10Gi");
        labelled["metadata"]["labels"] = json!({"team": "staking"});
        assert_eq!(step(Some(&labelled), Some(&template("10Gi")), &[], true), Step::Remake);
        assert_eq!(step(Some(&labelled), Some(&template("10Gi")), &[], false), Step::None);
    }

    #[test]
    fn the_same_size_in_other_words_is_no_change() {
        assert_eq!(step(Some(&template("1024Mi")), Some(&template("1Gi")), &[], true), Step::None);
    }

    #[test]
    fn a_smaller_volume_or_another_class_is_refused_in_words() {
        let live = template("10Gi");
        let Step::Refused(words) = step(Some(&template("5Gi")), Some(&live), &[], true) else { panic!() };
        assert!(words.contains("cannot shrink"), "{words}");
        let mut other = template("10Gi");
        other["spec"]["storageClassName"] = json!("slow");
        let Step::Refused(words) = step(Some(&other), Some(&live), &[], true) else { panic!() };
        assert!(words.contains(".spec.storageClassName"), "{words}");
    }

    #[test]
    fn pods_mount_no_claim_that_their_set_does_not_make() {
        let set = |claims: Value, template: &str| json!({"spec": {"volumeClaimTemplates": claims, "template": template}});
        let template_after = |claims: Value| {
            let mut body = set(json!([template("10Gi")]), "new");
            keep(&mut body, &set(claims, "old"), false);
            body["spec"]["template"].clone()
        };
        assert_eq!(template_after(json!([template("5Gi")])), "new");
        assert_eq!(template_after(json!([])), "old", "none yet");
        assert_eq!(template_after(json!([{"metadata": {"name": "other"}}])), "old");
    }

    #[test]
    fn volumes_that_are_switched_on_wait_for_a_permitted_roll_and_off_for_its_end() {
        let wanted = template("10Gi");
        let on = |granted| {
            next(&Situation {
                wanted: Some(&wanted),
                live: None,
                claims: &[],
                idle: false,
                granted,
                keystore: false,
                wedged: false,
            })
        };
        assert_eq!((on(false), on(true)), (Step::None, Step::Remake));
        assert_eq!(step(None, Some(&wanted), &[], false), Step::None);
        assert_eq!(step(None, Some(&wanted), &[], true), Step::Remake);
    }
}
