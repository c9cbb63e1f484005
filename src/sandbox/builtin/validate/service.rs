//! Services and NetworkPolicies.

use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

use super::{check_address, metadata, names, one_of, port, port_or_name};
use crate::sandbox::{
    builtin::{items, number, text},
    cause::Cause,
};

/// The mistakes in a Service.
pub(super) fn spec(new: &Value, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    let type_ = text(spec, "/type");
    let headless = spec["clusterIPs"][0] == "None";
    let ports = items(spec, "/ports");
    if ports.is_empty() && !headless && type_ != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if headless && ["LoadBalancer", "NodePort"].contains(&type_) {
        let detail = format!("may not be set to 'None' for {type_} services");
        causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), detail));
    }
    if type_ == "ExternalName" {
        external_name(spec, causes);
    }
    let mut seen = BTreeSet::new();
    for (index, entry) in ports.iter().enumerate() {
        check_port(entry, &format!("spec.ports[{index}]"), ports.len() > 1, &mut seen, causes);
    }
    metadata::labels(spec, "/selector", "spec.selector", causes);
    one_of(spec, "sessionAffinity", "spec", &["ClientIP", "None"], causes);
    if type_ != "ExternalName" {
        for (index, address) in items(spec, "/clusterIPs").iter().enumerate().filter(|_| !headless) {
            let address = address.as_str().unwrap_or_default();
            check_address(address, &format!("spec.clusterIPs[{index}]"), causes);
        }
    }
    one_of(spec, "type", "spec", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], causes);
    duplicates(ports, type_, causes);
    if spec.get("allocateLoadBalancerNodePorts").is_some() && type_ != "LoadBalancer" {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        causes.push(Cause::forbidden("spec.allocateLoadBalancerNodePorts", detail));
    }
    let external = ["LoadBalancer", "NodePort"].contains(&type_) || !items(spec, "/externalIPs").is_empty();
    if external {
        one_of(spec, "externalTrafficPolicy", "spec", &["Cluster", "Local"], causes);
    } else if let Some(policy) = spec.get("externalTrafficPolicy") {
        let detail = "may only be set for externally-accessible services";
        causes.push(Cause::invalid("spec.externalTrafficPolicy", policy, detail));
    }
    if spec.get("internalTrafficPolicy").is_some() {
        one_of(spec, "internalTrafficPolicy", "spec", &["Cluster", "Local"], causes);
    }
}

fn external_name(spec: &Value, causes: &mut Vec<Cause>) {
    for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if spec.get(key).is_some() {
            causes.push(Cause::forbidden(format!("spec.{key}"), "may not be set for ExternalName services"));
        }
    }
    let name = text(spec, "/externalName").trim_end_matches('.');
    if name.is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    } else {
        let wrong = names::subdomain(name).into_iter();
        causes.extend(wrong.map(|words| Cause::invalid("spec.externalName", &json!(name), words)));
    }
}

fn check_port<'a>(
    entry: &'a Value,
    path: &str,
    named: bool,
    seen: &mut BTreeSet<&'a str>,
    causes: &mut Vec<Cause>,
) {
    let name = text(entry, "/name");
    if name.is_empty() {
        if named {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
    } else {
        let wrong = names::label(name).into_iter();
        causes.extend(wrong.map(|words| Cause::invalid(format!("{path}.name"), &json!(name), words)));
        if !seen.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
        }
    }
    port(number(entry, "/port"), &format!("{path}.port"), causes);
    one_of(entry, "protocol", path, &["SCTP", "TCP", "UDP"], causes);
    port_or_name(entry.get("targetPort"), &format!("{path}.targetPort"), causes);
}

fn duplicates(ports: &[Value], type_: &str, causes: &mut Vec<Cause>) {
    let numbers = |key: &'static str| {
        let numbered =
            ports.iter().enumerate().map(move |(index, port)| (index, &port["protocol"], number(port, key)));
        numbered.filter(|(_, _, number)| *number != 0)
    };
    if type_ == "ClusterIP" {
        for (index, ..) in numbers("/nodePort") {
            let detail = "may not be used when `type` is 'ClusterIP'";
            causes.push(Cause::forbidden(format!("spec.ports[{index}].nodePort"), detail));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, protocol, number) in numbers("/nodePort") {
        if !seen.insert((protocol.to_string(), number)) {
            causes.push(Cause::duplicate(format!("spec.ports[{index}].nodePort"), &json!(number)));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, protocol, number) in numbers("/port") {
        if !seen.insert((protocol.to_string(), number)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\
                 \"NodePort\":0}}"
            );
            causes.push(Cause::duplicate_as(format!("spec.ports[{index}]"), &shown));
        }
    }
}

