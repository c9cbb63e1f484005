//! Admission plugins of the API server that the product meets: what a request may not ask for although its object is
//! valid.

use serde_json::Value;

use super::state::{State, text};
use super::status::Status;
use crate::sandbox::builtin::quantity::Quantity;
use crate::sandbox::kinds::Kind;

impl State {
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
