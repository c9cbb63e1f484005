//! Runs the exec plugin of a kubeconfig: once, within a time limit, without the daemon's terminal. kube's own way runs it
//! three times for each client, and waits for ever.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::config::{AuthInfo, ExecConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::json;

/// A plugin asks an identity provider, and that takes its time.
const BOUND: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A plugin that was killed ends at once, unless the system itself hangs with it.
const KILLED: Duration = Duration::from_secs(1);
/// Of what it says of a failure, so much is passed on.
const WORDS: usize = 500;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to run.
    #[error("it names no command")]
    NoCommand,
    /// The command cannot be run.
    #[error("{0:?} cannot be run ({1}); {how}{2}", how = how_to_run(.1))]
    Start(String, #[source] std::io::Error, String),
    /// Nobody waits for it any more.
    #[error("{0:?} was not run: what it is for has ended")]
    Unwanted(String),
    /// It did not end.
    #[error("{command:?} took more than {} s and was killed; run it by hand to see what it waits for", BOUND.as_secs())]
    Hung {
        /// What was run.
        command: String,
    },
    /// It ended badly.
    #[error("{0:?} failed ({1}): {2}")]
    Failed(String, String, String),
    /// What it said is no credential.
    #[error("what {0:?} said is no ExecCredential with a token or a certificate: {1}")]
    Answer(String, String),
}

impl Error {
    /// The same without what the plugin said: with some, that is the whole request, and its credentials.
    pub(super) fn for_others(&self) -> String {
        match self {
            Self::Failed(name, ended, _) => {
                format!("{name:?} failed ({ended}); what it said is in the log of who ran it")
            }
            Self::Answer(name, _) => {
                format!("what {name:?} said is no ExecCredential with a token or a certificate")
            }
            other => other.to_string(),
        }
    }
}

/// A plugin that is to run, or runs: whether somebody still waits for it. It has a thread to itself, which nobody can end,
/// and which may hang in the plugin's very start: that thread alone deals with the process, and looks here.
#[derive(Clone, Default)]
pub(super) struct Running {
    is_unwanted: Arc<AtomicBool>,
}

/// Waits for a plugin; dropped, as at the end of the daemon, it has the plugin end with all that it has started.
pub(super) struct Waiting(Running);

impl Running {
    /// From now on it is waited for.
    pub(super) fn awaited(&self) -> Waiting {
        Waiting(self.clone())
    }

    fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    /// On a thread that serves all clusters: it only leaves word.
    fn drop(&mut self) {
        self.0.is_unwanted.store(true, Ordering::Relaxed);
    }
}

fn how_to_run(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "make it executable for the user that polkafleet runs as",
        _ => "install it where polkafleet runs, or give its whole path in the kubeconfig",
    }
}

#[derive(Deserialize)]
struct Credential {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<Timestamp>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Puts the plugin's credentials in its place; returns when they expire. Blocks.
pub(super) fn resolve(auth: &mut AuthInfo, running: &Running) -> Result<Option<Timestamp>, Error> {
    let Some(exec) = auth.exec.take() else { return Ok(None) };
    let command = exec.command.clone().ok_or(Error::NoCommand)?;
    let said = run(&exec, &command, BOUND, running)?;
    let wrong = |why: String| Error::Answer(command.clone(), why);
    // YAML, of which JSON is a part: some plugins say it.
    let Credential { status } = serde_yaml::from_slice(&said).map_err(|error| {
        // The parser would repeat the value, which may be the token.
        let place = error
            .location()
            .map_or_else(String::new, |at| format!(" at line {}, column {}", at.line(), at.column()));
        wrong(format!("it is no ExecCredential{place}"))
    })?;
    let encode = |pem: String| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(pem)
    };
    // Read as a kubeconfig is: the types of its secrets are kube's own.
    let mut read: AuthInfo = serde_json::from_value(json!({
        "token": status.token,
        "client-certificate-data": status.client_certificate_data.map(encode),
        "client-key-data": status.client_key_data.map(encode),
    }))
    .map_err(|_| wrong("it is no ExecCredential".into()))?;
    if read.token.is_none() && (read.client_certificate_data.is_none() || read.client_key_data.is_none()) {
        return Err(wrong("it has neither".into()));
    }
    auth.token = read.token.take();
    auth.client_certificate_data =
        read.client_certificate_data.take().or(auth.client_certificate_data.take());
    auth.client_key_data = read.client_key_data.take().or(auth.client_key_data.take());
    Ok(status.expiration_timestamp)
}

