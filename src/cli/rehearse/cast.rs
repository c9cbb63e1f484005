//! Who plays in a rehearsal: the Polkadot resources of every simulated cluster, made up to fit the upgrades. Pure.

use std::collections::BTreeMap;

use kube::core::{Expression, Selector, SelectorExt as _};
use serde_json::json;

use crate::fleet::{ClusterName, Fleet, Upgrade};
use crate::polkadot::Polkadot;
use crate::version::ClientVersion;

/// Where resources are in a cluster that is watched as a whole.
const NAMESPACE: &str = "polkadot";
/// A prefix of names may be so long, the name of a resource a little longer.
const LONGEST_PREFIX: usize = 30;

/// The resources, and what a person should know of them.
#[derive(Default)]
pub(super) struct Cast {
    pub(super) parts: Vec<Part>,
    pub(super) remarks: Vec<String>,
}

/// A resource in its cluster.
pub(super) struct Part {
    pub(super) cluster: ClusterName,
    pub(super) resource: Polkadot,
    /// Why it is to be left as it is, once it is up.
    pub(super) hold: Option<String>,
}

/// A validator with a sentry for every upgrade in every cluster, at `from`, or else at the release before the target.
pub(super) fn invented(fleet: &Fleet, from: Option<&str>) -> Result<Cast, serde_json::Error> {
    let mut cast = Cast::default();
    for (index, upgrade) in fleet.upgrades.iter().enumerate() {
        let Some(labels) = labels_for(&fleet.upgrades, index) else {
            cast.remarks.push(format!(
                "no resource could belong to upgrade {}: an earlier upgrade selects all that it selects, or its \
                 selector contradicts itself",
                upgrade.name
            ));
            continue;
        };
        let version = from.map_or_else(|| before(upgrade, &mut cast.remarks), str::to_owned);
        let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        cast.remarks.push(format!(
            "made up for upgrade {}: a validator with a sentry in every cluster, at {version}, labels {{{}}}",
            upgrade.name,
            shown.join(", ")
        ));
        for cluster in &fleet.clusters {
            let namespace = cluster.namespaces.first().map_or(NAMESPACE, String::as_str);
            let resource = resource(&name(upgrade, index), namespace, &version, &labels)?;
            cast.parts.push(Part { cluster: cluster.name.clone(), resource, hold: None });
        }
    }
    Ok(cast)
}

/// The upgrade's name, where a resource and the objects of it may be called so.
fn name(upgrade: &Upgrade, index: usize) -> String {
    let fits =
        upgrade.name.len() <= LONGEST_PREFIX && upgrade.name.starts_with(|c: char| c.is_ascii_lowercase());
    if fits { upgrade.name.clone() } else { format!("upgrade-{}", index + 1) }
}

fn before(upgrade: &Upgrade, remarks: &mut Vec<String>) -> String {
    let found = ClientVersion::parse(&upgrade.client_version).before();
    found
        .unwrap_or_else(|| {
            let newest = ClientVersion::newest();
            remarks.push(format!(
                "which release comes before {} is not known: {newest} is taken; say another with --from",
                upgrade.client_version
            ));
            newest
        })
        .to_string()
}

/// Labels by which a resource belongs to that upgrade and to no earlier one.
fn labels_for(upgrades: &[Upgrade], index: usize) -> Option<BTreeMap<String, String>> {
    let labels = fitting(&upgrades[index].selector);
    let owner = upgrades.iter().position(|upgrade| upgrade.selector.matches(&labels));
    (owner == Some(index)).then_some(labels)
}

/// The labels that a selector asks for, and no others.
fn fitting(selector: &Selector) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for expression in selector.clone() {
        match expression {
            Expression::Equal(key, value) => drop(labels.insert(key, value)),
            Expression::In(key, values) => {
                if let Some(value) = values.into_iter().next() {
                    labels.entry(key).or_insert(value);
                }
            }
            Expression::Exists(key) => drop(labels.entry(key).or_insert_with(|| "rehearsal".to_owned())),
            Expression::NotIn(..) | Expression::NotEqual(..) | Expression::DoesNotExist(_) => {}
        }
    }
    labels
}

fn resource(
    name: &str,
    namespace: &str,
    version: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Polkadot, serde_json::Error> {
    let storage = json!({"enabled": true, "persistentVolumeClaim": {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }});
    let mut resource: Polkadot = serde_json::from_value(json!({
        "apiVersion": "polkadot.swisscomblockchain.com/v1alpha1", "kind": "Polkadot",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "clientVersion": version, "kind": "SentryAndValidator", "namePrefix": name,
            "sentry": {"replicas": 1, "clientName": "sentry", "dataPersistenceSupport": storage},
            "validator": {"clientName": "validator", "dataPersistenceSupport": storage},
        },
    }))?;
    // The label says it in most fleets; validators of one chain share a budget.
    resource.spec.chain = labels.get("chain").filter(|chain| is_chain(chain)).cloned();
    Ok(resource)
}

fn is_chain(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-') && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_are_those_that_a_selector_asks_for() {
        let of = |expressions: Vec<Expression>| {
            let selector: Selector = expressions.into_iter().collect();
            let labels = fitting(&selector);
            (selector.matches(&labels), labels)
        };
        let (fits, labels) = of(vec![
            Expression::Equal("chain".into(), "kusama".into()),
            Expression::In("tier".into(), ["a".into(), "b".into()].into()),
            Expression::NotIn("role".into(), ["archive".into()].into()),
            Expression::Exists("team".into()),
            Expression::DoesNotExist("old".into()),
        ]);
        assert!(fits, "{labels:?}");
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["chain", "team", "tier"]);
        let (fits, _) =
            of(vec![Expression::Equal("a".into(), "b".into()), Expression::DoesNotExist("a".into())]);
        assert!(!fits, "nothing fits a contradiction");
        assert!(of(vec![]).1.is_empty());
    }
}