/// What an update of a Service may not do.
pub(super) fn update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let external = [new, old].iter().any(|service| text(service, "/spec/type") == "ExternalName");
    let (after, before) = (items(new, "/spec/clusterIPs"), items(old, "/spec/clusterIPs"));
    if external || before.is_empty() || after.first() == before.first() {
        return;
    }
    let detail =
        if after.is_empty() { "primary clusterIP can not be unset" } else { "may not change once set" };
    let shown = if after.is_empty() { Value::Null } else { json!(after) };
    causes.push(Cause::invalid("spec.clusterIPs[0]", &shown, detail));
}

/// The mistakes in a NetworkPolicy.
pub(super) fn policy(new: &Value, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    metadata::selector(&spec["podSelector"], "spec.podSelector", causes);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in items(spec, &format!("/{direction}")).iter().enumerate() {
            let at = format!("spec.{direction}[{index}]");
            for (index, port) in items(rule, "/ports").iter().enumerate() {
                policy_port(port, &format!("{at}.ports[{index}]"), causes);
            }
            for (index, peer) in items(rule, &format!("/{peers}")).iter().enumerate() {
                policy_peer(peer, &format!("{at}.{peers}[{index}]"), causes);
            }
        }
    }
    let types = items(spec, "/policyTypes");
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        causes.push(Cause::invalid("spec.policyTypes", &json!(types), detail));
        return;
    }
    for (index, type_) in types.iter().enumerate() {
        if type_ != "Ingress" && type_ != "Egress" {
            let field = format!("spec.policyTypes[{index}]");
            causes.push(Cause::not_supported(field, type_, &["Ingress", "Egress"]));
        }
    }
}

fn policy_port(entry: &Value, path: &str, causes: &mut Vec<Cause>) {
    if entry.get("protocol").is_some() {
        one_of(entry, "protocol", path, &["TCP", "UDP", "SCTP"], causes);
    }
    let end = entry.get("endPort");
    let at = format!("{path}.endPort");
    match (entry.get("port"), end) {
        (Some(first @ Value::Number(_)), Some(end)) => {
            let (low, high) = (first.as_i64().unwrap_or_default(), end.as_i64().unwrap_or_default());
            port(low, &format!("{path}.port"), causes);
            if high < low {
                causes.push(Cause::invalid(&at, first, "must be greater than or equal to `port`"));
            }
            port(high, &at, causes);
        }
        (None, Some(end)) => {
            causes.push(Cause::invalid(at, end, "may not be specified when `port` is not specified"));
        }
        (first, end) => {
            if let Some(end) = end {
                causes.push(Cause::invalid(at, end, "may not be specified when `port` is non-numeric"));
            }
            if first.is_some() {
                port_or_name(first, &format!("{path}.port"), causes);
            }
        }
    }
}

fn policy_peer(peer: &Value, path: &str, causes: &mut Vec<Cause>) {
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.get(key) {
            metadata::selector(selector, &format!("{path}.{key}"), causes);
        }
    }
    if let Some(block) = peer.get("ipBlock") {
        ip_block(block, &format!("{path}.ipBlock"), causes);
    }
    match peer.as_object().map_or(0, serde_json::Map::len) {
        0 => causes.push(Cause::required(path, "must specify a peer")),
        2.. if peer.get("ipBlock").is_some() => {
            causes.push(Cause::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        _ => {}
    }
}

fn ip_block(block: &Value, path: &str, causes: &mut Vec<Cause>) {
    let whole = text(block, "/cidr");
    if whole.is_empty() {
        causes.push(Cause::required(format!("{path}.cidr"), ""));
        return;
    }
    let Some(outer) = cidr(whole, &format!("{path}.cidr"), causes) else { return };
    for (index, except) in items(block, "/except").iter().enumerate() {
        let at = format!("{path}.except[{index}]");
        let Some(inner) = cidr(except.as_str().unwrap_or_default(), &at, causes) else { continue };
        if inner.1 <= outer.1 || masked(inner.0, outer.1) != masked(outer.0, outer.1) {
            causes.push(Cause::invalid(at, except, "must be a strict subset of `cidr`"));
        }
    }
}

/// Reads a network, and says what is wrong with its text.
fn cidr(value: &str, path: &str, causes: &mut Vec<Cause>) -> Option<(IpAddr, u32)> {
    let parsed = value.split_once('/').and_then(|(address, bits)| {
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
    });
    let wrong = match parsed {
        None => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        Some((address, bits)) if masked(address, bits) != bits_of(address) => {
            "must not have bits set beyond the prefix length"
        }
        Some(_) => return parsed,
    };
    causes.push(Cause::invalid(path, &json!(value), wrong));
    parsed
}

/// An address at the upper end of 128 bits, so that prefixes of both families are the same arithmetic.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, bits: u32) -> u128 {
    bits_of(address) & u128::MAX.checked_shl(128 - bits).unwrap_or_default()
}
