//! A server that is asked: over HTTP, and by kubectl.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::cases::Step;
use crate::support::world::prepare;
use crate::support::{PATIENCE, eventually};

/// How long a watch may take to show what it is to show.
const WATCH: Duration = Duration::from_secs(60);

/// How long a request or a command may take that ends by itself, and the code of one that takes longer.
const COMMAND: Duration = Duration::from_secs(30);
const TOO_LONG: i32 = 124;

/// Paths that the cases have names for.
const PATHS: [(&str, &str); 7] = [
    ("core", "/api/v1/namespaces/NS"),
    ("apps", "/apis/apps/v1/namespaces/NS"),
    ("dots", "/apis/polkadot.swisscomblockchain.com/v1alpha1/namespaces/NS/polkadots"),
    ("leases", "/apis/coordination.k8s.io/v1/namespaces/NS/leases"),
    ("policies", "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies"),
    ("budgets", "/apis/policy/v1/namespaces/NS/poddisruptionbudgets"),
    ("events", "/apis/events.k8s.io/v1/namespaces/NS/events"),
];

/// An answer, of HTTP or of kubectl.
pub struct Answer {
    /// The HTTP status, or the exit code.
    pub code: i32,
    /// The content type.
    pub content_type: String,
    /// The `Warning` headers.
    pub warnings: Vec<String>,
    /// JSON, a list of a watch's events, or text.
    pub body: Value,
    /// The answers to what was done during a watch.
    pub meanwhile: Vec<Value>,
}

impl Answer {
    /// All of it.
    pub fn value(&self) -> Value {
        json!({
            "code": self.code, "type": self.content_type, "warnings": self.warnings, "body": self.body,
            "meanwhile": self.meanwhile,
        })
    }
}

/// A server, and what the steps of one subject have learned of it.
pub struct Server {
    client: Client,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    known: BTreeMap<String, String>,
}

impl Server {
    pub async fn new(
        kubeconfig: &Path,
        folder: &Path,
        name: &str,
        kubectl: &Path,
        run: &str,
        namespace: &str,
    ) -> Self {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
        // An answer that tells to try again is an answer.
        config.default_retry = false;
        let mut known =
            BTreeMap::from([("ns".to_owned(), namespace.to_owned()), ("run".to_owned(), run.to_owned())]);
        known.extend(PATHS.map(|(name, path)| (name.to_owned(), path.replace("NS", namespace))));
        Self {
            client: Client::try_from(config).unwrap(),
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: folder.join(format!("home-{name}")),
            known,
        }
    }

    /// Makes the namespace, with the CRD served. On a real server it comes to life by its controllers.
    pub async fn prepare(&mut self, is_real: bool) {
        let namespace = self.known["ns"].clone();
        prepare(&self.client, &namespace).await;
        if is_real {
            let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
                kube::Api::namespaced(self.client.clone(), &namespace);
            eventually("the default ServiceAccount", PATIENCE, async || accounts.get("default").await.ok())
                .await;
        }
    }

    /// Does one step.
    pub async fn ask(&mut self, step: &Step) -> Answer {
        let begun = std::time::Instant::now();
        let answer = loop {
            let answer = if step.is_kubectl() { self.command(step).await } else { self.request(step).await };
            let holds = step.until.iter().all(|(path, value)| answer.body.pointer(path) == Some(value));
            if holds || begun.elapsed() > WATCH {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        for (name, path) in &step.keep {
            let found = answer.body.pointer(path);
            let text = found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            self.known.insert(name.clone(), text.unwrap_or_default());
        }
        answer
    }

    async fn request(&mut self, step: &Step) -> Answer {
        let act = self.filled(&step.act);
        let (method, path) = act.split_once(' ').unwrap();
        let body = match &step.raw {
            Some(raw) => self.filled(raw),
            None if step.body.is_null() => String::new(),
            None => self.filled_value(&step.body).to_string(),
        };
        let mut request = http::Request::builder().method(method).uri(escaped(path));
        request =
            request.header("user-agent", "conformance/1").header("accept", accept(step.accept.as_deref()));
        if !body.is_empty() || step.content_type.is_some() {
            request = request.header("content-type", content_type(step.content_type.as_deref()));
        }
        let response = self.client.send(request.body(Body::from(body.into_bytes())).unwrap()).await.unwrap();
        let header = |name: &str| {
            let all = response.headers().get_all(name).iter();
            all.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let mut answer = Answer {
            code: response.status().as_u16().into(),
            content_type: header("content-type").join(", "),
            warnings: header("warning"),
            body: Value::Null,
            meanwhile: vec![],
        };
        if let (Some(count), 200) = (step.watch, answer.code) {
            let frames = response.into_body();
            answer.body = self.events(frames, count, step, &mut answer.meanwhile).await;
        } else {
            match tokio::time::timeout(COMMAND, response.into_body().collect()).await {
                Ok(body) => answer.body = read(&body.unwrap().to_bytes()),
                Err(_) => answer.code = TOO_LONG,
            }
        }
        answer
    }

    /// The first events of a watch.
    async fn events(
        &mut self,
        mut body: Body,
        count: usize,
        step: &Step,
        meanwhile: &mut Vec<Value>,
    ) -> Value {
        let deadline = tokio::time::Instant::now() + WATCH;
        let (mut text, mut events, mut pending) = (String::new(), vec![], step.then.iter());
        loop {
            while let Some((line, rest)) = text.split_once('\n') {
                events.push(read(line.as_bytes()));
                text = rest.to_owned();
            }
            if events.len() >= count {
                break;
            }
            if !events.is_empty()
                && let Some(next) = pending.next()
            {
                meanwhile.push(Box::pin(self.ask(next)).await.value());
                continue;
            }
            let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, body.frame()).await else {
                events.push(json!("no more"));
                break;
            };
            text += &String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |bytes| bytes));
        }
        json!(events)
    }

