use serde_json::{Value, json};

use super::*;
use crate::desired::{self, Basis, Inherited, Keys, arguments};
use crate::fleet::Settings;
use crate::identity::NodeKey;
use crate::polkadot::{Polkadot, Role};

/// The keys of the old operator's README and their peer IDs before 0.8.0 and from then on.
const SENTRY_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000013";
const SENTRY_LEGACY_ID: &str = "QmQMTLWkNwGf7P5MQv7kUHCynMg7jje6h3vbvwd2ALPPhm";
const SENTRY_ID: &str = "12D3KooWQMkbZgBmjXpCFAXUoH6MfByoEnMaeNfdGrQ2o3fTRUwE";
const VALIDATOR_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000021";

const NEWEST: &str = "stable2503-7";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn polkadot() -> Chain {
    Chain::new("polkadot", at(0), 200_000)
}

fn words(args: &str) -> Vec<String> {
    args.split_whitespace().map(String::from).collect()
}

fn start_with(
    tag: &str,
    args: &[String],
    key: Option<&[u8]>,
    change: fn(&mut Start<'_>),
) -> Result<Node, Crash> {
    let mut start = Start {
        tag,
        args,
        key,
        behaviour: Behaviour::Sound,
        now: at(0),
        instance: 7,
        restored_height: Some(200_000),
    };
    change(&mut start);
    Node::start(&start)
}

fn start(tag: &str, args: &str) -> Result<Node, Crash> {
    start_with(tag, &words(args), Some(SENTRY_KEY.as_bytes()), |_| ())
}

fn running(args: &str, change: fn(&mut Start<'_>)) -> Node {
    start_with(NEWEST, &words(args), None, change).unwrap()
}

fn ask(node: &Node, seconds: i64, method: &str, path: &str, body: &str) -> (u16, String) {
    let request = Request { port: 9944, method, path, body: body.as_bytes(), from_loopback: true };
    let answer = node.answer(at(seconds), &polkadot(), &request).unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn call(node: &Node, seconds: i64, call: &Value) -> Value {
    let (status, body) = ask(node, seconds, "POST", "/", &call.to_string());
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

fn result(node: &Node, seconds: i64, method: &str, params: &Value) -> Value {
    let answer = call(node, seconds, &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
    answer.get("result").cloned().unwrap_or_else(|| panic!("{answer}"))
}

fn metrics(node: &Node, seconds: i64) -> String {
    let request = Request { port: 9615, method: "GET", path: "/metrics", body: b"", from_loopback: true };
    String::from_utf8(node.answer(at(seconds), &polkadot(), &request).unwrap().body).unwrap()
}

// The chain.

#[test]
fn a_chain_makes_a_block_every_six_seconds_and_finalises_two_behind() {
    let chain = polkadot();
    for (seconds, best) in [(-60, 200_000), (0, 200_000), (5, 200_000), (6, 200_001), (600, 200_100)] {
        assert_eq!((chain.best(at(seconds)), chain.finalized(at(seconds))), (best, best - 2), "{seconds}");
    }
}

#[test]
fn a_stalled_chain_stands_still_until_it_is_resumed_and_goes_on_from_there() {
    let mut chain = polkadot();
    chain.stall(at(60));
    chain.stall(at(90));
    assert_eq!(chain.best(at(600)), 200_010);
    chain.resume(at(660));
    chain.resume(at(900));
    assert_eq!(chain.best(at(660)), 200_010);
    assert_eq!(chain.best(at(720)), 200_020);
    assert_eq!(chain.best(at(30)), 200_005, "the past does not change");
    chain.stall(at(1260));
    assert_eq!(chain.best(at(9999)), 200_110);
}

#[test]
fn a_blocks_hash_leads_back_to_its_height_on_its_own_chain_only() {
    let (polkadot, kusama) = (polkadot(), Chain::new("kusama", at(0), 0));
    let hash = polkadot.hash(200_003);
    assert_eq!(hash.len(), 66);
    assert_eq!(polkadot.height_of(&hash), Some(200_003));
    assert_eq!(kusama.height_of(&hash), None);
    assert_eq!(polkadot.height_of("0x12"), None);
}

// The command line.

#[test]
fn every_era_takes_its_own_flags_and_refuses_those_of_the_others() {
    let legacy = format!("/dns4/s/tcp/30333/p2p/{SENTRY_LEGACY_ID}");
    let modern = format!("/dns4/s/tcp/30333/p2p/{SENTRY_ID}");
    for (tag, known, unknown) in [
        ("v0.7.28", format!("--sentry --ws-port 9944 --reserved-nodes {legacy}"), "--rpc-methods=safe"),
        ("v0.7.29", format!("--sentry {legacy} --sentry-nodes={legacy}"), "--rpc-methods=safe"),
        ("v0.8.28", format!("--sentry={modern} --rpc-methods Safe"), "--no-hardware-benchmarks"),
        ("v0.8.29", "--ws-port=9944 --unsafe-ws-external".into(), "--sentry"),
        ("v0.9.0", "--pruning=1000 --unsafe-pruning --sync warp".into(), "--state-pruning=1000"),
        ("v0.9.42", "--ws-port 1 --database paritydb --no-hardware-benchmarks".into(), "--sentry-nodes=x"),
        ("v0.9.43", "--pruning archive-canonical --blocks-pruning 256".into(), "--ws-port=9944"),
        ("v1.0.0", "--validator --unsafe-rpc-external".into(), "--insecure-validator-i-know-what-i-do"),
        ("v1.10.0", "--insecure-validator-i-know-what-i-do".into(), "--unsafe-force-node-key-generation"),
        ("v1.11.0", "--validator --unsafe-force-node-key-generation".into(), "--network-backend=litep2p"),
        (NEWEST, "--network-backend litep2p --rpc-listen-addrs 0.0.0.0:9944".into(), "--unsafe-ws-external"),
        ("latest", "--state-pruning=archive -d /data -l=info".into(), "--ws-port"),
    ] {
        start(tag, &known).unwrap_or_else(|crash| panic!("{tag}: {crash}"));
        let crash = start(tag, unknown).unwrap_err();
        let name = unknown.split('=').next().unwrap();
        assert_eq!(crash.exit_code, 2, "{tag}");
        assert!(
            crash.message.starts_with(&format!("error: unexpected argument '{name}' found\n")),
            "{crash}"
        );
    }
}

#[test]
fn a_command_line_that_a_person_gets_wrong_is_refused_in_the_clients_words() {
    let long = format!("--name={}", "n".repeat(64));
    let legacy = format!("--reserved-nodes=/dns/s/tcp/30333/p2p/{SENTRY_LEGACY_ID}");
    for (tag, args, code, words) in [
        (
            NEWEST,
            "--port=1 --listen-addr=/ip4/0.0.0.0/tcp/1",
            2,
            "'--port <PORT>' cannot be used with '--listen-addr",
        ),
        ("v0.7.28", "--validator --sentry", 2, "the argument '--sentry' cannot be used with '--validator'"),
        (NEWEST, "--name=a --name=b", 2, "the argument '--name <NAME>' cannot be used multiple times"),
        (NEWEST, "--validator=yes", 2, "unexpected value 'yes' for '--validator' found"),
        (NEWEST, "--rpc-port --validator", 2, "a value is required for '--rpc-port <PORT>' but none"),
        (NEWEST, "--rpc-port=70000", 2, "invalid value '70000' for '--rpc-port <PORT>'"),
        (NEWEST, "--rpc-methods=some", 2, "invalid value 'some'"),
        (NEWEST, "--state-pruning=all", 2, "Invalid pruning mode specified"),
        (NEWEST, "--database=paritydb-2", 2, "invalid value 'paritydb-2'"),
        ("v0.9.17", "--database=paritydb", 2, "invalid value 'paritydb'"),
        (NEWEST, "--listen-addr=0.0.0.0:30333", 2, "invalid multiaddress"),
        (NEWEST, "--reserved-nodes=/dns/s/tcp/30333", 2, "Peer id is missing from the address"),
        (NEWEST, &legacy, 2, "Peer id at the end of the address is invalid"),
        (NEWEST, "polkadot --validator", 2, "unrecognized subcommand 'polkadot'"),
        (NEWEST, "-x", 2, "unexpected argument '-x' found"),
        (NEWEST, "--validator --rpc-external", 1, "--rpc-external option shouldn't be used"),
        (
            "v0.9.42",
            "--validator --ws-external --rpc-methods=safe",
            1,
            "--ws-external option shouldn't be used",
        ),
        ("v0.8.28", "--validator --pruning=1000", 1, "--unsafe-pruning"),
        (NEWEST, &long, 1, "Node name too long"),
        ("v0.9.42", "--name=nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", 1, "Node name too long"),
        (NEWEST, "--name=a.b", 1, "Node name should not contain invalid chars"),
        (NEWEST, "--name=https:x", 1, "Node name should not contain urls"),
        (NEWEST, "--node-key=12", 1, "Invalid node key"),
    ] {
        let crash = start(tag, args).err().unwrap_or_else(|| panic!("{tag} takes {args}"));
        assert_eq!(crash.exit_code, code, "{crash}");
        assert!(crash.message.contains(words), "{args}: {crash}");
    }
}

#[test]
fn a_validators_rpc_may_be_external_when_that_is_said_twice() {
    for args in ["--validator --rpc-external --rpc-methods=unsafe", "--validator --unsafe-rpc-external"] {
        start(NEWEST, &format!("{args} --node-key-file=/key")).unwrap();
    }
}

#[test]
fn the_old_operators_command_lines_start_its_own_client_and_no_later_one() {
    let common = "--name IronoaSentry --port 30333 --rpc-port 9933 --ws-port 9944 --unsafe-rpc-external \
                  --unsafe-ws-external --rpc-cors=all -d=/data";
    let sentry = format!(
        "--node-key {SENTRY_KEY} {common} --sentry --reserved-nodes /dns4/validator-service/tcp/30333/p2p/{SENTRY_LEGACY_ID}"
    );
    let validator = format!("--node-key {VALIDATOR_KEY} {common} --validator --reserved-only");
    for args in [&sentry, &validator] {
        start("v0.7.28", args).unwrap_or_else(|crash| panic!("{crash}"));
        for tag in ["latest", "v0.9.43", NEWEST] {
            let crash = start(tag, args).unwrap_err();
            assert_eq!(crash.exit_code, 2);
            assert!(crash.message.contains("'--ws-port'"), "{crash}");
        }
    }
    // Here the switch that it was wants a value, and later it is gone.
    for tag in ["v0.7.29", "v0.9.42"] {
        let crash = start(tag, &sentry).unwrap_err();
        assert!(crash.message.contains("'--sentry"), "{tag}: {crash}");
    }
}

#[test]
fn what_we_render_is_accepted() {
    let mut polkadot: Polkadot =
        serde_yaml::from_str(include_str!("../../../tests/samples/sentry-and-validator.yaml")).unwrap();
    let keys: Keys = [(Role::Sentry, SENTRY_KEY), (Role::Validator, VALIDATOR_KEY)]
        .map(|(role, key)| ((role, 0), NodeKey::from_hex(key).unwrap()))
        .into();
    for tag in ["v0.9.43", "v1.0.0", "v1.11.0", NEWEST, "latest"] {
        for (role, secure) in [(Role::Sentry, false), (Role::Validator, false), (Role::Validator, true)] {
            polkadot.spec.client_version = Some(tag.into());
            polkadot.spec.secure_communication_support.enabled = secure;
            let args = arguments::arguments(
                &Basis {
                    polkadot: &polkadot,
                    settings: &Settings::default(),
                    keys: &keys,
                    version: desired::client(&polkadot).unwrap(),
                    inherited: &Inherited::default(),
                },
                role,
            );
            let key = keys[&(role, 0)].to_hex();
            let node = start_with(tag, &args, Some(key.as_bytes()), |_| ())
                .unwrap_or_else(|crash| panic!("{tag} {role}: {crash}"));
            assert_eq!(node.peer_id(), keys[&(role, 0)].peer_id());
        }
    }
}

#[test]
fn a_validator_from_1_11_on_does_not_start_without_its_key() {
    let start = |tag, args, key: Option<&[u8]>| start_with(tag, &words(args), key, |_| ());
    let args = "--validator --node-key-file=/keys/node-key";
    for (tag, args) in [
        ("v1.10.0", args),
        ("v1.11.0", "--node-key-file=/keys/node-key"),
        ("v1.11.0", "--validator --unsafe-force-node-key-generation"),
    ] {
        start(tag, args, None).unwrap_or_else(|crash| panic!("{tag} {args}: {crash}"));
    }
    for tag in ["v1.11.0", NEWEST, "latest"] {
        let crash = start(tag, args, None).unwrap_err();
        assert_eq!(crash.exit_code, 1);
        assert!(crash.message.contains("NetworkKeyNotFound"), "{crash}");
    }
}

#[test]
fn a_key_file_holds_32_bytes_or_64_digits_and_nothing_else() {
    let start = |key: &[u8]| start_with(NEWEST, &words("--node-key-file=/key"), Some(key), |_| ());
    let raw = hex::decode(SENTRY_KEY).unwrap();
    for key in [SENTRY_KEY.as_bytes(), &raw] {
        assert_eq!(start(key).unwrap().peer_id(), SENTRY_ID);
    }
    for key in [format!("{SENTRY_KEY}\n").as_bytes(), b"", &raw[1..]] {
        let crash = start(key).unwrap_err();
        assert_eq!(crash.exit_code, 1);
        assert!(!crash.message.contains("0013"), "a key is not printed");
    }
}

#[test]
fn a_peer_id_is_in_the_encoding_of_the_era() {
    let args = format!("--node-key={SENTRY_KEY}");
    for (tag, id) in [("v0.7.33", SENTRY_LEGACY_ID), ("v0.8.0", SENTRY_ID), (NEWEST, SENTRY_ID)] {
        assert_eq!(start(tag, &args).unwrap().peer_id(), id);
    }
}

#[test]
fn a_version_that_crashes_does_so_with_a_panic_after_it_has_read_its_arguments() {
    let crash = start_with(NEWEST, &[], None, |start| start.behaviour = Behaviour::CrashLoop).unwrap_err();
    assert_eq!(crash.exit_code, 1);
    assert!(crash.message.contains("Version: 1.18.0-") && crash.message.contains("panicked at"), "{crash}");
    let unread = words("--sentry");
    assert_eq!(start_with(NEWEST, &unread, None, |_| ()).unwrap_err().exit_code, 2);
}

// The state.

#[test]
fn peers_come_within_twenty_seconds_and_vary_without_getting_few() {
    let node = running("", |_| ());
    assert_eq!(node.peers(at(0)), 0);
    assert!((1..5).contains(&node.peers(at(2))));
    let counts: Vec<_> = (20..3600).map(|seconds| node.peers(at(seconds))).collect();
    assert!(counts.iter().all(|count| (5..30).contains(count)), "{counts:?}");
    assert!(counts.iter().any(|count| *count != counts[0]));
    let other = running("", |start| start.instance = 8);
    assert!((20..3600).any(|seconds| other.peers(at(seconds)) != node.peers(at(seconds))));
}

#[test]
fn a_node_that_wants_reserved_peers_only_has_no_others() {
    let peer = format!("--reserved-nodes=/dns/s/tcp/30333/p2p/{SENTRY_ID}");
    let node = running(&format!("--reserved-only {peer} {peer} {peer}"), |_| ());
    assert!((20..3600).all(|seconds| node.peers(at(seconds)) == 3));
    let alone = running("--reserved-only", |start| start.restored_height = Some(100));
    assert_eq!((alone.peers(at(600)), alone.best(at(600), &polkadot())), (0, 100));
    assert!(!alone.is_major_syncing(at(600), &polkadot()), "it does not know that there is more");
}

#[test]
fn a_fresh_volume_takes_a_minute_and_a_kept_one_seconds() {
    let chain = polkadot();
    let fresh = running("", |start| start.restored_height = None);
    assert!(fresh.is_major_syncing(at(30), &chain));
    assert!((50_000..150_000).contains(&fresh.best(at(30), &chain)));
    assert!(!fresh.is_major_syncing(at(62), &chain));
    assert_eq!(fresh.best(at(62), &chain), chain.best(at(62)));
    let kept = running("", |start| start.restored_height = Some(190_000));
    assert!(kept.is_major_syncing(at(3), &chain));
    assert!(!kept.is_major_syncing(at(6), &chain));
    assert_eq!(kept.restored_height(at(600), &chain), 200_100);
}

#[test]
fn a_version_that_does_not_sync_stays_where_its_volume_was() {
    let node = running("", |start| start.behaviour = Behaviour::NeverSyncs);
    assert_eq!(node.best(at(600), &polkadot()), 200_000);
    assert_eq!(node.sync_target(at(600), &polkadot()), 200_100);
    assert_eq!(ask(&node, 600, "GET", "/health/readiness", "").0, 500);
    assert!(node.peers(at(600)) > 5);
}

#[test]
fn a_version_that_does_not_finalise_follows_the_best_block_alone() {
    let node = running("", |start| start.behaviour = Behaviour::StallsFinality);
    assert_eq!(node.best(at(600), &polkadot()), 200_100);
    assert_eq!(node.finalized(at(600), &polkadot()), 199_998);
    assert_eq!(ask(&node, 600, "GET", "/health/readiness", "").0, 200, "which readiness does not see");
    let sound = running("", |_| ());
    assert_eq!(sound.finalized(at(600), &polkadot()), polkadot().finalized(at(600)));
}

#[test]
fn on_a_stalled_chain_a_sound_node_stands_still_and_is_not_syncing() {
    let mut chain = polkadot();
    chain.stall(at(60));
    let node = running("", |_| ());
    assert_eq!(node.best(at(600), &chain), 200_010);
    assert_eq!(node.finalized(at(600), &chain), 200_008);
    assert!(!node.is_major_syncing(at(600), &chain));
}

// The answers.

#[test]
fn a_port_answers_whom_it_is_bound_for() {
    let listens = |node: &Node, port, from_loopback| {
        let request = Request { port, method: "GET", path: "/health", body: b"", from_loopback };
        node.answer(at(60), &polkadot(), &request).map(|answer| answer.status)
    };
    let node = running("", |_| ());
    assert_eq!(listens(&node, 9944, true), Some(200));
    assert_eq!(listens(&node, 9615, true), Some(404), "metrics have their own port");
    assert_eq!([9944, 9615].map(|port| listens(&node, port, false)), [None; 2]);
    assert_eq!([9933, 30333].map(|port| listens(&node, port, true)), [None; 2]);
    let open = running("--rpc-external --rpc-port=8000 --prometheus-external --prometheus-port=8001", |_| ());
    assert_eq!([8000, 8001, 9944].map(|port| listens(&open, port, false)), [Some(200), Some(404), None]);
    let closed = running("--no-prometheus --rpc-listen-addrs 0.0.0.0:1 127.0.0.1:2", |_| ());
    assert_eq!([1, 2, 9615].map(|port| listens(&closed, port, false)), [Some(200), None, None]);
    assert_eq!(listens(&closed, 2, true), Some(200));
    let split = start("v0.9.42", "--unsafe-ws-external").unwrap();
    assert_eq!([9933, 9944].map(|port| listens(&split, port, true)), [Some(200), Some(400)]);
    assert_eq!([9933, 9944].map(|port| listens(&split, port, false)), [None, Some(400)]);
}

#[test]
fn health_is_always_ok_and_readiness_says_whether_it_is_so() {
    let node = running("", |start| start.restored_height = None);
    let health =
        |seconds| serde_json::from_str::<Value>(&ask(&node, seconds, "GET", "/health", "").1).unwrap();
    assert_eq!(health(0), json!({"peers": 0, "isSyncing": false, "shouldHavePeers": true}));
    assert_eq!(health(30)["isSyncing"], true);
    assert_eq!(health(90)["isSyncing"], false);
    for (seconds, status) in [(0, 500), (30, 500), (90, 200)] {
        assert_eq!(ask(&node, seconds, "GET", "/health/readiness", ""), (status, String::new()), "{seconds}");
    }
    assert_eq!(ask(&start("v1.14.0", "").unwrap(), 90, "GET", "/health/readiness", "").0, 200);
    let before = start("v1.13.0", "").unwrap();
    assert_eq!(ask(&before, 90, "GET", "/health/readiness", "").0, 405);
    assert_eq!(ask(&before, 90, "GET", "/health", "").0, 200);
}

#[test]
fn calls_are_answered_with_what_the_node_knows() {
    let node = start(NEWEST, "--validator --node-key-file=/key").unwrap();
    let result = |method: &str, params: Value| result(&node, 600, method, &params);
    assert!(result("system_version", json!([])).as_str().unwrap().starts_with("1.18.0-"));
    assert_eq!(result("system_localPeerId", json!([])), SENTRY_ID);
    assert_eq!(result("system_chain", json!([])), "Polkadot");
    assert_eq!(result("system_nodeRoles", json!([])), json!(["Authority"]));
    assert_eq!(
        result("system_syncState", json!([])),
        json!({"startingBlock": 200_000, "currentBlock": 200_100, "highestBlock": 200_100})
    );
    assert_eq!(result("chain_getHeader", json!([]))["number"], "0x30da4");
    let finalized = result("chain_getFinalizedHead", json!([]));
    let header = result("chain_getHeader", json!([finalized]));
    assert_eq!(header["number"], "0x30da2");
    assert_eq!(header["parentHash"], polkadot().hash(200_097));
    assert_eq!(result("chain_getBlockHash", json!([200_098])), finalized);
    assert_eq!(result("chain_getBlockHash", json!([[200_098, "0x30da5"]])), json!([finalized, null]));
    assert_eq!(
        result("chain_getHeader", json!([polkadot().hash(200_101)])),
        Value::Null,
        "it has no such block"
    );
}

#[test]
fn calls_that_are_none_are_answered_with_the_errors_of_json_rpc() {
    let node = running("", |_| ());
    let error = |body: &str| {
        let answer: Value = serde_json::from_str(&ask(&node, 60, "POST", "/", body).1).unwrap();
        (answer["error"]["code"].as_i64().unwrap(), answer["id"].clone())
    };
    assert_eq!(error("{"), (-32700, Value::Null));
    assert_eq!(error("[]"), (-32600, Value::Null));
    assert_eq!(error("{\"id\": 3}"), (-32600, json!(3)));
    assert_eq!(
        error("{\"jsonrpc\": \"2.0\", \"id\": \"a\", \"method\": \"author_nothing\"}"),
        (-32601, json!("a"))
    );
    let wrong = json!({"jsonrpc": "2.0", "id": 1, "method": "chain_getBlockHash", "params": ["200"]});
    assert_eq!(error(&wrong.to_string()), (-32602, json!(1)));
    assert_eq!(ask(&node, 60, "GET", "/", "").0, 405);
}

#[test]
fn a_batch_is_answered_call_by_call_and_a_notification_not_at_all() {
    let node = running("", |_| ());
    let health = |id| json!({"jsonrpc": "2.0", "id": id, "method": "system_health"});
    let notification = json!({"jsonrpc": "2.0", "method": "system_health"});
    let answers = call(&node, 60, &json!([health(1), notification, health(2), 5]));
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2), &Value::Null]);
    assert_eq!(ask(&node, 60, "POST", "/", &notification.to_string()), (200, String::new()));
}

#[test]
fn metrics_have_the_names_of_the_version() {
    let page = |tag: &str| {
        let node =
            start_with(tag, &words("--name=a --validator --node-key-file=/key"), Some(&[1; 32]), |_| ());
        metrics(&node.unwrap(), 600)
    };
    let (legacy, middle, modern) = (page("v0.7.28"), page("v0.9.14"), page("v0.9.16"));
    for (page, line) in [
        (&legacy, "polkadot_block_height_number{status=\"best\"} 200100\n"),
        (&legacy, "name=\"a\",version=\"0.7.28\"} 1\n"),
        (&middle, "polkadot_block_height{status=\"finalized\"} 200098\n"),
        (&middle, "polkadot_process_start_time_seconds 1700000000\n"),
        (&modern, "substrate_block_height{status=\"sync_target\",chain=\"polkadot\"} 200100\n"),
        (&modern, "# TYPE substrate_block_height gauge\n"),
        (&modern, "substrate_build_info{name=\"a\",version=\"0.9.16-"),
        (&modern, "substrate_node_roles{chain=\"polkadot\"} 4\n"),
        (&modern, "substrate_sub_libp2p_is_major_syncing{chain=\"polkadot\"} 0\n"),
        (&modern, "substrate_sub_libp2p_peers_count{chain=\"polkadot\"} "),
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    assert!(!legacy.contains("process_start_time"));
    assert!(page("stable2606-1").contains("version=\"1.24.0-"), "1.23 was skipped");
    assert!(page("latest").contains("version=\"1.26.0-"), "what is unknown is the newest known");
}

#[test]
fn without_a_chain_in_its_arguments_a_node_is_on_its_versions_default() {
    for (tag, args, chain) in [
        ("v0.7.33", "", "kusama"),
        ("v0.8.0", "", "polkadot"),
        (NEWEST, "", "polkadot"),
        (NEWEST, "--chain=westend", "westend"),
    ] {
        assert_eq!(start(tag, args).unwrap().chain(), chain, "{tag}");
    }
}
