//! Objects as rows, as `kubectl get` prints them: the server chooses the columns.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::text;
use crate::sandbox::kinds::Kind;

/// A column: its name, its type, and whether it is shown only with `-o wide`.
type Column = (&'static str, &'static str, bool);

/// A `Table` of `objects`, each with its metadata (or whole, or not at all, as `include` says).
#[must_use]
pub fn table(
    kind: &Kind,
    objects: &[Value],
    metadata: &Value,
    include: Option<&str>,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells(kind, object, now)});
            match include {
                Some("None") => row["object"] = Value::Null,
                Some("Object") => row["object"] = object.clone(),
                _ => row["object"] = partial(object),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(kind), "rows": rows,
    })
}

/// Only the metadata of an object.
#[must_use]
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn columns(kind: &Kind) -> Vec<Value> {
    let column = |name: &str, type_: &str, format: &str, priority: i64| json!({"name": name, "type": type_, "format": format, "description": "", "priority": priority});
    let mut all = vec![];
    if let Some(custom) = &kind.custom {
        all.push(column("Name", "string", "name", 0));
        for one in &custom.columns {
            let of = |key| text(one, &[key]);
            all.push(column(of("name"), of("type"), of("format"), one["priority"].as_i64().unwrap_or(0)));
        }
        if custom.columns.is_empty() {
            all.push(column("Age", "date", "", 0));
        }
        return all;
    }
    for (name, type_, wide) in built_in(&kind.kind) {
        let format = if *name == "Name" { "name" } else { "" };
        all.push(column(name, type_, format, i64::from(*wide)));
    }
    all
}

#[allow(clippy::too_many_lines)] // A table.
fn built_in(kind: &str) -> &'static [Column] {
    const S: &str = "string";
    match kind {
        "Pod" => &[
            ("Name", S, false),
            ("Ready", S, false),
            ("Status", S, false),
            ("Restarts", S, false),
            ("Age", S, false),
            ("IP", S, true),
            ("Node", S, true),
            ("Nominated Node", S, true),
            ("Readiness Gates", S, true),
        ],
        "StatefulSet" => &[
            ("Name", S, false),
            ("Ready", S, false),
            ("Age", S, false),
            ("Containers", S, true),
            ("Images", S, true),
        ],
        "Service" => &[
            ("Name", S, false),
            ("Type", S, false),
            ("Cluster-IP", S, false),
            ("External-IP", S, false),
            ("Port(s)", S, false),
            ("Age", S, false),
            ("Selector", S, true),
        ],
        "ConfigMap" => &[("Name", S, false), ("Data", "integer", false), ("Age", S, false)],
        "Secret" => &[("Name", S, false), ("Type", S, false), ("Data", "integer", false), ("Age", S, false)],
        "PersistentVolumeClaim" => &[
            ("Name", S, false),
            ("Status", S, false),
            ("Volume", S, false),
            ("Capacity", S, false),
            ("Access Modes", S, false),
            ("StorageClass", S, false),
            ("VolumeAttributesClass", S, false),
            ("Age", S, false),
            ("VolumeMode", S, true),
        ],
        "NetworkPolicy" => &[("Name", S, false), ("Pod-Selector", S, false), ("Age", S, false)],
        "PodDisruptionBudget" => &[
            ("Name", S, false),
            ("Min Available", S, false),
            ("Max Unavailable", S, false),
            ("Allowed Disruptions", "integer", false),
            ("Age", S, false),
        ],
        "Namespace" | "Node" => &[("Name", S, false), ("Status", S, false), ("Age", S, false)],
        "Lease" => &[("Name", S, false), ("Holder", S, false), ("Age", S, false)],
        "ControllerRevision" => {
            &[("Name", S, false), ("Controller", S, false), ("Revision", S, false), ("Age", S, false)]
        }
        "CustomResourceDefinition" => &[("Name", S, false), ("Created At", "date", false)],
        "ServiceAccount" => &[("Name", S, false), ("Secrets", S, false), ("Age", S, false)],
        "Event" => &[
            ("Last Seen", S, false),
            ("Type", S, false),
            ("Reason", S, false),
            ("Object", S, false),
            ("Subobject", S, true),
            ("Source", S, true),
            ("Message", S, false),
            ("First Seen", S, true),
            ("Count", S, true),
            ("Name", S, true),
        ],
        _ => &[("Name", S, false), ("Age", S, false)],
    }
}

fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    let age = json!(since(text(object, &["metadata", "creationTimestamp"]), now));
    if let Some(custom) = &kind.custom {
        let mut cells = vec![name];
        cells.extend(custom.columns.iter().map(|column| printed(object, column, now)));
        if custom.columns.is_empty() {
            cells.push(age);
        }
        return cells;
    }
    let mut cells = own_cells(&kind.kind, object, now);
    match &*kind.kind {
        "Event" => return cells,
        "CustomResourceDefinition" => return vec![name, object["metadata"]["creationTimestamp"].clone()],
        _ => {}
    }
    cells.insert(0, name);
    // The age stands before the columns that are only shown wide.
    let narrow = built_in(&kind.kind).iter().take_while(|column| column.0 != "Age").count();
    cells.insert(narrow.min(cells.len()), age);
    cells
}

/// The cells of a built-in kind, without name and age.
fn own_cells(kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    let get = |path: &[&str]| json!(text(object, path));
    let or_none = |path: &[&str]| match text(object, path) {
        "" => json!("<none>"),
        found => json!(found),
    };
    let count = |value: &Value| value.as_object().map_or(0, serde_json::Map::len);
    let spec = &object["spec"];
    match kind {
        "Pod" => pod(object, now),
        "StatefulSet" => {
            let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0);
            let containers = &spec["template"]["spec"]["containers"];
            vec![
                json!(format!("{ready}/{}", spec["replicas"].as_i64().unwrap_or(0))),
                json!(joined(containers, "name")),
                json!(joined(containers, "image")),
            ]
        }
        "Service" => vec![
            get(&["spec", "type"]),
            or_none(&["spec", "clusterIP"]),
            json!(if spec["type"] == "LoadBalancer" { "<pending>" } else { "<none>" }),
            json!(ports(spec)),
            json!(labels(&spec["selector"])),
        ],
        "ConfigMap" => vec![json!(count(&object["data"]) + count(&object["binaryData"]))],
        "Secret" => vec![object["type"].clone(), json!(count(&object["data"]))],
        "PersistentVolumeClaim" => vec![
            get(&["status", "phase"]),
            get(&["spec", "volumeName"]),
            get(&["status", "capacity", "storage"]),
            json!(access_modes(&object["status"]["accessModes"])),
            get(&["spec", "storageClassName"]),
            json!("<unset>"),
            get(&["spec", "volumeMode"]),
        ],
        "NetworkPolicy" => vec![json!(labels(&spec["podSelector"]["matchLabels"]))],
        "PodDisruptionBudget" => {
            let of = |key: &str| match &spec[key] {
                Value::Null => json!("N/A"),
                Value::String(text) => json!(text),
                number => json!(number.to_string()),
            };
            let allowed = object["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
            vec![of("minAvailable"), of("maxUnavailable"), json!(allowed)]
        }
        "Namespace" => vec![get(&["status", "phase"])],
        "Node" => vec![json!("Ready")],
        "Lease" => vec![get(&["spec", "holderIdentity"])],
        "ControllerRevision" => {
            let owner = &object["metadata"]["ownerReferences"][0];
            let group = text(owner, &["apiVersion"]).split('/').next().unwrap_or_default();
            let kind = text(owner, &["kind"]).to_lowercase();
            vec![json!(format!("{kind}.{group}/{}", text(owner, &["name"]))), object["revision"].clone()]
        }
        "ServiceAccount" => vec![json!(object["secrets"].as_array().map_or(0, Vec::len).to_string())],
        "Event" => event(object, now),
        _ => vec![],
    }
}

fn pod(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let of = |list: &str| status[list].as_array().map_or(&[][..], Vec::as_slice);
    let ready = of("containerStatuses").iter().filter(|one| one["ready"] == true).count();
    let total = object["spec"]["containers"].as_array().map_or(0, Vec::len);
    let initializing = initializing(object);
    // As long as it initializes, the restarts of the init containers are shown.
    let containers = of(if initializing.is_some() { "initContainerStatuses" } else { "containerStatuses" });
    let mut shown = text(status, &["phase"]).to_owned();
    for state in of("containerStatuses").iter().map(|one| &one["state"]) {
        for part in ["waiting", "terminated"] {
            let reason = text(state, &[part, "reason"]);
            if !reason.is_empty() {
                reason.clone_into(&mut shown);
            }
        }
    }
    shown = initializing.unwrap_or(shown);
    if !object["metadata"]["deletionTimestamp"].is_null() {
        shown = "Terminating".into();
    }
    let restarts: i64 = containers.iter().filter_map(|one| one["restartCount"].as_i64()).sum();
    let last = containers.iter().map(|one| text(one, &["lastState", "terminated", "finishedAt"])).max();
    let restarts = match last {
        Some(last) if restarts > 0 && !last.is_empty() => format!("{restarts} ({} ago)", since(last, now)),
        _ => restarts.to_string(),
    };
    let or_none = |path: &[&str]| match text(object, path) {
        "" => json!("<none>"),
        found => json!(found),
    };
    vec![
        json!(format!("{ready}/{total}")),
        json!(shown),
        json!(restarts),
        or_none(&["status", "podIP"]),
        or_none(&["spec", "nodeName"]),
        json!("<none>"),
        json!("<none>"),
    ]
}

