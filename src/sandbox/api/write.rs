//! Creating and changing objects: the order of checks, defaults, ownership and storing that every write goes through.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::patch::{self, Patch};
use super::state::{State, key, text};
use super::status::Status;
use super::warnings::Strictness;
use super::{stored, types, warnings};
use crate::sandbox::cause::Cause;
use crate::sandbox::kinds::Kind;
use crate::sandbox::managed::{self, ApplyError, Writer};
use crate::sandbox::store::Stored;

/// Who writes what, and how.
#[derive(Clone, Copy)]
pub struct Operation<'a> {
    /// The kind of the object.
    pub kind: &'a Kind,
    /// Its namespace, or nothing.
    pub namespace: &'a str,
    /// Its name as the URL has it; empty for a creation.
    pub name: &'a str,
    /// `status`, or nothing.
    pub subresource: &'a str,
    /// The field manager.
    pub manager: &'a str,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// What becomes of fields that the kind does not have.
    pub strictness: Strictness,
    /// Whether an apply takes fields from others.
    pub force: bool,
    /// Fleet time.
    pub now: Timestamp,
}

/// A write that took place.
#[derive(Debug)]
pub struct Done {
    /// 200 or 201.
    pub code: u16,
    /// The object as it is now.
    pub object: Value,
    /// Warnings for the person at the keyboard.
    pub warnings: Vec<String>,
}

/// Whether ownership is still to be worked out for an object.
#[derive(Clone, Copy, PartialEq)]
enum Ownership {
    /// By what the write changed.
    Track,
    /// It came out of an apply.
    Applied,
}

impl State {
    /// POST.
    pub fn create(&mut self, operation: &Operation<'_>, body: Value) -> Result<Done, Status> {
        self.create_as(operation, body, Ownership::Track)
    }

