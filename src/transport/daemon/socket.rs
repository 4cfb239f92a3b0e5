//! The connection to an engine: a Unix socket or TCP, which notices that the run was interrupted.
//!
//! It knows no HTTP and no engine. ureq parses; this connects, reads and writes.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::error::{Error, Kind};

/// How often a wait looks whether the run was interrupted.
const TICK: Duration = Duration::from_millis(100);
/// How long a TCP connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Where an engine listens.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// The host and port of the URL.
    Tcp,
}

/// What the ends of a request tell one another.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs {
    /// The run was interrupted.
    pub cancel: Arc<AtomicBool>,
    /// The request is not to be completed.
    pub abandoned: Arc<AtomicBool>,
    /// The engine has closed its ear; what it said before is still to be read.
    pub deaf: Arc<AtomicBool>,
}

impl Signs {
    fn check(&self) -> io::Result<()> {
        if self.cancel.load(Ordering::Relaxed) || self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "interrupted").into());
        }
        Ok(())
    }
}

/// Connects to an engine, by a Unix socket or TCP.
#[derive(Debug)]
pub(super) struct EngineConnector {
    pub address: Address,
    pub signs: Signs,
}

impl Connector<()> for EngineConnector {
    type Out = EngineConnection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<EngineConnection>, ureq::Error> {
        let stream = match &self.address {
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Address::Tcp => Stream::Tcp(connect(&details.addrs)?),
        };
        stream.tick()?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(EngineConnection { stream, buffers, signs: self.signs.clone() }))
    }
}

fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Finds the addresses of a TCP engine; a socket of this machine needs none.
#[derive(Debug)]
pub(super) struct AddressResolver(pub Address);

impl Resolver for AddressResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if let Address::Tcp = self.0 {
            return DefaultResolver::default().resolve(uri, config, timeout);
        }
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        Ok(addresses)
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn tick(&self) -> io::Result<()> {
        match self {
            Self::Unix(s) => s.set_read_timeout(Some(TICK)).and(s.set_write_timeout(Some(TICK))),
            Self::Tcp(s) => s.set_read_timeout(Some(TICK)).and(s.set_write_timeout(Some(TICK))),
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.read(buf),
            Self::Tcp(s) => s.read(buf),
        }
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(buf),
            Self::Tcp(s) => s.write(buf),
        }
    }
}

/// One connection.
pub(super) struct EngineConnection {
    stream: Stream,
    buffers: LazyBuffers,
    signs: Signs,
}

impl fmt::Debug for EngineConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Transport for EngineConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut at = 0;
        while at < amount {
            self.signs.check()?;
            let rest = &self.buffers.output()[at..amount];
            match self.stream.write(rest) {
                Ok(count) => at += count,
                Err(e) if passes(&e) => {}
                // It has said why before it hung up: what is left to send is dropped, the answer read.
                Err(e) if hung_up(&e) => {
                    self.signs.deaf.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        loop {
            self.signs.check()?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(e) if passes(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // One request for each connection.
        false
    }
}

fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
