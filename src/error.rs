//! The one error type: what failed, on what, where, and of what kind.
//!
//! It knows nothing of terminals or exit codes; `Kind` says what a caller could do about it, and the
//! binary maps kinds to exit codes.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller could do about an error; never which module raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes do not match the digest, size or diff id that names them.
    Corrupt,
    /// The input breaks its format, or has more than one meaning.
    Malformed,
    /// A name, image or blob is not there.
    Missing,
    /// The other side refused us.
    Denied,
    /// The other side cannot be reached.
    Unreachable,
    /// Valid, but not something this place or this version can do.
    Unsupported,
    /// It would overwrite or contradict something that exists.
    Conflict,
    /// Another process holds what we need.
    Busy,
    /// The operating system failed a read or write, or there is no space.
    Io,
    /// The command was called wrongly.
    Usage,
    /// A policy the user asked for is not met.
    Policy,
    /// Some of many succeeded.
    Partial,
    /// The user interrupted the run.
    Interrupted,
    /// The reader of our output went away.
    Closed,
    /// Anything else.
    Other,
}

/// An error that can be shared: one bad blob may fail several images.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    what: String,
    input: Option<String>,
    place: Option<String>,
    os: Option<i32>,
    cause: Cause,
}

/// Why it failed, where a caller goes on from that or can say what to do. Set where the error is made,
/// so that nobody reads it out of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing that a caller could tell from others of its kind.
    Plain,
    /// The medium does not give a part of the input back: other parts may be read.
    Unreadable,
    /// What is missing is missing at the destination, not in the input.
    OfTarget,
    /// Something that an image needs is not in its place: the image is broken, not the user's request.
    Absent,
    /// A place without images.
    Empty,
    /// More entries of indexes and manifests than one run follows.
    TooManyEntries,
    /// Indexes list indexes beyond the limit of nesting.
    TooDeep,
    /// A tar without images that may be a root file system.
    RootFilesystem,
    /// manifest.json and index.json speak of different images.
    TwoTables,
    /// A name that breaks the grammar.
    BadName,
    /// A member with holes.
    SparseMember,
    /// The end is missing.
    Truncated,
    /// What should be the first header of a tar is none.
    NoTar,
    /// A header within a tar is damaged.
    BadHeader,
    /// The file that is to be written is there already.
    FileExists,
    /// Two images would have one name at the destination.
    SameName,
    /// A file or directory is not there.
    NoSuchFile,
    /// A file with a list of images is not there.
    NoSuchList,
    /// No image of a place is meant by what the user typed.
    NoSuchImage,
    /// The registry knows no such tag or digest.
    NotInRegistry,
    /// The registry knows no such repository.
    NoSuchRepository,
    /// The user named a place where only images of the store are meant.
    NotTheStore,
    /// The store has never had an image.
    EmptyStore,
    /// What the user typed does not say in which form to write.
    UnclearTarget,
    /// So little is left at the source that what a mirror has is rather kept.
    SourceShrank,
    /// Not all platforms of an image are there.
    NotAllPlatforms,
    /// Nobody listens where docker should.
    NoDocker,
    /// Nobody listens where containerd should.
    NoContainerd,
    /// The user may not speak to docker.
    DockerDenied,
    /// The user may not speak to containerd.
    ContainerdDenied,
    /// The registry wants credentials, or better ones.
    NoCredentials,
    /// The registry allows fewer requests than were sent.
    TooManyRequests,
    /// The host has no address.
    UnknownHost,
    /// Nobody listens at the host.
    Refused,
    /// The host speaks plain http where https was spoken.
    PlainHttp,
    /// The host speaks https where plain http was spoken.
    Https,
    /// The host's certificate is not trusted.
    Untrusted,
    /// The host wants to see a client's certificate, or another one.
    WantsCertificate,
    /// The registry deletes manifests, but no tags.
    DeletesNoTags,
}

