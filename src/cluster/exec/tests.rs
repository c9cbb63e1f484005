//! A plugin's credentials are taken, its failures are named, and none can hold us up.

use super::*;

fn plugin(script: &str) -> AuthInfo {
    serde_json::from_value(json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "env": [{"name": "GREETING", "value": "hello"}], "installHint": "apt install it",
    }}))
    .unwrap()
}

fn says(status: &str) -> AuthInfo {
    plugin(&format!("cat <<END\n{{\"kind\": \"ExecCredential\", \"status\": {status}}}\nEND"))
}

/// As a kubeconfig would show it, secrets and all.
fn shown(auth: &AuthInfo) -> serde_json::Value {
    serde_json::to_value(auth).unwrap()
}

#[test]
fn a_token_is_taken_with_its_end_and_the_plugin_is_done_with() {
    let mut auth = says(r#"{"token": "$GREETING", "expirationTimestamp": "2026-01-02T03:04:05Z"}"#);
    let until = resolve(&mut auth, &Running::default()).unwrap();
    assert_eq!(until, Some("2026-01-02T03:04:05Z".parse().unwrap()));
    assert_eq!(shown(&auth)["token"], "hello");
    assert!(auth.exec.is_none());
}

#[test]
fn a_certificate_is_taken_with_its_key() {
    let mut auth = says(r#"{"clientCertificateData": "CERT", "clientKeyData": "KEY"}"#);
    assert_eq!(resolve(&mut auth, &Running::default()).unwrap(), None);
    assert_eq!(shown(&auth)["client-certificate-data"], "Q0VSVA==");
    assert_eq!(shown(&auth)["client-key-data"], "S0VZ");
}

#[test]
fn without_a_plugin_nothing_changes() {
    let mut auth = AuthInfo { username: Some("somebody".into()), ..AuthInfo::default() };
    assert_eq!(resolve(&mut auth, &Running::default()).unwrap(), None);
    assert_eq!(auth.username.as_deref(), Some("somebody"));
}

#[test]
fn a_failure_says_what_the_plugin_said() {
    let words = |auth: &mut AuthInfo| resolve(auth, &Running::default()).unwrap_err().to_string();
    assert!(words(&mut plugin("echo log in first >&2; exit 7")).contains("log in first"));
    assert!(words(&mut says("{}")).contains("it has neither"));
    assert!(words(&mut plugin("echo hello")).contains("no ExecCredential"));
    let mut missing = plugin("");
    missing.exec.as_mut().unwrap().command = Some("no-such-plugin-anywhere".into());
    let said = words(&mut missing);
    assert!(said.contains("no-such-plugin-anywhere") && said.contains("apt install it"), "{said}");
}

#[test]
fn a_plugin_that_hangs_is_killed() {
    let exec = plugin("exec sleep 600").exec.unwrap();
    let begun = Instant::now();
    let failed = run(&exec, "sh", Duration::from_millis(100), &Running::default()).unwrap_err();
    assert!(matches!(failed, Error::Hung { .. }), "{failed}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_a_plugin_that_hangs_has_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Its end comes when the last who could write has gone.
    let ended = read(Some(Later(pipe.clone())));
    let exec = plugin(&format!("(exec sleep 600 > {}) & wait", pipe.display())).exec.unwrap();
    assert!(matches!(
        run(&exec, "sh", Duration::from_millis(500), &Running::default()),
        Err(Error::Hung { .. })
    ));
    assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Err(mpsc::RecvTimeoutError::Disconnected));
}

/// A file that is opened when it is read: a pipe waits for its writer.
struct Later(std::path::PathBuf);

impl Read for Later {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        std::fs::read(&self.0).map(|said| said.len())
    }
}

#[test]
fn what_a_plugin_said_counts_although_something_that_it_left_behind_holds_the_pipe() {
    let mut auth = plugin("echo '{\"status\": {\"token\": \"x\"}}'; sleep 20 &");
    resolve(&mut auth, &Running::default()).unwrap();
    assert_eq!(shown(&auth)["token"], "x");
}

#[test]
fn a_plugin_that_says_a_great_deal_does_not_block() {
    let mut auth = plugin("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1");
    assert!(resolve(&mut auth, &Running::default()).unwrap_err().to_string().len() < 1000);
}

#[test]
fn a_plugin_that_nobody_waits_for_any_more_ends_with_what_it_has_started_and_is_not_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let begun = folder.path().join("begun");
    let script = format!("(exec sleep 600 > {}) & touch {}; wait", pipe.display(), begun.display());
    let mut auth = plugin(&script);
    let again = auth.clone();
    let pipe_ends = read(Some(Later(pipe)));
    let running = Running::default();
    let waiting = running.awaited();
    let (ended, ends) = mpsc::channel();
    let its = running.clone();
    thread::spawn(move || ended.send(resolve(&mut auth, &its).unwrap_err().to_string()));
    let until = Instant::now() + BOUND / 2;
    while !begun.exists() {
        assert!(Instant::now() < until, "the plugin has not begun");
        thread::sleep(LOOK);
    }
    drop(waiting);
    let said = ends.recv_timeout(BOUND / 2).unwrap();
    assert!(said.contains("failed (signal: 9"), "{said}");
    assert_eq!(pipe_ends.recv_timeout(Duration::from_secs(60)), Err(mpsc::RecvTimeoutError::Disconnected));
    let refused = resolve(&mut again.clone(), &running).unwrap_err();
    assert!(matches!(refused, Error::Unwanted(_)), "{refused}");
}
