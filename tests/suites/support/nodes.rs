//! Chain nodes for the pods of the real control planes: the sandbox's simulated ones ([`Runtime`]), each on the address and
//! the metrics port of its pod, where the API server's pod proxy looks for it.
//!
//! kwok plays the kubelets: it says that a pod runs, and gives it an address. Whoever listens there has to be on a machine
//! that has all these addresses, and nobody else's: in the network namespace that scripts/netns makes.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as Probe};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use polkafleet::clock::Clock;
use polkafleet::sandbox::faults::VersionFault;
use polkafleet::sandbox::runtime::{Chains, Runtime};
use polkafleet::sandbox::workloads::kubelet::Host as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::PATIENCE;
use super::world::{Gate, Member};

/// An address that is a pod's in tests/control-plane/node.yaml, and that no pod gets.
const LAST_ADDRESS: &str = "10.244.255.254:0";

/// Whether this process can listen for pods: it has their addresses, and no way to any other network. Where not, that is said
/// loudly; on CI it is a failure.
pub fn can_listen() -> bool {
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    // Under a line of headings, and without those of loopback.
    let is_alone = routes.lines().count() == 1;
    if is_alone && Probe::bind(LAST_ADDRESS).is_ok() {
        return true;
    }
    let words = "nodes' health on real control planes is tried in a network namespace only; run scripts/test, or the test by \
                 scripts/netns";
    assert!(std::env::var_os("CI").is_none(), "{words}");
    // Not by a macro: what a test says that passes nobody sees.
    let _ = io::Write::write_all(&mut io::stderr(), format!("SKIPPED: {words}\n").as_bytes());
    false
}

/// The chain nodes of one cluster's pods in a namespace; dropped, they end.
pub struct Nodes {
    machines: Arc<Machines>,
    _playing: AbortOnDropHandle<()>,
}

/// What the nodes run on.
struct Machines {
    runtime: Mutex<Runtime>,
    clock: Clock,
    deaf: watch::Sender<bool>,
}

impl Nodes {
    /// Plays them from now on, at this clock's time and on these chains.
    pub fn play(admin: &Client, namespace: &str, chains: Chains, clock: Clock) -> Self {
        let runtime = Mutex::new(Runtime::new(chains));
        let machines = Arc::new(Machines { runtime, clock, deaf: watch::Sender::new(false) });
        let pods = Api::namespaced(admin.clone(), namespace);
        let secrets = Api::namespaced(admin.clone(), namespace);
        let playing = tokio::spawn(Play::of(Arc::clone(&machines), secrets).follow(pods));
        Self { machines, _playing: AbortOnDropHandle::new(playing) }
    }
}

impl Member {
    /// From its next start on, the nodes of a version have a fault in this cluster.
    pub fn set_version_fault(&self, version: &str, fault: VersionFault) {
        match (&self.gate, &self.nodes) {
            (Gate::Simulated(cluster), _) => cluster.set_faults(|faults| {
                faults.versions.insert(version.into(), fault);
            }),
            (_, Some(nodes)) => {
                nodes.machines.with(|runtime| runtime.set_version_faults([(version.into(), fault)].into()));
            }
            (_, None) => panic!("nobody plays the nodes of {}", self.name),
        }
    }

    /// Whether no node of this cluster can be asked: nobody listens on their ports.
    pub fn set_deaf(&self, deaf: bool) {
        match (&self.gate, &self.nodes) {
            (Gate::Simulated(cluster), _) => cluster.set_faults(|faults| faults.pods_unreachable = deaf),
            (_, Some(nodes)) => drop(nodes.machines.deaf.send_replace(deaf)),
            (_, None) => panic!("nobody plays the nodes of {}", self.name),
        }
    }
}

impl Machines {
    fn with<T>(&self, act: impl FnOnce(&mut Runtime) -> T) -> T {
        act(&mut self.runtime.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Follows the pods of a namespace and gives each its process.
struct Play {
    machines: Arc<Machines>,
    secrets: Api<Secret>,
    /// By the uid of the pod: one made again under the same name is another process.
    processes: BTreeMap<String, Process>,
}

/// What runs in a pod; dropped, it does not listen any more.
struct Process {
    pod: Arc<Value>,
    _listening: Option<AbortOnDropHandle<()>>,
}

impl Play {
    fn of(machines: Arc<Machines>, secrets: Api<Secret>) -> Self {
        Self { machines, secrets, processes: BTreeMap::new() }
    }

    async fn follow(mut self, pods: Api<Pod>) {
        let mut events = pin!(watcher(pods, watcher::Config::default()));
        let mut listed = vec![];
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.look_at(pod).await;
                }
                Ok(Event::InitDone) => {
                    let gone = self.processes.keys().filter(|uid| !listed.contains(uid));
                    gone.cloned().collect::<Vec<_>>().iter().for_each(|uid| self.end(uid));
                }
                Ok(Event::Apply(pod)) => self.look_at(pod).await,
                Ok(Event::Delete(pod)) => self.end(&pod.metadata.uid.unwrap_or_default()),
                Err(error) => eprintln!("the pods whose nodes are played cannot be watched: {error}"),
            }
        }
    }

