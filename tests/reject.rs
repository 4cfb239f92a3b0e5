//! The reject contract: whatever is wrong with an input, imgpack says so in one line, with the right
//! exit status, in bounded memory and time, and leaves the world as it was.

#![allow(missing_docs, unreachable_pub)]

mod common;
mod hostile;

#[path = "reject/accept.rs"]
mod accept;
#[path = "reject/budgets.rs"]
mod budgets;
#[path = "reject/docker.rs"]
mod docker;
#[path = "reject/integrity.rs"]
mod integrity;
#[path = "reject/oci.rs"]
mod oci;
#[path = "reject/output.rs"]
mod output;
#[path = "reject/process.rs"]
mod process;

use std::path::PathBuf;
use std::time::Duration;

use common::image::{Docker, Image, layer};
use hostile::{MIB, Outcome, SECRET, Sandbox, assert_harmless, changes, error_lines};

/// One input and what must become of it.
pub struct Case {
    name: &'static str,
    want: Want,
    /// A word of the message, where the reason matters.
    says: &'static str,
    make: Box<dyn Fn(&Sandbox) -> PathBuf>,
    flags: &'static [&'static str],
    /// Peak memory allowed, in MiB.
    memory: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Want {
    /// `load`, `copy` and `verify` exit 3.
    Refuse,
    /// Everything exits 0.
    Accept,
}

impl Case {
    fn new(name: &'static str, want: Want, make: impl Fn(&Sandbox) -> PathBuf + 'static) -> Self {
        Self { name, want, says: "", make: Box::new(make), flags: &[], memory: 128 }
    }

    pub fn says(mut self, says: &'static str) -> Self {
        self.says = says;
        self
    }

    pub fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    pub fn memory(mut self, mib: u64) -> Self {
        self.memory = mib;
        self
    }
}

pub fn refuse(name: &'static str, make: impl Fn(&Sandbox) -> PathBuf + 'static) -> Case {
    Case::new(name, Want::Refuse, make)
}

pub fn accept(name: &'static str, make: impl Fn(&Sandbox) -> PathBuf + 'static) -> Case {
    Case::new(name, Want::Accept, make)
}

/// A file of these bytes as the input.
pub fn bytes(bytes: Vec<u8>) -> impl Fn(&Sandbox) -> PathBuf {
    move |sandbox| sandbox.put("in/x.tar", &bytes)
}

/// Runs cases in one world, one after another, so that what one plants another may trip over.
pub fn check(cases: Vec<Case>) {
    let sandbox = Sandbox::new();
    let keep = Docker::foldered(&Image::plain(&[layer("keep")]), "keep:1").tar();
    let keep = sandbox.put("outside/keep.tar", &keep);
    sandbox.ok(&["load", "-q", "-i", keep.to_str().unwrap()]);
    let mut failed = Vec::new();
    for case in &cases {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(case, &sandbox)));
        if result.is_err() {
            failed.push(case.name);
        }
        // Fifos and links of one case are not the next one's.
        let _ = std::fs::remove_dir_all(sandbox.path("in"));
        std::fs::create_dir(sandbox.path("in")).unwrap();
        let _ = std::fs::remove_dir_all(sandbox.path("out"));
        std::fs::create_dir(sandbox.path("out")).unwrap();
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), cases.len());
}

