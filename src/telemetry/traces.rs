//! Traces over OTLP/gRPC: one per reconcile, one per upgrade.
//!
//! An upgrade may take days and outlive the daemon, so its trace has no open root: trace ID and root span ID are hashes
//! of (upgrade, target, attempt), the root is exported with no length at the start, and every step is its child,
//! whichever process takes it.

use std::cell::Cell;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use sha2::Digest as _;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

const SCOPE: &str = "polkafleet";
/// An unreachable collector must cost nothing but a warning.
const EXPORT_BOUND: Duration = Duration::from_secs(5);

/// A provider that exports in batches to `endpoint` and is the global one from now on.
pub fn provider(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_BOUND).build()?;
    let resource = Resource::builder()
        .with_service_name(SCOPE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids)
        .with_resource(resource)
        .build();
    global::set_tracer_provider(provider.clone());
    Ok(provider)
}

/// The layer that makes OpenTelemetry spans of tracing's.
pub fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer(SCOPE))
}

/// The place of an upgrade's root span: the same for every process that works on this attempt.
#[must_use]
pub fn upgrade_root(upgrade: &str, target: &str, attempt: u32) -> SpanContext {
    let digest = sha2::Sha256::digest(format!("{upgrade}\n{target}\n{attempt}"));
    let (trace, rest) = digest.split_at(16);
    let mut trace_id = [0; 16];
    trace_id.copy_from_slice(trace);
    let mut span_id = [0; 8];
    span_id.copy_from_slice(&rest[..8]);
    SpanContext::new(
        TraceId::from_bytes(trace_id),
        SpanId::from_bytes(span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    )
}

/// Exports the root span of an upgrade, with no length.
pub fn export_upgrade_root(upgrade: &str, target: &str, attempt: u32) {
    let root = upgrade_root(upgrade, target, attempt);
    NEXT.set(Some((root.trace_id(), root.span_id())));
    let tracer = global::tracer(SCOPE);
    let span = tracer
        .span_builder("upgrade")
        .with_attributes([
            KeyValue::new("upgrade.name", upgrade.to_owned()),
            KeyValue::new("upgrade.target", target.to_owned()),
            KeyValue::new("upgrade.attempt", i64::from(attempt)),
        ])
        .start_with_context(&tracer, &Context::new());
    NEXT.set(None);
    drop(span);
}

/// Makes `span` a child of the upgrade's root.
pub fn under_upgrade(span: &Span, upgrade: &str, target: &str, attempt: u32) {
    let parent = Context::new().with_remote_span_context(upgrade_root(upgrade, target, attempt));
    // Without an exporter there is nothing to be a child of.
    let _ = span.set_parent(parent);
}

/// Makes `span` a child of the span that a `traceparent` (W3C Trace Context) names; a malformed one is ignored.
pub fn set_parent(span: &Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent) {
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// The `traceparent` of `span`; `None` where it is not exported.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
    })
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let ("00", trace, span, flags, None) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    if (trace.len(), span.len(), flags.len()) != (32, 16, 2) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

thread_local! {
    /// The IDs of the next span that this thread starts; set and cleared around one synchronous call.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random IDs, but for the root of an upgrade.
#[derive(Debug)]
struct Ids;

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| RandomIdGenerator::default().new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| RandomIdGenerator::default().new_span_id(), |(_, span)| span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrades_trace_is_the_same_in_every_process_and_another_for_every_attempt() {
        let root = upgrade_root("polkadot", "stable2503-7", 1);
        assert_eq!(root, upgrade_root("polkadot", "stable2503-7", 1));
        assert_ne!(root.trace_id(), upgrade_root("polkadot", "stable2503-7", 2).trace_id());
        assert!(root.is_valid());
    }

    #[test]
    fn a_traceparent_is_read_as_the_w3c_writes_it() {
        let read = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(read.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(read.is_sampled());
        for wrong in
            ["", "00-4bf9-00f067aa0ba902b7-01", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
