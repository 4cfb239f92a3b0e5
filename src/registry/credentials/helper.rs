//! Credential helpers: `docker-credential-<name>`, used over standard input and output.
//!
//! They are the only programs this library starts (no shell, no arguments but the action), found in the
//! `PATH` of the settings. Protocol: docker/docker-credential-helpers.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::registry::settings::{Secret, Settings};

/// How long a helper may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes read of an answer.
const MAX_ANSWER: u64 = 1 << 20;

/// What a helper prints when it knows nothing of a host.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The program of a helper's name.
pub(super) fn program(name: &str) -> String {
    format!("docker-credential-{}", crate::text::escape(name))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks a helper for a user and a secret; `None` when it knows none.
///
/// # Errors
/// `Denied` when it is missing, fails, takes more than 30 s or talks nonsense.
pub(super) fn get(settings: &Settings, name: &str, key: &str) -> Result<Option<(String, Secret)>> {
    let Done { ok, out, err } = run(settings, name, "get", key.as_bytes(), PATIENCE)?;
    if !ok {
        let said = [&out, &err].map(|t| String::from_utf8_lossy(t).trim().to_owned());
        if said.iter().any(|text| text.contains(NOT_FOUND)) {
            return Ok(None);
        }
        // Of what it printed only its errors are shown: a secret may be among the rest.
        let why = if said[1].is_empty() { &said[0] } else { &said[1] };
        let why = why.lines().next().unwrap_or_default();
        return Err(denied(name, &format!("failed: {}", crate::text::escape(why))));
    }
    let answer: Answer =
        serde_json::from_slice(&out).map_err(|_| denied(name, "gave no valid answer"))?;
    if answer.username.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some((answer.username, Secret::new(answer.secret))))
}

/// Gives a secret to a helper to keep.
///
/// # Errors
/// As [`get`].
pub(super) fn store(
    settings: &Settings,
    name: &str,
    key: &str,
    user: &str,
    secret: &Secret,
) -> Result<()> {
    let body = serde_json::json!({"ServerURL": key, "Username": user, "Secret": secret.reveal()});
    told(name, run(settings, name, "store", body.to_string().as_bytes(), PATIENCE)?)
}

/// Has a helper forget a secret; one it does not know is no error.
///
/// # Errors
/// As [`get`].
pub(super) fn erase(settings: &Settings, name: &str, key: &str) -> Result<()> {
    told(name, run(settings, name, "erase", key.as_bytes(), PATIENCE)?)
}

fn told(name: &str, done: Done) -> Result<()> {
    let said = [&done.out, &done.err].map(|t| String::from_utf8_lossy(t).trim().to_owned());
    if done.ok || said.iter().any(|text| text.contains(NOT_FOUND)) {
        return Ok(());
    }
    let why = said.iter().find_map(|text| text.lines().next()).unwrap_or_default();
    Err(denied(name, &format!("failed: {}", crate::text::escape(why))))
}

fn denied(name: &str, what: &str) -> Error {
    Error::new(Kind::Denied, format!("the credential helper {} {what}", program(name)))
}

/// What a helper did.
struct Done {
    ok: bool,
    out: Vec<u8>,
    err: Vec<u8>,
}

