//! Parsing a registry's responses to an upload: its offset, and the reason of a refusal.
//!
//! It sends nothing and decides nothing.

use std::io::{Cursor, Read as _};

use crate::registry::http::{ErrorBody, Response};

/// Most bytes of an error's body that are read.
const LARGEST: u64 = 64 << 10;

/// How many bytes a session has, by its `Range` header: `0-k`, in any of the spellings seen.
/// `0-0` is what a session without any byte says as well as one with a single byte.
pub(super) fn received(response: &Response) -> u64 {
    let text = response.header("range").unwrap_or_default().trim();
    let text = text.strip_prefix("bytes").unwrap_or(text).trim_start_matches(['=', ' ']);
    match text.split_once('-') {
        Some(("0", last)) => match last.trim().parse::<u64>() {
            Ok(0) | Err(_) => 0,
            Ok(last) => last.saturating_add(1),
        },
        _ => 0,
    }
}

/// The smallest request a registry takes, where it says so.
pub(super) fn least(response: &Response) -> Option<u64> {
    response.header("oci-chunk-min-length")?.trim().parse().ok()
}

/// Reads why something was refused, and puts the body back for the message.
pub(super) fn refusal(response: &mut Response) -> ErrorBody {
    let mut bytes = Vec::new();
    // What came before a cut is enough.
    let _ = response.body.by_ref().take(LARGEST).read_to_end(&mut bytes);
    response.body = Box::new(Cursor::new(bytes.clone()));
    let headers = response.headers.clone();
    let url = response.url.clone();
    ErrorBody::read(Response {
        status: response.status,
        headers,
        url,
        body: Box::new(Cursor::new(bytes)),
    })
}

/// Gitea and Forgejo: a session takes one PATCH.
pub(super) fn one_patch(fault: &ErrorBody) -> bool {
    fault.text.to_lowercase().contains("after first write")
}

/// What was sent did not hash to what was said.
pub(super) fn wrong_digest(fault: &ErrorBody) -> bool {
    fault.has("DIGEST_INVALID") || fault.has("SIZE_INVALID")
}

/// Where the bytes were to go is not where the registry is.
pub(super) fn out_of_step(fault: &ErrorBody) -> bool {
    fault.has("RANGE_INVALID")
}

/// The session is none of the registry's any more.
pub(super) fn gone(status: u16, fault: &ErrorBody) -> bool {
    status == 404 || fault.has("BLOB_UPLOAD_UNKNOWN") || fault.has("BLOB_UPLOAD_INVALID")
}

/// What may stand beside the errors of a document; see [`refusal`].
#[cfg(test)]
pub(super) fn document(code: &str, message: &str) -> Vec<u8> {
    let error = serde_json::json!({"errors": [{"code": code, "message": message, "detail": null}]});
    error.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)], body: &[u8]) -> Response {
        Response {
            status: 204,
            headers: headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            url: String::new(),
            body: Box::new(std::io::Cursor::new(body.to_vec())),
        }
    }

    #[test]
    fn how_far_a_session_is_in_every_spelling() {
        for (range, want) in [
            (Some("0-12345677"), 12_345_678),
            (Some("bytes=0-9"), 10),
            (Some("bytes 0-9"), 10),
            (Some(" 0-1 "), 2),
            (Some("0-0"), 0),
            (Some("0--1"), 0),
            (Some("5-9"), 0),
            (Some("what"), 0),
            (Some(""), 0),
            (None, 0),
            (Some("0-18446744073709551615"), u64::MAX),
            (Some("0-18446744073709551616"), 0),
        ] {
            let headers: Vec<_> = range.map(|r| ("range", r)).into_iter().collect();
            assert_eq!(received(&answer(&headers, b"")), want, "{range:?}");
        }
    }

    #[test]
    fn a_refusal_is_read_and_put_back() {
        let body = document("DIGEST_INVALID", "Stream uploads After First write are not allowed");
        let mut response = answer(&[], &body);
        let fault = refusal(&mut response);
        assert!(wrong_digest(&fault) && one_patch(&fault) && !out_of_step(&fault));
        assert!(gone(404, &fault) && !gone(400, &fault));
        let mut again = Vec::new();
        response.body.read_to_end(&mut again).unwrap();
        assert_eq!(again, body);
        for body in [&b"<html>no"[..], b"", b"{\"errors\":{}}", b"{\"errors\":[1,{\"code\":2}]}"] {
            assert!(!wrong_digest(&refusal(&mut answer(&[], body))));
        }
    }
}
