//! Builders of hostile input, and a runner that measures what a command did to the world around it.
//!
//! Everything is built byte by byte, so that a defect is exactly the one that is named.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use imgpack::digest::Digest;
use serde_json::{Value, json};

pub const IMGPACK: &str = env!("CARGO_BIN_EXE_imgpack");
pub const MIB: u64 = 1 << 20;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How far a long test goes: `IMGPACK_TEST_SCALE=soak` for the full numbers.
pub fn scale(ci: usize, soak: usize) -> usize {
    if std::env::var_os("IMGPACK_TEST_SCALE").is_some_and(|s| s == "soak") { soak } else { ci }
}

/// A seed that is printed, and taken from `IMGPACK_TEST_SEED` to repeat a run.
pub fn seed() -> Random {
    let given = std::env::var("IMGPACK_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |d| d.subsec_nanos().into())
    });
    eprintln!("seed {seed} (repeat with IMGPACK_TEST_SEED={seed})");
    Random(seed | 1 << 40)
}

/// xorshift64*: good enough to choose where to hit.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(n);
        out
    }
}

pub fn sha(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

pub fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

// ---- tar ---------------------------------------------------------------------------------------

/// A tar archive in the making; every header can be as wrong as wanted.
#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// One header block with a right checksum.
    pub fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> [u8; 512] {
        let mut h = [0u8; 512];
        let name = &name[..name.len().min(100)];
        h[..name.len()].copy_from_slice(name);
        h[100..108].copy_from_slice(b"0000644\0");
        h[108..116].copy_from_slice(b"0000000\0");
        h[116..124].copy_from_slice(b"0000000\0");
        if size < 1 << 33 {
            h[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        } else {
            h[124] = 0x80;
            h[128..136].copy_from_slice(&size.to_be_bytes());
        }
        h[136..148].copy_from_slice(b"00000000000\0");
        h[156] = kind;
        let link = &link[..link.len().min(100)];
        h[157..157 + link.len()].copy_from_slice(link);
        h[257..265].copy_from_slice(b"ustar\x0000");
        Self::sum(&mut h);
        h
    }

    pub fn sum(h: &mut [u8; 512]) {
        h[148..156].fill(b' ');
        let sum: u32 = h.iter().map(|b| u32::from(*b)).sum();
        h[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn body(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn member(self, name: &[u8], kind: u8, body: &[u8], link: &[u8]) -> Self {
        let header = Self::header(name, kind, body.len() as u64, link);
        self.raw(&header).body(body)
    }

    pub fn file(self, name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        if name.len() > 100 {
            return self.long(b'L', name).member(&name[..100], b'0', body.as_ref(), b"");
        }
        self.member(name, b'0', body.as_ref(), b"")
    }

    pub fn dir(self, name: &str) -> Self {
        self.member(name.as_bytes(), b'5', b"", b"")
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.member(name.as_bytes(), b'2', b"", to.as_bytes())
    }

    pub fn hardlink(self, name: &str, to: &str) -> Self {
        self.member(name.as_bytes(), b'1', b"", to.as_bytes())
    }

    /// A GNU long name (`L`) or long link (`K`).
    pub fn long(self, kind: u8, text: &[u8]) -> Self {
        let mut body = text.to_vec();
        body.push(0);
        self.member(b"././@LongLink", kind, &body, b"")
    }

    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut len = rest + 1;
            while len != rest + len.to_string().len() {
                len = rest + len.to_string().len();
            }
            body.push_str(&format!("{len} {key}={value}\n"));
        }
        self.member(b"PaxHeaders/x", b'x', body.as_bytes(), b"")
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

// ---- images ------------------------------------------------------------------------------------

/// An image: layers as they are stored, what they unpack to, and its config.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Vec<u8>>,
    pub layer_type: String,
    pub config: Vec<u8>,
}

/// A small layer with one file in it.
pub fn layer(text: &str) -> Vec<u8> {
    Tar::default().dir("etc/").file("etc/text", text).end()
}

pub fn config(diff_ids: &[String]) -> Value {
    json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": []})
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

impl Image {
    /// Plain layers with the right diff ids.
    pub fn plain(layers: &[Vec<u8>]) -> Self {
        let ids: Vec<String> = layers.iter().map(|l| sha(l)).collect();
        Self {
            layers: layers.to_vec(),
            layer_type: OCI_LAYER.into(),
            config: config(&ids).to_string().into_bytes(),
        }
    }

    pub fn small() -> Self {
        Self::plain(&[layer("one"), layer("two")])
    }

    /// The same image with its layers stored through `pack`.
    pub fn packed(mut self, suffix: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        self.layers = self.layers.iter().map(|l| pack(l)).collect();
        self.layer_type = format!("{OCI_LAYER}+{suffix}");
        self
    }

    pub fn manifest(&self) -> Value {
        let layers: Vec<Value> = self.layers.iter().map(|l| desc(&self.layer_type, l)).collect();
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": desc(OCI_CONFIG, &self.config), "layers": layers})
    }
}

pub fn desc(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha(bytes), "size": bytes.len()})
}

/// What a Docker archive is made of, before it is written: everything can be changed.
#[derive(Clone)]
pub struct DockerArchive {
    pub table: Value,
    pub members: Vec<(String, Vec<u8>)>,
}

impl DockerArchive {
    pub fn of(image: &Image, tag: &str) -> Self {
        let config = format!("{}.json", hex(&image.config));
        let mut members = vec![(config.clone(), image.config.clone())];
        let mut names = Vec::new();
        for (i, layer) in image.layers.iter().enumerate() {
            let name = format!("{i}/layer.tar");
            members.push((name.clone(), layer.clone()));
            names.push(name);
        }
        Self { table: json!([{"Config": config, "RepoTags": [tag], "Layers": names}]), members }
    }

    pub fn tar(&self) -> Tar {
        let mut tar = Tar::default();
        for (name, body) in &self.members {
            tar = tar.file(name, body);
        }
        tar
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.tar().file("manifest.json", self.table.to_string()).end()
    }
}

/// An OCI layout in memory: path to content.
#[derive(Clone, Default)]
pub struct Layout {
    pub files: BTreeMap<String, Vec<u8>>,
    pub index: Vec<Value>,
}

impl Layout {
    pub fn of(image: &Image, name: &str) -> Self {
        let mut layout = Self::default();
        layout.image(image);
        layout.point(image.manifest(), name);
        layout
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        self.files.insert(format!("blobs/sha256/{}", hex(bytes)), bytes.to_vec());
    }

    /// Adds config and layers of an image.
    pub fn image(&mut self, image: &Image) {
        self.blob(&image.config);
        for layer in &image.layers {
            self.blob(layer);
        }
    }

    /// Adds a document and an entry for it.
    pub fn point(&mut self, document: Value, name: &str) {
        let bytes = document.to_string().into_bytes();
        let media_type = document["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
        let mut entry = desc(&media_type, &bytes);
        self.blob(&bytes);
        if !name.is_empty() {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name,
                "io.containerd.image.name": name});
        }
        self.index.push(entry);
    }

    pub fn index_json(&self) -> Vec<u8> {
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.index})
            .to_string()
            .into_bytes()
    }

    pub fn write(&self, dir: &Path) {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(dir.join("index.json"), self.index_json()).unwrap();
        for (name, bytes) in &self.files {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }

    pub fn tar(&self) -> Tar {
        let mut tar = Tar::default();
        for (name, bytes) in &self.files {
            tar = tar.file(name, bytes);
        }
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.tar().file("index.json", self.index_json()).end()
    }
}

// ---- running -----------------------------------------------------------------------------------

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
pub struct Sandbox {
    root: tempfile::TempDir,
}

pub const SECRET: &str = "CANARY-7f3a-never-to-be-seen";

impl Sandbox {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("imgpack-test-").tempdir().unwrap();
        for dir in ["in", "out", "tmp", "home", "cwd", "outside"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("outside/secret"), SECRET).unwrap();
        Self { root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// imgpack with these arguments.
    pub fn imgpack<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.imgpack_in(args, None)
    }

    pub fn imgpack_in<S: AsRef<OsStr>>(&self, args: &[S], input: Option<PathBuf>) -> Outcome {
        let mut cmd = command(IMGPACK, self);
        cmd.args(args);
        run(cmd, input, Duration::from_secs(60))
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

pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Says why a test did nothing.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
