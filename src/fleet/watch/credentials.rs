//! What clusters are reached with: the kubeconfigs of a fleet, and when one of them changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::fleet::{Connection, Fleet};

/// For each kubeconfig that the fleet refers to, a number that changes when its content does. One that cannot be parsed
/// keeps its number until it can.
pub type Credentials = BTreeMap<PathBuf, u64>;

/// The credentials of `fleet` as they are now. Blocks on files.
pub fn read(fleet: &Fleet) -> Credentials {
    let files = fleet.clusters.iter().flat_map(|cluster| files_of(&cluster.connection));
    let mut credentials = Credentials::new();
    for file in files {
        if !credentials.contains_key(&file)
            && let Ok(content) = std::fs::read(&file)
        {
            credentials.insert(file, number(Sha256::digest(content).into()));
        }
    }
    credentials
}

/// A number that changes when one of the files does that `connection` is made with; always the same for a service
/// account, whose token is read anew by the client.
pub fn generation(credentials: &Credentials, connection: &Connection) -> u64 {
    let files = files_of(connection);
    files.iter().filter_map(|file| credentials.get(file)).fold(0, |all: u64, one| all.rotate_left(1) ^ one)
}

/// The kubeconfigs of a connection.
pub(super) fn files_of(connection: &Connection) -> Vec<PathBuf> {
    match connection {
        Connection::Kubeconfig { path, .. } => files_at(path.as_ref()),
        Connection::InCluster => vec![],
    }
}

/// The file at `path`, or where `Kubeconfig::read` looks.
pub(super) fn files_at(path: Option<&PathBuf>) -> Vec<PathBuf> {
    path.map_or_else(usual_kubeconfigs, |path| vec![path.clone()])
}

/// Where `Kubeconfig::read` looks.
pub fn usual_kubeconfigs() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> =
        std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if !listed.is_empty() {
        return listed;
    }
    std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect()
}

/// The beginning of a digest.
pub(super) fn number(digest: [u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}
