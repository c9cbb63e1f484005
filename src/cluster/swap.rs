//! A client whose inside can be exchanged while it is in use: for new credentials, without new watches or caches.
//!
//! What is under way ends as it began; every request after the exchange takes the new way. The limits of a cluster are
//! kept here, around whatever is inside.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use tower::Service;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::timeout::TimeoutLayer;

use super::limits::{ANSWER_BOUND, Limits, REQUESTS_IN_FLIGHT};

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
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // Each client queues for itself, when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.inside();
        Box::pin(async move { client.send(request).await })
    }
}

#[cfg(test)]
mod tests;
