//! What a request asks for: the URL, the query and the headers, read; nothing is decided here.

use std::collections::BTreeMap;

use http::Method;
use http::request::Parts;

/// A path below `/api/v1` or `/apis/GROUP/VERSION` that names a resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace, where one is named.
    pub namespace: Option<String>,
    /// The plural name.
    pub plural: String,
    /// The object, where one is named.
    pub name: Option<String>,
    /// `status`, `scale`, `proxy`.
    pub subresource: Option<String>,
    /// Whether the path is one of the old ones that watch.
    pub watch: bool,
    /// What follows `proxy`.
    pub rest: String,
}

impl Target {
    /// Reads a path; `None` where it names no resource.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.splitn(16, '/').map(decode);
        let mut target = Self::default();
        match &*segments.next()? {
            "api" => target.version = segments.next()?,
            "apis" => (target.group, target.version) = (segments.next()?, segments.next()?),
            _ => return None,
        }
        let mut rest: Vec<String> = segments.collect();
        target.watch = rest.len() >= 2 && rest[0] == "watch";
        if target.watch {
            rest.remove(0);
        }
        // `/namespaces/x` and `/namespaces/x/status` are the namespace itself; more is what is in it.
        if rest.len() >= 3 && rest[0] == "namespaces" && !matches!(&*rest[2], "status" | "finalize") {
            target.namespace = Some(rest.remove(1));
            rest.remove(0);
        }
        let mut rest = rest.into_iter();
        target.plural = rest.next().filter(|plural| !plural.is_empty())?;
        target.name = rest.next().filter(|name| !name.is_empty());
        target.subresource = rest.next();
        target.rest = rest.collect::<Vec<_>>().join("/");
        Some(target)
    }
}

/// A request's head.
#[derive(Debug)]
pub struct Head {
    /// The HTTP method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    query: BTreeMap<String, String>,
    /// `Accept`.
    pub accept: String,
    /// `Content-Type` without its parameters.
    pub content_type: String,
    agent: String,
}

impl Head {
    /// Reads it.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        };
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: query.map(pair).collect(),
            accept: header(http::header::ACCEPT).to_owned(),
            content_type: header(http::header::CONTENT_TYPE)
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .into(),
            agent: header(http::header::USER_AGENT).to_owned(),
        }
    }

    /// A query parameter; an empty one counts as none.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a query parameter says yes.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.query(name), Some("true" | "1"))
    }

    /// Who manages the fields that this request writes: as it says, else the program's name.
    #[must_use]
    pub fn manager(&self) -> &str {
        self.query("fieldManager").unwrap_or_else(|| match self.agent.split('/').next() {
            Some("") | None => "unknown",
            Some(program) => program,
        })
    }

    /// Whether one of the formats that the server knows will do.
    #[must_use]
    pub fn accepts_json(&self) -> bool {
        let known = [
            "",
            "*/*",
            "application/*",
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ];
        let mut all = self.accept.split(',').map(|one| one.split(';').next().unwrap_or_default().trim());
        all.any(|one| known.contains(&one))
    }

    /// Whether the answer is wanted in another form: `Table`, `PartialObjectMetadata`, `PartialObjectMetadataList`.
    #[must_use]
    pub fn wanted_form(&self) -> Option<&str> {
        // The first form that we can give, as the client prefers them.
        let first = self
            .accept
            .split(',')
            .map(str::trim)
            .find(|one| !one.contains("protobuf") && !one.contains("cbor"))?;
        first.split(';').find_map(|parameter| parameter.trim().strip_prefix("as="))
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_object_and_which_part_of_it() {
        let target = Target::parse("/apis/apps/v1/namespaces/n/statefulsets/s/status").unwrap();
        let of = |path| Target::parse(path).unwrap();
        assert_eq!((&*target.group, target.namespace.as_deref()), ("apps", Some("n")));
        assert_eq!((target.name.as_deref(), target.subresource.as_deref()), (Some("s"), Some("status")));
        assert_eq!(of("/api/v1/namespaces/n").name.as_deref(), Some("n"));
        assert_eq!(of("/api/v1/namespaces/n/status").subresource.as_deref(), Some("status"));
        assert_eq!(of("/api/v1/namespaces/n/pods/p:9615/proxy/a/b").rest, "a/b");
        assert_eq!(of("/api/v1/pods").namespace, None);
        assert_eq!(Target::parse("/api/v1"), None);
        assert_eq!(Target::parse("/version"), None);
    }

    #[test]
    fn escapes_in_a_query_are_read() {
        assert_eq!(decode("app%3Dpolkadot%2Crole+x"), "app=polkadot,role x");
        assert_eq!(decode("100%"), "100%");
    }
}
