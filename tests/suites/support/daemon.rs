//! The daemon: as its user runs it, a process with a fleet file; or, on simulated clusters, inside the test, on threads
//! and a clock of its own. Either way it is killed when the test ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use opentelemetry_sdk::trace::SdkTracerProvider;
use polkafleet::clock::Clock;
use polkafleet::cluster::connect::Connect;
use polkafleet::cluster::limits::Limits;
use polkafleet::daemon;
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::connect::InProcess;
use polkafleet::telemetry::traces;
use tokio::runtime::Runtime;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

/// A running daemon.
pub enum Daemon {
    Process {
        child: Child,
        log: PathBuf,
    },
    Inside {
        runtimes: Vec<Runtime>,
        daemon: Arc<daemon::Daemon>,
        log: Log,
        traces: Option<SdkTracerProvider>,
    },
}

/// What a daemon inside the test has said.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Daemon {
    /// Starts it on a fleet file; what it says goes to a file beside that.
    pub fn process(fleet: &Path) -> Self {
        // Two daemons on one file do not write into one log.
        let log = fleet.with_extension(format!("{:08x}.log", rand::random::<u32>()));
        Self::spawned(command().args(["run", "--fleet"]).arg(fleet), log)
    }

    /// Starts it by a command of the test's own; what it says goes to `log`.
    pub fn spawned(command: &mut Command, log: PathBuf) -> Self {
        let out = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out).spawn().unwrap();
        Self::Process { child, log }
    }

    /// Starts it on simulated clusters, in this process.
    pub fn inside(fleet: &Path, clusters: Vec<Cluster>, clock: &Clock) -> Self {
        // A cluster in the same process answers at once or not at all.
        let limits = Limits::default().divided_by(10);
        Self::connected(fleet, Arc::new(InProcess { clusters, limits }), clock)
    }

    /// The same with a way to its clusters of the test's own.
    pub fn connected(fleet: &Path, connect: Arc<dyn Connect>, clock: &Clock) -> Self {
        let log = Log::default();
        let writer = log.clone();
        let sources = Sources { file: Some(fleet.to_owned()), ..Sources::default() };
        let fleet = load(&sources).map_err(|problems| format!("{problems:?}")).unwrap();
        let exporting = Runtime::new().unwrap();
        let entered = exporting.enter();
        let traces =
            fleet.telemetry.otlp_endpoint.as_deref().map(|endpoint| traces::provider(endpoint).unwrap());
        drop(entered);
        let logs = tracing_subscriber::fmt::layer().json().with_writer(move || writer.clone());
        let ours = Targets::new().with_target("polkafleet", LevelFilter::INFO);
        let ours = ours.with_target("polkafleet::log", LevelFilter::OFF);
        let spans = traces.as_ref().map(|provider| traces::layer(provider).with_filter(ours));
        let subscriber = tracing_subscriber::registry().with(spans).with(logs.with_filter(LevelFilter::INFO));
        let dispatch = tracing::Dispatch::new(subscriber);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            // For as long as the thread lives.
            .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        let entered = runtime.enter();
        let daemon = daemon::Daemon::start(fleet, sources, connect, clock);
        drop(entered);
        Self::Inside { runtimes: vec![runtime, exporting], daemon: Arc::new(daemon), log, traces }
    }

    /// Everything it has said.
    pub fn said(&self) -> String {
        match self {
            Self::Process { log, .. } => std::fs::read_to_string(log).unwrap_or_default(),
            Self::Inside { log, .. } => String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned(),
        }
    }

    /// What its planner makes of what is seen; only of one inside the test.
    pub fn plan(&self) -> Arc<polkafleet::upgrade::Plan> {
        match self {
            Self::Inside { daemon, .. } => daemon.plans.borrow().clone(),
            Self::Process { .. } => panic!("a process does not let anybody look at its plan"),
        }
    }

    /// The name by which other daemons know it.
    pub fn name(&self) -> Option<String> {
        if let Self::Inside { daemon, .. } = self {
            return Some(daemon.name.clone());
        }
        let said = self.said();
        let (_, rest) = said.split_once("\"daemon\":\"")?;
        rest.split_once('"').map(|(name, _)| name.to_owned())
    }

    /// SIGSTOP, SIGCONT: it does nothing, and does not know it.
    pub fn signal(&self, signal: &str) {
        let Self::Process { child, .. } = self else { panic!("only a process can be stopped") };
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// SIGKILL, or what comes nearest to it: nothing of it runs on, and nobody is told.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM; whether it ended as it should.
    pub async fn terminate(&mut self) -> bool {
        match self {
            Self::Process { child, .. } => {
                let pid = child.id().to_string();
                assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
                child.wait().unwrap().success()
            }
            Self::Inside { daemon, traces, .. } => {
                let stopped = tokio::time::timeout(super::PATIENCE, daemon.stop()).await.is_ok();
                if let Some(traces) = traces.take() {
                    tokio::task::spawn_blocking(move || traces.shutdown()).await.unwrap().unwrap();
                }
                stopped
            }
        }
    }

    fn end(&mut self) {
        match self {
            Self::Process { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Inside { runtimes, .. } => runtimes.drain(..).for_each(Runtime::shutdown_background),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
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
