//! Asks one node for its metrics, through the API server of its cluster.
//!
//! The pod proxy needs no way to the pods and no Service, only the right to `get pods/proxy`. Whatever goes wrong on the
//! way is the way's fault, never the node's: the node is [`Blocked`].

use std::pin::pin;
use std::time::Duration;

use futures::AsyncReadExt as _;
use kube::Client;

use super::metrics;
use crate::clock::Clock;
use crate::observed::{Blocked, NodeId, Sample};

/// A page of metrics is some hundred kilobytes long; what is longer is none.
const LONGEST_PAGE: u64 = 1 << 20;
/// Longer words of a server are cut.
const LONGEST_WORDS: usize = 200;

/// Asks a node on its metrics port; the answer, or why there is none.
///
/// # Errors
/// Where the node cannot be asked, or does not answer like a chain node.
pub async fn probe(
    client: &Client,
    node: &NodeId,
    port: u16,
    bound: Duration,
    clock: &Clock,
) -> Result<Sample, Blocked> {
    // What an answer says is of some moment after it was asked for: if we were stopped in between, it is old already.
    let at = clock.now();
    let asked = tokio::time::timeout(bound, page(client, node, port)).await;
    let page = match asked {
        Ok(page) => page,
        Err(_) => Err(format!("its metrics port {port} gave no answer within {} s", bound.as_secs_f32())),
    };
    page.and_then(|page| {
        metrics::read(&page, at)
            .ok_or_else(|| format!("what it serves on port {port} are not the metrics of a chain node"))
    })
    .map_err(|why| Blocked { at, why })
}

async fn page(client: &Client, (namespace, pod): &NodeId, port: u16) -> Result<String, String> {
    let request =
        http::Request::get(format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics"));
    let request = request.body(vec![]).map_err(|error| error.to_string())?;
    let body = client.request_stream(request).await.map_err(|error| in_words(&error, port))?;
    let mut text = vec![];
    let mut body = pin!(body);
    let read = (&mut body).take(LONGEST_PAGE + 1).read_to_end(&mut text).await;
    read.map_err(|error| format!("the answer of its metrics port {port} was cut: {error}"))?;
    if text.len() as u64 > LONGEST_PAGE {
        return Err(format!("what it serves on port {port} is too long for a page of metrics"));
    }
    String::from_utf8(text).map_err(|_| format!("what it serves on port {port} is no text"))
}

fn in_words(error: &kube::Error, port: u16) -> String {
    match error {
        // From the API server itself; what stands between it and the pod answers in words of its own.
        kube::Error::Api(status) if ["Unauthorized", "Forbidden"].contains(&status.reason.as_str()) => {
            "we may not get pods/proxy in its cluster; see deploy/rbac.yaml".into()
        }
        kube::Error::Api(status) => {
            let words: String = status.message.chars().take(LONGEST_WORDS).collect();
            format!("its metrics port {port} cannot be reached: {words}")
        }
        other => format!("its metrics port {port} cannot be reached: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str, message: &str) -> String {
        let status =
            serde_json::json!({"status": "Failure", "code": 403, "reason": reason, "message": message});
        in_words(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())), 9615)
    }

    #[test]
    fn only_where_the_api_server_says_so_rights_are_missing() {
        let rights =
            refused("Forbidden", "pods \"p\" is forbidden: User \"u\" cannot get resource \"pods/proxy\"");
        assert_eq!(rights, "we may not get pods/proxy in its cluster; see deploy/rbac.yaml");
        let between = refused("Failed to parse error data", "denied destination");
        assert_eq!(between, "its metrics port 9615 cannot be reached: denied destination");
    }
}
