//! Makes a `kube::Client` for a cluster: the seam through which demo, tests and production differ, and the only one.

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::Semaphore;

use super::address::{is_torn, shown, shown_of};
use super::exec;
use super::limits::Limits;
use super::trouble::{self, Trouble};
use crate::fleet::Connection;
use crate::fleet::kubeconfig;

/// Until a connection is there, with its TLS; two lost packets are made up for within it. Shorter than what a heartbeat
/// may take, so that the cause is told rather than that there was no answer.
const CONNECT_BOUND: Duration = Duration::from_secs(4);
/// Building a client runs the exec plugin, which has a bound of its own, and reads files.
const BUILD_BOUND: Duration = Duration::from_secs(30);

/// Exec plugins that are started at once: a hundred clusters whose credentials expire together do not start a hundred.
const PLUGINS_AT_ONCE: usize = 8;
/// A plugin that takes longer than this no longer counts among them: one that hangs takes nobody's place for long.
const PLACE_BOUND: Duration = Duration::from_secs(3);
/// Leave to start a plugin. There is one machine, however many fleets are looked after on it.
static PLACES: Semaphore = Semaphore::const_new(PLUGINS_AT_ONCE);

/// How a failure of the exec plugin begins.
const NO_CREDENTIALS: &str = "the exec plugin of the kubeconfig gives no credentials";

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read, or has no such context.
    #[error("{called} cannot be used: {}", kubeconfig::in_words(.source))]
    Kubeconfig {
        /// Which one.
        called: String,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// Its context names a user that is not in it whole: it would be anonymous.
    #[error(
        "{0} cannot be used: {1} Mend it: give the context its whole user, or none if the server asks for none"
    )]
    NoUser(String, String),
    /// Not running in a pod.
    #[error(
        "there are no in-cluster credentials ({0}); inCluster: true is for a daemon in a pod with a service account: run \
         polkafleet there, or give the cluster a context of a kubeconfig"
    )]
    InCluster(#[from] kube::config::InClusterError),
    /// The client could not be built (certificates, an exec plugin).
    #[error("no client could be made: {0}")]
    Build(#[source] kube::Error),
    /// The exec plugin gives no credentials.
    #[error("{NO_CREDENTIALS}: {0}")]
    Exec(#[from] exec::Error),
    /// The kubeconfig's proxy is no address of a proxy that is known; without its password.
    #[error(
        "the proxy-url {0} in the kubeconfig cannot be used; write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, \
         and in a password # as %23, / as %2F, ? as %3F and @ as %40"
    )]
    Proxy(String),
    /// The API server's address has a password in it that is not read as one.
    #[error(
        "the server of the cluster in the kubeconfig cannot be used; write https://HOST:PORT, without a password"
    )]
    Server,
    /// Building it took too long.
    #[error("making the client took more than {} s; are the files of the kubeconfig on a disk that hangs?", BUILD_BOUND.as_secs())]
    Hung,
    /// A simulated fleet has no cluster of this name.
    #[error("there is no simulated cluster {0:?}")]
    NoSuchCluster(String),
    /// The blocking task ended badly.
    #[error("making the client failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Error {
    /// What may be told to everybody who sees how the cluster is: what a plugin said stays in this process's log.
    #[must_use]
    pub fn for_others(&self) -> String {
        match self {
            Self::Exec(error) => {
                format!("{NO_CREDENTIALS}: {}", error.for_others())
            }
            Self::Build(_) => "no client could be made; why, is in the log of who tried".into(),
            other => other.to_string(),
        }
    }
}

/// A client, and the address of the API server that it speaks to.
pub struct Connected {
    /// The client.
    pub client: Client,
    /// Which API server it is; another one is another cluster, whichever way leads there.
    pub server: String,
    /// The proxy on the way there, for people.
    pub way: Option<String>,
    /// When its credentials expire, where that is known.
    pub valid_until: Option<Timestamp>,
}

