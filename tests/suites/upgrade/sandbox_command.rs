//! `polkafleet sandbox` as a command: what it prints, its exit codes, and what it leaves behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::commands::Ended;
use crate::support::daemon::command;
use crate::support::{PATIENCE, eventually};

/// A sandbox whose files go to a folder of the test's own.
fn sandbox(files: &Path, arguments: &[&str]) -> Command {
    let mut sandbox = command();
    sandbox.arg("sandbox").args(arguments).env("TMPDIR", files).stdin(Stdio::null());
    sandbox
}

/// Plays one to its end: its exit code, and what it said. Whatever it did, it leaves nothing behind.
async fn play(arguments: &'static [&'static str]) -> (i32, String) {
    let files = tempfile::tempdir().unwrap();
    let mut playing = sandbox(files.path(), arguments);
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || playing.output().unwrap()).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(left(files.path()), Vec::<PathBuf>::new(), "{said}");
    (status.code().unwrap(), said)
}

fn left(files: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The folder that a sandbox makes for itself.
fn folder_of(sandbox: &Child, files: &Path) -> PathBuf {
    files.join(format!("polkafleet-sandbox-{}", sandbox.id()))
}

fn terminate(sandbox: &Child) {
    let pid = sandbox.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undisturbed_sandbox_takes_the_upgrade_everywhere_and_exits_with_0() {
    let (code, said) = play(&["--speed", "100"]).await;
    assert_eq!(code, 0, "{said}");
    for words in ["SIMULATION: 3 Kubernetes API servers", "the upgrade to stable2503-7 has come everywhere."]
    {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert!(!said.contains("cannot end") && !said.contains("failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_finalises_nothing_halts_the_sandbox_which_names_it_and_the_reason_and_exits_with_1() {
    let (code, said) = play(&["--speed", "100", "--fail", "production-1=finality-stall"]).await;
    assert_eq!(code, 1, "{said}");
    let ended = said.split_once("SIMULATION: the upgrade to stable2503-7 cannot end: ");
    let why = ended.unwrap_or_else(|| panic!("{said}")).1;
    for words in [
        "1 failed, 0 tolerated (production-1 polkadot/polkadot-cr: ",
        "sentry-sset-0: it has finalised no block since ",
        "polkafleet retry polkadot",
    ] {
        assert!(why.contains(words), "{words:?} in {said}");
    }
    assert!(!why.contains("canary") && !why.contains("production-2"), "nobody else is to blame: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stands_still_pauses_the_sandbox_which_blames_nobody_and_exits_with_1() {
    let (code, said) = play(&["--speed", "200", "--fail", "all=chain-stall"]).await;
    assert_eq!(code, 1, "{said}");
    let ended = said.split_once("SIMULATION: the upgrade to stable2503-7 cannot end: nothing has moved for ");
    // What follows is what to do now.
    let why = ended.unwrap_or_else(|| panic!("{said}")).1.lines().next().unwrap();
    assert!(why.contains("the chain polkadot has finalised no block since "), "{said}");
    let told = said.find("  chain polkadot  STANDS STILL").unwrap_or_else(|| panic!("{said}"));
    assert!(told < said.find("SIMULATION: the upgrade").unwrap(), "as soon as it is seen: {said}");
    // That nothing has failed is said; nothing else is.
    assert!(!why.replace("nothing has failed by it", "").contains("failed"), "{said}");
    for blame in ["tolerated", "HALTED", "FAILED", "not healthy within"] {
        assert!(!said.contains(blame), "{blame:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_the_sandbox_does_not_have_is_told_and_nothing_is_played() {
    let (code, said) = play(&["--fail", "production-9=hang"]).await;
    assert_eq!((code, said.contains("there are: canary, production-1, production-2")), (2, true), "{said}");
    assert!(!said.contains("SIMULATION"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_would_upgrade_nothing_is_refused_and_nothing_is_played() {
    for (version, why) in [
        (&["--upgrade", "stable2503-6"], "is stable2503-6, which the fleet runs at first: nothing would"),
        (&["--upgrade", "stable2412"], "is older than stable2503-6"),
        (&["--upgrade", "latest"], "is not a release tag"),
        (&["--upgrade", "garbage"], "is not a release tag"),
    ] {
        let (code, said) = play(version).await;
        assert_eq!((code, said.contains(why)), (2, true), "{said}");
        assert!(!said.contains("SIMULATION"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_stays_follows_its_fleet_file_and_tells_what_it_refuses() {
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("said");
    let mut playing = sandbox(files.path(), &["--keep", "--clusters", "1"]);
    playing.stdout(std::fs::File::create(&log).unwrap());
    let mut playing = Ended(playing.spawn().unwrap());
    let fleet_file = folder_of(&playing.0, files.path()).join("fleet.yaml");
    let said = || std::fs::read_to_string(&log).unwrap();
    let says = async |words: &str| {
        eventually(&format!("it says {words:?}"), PATIENCE, async || said().contains(words).then_some(()))
            .await;
    };
    says("The fleet stays up").await;
    let text = std::fs::read_to_string(&fleet_file).unwrap();
    std::fs::write(&fleet_file, text.replace("stages:", "stagse:")).unwrap();
    says("fleet.yaml  REFUSED, the last good one goes on: ").await;
    assert!(said().contains("did you mean stages?"), "{}", said());
    std::fs::write(&fleet_file, text.replace("stable2503-7", "stable2503-8")).unwrap();
    says("fleet.yaml  followed: upgrade polkadot to stable2503-8, stages canary, production").await;
    says("canary  validator-sset-0  stable2503-8  ready").await;
    terminate(&playing.0);
    let ended = eventually("it has ended", PATIENCE, async || playing.0.try_wait().unwrap()).await;
    assert!(ended.success(), "the upgrade that it played was through: {ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_ended_right_after_its_start_leaves_no_folder_behind() {
    // Many clusters take their time to be set up.
    for clusters in ["1", "3", "40"].iter().cycle().take(12) {
        let files = tempfile::tempdir().unwrap();
        let mut playing = sandbox(files.path(), &["--clusters", clusters]);
        playing.stdout(Stdio::null()).stderr(Stdio::null());
        let mut playing = Ended(playing.spawn().unwrap());
        let folder = folder_of(&playing.0, files.path());
        // As soon as there is one, and no moment later.
        let begun = std::time::Instant::now();
        while !folder.exists() {
            assert!(begun.elapsed() < PATIENCE, "it makes no folder");
            std::thread::yield_now();
        }
        terminate(&playing.0);
        let ended = eventually("it has ended", PATIENCE, async || playing.0.try_wait().unwrap()).await;
        assert_eq!(left(files.path()), Vec::<PathBuf>::new(), "{clusters} clusters: {ended}");
        assert_eq!(ended.code(), Some(130), "{clusters} clusters: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_ended_while_it_plays_leaves_no_folder_behind() {
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("said");
    let mut playing = sandbox(files.path(), &["--keep"]);
    playing.stdout(std::fs::File::create(&log).unwrap());
    let mut playing = Ended(playing.spawn().unwrap());
    let folder = folder_of(&playing.0, files.path());
    eventually("the fleet is up", PATIENCE, async || {
        std::fs::read_to_string(&log).unwrap().contains("The fleet is up.").then_some(())
    })
    .await;
    assert!(folder.join("fleet.yaml").exists() && folder.join("kubeconfig").exists());
    terminate(&playing.0);
    let ended = eventually("it has ended", PATIENCE, async || playing.0.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(130), "the upgrade was not through: {ended}");
    assert_eq!(left(files.path()), [log], "nothing but what the test itself wrote");
}
