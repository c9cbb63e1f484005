//! The kinds that a simulated API server serves: the built-in ones of this table, and those of its CRDs.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::shape::Shape;
use super::store::{Resource, Stored};
use super::structural::Structural;

/// One served version of a kind.
#[derive(Debug)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural name in URLs.
    pub plural: String,
    /// The singular name.
    pub singular: String,
    /// The kind.
    pub kind: String,
    /// The kind of a list.
    pub list_kind: String,
    /// Short names for kubectl.
    pub short: Vec<String>,
    /// The categories it is in.
    pub categories: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether its status is a subresource.
    pub status: bool,
    /// Where its replicas are, if it can be scaled.
    pub scale: Option<Scale>,
    /// The name its objects are stored under; several versions share one.
    pub storage: Resource,
    /// The type of its fields.
    pub shape: Arc<Shape>,
    /// What only a custom resource has.
    pub custom: Option<Custom>,
}

/// The JSON paths of the scale subresource, as keys from the root.
#[derive(Clone, Debug)]
pub struct Scale {
    /// `spec.replicas`.
    pub spec: Vec<String>,
    /// `status.replicas`.
    pub status: Vec<String>,
    /// The label selector as text, where there is one.
    pub selector: Option<Vec<String>>,
}

/// What a CRD says of its kind.
#[derive(Debug)]
pub struct Custom {
    /// Defaults and validation.
    pub structural: Structural,
    /// `additionalPrinterColumns`.
    pub columns: Vec<Value>,
    /// The apiVersion that objects are stored with.
    pub stored_as: String,
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// Whether all of them can be deleted at once: nobody does that to namespaces.
    #[must_use]
    pub fn deletes_collections(&self) -> bool {
        self.custom.is_some() || self.kind != "Namespace"
    }

    /// `statefulsets.apps`, or `pods`: how errors name a resource.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `StatefulSet.apps`, or `Pod`: how validation errors name a kind.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }
}

/// `apps/v1`, or `v1` for the core group.
#[must_use]
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Group, version, plural, kind, short names, categories, namespaced, status subresource.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    bool,
    bool,
);

const BUILT_IN: [Row; 17] = [
    ("", "v1", "configmaps", "ConfigMap", &["cm"], &[], true, false),
    ("", "v1", "events", "Event", &["ev"], &[], true, false),
    ("", "v1", "namespaces", "Namespace", &["ns"], &[], false, true),
    ("", "v1", "nodes", "Node", &["no"], &[], false, true),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", &["pvc"], &[], true, true),
    ("", "v1", "pods", "Pod", &["po"], &["all"], true, true),
    ("", "v1", "secrets", "Secret", &[], &[], true, false),
    ("", "v1", "serviceaccounts", "ServiceAccount", &["sa"], &[], true, false),
    ("", "v1", "services", "Service", &["svc"], &["all"], true, true),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        &["crd", "crds"],
        &["api-extensions"],
        false,
        true,
    ),
    ("apps", "v1", "controllerrevisions", "ControllerRevision", &[], &[], true, false),
    ("apps", "v1", "statefulsets", "StatefulSet", &["sts"], &["all"], true, true),
    ("coordination.k8s.io", "v1", "leases", "Lease", &[], &[], true, false),
    ("events.k8s.io", "v1", "events", "Event", &["ev"], &[], true, false),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", &["netpol"], &[], true, false),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", &["pdb"], &[], true, true),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass", &["sc"], &[], false, false),
];

/// The built-in kinds; every simulated cluster shares them.
pub static BUILT_INS: LazyLock<Vec<Arc<Kind>>> =
    LazyLock::new(|| BUILT_IN.iter().map(|row| Arc::new(built_in(row))).collect());

fn built_in(&(group, version, plural, kind, short, categories, namespaced, status): &Row) -> Kind {
    let path = |path: &[&str]| path.iter().map(|key| (*key).to_owned()).collect();
    // Both groups show the same events.
    let storage = if plural == "events" { "events".to_owned() } else { format!("{plural}.{group}") };
    Kind {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        short: short.iter().map(|name| (*name).to_owned()).collect(),
        categories: categories.iter().map(|name| (*name).to_owned()).collect(),
        namespaced,
        status,
        scale: (kind == "StatefulSet").then(|| Scale {
            spec: path(&["spec", "replicas"]),
            status: path(&["status", "replicas"]),
            selector: None,
        }),
        storage: storage.trim_end_matches('.').into(),
        shape: Shape::of_builtin(&group_version(group, version), kind)
            .unwrap_or_else(|| Arc::new(Shape::Any)),
        custom: None,
    }
}

/// The kinds of CRDs, compiled once for all clusters that have the same.
#[derive(Default)]
pub struct Catalogue(Mutex<BTreeMap<String, Vec<Arc<Kind>>>>);

impl Catalogue {
    /// The kinds of a stored CRD.
    pub fn kinds(&self, crd: &Stored) -> Vec<Arc<Kind>> {
        let crd = crd.value();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(crd["spec"].to_string()).or_insert_with(|| of_crd(&crd)).clone()
    }
}

/// The kinds that a CRD serves; none of a version that cannot be compiled.
#[must_use]
fn of_crd(crd: &Value) -> Vec<Arc<Kind>> {
    let spec = &crd["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let (group, names) = (text(&spec["group"]), &spec["names"]);
    let versions = spec["versions"].as_array().into_iter().flatten();
    let stored =
        versions.clone().find(|version| version["storage"] == true).map(|version| text(&version["name"]));
    let storage: Resource = format!("{}.{group}", text(&names["plural"])).into();
    versions
        .filter(|version| version["served"] == true)
        .filter_map(|version| {
            let schema = &version["schema"]["openAPIV3Schema"];
            let subresources = &version["subresources"];
            Some(Arc::new(Kind {
                group: group.clone(),
                version: text(&version["name"]),
                plural: text(&names["plural"]),
                singular: text(&names["singular"]),
                kind: text(&names["kind"]),
                list_kind: text(&names["listKind"]),
                short: texts(&names["shortNames"]),
                categories: texts(&names["categories"]),
                namespaced: spec["scope"] == "Namespaced",
                status: subresources["status"].is_object(),
                scale: scale(&subresources["scale"]),
                storage: Arc::clone(&storage),
                shape: Arc::new(Shape::of_crd(schema)),
                custom: Some(Custom {
                    structural: Structural::compile(schema).ok()?.with_scale(scale(&subresources["scale"])),
                    columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
                    stored_as: group_version(&group, stored.as_deref().unwrap_or_default()),
                }),
            }))
        })
        .collect()
}

fn scale(scale: &Value) -> Option<Scale> {
    let path = |key: &str| {
        let path = scale[key].as_str()?;
        Some(path.trim_start_matches('.').split('.').map(str::to_owned).collect())
    };
    Some(Scale {
        spec: path("specReplicasPath")?,
        status: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}