impl Error {
    /// A new error; `what` is a lower-case fragment without a full stop.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            input: None,
            place: None,
            os: None,
            cause: Cause::Plain,
        }))
    }

    /// Bytes that do not match what names them.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, what)
    }

    /// Input that breaks its format.
    pub fn malformed(what: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, what)
    }

    /// Something that is not there.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::new(Kind::Missing, what)
    }

    /// Something that cannot be done here.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, what)
    }

    /// A failed system call on `path`.
    pub fn io(path: &Path, doing: &str, err: &io::Error) -> Self {
        let inner = Self::from_io(err);
        if inner.kind() != Kind::Io {
            return inner.input_or(path.display().to_string());
        }
        Self::from_parts(Kind::Io, format!("{doing}: {}", os_text(err)), err.raw_os_error())
            .input(path.display().to_string())
    }

    /// A place that has less room than what is to be written needs.
    pub fn no_room(what: impl Into<String>) -> Self {
        // The system's own number for it, so that callers need to know one only.
        Self::from_parts(Kind::Io, what.into(), Some(rustix::io::Errno::NOSPC.raw_os_error()))
    }

    /// A part of the input that the medium does not give back.
    pub fn unreadable(path: &Path, err: &io::Error) -> Self {
        let error = Self::io(path, "reading", err);
        if error.kind() == Kind::Io { error.because(Cause::Unreadable) } else { error }
    }

    /// Something that an image needs is not in its place: the image is broken, not the user's request.
    pub fn absent(what: impl fmt::Display) -> Self {
        Self::malformed(format!("{what} is missing")).because(Cause::Absent)
    }

    /// A file or directory that is not there.
    pub fn no_such_file(path: &Path) -> Self {
        let error = Self::missing("no such file or directory").because(Cause::NoSuchFile);
        error.input(path.display().to_string())
    }

    /// A file that is there already, where one is to be written.
    pub fn file_exists(path: &Path) -> Self {
        let error = Self::new(Kind::Conflict, "file exists").because(Cause::FileExists);
        error.input(path.display().to_string())
    }

    /// A place without images.
    pub fn empty() -> Self {
        Self::malformed("holds no images").because(Cause::Empty)
    }

    /// Says why.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.cause = cause;
        Self(Arc::new(inner))
    }

    fn from_parts(kind: Kind, what: String, os: Option<i32>) -> Self {
        Self(Arc::new(Inner { kind, what, input: None, place: None, os, cause: Cause::Plain }))
    }

    /// Takes our own error back out of an `io::Error`, or wraps a foreign one.
    pub fn from_io(err: &io::Error) -> Self {
        if let Some(ours) = err.get_ref().and_then(|e| e.downcast_ref::<Self>()) {
            return ours.clone();
        }
        let kind = match err.kind() {
            io::ErrorKind::BrokenPipe => Kind::Closed,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Kind::Malformed,
            _ => Kind::Io,
        };
        Self::from_parts(kind, os_text(err), err.raw_os_error())
    }

    /// Sets the input (file, image or place) that the error concerns, replacing any earlier one.
    #[must_use]
    pub fn input(self, input: impl Into<String>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.input = Some(input.into());
        Self(Arc::new(inner))
    }

    /// Names the input unless the error already names one.
    #[must_use]
    pub fn input_or(self, input: impl Into<String>) -> Self {
        if self.0.input.is_some() { self } else { self.input(input) }
    }

    /// Adds where in the input it is (a member, an offset, a digest), unless already said.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Self {
        if self.0.place.is_some() {
            return self;
        }
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.place = Some(place.into());
        Self(Arc::new(inner))
    }

    /// Names the document that the place already said lies in; the place itself when none is said.
    #[must_use]
    pub fn within(self, document: impl Into<String>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        let document = document.into();
        inner.place = Some(match inner.place {
            Some(place) => format!("{document}, {place}"),
            None => document,
        });
        Self(Arc::new(inner))
    }

    /// Puts `context: ` before what is wrong.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.what = format!("{context}: {}", inner.what);
        Self(Arc::new(inner))
    }

    /// Puts `; note` behind what is wrong.
    #[must_use]
    pub fn note(self, note: impl fmt::Display) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.what = format!("{}; {note}", inner.what);
        Self(Arc::new(inner))
    }

    /// The same error with another kind.
    #[must_use]
    pub fn kind_as(self, kind: Kind) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.kind = kind;
        Self(Arc::new(inner))
    }

    /// What a caller could do about it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Why it failed, where that is known.
    pub fn cause(&self) -> Cause {
        self.0.cause
    }

    /// What is wrong, without the input and the place.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The input that the error concerns, when known.
    pub fn subject(&self) -> Option<&str> {
        self.0.input.as_deref()
    }

    /// Where in the input it is, when known.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// The operating system's error number, when one caused it.
    pub fn os_error(&self) -> Option<i32> {
        self.0.os
    }
}

/// The system's words without Rust's "(os error N)".
fn os_text(err: &io::Error) -> String {
    let text = err.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "input/output error".to_string(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(input) = &self.0.input {
            write!(f, "{input}: ")?;
        }
        f.write_str(&self.0.what)?;
        if let Some(place) = &self.0.place {
            write!(f, " [{place}]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(err: io::Error) -> Self {
        Self::from_io(&err)
    }
}

impl From<Error> for io::Error {
    /// Lets our error travel through `Read` and `Write`; `From<io::Error>` takes it back out.
    fn from(err: Error) -> Self {
        io::Error::other(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_trip_through_io() {
        let ours = Error::corrupt("expected a, found b").input("x.tar").at("offset 512");
        let back = Error::from(io::Error::from(ours));
        assert_eq!(back.kind(), Kind::Corrupt);
        assert_eq!(back.to_string(), "x.tar: expected a, found b [offset 512]");
    }

    #[test]
    fn a_system_error_reads_as_one_clean_line() {
        let err = Error::io(Path::new("/a"), "writing", &io::Error::from_raw_os_error(28));
        assert_eq!(err.to_string(), "/a: writing: no space left on device");
        assert_eq!(err.os_error(), Some(28));
    }
}
