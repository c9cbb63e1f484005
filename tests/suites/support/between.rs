//! Stands between a daemon and its simulated clusters, and answers in their place, or dates their answers, where a test
//! says so: what a webhook, a missing right or a wrong clock does to a real API server.

use std::io;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use kube::client::{Body, ClientBuilder};
use polkafleet::cluster::connect::{Connect, Connected, Connecting, Error};
use polkafleet::cluster::limits::Limits;
use polkafleet::fleet::Connection;
use polkafleet::sandbox::cluster::Cluster;
use polkafleet::sandbox::connect::AGENT;
use serde_json::json;
use tower::ServiceExt as _;

/// What the daemon asks, and whom.
pub struct Question<'a> {
    pub cluster: &'a str,
    pub path: &'a str,
    pub body: &'a [u8],
}

/// What is answered instead.
pub enum Instead {
    /// What the cluster says.
    Nothing,
    /// That, as it would say it at this time.
    At(Timestamp),
    /// A refusal with this code and these words; the cluster is not asked.
    Refuse(u16, &'static str),
}

/// A way to simulated clusters on which `instead` stands.
pub struct Between {
    pub clusters: Vec<Cluster>,
    pub instead: Arc<dyn Fn(&Question<'_>) -> Instead + Send + Sync>,
}

impl Connect for Between {
    fn connect<'a>(&'a self, connection: &'a Connection) -> Connecting<'a> {
        let Connection::Kubeconfig { context, .. } = connection else {
            panic!("they are told by their contexts")
        };
        let found = self.clusters.iter().find(|cluster| cluster.name() == context).cloned();
        let instead = Arc::clone(&self.instead);
        Box::pin(async move {
            let cluster = found.ok_or_else(|| Error::NoSuchCluster(context.clone()))?;
            let service = tower::service_fn(move |request: Request<Body>| {
                let (cluster, instead) = (cluster.clone(), Arc::clone(&instead));
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    let asked = Question { cluster: cluster.name(), path: parts.uri.path(), body: &body };
                    let date = match instead(&asked) {
                        Instead::Refuse(code, words) => {
                            return Ok(refusal(code, words).map(BodyExt::boxed_unsync));
                        }
                        Instead::At(time) => Some(time),
                        Instead::Nothing => None,
                    };
                    let answered =
                        cluster.service(AGENT).oneshot(Request::from_parts(parts, Body::from(body))).await;
                    let mut answered =
                        answered.map_err(|cut| io::Error::new(io::ErrorKind::ConnectionReset, cut))?;
                    if let Some(date) = date {
                        answered.headers_mut().insert(header::DATE, dated(date));
                    }
                    Ok::<_, io::Error>(answered.map(BodyExt::boxed_unsync))
                }
            });
            let client = ClientBuilder::new(service, "default").build();
            Ok(Connected { client, server: "the simulated API server".into(), way: None, valid_until: None })
        })
    }

    fn limits(&self) -> Limits {
        Limits::default().divided_by(10)
    }
}

fn refusal(
    code: u16,
    words: &str,
) -> Response<impl http_body::Body<Data = bytes::Bytes, Error = polkafleet::sandbox::cluster::Cut>> {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": words});
    let body = Full::from(status.to_string()).map_err(|never| match never {});
    Response::builder().status(code).header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
}

/// As RFC 9110, section 5.6.7, wants it.
fn dated(time: Timestamp) -> HeaderValue {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string().parse().unwrap()
}
