//! What to type next, for errors where that is known.

use imgpack::reference::Reference;
use imgpack::{Error, Kind};

/// The schemes of engines, which have their own lists of images.
const ENGINES: [&str; 3] = ["docker-daemon", "podman", "containerd"];

/// A hint for an error.
pub(crate) fn of(error: &Error) -> Option<String> {
    let what = error.what();
    let input = error.subject().unwrap_or("FILE");
    let scheme = input.split(':').next().unwrap_or_default();
    Some(match error.kind() {
        Kind::Conflict if what == "file exists" => {
            "write another file, or overwrite it with --force".into()
        }
        Kind::Conflict if what.starts_with("two images would be called") => {
            "keep their registries apart with --scoped, or rename with --map FROM=TO".into()
        }
        Kind::Malformed if what.contains("disagree") => {
            "choose one table with --prefer docker or --prefer oci".into()
        }
        Kind::Malformed if what.starts_with("invalid reference") => {
            "load the image without its name: --ignore-bad-tags".into()
        }
        Kind::Malformed if what.starts_with("sparse member") => {
            format!("no image archive has any; a root file system: imgpack import {input} NAME")
        }
        Kind::Malformed if what.contains("`import`") && input == "standard input" => {
            "imgpack import - NAME".into()
        }
        Kind::Malformed if what.contains("`import`") => format!("imgpack import {input} NAME"),
        Kind::Malformed if error.is_empty() => {
            "expected an image archive, an OCI layout, a dir: directory or a registry's storage"
                .into()
        }
        Kind::Malformed if what.contains("truncated") => {
            "the end is missing: copy or export it again".into()
        }
        Kind::Malformed if what.starts_with("the checksum of a tar header") => {
            match error.place() {
                Some("offset 0") => "this is no tar archive, plain or compressed".into(),
                _ => "the archive is damaged: copy or export it again".into(),
            }
        }
        Kind::Corrupt if error.subject().is_some() => damage(input),
        Kind::Malformed if error.subject().is_some() && what.ends_with("is missing") => {
            damage(input)
        }
        Kind::Denied if scheme == "docker-daemon" && what.contains("permission denied") => {
            "run it as root, or as a member of the socket's group (docker)".into()
        }
        Kind::Denied if scheme == "containerd" && what.contains("permission denied") => {
            "run it as root".into()
        }
        Kind::Unreachable if scheme == "docker-daemon" && what.starts_with("no engine") => {
            "start docker, or say where it listens: --docker-host unix:///PATH".into()
        }
        Kind::Unreachable if scheme == "containerd" && what.starts_with("no containerd") => {
            "start containerd, or say where it listens: --containerd-address PATH".into()
        }
        Kind::Missing if what.starts_with("no such image") && ENGINES.contains(&scheme) => {
            return None;
        }
        Kind::Missing if what == "no such image in the registry" => {
            match input.parse::<Reference>() {
                Ok(name) => {
                    format!("list its tags with: imgpack tags {}", name.familiar_repository())
                }
                Err(_) => return None,
            }
        }
        Kind::Missing if what.starts_with("no such image") => {
            "list what is there with: imgpack images".into()
        }
        Kind::Missing if what == "the store is empty" => {
            "fill it with: imgpack load -i FILE".into()
        }
        Kind::Missing if what == "no such list of images" => {
            "-f takes a file with one name on a line; a name itself is SRC: imgpack sync MODE NAME DST"
                .into()
        }
        Kind::Missing if what == "no such file or directory" => match input.split_once(':') {
            Some(("docker", image)) => format!("a registry is written: docker://{image}"),
            _ if !input.contains(['/', '.']) || input.contains(':') => {
                format!(
                    "an image of the store is written: store:{input}, one of a registry: docker://{input}"
                )
            }
            _ => return None,
        },
        Kind::Usage if what.starts_with("not clear") && input.starts_with("docker:") => {
            format!("a registry is written: {}", input.replacen("docker:", "docker://", 1))
        }
        Kind::Missing if what.contains("no such repository") => match input.parse::<Reference>() {
            Ok(name) => format!("look for it with: imgpack search {}/", name.domain()),
            Err(_) => return None,
        },
        Kind::Denied if what.contains("authentication") || what.contains("credentials") => {
            format!("log in with: imgpack login {}", host_of(input))
        }
        Kind::Unreachable if what.contains("429 Too Many Requests") => {
            format!("accounts are allowed more: imgpack login {}", host_of(input))
        }
        Kind::Unreachable if what.starts_with("speaks https") => {
            "leave out --plain-http, or name that registry alone: --insecure-registry HOST".into()
        }
        Kind::Unreachable if what.contains("plain http") => {
            "if that is meant: --plain-http, or --insecure-registry HOST".into()
        }
        Kind::Unreachable if what.contains("certificate") => format!(
            "trust its authority with --ca-cert FILE, or as /etc/containers/certs.d/{}/ca.crt",
            host_of(input)
        ),
        Kind::Unreachable if what.contains("unknown host") || what.contains("refused") => {
            return None;
        }
        Kind::Unsupported if what.contains("deletes no tags") => {
            "the image and all its tags: imgpack delete NAME@DIGEST, with what imgpack digest says"
                .into()
        }
        Kind::Unreachable => {
            "what was transferred is kept where that can be: run it again to go on".into()
        }
        Kind::Busy => "wait longer with --wait SECONDS".into(),
        Kind::Io if error.os_error() == Some(28) => {
            "free some space, or write elsewhere (scratch files: --tmpdir DIR), then run it again"
                .into()
        }
        Kind::Io if error.os_error() == Some(27) => {
            "the file system or a limit does not take files this large".into()
        }
        Kind::Policy if what.contains("--platform") => "for example: --platform linux/amd64".into(),
        _ => return None,
    })
}

/// The registry of what an error is about: a name, or the host itself.
fn host_of(input: &str) -> String {
    match input.parse::<Reference>() {
        Ok(name) if input.contains('/') => name.domain().to_owned(),
        _ => input.to_owned(),
    }
}

fn damage(input: &str) -> String {
    format!("list all damage with: imgpack verify {input}; then fetch or export it again")
}

/// A hint for a command line that was not understood.
pub(crate) fn of_usage(error: &clap::Error, typed: &[std::ffi::OsString]) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(imgpack::text::escape(text).into_owned()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = text(ContextKind::InvalidArg)?;
            if typed.iter().any(|w| w == "login") && ["-p", "--password"].contains(&word.as_str()) {
                let what = "a password on the command line can be read by other users";
                return Some(format!("{what}: imgpack login -u USER --password-stdin < FILE"));
            }
            let load = typed.iter().any(|w| w == "load") && !word.starts_with('-');
            load.then(|| format!("imgpack load -i {word}"))
        }
        ErrorKind::InvalidSubcommand => {
            Some(match text(ContextKind::InvalidSubcommand)?.as_str() {
                "run" | "ps" | "exec" | "build" | "create" | "start" | "stop" | "rm" => {
                    "imgpack keeps and converts images; it builds and runs none".into()
                }
                "version" => "imgpack --version".into(),
                "convert" | "cp" => "imgpack copy SRC DST".into(),
                "check" | "validate" => "imgpack verify PLACE".into(),
                "list" | "show" => "imgpack ls PLACE, or: imgpack images".into(),
                _ => return None,
            })
        }
        _ => None,
    }
}
