//! What the integration tests share: a sandbox that runs the real binary, and images made here.
//!
//! Nothing in it uses the library, so that what the tests expect does not come from what they test.
#![allow(dead_code, unreachable_pub)] // every test crate uses a part of it

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub mod image;
pub mod tarball;

/// A directory of its own with a store, where the binary runs.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a run of the binary did.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    /// The command line, for messages.
    pub line: String,
}

impl Sandbox {
    /// A fresh one.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in it, as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a UTF-8 path").to_owned()
    }

    /// Writes a file and returns its path as text.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a directory");
        }
        std::fs::write(&path, bytes).expect("a file");
        self.text(name)
    }

    /// The binary with an environment of its own: this sandbox's store, no configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgpack"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root())
            .env("TMPDIR", self.root())
            .env("IMGPACK_CONFIG", self.path("no-config.toml"))
            .env("IMGPACK_STORE", self.path("store"))
            .env("IMGPACK_NO_SYNC", "true")
            .current_dir(self.root())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary.
    pub fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args).output().expect("the binary runs"), args)
    }

    /// Runs the binary with bytes on its standard input.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let out = std::thread::scope(|scope| {
            scope.spawn(move || {
                // The binary may refuse before it has read everything.
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().expect("the binary ends")
        });
        finish(out, args)
    }

    /// `inspect --format json PLACE`, which must succeed.
    pub fn inspect(&self, place: &str) -> Value {
        self.run(&["inspect", "--format", "json", place]).ok().json()
    }

    /// What the store holds: image ID and sorted names of each image, sorted.
    pub fn stored(&self) -> Vec<(String, Vec<String>)> {
        if !self.path("store/index.json").exists() {
            return Vec::new();
        }
        let all = self.run(&["inspect", "--format", "json", "store:"]);
        if all.code == 4 {
            return Vec::new();
        }
        let mut rows: Vec<(String, Vec<String>)> = list(&all.ok().json()["images"])
            .iter()
            .map(|row| {
                let mut names = strings(&row["names"]);
                names.sort();
                (string(&row["image_id"]), names)
            })
            .collect();
        rows.sort();
        rows
    }
}

fn finish(out: Output, args: &[&str]) -> Ran {
    Ran {
        code: out.status.code().unwrap_or(-1),
        stdout: out.stdout,
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        line: args.join(" "),
    }
}

impl Ran {
    /// Fails the test unless it ended with `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        let Self { line, stderr, .. } = &self;
        assert_eq!(self.code, code, "imgpack {line}\nstdout: {}\nstderr: {stderr}", self.out());
        self
    }

    /// Fails the test unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails the test unless standard error contains `words`, in any case of letters.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        let said = self.stderr.to_lowercase();
        let Self { line, stderr, .. } = &self;
        assert!(said.contains(&words.to_lowercase()), "{line}: no {words:?} in: {stderr}");
        self
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("imgpack {}: {e}: {}", self.line, self.out()))
    }
}

/// `sha256:` and the digest.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

/// The bare hexadecimal digest.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The items of an array; none for anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A string; empty for anything else.
pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An array of strings.
pub fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(string).collect()
}

/// Says that a test could not run here, and why; never silently.
pub fn skip(why: &str) {
    println!("skipped: {why}");
    eprintln!("skipped: {why}");
}

/// Whether a program is installed.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(program).is_absolute() && Path::new(program).exists()
        || std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
