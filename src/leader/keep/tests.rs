//! Keeping a Lease against a server that answers by itself.

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use kube::client::Body;

use super::object::{WANTED_BY, has_spoken};
use super::*;

#[test]
fn a_silent_holder_gets_no_more_time_because_somebody_asks_for_his_lease() {
    let held = |renewed: i64| Lease {
        metadata: ObjectMeta { uid: Some("u".into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some("old".into()),
            renew_time: jiff::Timestamp::from_second(renewed).ok().map(MicroTime),
            ..LeaseSpec::default()
        }),
    };
    let mut asked = held(1);
    asked.metadata.resource_version = Some("2".into());
    asked.annotations_mut().insert(WANTED_BY.into(), "new".into());
    assert!(!has_spoken(&held(1), &asked));
    assert!(has_spoken(&held(1), &held(2)));
    let made_anew =
        Lease { metadata: ObjectMeta { uid: Some("v".into()), ..ObjectMeta::default() }, ..held(1) };
    assert!(has_spoken(&held(1), &made_anew));
}

/// A server with this Lease, which its holder does not touch; it takes every write.
fn server(lease: &watch::Receiver<Lease>) -> Client {
    let lease = lease.clone();
    let answer = move |request: http::Request<Body>| {
        let held = serde_json::to_vec(&*lease.borrow()).unwrap();
        async move {
            let is_read = request.method() == http::Method::GET;
            let written = request.into_body().collect_bytes().await?.to_vec();
            let body = if is_read { held } else { written };
            Ok::<_, kube::Error>(http::Response::new(Body::from(body)))
        }
    };
    Client::new(tower::service_fn(answer), "n")
}

/// Another daemon's Lease, of 15 s.
fn anothers(uid: &str, renewed: i64) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some("l".into()),
            namespace: Some("n".into()),
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some("old".into()),
            lease_duration_seconds: Some(15),
            renew_time: jiff::Timestamp::from_second(renewed).ok().map(MicroTime),
            ..LeaseSpec::default()
        }),
    }
}

fn keeping() -> Keeping {
    Keeping {
        namespace: "n".into(),
        name: "l",
        me: "me".into(),
        duration: Duration::from_secs(15),
        words: ToString::to_string,
        says: None,
    }
}

/// Keeps it for so long, and lets it go; returns whether it was ours then.
async fn keeps_for(seconds: u64, lease: &watch::Sender<Lease>, hold: &Hold) -> bool {
    let (wish, stop) = (watch::Sender::new(Wish::Have), CancellationToken::new());
    let client = server(&lease.subscribe());
    let keeper = tokio::spawn(keep(client, keeping(), hold.clone(), wish.subscribe(), stop.clone()));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let is_ours = hold.is_held();
    stop.cancel();
    keeper.await.unwrap();
    is_ours
}

#[tokio::test(start_paused = true)]
async fn whoever_begins_anew_goes_on_counting_how_long_a_holder_has_been_silent() {
    let (lease, hold) = (watch::Sender::new(anothers("u", 1)), Hold::new("me"));
    assert!(!keeps_for(10, &lease, &hold).await);
    assert!(keeps_for(12, &lease, &hold).await, "after 15 s of silence in all");
}

#[tokio::test(start_paused = true)]
async fn whoever_begins_anew_counts_anew_where_the_holder_has_spoken_or_the_lease_is_another() {
    for spoken in [anothers("u", 2), anothers("v", 1)] {
        let (lease, hold) = (watch::Sender::new(anothers("u", 1)), Hold::new("me"));
        assert!(!keeps_for(10, &lease, &hold).await);
        lease.send_replace(spoken);
        assert!(!keeps_for(12, &lease, &hold).await, "he was heard of when it began anew");
        assert!(keeps_for(8, &lease, &hold).await, "after 15 s of silence since then");
    }
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_is_broken_off_leaves_what_it_has_seen_to_the_next_one() {
    let (lease, hold) = (watch::Sender::new(anothers("u", 1)), Hold::new("me"));
    for _ in 0..3 {
        let (wish, stop) = (watch::Sender::new(Wish::Have), CancellationToken::new());
        let client = server(&lease.subscribe());
        let keeper = keep(client, keeping(), hold.clone(), wish.subscribe(), stop);
        // As a member that flaps: its session ends each time by trouble, long before the Lease has run out.
        let _ = tokio::time::timeout(Duration::from_secs(6), keeper).await;
        if hold.is_held() {
            return;
        }
    }
    panic!("its holder was silent for 18 s, and the Lease is one of 15: {:?}", hold.state());
}

/// Somebody waits for the end of the daemon, and kills it when that takes too long.
#[tokio::test(start_paused = true)]
async fn a_keeper_whose_server_hangs_ends_soon_after_it_is_told_to_however_long_its_lease_is() {
    let hangs = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, kube::Error>>()
    });
    let (wish, stop) = (watch::Sender::new(Wish::Have), CancellationToken::new());
    let keeping = Keeping { duration: Duration::from_secs(300), ..keeping() };
    let keeper = keep(Client::new(hangs, "n"), keeping, Hold::new("me"), wish.subscribe(), stop.clone());
    let keeper = tokio::spawn(keeper);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let ends = tokio::time::timeout(RELEASE_BOUND + Duration::from_secs(1), keeper).await;
    ends.expect("it looks at the stop while a request is under way").unwrap();
}
