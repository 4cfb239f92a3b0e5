//! Every hint, by the error that it is for: made through the program, and read from standard error.
//!
//! A hint goes by an error's cause, never by its text. Here it is seen that each cause is still set where
//! its error is made, and that the hint says what to type.

mod common;
mod net;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::image::{Docker, Image, Oci, gzip};
use common::tarball::{self, Tar};
use common::{Ran, Sandbox};
use net::mock::Mock;
use net::profiles::PLAIN;
use net::registry::Registry;
use net::tunnel::Tunnel;
use serde_json::json;

/// Fails unless the run failed and gave exactly this hint; none when it is empty.
#[track_caller]
fn hints(ran: Ran, wanted: &str) {
    let Ran { code, stderr, line, .. } = &ran;
    assert_ne!(*code, 0, "imgpack {line}: {stderr}");
    let given: Vec<&str> = stderr.lines().filter_map(|l| l.strip_prefix("hint: ")).collect();
    let wanted: Vec<&str> = [wanted].into_iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(given, wanted, "imgpack {line}: {stderr}");
}

/// Command lines and their hints, in one sandbox.
#[track_caller]
fn table(sandbox: &Sandbox, rows: &[(&str, &str)]) {
    for (line, hint) in rows {
        let args: Vec<&str> = line.split(' ').collect();
        hints(sandbox.run(&args), hint);
    }
}

/// Runs a command in the sandbox through another program.
fn through(sandbox: &Sandbox, program: &[&str], args: &[&str]) -> Ran {
    let inner = sandbox.command(args);
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(sandbox.root()).stdin(Stdio::null());
    net::run::start(command, &args.join(" ")).wait()
}

/// `app.tar` with `x/app:1`, the same in `layout`, and in the store.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let image = Image::new("a", 2);
    sandbox.write("app.tar", &Docker::one(&image, json!(["x/app:1"])).tar());
    Oci::one(&image, Some("x/app:1")).write(&sandbox.path("layout"));
    sandbox.run(&["load", "-i", "app.tar"]).ok();
    sandbox
}

const SPARSE: &str =
    "image archives have none; for a root file system: imgpack import sparse.tar NAME";
const EMPTY: &str =
    "expected an image archive, an OCI layout, a dir: directory or a registry's storage";
const CUT: &str = "the end is missing: copy or export it again";
const DAMAGED: &str = "list all damage with: imgpack verify";

#[test]
fn archives_that_cannot_be_read() {
    let sandbox = filled();
    let image = Image::new("a", 1);
    let good = Docker::one(&image, json!(["x/app:1"]));
    let tar = good.tar();
    sandbox.write("bad-name.tar", &Docker::one(&image, json!(["x/app:"])).tar());
    sandbox.write("sparse.tar", &sparse());
    let root = Tar::new().dir("etc/").file("etc/hosts", b"127.0.0.1 localhost\n").end();
    sandbox.write("root.tar", &root);
    sandbox.write("cut.tar", &tar[..tar.len() / 2 / 512 * 512 + 100]);
    let packed = gzip(&tar);
    sandbox.write("cut.tar.gz", &packed[..packed.len() / 2]);
    sandbox.write(
        "page.tar",
        "<!DOCTYPE html><html><body>Sign in</body></html>\n".repeat(20).as_bytes(),
    );
    let mut torn = tar.clone();
    let second = 512 + usize::div_ceil(image.layers[0].len(), 512) * 512;
    torn[second + 3] ^= 1;
    sandbox.write("torn.tar", &torn);
    let mut headless = good.clone();
    headless.members.retain(|(name, _)| !name.ends_with(".json"));
    sandbox.write("headless.tar", &headless.tar());
    std::fs::create_dir(sandbox.path("nothing")).unwrap();
    two_tables(&sandbox);
    table(
        &sandbox,
        &[
            ("load -i bad-name.tar", "load the image without its name: --ignore-bad-tags"),
            ("load -i sparse.tar", SPARSE),
            ("load -i root.tar", "imgpack import root.tar NAME"),
            ("load -i cut.tar", CUT),
            ("load -i cut.tar.gz", CUT),
            ("load -i page.tar", "this is not a tar archive, plain or compressed"),
            ("load -i torn.tar", "the archive is damaged: copy or export it again"),
            ("ls nothing", EMPTY),
            ("ls two", "choose one table with --prefer docker or --prefer oci"),
            (
                "load -i headless.tar",
                &format!("{DAMAGED} headless.tar; then fetch or export it again"),
            ),
        ],
    );
    hints(sandbox.feed(&["load"], &root), "imgpack import - NAME");
    // A blob that is not what its name says.
    let blobs = std::fs::read_dir(sandbox.path("layout/blobs/sha256")).unwrap();
    let layer =
        blobs.map(|e| e.unwrap().path()).max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let shown = layer.strip_prefix(sandbox.root()).unwrap().display().to_string();
    let hint = format!("{DAMAGED} {shown}; then fetch or export it again");
    let ran = sandbox.run(&["copy", "layout", "oci:out"]);
    let own = format!("{DAMAGED} layout; then fetch or export it again");
    let said = ran.stderr.contains(&hint) || ran.stderr.contains(&own);
    assert!(said && ran.code == 3, "{}", ran.stderr);
}

