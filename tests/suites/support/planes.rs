//! Real control planes, started once for all tests of a run and stopped with it: the script ends when our end of its
//! standard input is gone, however this process ends.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// As many as any test needs.
pub const COUNT: usize = 4;

/// Running control planes.
pub struct Planes {
    /// Their folder: `cluster-N/admin.kubeconfig`, `cluster-N/audit.log`.
    pub folder: PathBuf,
    _script: Child,
}

/// The control planes of this run; `None` (and loud words) where they cannot be had, which on CI is a failure.
pub fn shared() -> Option<&'static Planes> {
    static PLANES: OnceLock<Option<Planes>> = OnceLock::new();
    PLANES.get_or_init(start).as_ref()
}

/// The kubectl that belongs to them.
pub fn kubectl() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/control-plane");
    let said = Command::new(script).arg("which").arg("kubectl").output().expect("scripts/control-plane runs");
    String::from_utf8(said.stdout).expect("a path is text").trim_end().into()
}

fn start() -> Option<Planes> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/control-plane");
    let built = Command::new(script).arg("build").status().expect("scripts/control-plane runs");
    if built.code() == Some(3) && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: the tests on real control planes need Go or KUBEBUILDER_ASSETS; see above");
        return None;
    }
    assert!(built.success(), "scripts/control-plane build failed");
    let folder = std::env::temp_dir().join(format!("polkafleet-planes-{}", std::process::id()));
    let mut script = Command::new(script)
        .args(["serve", &COUNT.to_string()])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/control-plane runs");
    let said = BufReader::new(script.stdout.take().expect("it was piped"));
    let ready = said.lines().map_while(Result::ok).any(|line| line == "ready");
    assert!(ready, "the control planes did not become ready");
    Some(Planes { folder, _script: script })
}
