use super::*;
use crate::polkadot::PolkadotSpec;

/// The old operator's README sample, as it stands there.
const SAMPLE: &str = include_str!("../../tests/samples/sentry-and-validator.yaml");

fn sample() -> Polkadot {
    let mut polkadot: Polkadot = serde_yaml::from_str(SAMPLE).unwrap();
    polkadot.metadata.namespace = Some("polkadot".into());
    polkadot.metadata.uid = Some("uid-1".into());
    polkadot.spec.client_version = Some("stable2503-7".into());
    polkadot
}

fn keys_of(polkadot: &Polkadot) -> Keys {
    let mut keys = Keys::new();
    for role in Role::ALL {
        for ordinal in 0..polkadot.replicas(role) {
            let seed = [u8::try_from(ordinal).unwrap() + 100; 32];
            let key = given_key(polkadot, role, ordinal).unwrap_or_else(|| NodeKey::from_seed(seed));
            keys.insert((role, ordinal), key);
        }
    }
    keys
}

/// Decides something about `polkadot` as it is, with usual settings and nothing there yet.
fn with_basis<T>(polkadot: &Polkadot, decide: impl FnOnce(&Basis<'_>) -> T) -> T {
    let (settings, keys, inherited) = (Settings::default(), keys_of(polkadot), Inherited::default());
    let version = client(polkadot).unwrap();
    decide(&Basis { polkadot, settings: &settings, keys: &keys, version, inherited: &inherited })
}

fn rendered(polkadot: &Polkadot) -> BTreeMap<String, Value> {
    let children = with_basis(polkadot, |basis| build(basis, &templates(basis), &BTreeMap::new()));
    children.into_iter().map(|child| (child.name, child.body)).collect()
}

fn templates_of(polkadot: &Polkadot) -> Vec<Template> {
    with_basis(polkadot, templates)
}

fn arguments_of(polkadot: &Polkadot, role: Role) -> Vec<String> {
    with_basis(polkadot, |basis| arguments::arguments(basis, role))
}

#[test]
fn the_old_readmes_sample_becomes_the_old_operators_objects_and_the_headless_service_it_lacked() {
    let names: Vec<_> = rendered(&sample()).into_keys().collect();
    assert_eq!(
        names,
        [
            "polkadot",
            "sentry-service",
            "sentry-sset",
            "validator-networkpolicy",
            "validator-service",
            "validator-sset"
        ]
    );
}

#[test]
fn the_sample_renders_to_the_golden_file() {
    insta::assert_yaml_snapshot!(rendered(&sample()));
}

#[test]
fn an_applied_template_restarts_nothing_because_the_partition_is_the_number_of_replicas() {
    let objects = rendered(&sample());
    for (set, replicas) in [("sentry-sset", 1), ("validator-sset", 1)] {
        assert_eq!(objects[set]["spec"]["replicas"], replicas);
        assert_eq!(objects[set]["spec"]["updateStrategy"]["rollingUpdate"]["partition"], replicas);
    }
}

#[test]
fn a_validator_has_one_replica_whatever_the_sentries_have() {
    let mut polkadot = sample();
    polkadot.spec.sentry.as_mut().unwrap().replicas = 5;
    let objects = rendered(&polkadot);
    assert_eq!(objects["validator-sset"]["spec"]["replicas"], 1);
    assert_eq!(objects["sentry-sset"]["spec"]["replicas"], 5);
}

#[test]
fn keys_are_in_the_secret_and_nowhere_else() {
    let polkadot = sample();
    let text = serde_json::to_string(&rendered(&polkadot)).unwrap();
    for key in keys_of(&polkadot).values() {
        assert!(!text.contains(&key.to_hex()));
        assert!(!text.contains(&base64_of(&key.to_file())));
    }
    let keys = BTreeMap::from([(0, given_key(&polkadot, Role::Validator, 0).unwrap())]);
    let secret = secret(&polkadot, Role::Validator, &keys);
    assert_eq!(secret.body["data"]["validator-sset-0"], base64_of(&keys[&0].to_file()));
}

fn base64_of(text: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}

#[test]
fn scaling_the_sentries_changes_the_validators_template_only_behind_a_policy() {
    let hashes = |secure: bool, replicas: i32| {
        let mut polkadot = sample();
        polkadot.spec.secure_communication_support.enabled = secure;
        polkadot.spec.sentry.as_mut().unwrap().replicas = replicas;
        templates_of(&polkadot)
            .into_iter()
            .map(|template| (template.role, template.hash))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(hashes(false, 1), hashes(false, 3));
    assert_eq!(hashes(true, 1)[&Role::Sentry], hashes(true, 3)[&Role::Sentry]);
    assert_ne!(hashes(true, 1)[&Role::Validator], hashes(true, 3)[&Role::Validator]);
}

#[test]
fn a_changed_key_is_a_changed_template() {
    let mut polkadot = sample();
    let before = templates_of(&polkadot);
    polkadot.spec.validator.as_mut().unwrap().node.node_key = Some("ab".repeat(32));
    let after = templates_of(&polkadot);
    assert_ne!(before[1].hash, after[1].hash);
}

#[test]
fn a_validators_rpc_is_not_reachable_and_a_sentrys_is_safe() {
    let polkadot = sample();
    let validator = arguments_of(&polkadot, Role::Validator);
    assert!(validator.contains(&"--validator".into()));
    assert!(
        !validator.iter().any(|argument| argument.contains("rpc-external") || argument.contains("unsafe"))
    );
    assert!(arguments_of(&polkadot, Role::Sentry).contains(&"--rpc-methods=safe".into()));
}

#[test]
fn reserved_peers_are_derived_from_the_keys() {
    let polkadot = sample();
    let sentry = arguments_of(&polkadot, Role::Sentry);
    let expected = "--reserved-nodes=/dns/validator-sset-0.polkadot/tcp/30333/p2p/\
                    12D3KooWSfmVyKY41y4EEirCrYE8HXM1DUhzRJxLPvobz76KRwLs";
    assert!(sentry.contains(&expected.to_owned()), "{sentry:?}");
    assert!(arguments_of(&polkadot, Role::Validator).contains(&"--reserved-only".into()));
}

#[test]
fn what_a_client_cannot_do_is_refused_in_words() {
    let mut polkadot = sample();
    polkadot.spec.client_version = Some("v1.4.0".into());
    polkadot.spec.validator.as_mut().unwrap().insecure_validator = true;
    let refusal = client(&polkadot).unwrap_err();
    assert!(refusal.reason == "Unsupported" && refusal.words.contains("v1.5.0"), "{refusal:?}");
    polkadot.spec.validator.as_mut().unwrap().insecure_validator = false;
    polkadot.spec.client_version = None;
    assert!(client(&polkadot).unwrap_err().words.contains("spec.clientVersion"));
    polkadot.spec.client_version = Some("latest".into());
    assert!(client(&polkadot).is_ok());
}

#[test]
fn the_kind_decides_which_objects_there_are() {
    let spec: PolkadotSpec =
        serde_yaml::from_str("kind: Validator\nclientVersion: stable2503\nvalidator: {}").unwrap();
    let polkadot = Polkadot::new("alone", spec);
    let objects = rendered(&polkadot);
    assert_eq!(objects.keys().collect::<Vec<_>>(), ["polkadot", "validator-service", "validator-sset"]);
    assert_eq!(objects["validator-service"]["spec"]["type"], "NodePort");
}
