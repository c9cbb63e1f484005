//! What names, labels, images and addresses may look like. Pure.

use std::net::IpAddr;

/// RFC 1123: lower-case letters, digits and dashes, at most 63, neither end a dash.
pub(super) fn is_dns_label(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

/// The nearest DNS label to a name such as `arn:aws:eks:…:cluster/prod`.
pub(super) fn as_dns_label(name: &str) -> String {
    let dashed: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let from = dashed.len().saturating_sub(63); // The end of such names tells them apart.
    dashed[from..].trim_matches('-').to_owned()
}

/// A label's key: a name, perhaps after a DNS subdomain and a slash.
pub(super) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_subdomain = |text: &str| text.len() <= 253 && text.split('.').all(is_dns_label);
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_subdomain)
}

/// A label's value; may be empty.
pub(super) fn is_label_value(value: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = |c: char| c.is_ascii_alphanumeric();
    value.len() <= 63
        && value.bytes().all(fits)
        && (value.is_empty() || value.starts_with(end) && value.ends_with(end))
}

/// An image's name without tag and digest; the registry may have a port.
pub(super) fn is_bare_image(image: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/');
    let last = image.rsplit('/').next().unwrap_or_default();
    image.bytes().all(fits) && image.split('/').all(|part| !part.is_empty()) && !last.contains(':')
}

/// `10.0.0.0/8`, `fd00::/8`.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    length.parse::<u8>().is_ok_and(|length| length <= if address.is_ipv4() { 32 } else { 128 })
}
