//! A client for the tests themselves: one plain HTTP request at a time, and what lies in a registry.
//!
//! It resumes nothing and tries nothing twice.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;

use super::wire::{Body, Head};
use crate::common::image::Oci;
use crate::common::{hex, list, sha256, string};

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends a request to `127.0.0.1:port` and reads the answer.
pub fn send(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = Head { first: format!("{method} {target} HTTP/1.1"), headers: Vec::new() };
    head.set("Host", host);
    head.set("Connection", "close");
    for (name, value) in headers {
        head.set(name, value);
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        head.set("Content-Length", body.len());
    }
    stream.write_all(&head.bytes())?;
    stream.write_all(body)?;
    let mut from = BufReader::new(stream);
    let head = Head::read(&mut from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let framing = head.answer_framing(method);
    let mut body = Vec::new();
    Body::new(&mut from, framing).read_to_end(&mut body)?;
    Ok(Answer { head, body })
}

/// GET, which must be answered.
#[track_caller]
pub fn get(host: &str, target: &str) -> Answer {
    let accept = "application/vnd.oci.image.index.v1+json, \
        application/vnd.oci.image.manifest.v1+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, \
        application/vnd.docker.distribution.manifest.v2+json, */*";
    send(host, "GET", target, &[("Accept", accept)], b"").expect("an answer")
}

/// The value of `Authorization` for a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// The path and query of a location, with a parameter added.
fn with_digest(location: &str, digest: &str) -> String {
    let path = location.find("/v2/").map_or(location, |at| &location[at..]);
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}digest={digest}")
}

/// Uploads a blob, whole, in the closing PUT.
#[track_caller]
pub fn push_blob(host: &str, repository: &str, bytes: &[u8]) {
    let start = format!("/v2/{repository}/blobs/uploads/");
    let session = send(host, "POST", &start, &[], b"").expect("an answer");
    assert_eq!(session.status(), 202, "{session:?}");
    let location = session.head.get("location").expect("a location");
    let put = with_digest(location, &sha256(bytes));
    let media = [("Content-Type", "application/octet-stream")];
    let done = send(host, "PUT", &put, &media, bytes).expect("an answer");
    assert_eq!(done.status(), 201, "{done:?}");
}

/// Uploads everything of a layout; each entry of its index is tagged with its recorded name.
#[track_caller]
pub fn push(host: &str, repository: &str, oci: &Oci) {
    for (_, bytes) in oci.blobs.iter().filter(|(_, bytes)| !is_manifest(bytes)) {
        push_blob(host, repository, bytes);
    }
    let manifests: Vec<_> = oci.blobs.iter().filter(|(_, bytes)| is_manifest(bytes)).collect();
    for (hex, bytes) in manifests {
        push_manifest(host, repository, &format!("sha256:{hex}"), bytes);
    }
    for entry in &oci.entries {
        let name = string(&entry["annotations"]["org.opencontainers.image.ref.name"]);
        let digest = string(&entry["digest"]);
        let (_, bytes) =
            oci.blobs.iter().find(|(h, _)| digest.ends_with(h.as_str())).expect("a blob");
        push_manifest(host, repository, &name, bytes);
    }
}

/// Uploads a manifest or index.
#[track_caller]
pub fn push_manifest(host: &str, repository: &str, name: &str, bytes: &[u8]) {
    let target = format!("/v2/{repository}/manifests/{name}");
    let kind =
        string(&serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON")["mediaType"]);
    let done = send(host, "PUT", &target, &[("Content-Type", &kind)], bytes).expect("an answer");
    assert_eq!(done.status(), 201, "{done:?}");
}

fn is_manifest(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{")
        && serde_json::from_slice::<serde_json::Value>(bytes)
            .is_ok_and(|v| v["layers"].is_array() || v["manifests"].is_array())
}

/// The digest of what a tag stands for, everything beneath it fetched and hashed.
#[track_caller]
pub fn check(host: &str, repository: &str, name: &str) -> String {
    let answer = get(host, &format!("/v2/{repository}/manifests/{name}"));
    assert_eq!(answer.status(), 200, "{repository}:{name}: {answer:?}");
    let digest = sha256(&answer.body);
    assert!(!name.starts_with("sha256:") || name == digest, "{name} is {digest}");
    let manifest = answer.json();
    for child in list(&manifest["manifests"]) {
        check(host, repository, &string(&child["digest"]));
    }
    for desc in list(&manifest["layers"]).iter().chain(manifest.get("config")) {
        let wanted = string(&desc["digest"]);
        let blob = get(host, &format!("/v2/{repository}/blobs/{wanted}"));
        assert_eq!(blob.status(), 200, "{repository}: {wanted}");
        assert_eq!(format!("sha256:{}", hex(&blob.body)), wanted, "{repository}");
        assert_eq!(Some(blob.body.len() as u64), desc["size"].as_u64(), "{repository}: {wanted}");
    }
    digest
}