/// How far a pod's init containers are; `None`: all are through.
fn initializing(pod: &Value) -> Option<String> {
    let inits = pod["status"]["initContainerStatuses"].as_array()?;
    let (index, at) =
        inits.iter().enumerate().find(|(_, one)| one["state"]["terminated"]["exitCode"] != 0)?;
    let [ended, waiting] = ["terminated", "waiting"].map(|part| text(at, &["state", part, "reason"]));
    Some(match (ended, waiting) {
        ("", "" | "PodInitializing") => format!("Init:{index}/{}", inits.len()),
        ("", reason) | (reason, _) => format!("Init:{reason}"),
    })
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = |paths: &[&[&str]]| {
        paths
            .iter()
            .map(|path| text(object, path))
            .find(|found| !found.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let about = &object["involvedObject"];
    let last = first(&[&["series", "lastObservedTime"], &["lastTimestamp"], &["eventTime"]]);
    let begun = first(&[&["firstTimestamp"], &["eventTime"]]);
    let source = first(&[&["source", "component"], &["reportingComponent"]]);
    let count = object["series"]["count"].as_i64().or_else(|| object["count"].as_i64()).unwrap_or(1);
    vec![
        json!(since(&last, now)),
        object["type"].clone(),
        object["reason"].clone(),
        json!(format!("{}/{}", text(about, &["kind"]).to_lowercase(), text(about, &["name"]))),
        json!(text(about, &["fieldPath"])),
        json!(source),
        json!(text(object, &["message"]).trim()),
        json!(since(&begun, now)),
        json!(count),
        object["metadata"]["name"].clone(),
    ]
}

/// A column of a CRD: the paths that CRDs use are keys and `[?(@.type=="Ready")]` filters.
fn printed(object: &Value, column: &Value, now: Timestamp) -> Value {
    let found = at_path(object, text(column, &["jsonPath"]));
    match (text(column, &["type"]), found) {
        (_, None | Some(Value::Null)) => Value::Null,
        ("date", Some(found)) => json!(since(found.as_str().unwrap_or_default(), now)),
        ("string", Some(found)) if !found.is_string() => json!(found.to_string()),
        (_, Some(found)) => found.clone(),
    }
}

fn at_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    let mut rest = path.trim_start_matches('.');
    while !rest.is_empty() {
        if let Some(filter) = rest.strip_prefix("[?(@.") {
            let (condition, after) = filter.split_once(")]")?;
            let (key, wanted) = condition.split_once("==")?;
            let wanted = wanted.trim().trim_matches(['"', '\'']);
            value = value.as_array()?.iter().find(|item| item[key.trim()] == wanted)?;
            rest = after.trim_start_matches('.');
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        value = value.get(&rest[..end])?;
        rest = rest[end..].trim_start_matches('.');
    }
    Some(value)
}

fn joined(items: &Value, key: &str) -> String {
    let items = items.as_array().into_iter().flatten();
    items.map(|item| text(item, &[key])).collect::<Vec<_>>().join(",")
}

fn labels(labels: &Value) -> String {
    let pairs: Vec<_> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

fn ports(spec: &Value) -> String {
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| {
        let node = port["nodePort"].as_i64().map(|node| format!(":{node}")).unwrap_or_default();
        format!("{}{node}/{}", port["port"], text(port, &["protocol"]))
    });
    let ports: Vec<_> = ports.collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",") }
}

fn access_modes(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    modes.as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",")
}

/// How long ago, as kubectl's users know it: `45s`, `3m20s`, `5h`, `2d`.
fn since(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return "<unknown>".into() };
    let seconds = now.duration_since(time).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |large: i64, unit: &str, small: i64, part: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{part}") }
    };
    match seconds {
        ..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => with(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => with(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        for (then, expected) in [
            ("2026-01-09T23:59:15Z", "45s"),
            ("2026-01-09T23:56:40Z", "3m20s"),
            ("2026-01-09T23:30:00Z", "30m"),
            ("2026-01-09T19:00:00Z", "5h"),
            ("2026-01-07T00:00:00Z", "3d"),
            ("nonsense", "<unknown>"),
        ] {
            assert_eq!(since(then, now), expected);
        }
    }

    #[test]
    fn a_column_may_pick_a_condition_by_its_type() {
        let object = json!({"status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        let path = ".status.conditions[?(@.type==\"Ready\")].status";
        assert_eq!(at_path(&object, path), Some(&json!("True")));
        assert_eq!(at_path(&object, ".status.none"), None);
    }
}
