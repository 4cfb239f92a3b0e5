//! containerd, by `ctr` or `k3s ctr`: what to call, and what it lists.
//!
//! It reads no archive.

use std::io::{Cursor, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::context::Context;
use crate::error::{Kind, Result};
use crate::transport::daemon::command::{Call, Input, strings};
use crate::transport::daemon::{Engines, full, words};

const SOCKET: &str = "/run/containerd/containerd.sock";
const K3S_SOCKET: &str = "/run/k3s/containerd/containerd.sock";
const NAMESPACE: &str = "default";

/// A call of `ctr`, once it is known that something listens at the socket: `ctr` itself would try for
/// ten seconds.
fn call(engines: &Engines, verb: &'static str, words: &[String]) -> Result<Call> {
    let given = engines.containerd_address.as_deref();
    let usual = || if Path::new(SOCKET).exists() { SOCKET } else { K3S_SOCKET };
    let address = given.unwrap_or_else(usual);
    let path = address.strip_prefix("unix://").unwrap_or(address);
    UnixStream::connect(path).map_err(|e| {
        let shown = given.map_or(SOCKET, |_| path);
        words::closed("containerd", shown, &e)
    })?;
    let namespace = engines.containerd_namespace.as_deref().unwrap_or(NAMESPACE);
    let mut all = strings(&["--address", path, "--namespace", namespace]);
    all.extend_from_slice(words);
    Ok(Call::new("ctr", verb, &all).or("k3s", &["ctr"]))
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

/// An archive of images, of all their platforms.
pub(super) fn export(
    names: &[String],
    engines: &Engines,
    ctx: &Context,
) -> Result<Box<dyn Read + Send>> {
    let names: Vec<String> = names.iter().map(|name| full(name)).collect();
    let open = |options: &[&str]| {
        // Docker's table would need an image for containerd's own machine.
        let mut words = strings(&["images", "export", "--skip-manifest-json"]);
        words.extend(strings(options));
        words.push("-".into());
        words.extend_from_slice(&names);
        begun(call(engines, "images export", &words)?.reading(ctx)?)
    };
    match open(&["--all-platforms"]) {
        // A pull for one platform leaves the others out; what is there is still wanted.
        Err(e) if e.kind() == Kind::Missing && e.what().contains("digest sha256:") => {
            let from = open(&[])?;
            ctx.warn("containerd lacks some platforms of it; the one of its machine is taken");
            Ok(from)
        }
        done => done,
    }
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
pub(super) fn import(engines: &Engines, ctx: &Context) -> Result<Input> {
    let words = strings(&["images", "import", "--all-platforms", "--no-unpack", "-"]);
    call(engines, "images import", &words)?.writing(ctx)
}
