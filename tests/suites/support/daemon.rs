//! The daemon as its user runs it: a process with a fleet file, killed when the test ends.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running daemon.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it on a fleet file; what it says goes to a file beside that.
    pub fn start(fleet: &std::path::Path) -> Self {
        let log = fleet.with_extension("log");
        let out = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command()
            .args(["run", "--fleet"])
            .arg(fleet)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Everything it has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let from = said.len().saturating_sub(6000);
            eprintln!("the daemon's last words:\n{}", said.get(from..).unwrap_or(&said));
        }
    }
}

/// The binary under test, in an environment of its own.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polkafleet"));
    command
        .env_clear()
        .env("HOME", std::env::temp_dir())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