    fn create_as(
        &mut self,
        on: &Operation<'_>,
        mut new: Value,
        ownership: Ownership,
    ) -> Result<Done, Status> {
        let kind = on.kind;
        let version = kind.api_version();
        let warnings = types::decode(kind, &mut new, on.strictness)?;
        let name = self.name_of_new(on, &mut new)?;
        if !text(&new, &["metadata", "resourceVersion"]).is_empty() {
            return Err(Status::unexplained("resourceVersion should not be set on objects to be created"));
        }
        self.check_namespace(kind, on.namespace, &name)?;
        let fresh = json!({"uid": types::new_uid(), "creationTimestamp": types::time(on.now)});
        let metadata = types::metadata_mut(&mut new);
        for gone in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            metadata.remove(gone);
        }
        metadata.extend(fresh.as_object().cloned().unwrap_or_default());
        if kind.namespaced {
            metadata.insert("namespace".into(), json!(on.namespace));
        } else {
            metadata.remove("namespace");
        }
        types::prepare_create(kind, &mut new);
        if ownership == Ownership::Track {
            managed::track_update(None, &mut new, &kind.shape, &writer(on, &version));
        }
        types::complete_create(kind, &mut new);
        self.admit_create(kind, &new)?;
        types::validate(kind, on.subresource, &new, None)?;
        types::give_addresses(self, kind, &mut new, None, on.dry_run)?;
        let at = key(kind, on.namespace, &name);
        if let Some(there) = self.store.get(&at) {
            let mut status = Status::already_exists(kind, &name);
            if types::is_being_deleted(&there.value()) {
                status.message.insert_str(0, "object is being deleted: ");
            }
            return Err(status);
        }
        let warnings = [warnings, warnings::finalizer_warnings(kind, &new, None)].concat();
        let object = if on.dry_run { new } else { self.store.put(at, stored::to_storage(kind, new)) };
        Ok(Done { code: 201, object: stored::from_storage(kind, object), warnings })
    }

    /// The name of an object to be made; a generated one is written into it.
    fn name_of_new(&self, on: &Operation<'_>, new: &mut Value) -> Result<String, Status> {
        types::check_namespace_of(on.kind, on.namespace, new)?;
        let metadata = types::metadata_mut(new);
        let given = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        if !given.is_empty() {
            if !on.name.is_empty() && given != on.name {
                return Err(types::other_name(given, on.name));
            }
            return Ok(given.to_owned());
        }
        let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned) else {
            return Ok(String::new());
        };
        for _ in 0..8 {
            let name = format!("{prefix}{}", types::random_suffix());
            if self.store.get(&key(on.kind, on.namespace, &name)).is_none() {
                types::metadata_mut(new).insert("name".into(), json!(name));
                return Ok(name);
            }
        }
        Err(Status::already_exists(on.kind, &prefix))
    }

    /// PUT.
    pub fn update(&mut self, on: &Operation<'_>, mut body: Value) -> Result<Done, Status> {
        let warnings = types::decode(on.kind, &mut body, on.strictness)?;
        types::check_namespace_of(on.kind, on.namespace, &body)?;
        types::fill_namespace(on, &mut body);
        let named = text(&body, &["metadata", "name"]);
        if named != on.name {
            return Err(types::other_name(named, on.name));
        }
        let live = match self.find(on.kind, on.namespace, on.name) {
            Ok(live) => live,
            Err(_) if types::is_created_by_update(on.kind) => {
                types::metadata_mut(&mut body).remove("resourceVersion");
                return self.create(on, body);
            }
            Err(missing) => return Err(missing),
        };
        let version = text(&body, &["metadata", "resourceVersion"]).to_owned();
        if version.is_empty() {
            // Leases, too, are not replaced blindly.
            if on.kind.custom.is_some() || on.kind.kind == "Lease" {
                return Err(types::version_required(on.kind, on.name));
            }
            types::metadata_mut(&mut body).insert("resourceVersion".into(), json!(live.revision.to_string()));
        }
        if version.parse::<u64>().is_err() && !version.is_empty() {
            return Err(Status::unexplained(format!(
                "strconv.ParseUint: parsing {version:?}: invalid syntax"
            )));
        }
        let asked = text(&body, &["metadata", "uid"]);
        if !asked.is_empty() && asked != &*live.uid {
            let why = other_uid(on, asked, &live.uid);
            return Err(Status::conflict(on.kind, on.name, &why));
        }
        self.replace(on, &live, body, Ownership::Track, warnings)
    }

    /// PATCH of any kind.
    pub fn patch(&mut self, on: &Operation<'_>, patch: &Patch) -> Result<Done, Status> {
        let live = self.find(on.kind, on.namespace, on.name);
        if let Patch::Apply(config) = patch {
            return self.apply(on, live.ok().as_ref(), config);
        }
        let live = live?;
        let mut new = patch::patched(on.kind, stored::from_storage(on.kind, live.value()), patch)?;
        let shown = new.clone();
        let warnings = types::decode(on.kind, &mut new, on.strictness)
            .map_err(|status| patch::undecodable(on.kind, patch, &shown, status))?;
        let named = text(&new, &["metadata", "name"]);
        if named != on.name {
            return Err(types::other_name(named, on.name));
        }
        types::check_namespace_of(on.kind, on.namespace, &new)?;
        types::fill_namespace(on, &mut new);
        self.replace(on, &live, new, Ownership::Track, warnings)
    }

    fn apply(
        &mut self,
        on: &Operation<'_>,
        live: Option<&Arc<Stored>>,
        config: &Value,
    ) -> Result<Done, Status> {
        let mut config = config.clone();
        types::check_apply(on, &config)?;
        types::keep_part(on.kind, on.subresource, &mut config);
        let is = live.map(|live| stored::from_storage(on.kind, live.value()));
        let api_version = on.kind.api_version();
        let new = managed::apply(is.as_ref(), &config, &on.kind.shape, &writer(on, &api_version), on.force);
        let mut new = new.map_err(|error| {
            let message = error.to_string();
            match error {
                ApplyError::Conflicts(conflicts) => {
                    Status::apply_conflict(message, &managed::causes(&conflicts))
                }
                ApplyError::Misfit(_) => Status::unexplained(message),
                ApplyError::ManagedFieldsGiven => Status::bad_request(message),
            }
        })?;
        types::normalize(on.kind, &mut new);
        match live {
            None if !on.subresource.is_empty() => Err(Status::not_found(on.kind, on.name)),
            None => {
                let uid = text(&config, &["metadata", "uid"]);
                if !uid.is_empty() {
                    let cause = Cause::invalid("metadata.uid", &json!(uid), "field is immutable");
                    return Err(Status::invalid(on.kind, on.name, &[cause]));
                }
                types::metadata_mut(&mut new).remove("resourceVersion");
                self.create_as(on, new, Ownership::Applied)
            }
            Some(live) => self.replace(on, live, new, Ownership::Applied, vec![]),
        }
    }

    /// Puts `new` in the place of `live`, if that may be.
    fn replace(
        &mut self,
        on: &Operation<'_>,
        live: &Stored,
        mut new: Value,
        ownership: Ownership,
        warnings: Vec<String>,
    ) -> Result<Done, Status> {
        let kind = on.kind;
        let old = stored::from_storage(kind, live.value());
        let version = text(&new, &["metadata", "resourceVersion"]);
        if !version.is_empty() && version != live.revision.to_string() {
            return Err(Status::modified(kind, on.name));
        }
        types::prepare_update(kind, on.subresource, &mut new, &old);
        if ownership == Ownership::Track {
            let version = kind.api_version();
            managed::track_update(Some(&old), &mut new, &kind.shape, &writer(on, &version));
        }
        types::complete_update(kind, on.subresource, &mut new, &old);
        types::validate(kind, on.subresource, &new, Some(&old))?;
        self.admit_update(kind, &new, &old)?;
        types::give_addresses(self, kind, &mut new, Some(&old), on.dry_run)?;
        types::metadata_mut(&mut new)
            .insert("resourceVersion".into(), old["metadata"]["resourceVersion"].clone());
        managed::settle_times(&old, &mut new);
        let warnings = [warnings, warnings::finalizer_warnings(kind, &new, Some(&old))].concat();
        let finished = types::is_being_deleted(&new) && !types::has_finalizers(kind, &new);
        if on.dry_run || (new == old && !finished) {
            return Ok(Done { code: 200, object: new, warnings });
        }
        let at = key(kind, on.namespace, on.name);
        if finished && types::grace(&new) == 0 {
            self.store.remove(&at);
            return Ok(Done { code: 200, object: new, warnings });
        }
        let object = self.store.put(at, stored::to_storage(kind, new));
        Ok(Done { code: 200, object: stored::from_storage(kind, object), warnings })
    }
}

fn writer<'a>(on: &Operation<'a>, api_version: &'a str) -> Writer<'a> {
    let not_written: &[&str] = match on.subresource {
        "" if on.kind.status => &["status"],
        "status" => &["spec"],
        _ => &[],
    };
    Writer { manager: on.manager, subresource: on.subresource, api_version, not_written, now: on.now }
}

/// The object has another uid than the request says, in the server's words; they tell where it is stored.
fn other_uid(on: &Operation<'_>, asked: &str, is: &str) -> String {
    let kind = on.kind;
    let place = match (&kind.custom, &*kind.kind) {
        (Some(_), _) => format!("{}/{}", kind.group, kind.plural),
        (None, "Service") => "services/specs".into(),
        (None, _) => kind.plural.clone(),
    };
    let namespace = if kind.namespaced { format!("{}/", on.namespace) } else { String::new() };
    format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{place}/{namespace}{}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {asked}, UID in object meta: {is}",
        on.name
    )
}
