//! Requests take the way that is inside when they are sent, at a pace that heartbeats do not know.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// A server whose answers begin with a part every so many seconds, and never end.
fn trickles(pause: Duration) -> Client {
    let service = tower::service_fn(move |_: Request<Body>| async move {
        let parts = futures::stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b" "))), ()))
        });
        Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(parts)))
    });
    Client::new(service, "default")
}

/// What becomes of a request there, and when.
async fn of_trickles(pause: u64, uri: &str) -> (Option<super::super::trouble::Trouble>, Duration) {
    let client = Exchange::new(trickles(Duration::from_secs(pause))).client(&Limits::default());
    let begun = tokio::time::Instant::now();
    let asking = client.request_text(Request::get(uri).body(vec![]).unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(3600), asking).await.ok();
    let trouble = ended.map(|answer| super::super::trouble::Trouble::of(&answer.unwrap_err()));
    (trouble, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_in_its_middle_is_waited_for_no_longer_than_for_its_head() {
    let hung = Some(super::super::trouble::Trouble::Hung(ANSWER_BOUND));
    let (trouble, after) = of_trickles(7200, "/api/v1/pods?limit=500").await;
    assert_eq!((&trouble, after.as_secs()), (&hung, ANSWER_BOUND.as_secs()), "it stalls");
    let (trouble, after) = of_trickles(10, "/api/v1/pods?limit=500").await;
    assert_eq!((&trouble, after.as_secs()), (&hung, BODY_BOUND.as_secs()), "it trickles");
    let (trouble, _) = of_trickles(120, "/api/v1/pods?watch=true&timeoutSeconds=290").await;
    assert_eq!(trouble, None, "a watch may be silent");
}

/// A server that notes how many requests are with it at once.
fn counts(most: &Arc<AtomicUsize>) -> Client {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::clone(most));
    let service = tower::service_fn(move |_: Request<Body>| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn of_many_requests_no_more_than_the_limit_are_with_a_cluster_at_once() {
    let most = Arc::default();
    let limits = Limits { burst: 10_000, ..Limits::default() };
    let client = Exchange::new(counts(&most)).client(&limits);
    futures::future::join_all((0..10 * REQUESTS_IN_FLIGHT).map(|_| ask(&client))).await;
    assert_eq!(most.load(Ordering::SeqCst), REQUESTS_IN_FLIGHT);
}
