//! The reviews that are served: whether the asker may do something (there are no rights here, so everybody may), and who he is.

use http::Method;
use serde_json::{Value, json};

use super::request::Head;
use super::{Answer, Status};

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// Everybody who asks: nobody shows credentials here.
const USER: &str = "sandbox-user";

/// Answers a review; `None` where the path is none of one.
pub fn answer(head: &Head, body: &[u8]) -> Option<Result<Answer, Status>> {
    let (kind, version, status) = match &*head.path {
        ACCESS => {
            let status = json!({"allowed": true, "reason": "there are no rights in the sandbox"});
            ("SelfSubjectAccessReview", "authorization.k8s.io/v1", status)
        }
        WHO => {
            let status = json!({"userInfo": {"username": USER, "groups": ["system:authenticated"]}});
            ("SelfSubjectReview", "authentication.k8s.io/v1", status)
        }
        _ => return None,
    };
    Some(reviewed(head, body, (kind, version), &status))
}

fn reviewed(
    head: &Head,
    body: &[u8],
    (kind, version): (&str, &str),
    status: &Value,
) -> Result<Answer, Status> {
    if head.method != Method::POST {
        return Err(Status::not_allowed());
    }
    let read = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
    let mut review = read.ok_or_else(|| Status::bad_request("the object provided is unrecognized"))?;
    review["kind"] = json!(kind);
    review["apiVersion"] = json!(version);
    review["status"] = status.clone();
    Ok(Answer::Object { code: 201, body: review, warnings: vec![] })
}
