//! One request through the proxy, and its answer: where faults strike.
//!
//! It knows nothing of other requests but what the rules have left. Every request has a connection of
//! its own to the registry, so that what happens to one happens to no other.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::rules::Fault;
use super::super::wire::{self, Body, Framing, Head};
use super::{Entry, Shared};

/// What becomes of the client's connection.
pub enum Then {
    /// It takes another request.
    Go,
    /// It ends.
    Close,
    /// It is reset.
    Reset,
}

/// How the request's body went through.
enum Up {
    /// Whole.
    Whole,
    /// In part: the registry answered, or went away, before its end.
    Part,
    /// In part: a rule struck.
    Struck,
}

/// A request on its way.
pub struct Exchange<'a> {
    shared: &'a Shared,
    client: &'a TcpStream,
    head: Head,
    id: u64,
    rate: Option<u64>,
}

impl<'a> Exchange<'a> {
    /// Writes the request down.
    pub fn new(shared: &'a Shared, client: &'a TcpStream, head: Head) -> Self {
        let entry = Entry {
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            headers: head.headers.clone(),
            status: 0,
            up: 0,
            down: 0,
            struck: false,
        };
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        shared.log.lock().expect("a lock").insert(id, entry);
        let rate = match shared.claim(&head, |fault| matches!(fault, Fault::Rate(_))) {
            Some(Fault::Rate(rate)) => Some(rate),
            _ => None,
        };
        Self { shared, client, head, id, rate }
    }

    fn note(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.shared.log.lock().expect("a lock").get_mut(&self.id) {
            change(entry);
        }
    }

    fn strike(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let fault = self.shared.claim(&self.head, wanted)?;
        self.note(|entry| entry.struck = true);
        Some(fault)
    }

    fn pace(&self, bytes: usize) {
        if let Some(rate) = self.rate {
            std::thread::sleep(Duration::from_secs_f64(bytes as f64 / rate as f64));
        }
    }

    /// Passes it on.
    pub fn run(mut self, from: &mut BufReader<TcpStream>) -> io::Result<Then> {
        let framing = self.head.request_framing();
        match self.strike(Fault::early) {
            Some(Fault::IgnoreRange) => self.head.remove("range"),
            Some(Fault::Delay(time)) => std::thread::sleep(time),
            Some(fault) => return self.answer(&mut Body::new(from, framing), &fault),
            None => {}
        }
        let mut up = TcpStream::connect(&self.shared.upstream)?;
        up.set_nodelay(true)?;
        let mut back = BufReader::with_capacity(64 << 10, up.try_clone()?);
        let mut head = self.head.clone();
        head.set("Connection", "close");
        up.write_all(&head.bytes())?;
        if framing != Framing::Empty && head.get("expect").is_some() {
            let answer = Head::read(&mut back)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if answer.status() != 100 {
                return self.pass_down(answer, back, true);
            }
            let mut client = self.client;
            client.write_all(&answer.bytes())?;
        }
        let part = match self.pass_up(from, &mut up, framing)? {
            Up::Whole => false,
            Up::Part => true,
            Up::Struck => {
                wire::drain(&up);
                return Ok(Then::Reset);
            }
        };
        loop {
            let answer = Head::read(&mut back)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if answer.status() != 100 {
                return self.pass_down(answer, back, part);
            }
        }
    }

