//! The URL of an upload session, as it is used and remembered.
//!
//! It resolves nothing: that is `Wire::locate`. The query of a session is the registry's own (signed
//! state, upload ids) and carried along byte for byte. OCI distribution-spec, "Pushing blobs".

use crate::digest::Digest;
use crate::registry::http::url::Url;

/// Longest path and query that is remembered, in bytes.
const LONGEST: usize = 16 << 10;

/// The URL that closes a session: `digest` is put behind whatever query there is.
pub(super) fn with_digest(location: &str, digest: &Digest) -> String {
    let joint = match location.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, query)) if query.ends_with('&') => "",
        Some(_) => "&",
    };
    // As the other clients write it; a bare colon is refused by some proxies.
    format!("{location}{joint}digest={}%3A{}", digest.algorithm().name(), digest.hex())
}

/// The path and query of a session that lies in `path` on `host` itself, to be found again in a later
/// run; `None` for any other.
pub(super) fn below(location: &str, host: &str, path: &str) -> Option<String> {
    let url = Url::parse(location)?;
    let own = Url::at(url.https, host, "/")?;
    (url.same_origin(&own) && is_session(&url.rest, path)).then_some(url.rest)
}

/// Whether `text` is the path (and query) of an upload session of the repository `path`, and nothing else.
pub(super) fn is_session(text: &str, path: &str) -> bool {
    let Some(rest) = text.strip_prefix(&format!("/v2/{path}/blobs/uploads/")) else { return false };
    let id = rest.split('?').next().unwrap_or_default();
    let climbs = id.split('/').any(|part| part == ".." || part == ".") || id.contains('%');
    let sane = |b: u8| b.is_ascii_graphic() && !b"\\\"<>#".contains(&b);
    !id.is_empty() && !climbs && text.len() <= LONGEST && text.bytes().all(sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_put_behind_whatever_query_there_is() {
        let digest = Digest::of(b"x");
        let hex = digest.hex();
        for (location, joint) in [
            ("http://h/u", "?"),
            ("http://h/u?", ""),
            ("http://h/u?_state=a%2Fb+c%3D%3D", "&"),
            ("http://h/u?a&", ""),
        ] {
            let want = format!("{location}{joint}digest=sha256%3A{hex}");
            assert_eq!(with_digest(location, &digest), want);
        }
    }

    #[test]
    fn only_sessions_of_the_same_repository_are_found_again() {
        let host = "reg.example:5000";
        let found = |url: &str| below(url, host, "a/b");
        let path = "/v2/a/b/blobs/uploads/1-2?_state=x%2F+=";
        assert_eq!(found(&format!("http://reg.example:5000{path}")).unwrap(), path);
        assert_eq!(below(&format!("https://h:443{path}"), "h", "a/b").unwrap(), path);
        assert_eq!(below(&format!("https://[::1]:5{path}"), "[::1]:5", "a/b").unwrap(), path);
        for other in [
            "http://reg.example/v2/a/b/blobs/uploads/1",
            "http://evil.example:5000/v2/a/b/blobs/uploads/1",
            "http://reg.example:5000/v2/a/blobs/uploads/1",
            "http://reg.example:5000/v2/a/b/blobs/uploads/",
            "http://reg.example:5000/v2/a/b/blobs/uploads/../../x",
            "http://reg.example:5000/v2/a/b/blobs/uploads/%2e%2e/x",
            "http://reg.example:5000/upload/1",
            "/v2/a/b/blobs/uploads/1",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
