//! Error responses: status, codes and messages of the body, as one line.
//!
//! It sends nothing. Error bodies: OCI distribution-spec 1.1 "Error Codes"; registries, proxies and
//! storage also answer with HTML, plain text or nothing at all.

use std::io::Read;

use serde_json::Value;

use super::message::Response;
use super::quota;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind};
use crate::text;

/// Most bytes of an error's body that are read.
const MAX_BODY: u64 = 64 << 10;
/// Most characters of a foreign text that are shown.
const SHOWN: usize = 200;

/// The codes and messages of an error body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// `MANIFEST_UNKNOWN`, `DENIED`, … in the order of the body.
    pub codes: Vec<String>,
    /// What there is to read, escaped; may be empty.
    pub text: String,
    /// Digests that it names.
    pub digests: Vec<Digest>,
    /// Whether it is a web page.
    pub html: bool,
    /// What is left of an allowance, and when there is more, where it was too much (429).
    pub quota: Option<String>,
}

impl ErrorBody {
    /// Reads the body of an answer that is an error.
    pub fn read(response: Response) -> Self {
        let kind = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let quota = (response.status == 429).then(|| quota::refused(&response)).flatten();
        let mut bytes = Vec::new();
        // What was cut off still says something.
        let _ = response.body.take(MAX_BODY).read_to_end(&mut bytes);
        Self { quota, ..Self::parse(&bytes, &kind) }
    }

    pub(crate) fn parse(bytes: &[u8], content_type: &str) -> Self {
        let value = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
        let errors = value.get("errors").and_then(Value::as_array);
        let html = is_html(bytes, content_type);
        let mut fault = Self { html, digests: digests(bytes), ..Self::default() };
        let mut texts = Vec::new();
        for error in errors.into_iter().flatten().take(3) {
            let field = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
            let (code, message) = (field("code"), field("message"));
            if !code.is_empty() {
                fault.codes.push(text::escape(code).into_owned());
            }
            let mut line = join(code, message);
            // Strings are explanations; objects repeat the request.
            if let Some(detail) = error.get("detail").and_then(Value::as_str) {
                line = join(&line, if detail == message { "" } else { detail });
            }
            texts.push(line);
        }
        if texts.is_empty() {
            let plain = ["message", "error", "details", "detail"];
            let said = plain.iter().find_map(|name| value.get(*name).and_then(Value::as_str));
            match said {
                Some(said) => texts.push(said.to_owned()),
                None if fault.html => texts.push(title(bytes)),
                None => texts.push(String::from_utf8_lossy(bytes).into_owned()),
            }
        }
        texts.retain(|t| !t.trim().is_empty());
        fault.text = short(&texts.join("; "));
        fault
    }

    /// Whether a code is among those of the body.
    pub fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|c| c == code)
    }

    /// Whether it says that something is not there in the way of Harbor and registry.redhat.io: with
    /// the code for anything else.
    pub fn is_missing(&self) -> bool {
        let codes = ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND"];
        codes.iter().any(|c| self.has(c))
            || (self.has("UNKNOWN") && self.text.to_ascii_lowercase().contains("not found"))
    }

    /// The error for a status. `doing` names the request.
    pub fn error(&self, doing: &str, status: u16) -> Error {
        let said = match self.text.as_str() {
            "" => String::new(),
            text => format!(": {text}"),
        };
        let cause = if status == 429 { Cause::TooManyRequests } else { Cause::Plain };
        let what = format!("{doing}: {}{said}", status_text(status));
        let error = Error::new(self.kind(status), what).because(cause);
        match &self.quota {
            Some(quota) => error.note(quota),
            None => error,
        }
    }

    fn kind(&self, status: u16) -> Kind {
        match status {
            _ if self.has("DIGEST_INVALID") || self.has("SIZE_INVALID") => Kind::Corrupt,
            404 | 410 => Kind::Missing,
            405 | 413 | 415 | 501 => Kind::Unsupported,
            _ if self.has("UNSUPPORTED") => Kind::Unsupported,
            408 | 425 | 429 | 499 | 500.. => Kind::Unreachable,
            400.. => Kind::Denied,
            _ => Kind::Malformed,
        }
    }
}