impl Connected {
    /// Where it leads, and how, for people.
    #[must_use]
    pub fn at(&self, connection: &Connection) -> String {
        let way = self.way.as_deref().map(trouble::by_way_of).unwrap_or_default();
        format!("{}{way} ({})", self.server, trouble::place(connection))
    }
}

/// A future client.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>>;

/// Something that yields a client for a cluster.
pub trait Connect: Send + Sync {
    /// A client; it need not have spoken to the server yet.
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a>;

    /// How long such a cluster may take for what.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// Asks a cluster once for its version; also gives the client that asked.
///
/// # Errors
/// In words: what is wrong, where, and what to do.
pub async fn ask(
    connect: &dyn Connect,
    connection: &Connection,
    bound: Duration,
) -> Result<(String, Client), String> {
    let connected = connect.connect(connection).await.map_err(|error| error.to_string())?;
    let at = connected.at(connection);
    let trouble = match tokio::time::timeout(bound, connected.client.apiserver_version()).await {
        Ok(Ok(version)) => return Ok((version.git_version, connected.client)),
        Ok(Err(error)) => Trouble::of(&error),
        Err(_) => Trouble::Hung(bound),
    };
    Err(trouble.state(&at, None).to_string())
}

/// Kubeconfigs and in-cluster credentials.
pub struct Kubernetes;

impl Connect for Kubernetes {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        Box::pin(async move {
            let config = config(connection).await?;
            let place = if config.auth_info.exec.is_some() { PLACES.acquire().await.ok() } else { None };
            // Plugins and files, synchronously: off the async threads, and bounded.
            let running = exec::Running::default();
            let _ends_with_us = running.awaited();
            let building = tokio::task::spawn_blocking({
                let runtime = tokio::runtime::Handle::current();
                move || {
                    let _inside = runtime.enter();
                    build(config, &running)
                }
            });
            let mut built = std::pin::pin!(tokio::time::timeout(BUILD_BOUND, building));
            let built = if let Ok(built) = tokio::time::timeout(PLACE_BOUND, &mut built).await {
                built
            } else {
                drop(place);
                built.await
            };
            built.map_err(|_| Error::Hung)??
        })
    }
}

async fn config(connection: &Connection) -> Result<Config, Error> {
    let mut config = match connection {
        Connection::InCluster => Config::incluster()?,
        Connection::Kubeconfig { path, context } => {
            let (path, called) = (path.clone(), kubeconfig::called(path.as_deref()));
            let unusable = |source| Error::Kubeconfig { called: called.clone(), source };
            let read = off_threads(move || kubeconfig::read(path.as_deref())).await?;
            let mut kubeconfig = read.map_err(unusable)?;
            if let Some(lacks) = kubeconfig::lack(&kubeconfig, context) {
                return Err(Error::NoUser(called, lacks));
            }
            let proxy = own_proxy(&mut kubeconfig, context)?;
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
            config.proxy_url = proxy;
            config
        }
    };
    // Its retries would hide an outage for minutes; ours are visible.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_BOUND);
    Ok(config)
}

/// A disk may hang as a plugin may.
async fn off_threads<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let reading = tokio::task::spawn_blocking(read);
    Ok(tokio::time::timeout(BUILD_BOUND, reading).await.map_err(|_| Error::Hung)??)
}

/// The `proxy-url` of the context's cluster. The environment's `HTTPS_PROXY` is for other traffic, and not asked: kube
/// would refuse one without a scheme, and look up the proxy instead of the API server in `NO_PROXY`. So that it does not
/// ask, every cluster without a proxy gets one that is not used.
fn own_proxy(kubeconfig: &mut Kubeconfig, context: &str) -> Result<Option<http::Uri>, Error> {
    let named = kubeconfig.contexts.iter().find(|one| one.name == context);
    let name = named.and_then(|one| one.context.as_ref()).map(|context| context.cluster.clone());
    let entry = kubeconfig.clusters.iter_mut().find(|one| Some(&one.name) == name.as_ref());
    let Some(cluster) = entry.and_then(|one| one.cluster.as_mut()) else { return Ok(None) };
    let own = cluster.proxy_url.replace("http://unused.invalid".into()).filter(|proxy| !proxy.is_empty());
    let is_server_torn =
        |server: &String| server.parse::<http::Uri>().is_ok_and(|read| is_torn(server, &read));
    if cluster.server.as_ref().is_some_and(is_server_torn) {
        return Err(Error::Server);
    }
    own.map(|own| {
        let proxy = own.parse::<http::Uri>().ok().filter(|proxy| !is_torn(&own, proxy));
        let known = proxy.filter(|proxy| matches!(proxy.scheme_str(), Some("http" | "https" | "socks5")));
        known.ok_or_else(|| Error::Proxy(shown_of(&own)))
    })
    .transpose()
}

