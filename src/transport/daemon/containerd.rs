//! containerd, by `ctr` or `k3s ctr`: what to call, and what it lists.
//!
//! It reads no archive.

use std::collections::{BTreeSet, HashSet};
use std::io::{Cursor, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::context::Context;
use crate::digest::Digest;
use crate::error::{Cause, Kind, Result};
use crate::io::look;
use crate::manifest::Document;
use crate::media_type::{MediaType, Role};
use crate::transport::daemon::command::{ChildInput, CommandLine, strings};
use crate::transport::daemon::engine::{Engine, Engines, full};
use crate::transport::daemon::words;

const SOCKET: &str = "/run/containerd/containerd.sock";
const K3S_SOCKET: &str = "/run/k3s/containerd/containerd.sock";
const NAMESPACE: &str = "default";
const LOCAL: &str = "--local";

/// A call of `ctr`, once it is known that something listens at the socket: `ctr` itself would try for
/// ten seconds.
fn call(engines: &Engines, verb: &'static str, words: &[String]) -> Result<CommandLine> {
    let given = engines.containerd_address.as_deref();
    // Where it cannot be told whether it is there, connecting says why.
    let there = |path| look::exists(Path::new(path)).unwrap_or(true);
    let usual = || if there(SOCKET) { SOCKET } else { K3S_SOCKET };
    let address = given.unwrap_or_else(usual);
    let path = address.strip_prefix("unix://").unwrap_or(address);
    UnixStream::connect(path).map_err(|e| {
        let shown = given.map_or(SOCKET, |_| path);
        words::closed(Engine::Containerd, shown, &e)
    })?;
    let namespace = engines.containerd_namespace.as_deref().unwrap_or(NAMESPACE);
    let mut all = strings(&["--address", path, "--namespace", namespace]);
    all.extend_from_slice(words);
    Ok(CommandLine::new("ctr", verb, &all).or("k3s", &["ctr"]))
}

/// Every named image. The Kubernetes side of containerd lists each also by its ID and digest.
pub(super) fn names(engines: &Engines, ctx: &Context) -> Result<Vec<String>> {
    let words = strings(&["images", "ls", "--quiet"]);
    let listed = call(engines, "images ls", &words)?.text(ctx)?;
    let named = |name: &&str| !name.is_empty() && !name.contains('@') && !is_id(name);
    Ok(listed.lines().map(str::trim).filter(named).map(str::to_owned).collect())
}

fn is_id(name: &str) -> bool {
    name.starts_with("sha256:")
}

/// An archive of images, of all their platforms that are there.
pub(super) fn export(
    names: &[String],
    engines: &Engines,
    ctx: &Context,
) -> Result<Box<dyn Read + Send>> {
    let names: Vec<String> = names.iter().map(|name| full(name)).collect();
    // Where `ctr` may leave the export to containerd, it may also end before it has passed on the last of it.
    let help =
        call(engines, "images export", &strings(&["images", "export", "--help"]))?.text(ctx)?;
    let itself = help.contains(LOCAL).then_some(LOCAL);
    let open = |options: &[String]| {
        // Docker's table would need an image for containerd's own machine.
        let mut words = strings(&["images", "export", "--skip-manifest-json"]);
        words.extend(itself.map(str::to_owned));
        words.extend_from_slice(options);
        words.push("-".into());
        words.extend_from_slice(&names);
        begun(call(engines, "images export", &words)?.reading(ctx)?)
    };
    let every = "--all-platforms".to_owned();
    let refused = match open(std::slice::from_ref(&every)) {
        Err(e) if e.kind() == Kind::Missing && e.cause() == Cause::NotAllPlatforms => e,
        done => return done,
    };
    let held = held(&names, engines, ctx)?;
    if held.platforms.is_empty() {
        return Err(refused);
    }
    let chosen = held.platforms.iter().flat_map(|p| ["--platform".to_owned(), p.clone()]);
    if held.all {
        return open(&[every].into_iter().chain(chosen).collect::<Vec<_>>());
    }
    let from = open(&chosen.collect::<Vec<_>>())?;
    let taken = held.platforms.join(", ");
    ctx.warn(&format!("containerd has only some of its platforms; copying these: {taken}"));
    Ok(from)
}

/// The platforms of indexes that can be asked for.
struct ExportablePlatforms {
    /// Those that no index lists without containerd having their manifests.
    platforms: Vec<String>,
    /// Whether containerd has all manifests of all indexes.
    all: bool,
}

fn held(names: &[String], engines: &Engines, ctx: &Context) -> Result<ExportablePlatforms> {
    let filters = names.iter().map(|name| format!("name=={name}"));
    let words: Vec<String> = strings(&["images", "ls"]).into_iter().chain(filters).collect();
    let images = call(engines, "images ls", &words)?.text(ctx)?;
    let content =
        call(engines, "content ls", &strings(&["content", "ls", "--quiet"]))?.text(ctx)?;
    let there: HashSet<&str> = content.lines().map(str::trim).collect();
    let mut next: Vec<(Digest, MediaType)> = images.lines().filter_map(listed).collect();
    let (mut seen, mut found, mut lacking) = (HashSet::new(), BTreeSet::new(), BTreeSet::new());
    while let Some((digest, media_type)) = next.pop() {
        if media_type.role() != Role::Index || !seen.insert(digest) {
            continue;
        }
        let words = strings(&["content", "get", &digest.to_string()]);
        let index = call(engines, "content get", &words)?.text(ctx)?;
        for child in Document::parse(index.as_bytes(), &media_type)?.children() {
            let platform = child.platform().map(|p| p.to_string());
            if there.contains(child.digest.to_string().as_str()) {
                found.extend(platform);
                next.push((child.digest, child.media_type.clone()));
            } else {
                lacking.insert(platform);
            }
        }
    }
    let platforms = found.into_iter().filter(|p| !lacking.contains(&Some(p.clone()))).collect();
    Ok(ExportablePlatforms { platforms, all: lacking.is_empty() })
}

/// Digest and media type of a line of `ctr images ls`: name, type, digest and more. Not of its heading.
fn listed(line: &str) -> Option<(Digest, MediaType)> {
    let mut columns = line.split_whitespace().skip(1);
    let media_type = MediaType::from(columns.next()?);
    Some((columns.next()?.parse().ok()?, media_type))
}

/// A reader whose first bytes have come, so that a failure without any is known.
fn begun(mut from: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>> {
    let mut first = vec![0; 512];
    let count = from.read(&mut first)?;
    first.truncate(count);
    Ok(Box::new(Cursor::new(first).chain(from)))
}

/// Takes an archive. Its layers are unpacked when a container first needs them: `ctr` can unpack only
/// images for its own machine, and says so when the import is already done.
pub(super) fn import(engines: &Engines, ctx: &Context) -> Result<ChildInput> {
    let words = strings(&["images", "import", "--all-platforms", "--no-unpack", "-"]);
    call(engines, "images import", &words)?.writing(ctx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_gives_digest_and_type_and_the_heading_nothing() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let index = "application/vnd.oci.image.index.v1+json";
        let line = format!("docker.io/fx/a:1 {index} {digest} 519.0 B linux/s390x - ");
        let (found, media_type) = listed(&line).unwrap();
        assert_eq!((found.to_string(), media_type.as_str()), (digest, index));
        for line in ["REF TYPE DIGEST SIZE PLATFORMS LABELS", "", "a b"] {
            assert!(listed(line).is_none(), "{line:?}");
        }
    }
}
