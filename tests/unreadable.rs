//! What cannot be read is neither empty nor missing: the real error, exit code 7, 503 from `serve`, and
//! nothing removed from a mirror.
//!
//! The medium is a file system of the test that fails when it is told to. Where none can be mounted, rights
//! that are lacking stand for it.

mod common;
#[path = "unreadable/medium.rs"]
mod medium;
mod net;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::image::{Docker, Image, Oci};
use common::{Ran, Sandbox};
use medium::Medium;
use net::raw;
use net::serve::Server;
use rustix::io::Errno;
use serde_json::json;

/// What a medium, a server of files or a lost mount answers, and how it is said.
const FAULTS: [(Errno, &str); 5] = [
    (Errno::IO, "input/output error"),
    (Errno::ACCESS, "permission denied"),
    (Errno::NOTCONN, "not connected"),
    (Errno::STALE, "stale file handle"),
    (Errno::TIMEDOUT, "timed out"),
];

/// Longest wait for a server to see a change.
const LIMIT: Duration = Duration::from_secs(60);

fn image(n: usize) -> (Image, String) {
    (Image::new(&format!("app{n}"), 1), format!("x/app{n}:1"))
}

/// A sandbox with places of every form beneath `src`, each with `x/app1:1`; `src/all` is a folder with
/// three archives, `src/store` a store.
fn places() -> Sandbox {
    let sandbox = Sandbox::new();
    let (one, name) = image(1);
    let full = format!("docker.io/{name}");
    Oci::one(&one, Some(&full)).write(&sandbox.path("src/layout"));
    sandbox.write("src/docker.tar", &Docker::one(&one, json!([name])).tar());
    sandbox.write("src/oci.tar", &Oci::one(&one, Some(&full)).tar());
    for n in 1..=3 {
        let (image, name) = image(n);
        let tar = Docker::one(&image, json!([name])).tar();
        sandbox.write(&format!("src/all/{n}.tar"), &tar);
    }
    sandbox.run(&["copy", "src/docker.tar", "dir:src/flat"]).ok();
    sandbox.run(&["--store", "src/store", "load", "-i", "src/docker.tar"]).ok();
    sandbox
}

/// The same, shown through a medium at `m`.
fn mounted() -> Option<(Sandbox, Medium)> {
    let sandbox = places();
    let medium = Medium::mount(&sandbox.path("src"), &sandbox.path("m"))?;
    Some((sandbox, medium))
}

