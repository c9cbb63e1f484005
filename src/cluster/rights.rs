//! The rights that the daemon needs in a cluster, as deploy/rbac.yaml grants them, and which of them it lacks there.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::fleet::{Cluster, Fleet};

/// Questions under way at once.
const AT_ONCE: usize = 16;

/// Some verbs on a resource.
struct Rule {
    group: &'static str,
    /// With its subresource after a slash.
    resource: &'static str,
    verbs: &'static [&'static str],
    /// What happens without, where the daemon does its work all the same.
    without: Option<&'static str>,
}

const fn needed(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { group, resource, verbs, without: None }
}

const OURS: &str = "polkadot.swisscomblockchain.com";
const CHILD: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// The role `polkafleet`, wherever there are resources.
const MEMBER: [Rule; 12] = [
    needed(OURS, "polkadots", &["get", "list", "watch", "patch"]),
    needed(OURS, "polkadots/status", &["patch"]),
    Rule {
        group: OURS,
        resource: "polkadots/finalizers",
        verbs: &["update"],
        without: Some(
            "nothing can be made where the API server enforces OwnerReferencesPermissionEnforcement",
        ),
    },
    needed("", "secrets", CHILD),
    needed("", "services", CHILD),
    needed("apps", "statefulsets", CHILD),
    needed("networking.k8s.io", "networkpolicies", CHILD),
    needed("policy", "poddisruptionbudgets", CHILD),
    needed("", "persistentvolumeclaims", &["get", "list", "watch", "patch"]),
    needed("", "pods", &["get", "list", "watch", "delete"]),
    Rule {
        group: "",
        resource: "pods/proxy",
        verbs: &["get"],
        without: Some("no upgrade takes a step there, unless it says health: {probe: optional}"),
    },
    Rule {
        group: "",
        resource: "pods",
        verbs: &["create"],
        without: Some(
            "no version can be tried before pods restart for it, and no pod does, unless an upgrade says prepull: false",
        ),
    },
];
/// The rest of that role.
const EVENTS: Rule = Rule {
    group: "events.k8s.io",
    resource: "events",
    verbs: &["create", "patch"],
    without: Some("no events are written"),
};
/// The role `polkafleet-nodes`.
const NODES: Rule = Rule {
    group: "",
    resource: "nodes",
    verbs: &["get"],
    without: Some("no pod that blocks a roll is deleted"),
};
/// The role `polkafleet-crd`, for `installCrd: true`.
const CRD: Rule = needed("apiextensions.k8s.io", "customresourcedefinitions", &["get", "create", "patch"]);
/// The role `polkafleet-home`: in the home namespace of every member…
const LEASES: Rule = needed("coordination.k8s.io", "leases", &["get", "create", "update"]);
/// …and of the home cluster.
const KEPT: Rule = needed("", "configmaps", &["get", "list", "watch", "create", "update"]);

/// What a cluster does not let us.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// What the daemon cannot do without, a line for each resource and place.
    pub needed: Vec<String>,
    /// What it can do without, and what that means.
    pub useful: Vec<String>,
}

/// One right at one place.
struct Asked<'a> {
    rule: &'a Rule,
    verb: &'static str,
    namespace: Option<&'a str>,
}

/// Asks a cluster which of the rights that it should give us it does not.
///
/// # Errors
/// The API server's words, if it does not say.
pub async fn missing(client: &Client, fleet: &Fleet, cluster: &Cluster) -> Result<Missing, kube::Error> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let asking = wanted(fleet, cluster).into_iter().map(|asked| {
        let reviews = reviews.clone();
        async move {
            let answer = reviews.create(&PostParams::default(), &asked.review()).await?;
            let may = answer.status.is_some_and(|status| status.allowed);
            Ok::<_, kube::Error>((!may).then_some(asked))
        }
    });
    let refused: Vec<Option<Asked<'_>>> =
        futures::stream::iter(asking).buffered(AT_ONCE).try_collect().await?;
    Ok(in_words(refused.into_iter().flatten()))
}

/// Everything that the daemon wants to do in a cluster.
fn wanted<'a>(fleet: &'a Fleet, cluster: &'a Cluster) -> Vec<Asked<'a>> {
    let watched = cluster.scopes();
    let (everywhere, home) = (vec![None], vec![Some(fleet.home_namespace.as_str())]);
    let mut rules: Vec<(&Rule, &Vec<Option<&str>>)> = vec![(&EVENTS, &watched)];
    rules.extend(MEMBER.iter().map(|rule| (rule, &watched)));
    rules.extend([(&NODES, &everywhere), (&LEASES, &home)]);
    if cluster.settings.install_crd {
        rules.push((&CRD, &everywhere));
    }
    if fleet.home == cluster.name {
        rules.push((&KEPT, &home));
    }
    let mut all = vec![];
    for (rule, places) in rules {
        for namespace in places.iter().copied() {
            all.extend(rule.verbs.iter().map(|verb| Asked { rule, verb, namespace }));
        }
    }
    all
}

