//! What to type next, for errors where that is known.

use imgpack::reference::Reference;
use imgpack::{Cause, Error, Kind};
use rustix::io::Errno;

/// A hint for an error.
pub(crate) fn of(error: &Error) -> Option<String> {
    let input = error.subject().unwrap_or("FILE");
    let name = || input.parse::<Reference>().ok();
    Some(match error.cause() {
        Cause::TooManyEntries => "if the place really is that large, raise --max-images".into(),
        Cause::FileExists => "write another file, or overwrite it with --force".into(),
        Cause::SameName => {
            "keep their registries apart with --scoped, or rename with --map FROM=TO".into()
        }
        Cause::TwoTables => "choose one table with --prefer docker or --prefer oci".into(),
        Cause::BadName if error.kind() == Kind::Malformed => {
            "load the image without its name: --ignore-bad-tags".into()
        }
        Cause::SparseMember => {
            format!("image archives have none; for a root file system: imgpack import {input} NAME")
        }
        Cause::RootFilesystem if input == "standard input" => "imgpack import - NAME".into(),
        Cause::RootFilesystem => format!("imgpack import {input} NAME"),
        Cause::Empty => {
            "expected an image archive, an OCI layout, a dir: directory or a registry's storage"
                .into()
        }
        Cause::Truncated if error.kind() == Kind::Malformed => {
            "the end is missing: copy or export it again".into()
        }
        Cause::NoTar => "this is not a tar archive, plain or compressed".into(),
        Cause::BadHeader => "the archive is damaged: copy or export it again".into(),
        Cause::Absent if error.kind() == Kind::Malformed => damage(error.subject()?),
        Cause::DockerDenied => {
            "run it as root, or as a member of the socket's group (docker)".into()
        }
        Cause::ContainerdDenied => "run it as root".into(),
        Cause::NoDocker => {
            "start docker, or give its address: --docker-host unix:///PATH".into()
        }
        Cause::NoContainerd => {
            "start containerd, or give its address: --containerd-address PATH".into()
        }
        Cause::NotInRegistry => {
            format!("list its tags with: imgpack tags {}", name()?.familiar_repository())
        }
        Cause::NoSuchRepository => {
            format!("look for it with: imgpack search {}/", name()?.domain())
        }
        Cause::NoSuchImage => "list what is there with: imgpack images".into(),
        Cause::NotTheStore if input.contains(':') => format!("list it with: imgpack ls {input}"),
        Cause::NotTheStore => format!("list it with: imgpack ls {input}:"),
        Cause::EmptyStore => "fill it with: imgpack load -i FILE".into(),
        Cause::NoSuchList => {
            "-f takes a file with one name per line; for a single name: imgpack sync MODE NAME DST"
                .into()
        }
        Cause::NoSuchFile => unfound(input)?,
        Cause::UnclearTarget => {
            let image = input.strip_prefix("docker:")?;
            format!("write a registry as docker://{image}")
        }
        Cause::NoCredentials => format!("log in with: imgpack login {}", host_of(input)),
        Cause::TooManyRequests => {
            format!("users with an account may pull more: imgpack login {}", host_of(input))
        }
        Cause::Https => {
            "leave out --plain-http, or limit it to one registry: --insecure-registry HOST".into()
        }
        Cause::PlainHttp => "to allow it: --plain-http, or --insecure-registry HOST".into(),
        Cause::Untrusted => format!(
            "trust its authority with --ca-cert FILE, or as /etc/containers/certs.d/{}/ca.crt",
            host_of(input)
        ),
        Cause::WantsCertificate => "present one: --client-cert FILE --client-key FILE".into(),
        Cause::DeletesNoTags => {
            "to delete the image with all its tags: imgpack delete NAME@DIGEST (from imgpack digest NAME)"
                .into()
        }
        Cause::SourceShrank => {
            "check the source; if it is meant to be that small: --delete-most".into()
        }
        Cause::NotAllPlatforms if error.kind() == Kind::Policy => {
            "for example: --platform linux/amd64".into()
        }
        Cause::UnknownHost | Cause::Refused => return None,
        _ => return of_kind(error),
    })
}

/// A hint for an error whose kind says enough.
fn of_kind(error: &Error) -> Option<String> {
    let system = error.os_error().map(Errno::from_raw_os_error);
    Some(match (error.kind(), system) {
        (Kind::Corrupt, _) => damage(error.subject()?),
        (Kind::Unreachable, _) => {
            "run it again to continue; what was transferred is kept where possible".into()
        }
        (Kind::Busy, _) => "wait longer with --wait SECONDS".into(),
        (Kind::Io, Some(Errno::NOSPC)) => {
            "free some space, or write elsewhere (scratch files: --tmpdir DIR), then run it again"
                .into()
        }
        (Kind::Io, Some(Errno::FBIG)) => {
            "the file system or a limit does not allow files this large".into()
        }
        _ => return None,
    })
}

/// What may have been meant by a path at which there is nothing.
fn unfound(input: &str) -> Option<String> {
    match input.split_once(':') {
        Some(("docker", image)) => Some(format!("write a registry as docker://{image}")),
        None if input.contains(['/', '.']) => None,
        _ => Some(format!(
            "write an image of the store as store:{input}, one of a registry as docker://{input}"
        )),
    }
}

/// The registry that an error concerns, from a name or the host itself.
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
                    "imgpack stores and converts images; it does not build or run them".into()
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
