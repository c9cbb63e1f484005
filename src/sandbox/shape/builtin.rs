//! The shapes of the built-in kinds.
//!
//! Structure is taken from the types of `k8s_openapi`. Their schemas leave out how lists and maps merge and which
//! fields are always there, so that is written down here, as Kubernetes 1.36 publishes it under `/openapi/v3`; so are
//! the fields younger than those types.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::events::v1::Event as EventsEvent;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Resource, schemars};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use super::{Field, Scalar, Shape, Struct};

/// Lists of maps, and the fields that tell their items apart, each with its value in an item that leaves it out.
const KEYED: &[(&str, &str)] = &[
    ("Container.env", "name="),
    ("Container.ports", "containerPort=0 protocol=TCP"),
    ("Container.volumeDevices", "devicePath="),
    ("Container.volumeMounts", "mountPath="),
    ("ContainerStatus.allocatedResourcesStatus", "name="),
    ("ContainerStatus.volumeMounts", "mountPath="),
    ("CustomResourceDefinitionStatus.conditions", "type="),
    ("EphemeralContainer.env", "name="),
    ("EphemeralContainer.ports", "containerPort=0 protocol=TCP"),
    ("EphemeralContainer.volumeDevices", "devicePath="),
    ("EphemeralContainer.volumeMounts", "mountPath="),
    ("NamespaceStatus.conditions", "type="),
    ("NodeStatus.addresses", "type="),
    ("NodeStatus.conditions", "type="),
    ("ObjectMeta.ownerReferences", "uid="),
    ("PersistentVolumeClaimStatus.conditions", "type="),
    ("PodDisruptionBudgetStatus.conditions", "type="),
    ("PodSpec.containers", "name="),
    ("PodSpec.ephemeralContainers", "name="),
    ("PodSpec.hostAliases", "ip="),
    ("PodSpec.imagePullSecrets", "name="),
    ("PodSpec.initContainers", "name="),
    ("PodSpec.resourceClaims", "name="),
    ("PodSpec.schedulingGates", "name="),
    ("PodSpec.topologySpreadConstraints", "topologyKey= whenUnsatisfiable="),
    ("PodSpec.volumes", "name="),
    ("PodStatus.conditions", "type="),
    ("PodStatus.podIPs", "ip="),
    ("PodStatus.resourceClaimStatuses", "name="),
    ("ResourceRequirements.claims", "name="),
    ("ResourceStatus.resources", "resourceID="),
    ("ServiceAccount.secrets", "name"),
    ("ServiceSpec.ports", "port=0 protocol=TCP"),
    ("ServiceStatus.conditions", "type="),
    ("StatefulSetStatus.conditions", "type="),
];

/// Lists of distinct scalars.
const SETS: &[&str] = &["NodeSpec.podCIDRs", "ObjectMeta.finalizers"];

/// Types, and single fields, that are maps but one value.
const ATOMIC: &[&str] = &[
    "ConfigMapKeySelector",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "PodSpec.nodeSelector",
    "RawExtension",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "ServiceSpec.selector",
    "TypedLocalObjectReference",
];

