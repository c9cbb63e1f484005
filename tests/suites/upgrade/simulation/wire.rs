//! What lies between a daemon and its clusters: it may be slow, swallow answers, or be cut for good. What a planner
//! writes is handed to the ledger when it has been made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::{Body, ClientBuilder};
use polkafleet::cluster::connect::{Connect, Connected, Connecting, Error};
use polkafleet::cluster::limits::Limits;
use polkafleet::fleet::Connection;
use polkafleet::sandbox::cluster::{self, Cluster, Cut};
use tower::ServiceExt as _;

use super::ledger::Ledger;

/// How a daemon's requests fare.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    /// The daemon is dead: nothing of it is sent any more, and what comes back reaches nobody.
    pub(super) is_cut: bool,
    /// So long a planner's write is under way.
    pub(super) latency: Duration,
    /// The answers to so many of its next writes do not come back.
    pub(super) loses: u32,
}

/// The clients of one daemon.
pub(super) struct Wire {
    pub(super) clusters: Vec<Cluster>,
    pub(super) line: Arc<Mutex<Line>>,
    pub(super) ledger: Arc<Ledger>,
    /// Which daemon.
    pub(super) daemon: usize,
}

impl Connect for Wire {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        let Connection::Kubeconfig { context, .. } = connection else { unreachable!("no cluster of a pod") };
        let found = self.clusters.iter().find(|cluster| cluster.name() == context).cloned();
        Box::pin(async move {
            let cluster = found.ok_or_else(|| Error::NoSuchCluster(context.clone()))?;
            let (line, ledger, daemon) = (Arc::clone(&self.line), Arc::clone(&self.ledger), self.daemon);
            let service = tower::service_fn(move |request| {
                let (cluster, line, ledger) = (cluster.clone(), Arc::clone(&line), Arc::clone(&ledger));
                async move { carry(&cluster, &line, &ledger, daemon, request).await }
            });
            let client = ClientBuilder::new(service, "default").build();
            Ok(Connected { client, server: "the simulated API server".into(), way: None, valid_until: None })
        })
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }
}

async fn carry(
    cluster: &Cluster,
    line: &Mutex<Line>,
    ledger: &Ledger,
    daemon: usize,
    request: Request<Body>,
) -> Result<Response<cluster::Body>, std::io::Error> {
    let now = *line.lock().unwrap();
    if now.is_cut {
        std::future::pending::<()>().await;
    }
    let path = request.uri().path().to_owned();
    let is_planners =
        request.method() == Method::PATCH && path.contains("/polkadots/") && !path.ends_with("/status");
    if is_planners {
        tokio::time::sleep(now.latency).await;
    }
    let (parts, body) = request.into_parts();
    // In memory: that cannot fail.
    let body = body.collect().await.unwrap().to_bytes();
    let request = Request::from_parts(parts, Body::from(body.to_vec()));
    let reset = |cut: Cut| std::io::Error::new(std::io::ErrorKind::ConnectionReset, cut);
    let answer = cluster.service("polkafleet").oneshot(request).await.map_err(reset);
    if is_planners && answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
        ledger.wrote(daemon, cluster.name(), &path, &body);
    }
    let (is_cut, loses) = {
        let mut line = line.lock().unwrap();
        let loses = is_planners && line.loses > 0;
        line.loses -= u32::from(loses);
        (line.is_cut, loses)
    };
    if is_cut {
        std::future::pending::<()>().await;
    }
    if loses {
        return Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the answer was lost"));
    }
    answer
}