    async fn command(&mut self, step: &Step) -> Answer {
        let act = self.filled(&step.act);
        let mut command = Command::new(&self.kubectl);
        command
            .args(words(&act).into_iter().skip(1))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--namespace={}", self.known["ns"]))
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = match (&step.raw, self.filled_value(&step.body)) {
            (Some(raw), _) => self.filled(raw),
            (None, Value::Null) => String::new(),
            (None, Value::Array(all)) => all.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"),
            (None, one) => one.to_string(),
        };
        // A command that reads nothing may have ended already; what is written here fits into the pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let mut meanwhile = vec![];
        let (code, out, err) = if let Some(count) = step.watch {
            let out = self.lines(&mut child, count, step, &mut meanwhile).await;
            child.kill().unwrap();
            child.wait().unwrap();
            (0, out, String::new())
        } else {
            ended(child).await
        };
        let body = json!({"stdout": lines_of(&out), "stderr": lines_of(&err)});
        Answer { code, content_type: String::new(), warnings: vec![], body, meanwhile }
    }

    /// The first lines of a command that watches.
    async fn lines(
        &mut self,
        child: &mut Child,
        count: usize,
        step: &Step,
        meanwhile: &mut Vec<Value>,
    ) -> String {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let deadline = tokio::time::Instant::now() + WATCH;
        let (mut out, mut seen, mut pending) = (String::new(), 0, step.then.iter());
        while seen < count {
            let Ok(Some(line)) = tokio::time::timeout_at(deadline, receiver.recv()).await else {
                out += "no more\n";
                break;
            };
            out += &line;
            out.push('\n');
            seen += 1;
            // The first line is the heading.
            if seen >= 2
                && let Some(next) = pending.next()
            {
                meanwhile.push(Box::pin(self.ask(next)).await.value());
            }
        }
        out
    }

    fn filled(&self, text: &str) -> String {
        let fill =
            |text: String, (name, value): (&String, &String)| text.replace(&format!("{{{name}}}"), value);
        self.known.iter().fold(text.to_owned(), fill)
    }

    fn filled_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.filled(text)),
            Value::Array(items) => items.iter().map(|item| self.filled_value(item)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, value)| (self.filled(key), self.filled_value(value))).collect()
            }
            other => other.clone(),
        }
    }
}

/// What came of a command, which is ended when it takes too long.
async fn ended(mut child: Child) -> (i32, String, String) {
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (out, err) = (all_of(out), all_of(err));
    let begun = std::time::Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        if begun.elapsed() > COMMAND {
            child.kill().unwrap();
            child.wait().unwrap();
            break TOO_LONG;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    (code, out.await.unwrap(), err.await.unwrap())
}

fn all_of(mut pipe: impl std::io::Read + Send + 'static) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_blocking(move || {
        let mut all = vec![];
        pipe.read_to_end(&mut all).unwrap();
        String::from_utf8_lossy(&all).into_owned()
    })
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(bytes)))
}

fn lines_of(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn content_type(short: Option<&str>) -> &str {
    match short {
        None => "application/json",
        Some("merge") => "application/merge-patch+json",
        Some("json") => "application/json-patch+json",
        Some("strategic") => "application/strategic-merge-patch+json",
        Some("apply") => "application/apply-patch+yaml",
        Some(other) => other,
    }
}

fn accept(short: Option<&str>) -> &str {
    match short {
        None => "application/json",
        Some("table") => "application/json;as=Table;v=v1;g=meta.k8s.io",
        Some("partial") => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        Some("partial-list") => "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        Some(other) => other,
    }
}

/// A path as it may stand in a request.
fn escaped(path: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    path.chars().map(|c| if plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) }).collect()
}

/// The words of a command line; single quotes keep one together.
fn words(line: &str) -> Vec<String> {
    let mut quoted = false;
    let split = line.split(move |c: char| {
        quoted ^= c == '\'';
        c == ' ' && !quoted
    });
    split.filter(|word| !word.is_empty()).map(|word| word.replace('\'', "")).collect()
}
