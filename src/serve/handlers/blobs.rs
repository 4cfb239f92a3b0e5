//! Blobs, whole or a range, straight from their files.

use http::{StatusCode, header};
use serde_json::json;

use super::reply::{CONTENT_DIGEST, NAMESPACE, is_known, no_repository};
use crate::digest::Digest;
use crate::serve::Registry;
use crate::serve::answer::{Answer, ApiError, Code, ResponseBody};
use crate::serve::catalogue::BlobContent;
use crate::serve::range::{self, ByteRange};
use crate::serve::request::Request;

/// `GET` and `HEAD` of a blob.
pub(super) fn get(registry: &Registry, request: &Request, name: &str, digest: &Digest) -> Answer {
    let ns = request.ns();
    let Some(found) = registry.catalogue().find_for_blobs(name, ns.as_deref()) else {
        return no_repository(name);
    };
    let shown = digest.to_string();
    let stored = match found.blob(digest) {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            let about = json!({"name": name, "digest": shown});
            return ApiError::new(Code::BlobUnknown, "no such blob").about(about).into();
        }
        Err(error) => return error.into(),
    };
    let size = stored.descriptor().size;
    let dressed = |answer: Answer| {
        let answer = match &ns {
            Some(ns) => answer.with(NAMESPACE, ns),
            None => answer,
        };
        answer
            .with(CONTENT_DIGEST, &shown)
            .with(header::ETAG, &format!("\"{shown}\""))
            .with(header::ACCEPT_RANGES, "bytes")
            .with(header::CACHE_CONTROL, "max-age=31536000, immutable")
    };
    if is_known(request, &shown) {
        return dressed(Answer::new(StatusCode::NOT_MODIFIED));
    }
    // Who goes on with something else is given all of it.
    let same = request.header(header::IF_RANGE).is_none_or(|tag| tag == format!("\"{shown}\""));
    let asked = request.header(header::RANGE).filter(|_| same);
    let asked = asked.map(|range| range::byte_range(range, size));
    let (status, start, length) = match asked.unwrap_or(ByteRange::Whole) {
        ByteRange::Whole => (StatusCode::OK, 0, size),
        ByteRange::Part(start, length) => (StatusCode::PARTIAL_CONTENT, start, length),
        ByteRange::Unsatisfiable => {
            let fault = ApiError::new(Code::RangeInvalid, format!("the blob has {size} bytes"));
            return Answer::from(fault)
                .with(header::CONTENT_RANGE, &format!("bytes */{size}"))
                .with(CONTENT_DIGEST, &shown);
        }
    };
    let mut answer = Answer::new(status).with(header::CONTENT_TYPE, "application/octet-stream");
    answer.body = if request.is_head() {
        ResponseBody::Length(length)
    } else {
        match found.outgoing(&stored, start, length) {
            Ok(BlobContent::Memory(bytes)) => ResponseBody::Bytes(bytes),
            Ok(BlobContent::File(outgoing)) => ResponseBody::Blob(outgoing),
            Err(error) => {
                registry.look_again();
                return error.into();
            }
        }
    };
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + length - 1;
        answer = answer.with(header::CONTENT_RANGE, &format!("bytes {start}-{last}/{size}"));
    }
    dressed(answer)
}
