//! Docker's API: its version, its images, an archive out and an archive in.
//!
//! It reads no archive. Requests go by the unversioned paths, which every engine answers.

use std::io::{self, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Body, BodyReader, SendBody};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::transport::daemon::engine::{ArchiveFeed, Engine, Engines};
use crate::transport::daemon::socket::{Address, AddressResolver, EngineConnector, Signs};
use crate::transport::daemon::{tls, words};

const SOCKET: &str = "unix:///var/run/docker.sock";
/// Most bytes of an answer that is not an archive.
const ANSWER: u64 = 64 << 20;

/// An engine that speaks Docker's API.
#[derive(Clone)]
pub(super) struct Docker {
    /// As the user says it, for messages.
    shown: String,
    /// What stands before the path of a request.
    base: String,
    address: Address,
    tls: Option<TlsConfig>,
    ctx: Context,
}

impl Docker {
    /// Where the engine listens; nothing is sent yet.
    ///
    /// # Errors
    /// `Usage` for an address that is none, `Unsupported`, and what is wrong with the files for TLS.
    pub(super) fn new(engines: &Engines, ctx: &Context) -> Result<Self> {
        let shown = engines.docker_host.clone().unwrap_or_else(|| SOCKET.to_owned());
        let own = |base: &str, address, tls| Self {
            shown: shown.clone(),
            base: base.to_owned(),
            address,
            tls,
            ctx: ctx.clone(),
        };
        if let Some(path) = shown.strip_prefix("unix://") {
            return Ok(own("http://docker", Address::Unix(PathBuf::from(path)), None));
        }
        if shown.starts_with("ssh://") {
            let what = "ssh to an engine is not supported; forward its socket with `ssh -L`";
            return Err(Error::unsupported(what).input(shown));
        }
        let Some(host) = shown.strip_prefix("tcp://").or(shown.strip_prefix("http://")) else {
            let what = "the address of an engine is unix:///PATH or tcp://HOST:PORT";
            return Err(Error::new(Kind::Usage, what).input(shown));
        };
        if !engines.docker_tls {
            return Ok(own(&format!("http://{host}"), Address::Tcp, None));
        }
        let certificates = engines.docker_cert_path.as_deref().unwrap_or(Path::new("."));
        Ok(own(&format!("https://{host}"), Address::Tcp, Some(tls::config(certificates)?)))
    }

    fn agent(&self, signs: &Signs) -> Agent {
        let config = Agent::config_builder().http_status_as_error(false).proxy(None);
        let config = config.max_redirects(0).user_agent("imgpack").accept("*/*");
        let config = match &self.tls {
            Some(tls) => config.tls_config(tls.clone()).build(),
            None => config.build(),
        };
        let connector = EngineConnector { address: self.address.clone(), signs: signs.clone() };
        let names = AddressResolver(self.address.clone());
        match self.tls {
            Some(_) => {
                Agent::with_parts(config, connector.chain(RustlsConnector::default()), names)
            }
            None => Agent::with_parts(config, connector, names),
        }
    }

    fn signs(&self) -> Signs {
        Signs { cancel: self.ctx.cancel.clone(), ..Signs::default() }
    }

    /// What went wrong before there was an answer.
    fn unanswered(&self, error: ureq::Error) -> Error {
        let error = match error {
            ureq::Error::Io(e) => e,
            e => io::Error::other(e.to_string()),
        };
        if error.get_ref().is_some_and(|e| e.is::<Error>()) {
            return Error::from_io(&error);
        }
        words::closed(Engine::Docker, &self.shown, &error)
    }

    fn get(&self, path: &str) -> Result<Response<Body>> {
        let answer = self.agent(&self.signs()).get(format!("{}{path}", self.base)).call();
        sound(answer.map_err(|e| self.unanswered(e))?)
    }

    fn json(&self, path: &str) -> Result<Value> {
        let mut bytes = Vec::new();
        ResponseReader::of(self.get(path)?).take(ANSWER).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(|_| {
            Error::malformed(format!("{} is not an engine: its response is not JSON", self.shown))
        })
    }

