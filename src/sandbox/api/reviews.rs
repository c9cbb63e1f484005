//! The one review that is served: whether the asker may do something. There are no rights here, so everybody may.

use http::Method;
use serde_json::{Value, json};

use super::request::Head;
use super::{Answer, Status};

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Answers a review; `None` where the path is none of one.
pub fn answer(head: &Head, body: &[u8]) -> Option<Result<Answer, Status>> {
    (head.path == ACCESS).then(|| {
        if head.method != Method::POST {
            return Err(Status::not_allowed());
        }
        let read = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
        let mut review = read.ok_or_else(|| Status::bad_request("the object provided is unrecognized"))?;
        review["kind"] = json!("SelfSubjectAccessReview");
        review["apiVersion"] = json!("authorization.k8s.io/v1");
        review["status"] = json!({"allowed": true, "reason": "there are no rights in the sandbox"});
        Ok(Answer::Object { code: 201, body: review, warnings: vec![] })
    })
}
