//! Private engines for the contract: dockerd and containerd with a socket and a root of their own.
//!
//! It knows no image. A process is ended by its number when the value is dropped, and its root with it.
//! podman has no socket and no root that a place could name: it is in `scripts/engines/daemons.sh`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imgpack::transport::daemon::Engines;
use rustix::process::{Pid, Signal, kill_process};

use crate::net::{have, skip};

/// The engines that can be started here, by their schemes.
pub const ENGINES: [&str; 2] = ["docker-daemon", "containerd"];

/// A running engine.
pub struct Daemon {
    child: Child,
    socket: String,
    /// How it is reached.
    pub engines: Engines,
    _dir: tempfile::TempDir,
}

impl Daemon {
    /// Starts one; says so when that cannot be done here.
    pub fn start(kind: &str) -> Option<Self> {
        let docker = kind == "docker-daemon";
        let programs = if docker { ["dockerd", "docker"] } else { ["containerd", "ctr"] };
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !root || !programs.iter().all(|program| have(program)) {
            skip(&format!("{kind}: needs root, {}", programs.join(" and ")));
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let socket = at(dir.path(), "sock");
        let engines = if docker {
            Engines { docker_host: Some(format!("unix://{socket}")), ..Engines::default() }
        } else {
            Engines { containerd_address: Some(socket.clone()), ..Engines::default() }
        };
        let mut command =
            if docker { dockerd(dir.path(), &socket) } else { containerd(dir.path(), &socket) };
        let log = File::create(dir.path().join("log")).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the engine starts");
        let mut daemon = Self { child, socket, engines, _dir: dir };
        let end = Instant::now() + Duration::from_secs(60);
        while daemon.client(&["version"]).is_none() {
            let log =
                || std::fs::read_to_string(daemon._dir.path().join("log")).unwrap_or_default();
            let ended = daemon.child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!ended && Instant::now() < end, "{kind} does not start: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(daemon)
    }

    /// What its own client prints; nothing when that fails.
    pub fn client(&self, args: &[&str]) -> Option<String> {
        let (program, flag, socket) = match &self.engines.docker_host {
            Some(host) => ("docker", "-H", host),
            None => ("ctr", "-a", &self.socket),
        };
        let out = Command::new(program).args([flag, socket]).args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Removes every image.
    pub fn empty(&self) {
        if self.engines.docker_host.is_some() {
            self.client(&["image", "prune", "-a", "-f"]).expect("it is pruned");
            return;
        }
        for name in self.client(&["images", "ls", "-q"]).expect("a list").lines() {
            self.client(&["images", "rm", "--sync", name]).expect("it is removed");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > end {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn at(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

fn dockerd(dir: &Path, socket: &str) -> Command {
    std::fs::write(dir.join("daemon.json"), "{}").expect("a file");
    let mut command = Command::new("dockerd");
    command.args(["--host", &format!("unix://{socket}")]);
    for (flag, name) in [
        ("--config-file", "daemon.json"),
        ("--data-root", "data"),
        ("--exec-root", "exec"),
        ("--pidfile", "pid"),
    ] {
        command.args([flag, &at(dir, name)]);
    }
    command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
    command.args(["--iptables=false", "--ip-masq=false", "--bridge=none"]);
    command
}

fn containerd(dir: &Path, socket: &str) -> Command {
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n",
        at(dir, "root"),
        at(dir, "state"),
    );
    std::fs::write(dir.join("config.toml"), config).expect("a file");
    let mut command = Command::new("containerd");
    command.args(["--config", &at(dir, "config.toml")]);
    command
}