fn one(case: &Case, sandbox: &Sandbox) {
    let input = (case.make)(sandbox);
    let input = input.to_str().unwrap().to_owned();
    let out = sandbox.path("out");
    let layout = format!("oci:{}", out.join("layout").display());
    let archive = out.join("x.tar").display().to_string();
    let store = sandbox.path("store2").display().to_string();
    let verbs: Vec<(&str, Vec<&str>)> = vec![
        ("verify", vec!["verify", &input]),
        ("ls", vec!["ls", &input]),
        ("inspect", vec!["inspect", "--format", "json", &input]),
        ("copy-oci", vec!["copy", &input, &layout]),
        ("copy-tar", vec!["copy", &input, &archive]),
        ("load", vec!["load", "-i", &input]),
        ("load-other", vec!["load", "--jobs", "1", "--store", &store, "-i", &input]),
    ];
    for (verb, mut args) in verbs {
        args.extend(case.flags);
        let changing = match (case.want, verb) {
            (Want::Accept, "copy-oci" | "copy-tar") => "out",
            (Want::Accept, "load") => "store",
            (_, "load-other") => "store2",
            (_, "copy-oci") => "out/layout",
            _ => "",
        };
        let before = sandbox.snapshot("");
        let done = sandbox.imgpack(&args);
        let after = sandbox.snapshot("");
        judge(case, verb, &done, sandbox);
        let mut differ = changes(&before, &after);
        if !changing.is_empty() {
            differ.retain(|line| !line.starts_with(changing));
        }
        // The times and link counts of the directories above do not show; their existence does.
        assert!(differ.is_empty(), "{} {verb}: touched {differ:#?}", case.name);
        if case.want == Want::Refuse {
            no_trace(case, verb, sandbox);
        }
    }
    let _ = std::fs::remove_dir_all(sandbox.path("store2"));
}

/// A refused input leaves no name, no entry, no file.
fn no_trace(case: &Case, verb: &str, sandbox: &Sandbox) {
    for place in ["out/layout", "store2"] {
        if !sandbox.path(place).exists() {
            continue;
        }
        let files: Vec<_> = walkdir::WalkDir::new(sandbox.path(place))
            .into_iter()
            .map(Result::unwrap)
            .filter(|e| e.path() != sandbox.path(place) && e.file_name() != "blobs")
            .map(|e| e.path().to_owned())
            .collect();
        assert!(files.is_empty(), "{} {verb}: left {files:?}", case.name);
    }
    assert!(!sandbox.path("out/x.tar").exists(), "{} {verb}: left an archive", case.name);
    assert_eq!(sandbox.snapshot("tmp").len(), 1, "{} {verb}: left scratch files", case.name);
}

fn judge(case: &Case, verb: &str, done: &Outcome, sandbox: &Sandbox) {
    let (name, stderr) = (case.name, &done.stderr);
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(
        !done.timed_out,
        "{name} {verb}: still running at its limit, {:?} of a processor",
        done.cpu
    );
    let metadata_only = matches!(verb, "ls" | "inspect");
    match case.want {
        Want::Refuse if metadata_only => {
            assert!(matches!(done.code(), 0 | 3), "{name} {verb}: {} {stderr}", done.code());
        }
        Want::Refuse => assert_eq!(done.code(), 3, "{name} {verb}: {stderr}"),
        Want::Accept => assert_eq!(done.code(), 0, "{name} {verb}: {stderr}"),
    }
    let lines = error_lines(stderr);
    if done.code() == 3 {
        assert!(!lines.is_empty(), "{name} {verb}: silent");
        // `verify` lists every damaged blob; every other verb says one thing.
        assert!(
            lines.len() == 1 || verb == "verify",
            "{name} {verb}: {} lines: {stderr}",
            lines.len()
        );
        let input = sandbox.path("in").display().to_string();
        assert!(lines[0].contains(&input), "{name} {verb}: the input is not named: {stderr}");
        assert!(stderr.contains(case.says), "{name} {verb}: want {:?} in {stderr}", case.says);
    } else {
        assert!(lines.is_empty(), "{name} {verb}: {stderr}");
    }
    assert_harmless(name, stderr);
    assert_harmless(name, &out);
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{name}: {stderr}");
    for stream in [stderr.as_str(), &out] {
        assert!(!stream.contains(SECRET) && !stream.contains("root:x:"), "{name} {verb}: leaked");
    }
    assert!(done.rss <= case.memory * MIB, "{name} {verb}: {} MiB", done.rss / MIB);
    assert!(done.cpu < Duration::from_secs(20), "{name} {verb}: {:?}", done.cpu);
}