    /// The first number of the engine's version; none when podman stands in for docker.
    ///
    /// # Errors
    /// `Unreachable`, `Denied`, `Malformed`.
    pub(super) fn major(&self) -> Result<Option<u32>> {
        let answer = self.json("/version")?;
        let engine = answer["Components"].as_array().and_then(|all| all.first());
        if engine.is_some_and(|e| e["Name"].as_str().is_some_and(|n| n.contains("Podman"))) {
            return Ok(None);
        }
        let version = answer["Version"].as_str().unwrap_or_default();
        let major = version.split('.').next().unwrap_or_default();
        // A build without a number is a new one.
        Ok(Some(major.parse().unwrap_or(u32::MAX)))
    }

    /// Whether images lie in a graph driver, not in containerd's store.
    ///
    /// # Errors
    /// As [`Docker::major`].
    pub(super) fn has_graph_driver(&self) -> Result<bool> {
        let answer = self.json("/info")?;
        let mut status = answer["DriverStatus"].as_array().into_iter().flatten();
        let containerd =
            |pair: &Value| pair[1].as_str().is_some_and(|v| v.starts_with("io.containerd."));
        Ok(!status.any(containerd))
    }

    /// Every image: its names, or its ID when it has none.
    ///
    /// # Errors
    /// As [`Docker::major`].
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let answer = self.json("/images/json")?;
        Ok(answer.as_array().into_iter().flatten().flat_map(names_of).collect())
    }

    /// An archive of images.
    ///
    /// # Errors
    /// `Missing`, and as [`Docker::major`].
    pub(super) fn save(&self, names: &[String]) -> Result<impl Read + Send + use<>> {
        let names: Vec<String> = names.iter().map(|n| format!("names={}", encoded(n))).collect();
        Ok(ResponseReader::of(self.get(&format!("/images/get?{}", names.join("&")))?))
    }

    /// Makes ready to send an archive, once the engine has answered.
    ///
    /// # Errors
    /// As [`Docker::major`].
    pub(super) fn load(self) -> Result<ArchiveUpload> {
        self.major()?;
        Ok(ArchiveUpload { docker: self, sending: None, ended: false })
    }

    /// Sends what comes out of the pipe; the lines of the answer.
    fn send(&self, body: UploadReader, signs: &Signs) -> Result<Vec<String>> {
        let request = self.agent(signs).post(format!("{}/images/load?quiet=1", self.base));
        let request = request.header("Content-Type", "application/x-tar");
        let answer = request.send(SendBody::from_owned_reader(body));
        let answer = sound(answer.map_err(|e| {
            if signs.deaf.load(Ordering::Relaxed) { gone() } else { self.unanswered(e) }
        })?)?;
        let lines = said(ResponseReader::of(answer))?;
        if signs.deaf.load(Ordering::Relaxed) {
            return Err(gone());
        }
        Ok(lines)
    }
}

fn gone() -> Error {
    Error::new(Kind::Unreachable, "the engine hung up before it had the whole archive")
}

fn names_of(image: &Value) -> Vec<String> {
    let text = |v: &Value| v.as_str().filter(|n| !n.contains("<none>")).map(str::to_owned);
    let names: Vec<String> =
        image["RepoTags"].as_array().into_iter().flatten().filter_map(text).collect();
    if names.is_empty() { text(&image["Id"]).into_iter().collect() } else { names }
}

/// A name as a value of a query.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@".contains(&b);
    name.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// An answer that is no failure.
fn sound(answer: Response<Body>) -> Result<Response<Body>> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let mut bytes = Vec::new();
    let _ = ResponseReader::of(answer).take(ANSWER).read_to_end(&mut bytes);
    let text = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(answer)) if answer.get("message").is_some_and(Value::is_string) => {
            answer["message"].as_str().unwrap_or_default().to_owned()
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let error = words::error(&text, &format!("HTTP status {status}"));
    Err(match status.as_u16() {
        401 | 403 => error.kind_as(Kind::Denied),
        404 => error.kind_as(Kind::Missing),
        502..=504 => error.kind_as(Kind::Unreachable),
        _ => error,
    })
}