    async fn look_at(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let status = pod.status.as_ref();
        let runs = status.is_some_and(|status| status.phase.as_deref() == Some("Running"));
        let address = status.and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        let process = self.processes.contains_key(&uid);
        match address.filter(|_| runs && pod.metadata.deletion_timestamp.is_none()) {
            Some(address) if !process => {
                let process = self.start(pod, address).await;
                self.processes.insert(uid, process);
            }
            None if process => self.end(&uid),
            _ => {}
        }
    }

    /// Starts what a pod runs; it listens if it is a chain node that is to be asked from outside its pod.
    async fn start(&self, pod: Pod, address: IpAddr) -> Process {
        let mounted = self.mounted(&pod).await;
        let port = metrics_port(&pod);
        let pod = Arc::new(serde_json::to_value(pod).unwrap());
        let now = self.machines.clock.now();
        let started = self.machines.with(|runtime| {
            runtime.set_secrets(mounted);
            runtime.start(&pod, now)
        });
        if let Err(exit) = started {
            eprintln!("the simulated client in {} ended: {}", pod["metadata"]["name"], exit.message);
        }
        let listening = port.map(|port| Listening {
            machines: Arc::clone(&self.machines),
            pod: Arc::clone(&pod),
            at: SocketAddr::new(address, port),
        });
        let listening = listening.filter(|one| one.answer("GET", "/metrics").is_some());
        let listening = listening.map(|one| AbortOnDropHandle::new(tokio::spawn(one.run())));
        Process { pod, _listening: listening }
    }

    /// The Secrets that a pod mounts.
    async fn mounted(&self, pod: &Pod) -> BTreeMap<(String, String), Value> {
        let mut mounted = BTreeMap::new();
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for name in volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.clone()) {
            let secret = self.secrets.get_opt(&name).await.unwrap_or_default();
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            mounted.extend(secret.map(|secret| ((namespace, name), serde_json::to_value(secret).unwrap())));
        }
        mounted
    }

    /// Ends it; its volume keeps what it had.
    fn end(&mut self, uid: &str) {
        if let Some(process) = self.processes.remove(uid) {
            let now = self.machines.clock.now();
            self.machines.with(|runtime| runtime.stop(&process.pod, now));
        }
    }
}

fn metrics_port(pod: &Pod) -> Option<u16> {
    let ports = pod.spec.as_ref()?.containers.first()?.ports.as_ref()?;
    let port = ports.iter().find(|port| port.name.as_deref() == Some("http-metrics"))?;
    port.container_port.try_into().ok()
}

/// A node's metrics port.
#[derive(Clone)]
struct Listening {
    machines: Arc<Machines>,
    pod: Arc<Value>,
    at: SocketAddr,
}

impl Listening {
    /// Listens whenever the cluster is not deaf.
    async fn run(self) {
        let mut deaf = self.machines.deaf.subscribe();
        while deaf.wait_for(|deaf| !deaf).await.is_ok() {
            let listener = self.bind().await;
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    changed = deaf.wait_for(|deaf| *deaf) => match changed {
                        // With the open connections, which the API server would use again.
                        Ok(_) => break,
                        Err(_) => return,
                    },
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        connections.spawn(self.clone().serve(stream));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }
    }

    /// The address may be that of a pod which is just ending.
    async fn bind(&self) -> TcpListener {
        let begun = Instant::now();
        loop {
            match TcpListener::bind(self.at).await {
                Ok(listener) => return listener,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("no node can listen on {}: {error}", self.at),
            }
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = self.answer(request.method().as_str(), request.uri().path());
            async move { answer.ok_or(io::Error::from(io::ErrorKind::ConnectionReset)) }
        });
        // An error is a client that went away, or a node that ended.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    /// What the node says; `None` where it does not listen on this port.
    fn answer(&self, method: &str, path: &str) -> Option<Response<Full<Bytes>>> {
        let (port, now) = (self.at.port().to_string(), self.machines.clock.now());
        let said = self.machines.with(|runtime| runtime.ask(&self.pod, &port, method, path, &[], now))?;
        let response = Response::builder().status(said.status);
        let response = response.header(header::CONTENT_TYPE, said.content_type);
        Some(response.body(said.body.into()).unwrap())
    }
}
