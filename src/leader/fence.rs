//! A client that writes only while a Lease is held: reads pass, writes are refused without a hold, and a write whose
//! hold runs out before its answer is given up. So a daemon that was stopped and wakes up does no harm.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::USER_AGENT;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tower::{BoxError, Service};

use super::Hold;

/// Why a write was not made, or its answer not waited for.
#[derive(Debug, thiserror::Error)]
#[error("this daemon does not hold the Lease {lease}; another one may be writing there")]
pub struct NotHeld {
    lease: &'static str,
    /// Whether it was on its way when the hold ran out.
    was_sent: bool,
}

/// The client, behind a hold; `lease` says which, for the error.
#[must_use]
pub fn fenced(client: Client, hold: &Hold, lease: &'static str) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Fence { inner: client, hold: hold.clone(), lease }, namespace)
}

/// Whether a request failed because a Lease is not ours (any more).
#[must_use]
pub fn is_not_held(error: &kube::Error) -> bool {
    not_held(error).is_some()
}

fn not_held(error: &kube::Error) -> Option<&NotHeld> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Whether it is known what came of a write: it was answered, or never sent.
fn is_known(answer: &Result<Response<Body>, kube::Error>) -> bool {
    match answer {
        Ok(response) => !response.status().is_server_error(),
        Err(error) => not_held(error).is_some_and(|refused| !refused.was_sent),
    }
}

#[derive(Clone)]
struct Fence {
    inner: Client,
    hold: Hold,
    lease: &'static str,
}

impl Service<Request<Body>> for Fence {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        if let Ok(agent) = self.hold.agent.parse() {
            request.headers_mut().entry(USER_AGENT).or_insert(agent);
        }
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Box::pin(async move { Ok(inner.send(request).await?) });
        }
        let (hold, lease) = (self.hold.clone(), self.lease);
        // Counted before it is asked whether it may pass: who lets the Lease go closes it first and then counts.
        let under_way = hold.writes.token();
        Box::pin(async move {
            let _under_way = under_way;
            let mut until = hold.until().ok_or(NotHeld { lease, was_sent: false })?;
            let mut answer = std::pin::pin!(inner.send(request));
            loop {
                tokio::select! {
                    // The time first: after a stall both are ready.
                    biased;
                    () = tokio::time::sleep_until(until) => if let Some(later) = hold.until() { until = later } else {
                        hold.note_doubt();
                        return Err(NotHeld { lease, was_sent: true }.into());
                    },
                    answer = &mut answer => {
                        if !is_known(&answer) {
                            hold.note_doubt();
                        }
                        return Ok(answer?);
                    }
                }
            }
        })
    }
}
