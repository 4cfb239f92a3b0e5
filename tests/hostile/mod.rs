//! A runner that measures what a command did to the world around it.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, hex};

pub const IMGPACK: &str = env!("CARGO_BIN_EXE_imgpack");
pub const MIB: u64 = 1 << 20;

/// How far a long test goes: `IMGPACK_TEST_SCALE=soak` for the full numbers.
pub fn scale(ci: usize, soak: usize) -> usize {
    if std::env::var_os("IMGPACK_TEST_SCALE").is_some_and(|s| s == "soak") { soak } else { ci }
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub rss: u64,
    /// What it took of a processor, which depends on nothing beside it.
    pub cpu: Duration,
    pub timed_out: bool,
}

impl Outcome {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 1000 + self.status.signal().unwrap_or_default())
    }
}

/// A command in a clean environment: nothing of the caller's settings reaches it.
pub fn command(program: impl AsRef<OsStr>, sandbox: &Sandbox) -> Command {
    let mut cmd = Command::new(program);
    cmd.env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", sandbox.path("home"))
        .env("TMPDIR", sandbox.path("tmp"))
        .env("IMGPACK_STORE", sandbox.path("store"))
        .current_dir(sandbox.path("cwd"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    cmd
}

/// Runs a command to its end or its time limit; peak memory is the kernel's own count.
#[allow(clippy::zombie_processes)] // `reap` waits for the child, and `cat` ends with its pipe
pub fn run(mut cmd: Command, input: Option<PathBuf>, limit: Duration) -> Outcome {
    if let Some(input) = input {
        // A pipe, never the file itself: what arrives cannot be read twice.
        let cat = Command::new("cat").arg(input).stdout(Stdio::piped()).spawn().unwrap();
        cmd.stdin(cat.stdout.unwrap());
    }
    let start = Instant::now();
    let mut child = cmd.spawn().unwrap();
    drop(cmd);
    let out = child.stdout.take().map(gather);
    let err = child.stderr.take().map(gather);
    let mut timed_out = false;
    let mut seen = 0;
    let (status, rss, cpu) = loop {
        if let Some((status, rss, cpu)) = reap(child.id(), timed_out) {
            // The kernel's count begins before exec, with what this process is as large as then.
            break (status, if rss > peak("self") { rss } else { seen }, cpu);
        }
        // For a moment after the spawn it still has the memory of this process, and so its program.
        if program("self") != program(&child.id().to_string()) {
            seen = seen.max(peak(&child.id().to_string()));
        }
        if start.elapsed() > limit {
            timed_out = true;
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    let stdout = out.map(|t| t.join().unwrap()).unwrap_or_default();
    let stderr = err.map(|t| t.join().unwrap()).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Outcome { status, stdout, stderr, rss, cpu, timed_out }
}

/// The program that a process runs.
fn program(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Peak resident memory of a process that lives, in bytes.
fn peak(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

fn gather(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// wait4(2): the exit status, the peak resident memory in bytes, and the time on a processor.
#[allow(unsafe_code)]
fn reap(pid: u32, block: bool) -> Option<(ExitStatus, u64, Duration)> {
    let mut status = 0;
    // SAFETY: both pointers are to live local variables of the types wait4 fills.
    let (got, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let flags = if block { 0 } else { libc::WNOHANG };
        (libc::wait4(pid as i32, &mut status, flags, &mut usage), usage)
    };
    let spent = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap())
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap())
    };
    let rss = u64::try_from(usage.ru_maxrss).unwrap() * 1024;
    let cpu = spent(usage.ru_utime) + spent(usage.ru_stime);
    (got == pid as i32).then(|| (ExitStatus::from_raw(status), rss, cpu))
}

/// A place for one test: input, store, output, scratch space, and a secret that nobody may touch.
pub struct Sandbox(common::Sandbox);

pub const SECRET: &str = "CANARY-7f3a-never-to-be-seen";

impl std::ops::Deref for Sandbox {
    type Target = common::Sandbox;

    fn deref(&self) -> &common::Sandbox {
        &self.0
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = common::Sandbox::new();
        for dir in ["in", "out", "tmp", "home", "cwd"] {
            fs::create_dir(sandbox.path(dir)).unwrap();
        }
        sandbox.write("outside/secret", SECRET.as_bytes());
        Self(sandbox)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.write(name, bytes).into()
    }

    /// imgpack with these arguments.
    pub fn imgpack<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.imgpack_in(args, None)
    }

    pub fn imgpack_in<S: AsRef<OsStr>>(&self, args: &[S], input: Option<PathBuf>) -> Outcome {
        let mut cmd = command(IMGPACK, self);
        cmd.args(args);
        run(cmd, input, Duration::from_secs(300))
    }

    /// imgpack that must succeed.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Outcome {
        let done = self.imgpack(args);
        assert_eq!(done.code(), 0, "{args:?}: {}", done.stderr);
        done
    }

    /// Everything beneath, with type, mode, size and content.
    pub fn snapshot(&self, name: &str) -> BTreeMap<PathBuf, String> {
        snapshot(&self.path(name))
    }
}

pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let kind = meta.file_type();
        let what = if kind.is_file() && meta.len() < 4 * MIB {
            hex(&fs::read(entry.path()).unwrap())
        } else if kind.is_symlink() {
            fs::read_link(entry.path()).unwrap().display().to_string()
        } else if kind.is_fifo() || kind.is_socket() {
            "special".into()
        } else {
            format!("{}", if kind.is_dir() { 0 } else { meta.len() })
        };
        let name = entry.path().strip_prefix(root).unwrap().to_owned();
        found.insert(name, format!("{:o} {what}", meta.mode()));
    }
    found
}

/// Names that differ between two snapshots.
pub fn changes(a: &BTreeMap<PathBuf, String>, b: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let differ = |n: &&&PathBuf| a.get(**n) != b.get(**n);
    let show = |n: &PathBuf| format!("{}: {:?} -> {:?}", n.display(), a.get(n), b.get(n));
    names.iter().filter(differ).map(|n| show(n)).collect()
}

/// The lines of standard error that say what is wrong, and a check that the others are allowed.
pub fn error_lines(stderr: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("imgpack: warning: ") || line.starts_with("hint: ") {
            continue;
        }
        assert!(line.starts_with("imgpack: "), "a line of another kind: {line:?}\n{stderr}");
        lines.push(line);
    }
    lines
}

/// No control character but the line ends, no direction mark.
pub fn assert_harmless(what: &str, text: &str) {
    let hostile = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(c) = text.chars().find(|c| hostile(*c)) {
        panic!("{what}: {c:?} reached the terminal: {text:?}");
    }
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
