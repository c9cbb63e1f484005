//! What a client asks before it asks for objects: the version, the groups, their resources, and just enough `OpenAPI` for
//! kubectl to know that the server validates fields and can do dry runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::state::State;
use crate::sandbox::kinds::{Kind, group_version};

/// The Kubernetes version whose behaviour is simulated; the build metadata says that it is a simulation.
pub const VERSION: &str = "v1.36.3+polkafleet-sandbox";

/// The built-in groups in the order in which the server tells of them.
const GROUPS: [&str; 7] = [
    "apps",
    "events.k8s.io",
    "networking.k8s.io",
    "policy",
    "storage.k8s.io",
    "apiextensions.k8s.io",
    "coordination.k8s.io",
];

/// Answers a discovery path; `None` where it is none.
#[must_use]
pub fn answer(state: &State, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match &segments[..] {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        })),
        ["apis"] => {
            let mut all: Vec<(String, Vec<String>)> = groups(state).into_iter().collect();
            // Those of CRDs come last.
            all.sort_by_key(|(name, _)| GROUPS.iter().position(|one| one == name).unwrap_or(GROUPS.len()));
            let groups: Vec<Value> = all.iter().map(|(name, versions)| group(name, versions)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let groups = groups(state);
            let mut answer = group(name, groups.get(*name)?);
            answer["kind"] = json!("APIGroup");
            answer["apiVersion"] = json!("v1");
            Some(answer)
        }
        ["api", version] => resources(state, "", version),
        ["apis", group, version] => resources(state, group, version),
        ["openapi", "v3"] => Some(open_api_index(state)),
        ["openapi", "v3", "api", version] => open_api(state, "", version),
        ["openapi", "v3", "apis", group, version] => open_api(state, group, version),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}

fn groups(state: &State) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in state.kinds().filter(|kind| !kind.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version.clone());
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({"groupVersion": group_version(name, version), "version": version});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "preferredVersion": all.first(), "versions": all})
}

fn kinds_of<'a>(state: &'a State, group: &str, version: &str) -> Vec<&'a Arc<Kind>> {
    state.kinds().filter(|kind| kind.group == group && kind.version == version).collect()
}

fn resources(state: &State, group: &str, version: &str) -> Option<Value> {
    let kinds = kinds_of(state, group, version);
    let mut resources = vec![];
    for kind in &kinds {
        resources.extend(resource(kind));
    }
    if kinds.is_empty() {
        return None;
    }
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": group_version(group, version), "resources": resources,
    });
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Some(list)
}

/// A kind and its subresources.
fn resource(kind: &Kind) -> Vec<Value> {
    let mut main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs(kind), "storageVersionHash": storage_hash(kind),
    });
    if !kind.short.is_empty() {
        main["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        main["categories"] = json!(kind.categories);
    }
    let mut all = vec![main];
    let mut sub = |name: &str, of: &str, group: Option<(&str, &str)>, verbs: &[&str]| {
        let mut one = json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": of, "verbs": verbs,
        });
        if let Some((group, version)) = group {
            one["group"] = json!(group);
            one["version"] = json!(version);
        }
        all.push(one);
    };
    if kind.kind == "Pod" && kind.group.is_empty() {
        sub("proxy", "PodProxyOptions", None, &["create", "delete", "get", "patch", "update"]);
    }
    // The subresources of built-in kinds are sorted.
    for name in if kind.custom.is_some() { ["status", "scale"] } else { ["scale", "status"] } {
        if name == "scale" && kind.scale.is_some() {
            sub("scale", "Scale", Some(("autoscaling", "v1")), &["get", "patch", "update"]);
        }
        if name == "status" && kind.status {
            sub("status", &kind.kind, None, &["get", "patch", "update"]);
        }
    }
    all
}

fn verbs(kind: &Kind) -> Vec<&'static str> {
    let all = if kind.custom.is_some() {
        ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
    } else {
        ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    };
    all.into_iter().filter(|verb| *verb != "deletecollection" || kind.deletes_collections()).collect()
}

