use super::*;
use crate::polkadot::PolkadotSpec;

fn polkadot(spec: &str) -> Polkadot {
    let spec: PolkadotSpec = serde_yaml::from_str(spec).unwrap();
    Polkadot::new("one", spec)
}

/// What is said of a resource, by type.
fn said(polkadot: &Polkadot, change: impl FnOnce(&mut Findings<'_>)) -> BTreeMap<&'static str, Verdict> {
    let keys = Keys::new();
    let mut found =
        Findings { roles: &[], keys: &keys, trouble: None, keystore_kept: true, warnings: vec![] };
    change(&mut found);
    verdicts(polkadot, &found).into_iter().map(|verdict| (verdict.type_, verdict)).collect()
}

#[test]
fn a_validator_whose_keystore_goes_with_its_pod_is_warned_of_and_told_what_to_do() {
    let off = polkadot("{kind: Validator, clientVersion: stable2503, validator: {}}");
    let on = polkadot(
        "{kind: Validator, clientVersion: stable2503, validator: {dataPersistenceSupport: {enabled: true, \
         persistentVolumeClaim: {metadata: {name: data}, spec: {}}}}}",
    );
    for (polkadot, words) in [(&off, "set enabled: true"), (&on, "begins empty")] {
        let lost = said(polkadot, |found| found.keystore_kept = false);
        let message = &lost["EphemeralKeystore"].message;
        assert!(message.contains(words) && message.contains("session keys"), "{message}");
    }
    assert!(!said(&on, |_| {}).contains_key("EphemeralKeystore"));
}
