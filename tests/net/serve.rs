//! `imgpack serve`, started for a test.
//!
//! It knows no image. It listens where the system lets it and says so on stderr; the process is ended by
//! its number when the value is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::common::Sandbox;

/// What comes before the address, on a line of its own; `http` or `https`.
const SAYS: &str = "listening on http";

/// What every server is started with.
const LISTEN: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

/// Longest wait for anything here.
const LIMIT: Duration = Duration::from_secs(60);

/// A running server over a sandbox that outlives it.
pub struct Server {
    child: Child,
    address: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts one with more arguments: flags and places.
    pub fn start(sandbox: &Sandbox, more: &[&str]) -> Self {
        Self::spawn(sandbox.command(&[LISTEN, more].concat()))
    }

    /// The same, with so many files that it may have open.
    pub fn limited(sandbox: &Sandbox, files: u32, more: &[&str]) -> Self {
        let inner = sandbox.command(&[LISTEN, more].concat());
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).arg(inner.get_program());
        command.args(inner.get_args()).current_dir(sandbox.root()).stdin(Stdio::null()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stderr = child.stderr.take().expect("a pipe");
        let (tell, told) = mpsc::channel();
        let all = Arc::new(Mutex::new(Vec::new()));
        let said = all.clone();
        // Read to its end, so that the server never waits for a reader of its log.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                all.lock().expect("a lock").push(line.clone());
                let _ = tell.send(line);
            }
        });
        while let Ok(line) = told.recv_timeout(Duration::from_secs(30)) {
            if let Some((_, rest)) = line.split_once(SAYS) {
                let rest = rest.trim_start_matches('s').trim_start_matches("://");
                let address = rest.split(|c: char| c == '/' || c.is_whitespace()).next();
                let address = address.unwrap_or_default().to_owned();
                return Self { child, address, said };
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        let said = said.lock().expect("a lock").join("\n");
        panic!("{command:?} does not listen: {said}");
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its port.
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }

    /// What it said on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("a lock").join("\n")
    }

    /// Waits until it said something that contains `text`.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let end = Instant::now() + LIMIT;
        while !self.said().contains(text) {
            assert!(Instant::now() < end, "{text:?} is not in\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end, and gives its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    /// As `kill -9` does it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running server with a sandbox of its own.
pub struct Imgpack {
    server: Server,
    /// Where it keeps what is pushed.
    pub sandbox: Sandbox,
}

impl Imgpack {
    /// A server that takes pushes and deletes.
    pub fn writable() -> Self {
        let sandbox = Sandbox::new();
        let store = sandbox.text("registry");
        Self::start(sandbox, &["--writable", &store, "--delete"])
    }

    /// A server that only gives, over places.
    pub fn read_only(sandbox: Sandbox, places: &[&str]) -> Self {
        Self::start(sandbox, places)
    }

    /// Ends it in good order, and gives back what it was over.
    #[track_caller]
    pub fn ended(mut self) -> Sandbox {
        self.server.signal("TERM");
        assert_eq!(self.server.end(), Some(0), "{}", self.server.said());
        self.sandbox
    }

    /// A server with these flags and places.
    pub fn start(sandbox: Sandbox, more: &[&str]) -> Self {
        Self { server: Server::start(&sandbox, more), sandbox }
    }
}

impl std::ops::Deref for Imgpack {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl std::ops::DerefMut for Imgpack {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
