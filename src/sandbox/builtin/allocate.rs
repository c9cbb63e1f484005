//! The addresses and node ports of Services: 10.96.0.0/16 and 30000 to 32767.

use serde_json::{Value, json};
use std::net::Ipv4Addr;

use super::{items, number, text};
use crate::sandbox::cause::Cause;

/// What can be handed out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// An address for a Service.
    Address(Ipv4Addr),
    /// A port on every node.
    Port(u16),
}

const RANGE: (Ipv4Addr, u32) = (Ipv4Addr::new(10, 96, 0, 0), 16);
/// Addresses below are left to those who ask for one.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 0);
const LAST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 255, 254);
const FIRST_PORT: u16 = 30000;
const LAST_PORT: u16 = 32767;
/// Ports below are left to those who ask for one, as long as there are others.
const FIRST_CHOSEN: u16 = 30086;

/// Gives `service` the address and the node ports that it wants and does not have; what `old` had is its own. `taken`
/// tells what other Services have.
pub fn allocate(
    service: &mut Value,
    old: Option<&Value>,
    taken: &dyn Fn(Resource) -> bool,
    dry_run: bool,
) -> Result<(), Vec<Cause>> {
    let own = old.map(held).unwrap_or_default();
    let taken = |resource: Resource| !own.contains(&resource) && taken(resource);
    if text(service, "/spec/type") != "ExternalName" {
        address(service, &taken, dry_run)?;
    }
    let type_ = text(service, "/spec/type");
    let balanced = type_ == "LoadBalancer" && service["spec"]["allocateLoadBalancerNodePorts"] != false;
    if type_ == "NodePort" || balanced || wanted_ports(service).next().is_some() {
        ports(service, &taken, type_ == "NodePort" || balanced)?;
    }
    Ok(())
}

/// Everything that `service` holds.
pub fn held(service: &Value) -> Vec<Resource> {
    let addresses =
        items(service, "/spec/clusterIPs").iter().filter_map(|address| address.as_str()?.parse().ok());
    addresses
        .map(Resource::Address)
        .chain(wanted_ports(service).map(|(_, port)| Resource::Port(port)))
        .collect()
}

fn wanted_ports(service: &Value) -> impl Iterator<Item = (usize, u16)> {
    let ports = items(service, "/spec/ports").iter().enumerate();
    ports.filter_map(|(index, port)| {
        let number = u16::try_from(number(port, "/nodePort")).ok().filter(|number| *number != 0)?;
        Some((index, number))
    })
}

fn address(service: &mut Value, taken: &dyn Fn(Resource) -> bool, dry_run: bool) -> Result<(), Vec<Cause>> {
    let wanted = text(service, "/spec/clusterIP").to_owned();
    if wanted == "None" {
        return Ok(());
    }
    let refused = |words: String| {
        let detail = format!("failed to allocate IP {wanted}: {words}");
        vec![Cause::invalid("spec.clusterIPs", &json!([wanted]), detail)]
    };
    if let Ok(address) = wanted.parse::<Ipv4Addr>() {
        let shift = 32 - RANGE.1;
        if address.to_bits() >> shift != RANGE.0.to_bits() >> shift {
            return Err(refused("the provided network does not match the current range".to_owned()));
        }
        return if taken(Resource::Address(address)) {
            Err(refused("provided IP is already allocated".to_owned()))
        } else {
            Ok(())
        };
    }
    let mut all = (FIRST_ADDRESS.to_bits()..=LAST_ADDRESS.to_bits()).map(Ipv4Addr::from_bits);
    // Nothing is taken for a dry run; the answer has the network's own address.
    let free = if dry_run { Some(RANGE.0) } else { all.find(|address| !taken(Resource::Address(*address))) };
    let Some(free) = free else {
        return Err(vec![Cause::invalid("spec.clusterIPs", &json!([]), "range is full")]);
    };
    service["spec"]["clusterIP"] = json!(free.to_string());
    service["spec"]["clusterIPs"] = json!([free.to_string()]);
    Ok(())
}

fn ports(service: &mut Value, taken: &dyn Fn(Resource) -> bool, fill: bool) -> Result<(), Vec<Cause>> {
    let mut used: Vec<u16> = Vec::new();
    for (index, port) in wanted_ports(service) {
        let refused = |detail: String| {
            Err(vec![Cause::invalid(format!("spec.ports[{index}].nodePort"), &json!(port), detail)])
        };
        if !(FIRST_PORT..=LAST_PORT).contains(&port) {
            return refused(format!(
                "provided port is not in the valid range. The range of valid ports is {FIRST_PORT}-{LAST_PORT}"
            ));
        }
        if taken(Resource::Port(port)) {
            return refused("provided port is already allocated".to_owned());
        }
        used.push(port);
    }
    let list = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for (index, port) in
        list.into_iter().flatten().enumerate().filter(|(_, port)| number(port, "/nodePort") == 0)
    {
        if !fill {
            break;
        }
        let mut all = (FIRST_CHOSEN..=LAST_PORT).chain(FIRST_PORT..FIRST_CHOSEN);
        let free = all.find(|port| !used.contains(port) && !taken(Resource::Port(*port)));
        let Some(free) = free else {
            let detail = "failed to allocate a nodePort: range is full";
            return Err(vec![Cause::invalid(format!("spec.ports[{index}].nodePort"), &json!(0), detail)]);
        };
        used.push(free);
        port["nodePort"] = json!(free);
    }
    Ok(())
}