fn run(
    settings: &Settings,
    name: &str,
    action: &str,
    input: &[u8],
    patience: Duration,
) -> Result<Done> {
    let path = locate(settings, name)?;
    let mut command = Command::new(&path);
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let cannot = |e: &std::io::Error| denied(name, &format!("cannot be run: {}", e.kind()));
    let mut child = command.spawn().map_err(|e| cannot(&e))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // The pipes are served by threads that outlive a helper which hangs: they end with its pipes.
    let input = input.to_vec();
    std::thread::spawn(move || {
        // A helper need not read what it does not want.
        let _ = stdin.map(|mut pipe| pipe.write_all(&input));
    });
    let out = collect(stdout);
    let err = collect(stderr);
    let deadline = Instant::now() + patience;
    let Some(ok) = wait(&mut child, deadline).map_err(|e| cannot(&e))? else {
        // It is ours and still runs; whether it could be stopped changes nothing.
        let _ = child.kill();
        let _ = child.wait();
        let what = format!("did not answer within {} s", patience.as_secs());
        return Err(denied(name, &what));
    };
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let out = out.recv_timeout(left()).unwrap_or_default();
    let err = err.recv_timeout(left()).unwrap_or_default();
    Ok(Done { ok, out, err })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // Half an answer is no JSON and is refused as such.
            let _ = pipe.take(MAX_ANSWER).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Whether it succeeded, or `None` when it still runs at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<bool>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The program of a helper. A name from a file never becomes a path.
fn locate(settings: &Settings, name: &str) -> Result<PathBuf> {
    let sound = !name.is_empty() && !name.contains(['/', '\0']);
    if !sound {
        return Err(denied(name, "has an invalid name"));
    }
    let file = format!("docker-credential-{name}");
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let path = settings.variable("PATH").unwrap_or_default();
    // A relative directory would make the answer depend on where the command is run.
    let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
    dirs.map(|dir| Path::new(dir).join(&file))
        .find(|path| runs(path))
        .ok_or_else(|| denied(name, "is not in PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with one helper that is this shell script, and settings that find it.
    fn helper(script: &str) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-t");
        // Written by another process: a file that this one has open while another test forks cannot
        // be run at that moment.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let mut shell = Command::new("sh");
        assert!(shell.args(["-c", write]).arg(&path).arg(script).status().unwrap().success());
        let mut settings = Settings::default();
        settings.variables.insert("PATH".into(), format!("{}:/bin", dir.path().display()));
        (dir, settings)
    }

    #[test]
    fn an_answer_is_a_user_and_a_secret_or_nothing() {
        for (script, want) in [
            (
                r#"read k; echo "{\"ServerURL\":\"$k\",\"Username\":\"$k\",\"Secret\":\"s\"}""#,
                Some("h:1"),
            ),
            ("echo credentials not found in native keychain; exit 1", None),
            ("echo 'error: credentials not found in native keychain' >&2; exit 1", None),
            (r#"echo '{"ServerURL":"","Username":"","Secret":""}'"#, None),
            // One that does not read its input.
            (r#"echo '{"Username":"u","Secret":"s"}'"#, Some("u")),
        ] {
            let (_dir, settings) = helper(script);
            let answer = get(&settings, "t", "h:1").unwrap();
            assert_eq!(answer.as_ref().map(|(user, _)| user.as_str()), want, "{script}");
        }
    }

    #[test]
    fn a_helper_that_fails_is_denied_and_says_why() {
        for (script, want) in [
            ("echo keychain is locked; exit 1", "failed: keychain is locked"),
            ("echo out; echo 'no bus' >&2; exit 3", "failed: no bus"),
            ("echo hunter2-CANARY", "gave no valid answer"),
        ] {
            let (_dir, settings) = helper(script);
            let error = get(&settings, "t", "h").unwrap_err();
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.to_string().ends_with(want), "{error}");
        }
    }

    #[test]
    fn a_helper_that_is_not_there_is_denied() {
        let (_dir, settings) = helper("");
        for name in ["absent", "", "../t", "a/b"] {
            let error = get(&settings, name, "h").unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{name}");
        }
        let error = get(&Settings::default(), "t", "h").unwrap_err();
        assert!(error.to_string().contains("docker-credential-t is not in PATH"), "{error}");
    }

    #[test]
    fn a_helper_that_hangs_is_stopped() {
        let (_dir, settings) = helper("exec sleep 60");
        let began = Instant::now();
        let error = run(&settings, "t", "get", b"h", Duration::from_millis(200)).err().unwrap();
        assert!(error.to_string().contains("did not answer within"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_secret_is_handed_over_on_standard_input() {
        let (dir, settings) =
            helper(r#"echo "$@" > "$(dirname "$0")/args"; cat > "$(dirname "$0")/in""#);
        store(&settings, "t", "h:1", "u", &Secret::new("p\"w")).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("args"), "store\n");
        let body: serde_json::Value = serde_json::from_str(&read("in")).unwrap();
        let want = serde_json::json!({"ServerURL": "h:1", "Username": "u", "Secret": "p\"w"});
        assert_eq!(body, want);
        erase(&settings, "t", "h:1").unwrap();
        assert_eq!((read("args").as_str(), read("in").as_str()), ("erase\n", "h:1"));
    }
}
