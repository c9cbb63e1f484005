//! A way to simulated clusters of a test's own: it decides anew at each connection where it leads, and what is answered.

use std::io;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::{Body, ClientBuilder};
use polkafleet::clock::Clock;
use polkafleet::cluster::board::BoardWriter;
use polkafleet::cluster::connect::{Connect, Connected, Connecting};
use polkafleet::cluster::limits::Limits;
use polkafleet::cluster::{Clients, Leases, Registry};
use polkafleet::fleet::Connection;
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load;
use polkafleet::fleet::watch::Credentials;
use polkafleet::leader::lease::Wish;
use polkafleet::observed::Board;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::connect::AGENT;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// What an answer's body is made of on its way.
pub type Answer = Response<UnsyncBoxBody<bytes::Bytes, io::Error>>;

/// Where a connection leads: the server by its name, and the cluster there.
pub type Leads = dyn Fn(&Connection) -> (String, Cluster) + Send + Sync;

/// What becomes of an answer to a request with this path and query; it may take its time.
pub type Passes = dyn Fn(String, Answer) -> futures::future::BoxFuture<'static, Answer> + Send + Sync;

/// Such a way.
#[derive(Clone)]
pub struct Way {
    pub leads: Arc<Leads>,
    pub passes: Arc<Passes>,
    pub limits: Limits,
}

impl Way {
    /// A way on which everything passes as it is.
    pub fn new(
        limits: Limits,
        leads: impl Fn(&Connection) -> (String, Cluster) + Send + Sync + 'static,
    ) -> Self {
        Self { leads: Arc::new(leads), passes: Arc::new(|_, answer| Box::pin(async { answer })), limits }
    }
}

impl Connect for Way {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        Box::pin(async move {
            let (server, cluster) = (self.leads)(connection);
            let passes = Arc::clone(&self.passes);
            let service = tower::service_fn(move |request: Request<Body>| {
                let (cluster, passes) = (cluster.clone(), Arc::clone(&passes));
                async move {
                    let uri = request.uri().to_string();
                    let cut = |cut| io::Error::new(io::ErrorKind::ConnectionReset, cut);
                    let answer = cluster.service(AGENT).oneshot(request).await.map_err(cut)?;
                    let answer = answer.map(|body| body.map_err(io::Error::other).boxed_unsync());
                    Ok::<_, io::Error>(passes(uri, answer).await)
                }
            });
            let client = ClientBuilder::new(service, "default").build();
            Ok(Connected { client, server, way: None, valid_until: None })
        })
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

/// The workers of a fleet file, on a way of the test's own.
pub struct Workers {
    pub board: watch::Receiver<Arc<Board>>,
    pub credentials: watch::Sender<Credentials>,
    _fleet: watch::Sender<Arc<polkafleet::fleet::Fleet>>,
    _wishes: watch::Sender<Wish>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Workers {
    /// Starts them; `me` is by what name they hold Leases.
    pub fn start(file: &std::path::Path, connect: Arc<dyn Connect>, me: &str) -> Self {
        let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
        let loaded = load(&sources).map_err(|problems| format!("{problems:?}")).unwrap();
        let (fleet, followed) = watch::channel(Arc::new(loaded));
        let (writer, board) = BoardWriter::new();
        let (credentials, kubeconfigs) = watch::channel(Credentials::new());
        let (wishes, wish) = watch::channel(Wish::default());
        let (stop, leases) = (CancellationToken::new(), Leases { me: me.into(), wish });
        let registry = Registry::new(connect, writer, Clients::default(), Clock::machine(), leases)
            .with_kubeconfigs(kubeconfigs);
        let running = tokio::spawn(registry.follow(followed, stop.clone()));
        Self { board, credentials, _fleet: fleet, _wishes: wishes, stop, running }
    }

    /// Where a worker stands, in words.
    pub fn state(&self, cluster: &str) -> String {
        let board = self.board.borrow().clone();
        board.clusters.get(&cluster.into()).map_or_else(String::new, |view| view.state.to_string())
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}
