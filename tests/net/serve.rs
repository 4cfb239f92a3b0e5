//! `imgpack serve`, started for a test.
//!
//! It knows no image. It listens where the system lets it and says so on stderr; the process is ended by
//! its number when the value is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::Sandbox;

/// What comes before the address, on a line of its own.
const SAYS: &str = "listening on http://";

/// A running server.
pub struct Imgpack {
    child: Child,
    address: String,
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

    fn start(sandbox: Sandbox, more: &[&str]) -> Self {
        let args = [&["serve", "--listen", "127.0.0.1:0"], more].concat();
        let mut command = sandbox.command(&args);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("imgpack {args:?}: {e}"));
        let stderr = child.stderr.take().expect("a pipe");
        let (tell, told) = mpsc::channel();
        // Read to its end, so that the server never waits for a reader of its log.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut said = Vec::new();
        while let Ok(line) = told.recv_timeout(Duration::from_secs(30)) {
            if let Some((_, rest)) = line.split_once(SAYS) {
                let address = rest.split(|c: char| c == '/' || c.is_whitespace()).next();
                let address = address.unwrap_or_default().to_owned();
                return Self { child, address, sandbox };
            }
            said.push(line);
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("imgpack {args:?} does not listen: {}", said.join("\n"));
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Imgpack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
