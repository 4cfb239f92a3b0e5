//! A registry's conformance, as a table of checks that any server can be held to.
//!
//! It knows no server and nothing of the library: requests go through the rig's wire, digests come from
//! sha2. A check never stops the others, each has repositories and bytes of its own, and a run leaves
//! everything it pushed. distribution-spec 1.1 and what clients need beyond it.
#![allow(dead_code, unreachable_pub, missing_docs)] // a test crate may use a part of it

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256, Sha512};

use crate::net::image::noise;

pub mod blobs;
pub mod call;
pub mod control;
pub mod delete;
pub mod dev;
pub mod discovery;
pub mod hostile;
pub mod http;
pub mod manifests;
pub mod mounts;
pub mod names;
pub mod offsets;
pub mod ranges;
pub mod readonly;
pub mod referrers;
pub mod shapes;
pub mod tags;
pub mod uploads;

/// A server under test.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `host:port`, plain http.
    pub base: String,
    /// What it was started with.
    pub flags: Flags,
    /// What it is known to hold; the checks of a read-only server look at nothing else.
    pub held: Vec<Held>,
}

/// What a server was started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Blobs, tags and manifests can be deleted.
    pub delete: bool,
    /// Every write is refused.
    pub readonly: bool,
    /// Images are taken without their layers.
    pub sparse: bool,
}

/// An image that a server holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub repository: String,
    pub tag: String,
    pub digest: String,
    pub media_type: String,
    /// Its bytes.
    pub manifest: Vec<u8>,
    /// Digest and bytes of its config and layers.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// Digests of the manifests whose subject it is.
    pub referrers: Vec<String>,
}

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The server does otherwise.
    Fail(String),
    /// It could not be looked at.
    Skip(String),
}

/// What came of a check.
pub type Outcome = Result<(), Miss>;

/// Fails a check.
pub fn fail<T>(words: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Fail(words.into()))
}

/// Fails a check unless two things are the same.
pub fn same<T: PartialEq + fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got == wanted { Ok(()) } else { fail(format!("{what}: expected {wanted:?}, got {got:?}")) }
}

/// Fails a check unless something holds.
pub fn holds(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { fail(what) }
}

/// A hash function, by its name in digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The digest of bytes.
    pub fn digest(self, bytes: &[u8]) -> String {
        let hash = match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        };
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{hex}", self.name())
    }
}

/// One check.
pub struct Check {
    name: &'static str,
    run: fn(&Case) -> Outcome,
    /// Whether it is run over both algorithms.
    each: bool,
    deletes: bool,
}

impl Check {
    /// A check in which no algorithm matters.
    pub const fn once(name: &'static str, run: fn(&Case) -> Outcome) -> Self {
        Self { name, run, each: false, deletes: false }
    }

    /// A check over sha256 and sha512.
    pub const fn each(name: &'static str, run: fn(&Case) -> Outcome) -> Self {
        Self { name, run, each: true, deletes: false }
    }

    /// It needs a server that deletes.
    pub const fn deletes(mut self) -> Self {
        self.deletes = true;
        self
    }
}

/// The checks of a server that takes pushes, by area.
pub const WRITABLE: &[(&str, &[Check])] = &[
    ("discovery", discovery::CHECKS),
    ("uploads", uploads::CHECKS),
    ("offsets", offsets::CHECKS),
    ("blobs", blobs::CHECKS),
    ("ranges", ranges::CHECKS),
    ("mounts", mounts::CHECKS),
    ("manifests", manifests::CHECKS),
    ("referrers", referrers::CHECKS),
    ("tags", tags::CHECKS),
    ("delete", delete::CHECKS),
    ("names", names::CHECKS),
    ("dev", dev::CHECKS),
    ("http", http::CHECKS),
    ("hostile", hostile::CHECKS),
];

/// The checks of a server that takes none.
pub const READ_ONLY: &[(&str, &[Check])] =
    &[("read-only", readonly::CHECKS), ("hostile", hostile::CHECKS)];

/// A check at work: the target, and names and bytes that no other check has.
#[derive(Clone)]
pub struct Case {
    pub target: Target,
    pub algorithm: Algorithm,
    /// A repository that is not there yet.
    pub repository: String,
    seed: u64,
}

impl Case {
    /// Bytes that no other check pushes; different for every number.
    pub fn bytes(&self, number: u64, size: usize) -> Vec<u8> {
        noise(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)), size)
    }

    /// Their digest.
    pub fn digest(&self, bytes: &[u8]) -> String {
        self.algorithm.digest(bytes)
    }

    /// The same check in another repository.
    pub fn beside(&self, name: &str) -> Self {
        Self { repository: name.to_owned(), ..self.clone() }
    }

    /// The same check with another algorithm.
    pub fn by(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }
}

/// What all checks came to.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(String, Outcome)>,
}

impl Report {
    /// Names of the checks that failed.
    pub fn failed(&self) -> Vec<&str> {
        self.named(|outcome| matches!(outcome, Err(Miss::Fail(_))))
    }

    /// Names of the checks that could not be made.
    pub fn skipped(&self) -> Vec<&str> {
        self.named(|outcome| matches!(outcome, Err(Miss::Skip(_))))
    }

    /// Names of the checks that passed.
    pub fn passed(&self) -> Vec<&str> {
        self.named(Result::is_ok)
    }

    fn named(&self, which: impl Fn(&Outcome) -> bool) -> Vec<&str> {
        let rows = self.rows.iter().filter(|(_, outcome)| which(outcome));
        rows.map(|(name, _)| name.as_str()).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, outcome) in &self.rows {
            let (word, why) = match outcome {
                Ok(()) => ("pass", String::new()),
                Err(Miss::Fail(why)) => ("FAIL", format!(": {why}")),
                Err(Miss::Skip(why)) => ("skip", format!(": {why}")),
            };
            writeln!(f, "{name:.<width$} {word}{why}")?;
        }
        let (passed, failed) = (self.passed().len(), self.failed().len());
        let skipped = self.skipped().len();
        write!(f, "{} checks: {passed} passed, {failed} failed, {skipped} skipped", self.rows.len())
    }
}

/// Makes every check that the target's flags call for.
pub fn run(target: &Target) -> Report {
    let areas = if target.flags.readonly { READ_ONLY } else { WRITABLE };
    // A second run against the same storage must not find what the first one left.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let mut report = Report::default();
    for (area, checks) in areas {
        for check in *checks {
            let all = [Algorithm::Sha256, Algorithm::Sha512];
            for algorithm in if check.each { &all[..] } else { &all[..1] } {
                let number = report.rows.len() as u64 + 1;
                let case = Case {
                    target: target.clone(),
                    algorithm: *algorithm,
                    repository: format!("conformance/r{run:x}/c{number}"),
                    seed: run.wrapping_add(number << 48),
                };
                let outcome = if check.deletes && !target.flags.delete {
                    Err(Miss::Skip("deletes are off".to_owned()))
                } else {
                    (check.run)(&case)
                };
                let end =
                    if check.each { format!(" ({})", algorithm.name()) } else { String::new() };
                report.rows.push((format!("{area}: {}{end}", check.name), outcome));
            }
        }
    }
    report
}
