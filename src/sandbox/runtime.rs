//! What runs in the pods of a simulated cluster: chain nodes, what their volumes hold, and the faults of versions.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::api::text;
use super::chain::{Answer, Behaviour, Chain, Node, Request, Start};
use super::faults::VersionFault;
use super::workloads::kubelet::{Exit, Host, PodRun};
use super::workloads::volumes::claims_of;

/// The height of every chain when a simulation begins.
const FIRST_HEIGHT: u64 = 200_000;
/// How long a process runs that only does something small and ends.
const BRIEF: SignedDuration = SignedDuration::from_secs(1);

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
    /// Pods that run something else, which is well whatever it is asked.
    others: BTreeSet<String>,
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

    /// The Secrets that pods which start from now on may mount, by namespace and name.
    pub fn set_secrets(&mut self, secrets: BTreeMap<(String, String), Value>) {
        self.secrets = secrets;
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
        let request = Request { port: port.parse().ok()?, method, path, body, from_loopback: false };
        self.answer(text(pod, &["metadata", "uid"]), &request, now)
    }

    fn answer(&self, uid: &str, request: &Request<'_>, now: Timestamp) -> Option<Answer> {
        let node = self.nodes.get(uid)?;
        self.chains.with(node.chain(), now, |chain| node.answer(now, chain, request))
    }

    fn fault(&self, image: &str) -> VersionFault {
        self.faults.get(tag(image)).copied().unwrap_or_default()
    }

    /// The content of the file that the container finds at `path`, if a Secret is mounted there.
    fn file(&self, pod: &Value, path: &str) -> Option<Vec<u8>> {
        let (secret, key) = secret_at(pod, path)?;
        let at = (text(pod, &["metadata", "namespace"]).to_owned(), secret);
        BASE64_STANDARD.decode(self.secrets.get(&at)?["data"][&key].as_str()?).ok()
    }
}

impl Host for Runtime {
    fn mount(&self, pod: &Value) -> Result<(), String> {
        let namespace = text(pod, &["metadata", "namespace"]);
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let Some(secret) = volume["secret"]["secretName"].as_str() else { continue };
            let there = self.secrets.contains_key(&(namespace.to_owned(), secret.to_owned()));
            if !there && volume["secret"]["optional"] != true {
                let name = text(volume, &["name"]);
                return Err(format!(
                    "MountVolume.SetUp failed for volume \"{name}\" : secret \"{secret}\" not found"
                ));
            }
        }
        Ok(())
    }

    fn has_image(&self, image: &str) -> bool {
        self.fault(image) != VersionFault::NoImage && !image.contains("no-such-image")
    }

    fn initialize(&self, container: &Value) -> Result<SignedDuration, Exit> {
        let image = text(container, &["image"]);
        if image.contains("crash-loop") {
            return Err(Exit { code: 1, message: format!("{image} was asked to crash") });
        }
        Ok(BRIEF)
    }

    fn start(&mut self, pod: &Value, now: Timestamp) -> Result<Option<SignedDuration>, Exit> {
        let container = &pod["spec"]["containers"][0];
        let uid = text(pod, &["metadata", "uid"]);
        if !is_node(container) {
            self.others.insert(uid.to_owned());
            return Ok(None);
        }
        let image = text(container, &["image"]);
        let args = arguments(pod, container);
        if args.iter().any(|argument| matches!(&**argument, "--version" | "-V" | "--help" | "-h")) {
            return Ok(Some(BRIEF));
        }
        let key_file = args.iter().find_map(|argument| argument.strip_prefix("--node-key-file="));
        let key = key_file.and_then(|path| self.file(pod, path));
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
        .map_err(|crash| Exit { code: crash.exit_code, message: crash.message })?;
        self.nodes.insert(uid.to_owned(), node);
        Ok(None)
    }

    fn stop(&mut self, pod: &Value, now: Timestamp) {
        self.others.remove(text(pod, &["metadata", "uid"]));
        if let Some(node) = self.nodes.remove(text(pod, &["metadata", "uid"])) {
            let height = self.chains.with(node.chain(), now, |chain| node.restored_height(now, chain));
            self.volumes.insert(volume_of(pod), height);
        }
    }

    fn get(&self, uid: &str, port: u16, path: &str, now: Timestamp) -> Option<u16> {
        if self.others.contains(uid) {
            return Some(200);
        }
        let request = Request { port, method: "GET", path, body: &[], from_loopback: false };
        self.answer(uid, &request, now).map(|answer| answer.status)
    }
}

/// Whether a container runs the client, and not something else out of its image.
fn is_node(container: &Value) -> bool {
    let image = text(container, &["image"]);
    let repository = image.rsplit_once(':').map_or(image, |(repository, _)| repository);
    let command = container["command"][0].as_str();
    repository.ends_with("polkadot") && command.is_none_or(|command| command.ends_with("polkadot"))
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
