//! What a path asks for.
//!
//! It looks nothing up. Names of repositories contain slashes and may contain the words of the API
//! (`a/blobs/manifests`), so a path is read from its right end. OCI distribution-spec, "Endpoints".

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::digest::Digest;
use crate::reference::{is_path, is_tag};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: is this a registry, and may I?
    Base,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/<name>/tags/list`.
    Tags(String),
    /// `/v2/<name>/manifests/<tag or digest>`.
    Manifest(String, ManifestReference),
    /// `/v2/<name>/blobs/<digest>`.
    Blob(String, Digest),
    /// `/v2/<name>/blobs/uploads/`: where uploads begin.
    Uploads(String),
    /// `/v2/<name>/blobs/uploads/<id>`.
    Upload(String, String),
    /// `/v2/<name>/referrers/<digest>`.
    Referrers(String, Digest),
    /// `/healthz`: the process answers.
    Health,
    /// `/readyz`: what is served can be read.
    Ready,
    /// `/metrics`.
    Metrics,
    /// `/ca.crt`: the certificate to trust.
    Authority,
    /// `/token`: a token for a password, or for none.
    Token,
    /// A page for people; its path, decoded, with the slash it begins with.
    Page(String),
}

/// A manifest, as a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestReference {
    /// By tag.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

/// Why a path is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// It cannot be decoded, or holds what no path holds.
    Path,
    /// The repository breaks the grammar.
    Name,
    /// A digest does.
    Digest,
    /// A tag does.
    Tag,
    /// Nothing is there.
    Unknown,
}

/// Reads the path of a request, percent-encoded as it came.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &str) -> Result<Route, RouteError> {
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| RouteError::Path)?;
    if decoded.chars().any(char::is_control) || decoded.contains('\\') {
        return Err(RouteError::Path);
    }
    let Some(rest) = decoded.strip_prefix("/v2") else {
        return Ok(match decoded.as_ref() {
            "/healthz" => Route::Health,
            "/readyz" => Route::Ready,
            "/metrics" => Route::Metrics,
            "/ca.crt" => Route::Authority,
            "/token" => Route::Token,
            page if page.starts_with('/') => Route::Page(page.to_owned()),
            _ => return Err(RouteError::Path),
        });
    };
    match rest {
        "" | "/" => return Ok(Route::Base),
        "/_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let Some(rest) = rest.strip_prefix('/') else {
        return Ok(Route::Page(decoded.into_owned()));
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let name = |parts: &[&str]| {
        let name = parts.join("/");
        if is_path(&name) { Ok(name) } else { Err(RouteError::Name) }
    };
    match parts.as_slice() {
        [before @ .., "tags", "list"] => Ok(Route::Tags(name(before)?)),
        [before @ .., "manifests", wanted] => {
            let name = name(before)?;
            let wanted = match wanted.contains(':') {
                true => ManifestReference::Digest(wanted.parse().map_err(|_| RouteError::Digest)?),
                false if is_tag(wanted) => ManifestReference::Tag((*wanted).to_owned()),
                false => return Err(RouteError::Tag),
            };
            Ok(Route::Manifest(name, wanted))
        }
        [before @ .., "referrers", digest] => {
            let name = name(before)?;
            Ok(Route::Referrers(name, digest.parse().map_err(|_| RouteError::Digest)?))
        }
        [before @ .., "blobs", "uploads"] | [before @ .., "blobs", "uploads", ""] => {
            Ok(Route::Uploads(name(before)?))
        }
        [before @ .., "blobs", "uploads", id] => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            match !id.is_empty() && id.len() <= 64 && id.bytes().all(plain) {
                true => Ok(Route::Upload(name(before)?, (*id).to_owned())),
                false => Err(RouteError::Unknown),
            }
        }
        [before @ .., "blobs", digest] => {
            let name = name(before)?;
            Ok(Route::Blob(name, digest.parse().map_err(|_| RouteError::Digest)?))
        }
        _ => Err(RouteError::Unknown),
    }
}

/// One value of a query, decoded; the first of that key.
pub fn query(query: Option<&str>, key: &str) -> Option<String> {
    queries(query, key).next()
}

/// The query that gives these keys these values.
pub fn encoded_query<'k>(pairs: impl IntoIterator<Item = (&'k str, String)>) -> String {
    let pair = |(key, value): (&str, String)| {
        format!("{key}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC))
    };
    pairs.into_iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Every value of a key in a query, decoded.
pub fn queries<'q>(query: Option<&'q str>, key: &'q str) -> impl Iterator<Item = String> + 'q {
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        // A plus sign is a space only in forms; digests and media types contain plus signs.
        let value = || Some(percent_decode_str(value).decode_utf8().ok()?.into_owned());
        (found == key).then(value).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_path_is_read_from_its_right_end() {
        let digest: Digest = HEX.parse().unwrap();
        for (path, want) in [
            ("/v2", Ok(Route::Base)),
            ("/v2/", Ok(Route::Base)),
            ("/v2/_catalog", Ok(Route::Catalog)),
            ("/v2/a/b/tags/list", Ok(Route::Tags("a/b".into()))),
            ("/v2/tags/list/tags/list", Ok(Route::Tags("tags/list".into()))),
            (
                "/v2/blobs/uploads/manifests/v1",
                Ok(Route::Manifest("blobs/uploads".into(), ManifestReference::Tag("v1".into()))),
            ),
            ("/v2/a/manifests/@", Err(RouteError::Tag)),
            ("/v2/a/manifests/sha256:bad", Err(RouteError::Digest)),
            ("/v2/a/blobs/uploads", Ok(Route::Uploads("a".into()))),
            ("/v2/a/blobs/uploads/", Ok(Route::Uploads("a".into()))),
            (
                "/v2/a/manifests/blobs/uploads/x-1",
                Ok(Route::Upload("a/manifests".into(), "x-1".into())),
            ),
            ("/v2/a/blobs/nothing", Err(RouteError::Digest)),
            ("/v2/a/..%2f../tags/list", Err(RouteError::Name)),
            ("/v2/a/../tags/list", Err(RouteError::Name)),
            ("/v2/a%00/tags/list", Err(RouteError::Path)),
            ("/v2/a%ff/tags/list", Err(RouteError::Path)),
            ("/v2//tags/list", Err(RouteError::Name)),
            ("/v2/a//b/tags/list", Err(RouteError::Name)),
            ("/v2/UP/tags/list", Err(RouteError::Name)),
            ("/v2/tags/list", Err(RouteError::Name)),
            ("/v2/a/nothing", Err(RouteError::Unknown)),
            ("/v2x", Ok(Route::Page("/v2x".into()))),
            ("/", Ok(Route::Page("/".into()))),
            ("/healthz", Ok(Route::Health)),
            ("*", Err(RouteError::Path)),
        ] {
            assert_eq!(read(path), want, "{path}");
        }
        let blob = format!("/v2/a/blobs/blobs/{HEX}");
        assert_eq!(read(&blob), Ok(Route::Blob("a/blobs".into(), digest)));
        let encoded = blob.replace(':', "%3A");
        assert_eq!(read(&encoded), Ok(Route::Blob("a/blobs".into(), digest)));
        let referrers = format!("/v2/a/referrers/{HEX}");
        assert_eq!(read(&referrers), Ok(Route::Referrers("a".into(), digest)));
    }

    #[test]
    fn a_query_is_decoded_and_keeps_plus_signs() {
        let text = Some("n=5&last=a%2Fb&artifactType=application/vnd.x+json&tag=a&tag=b&empty");
        assert_eq!(query(text, "last").as_deref(), Some("a/b"));
        assert_eq!(query(text, "artifactType").as_deref(), Some("application/vnd.x+json"));
        assert_eq!(queries(text, "tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query(text, "empty").as_deref(), Some(""));
        assert_eq!(query(text, "none"), None);
        assert_eq!(query(None, "n"), None);
        let made = encoded_query([("last", "a/b".into()), ("ns", "[::1]:5000".into())]);
        assert_eq!(made, "last=a%2Fb&ns=%5B%3A%3A1%5D%3A5000");
        assert_eq!(query(Some(&made), "ns").as_deref(), Some("[::1]:5000"));
    }
}
