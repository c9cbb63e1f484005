//! Makes a `kube::Client` for a cluster: the seam through which demo, tests and production differ, and the only one.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service};

use super::limits::Limits;
use crate::fleet::Connection;

/// Requests of one cluster under way at once, so that a busy cluster cannot take the whole machine.
const REQUESTS_IN_FLIGHT: usize = 32;
/// From request to the head of the answer; kube itself waits for ever.
pub(super) const ANSWER_BOUND: Duration = Duration::from_secs(15);
/// Until a connection is there, with its TLS; two lost packets are made up for within it. Shorter than what a heartbeat
/// may take, so that the cause is told rather than that there was no answer.
const CONNECT_BOUND: Duration = Duration::from_secs(4);
/// An exec plugin of a kubeconfig may hang; building a client runs it.
const BUILD_BOUND: Duration = Duration::from_secs(30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read, or has no such context.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Not running in a pod.
    #[error("there are no in-cluster credentials: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    /// The client could not be built (certificates, an exec plugin).
    #[error("no client could be made: {0}")]
    Build(#[source] kube::Error),
    /// Building it took too long: an exec plugin hangs.
    #[error("making the client took more than {} s; does the kubeconfig's exec plugin hang?", BUILD_BOUND.as_secs())]
    Hung,
    /// A simulated fleet has no cluster of this name.
    #[error("there is no simulated cluster {0:?}")]
    NoSuchCluster(String),
    /// The blocking task ended badly.
    #[error("making the client failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A client, and the address of the API server that it speaks to.
pub struct Connected {
    /// The client.
    pub client: Client,
    /// For people.
    pub server: String,
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

/// Kubeconfigs and in-cluster credentials.
pub struct Kubernetes;

impl Connect for Kubernetes {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        Box::pin(async move {
            let config = config(connection).await?;
            // Exec plugins run inside, synchronously: off the async threads, and bounded.
            let building = tokio::task::spawn_blocking({
                let runtime = tokio::runtime::Handle::current();
                move || {
                    let _inside = runtime.enter();
                    build(config)
                }
            });
            tokio::time::timeout(BUILD_BOUND, building).await.map_err(|_| Error::Hung)??
        })
    }
}

async fn config(connection: &Connection) -> Result<Config, Error> {
    let mut config = match connection {
        Connection::InCluster => Config::incluster()?,
        Connection::Kubeconfig { path, context } => {
            let kubeconfig = match path {
                Some(path) => Kubeconfig::read_from(path)?,
                None => Kubeconfig::read()?,
            };
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options).await?
        }
    };
    // Its retries would hide an outage for minutes; ours are visible.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_BOUND);
    // HTTPS_PROXY in the environment would make building fail: this build has no proxy support yet.
    config.proxy_url = None;
    Ok(config)
}

fn build(config: Config) -> Result<Connected, Error> {
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = limited(ClientBuilder::try_from(config).map_err(Error::Build)?);
    Ok(Connected { client, server })
}

/// A client with the limits that every cluster's has.
pub fn limited<S, B>(builder: ClientBuilder<S>) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    builder
        .with_layer(&ConcurrencyLimitLayer::new(REQUESTS_IN_FLIGHT))
        .with_layer(&TimeoutLayer::new(ANSWER_BOUND))
        .build()
}
