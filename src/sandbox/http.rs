//! The simulated clusters on loopback: plain HTTP/1.1, a port each, and the kubeconfig that names them.

use std::net::Ipv4Addr;

use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Cut};
use super::faults::ApiFault;

/// A cluster that listens.
pub struct Listening {
    /// The port, on 127.0.0.1.
    pub port: u16,
}

/// Serves a cluster on a free port until `stop`.
pub async fn serve(cluster: Cluster, stop: CancellationToken) -> std::io::Result<Listening> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            // Whoever cannot be reached takes no connection.
            if cluster.fault_changes().borrow().api == ApiFault::Unreachable {
                continue;
            }
            tokio::spawn(connection(cluster.clone(), stream, stop.clone()));
        }
    });
    Ok(Listening { port })
}

async fn connection(cluster: Cluster, stream: tokio::net::TcpStream, stop: CancellationToken) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let cluster = cluster.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
            let answer = cluster.handle(http::Request::from_parts(parts, body)).await;
            answer.map(|answer| dated(answer, cluster.clock().now()))
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error is a client that went away, or a cluster that was cut off.
        _ = serving => {}
        () = stop.cancelled() => {}
    }
}

/// Its clock is the simulation's: by it, who asks over the wire tells what time it is there.
fn dated<Body>(mut answer: http::Response<Body>, now: Timestamp) -> http::Response<Body> {
    let date = http::HeaderValue::try_from(now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Ok(date) = date {
        answer.headers_mut().insert(http::header::DATE, date);
    }
    answer
}

/// A kubeconfig with a context per cluster, by the name of the cluster; the first is the current one.
#[must_use]
pub fn kubeconfig(clusters: &[(&str, u16)]) -> Value {
    let each = |entry: &dyn Fn(&str, u16) -> Value| -> Vec<Value> {
        clusters.iter().map(|(name, port)| entry(name, *port)).collect()
    };
    json!({
        "apiVersion": "v1", "kind": "Config",
        "current-context": clusters.first().map(|(name, _)| name),
        "clusters": each(&|name, port| json!({"name": name, "cluster": {"server": format!("http://127.0.0.1:{port}")}})),
        "users": [{"name": "sandbox", "user": {}}],
        "contexts": each(&|name, _| json!({"name": name, "context": {"cluster": name, "user": "sandbox"}})),
    })
}
