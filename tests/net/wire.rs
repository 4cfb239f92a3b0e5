//! HTTP/1.1 messages as they lie on the wire: heads, the framing of bodies, sockets that reset.
//!
//! It knows no registry and no rule. It is lenient in nothing that a test could be about: a body that
//! ends early is an error, a bad chunk too. RFC 9112.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The first line and the headers of a request or an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// `GET /v2/ HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub first: String,
    /// Names as they were written, and values, in order.
    pub headers: Vec<(String, String)>,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

impl Head {
    /// Reads one; `None` when the connection ends before its first byte.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = from.by_ref().take(1 << 16).read_until(b'\n', &mut line)?;
            let ended = !line.ends_with(b"\n");
            if read == 0 && lines.is_empty() {
                return Ok(None);
            } else if ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !line.is_empty() {
                lines.push(line);
            } else if !lines.is_empty() {
                break;
            }
        }
        let split = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.trim().to_owned(), value.trim().to_owned())
        };
        let headers = lines[1..].iter().map(|line| split(line)).collect();
        Ok(Some(Self { first: lines.swap_remove(0), headers }))
    }

    /// The first header of a name, in any case of letters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every header of a name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, v)| v.as_str()).collect()
    }

    /// Takes every header of a name away.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// Puts one header in the place of all others of its name.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_string()));
    }

    fn word(&self, at: usize) -> &str {
        self.first.split(' ').nth(at).unwrap_or_default()
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// A request's target: path and query.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// A request's path.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// Every value of a parameter of a request's query, decoded.
    pub fn queries(&self, name: &str) -> Vec<String> {
        let query = self.target().split_once('?').map_or("", |(_, q)| q);
        parameters(query).into_iter().filter(|(n, _)| n == name).map(|(_, v)| v).collect()
    }

    /// The first value of a parameter of a request's query.
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries(name).into_iter().next()
    }

    /// An answer's status; 0 for what is none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// How a request's body ends.
    pub fn request_framing(&self) -> Framing {
        match (self.chunked(), self.length()) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) if length > 0 => Framing::Length(length),
            _ => Framing::Empty,
        }
    }

    /// How the body of an answer to a request of `method` ends.
    pub fn answer_framing(&self, method: &str) -> Framing {
        let bodiless = method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304);
        match (bodiless, self.chunked(), self.length()) {
            (true, ..) | (false, false, Some(0)) => Framing::Empty,
            (false, true, _) => Framing::Chunked,
            (false, false, Some(length)) => Framing::Length(length),
            (false, false, None) => Framing::Close,
        }
    }

    fn chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    }

    /// The header `Content-Length`.
    pub fn length(&self) -> Option<u64> {
        self.get("content-length").and_then(|v| v.parse().ok())
    }

    /// What goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out.into_bytes()
    }
}

/// The pairs of a query or of a form, decoded.
pub fn parameters(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(v)))
        .collect()
}

/// Undoes percent-encoding, `+` for a blank included.
pub fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex =
            more.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &more[2..];
                continue;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        rest = more;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A body on its way; an early end is an error.
pub struct Body<'a, R: BufRead> {
    from: &'a mut R,
    framing: Framing,
    /// Bytes left of the body, or of the chunk at hand.
    left: u64,
    done: bool,
    inside: bool,
}

impl<'a, R: BufRead> Body<'a, R> {
    /// What follows a head.
    pub fn new(from: &'a mut R, framing: Framing) -> Self {
        let left = if let Framing::Length(n) = framing { n } else { 0 };
        Self { from, framing, left, done: framing == Framing::Empty, inside: false }
    }

    /// Whether all of it was read.
    pub fn done(&self) -> bool {
        self.done
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.from.by_ref().take(4096).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Opens the next chunk; the one of length 0 ends the body.
    fn chunk(&mut self) -> io::Result<()> {
        if self.inside {
            self.line()?;
        }
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(size, 16).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {size:?}"))
        })?;
        self.inside = true;
        if self.left == 0 {
            while !self.line()?.is_empty() {}
            self.done = true;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Body<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.done || buf.is_empty() {
            return Ok(0);
        }
        if self.framing == Framing::Close {
            let n = self.from.read(buf)?;
            self.done = n == 0;
            return Ok(n);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            self.chunk()?;
            return self.read(buf);
        }
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.from.read(&mut buf[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        self.done = self.left == 0 && self.framing != Framing::Chunked;
        Ok(n)
    }
}

/// Waits until the other side has everything that was written, or for a while: a reset throws
/// away what is still on its way, and tests want to know how much arrived.
pub fn drain(stream: &TcpStream) {
    let end = Instant::now() + Duration::from_secs(20);
    while unsent(stream) > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[allow(unsafe_code)]
fn unsent(stream: &TcpStream) -> i32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int; the descriptor is open.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if asked == 0 { bytes } else { 0 }
}

/// Makes the next close a reset (RST) rather than an end (FIN).
#[allow(unsafe_code)]
pub fn close_by_reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    let value = (&raw const linger).cast();
    // SAFETY: the option's value is a `linger`, of its size; the descriptor is open.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    };
    assert_eq!(set, 0, "SO_LINGER");
}

/// Whether something lies ready to be read, the end included.
pub fn readable(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let _ = stream.set_nonblocking(true);
    let ready = !matches!(stream.peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    let _ = stream.set_nonblocking(false);
    ready
}

/// Writes one chunk of a chunked body; an empty one ends it.
pub fn write_chunk(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    to.write_all(&out)
}