/// Tells clients whether objects have come to be stored in another version.
fn storage_hash(kind: &Kind) -> String {
    // Events of both groups are stored as those of the core group.
    let (group, version) = match &kind.custom {
        Some(custom) => custom.stored_as.split_once('/').unwrap_or_default(),
        None if kind.kind == "Event" => ("", "v1"),
        None if kind.kind == "CustomResourceDefinition" => (&*kind.group, "v1beta1"),
        None => (&*kind.group, &*kind.version),
    };
    let hash = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    BASE64_STANDARD.encode(&hash[..8])
}

fn open_api_index(state: &State) -> Value {
    let mut paths = json!({});
    for kind in state.kinds() {
        let root = if kind.group.is_empty() { "api" } else { "apis" };
        let path = format!("{root}/{}", kind.api_version());
        paths[&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=sandbox")});
    }
    json!({"paths": paths})
}

fn open_api(state: &State, group: &str, version: &str) -> Option<Value> {
    let kinds = kinds_of(state, group, version);
    let root = if group.is_empty() { "api" } else { "apis" };
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"].map(parameter).into();
    let mut paths = json!({});
    for kind in &kinds {
        let scope = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let base = format!("/{root}/{}/{scope}{}", kind.api_version(), kind.plural);
        let which = json!({"group": kind.group, "kind": kind.kind, "version": kind.version});
        let verb = |action: &str| json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": which, "parameters": parameters, "responses": {}});
        paths[&base] = json!({"post": verb("post")});
        paths[format!("{base}/{{name}}")] = json!({"patch": verb("patch"), "put": verb("put")});
    }
    let schemas = schemas(state, &kinds);
    (!kinds.is_empty()).then(|| {
        json!({"openapi": "3.0.0", "info": {"title": "Kubernetes (simulated)", "version": VERSION},
               "paths": paths, "components": {"schemas": schemas}})
    })
}

/// Custom resources as their definitions say. Of built-in kinds only that they are: enough for a client to find them,
/// too little to explain them.
fn schemas(state: &State, kinds: &[&Arc<Kind>]) -> Value {
    let mut all =
        json!({META: {"type": "object", "description": "ObjectMeta is metadata that all objects have."}});
    for kind in kinds {
        let mut schema = defined(state, kind)
            .unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": kind.group, "kind": kind.kind, "version": kind.version}]);
        all[format!("{}.{}.{}", kind.group, kind.version, kind.kind)] = schema;
    }
    all
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema in a kind's definition, with the fields that every object has.
fn defined(state: &State, kind: &Kind) -> Option<Value> {
    const CONVENTIONS: &str =
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
    let definitions = state.kind("apiextensions.k8s.io", "CustomResourceDefinition")?;
    let definition =
        state.find(&definitions, "", kind.custom.as_ref().map(|_| &*kind.storage)?).ok()?.value();
    let versions = definition["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|version| version["name"] == *kind.version)?;
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    let fields = [
        (
            "apiVersion",
            "APIVersion defines the versioned schema of this representation of an object. Servers should \
                        convert recognized schemas to the latest internal value, and may reject unrecognized values.",
            "resources",
        ),
        (
            "kind",
            "Kind is a string value representing the REST resource this object represents. Servers may infer this \
                  from the endpoint the client submits requests to. Cannot be updated. In CamelCase.",
            "types-kinds",
        ),
    ];
    for (field, words, anchor) in fields {
        schema["properties"][field] =
            json!({"type": "string", "description": format!("{words} More info: {CONVENTIONS}#{anchor}")});
    }
    schema["properties"]["metadata"] = json!({
        "description": format!("Standard object's metadata. More info: {CONVENTIONS}#metadata"),
        "allOf": [{"$ref": format!("#/components/schemas/{META}")}],
    });
    Some(schema)
}
