//! Kubeconfigs as they are read here: what is wrong with one is told in words that repeat nothing of it, for an error of
//! the parser shows the lines around the place, and those may hold a token or a key; and half of one is told from a whole.
//!
//! `kubectl` writes `users:` last. A file that was cut off before its end is then often a valid one whose contexts name
//! users that are not in it, and kube takes such a user for nobody: an anonymous one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Kubeconfig, KubeconfigError};
use serde::Deserialize as _;
use serde_yaml::Value;

use super::watch::usual_kubeconfigs;

/// The keys of a user's entry of which each is said with a value, or not at all.
const SAID: [&str; 7] = [
    "token",
    "tokenFile",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "exec",
];

/// A context of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// What of its user is missing, if something is, in words.
    pub lacks: Option<String>,
}

/// Reads one; without a path, that of `KUBECONFIG` or the usual place. A user whose entry was cut off has no
/// credentials in what is read. Blocks on files.
///
/// # Errors
/// Where it cannot be read, or is none.
pub fn read(path: Option<&Path>) -> Result<Kubeconfig, KubeconfigError> {
    let mut read = path.map_or_else(Kubeconfig::read, Kubeconfig::read_from)?;
    let is_bare =
        |user: &Option<AuthInfo>| user.as_ref().is_some_and(|user| !has_credentials(user) && !has_half(user));
    if read.auth_infos.iter().any(|user| is_bare(&user.auth_info)) {
        let files = path.map_or_else(usual_kubeconfigs, |path| vec![PathBuf::from(path)]);
        let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
        let cut_off: BTreeSet<String> = texts.flat_map(|text| cut_off(&text)).collect();
        for user in &mut read.auth_infos {
            if is_bare(&user.auth_info) && cut_off.contains(&user.name) {
                user.auth_info = None;
            }
        }
    }
    Ok(read)
}

/// The contexts of a kubeconfig.
#[must_use]
pub fn contexts(kubeconfig: &Kubeconfig) -> Vec<Context> {
    let named = kubeconfig.contexts.iter().map(|context| context.name.clone());
    named.map(|name| Context { lacks: lack(kubeconfig, &name), name }).collect()
}

/// What is missing of the user that a context names, in words. A context that names none, and a user whose entry says `{}`,
/// are for a server that asks nobody who he is.
#[must_use]
pub fn lack(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let named = kubeconfig.contexts.iter().find(|one| one.name == context)?;
    let user = named.context.as_ref()?.user.as_ref().filter(|user| !user.is_empty())?;
    let entry = kubeconfig.auth_infos.iter().find(|one| one.name == *user);
    let what = match entry.map(|entry| entry.auth_info.as_ref()) {
        None => "which is not in it",
        Some(None) => "whose entry has no credentials",
        Some(Some(user)) if has_half(user) => "whose entry has half of its credentials",
        Some(Some(_)) => return None,
    };
    Some(format!("context {context:?} names the user {user:?}, {what}; is the file cut off?"))
}

/// A kubeconfig, for people: which file it is, as it was given.
#[must_use]
pub fn called(path: Option<&Path>) -> String {
    path.map_or_else(
        || "the usual kubeconfig (KUBECONFIG, or ~/.kube/config)".into(),
        |path| format!("the kubeconfig {}", path.display()),
    )
}

/// The files that a kubeconfig is read from, as the file system knows them: one file may have several names. Blocks.
#[must_use]
pub fn files(path: Option<&Path>) -> Vec<PathBuf> {
    let named = path.map_or_else(usual_kubeconfigs, |path| vec![path.to_owned()]);
    named.into_iter().map(|file| file.canonicalize().unwrap_or(file)).collect()
}

/// Whether there is something in it to show to a server.
fn has_credentials(user: &AuthInfo) -> bool {
    let certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    let key = user.client_key.is_some() || user.client_key_data.is_some();
    user.token.is_some()
        || user.token_file.is_some()
        || user.exec.is_some()
        || user.auth_provider.is_some()
        || (user.username.is_some() && user.password.is_some())
        || (certificate && key)
}

