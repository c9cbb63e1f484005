//! The addresses of a kubeconfig, as they may be told: without a name and a password, or a piece of them. Pure.

use http::Uri;

/// Whether an address was not understood as it was meant: a '#', '/' or '?' in a password ends the authority, and what is
/// then taken for host and port is a piece of the password.
pub(super) fn is_torn(text: &str, read: &Uri) -> bool {
    let counted = |text: &str| text.matches('@').count();
    counted(text) != read.authority().map_or(0, |authority| counted(authority.as_str()))
}

/// Scheme, host and port.
pub(super) fn shown(address: &Uri) -> String {
    let scheme = address.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let port = address.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{}{port}", address.host().unwrap_or_default())
}

/// What can be told of an address that cannot be used.
#[must_use]
pub fn shown_of(text: &str) -> String {
    match text.parse::<Uri>() {
        Ok(read) if !is_torn(text, &read) => format!("{:?}", shown(&read)),
        _ if text.contains('@') => "(not told here: it has a name or a password in it)".into(),
        _ => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_password_that_ends_the_host_early_nothing_is_told() {
        for text in [
            "http://me:se#cret@host:3128",
            "http://me:12#34@host:3128",
            "http://me:se/cret@host:3128",
            "http://me:se?cret@host:3128",
            "http://me:se@cr#et@host:3128",
            "http://me:se cret@host:3128",
            "me:se#cret@host:3128",
        ] {
            assert!(text.parse::<Uri>().map_or(true, |read| is_torn(text, &read)), "{text}");
            assert_eq!(shown_of(text), "(not told here: it has a name or a password in it)", "{text}");
        }
    }

    #[test]
    fn an_address_is_told_without_name_and_password() {
        for (text, told) in [
            ("http://me:secret@host:3128", "http://host:3128"),
            ("http://me:se@cret@host:3128", "http://host:3128"),
            ("http://me:se%40cr%23et@host:3128/", "http://host:3128"),
            ("socks5://[::1]:1080", "socks5://[::1]:1080"),
            ("me:secret@host:3128", "host:3128"),
            ("host:3128", "host:3128"),
        ] {
            assert_eq!(shown_of(text), format!("{told:?}"), "{text}");
        }
        assert_eq!(shown_of("http:// host"), "\"http:// host\"");
    }
}
