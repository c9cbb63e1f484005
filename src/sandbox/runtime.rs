//! What runs in the pods of a simulated cluster: chain nodes, what their volumes hold, and the faults of versions.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::api::text;
use super::chain::{Answer, Behaviour, Chain, Node, Request, Start};
use super::faults::VersionFault;
use super::workloads::kubelet::{Host, NoStart, PodRun};
use super::workloads::volumes::claims_of;

/// The height of every chain when a simulation begins.
const FIRST_HEIGHT: u64 = 200_000;

/// The chains that the clusters of a fleet share.
#[derive(Clone, Default)]
pub struct Chains(Arc<Mutex<BTreeMap<String, Chain>>>);

impl Chains {
    /// Looks at a chain, or changes it; one that nobody asked for before begins now.
    pub fn with<T>(&self, name: &str, now: Timestamp, act: impl FnOnce(&mut Chain) -> T) -> T {
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(chains.entry(name.to_owned()).or_insert_with(|| Chain::new(name, now, FIRST_HEIGHT)))
    }
}

/// The containers of a cluster and its volumes.
#[derive(Default)]
pub struct Runtime {
    chains: Chains,
    faults: BTreeMap<String, VersionFault>,
    /// Running clients, by the uid of their pod.
    nodes: BTreeMap<String, Node>,
    /// The heights that claims hold, by namespace and name; those of pods without a claim by their uid.
    volumes: BTreeMap<(String, String), u64>,
    /// Secrets of pods that are starting, by namespace and name.
    pub(super) secrets: BTreeMap<(String, String), Value>,
    /// What the kubelets know of their pods, by uid.
    pub(super) pods: BTreeMap<String, PodRun>,
    /// When to look at a pod again.
    pub(super) due: BTreeMap<String, (Timestamp, (String, String))>,
    /// When to look at a StatefulSet again.
    pub(super) due_sets: BTreeMap<(String, String), Timestamp>,
}

impl Runtime {
    /// A cluster without containers, on these chains.
    #[must_use]
    pub fn new(chains: Chains) -> Self {
        Self { chains, ..Self::default() }
    }

    /// Versions that misbehave in this cluster, by image tag.
    pub fn set_version_faults(&mut self, faults: BTreeMap<String, VersionFault>) {
        self.faults = faults;
    }

    /// Asks a pod's chain node from outside the pod; `None`: nobody listens there.
    pub fn ask(
        &self,
        pod: &Value,
        port: &str,
        method: &str,
        path: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Option<Answer> {
        let node = self.nodes.get(text(pod, &["metadata", "uid"]))?;
        let request = Request { port: port.parse().ok()?, method, path, body, from_loopback: false };
        self.chains.with(node.chain(), now, |chain| node.answer(now, chain, &request))
    }

    fn fault(&self, image: &str) -> VersionFault {
        self.faults.get(tag(image)).copied().unwrap_or_default()
    }

    /// The content of the file that a container finds at `path`, if a Secret is mounted there.
    fn file(&self, pod: &Value, path: &str) -> Result<Option<Vec<u8>>, NoStart> {
        let Some((secret, key)) = secret_at(pod, path) else { return Ok(None) };
        let at = (text(pod, &["metadata", "namespace"]).to_owned(), secret.clone());
        let missing = || NoStart::Waits(format!("secret \"{secret}\" not found"));
        let data = &self.secrets.get(&at).ok_or_else(missing)?["data"][&key];
        Ok(data.as_str().and_then(|encoded| BASE64_STANDARD.decode(encoded).ok()))
    }
}

impl Host for Runtime {
    fn has_image(&self, image: &str) -> bool {
        self.fault(image) != VersionFault::NoImage && !image.contains("no-such-image")
    }

