//! Requests take the way that is inside when they are sent, at a pace that heartbeats do not know.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::*;

/// A server that answers with its name.
fn server(name: &'static str) -> Client {
    let service = tower::service_fn(move |_: Request<Body>| async move {
        Ok::<_, Infallible>(Response::new(Body::from(name.as_bytes().to_vec())))
    });
    Client::new(service, "default")
}

async fn ask(client: &Client) -> String {
    client.request_text(Request::get("/").body(vec![]).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_client_in_use_takes_the_new_way_after_the_exchange() {
    let exchange = Exchange::new(server("old"));
    let client = exchange.client(&Limits::default());
    assert_eq!(ask(&client).await, "old");
    exchange.exchange(server("new"));
    assert_eq!(ask(&client).await, "new");
    assert_eq!(ask(&exchange.inside()).await, "new");
}

#[tokio::test]
async fn work_has_a_pace_and_a_heartbeat_does_not_wait_behind_it() {
    let limits = Limits { burst: 10, burst_window: Duration::from_secs(1), ..Limits::default() };
    let exchange = Exchange::new(server("here"));
    let client = exchange.client(&limits);
    let begun = Instant::now();
    let work = async {
        for _ in 0..21 {
            ask(&client).await;
        }
        begun.elapsed()
    };
    let heartbeat = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ask(&exchange.inside()).await;
        begun.elapsed()
    };
    let (work, heartbeat) = tokio::join!(work, heartbeat);
    assert!(work >= Duration::from_secs(2), "{work:?}");
    assert!(heartbeat < work, "{heartbeat:?}");
}
