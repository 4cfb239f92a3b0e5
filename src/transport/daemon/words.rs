//! Error output of engines: its essential line, and the kind of failure.
//!
//! It starts nothing and connects to nothing; it only reads text.

use crate::error::{Cause, Error, Kind};
use crate::transport::daemon::engine::Engine;

/// Longest text of an engine in a message, in characters.
const LIMIT: usize = 600;

/// What words of an engine mean, in lower case, the first that fits.
const MEANINGS: [(&str, Kind); 17] = [
    ("permission denied", Kind::Denied),
    ("access denied", Kind::Denied),
    ("operation not permitted", Kind::Denied),
    ("no such image", Kind::Missing),
    ("image not known", Kind::Missing),
    ("unable to find", Kind::Missing),
    ("reference does not exist", Kind::Missing),
    ("no space left", Kind::Io),
    ("failed to dial", Kind::Unreachable),
    ("error while dialing", Kind::Unreachable),
    ("connection refused", Kind::Unreachable),
    ("transport is closing", Kind::Unreachable),
    ("connection reset", Kind::Unreachable),
    ("code = unavailable", Kind::Unreachable),
    ("unable to connect", Kind::Unreachable),
    ("cannot connect", Kind::Unreachable),
    (": not found", Kind::Missing),
];

/// What `ctr` says when it is about platforms: those that a pull left out; and an index without one of
/// this machine, which since 1.7 it gives, even whole, only to who names one of its platforms.
const PLATFORMS: [&str; 2] = ["digest sha256:", "no manifest found for platform"];

/// The error that an engine's words describe; `otherwise` is said of one that said nothing.
pub(super) fn error(said: &str, otherwise: &str) -> Error {
    let line = Some(one_line(said)).filter(|line| !line.is_empty());
    let line = line.unwrap_or_else(|| otherwise.to_owned());
    let lower = line.to_lowercase();
    let meaning = MEANINGS.iter().find(|(words, _)| lower.contains(words));
    let platforms = PLATFORMS.iter().any(|words| lower.contains(words));
    let cause = if platforms { Cause::NotAllPlatforms } else { Cause::Plain };
    Error::new(meaning.map_or(Kind::Other, |(_, kind)| *kind), line).because(cause)
}

/// The error of a connection to an engine that did not come about.
pub(super) fn closed(engine: Engine, at: &str, error: &std::io::Error) -> Error {
    let (name, absent, denied) = match engine {
        Engine::Containerd => ("containerd", Cause::NoContainerd, Cause::ContainerdDenied),
        Engine::Docker | Engine::Podman => ("engine", Cause::NoDocker, Cause::DockerDenied),
    };
    let failed = Error::from_io(error).kind_as(Kind::Unreachable);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            failed.kind_as(Kind::Denied).because(denied).context(at)
        }
        // Without an error of the system, something answered, but not an engine.
        _ if error.raw_os_error().is_none() => failed.context(at),
        _ => failed.because(absent).context(format!("no {name} at {at}")),
    }
}

/// Several lines as one: without log lines of lesser weight, `Error:` before it, and repetitions.
pub(super) fn one_line(said: &str) -> String {
    let all = || said.lines().map(str::trim).filter(|l| !l.is_empty());
    let weighty = |line: &&str| !line.starts_with("time=") || line.contains("level=error");
    let mut lines: Vec<&str> = all().filter(weighty).collect();
    if lines.is_empty() {
        lines = all().collect();
    }
    lines.dedup();
    let text = lines.join("; ");
    let text = ["Error:", "ctr:", "Error response from daemon:"]
        .iter()
        .fold(text.as_str(), |text, prefix| text.strip_prefix(prefix).unwrap_or(text).trim());
    let mut chars = text.chars();
    let lowered: String = match chars.next() {
        // Names stay as they are: only a sentence's first letter is made small.
        Some(first) if chars.clone().next().is_some_and(|c| c.is_lowercase() || c == ' ') => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    };
    match lowered.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &lowered[..end]),
        None => lowered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_words_become_one_line_of_a_kind() {
        for (said, line, kind) in [
            ("No such image: x:1", "no such image: x:1", Kind::Missing),
            ("Error: x:1: image not known\n", "x:1: image not known", Kind::Missing),
            (
                "ctr: failed to dial \"/x.sock\": context deadline exceeded",
                "failed to dial \"/x.sock\": context deadline exceeded",
                Kind::Unreachable,
            ),
            (
                "time=\"1\" level=warning msg=\"cgroups v1\"\nError: payload is nothing:\n * oci: bad\n",
                "payload is nothing:; * oci: bad",
                Kind::Other,
            ),
            ("write /x: no space left on device", "write /x: no space left on device", Kind::Io),
            ("", "exit code 1", Kind::Other),
        ] {
            let error = error(said, "exit code 1");
            assert_eq!((error.what(), error.kind()), (line, kind), "{said}");
        }
        assert!(one_line(&"x".repeat(5000)).chars().count() < 700);
    }
}