fn run(exec: &ExecConfig, name: &str, bound: Duration, running: &Running) -> Result<Vec<u8>, Error> {
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let cluster = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info);
    let mut spec = json!({"interactive": false});
    if let Some(cluster) = cluster {
        spec["cluster"] = json!(cluster);
    }
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let hint = exec.install_hint.as_ref().map_or_else(String::new, |hint| format!(" ({})", hint.trim()));
    if running.is_unwanted() {
        return Err(Error::Unwanted(name.to_owned()));
    }
    let mut child = command.spawn().map_err(|error| Error::Start(name.to_owned(), error, hint.clone()))?;
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let ended =
        wait(&mut child, bound, running).map_err(|error| Error::Start(name.to_owned(), error, hint))?;
    let Some(ended) = ended else { return Err(Error::Hung { command: name.to_owned() }) };
    // A grandchild may hold the pipe although the plugin has ended.
    let take = |pipe: mpsc::Receiver<Vec<u8>>| {
        let (mut said, until) = (vec![], Instant::now() + Duration::from_secs(1));
        while let Ok(part) = pipe.recv_timeout(until.saturating_duration_since(Instant::now())) {
            said.extend(part);
        }
        said
    };
    if ended.success() {
        return Ok(take(out));
    }
    let words: String = String::from_utf8_lossy(&take(err)).trim().chars().take(WORDS).collect();
    Err(Error::Failed(name.to_owned(), ended.to_string(), words))
}

/// Waits for the end of a plugin, and kills it when nobody wants it any more; `None` if it took too long.
fn wait(
    child: &mut Child,
    bound: Duration,
    running: &Running,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(Some(ended));
        }
        if running.is_unwanted() {
            kill_all(child)?;
            return end_of(child);
        }
        if begun.elapsed() > bound {
            kill_all(child)?;
            return end_of(child).map(|_| None);
        }
        thread::sleep(LOOK);
    }
}

/// The end of a plugin that was killed; `None` if even that does not end it, as when it hangs in a disk.
fn end_of(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let killed = Instant::now();
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || killed.elapsed() > KILLED {
            return Ok(ended);
        }
        thread::sleep(LOOK);
    }
}

/// Kills a plugin that has not been waited for yet, and all that it has started. It is in our own process group, so that
/// Ctrl-C ends it with us: its descendants are looked for where the system lists them.
fn kill_all(child: &mut Child) -> std::io::Result<()> {
    let mut all = vec![child.id()];
    let mut next = 0;
    while let Some(process) = all.get(next) {
        all.extend(children(*process));
        next += 1;
    }
    child.kill()?;
    for process in all.iter().skip(1).filter_map(|process| Pid::from_raw(i32::try_from(*process).ok()?)) {
        // It may have ended meanwhile.
        let _ = kill_process(process, Signal::KILL);
    }
    Ok(())
}

/// The processes that one has started, by Linux' list of them; elsewhere none are known.
fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let parsed =
        |list: String| list.split_whitespace().filter_map(|one| one.parse().ok()).collect::<Vec<_>>();
    lists.flat_map(parsed).collect()
}

/// Reads a pipe to its end, aside: a plugin that fills one must not wait for us.
fn read(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut part = [0; 4096];
            // What was read until it failed is what there is; nobody may wait for more.
            while let Ok(length @ 1..) = pipe.read(&mut part) {
                if sender.send(part[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests;