    fn start(&mut self, pod: &Value, now: Timestamp) -> Result<(), NoStart> {
        let container = &pod["spec"]["containers"][0];
        let image = text(container, &["image"]);
        if !repository(image).ends_with("polkadot") {
            return Ok(());
        }
        let args = arguments(pod, container);
        let key_file = args.iter().find_map(|argument| argument.strip_prefix("--node-key-file="));
        let key = key_file.map(|path| self.file(pod, path)).transpose()?.flatten();
        let behaviour = match self.fault(image) {
            VersionFault::CrashLoop => Behaviour::CrashLoop,
            VersionFault::NeverSyncs => Behaviour::NeverSyncs,
            VersionFault::StallsFinality => Behaviour::StallsFinality,
            // Names that the simulated kubelets of the real control planes know, too.
            _ if image.contains("crash-loop") => Behaviour::CrashLoop,
            _ if image.contains("never-ready") => Behaviour::NeverSyncs,
            _ => Behaviour::Sound,
        };
        let node = Node::start(&Start {
            tag: tag(image),
            args: &args,
            key: key.as_deref(),
            behaviour,
            now,
            instance: number(text(pod, &["metadata", "name"])),
            restored_height: self.volumes.get(&volume_of(pod)).copied(),
        })
        .map_err(|crash| NoStart::Ended { code: crash.exit_code, message: crash.message })?;
        self.nodes.insert(text(pod, &["metadata", "uid"]).to_owned(), node);
        Ok(())
    }

    fn stop(&mut self, pod: &Value, now: Timestamp) {
        if let Some(node) = self.nodes.remove(text(pod, &["metadata", "uid"])) {
            let height = self.chains.with(node.chain(), now, |chain| node.restored_height(now, chain));
            self.volumes.insert(volume_of(pod), height);
        }
    }

    fn get(&self, pod: &Value, port: u16, path: &str, now: Timestamp) -> Option<u16> {
        let image = text(&pod["spec"]["containers"][0], &["image"]);
        if !repository(image).ends_with("polkadot") {
            return Some(200);
        }
        if image.contains("never-ready") {
            return Some(500);
        }
        self.ask(pod, &port.to_string(), "GET", path, &[], now).map(|answer| answer.status)
    }
}

fn repository(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(repository, _)| repository)
}

fn tag(image: &str) -> &str {
    image.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

fn number(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Where a pod keeps its chain: its first claim, else the pod itself.
fn volume_of(pod: &Value) -> (String, String) {
    let namespace = text(pod, &["metadata", "namespace"]).to_owned();
    let claim = claims_of(pod).first().map(|(_, claim)| (*claim).to_owned());
    (namespace, claim.unwrap_or_else(|| text(pod, &["metadata", "uid"]).to_owned()))
}

/// The arguments with `$(VARIABLES)` filled in.
fn arguments(pod: &Value, container: &Value) -> Vec<String> {
    let given = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    given.map(|argument| expand(argument, pod, container)).collect()
}

fn expand(wanted: &str, pod: &Value, container: &Value) -> String {
    let variables = container["env"].as_array().into_iter().flatten();
    variables.fold(wanted.to_owned(), |expanded, variable| {
        let value = match variable["value"].as_str() {
            Some(value) => value,
            None => text(variable, &["valueFrom", "fieldRef", "fieldPath"])
                .split('.')
                .fold(pod, |value, key| &value[key])
                .as_str()
                .unwrap_or_default(),
        };
        expanded.replace(&format!("$({})", text(variable, &["name"])), value)
    })
}

/// The Secret, and the key in it, that a container finds at a path.
pub(super) fn secret_at(pod: &Value, path: &str) -> Option<(String, String)> {
    let container = &pod["spec"]["containers"][0];
    let mounts = container["volumeMounts"].as_array()?;
    let mount = mounts.iter().find(|mount| path.starts_with(text(mount, &["mountPath"])))?;
    let volumes = pod["spec"]["volumes"].as_array()?;
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"])?;
    let secret = volume["secret"]["secretName"].as_str()?.to_owned();
    let within = path.strip_prefix(text(mount, &["mountPath"]))?.trim_start_matches('/');
    let key = match (mount["subPathExpr"].as_str(), mount["subPath"].as_str()) {
        (Some(expression), _) => expand(expression, pod, container),
        (None, Some(key)) => key.to_owned(),
        (None, None) => within.to_owned(),
    };
    Some((secret, key))
}