/// Fails unless the run ended with the real error, in one line.
#[track_caller]
fn real(ran: &Ran, words: &str) {
    let Ran { code, stderr, line, .. } = ran;
    assert_eq!(*code, 7, "imgpack {line}: {stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("imgpack: ") && !l.starts_with("imgpack: warning: "))
        .collect();
    assert_eq!(errors.len(), 1, "imgpack {line}: {stderr}");
    assert!(errors[0].contains(words), "imgpack {line}: no {words:?} in {stderr}");
    assert!(!stderr.contains("no such file"), "imgpack {line}: {stderr}");
}

/// Every verb that reads a place, over every form of place; the first failure of all, `m/flat` and so on.
fn readers() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for place in ["m/layout", "m/docker.tar", "m/oci.tar", "m/flat", "m/all"] {
        for verb in ["ls", "verify"] {
            all.push(vec![verb.into(), place.into()]);
        }
        all.push(vec!["load".into(), "-i".into(), place.into()]);
        all.push(vec!["copy".into(), place.into(), "oci:out".into()]);
        if place != "m/all" {
            for verb in ["inspect", "history", "export"] {
                all.push(vec![verb.into(), place.into()]);
            }
            all.push(vec!["diff".into(), place.into(), place.into()]);
            all.push(vec!["push".into(), place.into(), "127.0.0.1:1/x/app:1".into()]);
        }
    }
    for place in
        ["oci:m/layout", "dir:m/flat", "docker-archive:m/docker.tar", "oci-archive:m/oci.tar"]
    {
        all.push(vec!["copy".into(), place.into(), "oci:out".into()]);
    }
    for (mode, place) in
        [("dir-to-dir", "m/layout"), ("dir-to-dir", "m/all"), ("archive-to-dir", "m/docker.tar")]
    {
        all.push(vec!["sync".into(), mode.into(), place.into(), "out".into()]);
    }
    let store = |words: &str| {
        let words = ["--store", "m/store"].into_iter().chain(words.split(' '));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    all.extend(
        [
            "images",
            "ls store:",
            "inspect x/app1:1",
            "history x/app1:1",
            "export x/app1:1",
            "save -o out x/app1:1",
            "copy store:x/app1:1 oci:out",
            "push x/app1:1 127.0.0.1:1/x/app:1",
            "tag x/app1:1 x/other:1",
            "rmi x/app1:1",
            "prune",
            "verify store:",
            "load -i src/docker.tar",
        ]
        .map(store),
    );
    all
}

#[test]
fn no_verb_takes_what_cannot_be_read_for_missing_or_empty() {
    let Some((sandbox, medium)) = mounted() else { return };
    for (errno, words) in FAULTS {
        medium.fails(errno.raw_os_error());
        for line in readers() {
            let args: Vec<&str> = line.iter().map(String::as_str).collect();
            real(&sandbox.run(&args), words);
            assert!(!sandbox.path("out").exists(), "{line:?} left something");
        }
        medium.recovers();
    }
    // The medium is to blame for all of it.
    for line in
        ["ls m/docker.tar", "verify m/layout", "inspect m/docker.tar", "copy m/flat oci:out"]
    {
        sandbox.run(&line.split(' ').collect::<Vec<_>>()).ok();
    }
    sandbox.run(&["--store", "m/store", "inspect", "x/app1:1"]).ok();
}

#[test]
fn what_is_lacking_a_right_is_not_missing() {
    let sandbox = places();
    let root = std::process::Command::new("id").arg("-u").output();
    if root.is_ok_and(|id| id.stdout != b"0\n") {
        return net::skip("only root may run a program as another user");
    }
    let mode = |name: &str, mode| {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(sandbox.path(name), permissions).unwrap();
    };
    mode(".", 0o777);
    mode("src", 0o700);
    std::os::unix::fs::symlink("src", sandbox.path("m")).unwrap();
    for line in readers() {
        let args: Vec<&str> = line.iter().map(String::as_str).collect();
        let inner = sandbox.command(&args);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(sandbox.root()).stdin(Stdio::null());
        real(&net::run::start(command, &args.join(" ")).wait(), "permission denied");
    }
}

/// The names of what a place holds.
fn names(sandbox: &Sandbox, place: &str) -> Vec<String> {
    let rows = sandbox.inspect(place);
    let images = common::list(&rows["images"]).iter();
    let mut names: Vec<String> = images.flat_map(|row| common::strings(&row["names"])).collect();
    names.sort();
    names
}

const ALL: [&str; 3] = ["docker.io/x/app1:1", "docker.io/x/app2:1", "docker.io/x/app3:1"];

#[test]
fn sync_removes_nothing_of_what_could_not_be_read() {
    let Some((sandbox, medium)) = mounted() else { return };
    let sync = ["sync", "dir-to-dir", "--delete", "--yes", "m/all", "mirror"];
    sandbox.run(&sync).ok();
    assert_eq!(names(&sandbox, "mirror"), ALL);
    for (errno, words) in FAULTS {
        medium.fails(errno.raw_os_error());
        real(&sandbox.run(&sync), words);
        medium.fails_at(errno.raw_os_error(), "2.tar");
        sandbox.run(&sync).code(9).says(words).says("nothing is removed");
        sandbox.run(&[&sync[..], &["--delete-most"]].concat()).code(9);
        medium.recovers();
        assert_eq!(names(&sandbox, "mirror"), ALL);
    }
}

#[test]
fn sync_removes_nothing_when_most_is_gone_at_the_source() {
    let sandbox = places();
    let server = Server::start(&sandbox, &["--writable", "kept", "--delete"]);
    let host = server.address();
    let others = Server::start(&sandbox, &["--writable", "other", "--delete"]);
    let from = others.address();
    sandbox.run(&["sync", "dir-to-registry", "src/all", from]).ok();
    let modes: [(&[&str], &str); 3] = [
        (&["dir-to-dir", "src/all", "mirror"], "mirror"),
        (&["dir-to-registry", "src/all", host], host),
        (&["registry-to-registry", "--catalog", from, &format!("{host}/copy")], host),
    ];
    let held = || -> (Vec<String>, Vec<String>) {
        let list = raw::get(host, "/v2/_catalog").json();
        (names(&sandbox, "mirror"), common::strings(&list["repositories"]))
    };
    for (mode, _) in &modes {
        sandbox.run(&[&["sync"], *mode].concat()).ok();
    }
    // One mirror holds the others' copies too: those are beneath another path, and are asked for alone.
    let before = held();
    std::fs::remove_file(sandbox.path("src/all/1.tar")).unwrap();
    std::fs::remove_file(sandbox.path("src/all/2.tar")).unwrap();
    for name in ["x/app1", "x/app2"] {
        sandbox.run(&["delete", &format!("{from}/{name}:1")]).ok();
    }
    for (mode, _) in &modes {
        let sync = [&["sync", "--delete", "--yes"], *mode].concat();
        let plan = sandbox.run(&[&sync[..], &["--dry-run"]].concat()).code(8);
        assert!(plan.stderr.contains("nothing is removed"), "{}", plan.stderr);
        assert!(!plan.out().contains("remove "), "{}", plan.out());
        let plan = sandbox.run(&[&sync[..], &["--dry-run", "--format", "json"]].concat()).code(8);
        assert_eq!(plan.json()["withheld"]["kind"], "policy");
        assert_eq!(plan.json()["removals"], json!([]));
        sandbox.run(&sync).code(8).says("nothing is removed").says("--delete-most");
    }
    assert_eq!(held(), before);
    let sync = [&["sync", "--delete", "--yes", "--delete-most"], modes[0].0].concat();
    sandbox.run(&sync).ok();
    assert_eq!(names(&sandbox, "mirror"), ["docker.io/x/app3:1"]);
    let sync = [&["sync", "--delete", "--yes", "--delete-most"], modes[2].0].concat();
    sandbox.run(&sync).ok();
    assert_ne!(raw::get(host, "/v2/copy/x/app1/manifests/1").status(), 200);
    assert_eq!(raw::get(host, "/v2/copy/x/app3/manifests/1").status(), 200);
}

/// The status of an answer once it is `wanted`.
#[track_caller]
fn settles(host: &str, target: &str, wanted: u16) {
    let end = Instant::now() + LIMIT;
    loop {
        let answer = raw::get(host, target);
        if answer.status() == wanted {
            return;
        }
        assert!(Instant::now() < end, "{target}: {}", answer.status());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn serve_says_503_of_what_it_cannot_read_and_comes_back() {
    let Some((sandbox, medium)) = mounted() else { return };
    let server = Server::start(&sandbox, &["m/layout", "src/all"]);
    let host = server.address();
    let manifest = raw::get(host, "/v2/x/app3/manifests/1").json();
    let layer = common::string(&manifest["layers"][0]["digest"]);
    let reads = [
        ("/v2/_catalog".to_owned(), 503),
        ("/readyz".to_owned(), 503),
        ("/v2/x/app1/tags/list".to_owned(), 503),
        ("/v2/none/tags/list".to_owned(), 503),
        ("/v2/none/manifests/1".to_owned(), 503),
        // What another place has is still given.
        ("/v2/x/app3/manifests/1".to_owned(), 200),
        (format!("/v2/x/app3/blobs/{layer}"), 200),
        ("/healthz".to_owned(), 200),
        ("/v2/".to_owned(), 200),
    ];
    for (errno, words) in FAULTS {
        medium.fails(errno.raw_os_error());
        settles(host, "/readyz", 503);
        for (target, status) in &reads {
            let answer = raw::get(host, target);
            assert_eq!(answer.status(), *status, "{errno}: {target}");
            let text = String::from_utf8_lossy(&answer.body);
            assert!(*status != 503 || text.contains(words), "{target}: {text}");
        }
        medium.recovers();
        settles(host, "/readyz", 200);
        assert_eq!(raw::get(host, "/v2/none/manifests/1").status(), 404);
        let list = raw::get(host, "/v2/_catalog").json();
        assert_eq!(list["repositories"], json!(["x/app1", "x/app2", "x/app3"]));
    }
    // A folder of which one archive cannot be read.
    drop(server);
    let server = Server::start(&sandbox, &["m/all"]);
    let host = server.address();
    medium.fails_at(Errno::IO.raw_os_error(), "2.tar");
    settles(host, "/v2/_catalog", 503);
    assert_eq!(raw::get(host, "/v2/x/app3/manifests/1").status(), 200);
    assert_eq!(raw::get(host, "/v2/x/app2/manifests/1").status(), 503);
}

#[test]
fn a_mirror_of_a_server_whose_medium_fails_keeps_what_it_has() {
    let Some((sandbox, medium)) = mounted() else { return };
    let server = Server::start(&sandbox, &["m/all"]);
    let (from, mirror) = (server.address(), "mirror");
    let list = format!("{from}/*");
    let sync = ["sync", "registry-to-dir", "--retry-times", "0", "--delete", "--yes", &list];
    let sync = [&sync[..], &[mirror]].concat();
    sandbox.run(&sync).ok();
    let before = names(&sandbox, mirror);
    assert_eq!(before.len(), 3);
    medium.fails(Errno::IO.raw_os_error());
    settles(from, "/readyz", 503);
    let ran = sandbox.run(&sync);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_eq!(names(&sandbox, mirror), before);
    let ran = sandbox.run(&["digest", "--retry-times", "0", &format!("{from}/x/app1:1")]);
    assert_eq!(ran.code, 5, "not known is not missing: {}", ran.stderr);
}