/// Every digest in a text, wherever registries put them.
fn digests(bytes: &[u8]) -> Vec<Digest> {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    words.filter_map(|word| word.parse().ok()).collect()
}

/// A status as people know it.
pub fn status_text(status: u16) -> String {
    let known = ureq::http::StatusCode::from_u16(status).ok();
    match known.and_then(|s| s.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => format!("status {status}"),
    }
}

/// Whether bytes are a web page rather than what a registry sends.
pub(crate) fn is_html(bytes: &[u8], content_type: &str) -> bool {
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(bytes.len());
    bytes[start..].starts_with(b"<") || (content_type.contains("html") && !bytes.starts_with(b"{"))
}

/// The title of a web page, else its first words.
fn title(bytes: &[u8]) -> String {
    let page = String::from_utf8_lossy(bytes);
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>").map(|at| at + "<title>".len());
    let found = start.and_then(|s| Some((s, s + lower.get(s..)?.find("</title>")?)));
    let said = found.and_then(|(s, e)| page.get(s..e)).unwrap_or(&page);
    format!("a web page: {}", said.trim())
}

fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (false, false) => format!("{a}: {b}"),
        _ => format!("{a}{b}"),
    }
}

fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ");
    let cut: String = line.chars().take(SHOWN).collect();
    let more = if cut.len() < line.len() { "…" } else { "" };
    format!("{}{more}", text::escape(&cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_all_kinds_become_one_line() {
        for (status, kind, body, want) in [
            (
                404,
                "application/json",
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"v1"}}]}"#,
                "GET x: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown",
            ),
            (
                403,
                "application/json",
                r#"{"errors":[{"code":"DENIED","message":"no","detail":"ask bob"},{"code":"B"}]}"#,
                "GET x: 403 Forbidden: DENIED: no: ask bob; B",
            ),
            (500, "", r#"{"message":"boom"}"#, "GET x: 500 Internal Server Error: boom"),
            (
                502,
                "text/plain",
                "bad\ngateway\x1b[2J",
                "GET x: 502 Bad Gateway: bad gateway\\x1b[2J",
            ),
            (
                503,
                "text/html",
                "<html><head><TITLE>Try later</TITLE></head></html>",
                "GET x: 503 Service Unavailable: a web page: Try later",
            ),
            (400, "", "", "GET x: 400 Bad Request"),
            (522, "", "", "GET x: status 522"),
        ] {
            let fault = ErrorBody::parse(body.as_bytes(), kind);
            assert_eq!(fault.error("GET x", status).what(), want);
        }
        let digest = Digest::of(b"a layer");
        for body in [
            format!(r#"{{"errors":[{{"code":"B","detail":{{"digest":"{digest}"}}}}]}}"#),
            format!("blob unknown to registry: {digest}."),
        ] {
            assert_eq!(ErrorBody::parse(body.as_bytes(), "").digests, [digest], "{body}");
        }
        let long = ErrorBody::parse("y".repeat(500).as_bytes(), "");
        assert_eq!(long.text.chars().count(), SHOWN + 1);
    }

    #[test]
    fn statuses_have_kinds() {
        let none = ErrorBody::default();
        for (status, want) in [
            (400, Kind::Denied),
            (401, Kind::Denied),
            (403, Kind::Denied),
            (404, Kind::Missing),
            (405, Kind::Unsupported),
            (413, Kind::Unsupported),
            (429, Kind::Unreachable),
            (500, Kind::Unreachable),
            (302, Kind::Malformed),
        ] {
            assert_eq!(none.error("", status).kind(), want, "{status}");
        }
        let digest = ErrorBody { codes: vec!["DIGEST_INVALID".into()], ..ErrorBody::default() };
        assert_eq!(digest.error("", 400).kind(), Kind::Corrupt);
        let code = |code: &str, text: &str| ErrorBody {
            codes: vec![code.into()],
            text: text.into(),
            ..ErrorBody::default()
        };
        assert!(code("UNKNOWN", "UNKNOWN: Not Found").is_missing());
        assert!(code("NAME_UNKNOWN", "").is_missing());
        assert!(!code("UNKNOWN", "UNKNOWN: unknown error").is_missing());
    }
}