fn build(mut config: Config, running: &exec::Running) -> Result<Connected, Error> {
    let way = config.proxy_url.as_ref().map(shown);
    let mut server = shown(&config.cluster_url) + config.cluster_url.path().trim_end_matches('/');
    // Behind one address there may be many, told apart by the name that is asked for.
    if let Some(name) = &config.tls_server_name {
        server = format!("{server} as {name}");
    }
    let valid_until = exec::resolve(&mut config.auth_info, running)?;
    let client = ClientBuilder::try_from(config).map_err(Error::Build)?.build();
    Ok(Connected { client, server, way, valid_until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_whose_user_was_cut_off_makes_no_client_for_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "clusters: [{name: far, cluster: {server: 'https://far:6443'}}]\ncontexts: [{name: prod, context: {cluster: far, user: me}}]\n";
        std::fs::write(file.path(), text).unwrap();
        let connection =
            Connection::Kubeconfig { path: Some(file.path().to_owned()), context: "prod".to_owned() };
        let Err(refused) = config(&connection).await else { panic!("it would be anonymous") };
        assert!(refused.to_string().contains("the user \"me\", which is not in it"), "{refused}");
        std::fs::write(file.path(), text.replace(", user: me", "")).unwrap();
        assert!(config(&connection).await.is_ok(), "a server may ask nobody who he is");
    }

    #[test]
    fn what_a_plugin_says_is_for_its_own_log_and_for_nobody_else() {
        let secret = || "> Authorization: Bearer SECRET".to_owned();
        for error in [
            exec::Error::Failed("aws".into(), "exit status: 1".into(), secret()),
            exec::Error::Answer("aws".into(), secret()),
        ] {
            let error = Error::Exec(error);
            assert!(error.to_string().contains("SECRET"), "whoever reads the log has to mend it: {error}");
            let told = error.for_others();
            assert!(told.contains("\"aws\"") && !told.contains("SECRET"), "{told}");
        }
    }

    fn proxy_of(cluster: &serde_json::Value) -> Result<Option<http::Uri>, Error> {
        let mut kubeconfig: Kubeconfig = serde_json::from_value(serde_json::json!({
            "clusters": [{"name": "far", "cluster": cluster}],
            "contexts": [{"name": "prod", "context": {"cluster": "far", "user": "me"}}],
        }))
        .unwrap();
        own_proxy(&mut kubeconfig, "prod")
    }

    #[test]
    fn an_address_whose_password_would_be_taken_for_its_host_is_refused_without_telling_it() {
        let server = "https://far:6443";
        for proxy in ["http://me:cret#se@host:1", "http://me:cret/se@host:1", "me:cret@host:1"] {
            let refused = proxy_of(&serde_json::json!({"server": server, "proxy-url": proxy})).unwrap_err();
            assert!(matches!(refused, Error::Proxy(_)), "{refused}");
            assert!(!refused.to_string().contains("cret"), "{refused}");
        }
        let refused = proxy_of(&serde_json::json!({"server": "https://me:12#34@far:6443"})).unwrap_err();
        assert!(matches!(refused, Error::Server), "{refused}");
        let used = proxy_of(&serde_json::json!({"server": server, "proxy-url": "http://me:secret@host:1"}));
        assert_eq!(shown(&used.unwrap().unwrap()), "http://host:1");
    }
}