/// The lines of the engine's answer to an archive. A failure may come inside an answer that is none.
fn said(from: impl Read) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let from = io::BufReader::new(from.take(ANSWER));
    for message in serde_json::Deserializer::from_reader(from).into_iter::<Value>() {
        let message = message.map_err(|e| match e.io_error_kind() {
            Some(_) => Error::from(io::Error::from(e)),
            None => Error::malformed("the engine's response is not JSON"),
        })?;
        let detail = message["errorDetail"]["message"].as_str();
        if let Some(error) = detail.or(message["error"].as_str()) {
            return Err(words::error(error, "the engine failed and gave no reason"));
        }
        let text = message["stream"].as_str().map(str::trim).unwrap_or_default();
        lines.extend((!text.is_empty()).then(|| text.to_owned()));
    }
    Ok(lines)
}

/// An answer being read. Where it breaks off, the engine is gone.
struct ResponseReader(BodyReader<'static>);

impl ResponseReader {
    fn of(answer: Response<Body>) -> Self {
        Self(answer.into_body().into_reader())
    }
}

impl Read for ResponseReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|e| {
            if e.get_ref().is_some_and(|e| e.is::<Error>()) {
                return e;
            }
            let what = "the engine's response was cut off";
            Error::from_io(&e).kind_as(Kind::Unreachable).context(what).into()
        })
    }
}

/// Sends an archive in the body of a request, on a thread of its own.
pub(super) struct ArchiveUpload {
    docker: Docker,
    sending: Option<PendingUpload>,
    ended: bool,
}

struct PendingUpload {
    to: PipeWriter,
    whole: Arc<AtomicBool>,
    signs: Signs,
    answer: JoinHandle<Result<Vec<String>>>,
}

/// The body of the request: what is written into the pipe.
struct UploadReader {
    from: io::PipeReader,
    whole: Arc<AtomicBool>,
    signs: Signs,
}

impl Read for UploadReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.signs.deaf.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let count = self.from.read(buf)?;
        // The end of the pipe alone is not the end of the archive: its writer may have failed.
        if count == 0 && !buf.is_empty() && !self.whole.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "the archive was not completed").into());
        }
        Ok(count)
    }
}

impl ArchiveUpload {
    fn start(&self) -> io::Result<PendingUpload> {
        let (from, to) = io::pipe()?;
        let (whole, signs) = (Arc::<AtomicBool>::default(), self.docker.signs());
        let body = UploadReader { from, whole: whole.clone(), signs: signs.clone() };
        let (docker, own) = (self.docker.clone(), signs.clone());
        let answer = std::thread::spawn(move || docker.send(body, &own));
        Ok(PendingUpload { to, whole, signs, answer })
    }
}

impl PendingUpload {
    /// Closes the pipe and waits for what the engine has to say.
    fn answer(self) -> Result<Vec<String>> {
        drop(self.to);
        self.answer.join().unwrap_or_else(|_| Err(Error::new(Kind::Other, "a thread panicked")))
    }
}

impl Write for ArchiveUpload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Err(Error::new(Kind::Other, "an earlier failure ended the request").into());
        }
        let mut request = match self.sending.take() {
            Some(request) => request,
            None => self.start()?,
        };
        match request.to.write(buf) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                // The engine has answered already, or is gone.
                self.ended = true;
                Err(request.answer().err().unwrap_or_else(gone).into())
            }
            done => {
                self.sending = Some(request);
                done
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ArchiveFeed for ArchiveUpload {
    fn end(mut self: Box<Self>) -> Result<Vec<String>> {
        let Some(request) = self.sending.take() else { return Ok(Vec::new()) };
        request.whole.store(true, Ordering::Relaxed);
        request.answer()
    }
}

impl Drop for ArchiveUpload {
    fn drop(&mut self) {
        if let Some(request) = self.sending.take() {
            request.signs.abandoned.store(true, Ordering::Relaxed);
            let _ = request.answer();
        }
    }
}
