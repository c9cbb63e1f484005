//! Writes events about a resource, for `kubectl describe`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tracing::{Instrument as _, debug, info_span};

use crate::polkadot::{FIELD_MANAGER, GROUP, Polkadot, ResourceId};

use super::apply::in_time;
use super::events::Happening;

/// The API server takes notes of up to 1 KiB.
const LONGEST_NOTE: usize = 1024;

/// A request that was not sent, as while the Lease has run out for a moment, is tried again so often…
const TRIES: u32 = 4;
/// …after this time: what changed is told once only, and is worth a moment.
const PAUSE: Duration = Duration::from_millis(250);

/// Writes events about a resource. What cannot be written is left: the conditions say the same.
pub async fn tell(client: &Client, polkadot: &Polkadot, all: &[Happening], now: Timestamp) {
    let id = ResourceId::of(polkadot);
    let api: Api<Event> = Api::namespaced(client.clone(), &id.namespace);
    for (number, happening) in all.iter().enumerate() {
        let event = event(polkadot, happening, now, number);
        if !is_written(&api, &event).await {
            debug!(reason = happening.reason, "Could not write an event.");
            return;
        }
    }
}

async fn is_written(api: &Api<Event>, event: &Event) -> bool {
    for _ in 0..TRIES {
        let written =
            in_time(api.create(&PostParams::default(), event).instrument(info_span!("write event"))).await;
        if !matches!(written, Ok(Err(kube::Error::Service(_)))) {
            return matches!(written, Ok(Ok(_)));
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// The event as it is stored; its name is that of the resource and the time, as client-go makes it, and the reason: what
/// was done and what came of it are told one after the other.
fn event(polkadot: &Polkadot, happening: &Happening, now: Timestamp, number: usize) -> Event {
    let reason = happening.reason.to_lowercase();
    let name = format!("{}.{:x}{number:x}.{reason}", polkadot.name_any(), now.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: polkadot.namespace(), ..ObjectMeta::default() },
        event_time: Some(MicroTime(now)),
        type_: Some(if happening.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(happening.reason.clone()),
        action: Some(happening.action.into()),
        note: Some(shortened(&happening.words, LONGEST_NOTE).into()),
        regarding: Some(polkadot.object_ref(&())),
        reporting_controller: Some(format!("{GROUP}/{FIELD_MANAGER}")),
        reporting_instance: Some(FIELD_MANAGER.into()),
        ..Event::default()
    }
}

fn shortened(text: &str, bytes: usize) -> &str {
    let end =
        text.char_indices().map(|(start, one)| start + one.len_utf8()).take_while(|end| *end <= bytes).last();
    &text[..end.unwrap_or_default()]
}
