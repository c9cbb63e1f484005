//! One simulated cluster: its state behind one lock, its front for requests, its faults, and a record of who asked what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use jiff::Timestamp;
use tokio::sync::watch;

use super::api::{self, Answer, Head, State, Status, Target, Watch};
use super::controllers::operation;
use super::faults::{ApiFault, Faults};
use super::kinds::Catalogue;
use super::runtime::Runtime;
use crate::clock::Clock;

/// Requests that are remembered.
const REMEMBERED: usize = 20_000;

/// The connection was cut: the cluster is unreachable.
#[derive(Debug, thiserror::Error)]
#[error("the simulated cluster cannot be reached")]
pub struct Cut;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The program that asked.
    pub agent: String,
    /// The whole of its user agent.
    pub by: String,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

/// A simulated cluster; clones are the same cluster.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    name: String,
    clock: Clock,
    state: Mutex<State>,
    runtime: Mutex<Runtime>,
    revision: watch::Sender<u64>,
    faults: watch::Sender<Faults>,
    /// Counts how often all watches were dropped.
    drops: AtomicU64,
    /// How far everybody has read who reads along.
    readers: Mutex<BTreeMap<u64, u64>>,
    asked: Mutex<VecDeque<Asked>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// A cluster with nothing in it but what every cluster has; [`super::controllers::run`] brings it to life.
    #[must_use]
    pub fn new(name: &str, clock: Clock, catalogue: Arc<Catalogue>, runtime: Runtime) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            clock,
            state: Mutex::new(State::new(catalogue)),
            runtime: Mutex::new(runtime),
            revision: watch::Sender::new(0),
            faults: watch::Sender::new(Faults::default()),
            drops: AtomicU64::new(0),
            readers: Mutex::new(BTreeMap::new()),
            asked: Mutex::new(VecDeque::new()),
        }))
    }

    /// Puts in what every cluster has: the usual namespaces, three nodes, and storage classes.
    pub(super) fn furnish(&self) {
        let now = self.now();
        self.with(|state| {
            for (group, kind, name, rest) in furniture() {
                let Some(kind) = state.kind(group, kind) else { continue };
                let mut object = rest;
                object["metadata"] = serde_json::json!({"name": name});
                let on = operation(&kind, "", "", "", "sandbox", now);
                // The names are fixed, and there was nothing before. A status is not taken on creation.
                let created = state.create(&on, object.clone());
                if let (Ok(mut done), true) = (created, object["status"].is_object()) {
                    done.object["status"] = object["status"].take();
                    let name = api::text(&done.object, &["metadata", "name"]).to_owned();
                    let _ = state.update(&operation(&kind, "", &name, "status", "sandbox", now), done.object);
                }
            }
        });
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Fleet time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Looks at the state, or changes it; whoever watches is told.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.0.state);
        let before = state.store.revision();
        let result = act(&mut state);
        let after = state.store.revision();
        if after != before {
            // What is still to be read is kept; so is the past that a fault shows.
            let slowest = lock(&self.0.readers).values().copied().chain(state.stale()).min();
            state.store.trim(slowest.unwrap_or(after));
        }
        drop(state);
        if after != before {
            self.0.revision.send_replace(after);
        }
        result
    }

    /// The containers and chain nodes behind the pods.
    pub fn runtime<T>(&self, act: impl FnOnce(&mut Runtime) -> T) -> T {
        act(&mut lock(&self.0.runtime))
    }

    /// Changes what is wrong with this cluster.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.0.faults.send_modify(change);
        let versions = self.0.faults.borrow().versions.clone();
        let stale = self.0.faults.borrow().api == ApiFault::Stale;
        self.runtime(|runtime| runtime.set_version_faults(versions));
        self.with(|state| state.set_stale(stale));
        // Kubelets look again.
        self.0.revision.send_modify(|_| {});
    }

    /// Ends every open watch, as an API server does that is restarted.
    pub fn drop_watches(&self) {
        self.0.drops.fetch_add(1, Ordering::SeqCst);
        self.0.faults.send_modify(|_| {});
    }

    /// Forgets the past: a watch that is behind gets 410 Gone.
    pub fn compact(&self) {
        self.with(|state| state.store.compact());
    }

    /// Everything asked so far, oldest first.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.0.asked).iter().cloned().collect()
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    pub(super) fn fault_changes(&self) -> watch::Receiver<Faults> {
        self.0.faults.subscribe()
    }

    pub(super) fn drops(&self) -> u64 {
        self.0.drops.load(Ordering::SeqCst)
    }

    /// Somebody who reads the changes after `from`, or after now.
    pub(super) fn reader(&self, from: Option<u64>) -> Reader {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let position = from.unwrap_or_else(|| self.with(|state| state.store.revision()));
        lock(&self.0.readers).insert(id, position);
        Reader { cluster: self.clone(), id, position }
    }

    /// A client that no fault can stop, for whoever arranges the simulation.
    #[must_use]
    pub fn backstage(&self, agent: &str) -> kube::Client {
        kube::Client::new(self.service_of(agent, true), "default")
    }

    /// A client in the same process, without a connection; `agent` is how its requests are remembered.
    #[must_use]
    pub fn client(&self, agent: &str) -> kube::Client {
        kube::Client::new(self.service(agent), "default")
    }

    /// What such a client sends its requests to.
    pub fn service(
        &self,
        agent: &str,
    ) -> impl tower::Service<
        Request<kube::client::Body>,
        Response = Response<Body>,
        Error = Cut,
        Future: Send + 'static,
    > + Send
    + 'static {
        self.service_of(agent, false)
    }

    fn service_of(
        &self,
        agent: &str,
        past_faults: bool,
    ) -> impl tower::Service<
        Request<kube::client::Body>,
        Response = Response<Body>,
        Error = Cut,
        Future: Send + 'static,
    > + Send
    + 'static {
        let (cluster, agent) = (self.clone(), agent.to_owned());
        tower::service_fn(move |mut request: Request<kube::client::Body>| {
            let cluster = cluster.clone();
            if let Ok(agent) = agent.parse() {
                request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
            }
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
                let request = Request::from_parts(parts, body);
                if past_faults { Ok(cluster.hear(request)) } else { cluster.handle(request).await }
            }
        })
    }

    /// Answers a request, as far as the faults allow.
    pub async fn handle(&self, request: Request<Bytes>) -> Result<Response<Body>, Cut> {
        match self.fault().await? {
            Some(refusal) => {
                let response = refuse(&refusal);
                self.remember(&request, response.status().as_u16());
                Ok(response)
            }
            None => Ok(self.hear(request)),
        }
    }

    fn hear(&self, request: Request<Bytes>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let response = self.answer(Head::of(&parts), &body);
        self.remember(&Request::from_parts(parts, body), response.status().as_u16());
        response
    }

    fn remember(&self, request: &Request<Bytes>, code: u16) {
        let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let by = agent.unwrap_or_default().to_owned();
        let agent = by.split('/').next().unwrap_or_default().to_owned();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let mut asked = lock(&self.0.asked);
        if asked.len() == REMEMBERED {
            asked.pop_front();
        }
        asked.push_back(Asked { agent, by, method, uri, code });
    }

    /// What a fault does to a request: a refusal, a delay, or no answer.
    async fn fault(&self) -> Result<Option<Status>, Cut> {
        let mut faults = self.fault_changes();
        let fault = faults.borrow_and_update().api.clone();
        match fault {
            ApiFault::None | ApiFault::Stale | ApiFault::DropsWatches | ApiFault::Compacts => Ok(None),
            ApiFault::Unreachable => Err(Cut),
            ApiFault::Hangs => {
                // What was swallowed stays swallowed, also when the server is well again.
                let _ = faults.wait_for(|faults| faults.api != ApiFault::Hangs).await;
                Err(Cut)
            }
            ApiFault::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Ok(None)
            }
            ApiFault::Refuses(code) => Ok(Some(Status::refusal(code))),
            ApiFault::Expired => Ok(Some(Status::refusal(401))),
        }
    }

    fn answer(&self, head: Head, body: &[u8]) -> Response<Body> {
        let now = self.now();
        let answer = self.with(|state| api::answer(state, &head, body, now));
        match answer {
            Ok(Answer::Object { code, body, warnings }) => object(code, &body, &warnings),
            Ok(Answer::Text(text)) => respond(200, "text/plain; charset=utf-8", text.into()),
            Ok(Answer::Watch(kind, namespace)) => match Watch::begin(self, kind, namespace, head) {
                Ok(watch) => {
                    let frames = watch.stream().map(|chunk| chunk.map(http_body::Frame::data));
                    let body = StreamBody::new(frames).boxed_unsync();
                    let mut response = Response::new(body);
                    set_type(&mut response, "application/json");
                    response
                }
                Err(status) => refuse(&status),
            },
            Ok(Answer::Proxy(target)) => self.proxy(&head, &target, body),
            Err(status) => refuse(&status),
        }
    }

    /// Hands a request to the chain node in a pod, from outside the pod.
    fn proxy(&self, head: &Head, target: &Target, body: &[u8]) -> Response<Body> {
        let named = target.name.as_deref().unwrap_or_default();
        // `https:name:port` is allowed too; nothing here speaks TLS.
        let named = named.strip_prefix("http:").unwrap_or(named);
        let (name, port) = named.split_once(':').unwrap_or((named, ""));
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let pod = self.with(|state| {
            let kind = state.kind("", "Pod").ok_or_else(Status::no_such_path)?;
            Ok::<_, Status>(state.find(&kind, namespace, name)?.value())
        });
        let cut_off = self.0.faults.borrow().pods_unreachable;
        let answered = pod.and_then(|pod| {
            if cut_off {
                return Err(Status::unavailable(unreachable_pod(&pod, port)));
            }
            let path = format!("/{}", target.rest);
            self.runtime(|runtime| runtime.ask(&pod, port, head.method.as_str(), &path, body, self.now()))
                .ok_or_else(|| Status::unavailable(unreachable_pod(&pod, port)))
        });
        match answered {
            Ok(answer) => respond(answer.status, answer.content_type, answer.body.into()),
            Err(status) => refuse(&status),
        }
    }
}

