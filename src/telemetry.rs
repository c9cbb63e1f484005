//! What the daemon says of itself: logs on the terminal ([`logs`]) and traces over OTLP ([`traces`]).
//!
//! Keys never reach either: the types that hold them print nothing (see [`crate::identity`]).

pub mod logs;
pub mod traces;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::warn;

use crate::fleet::Telemetry;

/// Flushes what is left when the daemon ends.
pub struct Guard(Option<SdkTracerProvider>);

/// Starts logging, and tracing where the fleet file asks for it. Call once, inside the runtime.
#[must_use]
pub fn init(telemetry: &Telemetry) -> Guard {
    let provider = telemetry.otlp_endpoint.as_deref().map(traces::provider);
    let (provider, failed) = match provider.transpose() {
        Ok(provider) => (provider, None),
        Err(error) => (None, Some(error)),
    };
    logs::init(provider.as_ref());
    if let Some(error) = failed {
        warn!(%error, "Traces cannot be exported; the daemon goes on without.");
    }
    Guard(provider)
}

impl Guard {
    /// Sends the spans that have ended, within a bound; blocks, so call it off the async threads.
    pub fn flush(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(std::time::Duration::from_secs(5))
        {
            warn!(%error, "The last spans could not be exported.");
        }
    }
}
