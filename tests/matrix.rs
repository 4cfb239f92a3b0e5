//! What other tools accept or refuse, row by row, and what imgpack does with it: one test a row.
//!
//! Every archive is made here and read twice: as a file, and from a pipe.

mod common;
#[path = "matrix/layers.rs"]
mod layers;
#[path = "matrix/paths.rs"]
mod paths;
#[path = "matrix/tables.rs"]
mod tables;
#[path = "matrix/tags.rs"]
mod tags;
#[path = "matrix/tars.rs"]
mod tars;

use common::image::Image;
use common::{Ran, Sandbox};

/// What came of an archive that was loaded.
struct Loaded {
    /// Image IDs and full names.
    images: Vec<(String, Vec<String>)>,
    ran: Ran,
}

/// Loads an archive from a file and from a pipe; both must agree.
fn loads(archive: &[u8], flags: &[&str]) -> [(Sandbox, Ran); 2] {
    let (file, pipe) = (Sandbox::new(), Sandbox::new());
    let path = file.write("in.tar", archive);
    let args: Vec<&str> = ["load", "-i", &path].into_iter().chain(flags.iter().copied()).collect();
    let by_file = file.run(&args);
    let args: Vec<&str> = ["load"].into_iter().chain(flags.iter().copied()).collect();
    let by_pipe = pipe.feed(&args, archive);
    assert_eq!(by_file.code, by_pipe.code, "file: {by_file:?}\npipe: {by_pipe:?}");
    [(file, by_file), (pipe, by_pipe)]
}

/// The archive must be accepted with these flags, and what it left in the store must verify.
#[track_caller]
fn takes_with(archive: &[u8], flags: &[&str]) -> Loaded {
    let [(file, by_file), (pipe, by_pipe)] = loads(archive, flags);
    let (by_file, by_pipe) = (by_file.ok(), by_pipe.ok());
    let images = file.stored();
    assert_eq!(images, pipe.stored(), "the pipe gives another store");
    assert_eq!(by_file.out(), by_pipe.out());
    file.run(&["verify", "store:"]).ok();
    Loaded { images, ran: by_file }
}

/// The archive must be accepted.
#[track_caller]
fn takes(archive: &[u8]) -> Loaded {
    takes_with(archive, &[])
}

/// The archive must be refused with exit 3, for a reason with these words, and leave nothing behind.
#[track_caller]
fn refuses(archive: &[u8], words: &str) {
    refuses_with(archive, &[], words);
}

#[track_caller]
fn refuses_with(archive: &[u8], flags: &[&str], words: &str) {
    for (sandbox, ran) in loads(archive, flags) {
        ran.code(3).says(words);
        assert_eq!(sandbox.stored(), [], "something was stored");
    }
}

impl Loaded {
    /// It must be just this image with this name.
    #[track_caller]
    fn is(self, image: &Image, name: &str) -> Self {
        assert_eq!(self.images, [(image.id(), vec![name.to_owned()])]);
        self
    }

    /// It must be just this image, without a name, and say so.
    #[track_caller]
    fn untagged(self, image: &Image) -> Self {
        assert_eq!(self.images, [(image.id(), Vec::new())]);
        assert_eq!(self.ran.out(), format!("Loaded image ID: {}\n", image.id()));
        self
    }

    /// It must have warned with these words.
    #[track_caller]
    fn warns(self, words: &str) -> Self {
        Self { ran: self.ran.says(words), ..self }
    }

    /// It must have said nothing on standard error that is a warning.
    #[track_caller]
    fn quietly(self) -> Self {
        assert!(!self.ran.stderr.contains("warning"), "{}", self.ran.stderr);
        self
    }
}

/// The name that most archives here carry, familiar and full.
const TAG: &str = "fx/a:1";
const NAME: &str = "docker.io/fx/a:1";
