//! One request of a check and its answer, and the few things a registry is asked again and again.
//!
//! A request has a connection of its own. One without a body asks the server to close it after the
//! answer: so bytes that do not belong there are seen. An answer of 500 and more fails every check. RFC 9110, 9112.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{Case, Miss, Outcome, fail, holds, same};
use crate::net::wire::{Body, Head, write_chunk};

/// Longest wait for a byte of an answer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A request in the making.
pub struct Call<'a> {
    base: &'a str,
    head: Head,
    body: &'a [u8],
    chunked: bool,
    /// How messages name it.
    line: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
    /// The request, for messages.
    pub line: String,
    /// Whether `100 Continue` came first.
    pub asked: bool,
}

impl<'a> Call<'a> {
    /// A header, in the place of all others of its name.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.head.set(name, value);
        self
    }

    /// Takes a header away.
    pub fn without(mut self, name: &str) -> Self {
        self.head.remove(name);
        self
    }

    /// A body with its length.
    pub fn body(mut self, bytes: &'a [u8]) -> Self {
        self.body = bytes;
        self.head.set("Content-Length", bytes.len());
        self.without("Connection")
    }

    /// A body in chunks, without a length.
    pub fn chunks(mut self, bytes: &'a [u8]) -> Self {
        self.body = bytes;
        self.chunked = true;
        self.head.remove("Content-Length");
        self.head.set("Transfer-Encoding", "chunked");
        self.without("Connection")
    }

    /// Announces a body and sends none: what the head says is enough to refuse it.
    pub fn unread(self, length: u64) -> Result<Answer, Miss> {
        let line = self.line.clone();
        let call = self.header("Expect", "100-continue").header("Content-Length", length);
        let answer = call.exchange(false).or_else(|e| fail(format!("{line}: {e}")))?;
        holds(&format!("{line}: asked for a body that it cannot take"), answer.status() != 100)?;
        Ok(answer)
    }

    /// Sends it; the body waits for `100 Continue` where the head asks for that.
    pub fn send(self) -> Result<Answer, Miss> {
        let line = self.line.clone();
        let answer = self.exchange(true).or_else(|e| fail(format!("{line}: {e}")))?;
        let status = answer.status();
        holds(&format!("{line}: {status}{}", answer.code()), status < 500)?;
        Ok(answer)
    }

    fn exchange(self, goes_on: bool) -> io::Result<Answer> {
        let stream = connect(self.base)?;
        let mut to = &stream;
        let mut from = BufReader::new(&stream);
        to.write_all(&self.head.bytes())?;
        let mut asked = false;
        if self.head.get("expect").is_some() {
            let first = head(&mut from)?;
            if first.status() != 100 || !goes_on {
                return read(first, &mut from, self.head.method(), self.line);
            }
            asked = true;
        }
        // A server may answer and close before it has all of it; then its answer counts.
        let sent = if self.chunked {
            let mut parts = self.body.chunks(10_000);
            parts
                .try_for_each(|part| write_chunk(&mut to, part))
                .and_then(|()| write_chunk(&mut to, b""))
        } else {
            to.write_all(self.body)
        };
        let first = match (head(&mut from), sent) {
            (Err(_), Err(e)) => return Err(e),
            (first, _) => first?,
        };
        let closing = self.head.get("connection").is_some();
        let answer = read(first, &mut from, self.head.method(), self.line)?;
        let mut more = Vec::new();
        if closing {
            from.take(1 << 16).read_to_end(&mut more)?;
        }
        if more.is_empty() {
            Ok(Answer { asked, ..answer })
        } else {
            Err(io::Error::other(format!("{} bytes behind the answer", more.len())))
        }
    }
}

