//! TCP for a request: name lookup, connecting, reading and writing, all of which end with the run.
//!
//! It knows no HTTP. ureq's own connector waits for the whole time-out; this one checks every quarter of
//! a second whether the run was interrupted, restarts the time-out with every byte, and reads the response
//! of a server that refused a body half-way.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use crate::registry::address;

/// How long a call of the system may wait before the run is asked whether it goes on.
const SLICE: Duration = Duration::from_millis(250);

thread_local! {
    /// Whether the server of this thread's request stopped listening while the body was sent.
    static UNHEARD: Cell<bool> = const { Cell::new(false) };
}

/// Runs one request. Its body may come from another request of the same thread, so what is known of an
/// outer one is kept.
pub(super) fn request<T>(run: impl FnOnce() -> T) -> T {
    let outer = UNHEARD.replace(false);
    let result = run();
    UNHEARD.set(outer);
    result
}

/// Reads a piece of a request's body; `None` when nobody listens to the rest of it any more.
pub(super) fn piece<T>(read: impl FnOnce() -> T) -> Option<T> {
    if UNHEARD.get() {
        return None;
    }
    let result = read();
    // What the reading did on connections of its own says nothing about ours.
    UNHEARD.set(false);
    Some(result)
}

/// Opens TCP connections.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) cancel: Arc<AtomicBool>,
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let until = Instant::now() + details.timeout.not_zero().map_or(SLICE * 240, |t| *t);
        let mut last = None;
        let count = details.addrs.len();
        for (at, addr) in details.addrs.iter().enumerate() {
            // The last address gets all that is left, each before it half.
            let left = until.saturating_duration_since(Instant::now());
            let share = if at + 1 == count { left } else { left / 2 };
            match self.open(*addr, share, details.timeout.reason) {
                Ok(stream) => {
                    let (input, output) =
                        (details.config.input_buffer_size(), details.config.output_buffer_size());
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(SLICE))?;
                    stream.set_write_timeout(Some(SLICE))?;
                    let buffers = LazyBuffers::new(input, output);
                    let cancel = Arc::clone(&self.cancel);
                    return Ok(Some(Either::B(Socket { stream, buffers, cancel, unheard: false })));
                }
                Err(e) if self.cancel.load(Ordering::Relaxed) => return Err(e),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or(Error::HostNotFound))
    }
}

impl Tcp {
    fn open(&self, addr: SocketAddr, left: Duration, reason: Timeout) -> Result<TcpStream, Error> {
        let left = left.max(Duration::from_millis(10));
        let opened =
            watched(&self.cancel, left + SLICE, move || TcpStream::connect_timeout(&addr, left));
        match opened {
            Some(Err(e)) if e.kind() == ErrorKind::TimedOut => Err(Error::Timeout(reason)),
            Some(other) => Ok(other?),
            None => Err(ended(&self.cancel, reason)),
        }
    }
}

/// Runs what cannot be interrupted in a thread of its own; `None` when the run or the time ended first.
fn watched<T: Send + 'static>(
    cancel: &AtomicBool,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        // Whoever waited may have gone.
        let _ = sender.send(work());
    });
    let began = Instant::now();
    loop {
        match receiver.recv_timeout(SLICE.min(limit)) {
            Ok(done) => return Some(done),
            Err(RecvTimeoutError::Timeout)
                if began.elapsed() < limit && !cancel.load(Ordering::Relaxed) => {}
            Err(_) => return None,
        }
    }
}

fn ended(cancel: &AtomicBool, reason: Timeout) -> Error {
    if cancel.load(Ordering::Relaxed) {
        Error::Io(io::Error::other("interrupted"))
    } else {
        Error::Timeout(reason)
    }
}

/// A TCP connection.
pub(super) struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    cancel: Arc<AtomicBool>,
    unheard: bool,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("peer", &self.stream.peer_addr().ok()).finish()
    }
}

