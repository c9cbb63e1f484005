//! The names of container images: repository, tag, digest. Pure.

use k8s_openapi::api::core::v1::PodSpec;

use crate::version::ClientVersion;

/// The client's image: its container comes first.
pub(super) fn of_client(spec: &PodSpec) -> Option<&str> {
    spec.containers.first()?.image.as_deref()
}

/// What a kubelet takes for the tag; of an image that is named by its digest alone, the digest.
pub(super) fn tag(image: &str) -> &str {
    let (named, digest) =
        image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    let last = named.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map_or_else(|| digest.unwrap_or("latest"), |(_, tag)| tag)
}

/// Whether an image is of another repository than `ours` and its tag no release: then the tag says nothing of the client.
pub(super) fn is_foreign(image: &str, ours: &str) -> bool {
    let is_release = !matches!(ClientVersion::parse(tag(image)), ClientVersion::Other(_));
    repository(image) != repository(ours) && !is_release
}

fn repository(image: &str) -> &str {
    let named = image.split('@').next().unwrap_or_default();
    let path = named.rfind('/').map_or(0, |slash| slash + 1);
    named[path..].find(':').map_or(named, |colon| &named[..path + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_tag_or_a_digest_or_is_the_latest() {
        for (image, expected) in [
            ("parity/polkadot:v1.16.0", "v1.16.0"),
            ("parity/polkadot:v1.16.0@sha256:0123", "v1.16.0"),
            ("parity/polkadot@sha256:0123", "sha256:0123"),
            ("parity/polkadot", "latest"),
            ("mirror.example:5000/parity/polkadot", "latest"),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }

    #[test]
    fn a_foreign_image_is_of_another_repository_and_of_no_release() {
        const OURS: &str = "parity/polkadot:stable2503-6";
        for (image, expected) in [
            ("evil/img:1", true),
            ("evil/img", true),
            ("evil/img:stable2503-9", false),
            ("parity/polkadot:mine", false),
            ("parity/polkadot@sha256:0123", false),
            ("mirror.example:5000/parity/polkadot:stable2503-6", false),
        ] {
            assert_eq!(is_foreign(image, OURS), expected, "{image}");
        }
    }
}
