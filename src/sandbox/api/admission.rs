//! Admission plugins of the API server that the product meets: what a request may not ask for although its object is
//! valid.

use serde_json::Value;

use super::state::{State, text};
use super::status::Status;
use crate::sandbox::builtin::quantity::Quantity;
use crate::sandbox::kinds::Kind;

/// The classes that every cluster has; the sandbox has no others.
const PRIORITY_CLASSES: [&str; 3] = ["", "system-cluster-critical", "system-node-critical"];

impl State {
    /// Whether there may be a `new` object.
    pub(super) fn admit_create(&self, kind: &Kind, new: &Value) -> Result<(), Status> {
        match &*kind.kind {
            "Pod" => self.admit_pod(kind, new),
            _ => Ok(()),
        }
    }

    /// Plugins `ServiceAccount` and `Priority`: what a pod refers to has to be there.
    fn admit_pod(&self, kind: &Kind, new: &Value) -> Result<(), Status> {
        let (namespace, name) = (text(new, &["metadata", "namespace"]), text(new, &["metadata", "name"]));
        let account = text(new, &["spec", "serviceAccountName"]);
        let accounts = self.kind("", "ServiceAccount");
        // Every namespace has its default one, which the sandbox does not show.
        let is_there = matches!(account, "" | "default")
            || accounts.is_some_and(|accounts| self.find(&accounts, namespace, account).is_ok());
        if !is_there {
            let why = format!(
                "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
            );
            return Err(Status::forbidden(kind, name, &why));
        }
        let class = text(new, &["spec", "priorityClassName"]);
        if !PRIORITY_CLASSES.contains(&class) {
            let why = format!("no PriorityClass with name {class} was found");
            return Err(Status::forbidden(kind, name, &why));
        }
        Ok(())
    }

    /// Whether an object may become `new`.
    pub(super) fn admit_update(&self, kind: &Kind, new: &Value, old: &Value) -> Result<(), Status> {
        match &*kind.kind {
            "PersistentVolumeClaim" => self.admit_size(kind, new, old),
            _ => Ok(()),
        }
    }

    /// Plugin `PersistentVolumeClaimResize`: a claim grows where its storage class says that it may.
    fn admit_size(&self, kind: &Kind, new: &Value, old: &Value) -> Result<(), Status> {
        let size =
            |claim: &Value| Quantity::parse(text(claim, &["spec", "resources", "requests", "storage"]));
        if size(new) <= size(old) {
            return Ok(());
        }
        let class = text(old, &["spec", "storageClassName"]);
        let classes = self.kind("storage.k8s.io", "StorageClass");
        let class = classes.and_then(|classes| self.find(&classes, "", class).ok());
        let why = if text(old, &["status", "phase"]) != "Bound" {
            "Only bound persistent volume claims can be expanded"
        } else if class.is_none_or(|class| class.value()["allowVolumeExpansion"] != true) {
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize"
        } else {
            return Ok(());
        };
        Err(Status::forbidden(kind, text(old, &["metadata", "name"]), why))
    }
}
