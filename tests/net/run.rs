//! Runs of the real binary that talk to registries: watched, limited in time, killed when a test says so.
//!
//! It knows no registry; what the environment may tell the binary is set here and nowhere else.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Ran, Sandbox};

/// Longest run of the binary in any test here.
pub const LIMIT: Duration = Duration::from_secs(150);

/// Flags that make uploads go in chunks of one mebibyte.
pub const CHUNKED: [&str; 2] = ["--registry-profile", "chunk:1"];

/// A run that goes on.
pub struct Running {
    child: Child,
    line: String,
    out: std::thread::JoinHandle<Vec<u8>>,
    err: std::thread::JoinHandle<Vec<u8>>,
}

/// Starts a command; its outputs are read on the side.
pub fn start(mut command: Command, line: &str) -> Running {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            let _ = from.read_to_end(&mut all);
            all
        })
    }
    let out = reader(child.stdout.take().expect("a pipe"));
    let err = reader(child.stderr.take().expect("a pipe"));
    Running { child, line: line.to_owned(), out, err }
}

impl Running {
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Ran {
        self.child.kill().expect("a process");
        self.end()
    }

    /// Waits for its end; after [`LIMIT`] it is killed, and the test fails.
    #[track_caller]
    pub fn wait(mut self) -> Ran {
        let end = Instant::now() + LIMIT;
        while !self.ended() {
            if Instant::now() > end {
                let ran = self.kill();
                panic!("imgpack {} did not end; stderr: {}", ran.line, ran.stderr);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end()
    }

    fn end(mut self) -> Ran {
        let status = self.child.wait().expect("a process");
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: self.out.join().expect("a thread"),
            stderr: String::from_utf8_lossy(&self.err.join().expect("a thread")).into_owned(),
            line: self.line,
        }
    }
}

/// Starts the binary in a sandbox, with more in its environment.
pub fn begin(sandbox: &Sandbox, args: &[&str], more: &[(&str, &str)]) -> Running {
    let mut command = sandbox.command(args);
    command.envs(more.iter().copied());
    start(command, &args.join(" "))
}

/// Runs the binary in a sandbox.
#[track_caller]
pub fn run(sandbox: &Sandbox, args: &[&str]) -> Ran {
    begin(sandbox, args, &[]).wait()
}

/// Writes a containers-auth.json with one user for a host and says where.
pub fn authfile(sandbox: &Sandbox, host: &str, user: &str, password: &str) -> String {
    let basic = super::raw::basic(user, password);
    let auth = basic.trim_start_matches("Basic ");
    let text = serde_json::json!({"auths": {host: {"auth": auth}}}).to_string();
    let path = sandbox.write("auth.json", text.as_bytes());
    restrict(&path);
    path
}

fn restrict(path: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a file");
}
