//! The API server's front: which verb a request is, and what is done with it.
//!
//! [`request`] reads it, [`read`], [`mod@write`], [`delete`] and [`watch`] act on the [`state`], [`types`] knows what the
//! kinds' own rules are, [`discovery`] tells what there is, [`table`] prints, [`status`] refuses.

mod admission;
mod delete;
mod discovery;
mod duplicates;
mod go;
mod labels;
mod options;
mod patch;
mod read;
mod request;
mod reviews;
mod scale;
mod select;
mod state;
mod status;
mod stored;
mod strategic;
mod table;
mod types;
mod warnings;
mod watch;
mod write;

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::delete::{FOREGROUND, ORPHAN};
pub use self::go::printed;
pub use self::request::{Head, Target};
pub use self::state::{State, key, text};
pub use self::status::Status;
pub use self::stored::from_storage;
pub use self::types::{has_finalizers, is_being_deleted, metadata_mut, time};
pub use self::warnings::Strictness;
pub use self::watch::Watch;
pub use self::write::{Done, Operation};

pub use self::patch::Patch;

/// The finalizer that lets a CRD wait for its resources.
pub const CRD_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
use super::kinds::Kind;

/// What is done with a request.
#[derive(Debug)]
pub enum Answer {
    /// JSON.
    Object {
        /// The HTTP status.
        code: u16,
        /// The body.
        body: Value,
        /// `Warning` headers.
        warnings: Vec<String>,
    },
    /// Plain text.
    Text(&'static str),
    /// A watch is to begin.
    Watch(Arc<Kind>, Option<String>),
    /// The request is for a pod.
    Proxy(Target),
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self::Object { code: 200, body, warnings: vec![] }
    }
}

/// Answers a request, but for what needs more than the state: watches and the proxy.
pub fn answer(state: &mut State, head: &Head, body: &[u8], now: Timestamp) -> Result<Answer, Status> {
    if matches!(&*head.path, "/healthz" | "/livez" | "/readyz") {
        return Ok(Answer::Text("ok"));
    }
    if let Some(found) = discovery::answer(state, &head.path) {
        // The list of groups does not ask how it is asked for.
        let may = head.method == Method::GET || head.path == "/apis";
        return if may { Ok(Answer::ok(found)) } else { Err(Status::not_allowed()) };
    }
    if let Some(reviewed) = reviews::answer(head, body) {
        return reviewed;
    }
    let target = Target::parse(&head.path);
    let served = target.as_ref().and_then(|target| {
        let kind = state.served(&target.group, &target.version, &target.plural)?;
        (target.namespace.is_none() || kind.namespaced).then_some(kind)
    });
    let (Some(target), Some(kind)) = (target, served) else {
        return Err(nothing_at(state, &head.path));
    };
    let is_collection = target.name.is_none();
    if !head.accepts_json() {
        return Err(Status::not_acceptable(kind.custom.is_some(), is_collection));
    }
    if head.method == Method::PATCH && kind.custom.is_none() && !patch::is_known(&head.content_type) {
        return Err(Status::unknown_patch());
    }
    if target.watch && (kind.custom.is_some() || target.name.is_some()) {
        return Err(nothing_at(state, &head.path));
    }
    let request = Request { head, body, target: &target, kind, now };
    match (target.name.as_deref(), target.subresource.as_deref()) {
        (None, _) => request.collection(state),
        (Some(_), Some("proxy")) if target.plural == "pods" => Ok(Answer::Proxy(target)),
        (Some(name), Some("scale")) if request.kind.scale.is_some() => request.scale(state, name),
        (Some(name), Some("status")) if request.kind.status => request.object(state, name, "status"),
        (Some(name), None) => request.object(state, name, ""),
        (Some(name), _) if request.kind.custom.is_some() => Err(Status::not_found(&request.kind, name)),
        _ => Err(Status::no_such_resource()),
    }
}

/// Built-in groups refuse in JSON, everybody else in plain text.
fn nothing_at(state: &State, path: &str) -> Status {
    let mut segments = path.trim_matches('/').split('/');
    let built_in = match segments.next() {
        Some("api") => true,
        Some("apis") => {
            let group = segments.next().unwrap_or_default();
            state.kinds().any(|kind| kind.group == group && kind.custom.is_none())
        }
        _ => false,
    };
    if built_in { Status::no_such_resource() } else { Status::no_such_path() }
}

struct Request<'a> {
    head: &'a Head,
    body: &'a [u8],
    target: &'a Target,
    kind: Arc<Kind>,
    now: Timestamp,
}

