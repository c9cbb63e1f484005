//! Fleet time: home is asked for its own again and again. A small difference is corrected; a large one, or none that is known,
//! stops the steps.

use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::clock::Clock;

use super::{ANSWER_BOUND, NoSteps};

/// An answer that took no longer says what time it is.
const QUICK: Duration = Duration::from_secs(2);
/// A larger difference stops the steps: soaks and deadlines would be measured wrongly.
const LARGEST_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// How far home's clock is ahead of this machine's, or why that is not known.
pub type Skew = Result<SignedDuration, String>;

/// Why no step is taken by what is known of the clocks: with a wrong one a soak would seem to be over.
pub fn no_steps_by_clock(skew: &Skew) -> Option<NoSteps> {
    match skew {
        Err(why) => Some(NoSteps::ClockUnknown(why.clone())),
        Ok(skew) => (skew.abs() > LARGEST_SKEW).then(|| NoSteps::ClockSkew(skew.as_secs())),
    }
}

/// Asks home for its time, again and again: small differences are corrected, `skews` gets all of them. What was known stays
/// known when an answer fails to come: home's state tells that.
pub async fn follow_clock(client: &Client, clock: &Clock, every: Duration, skews: &watch::Sender<Skew>) {
    loop {
        let skew = skew_of(client, clock).await;
        match &skew {
            Ok(skew) if skew.abs() > LARGEST_SKEW => warn!(
                seconds = skew.as_secs(),
                "This machine's clock and home's differ; no steps are taken until they agree."
            ),
            Err(why) if skews.borrow().is_err() => {
                warn!(why, "Home's time cannot be found out; no steps are taken until it is known.");
            }
            _ => {}
        }
        if skew.is_ok() || skews.borrow().is_err() {
            drop(skews.send_replace(skew));
        }
        let is_known = skews.borrow().is_ok();
        tokio::time::sleep(if is_known { every } else { every.min(ANSWER_BOUND) }).await;
    }
}

/// How far home's clock is ahead of `clock`; fleet time is corrected by a small difference.
async fn skew_of(client: &Client, clock: &Clock) -> Skew {
    let asked = Instant::now();
    let theirs = match date(client).await? {
        Some(theirs) => theirs,
        // The sandbox's clusters have one clock, and this is it.
        None if clock.is_simulated() => return Ok(SignedDuration::ZERO),
        None => return Err("its answer has no Date".into()),
    };
    let skew = theirs.duration_since(clock.uncorrected());
    // Nobody knows when in the meantime a slow answer was written.
    if skew.abs() <= LARGEST_SKEW && (asked.elapsed() <= QUICK || clock.has_jumped()) {
        clock.correct(theirs);
    }
    Ok(skew)
}

/// What time it is by home's clock, to the second; `None` where it does not say.
///
/// # Errors
/// In words, where it does not answer, or with something else.
pub async fn date(client: &Client) -> Result<Option<jiff::Timestamp>, String> {
    let request = http::Request::get("/version").body(kube::client::Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(ANSWER_BOUND, client.send(request)).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let Some(date) = answer.headers().get(http::header::DATE) else { return Ok(None) };
    let time = date.to_str().ok().and_then(time_of);
    time.map(Some).ok_or_else(|| format!("{date:?} is no Date"))
}

/// The time in a server's `Date` (RFC 9110, section 6.6.1; whole seconds).
fn time_of(date: &str) -> Option<jiff::Timestamp> {
    Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_taken_before_homes_time_is_known_or_while_it_differs() {
        assert!(matches!(no_steps_by_clock(&Err("no Date".into())), Some(NoSteps::ClockUnknown(_))));
        let skewed = no_steps_by_clock(&Ok(SignedDuration::from_secs(-31)));
        assert_eq!(skewed, Some(NoSteps::ClockSkew(-31)));
        assert_eq!(no_steps_by_clock(&Ok(SignedDuration::from_secs(30))), None);
    }

    /// A server that answers with this `Date`, if any.
    fn dated(date: Option<String>) -> Client {
        let answer = move |_: http::Request<kube::client::Body>| {
            let mut answer = http::Response::new(kube::client::Body::empty());
            if let Some(date) = &date {
                answer.headers_mut().insert(http::header::DATE, date.parse().unwrap());
            }
            std::future::ready(Ok::<_, kube::Error>(answer))
        };
        Client::new(tower::service_fn(answer), "n")
    }

    #[tokio::test]
    async fn a_home_that_gives_no_date_says_so_and_one_that_gives_it_corrects_fleet_time() {
        let clock = Clock::machine();
        assert_eq!(skew_of(&dated(None), &clock).await, Err("its answer has no Date".to_owned()));
        let is_no_date = skew_of(&dated(Some("soon".into())), &clock).await;
        assert!(is_no_date.is_err_and(|why| why.contains("soon")));
        let ahead = |seconds| {
            let at = jiff::Timestamp::now() + SignedDuration::from_secs(seconds);
            Some(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        };
        let skew = skew_of(&dated(ahead(20)), &clock).await.unwrap();
        assert!((18..=20).contains(&skew.as_secs()), "{skew:?}");
        let corrected = clock.now().duration_since(jiff::Timestamp::now()).as_secs();
        assert!((17..=20).contains(&corrected), "{corrected}");
        // So much is not corrected; steps stop instead.
        assert!(skew_of(&dated(ahead(3_600)), &clock).await.is_ok());
        let after = clock.now().duration_since(jiff::Timestamp::now()).as_secs();
        assert!(after.abs_diff(corrected) <= 1, "{after}");
    }

    #[test]
    fn the_time_is_read_from_the_servers_date() {
        assert_eq!(time_of("Wed, 25 Nov 2026 12:00:45 GMT"), Some("2026-11-25T12:00:45Z".parse().unwrap()));
        assert_eq!(time_of("soon"), None);
    }
}