/// Whether it has one of two things of which one alone says nothing.
fn has_half(user: &AuthInfo) -> bool {
    let any = user.client_certificate.is_some()
        || user.client_certificate_data.is_some()
        || user.client_key.is_some()
        || user.client_key_data.is_some()
        || user.username.is_some()
        || user.password.is_some();
    any && !has_credentials(user)
}

/// The users of a text whose entries break off: nothing follows their key, or a key of theirs.
fn cut_off(text: &str) -> Vec<String> {
    let documents = serde_yaml::Deserializer::from_str(text);
    let documents = documents.filter_map(|document| Value::deserialize(document).ok());
    let users = documents.flat_map(|document| document["users"].as_sequence().cloned().unwrap_or_default());
    let nothing = |value: &Value| value.is_null() || value.as_str().is_some_and(str::is_empty);
    let breaks_off =
        |user: &Value| user.is_null() || SAID.iter().any(|key| user.get(key).is_some_and(nothing));
    users
        .filter(|entry| breaks_off(&entry["user"]))
        .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
        .collect()
}

/// The error for people.
#[must_use]
pub fn in_words(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(parse) => {
            let place = parse.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
            format!("it is no YAML of a kubeconfig{}", place.unwrap_or_default())
        }
        // Whoever asks knows which file it is.
        KubeconfigError::ReadConfig(why, _) => why.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_kubeconfig_is_in_the_words_of_what_is_wrong_with_it() {
        for text in [
            "users:\n- name: one\n  user:\n    password: hunter2-SECRET\n    token: SECRET-token\n   bad: indent\n",
            "users:\n- user: {token: SECRET-token}\n",
            "users: SECRET-token\n",
            "clusters: [SECRET-token]\n",
        ] {
            let words = in_words(&Kubeconfig::from_yaml(text).unwrap_err());
            assert!(!words.contains("SECRET") && words.contains("kubeconfig"), "{words}");
        }
    }

    /// As `kubectl` writes it.
    const WHOLE: &str = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://far:6443\n  name: far\n\
        contexts:\n- context:\n    cluster: far\n    user: me\n  name: prod\ncurrent-context: prod\nkind: Config\n\
        users:\n- name: me\n  user:\n    client-certificate-data: QUJD\n    client-key-data: REVG\n";

    fn lacks(text: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        contexts(&read(Some(file.path())).unwrap()).into_iter().find(|one| one.name == "prod").unwrap().lacks
    }

    #[test]
    fn a_kubeconfig_that_was_cut_off_where_it_is_valid_is_told_from_a_whole_one() {
        assert_eq!(lacks(WHOLE), None);
        for (from, what) in [
            ("current-context:", "is not in it"),
            ("users:", "is not in it"),
            ("- name: me\n", "is not in it"),
            ("  user:\n", "no credentials"),
            ("    client-certificate-data:", "no credentials"),
            (" QUJD", "no credentials"),
            ("    client-key-data:", "half of its credentials"),
            (" REVG", "half of its credentials"),
        ] {
            let end = WHOLE.rfind(from).unwrap();
            let told = lacks(&WHOLE[..end]).unwrap_or_else(|| panic!("cut before {from:?}"));
            assert!(told.contains(what) && told.contains("cut off"), "cut before {from:?}: {told}");
        }
    }

    #[test]
    fn a_server_that_asks_nobody_who_he_is_needs_no_user_or_one_without_anything() {
        let (contexts, _) = WHOLE.split_once("users:").unwrap();
        assert_eq!(lacks(&contexts.replace("    user: me\n", "")), None);
        assert_eq!(lacks(&format!("{contexts}users: [{{name: me, user: {{}}}}]\n")), None);
        assert!(lacks(&format!("{contexts}users: [{{name: me}}]\n")).is_some());
        assert_eq!(lacks(&format!("{contexts}users: [{{name: me, user: {{token: abc}}}}]\n")), None);
    }
}