impl Request<'_> {
    fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    fn collection(&self, state: &mut State) -> Result<Answer, Status> {
        let namespace = self.target.namespace.as_deref();
        let kind = Arc::clone(&self.kind);
        match self.head.method {
            Method::GET if self.target.watch || self.head.is_set("watch") => {
                Ok(Answer::Watch(kind, self.target.namespace.clone()))
            }
            Method::GET => Ok(Answer::ok(state.list(&kind, namespace, self.head, self.now)?)),
            // Without a namespace there is nowhere to put it.
            Method::POST if namespace.is_some() != kind.namespaced => Err(Status::not_allowed()),
            Method::POST => {
                let body = types::read_body(&kind, self.head, self.body)?;
                let operation = self.operation(&kind, "", "")?;
                let twice = warnings::check_duplicates(&kind, self.head, self.body, operation.strictness)?;
                let mut done = state.create(&operation, body)?;
                done.warnings.splice(..0, twice);
                Ok(self.done(&kind, done))
            }
            Method::DELETE if namespace.is_some() == kind.namespaced && kind.deletes_collections() => {
                self.delete_collection(state, &kind)
            }
            Method::PUT if kind.custom.is_some() => Err(Status::bad_request("name must be provided")),
            _ => Err(Status::not_allowed()),
        }
    }

    fn delete_collection(&self, state: &mut State, kind: &Arc<Kind>) -> Result<Answer, Status> {
        let options = options::read(self.head, self.body)?;
        let mut list = state.list(kind, self.target.namespace.as_deref(), self.head, self.now)?;
        for item in list["items"].as_array_mut().into_iter().flatten() {
            let name = text(item, &["metadata", "name"]).to_owned();
            let operation = self.operation(kind, &name, "")?;
            state.delete(&operation, &options)?;
        }
        Ok(Answer::ok(list))
    }

    fn object(&self, state: &mut State, name: &str, subresource: &str) -> Result<Answer, Status> {
        if self.kind.namespaced && self.target.namespace.is_none() {
            return Err(Status::no_such_resource());
        }
        let kind = Arc::clone(&self.kind);
        let operation = self.operation(&kind, name, subresource)?;
        let done = match self.head.method {
            Method::GET => {
                let found = state.find(&kind, self.namespace(), name)?.value();
                let found = stored::from_storage(&kind, found);
                return Ok(Answer::ok(read::in_form(&kind, found, self.head, self.now)));
            }
            Method::PUT => {
                let body = types::read_body(&kind, self.head, self.body)?;
                let twice = warnings::check_duplicates(&kind, self.head, self.body, operation.strictness)?;
                let mut done = state.update(&operation, body)?;
                done.warnings.splice(..0, twice);
                done
            }
            Method::PATCH => {
                let patch = Patch::read(&kind, &self.head.content_type, self.body)?;
                state.patch(&operation, &patch)?
            }
            Method::DELETE if subresource.is_empty() => {
                let options = options::read(self.head, self.body)?;
                let dry_run = operation.dry_run || options["dryRun"] == json!(["All"]);
                state.delete(&Operation { dry_run, ..operation }, &options)?
            }
            Method::POST if kind.custom.is_some() => {
                let body = types::read_body(&kind, self.head, self.body)?;
                state.create(&Operation { name: "", ..operation }, body)?
            }
            _ if kind.custom.is_some() => return Err(Status::not_supported(&kind, &self.head.method)),
            _ => return Err(Status::not_allowed()),
        };
        Ok(self.done(&kind, done))
    }

    fn operation<'b>(
        &'b self,
        kind: &'b Kind,
        name: &'b str,
        subresource: &'b str,
    ) -> Result<Operation<'b>, Status> {
        options::check(self.head)?;
        Ok(Operation {
            kind,
            namespace: self.target.namespace.as_deref().unwrap_or_default(),
            name,
            subresource,
            manager: self.head.manager(),
            dry_run: self.head.query("dryRun").is_some(),
            strictness: Strictness::asked(self.head.query("fieldValidation")),
            force: self.head.is_set("force"),
            now: self.now,
        })
    }

    fn done(&self, kind: &Kind, done: Done) -> Answer {
        let body = if done.object["kind"] == "Status" {
            done.object
        } else {
            read::in_form(kind, done.object, self.head, self.now)
        };
        Answer::Object { code: done.code, body, warnings: done.warnings }
    }
}
