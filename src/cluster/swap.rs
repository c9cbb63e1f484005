//! A client whose inside can be exchanged while it is in use: for new credentials, without new watches or caches.
//!
//! What is under way ends as it began; every request after the exchange takes the new way. The limits of a cluster are
//! kept here, around whatever is inside.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use tokio::time::{Instant, Sleep};
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service};

use super::limits::{ANSWER_BOUND, BODY_BOUND, Limits, REQUESTS_IN_FLIGHT};

/// The way to a cluster; its clones share what is inside.
#[derive(Clone)]
pub(super) struct Exchange(Arc<RwLock<Client>>);

impl Exchange {
    pub(super) fn new(client: Client) -> Self {
        Self(Arc::new(RwLock::new(client)))
    }

    /// From now on requests go through `client`.
    pub(super) fn exchange(&self, client: Client) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// What is inside: for a heartbeat, which must not wait behind the work.
    pub(super) fn inside(&self) -> Client {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client for the Lease, which must not wait behind the work either.
    pub(super) fn unlimited(&self) -> Client {
        let namespace = self.inside().default_namespace().to_owned();
        ClientBuilder::new(self.clone(), namespace).with_layer(&TimeoutLayer::new(ANSWER_BOUND)).build()
    }

    /// The client for the work, within the limits of its cluster.
    pub(super) fn client(&self, limits: &Limits) -> Client {
        let namespace = self.inside().default_namespace().to_owned();
        ClientBuilder::new(self.clone(), namespace)
            .with_layer(&RateLimitLayer::new(limits.burst, limits.burst_window))
            .with_layer(&ConcurrencyLimitLayer::new(REQUESTS_IN_FLIGHT))
            .with_layer(&TimeoutLayer::new(ANSWER_BOUND))
            .build()
    }
}

impl Service<Request<Body>> for Exchange {
    type Response = Response<Bounded>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bounded>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // Each client queues for itself, when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.inside();
        // A watch is silent for as long as nothing happens, and has an end of its own.
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        Box::pin(async move {
            let answer = client.send(request).await?;
            let is_endless = is_watch && answer.status().is_success();
            Ok(answer.map(|body| Bounded::new(body, !is_endless)))
        })
    }
}

/// The body of an answer, whose parts are waited for as long as its head was: the layer around a client sees the head only,
/// and a list that broke off in its middle would be waited for for ever.
pub(super) struct Bounded {
    body: Body,
    /// Until the next part, and until the end; none of a watch.
    bounds: Option<Bounds>,
}

struct Bounds {
    next: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
}

impl Bounded {
    fn new(body: Body, is_bounded: bool) -> Self {
        let sleep = |bound| Box::pin(tokio::time::sleep(bound));
        let bounds = || Bounds { next: sleep(ANSWER_BOUND), end: sleep(BODY_BOUND) };
        Self { body, bounds: is_bounded.then(bounds) }
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let Self { body, bounds } = &mut *self;
        let part = Pin::new(body).poll_frame(context);
        let Some(Bounds { next, end }) = bounds else { return part.map_err(Into::into) };
        if end.as_mut().poll(context).is_ready()
            || (part.is_pending() && next.as_mut().poll(context).is_ready())
        {
            return Poll::Ready(Some(Err(Elapsed::new().into())));
        }
        if part.is_ready() {
            next.as_mut().reset(Instant::now() + ANSWER_BOUND);
        }
        part.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
