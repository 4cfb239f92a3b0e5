//! What goes wrong on the way: faults, and the rules that say when.
//!
//! A rule is a pattern over `METHOD path`, how many matches pass before it (`skip`) and how often it
//! strikes (`times`). Fault matrix of the client tests.

use std::time::Duration;

/// What is done to an exchange.
#[derive(Clone, Debug)]
pub enum Fault {
    /// RST before any answer; the request is read, not passed on.
    Reset,
    /// RST after so many bytes of the answer's body.
    ResetDown(u64),
    /// RST after so many bytes of the request's body, which the registry still gets.
    ResetUp(u64),
    /// An orderly end (FIN) after so many bytes of the answer's body.
    CloseDown(u64),
    /// `Range` is taken out of the request.
    IgnoreRange,
    /// An answer of the proxy's own; the request is read, not passed on.
    Status(u16, Vec<(&'static str, String)>),
    /// Redirects to the same target at another `http://host:port`.
    Redirect(String),
    /// One bit is wrong in the byte at this offset of the answer's body.
    Corrupt(u64),
    /// A header is taken out of the answer.
    DropHeader(&'static str),
    /// `Range` of a 202 always says that one byte came.
    StuckRange,
    /// Takes the request and says nothing until the connection ends.
    Stall,
    /// Sends so many bytes of the answer's body, then nothing.
    StallDown(u64),
    /// At most so many bytes of bodies each second.
    Rate(u64),
    /// The body is sent through gzip, and says so, although nobody asked.
    Gzip,
    /// A login page with status 200, as in hotels.
    Portal,
    /// Waits before the request is passed on.
    Delay(Duration),
    /// `Content-Length` is off by so much; the connection ends after the body.
    WrongLength(i64),
    /// The body comes in chunks, and after so many bytes the size of a chunk is no number.
    BadChunk(u64),
}

impl Fault {
    /// Whether it strikes before the registry hears of the request.
    pub fn early(&self) -> bool {
        matches!(
            self,
            Self::Reset
                | Self::Status(..)
                | Self::Redirect(_)
                | Self::Stall
                | Self::Portal
                | Self::Delay(_)
                | Self::IgnoreRange
        )
    }

    /// The offset in the answer's body where it strikes, when it is of that kind.
    pub fn down_at(&self) -> Option<u64> {
        match self {
            Self::ResetDown(at) | Self::CloseDown(at) | Self::Corrupt(at) => Some(*at),
            Self::StallDown(at) | Self::BadChunk(at) => Some(*at),
            _ => None,
        }
    }
}

/// When a fault strikes.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `GET|HEAD /v2/*/manifests/*`: methods (`*` for all), a blank, a glob over path and query.
    pub pattern: String,
    /// How many matches pass first.
    pub skip: usize,
    /// How often it strikes.
    pub times: usize,
    /// What it does.
    pub fault: Fault,
}

impl Rule {
    /// A rule that strikes once.
    pub fn once(pattern: &str, fault: Fault) -> Self {
        Self::times(1, pattern, fault)
    }

    /// A rule that strikes so many times.
    pub fn times(times: usize, pattern: &str, fault: Fault) -> Self {
        Self { pattern: pattern.into(), skip: 0, times, fault }
    }

    /// A rule that always strikes.
    pub fn always(pattern: &str, fault: Fault) -> Self {
        Self::times(usize::MAX, pattern, fault)
    }

    /// Lets so many matches pass first.
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Counts a match; whether the fault strikes now.
    pub fn claim(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let strikes = self.times > 0;
        self.times =
            self.times.saturating_sub(1).max(if self.times == usize::MAX { usize::MAX } else { 0 });
        strikes
    }
}

/// Whether a request falls under a pattern.
pub fn matches(pattern: &str, method: &str, target: &str) -> bool {
    let (methods, path) = pattern.split_once(' ').expect("METHOD path");
    let method = methods == "*" || methods.split('|').any(|m| m == method);
    method && glob::Pattern::new(path).expect("a glob").matches(target)
}