    /// Answers in the registry's place.
    fn answer(&self, body: &mut Body<'_, BufReader<TcpStream>>, fault: &Fault) -> io::Result<Then> {
        if self.head.get("expect").is_some() && !body.done() {
            let mut client = self.client;
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut buf = [0; 16 << 10];
        loop {
            let n = body.read(&mut buf)?;
            if n == 0 {
                break;
            }
            self.note(|entry| entry.up += n as u64);
            self.pace(n);
        }
        let json = ("Content-Type", "application/json".to_owned());
        let (status, headers, text) = match fault {
            Fault::Reset => return Ok(Then::Reset),
            Fault::Stall => return self.stall(),
            Fault::Status(status, headers) => {
                let mut headers = headers.clone();
                headers.push(json);
                (*status, headers, r#"{"errors":[{"code":"UNKNOWN","message":"out of order"}]}"#)
            }
            Fault::Redirect(to) => {
                let to = format!("{to}{}", self.head.target());
                (307, vec![("Location", to)], "")
            }
            Fault::Portal => {
                let html = ("Content-Type", "text/html; charset=utf-8".to_owned());
                (
                    200,
                    vec![html],
                    "<!DOCTYPE html><html><title>Welcome, please log in</title></html>",
                )
            }
            other => panic!("{other:?} answers nothing"),
        };
        let mut head = Head { first: format!("HTTP/1.1 {status} X"), headers: Vec::new() };
        for (name, value) in headers {
            head.set(name, value);
        }
        head.set("Content-Length", text.len());
        let bodiless = self.head.method() == "HEAD";
        self.note(|entry| entry.status = status);
        let mut client = self.client;
        client.write_all(&head.bytes())?;
        client.write_all(if bodiless { b"" } else { text.as_bytes() })?;
        Ok(Then::Go)
    }

    /// Says nothing until the client gives up.
    fn stall(&self) -> io::Result<Then> {
        let mut buf = [0; 1024];
        let mut client = self.client;
        while client.read(&mut buf)? > 0 {}
        Ok(Then::Close)
    }

    fn pass_up(
        &self,
        from: &mut BufReader<TcpStream>,
        up: &mut TcpStream,
        framing: Framing,
    ) -> io::Result<Up> {
        let cut = |fault: &Fault| if let Fault::ResetUp(at) = fault { Some(*at) } else { None };
        let cuts = self.shared.offsets(&self.head, cut);
        let mut body = Body::new(from, framing);
        let mut buf = [0; 16 << 10];
        let mut sent = 0;
        loop {
            let next = cuts.iter().find(|at| **at > sent).map_or(u64::MAX, |at| at - sent);
            let most = usize::try_from(next).unwrap_or(usize::MAX).min(buf.len());
            let n = body.read(&mut buf[..most])?;
            if n == 0 {
                break;
            }
            sent += n as u64;
            self.note(|entry| entry.up = sent);
            let written = if framing == Framing::Chunked {
                wire::write_chunk(up, &buf[..n])
            } else {
                up.write_all(&buf[..n])
            };
            let ended = body.done();
            if written.is_err() || (!ended && wire::readable(up)) {
                return Ok(Up::Part);
            }
            self.pace(n);
            let struck = cuts.contains(&sent) && !ended;
            if struck && self.strike(|fault| cut(fault) == Some(sent)).is_some() {
                return Ok(Up::Struck);
            }
        }
        if framing == Framing::Chunked {
            wire::write_chunk(up, b"")?;
        }
        Ok(Up::Whole)
    }

    /// Passes the answer on; `last` ends the client's connection after it.
    fn pass_down(
        &self,
        mut head: Head,
        mut back: BufReader<TcpStream>,
        last: bool,
    ) -> io::Result<Then> {
        let framing = head.answer_framing(self.head.method());
        self.note(|entry| entry.status = head.status());
        head.remove("connection");
        if let (Some(to), Some(host)) = (head.get("location"), self.head.get("host")) {
            let to =
                to.replace(&format!("http://{}", self.shared.upstream), &format!("http://{host}"));
            head.set("Location", to);
        }
        while let Some(Fault::DropHeader(name)) = self.strike(|f| matches!(f, Fault::DropHeader(_)))
        {
            if head.get(name).is_none() {
                break;
            }
            head.remove(name);
        }
        if head.status() == 202 && self.strike(|f| matches!(f, Fault::StuckRange)).is_some() {
            head.set("Range", "0-0");
        }
        let mut body = Body::new(&mut back, framing);
        let mut last = last || framing == Framing::Close;
        let mut framing = framing;
        if let Some(Fault::WrongLength(off)) =
            self.sized(framing, |f| matches!(f, Fault::WrongLength(_)))
        {
            let length = head.length().unwrap_or_default();
            head.set("Content-Length", length.saturating_add_signed(off));
            (framing, last) = (Framing::Close, true);
        } else if self.sized(framing, |f| matches!(f, Fault::Gzip)).is_some() {
            return self.pass_gzip(head, &mut body);
        } else if !self.shared.offsets(&self.head, bad_chunk).is_empty()
            && framing != Framing::Empty
        {
            head.remove("content-length");
            head.set("Transfer-Encoding", "chunked");
            framing = Framing::Chunked;
        }
        if last {
            head.set("Connection", "close");
        }
        let mut client = self.client;
        client.write_all(&head.bytes())?;
        match self.pass_body(&mut body, framing)? {
            Then::Go if last => Ok(Then::Close),
            then => Ok(then),
        }
    }

    /// A fault that needs a body to strike at.
    fn sized(&self, framing: Framing, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        if framing == Framing::Empty { None } else { self.strike(wanted) }
    }

    fn pass_body(&self, body: &mut impl Read, framing: Framing) -> io::Result<Then> {
        let mut client = self.client;
        let offsets = self.shared.offsets(&self.head, Fault::down_at);
        let mut buf = [0; 16 << 10];
        let mut sent = 0;
        loop {
            let mut flip = false;
            if offsets.contains(&sent) {
                match self.strike(|fault| fault.down_at() == Some(sent)) {
                    Some(Fault::ResetDown(_)) => return Ok(Then::Reset),
                    Some(Fault::CloseDown(_)) => return Ok(Then::Close),
                    Some(Fault::StallDown(_)) => return self.stall(),
                    Some(Fault::BadChunk(_)) => {
                        client.write_all(b"zz\r\nno number\r\n")?;
                        return Ok(Then::Close);
                    }
                    Some(_) => flip = true,
                    None => {}
                }
            }
            let next = offsets.iter().find(|at| **at > sent).map_or(u64::MAX, |at| at - sent);
            let most = usize::try_from(next).unwrap_or(usize::MAX).min(buf.len());
            let n = body.read(&mut buf[..most])?;
            if n == 0 {
                break;
            }
            buf[0] ^= u8::from(flip);
            if framing == Framing::Chunked {
                wire::write_chunk(&mut client, &buf[..n])?;
            } else {
                client.write_all(&buf[..n])?;
            }
            sent += n as u64;
            self.note(|entry| entry.down = sent);
            self.pace(n);
        }
        if framing == Framing::Chunked {
            client.write_all(b"0\r\n\r\n")?;
        }
        Ok(Then::Go)
    }

    /// What some proxies do to text, done to a blob.
    fn pass_gzip(&self, mut head: Head, body: &mut impl Read) -> io::Result<Then> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::copy(body, &mut to)?;
        let bytes = to.finish()?;
        head.remove("transfer-encoding");
        head.set("Content-Length", bytes.len());
        head.set("Content-Encoding", "gzip");
        let mut client = self.client;
        client.write_all(&head.bytes())?;
        client.write_all(&bytes)?;
        self.note(|entry| entry.down = bytes.len() as u64);
        Ok(Then::Go)
    }
}

fn bad_chunk(fault: &Fault) -> Option<u64> {
    if let Fault::BadChunk(at) = fault { Some(*at) } else { None }
}
