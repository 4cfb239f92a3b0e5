//! A blob as a `Read` that resumes by itself after a broken connection.
//!
//! It hashes nothing: the reader compares size and digest, and fetches again when they are wrong. It only
//! ensures that the bytes are contiguous and never more than the descriptor says. OCI distribution-spec,
//! "Pulling blobs"; RFC 9110 section 14.

use std::io::{self, Read};
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::registry::http::{Body, HttpRequest, Method, Response, Scope, Wire};
use crate::registry::retry::Backoff;
use crate::registry::settings::Settings;

/// Opens a blob at `offset`: so many bytes of it the caller has already. What the descriptor itself
/// carries (`data`) is taken from there. Without an end of tries while bytes arrive. `scope` is what a
/// token must allow.
///
/// # Errors
/// `Missing` when the registry lacks it, `Denied`, `Unreachable`, `Malformed` when what answers is no
/// registry, `Corrupt` when the registry has a blob of another size under that digest.
pub fn blob(
    wire: Arc<dyn Wire>,
    path: &str,
    scope: Scope,
    desc: &Descriptor,
    offset: u64,
    settings: &Settings,
    ctx: &Context,
) -> Result<Box<dyn Read + Send>> {
    if let Some(bytes) = inline(desc) {
        let mut bytes = io::Cursor::new(bytes);
        bytes.set_position(offset);
        return Ok(Box::new(bytes));
    }
    let mut places = vec![format!("/v2/{path}/blobs/{}", desc.digest)];
    let foreign = urls(desc);
    let withheld = !foreign.is_empty() && !settings.fetch_foreign;
    if settings.fetch_foreign {
        places.extend(foreign);
    }
    begin((wire, settings, ctx), places, withheld, vec![scope], desc, offset)
}

/// Opens a foreign layer at the URLs of its descriptor, of which there is at least one.
///
/// # Errors
/// As [`blob`].
pub fn foreign(
    wire: Arc<dyn Wire>,
    desc: &Descriptor,
    offset: u64,
    settings: &Settings,
    ctx: &Context,
) -> Result<Box<dyn Read + Send>> {
    begin((wire, settings, ctx), urls(desc), false, Vec::new(), desc, offset)
}

fn begin(
    (wire, settings, ctx): (Arc<dyn Wire>, &Settings, &Context),
    places: Vec<String>,
    withheld: bool,
    scopes: Vec<Scope>,
    desc: &Descriptor,
    offset: u64,
) -> Result<Box<dyn Read + Send>> {
    let mut download = Download {
        wire,
        places,
        place: 0,
        withheld,
        scopes,
        digest: desc.digest,
        size: desc.size,
        html: desc.media_type.as_str().starts_with("text/html"),
        at: offset,
        body: None,
        ranges: true,
        doubted: false,
        backoff: Backoff::new(settings),
        ctx: ctx.clone(),
        failed: None,
    };
    if offset < desc.size {
        download.connect()?;
    }
    Ok(Box::new(download))
}