/// A member with holes, as GNU tar writes one.
fn sparse() -> Vec<u8> {
    let mut header = tarball::gnu(tarball::header("s", b'S', 512, ""));
    header[386..398].copy_from_slice(b"00000000000\0");
    header[398..410].copy_from_slice(b"00000001000\0");
    header[483..495].copy_from_slice(b"00000010000\0");
    tarball::sum(&mut header);
    let mut tar = header.to_vec();
    tar.extend([7; 512]);
    tar.extend([0; 1024]);
    tar
}

/// A layout whose manifest.json gives another image the same name.
fn two_tables(sandbox: &Sandbox) {
    let (one, other) = (Image::new("a", 1), Image::new("b", 1));
    let mut oci = Oci::one(&one, Some("docker.io/x/app:1"));
    let config = oci.blob("application/json", &other.config);
    let layer = oci.blob("application/json", &other.layers[0]);
    oci.write(&sandbox.path("two"));
    let member = |desc: &serde_json::Value| {
        common::string(&desc["digest"]).replace("sha256:", "blobs/sha256/")
    };
    let item =
        json!([{"Config": member(&config), "RepoTags": ["x/app:1"], "Layers": [member(&layer)]}]);
    sandbox.write("two/manifest.json", item.to_string().as_bytes());
}

#[test]
fn names_and_files_that_are_not_there_or_in_the_way() {
    let sandbox = filled();
    sandbox.write("there.tar", b"");
    let two = Docker::one(&Image::new("a", 1), json!(["a/app:1"]));
    let two = two.and(Docker::named(&Image::new("b", 1), json!(["b/app:1"]), "b/"));
    sandbox.write("two.tar", &two.tar());
    table(
        &sandbox,
        &[
            ("copy app.tar there.tar", "write another file, or overwrite it with --force"),
            (
                "sync archive-to-dir two.tar out --rename x/{name}:{tag}",
                "keep their registries apart with --scoped, or rename with --map FROM=TO",
            ),
            ("rmi nope", "list what is there with: imgpack images"),
            ("inspect nope:2", "list what is there with: imgpack images"),
            ("ls docker:x/app:1", "write a registry as docker://x/app:1"),
            (
                "ls nope:1",
                "write an image of the store as store:nope:1, one of a registry as docker://nope:1",
            ),
            ("ls ./nope", ""),
            ("copy app.tar docker:r.lan/app:1", "write a registry as docker://r.lan/app:1"),
            (
                "sync registry-to-dir -f nope out",
                "-f takes a file with one name per line; for a single name: imgpack sync MODE NAME DST",
            ),
            ("load app.tar", "imgpack load -i app.tar"),
            ("run x", "imgpack stores and converts images; it does not build or run them"),
            ("ls --store empty store:", "fill it with: imgpack load -i FILE"),
        ],
    );
}

#[test]
fn what_the_system_or_another_process_refuses() {
    let sandbox = filled();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = sandbox.command(&["save", "x/app:1"]);
    command.stdout(full).stderr(Stdio::piped());
    let ran = command.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let free =
        "free some space, or write elsewhere (scratch files: --tmpdir DIR), then run it again";
    assert!(said.contains(&format!("\nhint: {free}\n")), "{said}");
    hints(
        through(&sandbox, &["prlimit", "--fsize=1000"], &["save", "-o", "x.tar", "x/app:1"]),
        "the file system or a limit does not allow files this large",
    );
    let line = "flock -x store/blobs sh -c 'echo held; exec sleep 60'";
    let mut holder = Command::new("sh")
        .args(["-c", &format!("exec {line}")])
        .current_dir(sandbox.root())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    hints(
        sandbox.run(&["--wait", "0", "load", "-i", "app.tar"]),
        "wait longer with --wait SECONDS",
    );
    let group = format!("-{}", holder.id());
    let ended = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
    assert!(ended.unwrap().success());
    holder.wait().unwrap();
}

