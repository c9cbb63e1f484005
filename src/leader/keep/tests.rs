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
        hears: None,
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

/// A server whose answer to the second write never comes; that write takes place after the next look.
#[derive(Default)]
struct Late {
    lease: Option<Lease>,
    version: u32,
    writes: u32,
    pending: Option<Lease>,
}

impl Late {
    fn take(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.uid = Some("u".into());
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    /// The status and the body of an answer; none where it never comes.
    fn answer(&mut self, is_read: bool, written: &[u8]) -> Option<(u16, Vec<u8>)> {
        let refused = |code: u16, reason: &str| {
            let status = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                "reason": reason, "message": reason,
            });
            (code, status.to_string().into_bytes())
        };
        if is_read {
            let found = self.lease.clone();
            if let Some(pending) = self.pending.take() {
                self.take(pending);
            }
            return Some(found.map_or_else(
                || refused(404, "NotFound"),
                |lease| (200, serde_json::to_vec(&lease).unwrap()),
            ));
        }
        let lease: Lease = serde_json::from_slice(written).unwrap();
        self.writes += 1;
        if self.writes == 2 {
            self.pending = Some(lease);
            return None;
        }
        let known = self.lease.as_ref().and_then(|known| known.metadata.resource_version.clone());
        if known.is_some() && lease.metadata.resource_version != known {
            return Some(refused(409, "Conflict"));
        }
        Some((200, serde_json::to_vec(&self.take(lease)).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_let_go_also_where_a_renewal_that_nobody_waited_for_comes_in_between() {
    let late = std::sync::Arc::new(std::sync::Mutex::new(Late::default()));
    let server = std::sync::Arc::clone(&late);
    let answer = move |request: http::Request<Body>| {
        let server = std::sync::Arc::clone(&server);
        async move {
            let is_read = request.method() == http::Method::GET;
            let written = request.into_body().collect_bytes().await?.to_vec();
            let answer = server.lock().unwrap().answer(is_read, &written);
            let Some((code, body)) = answer else { return std::future::pending().await };
            Ok::<_, kube::Error>(http::Response::builder().status(code).body(Body::from(body)).unwrap())
        }
    };
    let client = Client::new(tower::service_fn(answer), "n");
    let (wish, stop, hold) = (watch::Sender::new(Wish::Have), CancellationToken::new(), Hold::new("me"));
    let keeper = tokio::spawn(keep(client, keeping(), hold.clone(), wish.subscribe(), stop.clone()));
    let renews = async {
        while late.lock().unwrap().pending.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renews).await.expect("it renews");
    assert!(hold.is_held());
    stop.cancel();
    keeper.await.unwrap();
    let lease = late.lock().unwrap().lease.clone().unwrap();
    assert_eq!(holder(&lease).filter(|holder| !holder.is_empty()), None, "{lease:?}");
}
