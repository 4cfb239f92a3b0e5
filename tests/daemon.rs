//! Engines as places, with engines that fail: a socket that answers as docker does, and programs that
//! are called podman and ctr. The real ones are in `scripts/engines/daemons.sh`.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use common::image::{Docker, Image};
use common::{Ran, Sandbox};
use serde_json::json;

/// What the fake docker does with an archive.
#[derive(Clone, Copy)]
enum Taking {
    /// Reads all of it, then answers so.
    Answers(&'static str),
    /// Reads nothing of it, answers so and hangs up.
    Early(&'static str),
    /// Reads a little and hangs up.
    HangsUp,
}

/// A socket that speaks enough of docker's API, and what it was asked.
struct Engine {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Engine {
    /// Listens in `sandbox`; `given` is the archive of every image.
    fn start(sandbox: &Sandbox, given: Vec<u8>, taking: Taking) -> Self {
        let path = sandbox.path("docker.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &given, taking, &seen);
            }
        });
        Self { host: format!("unix://{}", path.display()), asked }
    }

    fn run(&self, sandbox: &Sandbox, args: &[&str]) -> Ran {
        sandbox.run(&[&["--docker-host", self.host.as_str()], args].concat())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: UnixStream,
    given: &[u8],
    taking: Taking,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    from.read_line(&mut first)?;
    while from.read_line(&mut line)? > 2 {
        line.clear();
    }
    let request = first.trim().trim_end_matches(" HTTP/1.1").to_owned();
    asked.lock().unwrap().push(request.clone());
    let answer = |to: &mut UnixStream, body: &[u8]| {
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        to.write_all(body)
    };
    match (request.as_str(), taking) {
        ("GET /version", _) => answer(&mut to, br#"{"Version":"20.10.24"}"#),
        ("GET /images/json", _) => answer(&mut to, br#"[{"Id":"sha256:1","RepoTags":["a:1"]}]"#),
        (get, _) if get.starts_with("GET /images/get?names=nope") => {
            let body = br#"{"message":"No such image: nope"}"#;
            write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n", body.len())?;
            to.write_all(body)
        }
        (get, _) if get.starts_with("GET /images/get?names=cut") => {
            write!(to, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n")?;
            to.write_all(&given[..512])
        }
        (get, _) if get.starts_with("GET /images/get") => answer(&mut to, given),
        (_, Taking::Answers(body)) => {
            chunks(&mut from)?;
            asked.lock().unwrap().push("whole".into());
            answer(&mut to, body.as_bytes())
        }
        (_, Taking::Early(body)) => answer(&mut to, body.as_bytes()),
        (_, Taking::HangsUp) => from.read_exact(&mut [0; 1000]),
    }
}

/// Reads a chunked body to its end.
fn chunks(from: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        std::io::copy(&mut from.take(size + 2), &mut std::io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// An archive larger than what fits into a pipe and a socket.
fn large() -> (Image, Vec<u8>) {
    let image = Image::of(vec![tarball(4 << 20)]);
    let archive = Docker::one(&image, json!(["fx/a:1"])).tar();
    (image, archive)
}

fn tarball(size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "zeros", std::io::repeat(0).take(size as u64)).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn docker_gives_what_is_named_or_everything() {
    let sandbox = Sandbox::new();
    let image = Image::new("a", 2);
    let given = Docker::one(&image, json!(["a:1"])).tar();
    let engine = Engine::start(&sandbox, given, Taking::HangsUp);
    for (place, asked) in [
        ("docker-daemon:a:1", "GET /images/get?names=a:1"),
        ("docker-daemon:a:1,b c", "GET /images/get?names=a:1&names=b%20c"),
        ("docker-daemon:", "GET /images/get?names=a:1"),
    ] {
        let ran = engine.run(&sandbox, &["ls", "--no-trunc", "-q", place]).ok();
        assert_eq!(ran.out().trim(), image.id());
        assert_eq!(engine.asked().last().unwrap(), asked);
    }
    engine.run(&sandbox, &["ls", "docker-daemon:nope"]).code(4).says("no such image: nope");
    engine
        .run(&sandbox, &["ls", "docker-daemon:cut"])
        .code(5)
        .says("the engine's response was cut off");
    sandbox
        .run(&["--docker-host", "unix:///none", "ls", "docker-daemon:a"])
        .code(5)
        .says("no engine")
        .says("--docker-host");
    sandbox
        .run(&["--docker-host", "ssh://a", "ls", "docker-daemon:"])
        .code(1)
        .says("ssh to an engine is not supported");
}

#[test]
fn docker_takes_an_archive_and_says_what_it_loaded() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("a.tar", &large().1);
    let answer = Taking::Answers("{\"stream\":\"Loaded image: fx/a:1\\n\"}\r\n");
    let engine = Engine::start(&sandbox, Vec::new(), answer);
    let ran = engine.run(&sandbox, &["-v", "load", "-i", &path, "--into", "docker-daemon:"]).ok();
    assert_eq!(ran.out(), "Loaded image: fx/a:1\n");
    assert!(ran.stderr.contains("docker-daemon: Loaded image: fx/a:1"), "{}", ran.stderr);
}

#[test]
fn a_failure_inside_an_answer_that_is_none_is_a_failure() {
    let denied = r#"{"errorDetail":{"message":"write /x: permission denied"},"error":"?"}"#;
    for (taking, code, words) in [
        (
            Taking::Answers(r#"{"status":"x"}{"error":"invalid tar header"}"#),
            1,
            "invalid tar header",
        ),
        (Taking::Answers(denied), 5, "write /x: permission denied"),
        (Taking::Early(r#"{"error":"no space left on device"}"#), 7, "no space left on device"),
        (
            Taking::Early(r#"{"stream":"Loaded image: nothing"}"#),
            5,
            "before it had the whole archive",
        ),
        (Taking::HangsUp, 5, "before it had the whole archive"),
        (Taking::Answers("<html>"), 3, "not JSON"),
    ] {
        let sandbox = Sandbox::new();
        let path = sandbox.write("a.tar", &large().1);
        let engine = Engine::start(&sandbox, Vec::new(), taking);
        let ran = engine.run(&sandbox, &["load", "-i", &path, "--into", "docker-daemon:"]);
        let ran = ran.code(code).says(words);
        assert_eq!(ran.stderr.matches("imgpack: ").count(), 1, "{}", ran.stderr);
        assert_eq!(ran.out(), "");
    }
}

#[test]
fn a_broken_archive_is_not_given_to_docker_as_a_whole_one() {
    let sandbox = Sandbox::new();
    let (_, mut archive) = large();
    // In the middle of the layer: found only when all of it was read.
    archive[2 << 20] ^= 1;
    let path = sandbox.write("a.tar", &archive);
    let engine = Engine::start(&sandbox, Vec::new(), Taking::Answers("{}"));
    engine.run(&sandbox, &["load", "-i", &path, "--into", "docker-daemon:"]).code(3);
    assert!(!engine.asked().contains(&"whole".to_owned()), "{:?}", engine.asked());
}

/// Runs with no other programs than these.
fn with_programs(sandbox: &Sandbox, programs: &[(&str, &str)], args: &[&str]) -> Ran {
    let bin = tempfile::tempdir_in(sandbox.root()).unwrap();
    for (name, script) in programs {
        let path = bin.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let output = sandbox.command(args).env("PATH", bin.path()).output().expect("imgpack");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        line: args.join(" "),
    }
}

#[test]
fn a_program_that_fails_is_quoted_in_one_line() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("a.tar", &large().1);
    let load = ["load", "-i", &path, "--into", "podman:"];
    for (script, code, words) in [
        ("echo 'Error: cannot read it' >&2; exit 125", 1, "podman load: cannot read it"),
        ("cat >/dev/null; echo 'Error: no space left on device' >&2; exit 125", 7, "no space left"),
        ("head -c 1000 >/dev/null", 5, "podman load ended before the archive did"),
        ("kill -9 $$", 5, "podman load: ended by signal 9"),
    ] {
        let ran = with_programs(&sandbox, &[("podman", script)], &load).code(code).says(words);
        assert_eq!(ran.stderr.matches("imgpack: ").count(), 1, "{}", ran.stderr);
        assert_eq!(ran.out(), "");
    }
    let ran = with_programs(&sandbox, &[("podman", "cat >/dev/null")], &load).ok();
    assert_eq!(ran.out(), "Loaded image: fx/a:1\n");
    let save = "echo 'Error: nope: image not known' >&2; exit 125";
    with_programs(&sandbox, &[("podman", save)], &["ls", "podman:nope"])
        .code(4)
        .says("podman:nope: podman save: nope: image not known");
    with_programs(&Sandbox::new(), &[], &["ls", "podman:a"])
        .code(4)
        .says("podman is not installed");
}

#[test]
fn a_program_may_fail_after_a_whole_archive() {
    let sandbox = Sandbox::new();
    let given = sandbox.write("given.tar", &large().1);
    let script = format!("cat {given}; echo 'Error: it is not all' >&2; exit 1");
    with_programs(&sandbox, &[("podman", &script)], &["ls", "podman:a"])
        .code(1)
        .says("it is not all");
}

#[test]
fn containerd_is_asked_in_its_namespace_by_full_names_or_through_k3s() {
    let sandbox = Sandbox::new();
    let given = sandbox.write("given.tar", &large().1);
    let socket = sandbox.path("containerd.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let address = socket.to_str().unwrap();
    let help = "case $* in *--help) echo '  --local  itself'; exit;; esac";
    let script = format!("{help}; echo \"$@\" >{}; cat {given}", sandbox.text("words"));
    let flags = ["--containerd-address", address, "--containerd-namespace", "k8s.io"];
    let args = [&flags[..], &["ls", "containerd:nginx"]].concat();
    let words = "--namespace k8s.io images export --skip-manifest-json --local --all-platforms - \
                 docker.io/library/nginx:latest";
    for (program, before) in [("k3s", "ctr "), ("ctr", "")] {
        with_programs(&sandbox, &[(program, &script)], &args).ok();
        let asked = std::fs::read_to_string(sandbox.path("words")).unwrap();
        assert_eq!(asked.trim(), format!("{before}--address {address} {words}"));
    }
    let args = ["--containerd-address", "/none", "ls", "containerd:"];
    with_programs(&sandbox, &[("ctr", "exit 1")], &args).code(5).says("no containerd at /none");
}

#[test]
fn an_index_of_other_machines_is_asked_for_by_a_platform_of_its_own() {
    let digest = |n: char| format!("sha256:{}", n.to_string().repeat(64));
    let entry = |n: char, cpu: &str| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(n),
            "size": 2, "platform": {"os": "linux", "architecture": cpu}})
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind,
        "manifests": [entry('a', "s390x"), entry('b', "riscv64")]});
    let (all, some) = (
        "--all-platforms --platform linux/riscv64 --platform linux/s390x",
        "--platform linux/riscv64",
    );
    for (refusal, there, wanted, warning) in [
        ("no manifest found for platform", "ab", Some(all), ""),
        ("content digest sha256:a", "b", Some(some), "has only some of its platforms"),
        ("content digest sha256:a", "", None, ""),
    ] {
        let sandbox = Sandbox::new();
        let given = sandbox.write("given.tar", &large().1);
        let socket = sandbox.path("containerd.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let content: Vec<String> = there.chars().map(digest).collect();
        let script = format!(
            "case $* in\n*--help) ;;\n\
             *'images ls name==docker.io/library/nginx:latest') echo 'docker.io/library/nginx:latest {kind} {} 2.0 B linux/s390x -' ;;\n\
             *'content ls --quiet') echo '{}' ;;\n*'content get'*) echo '{index}' ;;\n\
             *--platform*) echo \"$@\" >{}; cat {given} ;;\n\
             *) echo 'ctr: {refusal}: not found' >&2; exit 1 ;;\nesac",
            digest('c'),
            content.join("\n"),
            sandbox.text("words"),
        );
        let args = ["--containerd-address", socket.to_str().unwrap(), "ls", "containerd:nginx"];
        let ran = with_programs(&sandbox, &[("ctr", &script)], &args);
        let Some(wanted) = wanted else {
            ran.code(4).says(refusal);
            continue;
        };
        let ran = ran.ok();
        assert!(ran.stderr.contains(warning), "{}", ran.stderr);
        let asked = std::fs::read_to_string(sandbox.path("words")).unwrap();
        assert!(asked.contains(&format!("--skip-manifest-json {wanted} - ")), "{asked}");
    }
}