/// A connection that does not wait for ever.
pub fn connect(base: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(base)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The next head.
pub fn head(from: &mut impl BufRead) -> io::Result<Head> {
    Head::read(from)?.ok_or_else(|| io::Error::other("the connection ended without an answer"))
}

/// The rest of an answer.
pub fn read(head: Head, from: &mut impl BufRead, method: &str, line: String) -> io::Result<Answer> {
    let mut body = Vec::new();
    Body::new(from, head.answer_framing(method)).read_to_end(&mut body)?;
    Ok(Answer { head, body, line, asked: false })
}

impl Answer {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// Its body as JSON; null for what is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of an error, for messages.
    fn code(&self) -> String {
        let json = self.json();
        json["errors"][0]["code"].as_str().map_or(String::new(), |code| format!(" {code}"))
    }

    /// It has this status.
    pub fn is(self, status: u16) -> Result<Self, Miss> {
        self.one_of(&[status])
    }

    /// It has one of these.
    pub fn one_of(self, all: &[u16]) -> Result<Self, Miss> {
        if all.contains(&self.status()) {
            return Ok(self);
        }
        let wanted: Vec<_> = all.iter().map(u16::to_string).collect();
        let (line, wanted) = (&self.line, wanted.join(" or "));
        fail(format!("{line}: expected {wanted}, got {}{}", self.status(), self.code()))
    }

    /// A header that must be there.
    pub fn header(&self, name: &str) -> Result<&str, Miss> {
        match self.head.get(name) {
            Some(value) => Ok(value),
            None => fail(format!("{}: {} without {name}", self.line, self.status())),
        }
    }

    /// A header with a value.
    pub fn has(&self, name: &str, value: &str) -> Outcome {
        same(&format!("{}: {name}", self.line), self.header(name)?, value)
    }

    /// A header that must not be there.
    pub fn lacks(&self, name: &str) -> Outcome {
        holds(&format!("{}: unexpected {name}", self.line), self.head.get(name).is_none())
    }

    /// Its body is these bytes, and its length was told.
    pub fn holds(&self, bytes: &[u8]) -> Outcome {
        self.has("Content-Length", &bytes.len().to_string())?;
        holds(&format!("{}: other bytes than were pushed", self.line), self.body == bytes)
    }

    /// It is an error as registries write it, with one of these statuses and codes.
    pub fn refused(self, statuses: &[u16], codes: &[&str]) -> Result<Self, Miss> {
        let answer = self.one_of(statuses)?;
        answer.error(codes)?;
        Ok(answer)
    }

    /// Its body is an error as registries write it, with one of these codes.
    pub fn error(&self, codes: &[&str]) -> Outcome {
        let (line, status, json) = (&self.line, self.status(), self.json());
        let media = self.head.get("content-type").unwrap_or("none");
        let is_json = media.split(';').next().is_some_and(|m| m.trim() == "application/json");
        holds(&format!("{line}: {status} with Content-Type {media}, no error JSON"), is_json)?;
        let first = &json["errors"][0];
        let whole =
            first["code"].is_string() && first["message"].as_str().is_some_and(|m| !m.is_empty());
        holds(&format!("{line}: errors[].code and message in {json}"), whole)?;
        let code = first["code"].as_str().unwrap_or_default();
        holds(
            &format!("{line}: expected {}, got {code}", codes.join(" or ")),
            codes.contains(&code),
        )
    }

    /// The path and query that its `Location` leads to.
    pub fn location(&self, base: &str) -> Result<String, Miss> {
        let location = self.header("Location")?;
        let absolute = format!("http://{base}/");
        match location.strip_prefix(&absolute) {
            Some(path) => Ok(format!("/{path}")),
            None if location.starts_with('/') && !location.starts_with("//") => {
                Ok(location.to_owned())
            }
            None => fail(format!("{}: Location {location}", self.line)),
        }
    }
}

/// A path, short enough for a message.
fn short(repository: &str, target: &str) -> String {
    let path = target.replace(repository, "N");
    let mut out = String::new();
    for (at, part) in path.split('/').enumerate() {
        let slash = if at == 0 { "" } else { "/" };
        let cut: String = part.chars().take(24).collect();
        let more = if cut.len() < part.len() { "…" } else { "" };
        out.push_str(&format!("{slash}{cut}{more}"));
    }
    out.chars().take(90).collect()
}

impl Case {
    /// A request to any path.
    pub fn call<'a>(&'a self, method: &str, target: &str) -> Call<'a> {
        let mut head = Head { first: format!("{method} {target} HTTP/1.1"), headers: Vec::new() };
        head.set("Host", &self.target.base);
        head.set("Connection", "close");
        head.set("Accept", ACCEPT);
        if matches!(method, "POST" | "PUT" | "PATCH") {
            head.set("Content-Length", 0);
        }
        let line = format!("{method} {}", short(&self.repository, target));
        Call { base: &self.target.base, head, body: b"", chunked: false, line }
    }

    /// A request beneath the check's repository.
    pub fn ask(&self, method: &str, below: &str) -> Result<Answer, Miss> {
        self.call(method, &self.at(below)).send()
    }

    /// A path beneath the check's repository.
    pub fn at(&self, below: &str) -> String {
        format!("/v2/{}/{below}", self.repository)
    }

    /// Where an answer leads.
    pub fn location(&self, answer: &Answer) -> Result<String, Miss> {
        answer.location(&self.target.base)
    }

    /// Begins an upload and says where it goes on.
    pub fn begin(&self) -> Result<String, Miss> {
        self.location(&self.ask("POST", "blobs/uploads/")?.is(202)?)
    }

    /// The request that ends an upload.
    pub fn close<'a>(&'a self, location: &str, digest: &str) -> Call<'a> {
        self.call("PUT", &with_digest(location, digest)).header("Content-Type", OCTETS)
    }

    /// A request that sends a part of an upload.
    pub fn patch<'a>(&'a self, location: &str) -> Call<'a> {
        self.call("PATCH", location).header("Content-Type", OCTETS)
    }

    /// The same with its place in the blob.
    pub fn chunk<'a>(&'a self, location: &str, start: usize, bytes: &'a [u8]) -> Call<'a> {
        let range = format!("{start}-{}", (start + bytes.len()).saturating_sub(1));
        self.patch(location).header("Content-Range", range).body(bytes)
    }

    /// Pushes a blob in the way that every registry knows, and says its digest.
    pub fn push(&self, bytes: &[u8]) -> Result<String, Miss> {
        let digest = self.digest(bytes);
        self.close(&self.begin()?, &digest).body(bytes).send()?.is(201)?;
        Ok(digest)
    }

    /// Sends a manifest.
    pub fn put(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<Answer, Miss> {
        let target = self.at(&format!("manifests/{reference}"));
        self.call("PUT", &target).header("Content-Type", media_type).body(bytes).send()
    }

    /// A blob can be read and is these bytes.
    pub fn holds_blob(&self, digest: &str, bytes: &[u8]) -> Outcome {
        self.ask("GET", &format!("blobs/{digest}"))?.is(200)?.holds(bytes)
    }

    /// A blob is not there.
    pub fn lacks_blob(&self, digest: &str) -> Outcome {
        self.ask("HEAD", &format!("blobs/{digest}"))?.is(404)?;
        self.ask("GET", &format!("blobs/{digest}"))?.refused(&[404], &["BLOB_UNKNOWN"]).map(|_| ())
    }
}

/// What clients say that they take.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*";

/// The media type of bytes.
pub const OCTETS: &str = "application/octet-stream";

/// A location with the digest that ends the upload.
pub fn with_digest(location: &str, digest: &str) -> String {
    let mark = if location.contains('?') { '&' } else { '?' };
    format!("{location}{mark}digest={digest}")
}
