//! `login` and `logout`: what is asked of the registry, what is written where, what is never shown.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::Sandbox;
use serde_json::{Value, json};

/// `alice:s3cret`, as a request's header has it.
const GOOD: &str = "YWxpY2U6czNjcmV0";

/// A registry that knows alice; its `host:port`. It serves until the test ends.
fn registry() -> String {
    server(|known| match known {
        true => "200 OK\r\nContent-Length: 0\r\n\r\n",
        false => {
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n"
        }
    })
}

/// A server of plain http with an answer for whoever is alice, and for everybody else.
fn server(answer: fn(bool) -> &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match socket.read(&mut byte) {
                        // TLS is answered as a server of plain http does.
                        Ok(1) if !head.is_empty() || byte[0].is_ascii_alphabetic() => {
                            head.push(byte[0])
                        }
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).to_string();
                let known = head.contains(&format!("Basic {GOOD}\r\n"));
                let rest = match head.is_empty() {
                    true => "400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                    false => answer(known),
                };
                let rest = rest.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                let _ = socket.write_all(format!("HTTP/1.1 {rest}").as_bytes());
            });
        }
    });
    format!("127.0.0.1:{port}")
}

fn read(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path(name)).unwrap()).unwrap()
}

fn mode(sandbox: &Sandbox, name: &str) -> u32 {
    std::fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777
}

/// A helper that keeps what it is given in `kept`, and knows it again.
fn helper(sandbox: &Sandbox) -> String {
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat > kept;;\nerase) rm kept;;\nget) cat kept 2>/dev/null || { echo credentials not found in native keychain; exit 1; };;\nesac\n";
    sandbox.write("bin/text", script.as_bytes());
    // Copied by another process: one that this process holds open for writing cannot be run.
    let (from, to) = (sandbox.path("bin/text"), sandbox.path("bin/docker-credential-test"));
    let copied = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(copied.unwrap().success());
    format!("{}:{}", sandbox.text("bin"), std::env::var("PATH").unwrap_or_default())
}

/// Runs with a password on standard input and changes to the environment.
fn feed(sandbox: &Sandbox, args: &[&str], variables: &[(&str, &str)], input: &str) -> common::Ran {
    let mut command = sandbox.command(args);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    common::Ran {
        code: out.status.code().unwrap_or(-1),
        stdout: out.stdout,
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        line: args.join(" "),
    }
}

