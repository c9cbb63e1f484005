//! Logs: human on a terminal, JSON otherwise; `RUST_LOG` decides what is said.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::traces;

// kube's client says ERROR for every connection that fails, and its watches warn of every try; a cluster that is down is said
// once, by its worker.
const USUAL: &str = "info,kube_client=off,kube_runtime=off,opentelemetry_sdk=warn,opentelemetry_otlp=warn";

/// What is never said, whatever `RUST_LOG` says, and however deep in these it names a target: on an answer that it cannot
/// read, kube's client logs the whole of it, keys included; and what watches files logs each write to the log, where that is
/// in a folder that it watches.
const NEVER: [&str; 2] = ["kube_client", "notify"];

fn harmless<S>(filter: EnvFilter) -> impl Filter<S>
where
    EnvFilter: Filter<S>,
{
    let is_in = |target: &str, all: &str| {
        target.strip_prefix(all).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    filter.and(filter_fn(move |metadata| !NEVER.iter().any(|never| is_in(metadata.target(), never))))
}

/// Installs a subscriber that writes JSON to a file, for a program whose terminal is used otherwise.
pub fn to_file(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::create(path)?;
    let layer = tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(file));
    tracing_subscriber::registry().with(layer.with_filter(harmless(EnvFilter::new(USUAL)))).init();
    Ok(())
}

/// Installs the subscriber: logs on standard error, spans to `provider`.
pub(super) fn init(provider: Option<&SdkTracerProvider>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
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
    tracing_subscriber::registry().with(spans).with(logs.with_filter(harmless(filter))).init();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_wish_for_more_makes_kubes_client_say_what_it_could_not_read() {
        for wish in [
            "kube_client::client=warn",
            "info,kube_client::client=trace,notify::inotify=trace",
            "trace",
            "[request]=trace",
        ] {
            let said = Said::default();
            let writer = said.clone();
            let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
            let subscriber =
                tracing_subscriber::registry().with(layer.with_filter(harmless(EnvFilter::new(wish))));
            tracing::subscriber::with_default(subscriber, || {
                let _request = tracing::info_span!(target: "kube_client", "request").entered();
                tracing::warn!(target: "kube_client::client", "{{\"kind\": \"Secret\", SECRET}}");
                tracing::error!(target: "kube_client", "SECRET");
                tracing::warn!(target: "notify::inotify", "SECRET");
                tracing::warn!(target: "kube_clientele", "another program");
            });
            let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
            assert!(!said.contains("SECRET"), "{wish}: {said}");
            assert!(wish != "trace" || said.contains("another program"), "{said}");
        }
    }
}
