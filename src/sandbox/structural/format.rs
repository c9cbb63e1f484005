//! The formats of texts and numbers that the server enforces; every other one is a comment to it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::Regex;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use super::schema::Schema;

/// The format of `schema` if it means anything to the server, else nothing.
pub(super) fn supported(schema: &Schema) -> &str {
    let format = schema.format.as_str();
    let known = match (schema.int_or_string, schema.type_.as_str()) {
        (true, _) => false,
        (_, "integer") => matches!(format, "int32" | "int64"),
        (_, "number") => matches!(format, "float" | "double"),
        (_, "" | "string") => matches!(
            format,
            "uri"
                | "email"
                | "hostname"
                | "ipv4"
                | "ipv6"
                | "cidr"
                | "mac"
                | "uuid"
                | "byte"
                | "password"
                | "date"
                | "duration"
                | "datetime"
                | "date-time"
                | "hexcolor"
                | "k8s-short-name"
                | "k8s-long-name"
        ),
        _ => false,
    };
    if known { format } else { "" }
}

/// Whether `text` has the format.
pub(super) fn matches(format: &str, text: &str) -> bool {
    static UUID: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("(?i)^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$").ok());
    static HOST: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*\.?$")
            .ok()
    });
    static COLOR: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
    static MAC: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("^([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2}[:-]?){1,3}$").ok());
    let by = |regex: &Option<Regex>| regex.as_ref().is_some_and(|regex| regex.is_match(text));
    match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_duration(text),
        "byte" => STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "uri" => !text.contains(' ') && (text.starts_with('/') || text.contains(':')),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "uuid" => by(&UUID),
        "hostname" => text.len() <= 255 && by(&HOST),
        "mac" => by(&MAC),
        "hexcolor" => by(&COLOR),
        "k8s-short-name" => text.len() <= 63 && !text.contains('.') && is_name(text),
        "k8s-long-name" => text.len() <= 253 && is_name(text),
        _ => true,
    }
}

fn is_name(text: &str) -> bool {
    matches("hostname", text) && !text.ends_with('.') && !text.contains(|c: char| c.is_ascii_uppercase())
}

/// Whether `text` is an address with the length of its prefix.
pub(crate) fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let limit = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= limit)
}

/// Go's durations, and the spelled-out ones that the server's library takes too.
fn is_duration(text: &str) -> bool {
    static PARTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let unit = r"(ns|us|µs|ms|s|m|h|d|w|nanos?|micros?|millis?|seconds?|minutes?|hours?|days?|weeks?)";
        Regex::new(&format!(r"^[-+]?(\d+(\.\d*)?|\.\d+) ?{unit}((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*$"))
            .ok()
    });
    text == "0" || PARTS.as_ref().is_some_and(|parts| parts.is_match(text))
}
