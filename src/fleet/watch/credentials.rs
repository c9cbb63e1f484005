//! What clusters are reached with: the kubeconfigs of a fleet, and when one of them changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use sha2::{Digest as _, Sha256};

use crate::fleet::{Connection, Fleet};

/// For each kubeconfig that the fleet refers to, a number that changes when its content does, or that of a file that it
/// names. One that cannot be parsed keeps its number until it can.
pub type Credentials = BTreeMap<PathBuf, u64>;

/// The credentials of `fleet` as they are now. Blocks on files.
pub fn read(fleet: &Fleet) -> Credentials {
    let files = fleet.clusters.iter().flat_map(|cluster| files_of(&cluster.connection));
    let mut credentials = Credentials::new();
    for file in files {
        if !credentials.contains_key(&file)
            && let Some(own) = digest(&file)
        {
            let named = named_in(&file);
            let number = number(own, named.iter().map(|file| digest(file)));
            credentials.insert(file, number);
        }
    }
    credentials
}

/// The digest of a file; `None` where there is none to be read (a pipe would be waited for). Blocks.
pub(super) fn digest(file: &Path) -> Option<[u8; 32]> {
    std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    std::fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into())
}

/// The certificates and keys that a kubeconfig names instead of holding them. (A file with a token is read again and again
/// by the client itself.) Blocks.
pub(super) fn named_in(kubeconfig: &Path) -> BTreeSet<PathBuf> {
    let Ok(read) = Kubeconfig::read_from(kubeconfig) else { return BTreeSet::new() };
    let clusters = read.clusters.into_iter().filter_map(|one| one.cluster?.certificate_authority);
    let users = read.auth_infos.into_iter().filter_map(|one| one.auth_info);
    let shown = users.flat_map(|user| [user.client_certificate, user.client_key]).flatten();
    clusters.chain(shown).map(PathBuf::from).collect()
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

/// The number of a kubeconfig, from its digest and those of the files that it names.
pub(super) fn number(own: [u8; 32], named: impl Iterator<Item = Option<[u8; 32]>>) -> u64 {
    let mut all = Sha256::new_with_prefix(own);
    named.for_each(|digest| all.update(digest.unwrap_or_default()));
    let mut first = [0; 8];
    first.copy_from_slice(&all.finalize()[..8]);
    u64::from_be_bytes(first)
}
