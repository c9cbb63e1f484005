//! What became of an upgrade's step on a resource, where a person has to know: by the annotation that it left and the spec. Pure.

use kube::ResourceExt as _;

use super::Verdict;
use crate::polkadot::{Polkadot, record};
use crate::version::{ClientVersion, Order};

/// That somebody changed back what an upgrade had set, or that the upgrade took it back itself.
pub(super) fn undone(polkadot: &Polkadot) -> Option<Verdict> {
    let step: record::Step = record::read(polkadot.annotations(), record::STEP_ANNOTATION)?;
    let version = polkadot.spec.client_version.as_deref().filter(|version| *version != step.target)?;
    let (upgrade, target) = (&step.upgrade, &step.target);
    if let Some(why) = step.rolled_back.as_ref().filter(|_| step.previous.as_deref() == Some(version)) {
        let words = format!(
            "upgrade {upgrade} took {target} back to {version} before any pod was restarted for it: {why}; mend that, then \
             polkafleet retry {upgrade}"
        );
        return Some(Verdict::warning("UpgradeTakenBack", words));
    }
    // Whoever goes beyond the target takes nothing back.
    let order = ClientVersion::parse(target).order(&ClientVersion::parse(version));
    (order != Order::Older).then(|| {
        let words = format!(
            "upgrade {upgrade} set {target}, and somebody changed it to {version}; it is not set again: make what applies this \
             resource (Git?) say {target}, or leave clientVersion out there, then polkafleet retry {upgrade}"
        );
        Verdict::warning("VersionContested", words)
    })
}

/// That the resource did not become healthy after the last step, or is so no more.
pub(super) fn failed(polkadot: &Polkadot) -> Option<Verdict> {
    let step: record::Step = record::read(polkadot.annotations(), record::STEP_ANNOTATION)?;
    let failed: record::Failed = record::read(polkadot.annotations(), record::FAILED_ANNOTATION)?;
    let is_there = polkadot.spec.client_version.as_ref() == Some(&step.target);
    (is_there && failed.is_of(&step)).then(|| {
        let record::Failed { upgrade, target, why, .. } = failed;
        let words = format!(
            "upgrade {upgrade} took it to {target}, and it failed there: {why}. Mend that, then polkafleet retry {upgrade}; or name \
             a version that does better"
        );
        Verdict::warning("UpgradeFailed", words)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::polkadot::{PolkadotSpec, Step};

    /// The type of the condition and its words, of a resource that an upgrade took to stable2503-7.
    fn said(version: &str, rolled_back: Option<&str>) -> Option<(&'static str, String)> {
        let step = Step {
            upgrade: "polkadot".into(),
            target: "stable2503-7".into(),
            attempt: 1,
            previous: Some("stable2503-6".into()),
            finalized: None,
            approver: None,
            prepull: false,
            rolled_back: rolled_back.map(Into::into),
            at: Timestamp::UNIX_EPOCH,
        };
        let spec: PolkadotSpec =
            serde_yaml::from_str(&format!("{{kind: Sentry, clientVersion: {version}}}")).unwrap();
        let mut polkadot = Polkadot::new("one", spec);
        let text = serde_json::to_string(&step).unwrap();
        polkadot.annotations_mut().insert(record::STEP_ANNOTATION.into(), text);
        undone(&polkadot).map(|verdict| (verdict.type_, verdict.message))
    }

    #[test]
    fn a_version_that_somebody_set_back_is_told_with_what_to_do() {
        let (type_, words) = said("stable2503-6", None).unwrap();
        assert_eq!(type_, "VersionContested");
        assert!(
            words.contains("changed it to stable2503-6") && words.contains("polkafleet retry polkadot"),
            "{words}"
        );
        assert_eq!(said("stable2503-7", None), None);
        assert_eq!(said("stable2503-8", None), None, "that is ahead");
    }

    #[test]
    fn a_step_that_the_upgrade_took_back_is_told_with_its_reason() {
        let (type_, words) = said("stable2503-6", Some("there is no image")).unwrap();
        assert_eq!(type_, "UpgradeTakenBack");
        assert!(words.contains("there is no image"), "{words}");
    }

    #[test]
    fn a_step_that_failed_is_told_until_there_is_another_one() {
        let spec: PolkadotSpec = serde_yaml::from_str("{kind: Sentry, clientVersion: stable2503-7}").unwrap();
        let mut polkadot = Polkadot::new("one", spec);
        let mut note = |key: &str, value: serde_json::Value| {
            polkadot.annotations_mut().insert(key.into(), value.to_string());
            failed(&polkadot).map(|verdict| (verdict.type_, verdict.message))
        };
        let of = |attempt: u32| serde_json::json!({"upgrade": "polkadot", "target": "stable2503-7", "attempt": attempt});
        let with = |attempt, at: u32, why: Option<&str>| {
            let mut note = of(attempt);
            (note["at"], note["why"]) = (format!("1970-01-01T00:00:0{at}Z").into(), why.into());
            note
        };
        assert_eq!(note(record::STEP_ANNOTATION, with(1, 1, None)), None);
        let (type_, words) = note(record::FAILED_ANNOTATION, with(1, 1, Some("it crashes"))).unwrap();
        assert_eq!(type_, "UpgradeFailed");
        assert!(words.contains("it crashes") && words.contains("polkafleet retry polkadot"), "{words}");
        assert_eq!(note(record::STEP_ANNOTATION, with(2, 1, None)), None, "it is tried again");
        assert_eq!(
            note(record::STEP_ANNOTATION, with(1, 2, None)),
            None,
            "there was another target meanwhile"
        );
    }
}