#[test]
fn a_login_is_tried_and_then_kept_for_docker_and_podman() {
    let sandbox = Sandbox::new();
    let host = registry();
    sandbox.write(".docker/config.json", br#"{"psFormat":"x","auths":{"k":{"auth":"eDp5"}}}"#);
    let args = ["login", "-u", "alice", "--password-stdin", &host];
    let ran = feed(&sandbox, &args, &[], "s3cret\n").ok();
    assert_eq!(ran.out(), "Login Succeeded\n");
    assert_eq!(
        read(&sandbox, ".docker/config.json"),
        json!({"psFormat": "x", "auths": {"k": {"auth": "eDp5"}, host.as_str(): {"auth": GOOD}}})
    );
    assert_eq!(mode(&sandbox, ".docker/config.json"), 0o600);
    // Without a user the login that is known is tried once more.
    let ran = sandbox.run(&["login", &host]).ok().says("Authenticating with existing credentials");
    assert_eq!(ran.out(), "Login Succeeded\n");
    let ran = sandbox.run(&["login", "--get-login", &host]).ok();
    assert_eq!(ran.out(), "alice\n");
    let ran = sandbox.run(&["logout", &host]).ok();
    assert_eq!(ran.out(), format!("Removing login credentials for {host}\n"));
    let ran = sandbox.run(&["logout", &host]).ok();
    assert_eq!(ran.out(), format!("Not logged in to {host}\n"));
    assert_eq!(
        read(&sandbox, ".docker/config.json"),
        json!({"psFormat": "x", "auths": {"k": {"auth": "eDp5"}}})
    );
    sandbox.run(&["login", "--get-login", &host]).code(4).says("not logged in");
}

#[test]
fn a_wrong_password_is_denied_and_not_kept() {
    let sandbox = Sandbox::new();
    let host = registry();
    let args = ["-vv", "login", "-u", "alice", "--password-stdin", &host];
    let ran = feed(&sandbox, &args, &[], "hunter2-CANARY").code(5).says(&host);
    assert!(!ran.stderr.contains("hunter2") && !ran.out().contains("hunter2"), "{}", ran.stderr);
    assert!(!sandbox.path(".docker").exists());
}

#[test]
fn a_web_page_is_no_registry() {
    let sandbox = Sandbox::new();
    for page in [
        |_| "200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\nSign in",
        |_| "200 OK\r\nContent-Length: 15\r\n\r\n<!DOCTYPE html>",
    ] {
        let args = ["login", "-u", "alice", "--password-stdin", &server(page)];
        feed(&sandbox, &args, &[], "s3cret").code(3).says("not a registry");
    }
    assert!(!sandbox.path(".docker").exists());
}

#[test]
fn a_login_goes_to_the_file_that_is_named_or_to_dockers_helper() {
    let sandbox = Sandbox::new();
    let host = registry();
    let login = ["login", "-u", "alice", "--password-stdin", &host];
    let want = json!({"auths": {host.as_str(): {"auth": GOOD}}});
    feed(&sandbox, &[&login[..], &["--authfile", "a/auth.json"]].concat(), &[], "s3cret").ok();
    assert_eq!(read(&sandbox, "a/auth.json"), want);
    assert_eq!((mode(&sandbox, "a"), mode(&sandbox, "a/auth.json")), (0o700, 0o600));
    feed(&sandbox, &login, &[("REGISTRY_AUTH_FILE", "b.json")], "s3cret\r\n").ok();
    assert_eq!(read(&sandbox, "b.json"), want);
    assert!(!sandbox.path(".docker").exists());

    let path = helper(&sandbox);
    sandbox.write("dc/config.json", br#"{"credsStore":"test"}"#);
    let variables = [("DOCKER_CONFIG", "dc"), ("PATH", path.as_str())];
    feed(&sandbox, &login, &variables, "s3cret\n").ok();
    assert_eq!(
        read(&sandbox, "bin/kept"),
        json!({"ServerURL": host, "Username": "alice", "Secret": "s3cret"})
    );
    let config = json!({"credsStore": "test", "auths": {host.as_str(): {}}});
    assert_eq!(read(&sandbox, "dc/config.json"), config);
    let ran = feed(&sandbox, &["login", "--get-login", &host], &variables, "").ok();
    assert_eq!(ran.out(), "alice\n");
    feed(&sandbox, &["logout", &host], &variables, "").ok();
    assert!(!sandbox.path("bin/kept").exists());
    assert_eq!(read(&sandbox, "dc/config.json"), json!({"credsStore": "test", "auths": {}}));
}

#[test]
fn a_helper_that_is_missing_ends_it() {
    let sandbox = Sandbox::new();
    sandbox.write(".docker/config.json", br#"{"credsStore":"gone","auths":{"h":{"auth":"eDp5"}}}"#);
    for args in [["login", "--get-login", "h"], ["logout", "h", "-v"]] {
        sandbox.run(&args).code(5).says("docker-credential-gone is not in PATH");
    }
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    let sandbox = Sandbox::new();
    for args in [
        &["login", "-u", "a", "-p", "hunter2-CANARY", "h"][..],
        &["login", "-u", "a", "-phunter2-CANARY", "h"],
        &["login", "-u", "a", "--password", "hunter2-CANARY", "h"],
        &["login", "-u", "a", "--password=hunter2-CANARY", "h"],
    ] {
        let ran = sandbox.run(args).code(2).says("--password-stdin");
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}

#[test]
fn what_is_missing_is_said_where_nobody_can_be_asked() {
    let sandbox = Sandbox::new();
    for (args, input, want) in [
        (&["login", "h"][..], "", "no terminal"),
        (&["login", "-u", "a", "h"], "", "no terminal"),
        (&["login", "--password-stdin", "h"], "x", "--username"),
        (&["login", "-u", "a", "--password-stdin", "h"], "\n", "the password is empty"),
        (
            &["login", "-u", "a:b", "--password-stdin", "h"],
            "x",
            "must not be empty or contain a colon",
        ),
        (&["login", "-u", "a", "--password-stdin", "u:hunter2@h"], "x", "HOST[:PORT]"),
        (&["login", "--get-login", "-u", "a", "h"], "", "cannot be used with"),
    ] {
        let ran = sandbox.feed(args, input.as_bytes()).code(2).says(want);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    assert!(!sandbox.path(".docker").exists());
}

#[test]
fn the_hub_is_called_by_its_old_url() {
    let sandbox = Sandbox::new();
    let auths = json!({"auths": {"https://index.docker.io/v1/": {"auth": GOOD}, "docker.io": {}}});
    sandbox.write(".docker/config.json", auths.to_string().as_bytes());
    assert_eq!(sandbox.run(&["login", "--get-login"]).ok().out(), "alice\n");
    let ran = sandbox.run(&["logout"]).ok();
    assert_eq!(ran.out(), "Removing login credentials for https://index.docker.io/v1/\n");
    assert_eq!(read(&sandbox, ".docker/config.json"), json!({"auths": {}}));
    assert_eq!(
        sandbox.run(&["logout"]).ok().out(),
        "Not logged in to https://index.docker.io/v1/\n"
    );
}

#[test]
fn logout_forgets_what_podman_kept_too() {
    let sandbox = Sandbox::new();
    let one = json!({"auths": {"h:1": {"auth": GOOD}}}).to_string();
    sandbox.write("run/containers/auth.json", one.as_bytes());
    sandbox.write(".docker/config.json", one.as_bytes());
    let run = sandbox.text("run");
    let ran = feed(&sandbox, &["logout", "h:1"], &[("XDG_RUNTIME_DIR", &run)], "").ok();
    assert_eq!(ran.out(), "Removing login credentials for h:1\n");
    for file in ["run/containers/auth.json", ".docker/config.json"] {
        assert_eq!(read(&sandbox, file), json!({"auths": {}}), "{file}");
    }
}

#[test]
fn a_file_that_all_may_read_is_warned_of() {
    let sandbox = Sandbox::new();
    let file = json!({"auths": {"h": {"auth": GOOD}}}).to_string();
    let path = sandbox.write("auth.json", file.as_bytes());
    let who = ["login", "--get-login", "--authfile", &path, "h"];
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.run(&who).ok().says("is readable by every user");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(sandbox.run(&who).ok().stderr, "");
}

#[test]
fn what_is_no_file_of_credentials_is_refused_and_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write(".docker/config.json", b"{\"auths\": hunter2");
    let ran = sandbox.run(&["logout", "h"]).code(3).says("is not valid JSON");
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    assert_eq!(std::fs::read(sandbox.path(".docker/config.json")).unwrap(), b"{\"auths\": hunter2");
}