/// The size of a blob that the registry has; `None` when it has none. Costs one HEAD.
///
/// # Errors
/// `Denied`, `Unreachable`.
pub fn blob_size(
    wire: &dyn Wire,
    path: &str,
    scope: Scope,
    digest: &Digest,
) -> Result<Option<u64>> {
    let url = format!("/v2/{path}/blobs/{digest}");
    let scopes = [scope];
    let ask = |method, headers: &[(&'static str, String)]| {
        wire.send(&HttpRequest {
            method,
            url: &url,
            headers,
            body: Body::Empty,
            scopes: &scopes,
            again: true,
        })
    };
    let mut response = ask(Method::Head, &[])?;
    if matches!(response.status, 405 | 501) {
        // Some know no HEAD of blobs; the first byte tells as much.
        response = ask(Method::Get, &[("range", "bytes=0-0".into())])?;
        if response.status == 416 {
            return Ok(Some(0));
        }
    }
    match response.status {
        206 => Ok(content_range(&response).and_then(|range| range.total)),
        200..=299 => Ok(Some(content_length(&response).unwrap_or_default())),
        404 => Ok(None),
        _ => Err(wire.fault(&format!("HEAD blob {digest}"), response)),
    }
}

/// The bytes that a descriptor carries itself, when they are what it says.
fn inline(desc: &Descriptor) -> Option<Vec<u8>> {
    let text = desc.rest.get("data")?.as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let mut hasher = Hasher::new(desc.digest.algorithm());
    hasher.update(&bytes);
    (bytes.len() as u64 == desc.size && hasher.finish() == desc.digest).then_some(bytes)
}

/// The other places a descriptor names for its bytes: a foreign layer's.
pub fn urls(desc: &Descriptor) -> Vec<String> {
    let named = desc.rest.get("urls").and_then(Value::as_array);
    let web = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    named.into_iter().flatten().filter_map(Value::as_str).filter(web).map(String::from).collect()
}

struct Download {
    wire: Arc<dyn Wire>,
    /// The registry's URL, then those of a foreign layer.
    places: Vec<String>,
    place: usize,
    /// Whether there are other places that may not be asked.
    withheld: bool,
    scopes: Vec<Scope>,
    digest: Digest,
    size: u64,
    /// A web page is what is asked for.
    html: bool,
    /// The next byte to hand out.
    at: u64,
    body: Option<Box<dyn Read + Send>>,
    /// Whether asking for a range is worth it here.
    ranges: bool,
    /// A wrong length was seen before.
    doubted: bool,
    backoff: Backoff,
    ctx: Context,
    failed: Option<Error>,
}

impl Download {
    /// Sends requests until one answers with the bytes from `at` on.
    fn connect(&mut self) -> Result<()> {
        while self.body.is_none() {
            // Always the registry's own URL: where it pointed the last time may have expired.
            let mut headers = Vec::new();
            let ranged = self.at > 0 && self.ranges;
            if ranged {
                headers.push(("range", format!("bytes={}-", self.at)));
            }
            // Another place than the registry is no business of its tokens.
            let scopes: &[Scope] = if self.place == 0 { &self.scopes } else { &[] };
            let request = HttpRequest {
                method: Method::Get,
                url: &self.places[self.place],
                headers: &headers,
                body: Body::Empty,
                scopes,
                again: true,
            };
            match self.wire.send(&request) {
                Ok(response) => self.take(response, ranged)?,
                Err(e) if self.place > 0 && e.kind() != Kind::Interrupted => self.next_place(e)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Looks at an answer and keeps its body when that is the one.
    fn take(&mut self, response: Response, ranged: bool) -> Result<()> {
        match response.status {
            206 if ranged => {
                self.plain(&response)?;
                let range = content_range(&response);
                let total = range.as_ref().and_then(|range| range.total);
                match range {
                    _ if total.is_some_and(|total| total != self.size) => {
                        Err(self.wrong_size(total.unwrap_or_default()))
                    }
                    Some(range) if range.start == self.at => {
                        self.body = Some(response.body);
                        Ok(())
                    }
                    // Not what was asked for; the whole cannot be mistaken.
                    _ => {
                        self.ranges = false;
                        Ok(())
                    }
                }
            }
            200 => {
                self.plain(&response)?;
                let length = content_length(&response).filter(|length| *length != self.size);
                if let Some(length) = length {
                    return self.doubt(length);
                }
                self.body = Some(response.body);
                // Ranges are ignored: what is known already passes by once more.
                if self.at > 0 { self.skip() } else { Ok(()) }
            }
            // Either the blob is shorter, which its length will tell, or ranges do not work.
            416 if ranged => {
                self.ranges = false;
                Ok(())
            }
            status => {
                let fault = self.wire.fault(&format!("GET blob {}", self.digest), response);
                match status {
                    404 if self.withheld => Err(fault.note(
                        "its descriptor has other locations (urls), which are used only on request",
                    )),
                    404 => self.next_place(fault),
                    _ if self.place > 0 => self.next_place(fault),
                    _ => Err(fault),
                }
            }
        }
    }

    /// Refuses what cannot be the blob's own bytes.
    fn plain(&self, response: &Response) -> Result<()> {
        let kind = response.header("content-type").unwrap_or_default().trim();
        if !self.html && kind.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("text/html"))
        {
            return Err(Error::malformed(format!(
                "not a registry: received a web page instead of blob {}",
                self.digest
            )));
        }
        Ok(())
    }

    /// A whole body of another length than the blob's: once it may be something on the way.
    fn doubt(&mut self, length: u64) -> Result<()> {
        let err = self.wrong_size(length);
        if std::mem::replace(&mut self.doubted, true) {
            return Err(err);
        }
        match self.backoff.wait(None, &err.to_string(), &self.ctx) {
            Err(e) if e.kind() != Kind::Interrupted => Err(err),
            waited => waited,
        }
    }

    fn wrong_size(&self, found: u64) -> Error {
        let (digest, size) = (self.digest, self.size);
        Error::corrupt(format!("blob {digest} is {found} bytes there, {size} were expected"))
    }

    /// Reads past the bytes that the caller has already.
    fn skip(&mut self) -> Result<()> {
        let mut left = self.at;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            self.ctx.check()?;
            let Some(body) = &mut self.body else { return Ok(()) };
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match body.read(&mut buffer[..want]) {
                Ok(0) => return self.cut(None),
                Ok(n) => left -= n as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.cut(Some(&e)),
            }
        }
        Ok(())
    }

    /// Goes on to the next place of a foreign layer.
    fn next_place(&mut self, err: Error) -> Result<()> {
        if self.place + 1 >= self.places.len() {
            return Err(err);
        }
        self.place += 1;
        let next = crate::text::escape(&self.places[self.place]).into_owned();
        self.ctx.progress.event(crate::progress::Event::Detail(&format!(
            "{err}; fetching the foreign layer from {next}"
        )));
        Ok(())
    }

    /// The body broke off: waits as long as is fit, for `connect` to go on from there.
    fn cut(&mut self, err: Option<&io::Error>) -> Result<()> {
        self.body = None;
        let ours = err.map(Error::from_io);
        if let Some(ours) = &ours
            && ours.kind() == Kind::Interrupted
        {
            return Err(ours.clone());
        }
        let why = ours.map_or("the connection ended".into(), |e| e.to_string());
        let cause =
            format!("blob {} broke off at byte {} of {}: {why}", self.digest, self.at, self.size);
        self.backoff.wait(None, &cause, &self.ctx)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.at < self.size && !buffer.is_empty() {
            self.ctx.check()?;
            let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
            let want = buffer.len().min(left);
            let Some(body) = &mut self.body else {
                self.connect()?;
                continue;
            };
            match body.read(&mut buffer[..want]) {
                Ok(0) => self.cut(None)?,
                Ok(n) => {
                    self.at += n as u64;
                    self.backoff.progress();
                    if self.at == self.size {
                        self.end()?;
                    }
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => self.cut(Some(&e))?,
            }
        }
        Ok(0)
    }

    /// All bytes are here: a body that goes on is not the blob's. Reading its end also frees the
    /// connection for the next request.
    fn end(&mut self) -> Result<()> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        match body.read(&mut [0]) {
            Ok(n) if n > 0 => Err(Error::corrupt(format!(
                "blob {} does not end after its {} bytes",
                self.digest, self.size
            ))),
            _ => Ok(()),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone().into());
        }
        self.fill(buffer).map_err(|e| {
            self.body = None;
            self.failed = Some(e.clone());
            e.into()
        })
    }
}

/// What a `Content-Range` header says.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    total: Option<u64>,
}

fn content_range(response: &Response) -> Option<ContentRange> {
    let text = response.header("content-range")?.trim();
    let unit = text.get(..6).filter(|unit| unit.eq_ignore_ascii_case("bytes "))?;
    let (range, total) = text[unit.len()..].trim().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.parse::<u64>().ok()?, end.parse::<u64>().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (start <= end && total.is_none_or(|total| end < total)).then_some(ContentRange { start, total })
}

fn content_length(response: &Response) -> Option<u64> {
    response.header("content-length")?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