/// Whether a call only ran out of its slice of time.
fn paused(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Socket {
    /// Whether there is time to wait on.
    fn waits_on(&self, since: Instant, timeout: NextTimeout) -> Result<(), Error> {
        let over = timeout.not_zero().is_some_and(|limit| since.elapsed() >= *limit);
        if over || self.cancel.load(Ordering::Relaxed) {
            return Err(ended(&self.cancel, timeout.reason));
        }
        Ok(())
    }

    fn write(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut since = Instant::now();
        let mut at = 0;
        while at < amount {
            match (&self.stream).write(&self.buffers.output()[at..amount]) {
                Ok(0) => return Err(Error::Io(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    at += count;
                    since = Instant::now();
                }
                Err(e) if paused(&e) => self.waits_on(since, timeout)?,
                Err(e) => return Err(Error::Io(e)),
            }
        }
        Ok(())
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.unheard {
            return Ok(());
        }
        match self.write(amount, timeout.for_write()) {
            // A server that refuses a body closes after its answer, and the answer lies here to be read.
            Err(Error::Io(e))
                if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                self.unheard = true;
                UNHEARD.set(true);
                Ok(())
            }
            other => other,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let since = Instant::now();
        // Waiting for `100 Continue` may take less than a slice.
        let short = timeout.not_zero().map(|t| *t).filter(|t| *t < SLICE);
        if let Some(short) = short {
            self.stream.set_read_timeout(Some(short.max(Duration::from_millis(1))))?;
        }
        let count = loop {
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(count) => break Ok(count),
                Err(e) if paused(&e) => match self.waits_on(since, timeout) {
                    Ok(()) => {}
                    Err(e) => break Err(e),
                },
                Err(e) => break Err(Error::Io(e)),
            }
        };
        if short.is_some() {
            self.stream.set_read_timeout(Some(SLICE))?;
        }
        let count = count?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        // Between two answers a server has nothing to say: bytes are as bad as an end.
        let mut byte = [0];
        !self.unheard
            && self.stream.set_nonblocking(true).is_ok()
            && matches!((&self.stream).read(&mut byte), Err(e) if e.kind() == ErrorKind::WouldBlock)
            && self.stream.set_nonblocking(false).is_ok()
    }
}

/// Looks names up.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) cancel: Arc<AtomicBool>,
    /// Whether addresses of this machine and link are refused: a realm that a registry names must not
    /// lead us to services that only we can reach.
    pub(super) guarded: bool,
}

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = address::split(uri.host().unwrap_or_default()).0.to_owned();
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let mut found = self.empty();
        let limit = timeout.not_zero().map_or(SLICE * 240, |t| *t);
        let all = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => {
                let work = move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
                match watched(&self.cancel, limit, work) {
                    Some(Ok(all)) => all,
                    // getaddrinfo's own words for a name server that does not answer now.
                    Some(Err(e)) if e.to_string().contains("Temporary failure") => {
                        return Err(Error::Io(e));
                    }
                    Some(Err(_)) => return Err(Error::HostNotFound),
                    None => return Err(ended(&self.cancel, timeout.reason)),
                }
            }
        };
        if self.guarded && all.iter().any(|a| is_inner(a.ip())) {
            return Err(Error::Io(io::Error::new(
                ErrorKind::PermissionDenied,
                "its address is this machine's own or link-local",
            )));
        }
        all.into_iter().take(16).for_each(|a| found.push(a));
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

/// Whether an address is this machine's own, of its link, or of a cloud's metadata service.
pub(crate) fn is_inner(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback()
        || ip.is_unspecified()
        || match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local() || v6.segments()[..3] == [0xfd00, 0x0ec2, 0]
            }
        }
}

/// Whether a host is this machine, by its name or by every address that its name has.
pub(crate) fn is_this_machine(host: &str, cancel: &AtomicBool) -> bool {
    if address::is_loopback(host) {
        return true;
    }
    let (name, _) = address::split(host);
    if let Ok(ip) = name.parse::<IpAddr>() {
        return is_inner(ip);
    }
    let name = name.to_owned();
    let all = watched(cancel, Duration::from_secs(5), move || {
        (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter)
    });
    matches!(all, Some(Ok(all)) if !all.is_empty() && all.iter().all(|a| is_inner(a.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_link_are_inner() {
        for (ip, want) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("::1", true),
            ("::", true),
            ("fe80::1", true),
            ("::ffff:127.0.0.1", true),
            ("fd00:ec2::254", true),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("172.16.0.1", false),
            ("fd12::1", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_inner(ip.parse().unwrap()), want, "{ip}");
        }
    }

    #[test]
    fn a_guarded_lookup_refuses_this_machine_and_an_open_one_does_not() {
        let lookup = |guarded| {
            Lookup { cancel: Arc::default(), guarded }.resolve(
                &"http://localhost:81/".parse().unwrap(),
                &Config::default(),
                NextTimeout::default(),
            )
        };
        assert!(lookup(false).is_ok());
        assert!(
            matches!(lookup(true), Err(Error::Io(e)) if e.kind() == ErrorKind::PermissionDenied)
        );
        let unknown = Lookup { cancel: Arc::default(), guarded: false }.resolve(
            &"http://nowhere.invalid/".parse().unwrap(),
            &Config::default(),
            NextTimeout::default(),
        );
        assert!(matches!(unknown, Err(Error::HostNotFound | Error::Io(_))));
    }
}
