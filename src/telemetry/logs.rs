//! Logs: human on a terminal, JSON otherwise; `RUST_LOG` decides what is said.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::traces;

// kube's client says ERROR for every connection that fails, and its watches warn of every try; a cluster that is down is said
// once, by its worker.
const USUAL: &str = "info,kube_client=off,kube_runtime=off,opentelemetry_sdk=warn,opentelemetry_otlp=warn";

/// Installs a subscriber that writes JSON to a file, for a program whose terminal is used otherwise.
pub fn to_file(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::create(path)?;
    let layer = tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(file));
    tracing_subscriber::registry().with(layer.with_filter(EnvFilter::new(USUAL))).init();
    Ok(())
}

/// Installs the subscriber: logs on standard error, spans to `provider`.
pub(super) fn init(provider: Option<&SdkTracerProvider>) {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    // Whatever RUST_LOG says: on an answer that it cannot read, kube's client logs the whole of it, keys included; and what
    // watches files logs each write to the log, where that is in a folder that it watches.
    for never in ["kube_client=off", "notify=off"] {
        if let Ok(never) = never.parse() {
            filter = filter.add_directive(never);
        }
    }
    let logs = if std::io::stderr().is_terminal() {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .json()
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed()
    };
    // Only our spans are exported, and those of a worker's life are not: they would end days later, if ever.
    let ours = Targets::new()
        .with_target("polkafleet", LevelFilter::INFO)
        .with_target("polkafleet::log", LevelFilter::OFF);
    let spans = provider.map(|provider| traces::layer(provider).with_filter(ours));
    tracing_subscriber::registry().with(spans).with(logs.with_filter(filter)).init();
}
