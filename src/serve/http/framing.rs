//! Where requests begin and end on a connection, detected while their bytes pass.
//!
//! It changes nothing. hyper accepts a request with both a length and chunks, which proxies and servers
//! read differently. Such a request may hide a second one (request smuggling), so it is detected here, on
//! the raw bytes; so is a head that never ends. RFC 9112, sections 6 and 7.

/// Most bytes of a head that are examined; hyper refuses longer ones.
const MAX_HEAD: usize = 128 << 10;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    head: Vec<u8>,
    /// Whether a line that is no empty one was seen in this head, and in this line.
    line: Line,
}

#[derive(Debug, Default)]
struct Line {
    length: usize,
    any: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Within the head of a request, or before it.
    #[default]
    Head,
    /// So many bytes of a body are left.
    Length(u64),
    /// In the line with the size of a chunk: the size so far, and whether its digits are over.
    Size(u64, bool),
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// In the end of the line behind a chunk.
    Behind,
    /// In the lines behind the last chunk.
    Trailer,
    /// No longer examined: not HTTP/1.1, or broken, so that hyper closes it.
    Off,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FramingReport {
    /// Heads that came to their end.
    pub(super) heads: u64,
    /// Whether a request was framed in two ways.
    pub(super) ambiguous: bool,
}

impl Framing {
    /// Does not look: another protocol is spoken.
    pub(super) fn off() -> Self {
        Self { state: State::Off, ..Self::default() }
    }

    /// Whether a head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        self.state == State::Head && self.line.any
    }

    /// Looks at bytes as they come in.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> FramingReport {
        let mut seen = FramingReport::default();
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Off => break,
                State::Length(left) | State::Chunk(left) => {
                    let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n as u64;
                    bytes = &bytes[n..];
                    match self.state {
                        State::Length(0) => self.state = State::Head,
                        State::Chunk(0) => self.state = State::Behind,
                        _ => {}
                    }
                    continue;
                }
                State::Size(size, over) => match (byte, (byte as char).to_digit(16)) {
                    (b'\n', _) => {
                        self.state = if *size == 0 { State::Trailer } else { State::Chunk(*size) };
                    }
                    (_, Some(digit)) if !*over => {
                        match size.checked_mul(16).and_then(|s| s.checked_add(digit.into())) {
                            Some(more) => *size = more,
                            None => self.state = State::Off,
                        }
                    }
                    _ => *over = true,
                },
                State::Behind if byte == b'\n' => self.state = State::Size(0, false),
                State::Behind => {}
                State::Trailer => {
                    // None at all, or some and an empty one.
                    if self.line.ends(byte) || (byte == b'\n' && !self.line.any) {
                        (self.state, self.line) = (State::Head, Line::default());
                    }
                }
                State::Head => {
                    self.head.push(byte);
                    if self.head.len() > MAX_HEAD {
                        self.state = State::Off;
                    } else if self.line.ends(byte) {
                        self.line = Line::default();
                        let (state, ambiguous) = read(&self.head);
                        self.state = state;
                        self.head.clear();
                        seen.heads += 1;
                        seen.ambiguous |= ambiguous;
                    }
                }
            }
            bytes = rest;
        }
        seen
    }
}

impl Line {
    /// Whether this byte is the end of an empty line that follows one that is not empty.
    fn ends(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' if self.length == 0 => return self.any,
            b'\n' => self.length = 0,
            b'\r' => {}
            _ => {
                self.length += 1;
                self.any = true;
            }
        }
        false
    }
}

/// What follows a head, and whether it says so in two ways.
fn read(head: &[u8]) -> (State, bool) {
    let (mut length, mut chunked) = (None, false);
    for line in head.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok());
            length = Some(number.unwrap_or_default());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = true;
        }
    }
    let state = match (chunked, length) {
        (true, _) => State::Size(0, false),
        (false, Some(0) | None) => State::Head,
        (false, Some(n)) => State::Length(n),
    };
    (state, chunked && length.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads and ambiguities, whole and byte by byte.
    fn look(text: &str) -> (u64, bool, bool) {
        let mut whole = Framing::default();
        let seen = whole.pass(text.as_bytes());
        let mut slow = Framing::default();
        let (mut heads, mut ambiguous) = (0, false);
        for byte in text.as_bytes().chunks(1) {
            let seen = slow.pass(byte);
            heads += seen.heads;
            ambiguous |= seen.ambiguous;
        }
        assert_eq!((seen.heads, seen.ambiguous), (heads, ambiguous), "{text:?}");
        assert_eq!(whole.in_head(), slow.in_head(), "{text:?}");
        (heads, ambiguous, whole.in_head())
    }

    #[test]
    fn requests_are_told_apart() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let long = "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /";
        let chunks = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (text, want) in [
            (get.to_owned(), (1, false, false)),
            (format!("\r\n\r\n{get}{get}"), (2, false, false)),
            (get.replace("\r\n", "\n"), (1, false, false)),
            ("GET / HTTP/1.1\r\nHo".to_owned(), (0, false, true)),
            ("\r\n".to_owned(), (0, false, false)),
            (format!("{long}{get}"), (2, false, false)),
            (format!("{chunks}5;x=1\r\nGET /\r\n0\r\n\r\n{get}"), (2, false, false)),
            (
                format!("{chunks}A\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\n{get}"),
                (2, false, false),
            ),
            (format!("{chunks}fffffffffffffffff\r\n{get}"), (1, false, false)),
        ] {
            assert_eq!(look(&text), want, "{text:?}");
        }
    }

    #[test]
    fn two_framings_are_noticed_in_any_order_and_any_request() {
        let both = [
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 4\r\n\r\n",
            "POST / HTTP/1.1\nTransfer-Encoding : x\nContent-Length:4\n\n",
        ];
        for text in both {
            assert!(look(text).1, "{text:?}");
            let second = format!("PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc{text}");
            assert!(look(&second).1, "{second:?}");
        }
        let body = "PUT / HTTP/1.1\r\nContent-Length: 70\r\n\r\n".to_owned() + both[0];
        assert!(!look(&body[..body.len().min(110)]).1, "it is a body");
    }
}