#[test]
fn policies_that_are_not_met() {
    let sandbox = filled();
    let mut sparse = Oci::new();
    let there = sparse.manifest(&Image::new("a", 1));
    let mut absent = sparse.manifest(&Image::for_platform(vec![], "linux", "arm64"));
    absent["digest"] = json!(common::sha256(b"nowhere"));
    absent["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let index = sparse.index(&[there, absent]);
    sparse.name(&index, Some("docker.io/x/sparse:1"));
    sparse.write(&sandbox.path("sparse"));
    sandbox.run(&["copy", "sparse", "store:"]).ok();
    for n in 1..=3 {
        let image = Image::new(&format!("m{n}"), 1);
        let tar = Docker::one(&image, json!([format!("x/m{n}:1")])).tar();
        sandbox.write(&format!("all/{n}.tar"), &tar);
    }
    sandbox.run(&["sync", "dir-to-dir", "all", "mirror"]).ok();
    std::fs::remove_file(sandbox.path("all/1.tar")).unwrap();
    std::fs::remove_file(sandbox.path("all/2.tar")).unwrap();
    table(
        &sandbox,
        &[
            ("save --for k3s -o k3s.tar x/sparse:1", "for example: --platform linux/amd64"),
            (
                "sync dir-to-dir --delete --yes all mirror",
                "check the source; if it is meant to be that small: --delete-most",
            ),
        ],
    );
}

#[test]
fn engines_that_are_not_there_or_not_for_us() {
    let sandbox = filled();
    let nowhere = sandbox.text("nowhere.sock");
    let docker = format!("--docker-host unix://{nowhere} copy app.tar docker-daemon:");
    let containerd = format!("--containerd-address {nowhere} copy app.tar containerd:");
    table(
        &sandbox,
        &[
            (&docker, "start docker, or give its address: --docker-host unix:///PATH"),
            (&containerd, "start containerd, or give its address: --containerd-address PATH"),
        ],
    );
    let _listening = UnixListener::bind(sandbox.path("engine.sock")).unwrap();
    let mode = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(sandbox.path(name), permissions).unwrap();
    };
    mode("engine.sock", 0o600);
    mode(".", 0o755);
    mode("app.tar", 0o644);
    let socket = sandbox.text("engine.sock");
    for (flag, place, hint) in [
        (
            format!("--docker-host=unix://{socket}"),
            "docker-daemon:",
            "run it as root, or as a member of the socket's group (docker)",
        ),
        (format!("--containerd-address={socket}"), "containerd:", "run it as root"),
    ] {
        let args = [flag.as_str(), "copy", "app.tar", place];
        // To root nothing is forbidden.
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let ran = if root { through(&sandbox, &nobody, &args) } else { sandbox.run(&args) };
        hints(ran, hint);
    }
}

#[test]
fn registries_that_refuse() {
    let sandbox = filled();
    let busy = Mock::edited(PLAIN, |_, reply| {
        (reply.status, reply.body) = (429, Arc::default());
    });
    let lost = Mock::edited(PLAIN, |_, reply| reply.hang_up = true);
    let (busy, lost) = (busy.address(), lost.address());
    let nobody = format!("127.0.0.1:{}", net::free_port());
    table(
        &sandbox,
        &[
            (
                &format!("digest --retry-times 0 {busy}/x/app:1"),
                &format!("users with an account may pull more: imgpack login {busy}"),
            ),
            (
                &format!("digest --retry-times 0 {lost}/x/app:1"),
                "run it again to continue; what was transferred is kept where possible",
            ),
            (&format!("digest --retry-times 0 {nobody}/x/app:1"), ""),
            ("digest --retry-times 0 name.invalid/x/app:1", ""),
        ],
    );
    let (Some(plain), Some(tls)) = (Registry::plain(), Registry::tls()) else { return };
    let (Some(open), Some(clients)) = (Registry::tls_open(), Registry::tls_for_clients()) else {
        return;
    };
    let (plain, tls) = (plain.address(), tls.address());
    let (open, clients) = (open.address(), clients.address());
    sandbox.run(&["push", "x/app:1", &format!("{plain}/x/app:1")]).ok();
    table(
        &sandbox,
        &[
            (
                &format!("digest {plain}/x/app:2"),
                &format!("list its tags with: imgpack tags {plain}/x/app"),
            ),
            (&format!("tags {plain}/nope"), &format!("look for it with: imgpack search {plain}/")),
            (
                &format!("delete {plain}/x/app:1"),
                "to delete the image with all its tags: imgpack delete NAME@DIGEST (from imgpack digest NAME)",
            ),
            (
                &format!("digest --insecure {tls}/x/app:1"),
                &format!("log in with: imgpack login {tls}"),
            ),
            (
                &format!("digest --insecure --creds alice:wrong {tls}/x/app:1"),
                &format!("log in with: imgpack login {tls}"),
            ),
            (
                &format!("digest {open}/x/app:1"),
                &format!(
                    "trust its authority with --ca-cert FILE, or as /etc/containers/certs.d/{open}/ca.crt"
                ),
            ),
            (
                &format!("digest --plain-http {open}/x/app:1"),
                "leave out --plain-http, or limit it to one registry: --insecure-registry HOST",
            ),
            (
                &format!("digest --insecure {clients}/x/app:1"),
                "present one: --client-cert FILE --client-key FILE",
            ),
        ],
    );
    // A name that is not this machine's is spoken to in https alone.
    let tunnel = Tunnel::start(&plain);
    let args = ["digest", "--retry-times", "0", "r.example/x/app:1"];
    let ran = net::run::begin(&sandbox, &args, &[("HTTPS_PROXY", &tunnel.url())]).wait();
    hints(ran, "to allow it: --plain-http, or --insecure-registry HOST");
}