fn furniture() -> Vec<(&'static str, &'static str, &'static str, serde_json::Value)> {
    use serde_json::json;
    let mut all = vec![];
    for name in ["default", "kube-system"] {
        all.push(("", "Namespace", name, json!({})));
    }
    for name in ["node-1", "node-2", "node-3"] {
        let ready =
            json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated"});
        all.push(("", "Node", name, json!({"status": {"conditions": [ready]}})));
    }
    for name in ["standard", "managed-premium", "local"] {
        all.push((
            "storage.k8s.io",
            "StorageClass",
            name,
            json!({"provisioner": "sandbox.invalid/simulated", "allowVolumeExpansion": name != "local"}),
        ));
    }
    all
}

fn unreachable_pod(pod: &serde_json::Value, port: &str) -> String {
    let ip = api::text(pod, &["status", "podIP"]);
    if ip.is_empty() {
        return "address not allowed".into();
    }
    format!("error trying to reach service: dial tcp {ip}:{port}: connect: connection refused")
}

fn object(code: u16, body: &serde_json::Value, warnings: &[String]) -> Response<Body> {
    let mut response = respond(code, "application/json", body.to_string().into());
    for warning in warnings {
        let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = format!("299 - \"{escaped}\"").parse() {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn refuse(status: &Status) -> Response<Body> {
    let (body, content_type) = status.body();
    let mut response = respond(status.code, content_type, body.into());
    if status.code == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

fn respond(code: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    if let Ok(code) = code.try_into() {
        *response.status_mut() = code;
    }
    set_type(&mut response, content_type);
    response
}

fn set_type(response: &mut Response<Body>, content_type: &'static str) {
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
}

/// Somebody who reads along; what they have not read is not forgotten.
pub struct Reader {
    cluster: Cluster,
    id: u64,
    position: u64,
}

impl Reader {
    /// The last revision read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Everything up to `revision` has been read.
    pub fn moved_to(&mut self, revision: u64) {
        self.position = revision;
        lock(&self.cluster.0.readers).insert(self.id, revision);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.cluster.0.readers).remove(&self.id);
    }
}