/// The fields that are always there, and what is in them when nobody set them.
const ZEROS: &[(&str, &str)] = &[
    ("ConfigMap", r#"{"metadata":{}}"#),
    ("Container", r#"{"resources":{}}"#),
    ("ContainerStatus", r#"{"lastState":{},"state":{}}"#),
    ("ControllerRevision", r#"{"metadata":{},"revision":0}"#),
    ("CustomResourceDefinition", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("CustomResourceDefinitionNames", r#"{"kind":"","plural":""}"#),
    ("CustomResourceDefinitionSpec", r#"{"group":"","names":{},"scope":"","versions":null}"#),
    ("CustomResourceDefinitionStatus", r#"{"acceptedNames":{},"conditions":null,"storedVersions":null}"#),
    ("DaemonEndpoint", r#"{"Port":0}"#),
    ("EphemeralContainer", r#"{"resources":{}}"#),
    ("Lease", r#"{"metadata":{},"spec":{}}"#),
    ("Namespace", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("NetworkPolicy", r#"{"metadata":{},"spec":{}}"#),
    ("NetworkPolicySpec", r#"{"podSelector":{}}"#),
    ("Node", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("NodeDaemonEndpoints", r#"{"kubeletEndpoint":{}}"#),
    ("NodeStatus", r#"{"daemonEndpoints":{},"nodeInfo":{}}"#),
    (
        "NodeSystemInfo",
        r#"{"architecture":"","bootID":"","containerRuntimeVersion":"","kernelVersion":"","kubeProxyVersion":"",
            "kubeletVersion":"","machineID":"","operatingSystem":"","osImage":"","systemUUID":""}"#,
    ),
    ("PersistentVolumeClaim", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("PersistentVolumeClaimSpec", r#"{"resources":{}}"#),
    ("PersistentVolumeClaimTemplate", r#"{"metadata":{},"spec":{}}"#),
    ("Pod", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("PodDisruptionBudget", r#"{"metadata":{},"spec":{},"status":{}}"#),
    (
        "PodDisruptionBudgetStatus",
        r#"{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}"#,
    ),
    ("PodSpec", r#"{"containers":null}"#),
    ("PodTemplateSpec", r#"{"metadata":{},"spec":{}}"#),
    ("Secret", r#"{"metadata":{}}"#),
    ("Service", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("ServiceAccount", r#"{"metadata":{}}"#),
    ("ServiceStatus", r#"{"loadBalancer":{}}"#),
    ("StatefulSet", r#"{"metadata":{},"spec":{},"status":{}}"#),
    ("StatefulSetSpec", r#"{"selector":null,"serviceName":"","template":{},"updateStrategy":{}}"#),
    ("StatefulSetStatus", r#"{"availableReplicas":0,"replicas":0}"#),
    (
        "core.v1.Event",
        r#"{"eventTime":null,"firstTimestamp":null,"involvedObject":{},"lastTimestamp":null,"metadata":{},
            "reportingComponent":"","reportingInstance":"","source":{}}"#,
    ),
    (
        "events.v1.Event",
        r#"{"deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":null,"deprecatedSource":{},
            "eventTime":null,"metadata":{},"regarding":{}}"#,
    ),
];

/// Fields of Kubernetes 1.36 that the types do not have yet, by type, with their schemas.
const YOUNGER: &[(&str, &str)] = &[
    ("Container", r#"{"restartPolicyRules":{"type":"array","items":{}}}"#),
    ("CustomResourceDefinitionCondition", r#"{"observedGeneration":{"type":"integer"}}"#),
    ("CustomResourceDefinitionStatus", r#"{"observedGeneration":{"type":"integer"}}"#),
    ("EnvVarSource", r#"{"fileKeyRef":{"type":"object"}}"#),
    ("EphemeralContainer", r#"{"restartPolicyRules":{"type":"array","items":{}}}"#),
    ("NodeStatus", r#"{"declaredFeatures":{"type":"array","items":{"type":"string"}}}"#),
    ("PodSpec", r#"{"hostnameOverride":{"type":"string"},"schedulingGroup":{"type":"object"}}"#),
    (
        "PodStatus",
        r#"{"allocatedResources":{"type":"object"},"extendedResourceClaimStatus":{"type":"object"},
            "nodeAllocatableResourceClaimStatuses":{"type":"array","items":{}},"resources":{"type":"object"}}"#,
    ),
    ("ResourceHealth", r#"{"message":{"type":"string"}}"#),
    ("VolumeMountStatus", r#"{"volumeStatus":{"type":"object"}}"#),
    ("VolumeProjection", r#"{"podCertificate":{"type":"object"}}"#),
];

struct Shapes {
    kinds: BTreeMap<(&'static str, &'static str), Arc<Shape>>,
    metadata: Arc<Shape>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let mut build = Build::new();
    Shapes {
        kinds: [
            build.kind::<ConfigMap>(),
            build.kind::<ControllerRevision>(),
            build.kind::<CustomResourceDefinition>(),
            build.kind::<Event>(),
            build.kind::<EventsEvent>(),
            build.kind::<Lease>(),
            build.kind::<Namespace>(),
            build.kind::<NetworkPolicy>(),
            build.kind::<Node>(),
            build.kind::<PersistentVolumeClaim>(),
            build.kind::<Pod>(),
            build.kind::<PodDisruptionBudget>(),
            build.kind::<Secret>(),
            build.kind::<Service>(),
            build.kind::<ServiceAccount>(),
            build.kind::<StatefulSet>(),
        ]
        .into(),
        metadata: build.named::<ObjectMeta>(),
    }
});

/// The shape of a built-in kind; computed once for all.
pub(super) fn shape(api_version: &str, kind: &str) -> Option<Arc<Shape>> {
    SHAPES.kinds.get(&(api_version, kind)).cloned()
}

/// The shape of every object's metadata.
pub(super) fn metadata() -> Arc<Shape> {
    SHAPES.metadata.clone()
}

struct Build {
    generator: SchemaGenerator,
    done: BTreeMap<String, Arc<Shape>>,
    /// The definitions that are being built, from the outermost in.
    open: Vec<String>,
}

impl Build {
    fn new() -> Self {
        Self { generator: SchemaGenerator::default(), done: BTreeMap::new(), open: vec![] }
    }

    fn kind<K: Resource + JsonSchema>(&mut self) -> ((&'static str, &'static str), Arc<Shape>) {
        ((K::API_VERSION, K::KIND), self.named::<K>())
    }

    fn named<T: JsonSchema>(&mut self) -> Arc<Shape> {
        let schema = self.generator.subschema_for::<T>();
        self.shape(schema.as_value(), "")
    }

    /// The shape of a schema that stands in `place`, a `Type.field`.
    fn shape(&mut self, schema: &Value, place: &str) -> Arc<Shape> {
        if let Some(name) = schema["$ref"].as_str() {
            return self.definition(name.trim_start_matches("#/$defs/"));
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return Arc::new(Shape::Scalar(Scalar::Untyped));
        }
        let shape = match schema["type"].as_str() {
            Some("array") => self.list(&schema["items"], place),
            Some("object") => match &schema["additionalProperties"] {
                values @ Value::Object(_) => Shape::Map(self.shape(values, "")),
                _ => Shape::Any,
            },
            Some(_) => Shape::Scalar(Scalar::of(schema)),
            None => Shape::Any,
        };
        Arc::new(if ATOMIC.contains(&place) { Shape::Atomic(Arc::new(shape)) } else { shape })
    }

    fn list(&mut self, items: &Value, place: &str) -> Shape {
        let item = self.shape(items, "");
        if SETS.contains(&place) {
            return Shape::Set(item);
        }
        let Some((_, keys)) = KEYED.iter().find(|(list, _)| *list == place) else { return Shape::List(item) };
        let key = |key: &str| match key.split_once('=') {
            Some((key, "0")) => (key.to_owned(), Some(0.into())),
            Some((key, value)) => (key.to_owned(), Some(value.into())),
            None => (key.to_owned(), None),
        };
        Shape::Keyed { keys: keys.split(' ').map(key).collect(), item }
    }

    fn definition(&mut self, name: &str) -> Arc<Shape> {
        if let Some(shape) = self.done.get(name) {
            return shape.clone();
        }
        let schema = self.generator.definitions().get(name).cloned().unwrap_or_default();
        let Some(properties) = schema["properties"].as_object() else {
            return self.shape(&schema, type_of(name));
        };
        // Only the schemas inside a definition of a custom resource go round in circles, and nothing in them has an
        // owner of its own.
        if self.open.iter().any(|open| open == name) {
            return Arc::new(Shape::Any);
        }
        self.open.push(name.to_owned());
        let shape = Shape::Struct(self.fields(name, properties));
        self.open.pop();
        let atomic = ATOMIC.contains(&type_of(name));
        let shape = Arc::new(if atomic { Shape::Atomic(Arc::new(shape)) } else { shape });
        self.done.insert(name.to_owned(), shape.clone());
        shape
    }

    fn fields(&mut self, name: &str, properties: &Map<String, Value>) -> Struct {
        let of = type_of(name);
        // Two groups have a type Event, so they are told apart by more than its name.
        let noted = |table: &[(&str, &str)]| -> Map<String, Value> {
            let row = table.iter().find(|(row, _)| *row == of || name.ends_with(&format!(".{row}")));
            row.and_then(|(_, note)| serde_json::from_str(note).ok()).unwrap_or_default()
        };
        let zeros = noted(ZEROS);
        let mut fields = BTreeMap::new();
        for (field, schema) in properties.iter().chain(&noted(YOUNGER)) {
            let shape = self.shape(schema, &format!("{of}.{field}"));
            fields.insert(field.clone(), Field { shape, zero: zeros.get(field).cloned() });
        }
        Struct { fields, open: false }
    }
}

/// The last part of a definition's name: `PodSpec`.
fn type_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}