impl Asked<'_> {
    fn review(&self) -> SelfSubjectAccessReview {
        let (resource, subresource) = match self.rule.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.rule.resource, None),
        };
        let attributes = ResourceAttributes {
            group: Some(self.rule.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(self.verb.to_owned()),
            namespace: self.namespace.map(String::from),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
    }
}

fn in_words<'a>(refused: impl Iterator<Item = Asked<'a>>) -> Missing {
    let mut verbs: BTreeMap<_, (Vec<&str>, Option<&str>)> = BTreeMap::new();
    for asked in refused {
        let key = (asked.rule.group, asked.rule.resource, asked.namespace);
        let entry = verbs.entry(key).or_insert_with(|| (vec![], asked.rule.without));
        entry.0.push(asked.verb);
    }
    let mut missing = Missing::default();
    for ((group, resource, namespace), (verbs, without)) in verbs {
        let group = if group.is_empty() { String::new() } else { format!(" of {group}") };
        let place = namespace.map_or_else(|| "everywhere".into(), |name| format!("in namespace {name}"));
        let line = format!("{} {resource}{group} {place}", verbs.join(", "));
        match without {
            Some(without) => missing.useful.push(format!("{line}: without it {without}")),
            None => missing.needed.push(line),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::rbac::v1::ClusterRole;
    use serde::Deserialize as _;

    use super::*;
    use crate::fleet::file::Sources;
    use crate::fleet::validate::load;

    fn granted() -> BTreeSet<(String, String, String, String)> {
        let mut granted = BTreeSet::new();
        for document in serde_yaml::Deserializer::from_str(include_str!("../../deploy/rbac.yaml")) {
            let value = serde_json::Value::deserialize(document).unwrap();
            if value["kind"] != "ClusterRole" {
                continue;
            }
            let role: ClusterRole = serde_json::from_value(value).unwrap();
            for rule in role.rules.unwrap_or_default() {
                for group in rule.api_groups.iter().flatten() {
                    for resource in rule.resources.iter().flatten() {
                        for verb in &rule.verbs {
                            let name = role.metadata.name.clone().unwrap();
                            granted.insert((name, group.clone(), resource.clone(), verb.clone()));
                        }
                    }
                }
            }
        }
        granted
    }

    #[test]
    fn the_rights_are_those_that_the_shipped_roles_grant() {
        let member = MEMBER.iter().chain([&EVENTS]).map(|rule| ("polkafleet", rule));
        let home = [("polkafleet-home", &LEASES), ("polkafleet-home", &KEPT)];
        let rest = [("polkafleet-nodes", &NODES), ("polkafleet-crd", &CRD)];
        let listed: BTreeSet<_> = member
            .chain(home)
            .chain(rest)
            .flat_map(|(role, rule)| {
                rule.verbs.iter().map(move |verb| {
                    (role.to_owned(), rule.group.to_owned(), rule.resource.to_owned(), (*verb).to_owned())
                })
            })
            .collect();
        assert_eq!(listed, granted());
    }

    #[test]
    fn what_is_missing_is_told_by_resource_and_place_with_what_it_means() {
        let flags = serde_json::json!({
            "version": 1, "home": "a", "defaults": {"installCrd": true}, "clusters": [
                {"name": "a", "inCluster": true, "namespaces": ["n", "m"]}
            ]
        });
        let fleet = load(&Sources { flags: Some(flags), ..Sources::default() }).unwrap();
        let wanted = wanted(&fleet, &fleet.clusters[0]);
        let refused = wanted.into_iter().filter(|asked| match asked.rule.resource {
            "secrets" => asked.namespace == Some("m") && matches!(asked.verb, "create" | "patch"),
            "pods/proxy" => asked.namespace == Some("n"),
            "customresourcedefinitions" | "leases" => asked.verb == "create",
            _ => false,
        });
        let expected = Missing {
            needed: vec![
                "create, patch secrets in namespace m".into(),
                "create customresourcedefinitions of apiextensions.k8s.io everywhere".into(),
                "create leases of coordination.k8s.io in namespace polkafleet".into(),
            ],
            useful: vec![
                "get pods/proxy in namespace n: without it no upgrade takes a step there, unless it says health: \
                 {probe: optional}"
                    .into(),
            ],
        };
        assert_eq!(in_words(refused), expected);
    }

    #[test]
    fn a_subresource_is_asked_for_as_one() {
        let asked = Asked { rule: &MEMBER[10], verb: "get", namespace: None };
        let attributes = asked.review().spec.resource_attributes.unwrap();
        assert_eq!(
            (attributes.resource.as_deref(), attributes.subresource.as_deref()),
            (Some("pods"), Some("proxy"))
        );
    }
}
