//! What `--emit` writes, read by those it is for: kubectl, podman, containerd.

mod common;
mod net;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Sandbox;
use common::image::{Image, Oci};
use net::registry::Registry;
use net::{have, skip};

/// A registry with `library/app:1` of the hub, and what the nodes need to find it there.
fn mirrored(form: &str) -> Option<(Registry, Sandbox)> {
    let Some(registry) = Registry::plain() else {
        skip("docker-registry is missing");
        return None;
    };
    let sandbox = Sandbox::new();
    Oci::one(&Image::new("app", 1), Some("docker.io/library/app:1")).write(&sandbox.path("in"));
    let to = format!("{}/m", registry.address());
    sandbox.run(&["sync", "dir-to-registry", "in", &to, "--emit", form, "out"]).ok();
    Some((registry, sandbox))
}

/// What a program says when it goes well; its complaint when it does not.
fn tell(
    program: &str,
    args: &[&str],
    sandbox: &Sandbox,
    more: &[(&str, &str)],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(sandbox.root()).env("HOME", sandbox.root());
    let done = command.envs(more.iter().copied()).output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

#[test]
fn kubectl_rewrites_images() {
    if !have("kubectl") {
        return skip("kubectl is missing");
    }
    let Some((registry, sandbox)) = mirrored("kustomize") else { return };
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n\
               \x20 - {name: a, image: 'app:1'}\n  - {name: b, image: 'docker.io/library/app:2'}\n\
               \x20 - {name: c, image: 'other:1'}\n";
    let new = format!("{}/m/library/app", registry.address());
    let written = std::fs::read_to_string(sandbox.path("out/kustomization.yaml")).expect("a file");
    // Versions before 3.7 know no components; they are shown the list alone.
    let alone: String = written
        .lines()
        .filter(|line| !line.starts_with("apiVersion:") && !line.starts_with("kind:"))
        .map(|line| format!("{line}\n"))
        .collect();
    sandbox.write("flat/kustomization.yaml", format!("resources: [pod.yaml]\n{alone}").as_bytes());
    sandbox.write("flat/pod.yaml", pod.as_bytes());
    sandbox.write("over/kustomization.yaml", b"resources: [pod.yaml]\ncomponents: [../out]\n");
    sandbox.write("over/pod.yaml", pod.as_bytes());
    let probe = b"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n";
    sandbox.write("probe/part/kustomization.yaml", probe);
    sandbox
        .write("probe/all/kustomization.yaml", b"resources: [pod.yaml]\ncomponents: [../part]\n");
    sandbox.write("probe/all/pod.yaml", pod.as_bytes());
    let built = |dir: &str| tell("kubectl", &["kustomize", dir], &sandbox, &[]);
    let mut dirs = vec!["flat"];
    match built("probe/all") {
        Ok(_) => dirs.push("over"),
        Err(e) => skip(&format!("this kubectl knows no components: {e}")),
    }
    for dir in dirs {
        let text = built(dir).expect("kubectl builds it");
        for image in [format!("{new}:1"), format!("{new}:2"), "other:1".into()] {
            assert!(text.contains(&format!("image: {image}\n")), "{dir}: {image}: {text}");
        }
    }
}

#[test]
fn podman_pulls_by_the_old_name() {
    if !have("podman") {
        return skip("podman is missing");
    }
    let Some((_registry, sandbox)) = mirrored("podman") else { return };
    let file = sandbox.text("out/registries.conf.d/imgpack.conf");
    let (root, state) = (sandbox.text("podman"), sandbox.text("state"));
    let engine = ["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
    let conf = [("CONTAINERS_REGISTRIES_CONF", file.as_str())];
    let pull = [&engine[..], &["pull", "-q", "docker.io/library/app:1"]].concat();
    tell("podman", &pull, &sandbox, &conf).expect("podman pulls it from the mirror");
    let listed = [&engine[..], &["images", "--format", "{{.Repository}}:{{.Tag}}"]].concat();
    let listed = tell("podman", &listed, &sandbox, &conf).expect("podman lists");
    assert_eq!(listed.trim(), "docker.io/library/app:1");
    tell("podman", &[&engine[..], &["rmi", "-af"]].concat(), &sandbox, &conf)
        .expect("podman removes");
}

/// A containerd of its own, ended with the value.
struct Containerd(Child);

impl Containerd {
    fn start(sandbox: &Sandbox) -> Option<Self> {
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n",
            sandbox.text("c/root"),
            sandbox.text("c/state"),
            sandbox.text("c/c.sock"),
        );
        let path = sandbox.write("c/config.toml", config.as_bytes());
        let log = std::fs::File::create(sandbox.path("c/log")).expect("a file");
        let mut command = Command::new("containerd");
        command.args(["--config", &path]).stdout(Stdio::null()).stderr(log);
        let started = Self(command.spawn().expect("containerd starts"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let ask = ["-a", &sandbox.text("c/c.sock"), "version"];
            if Path::new(&sandbox.text("c/c.sock")).exists()
                && tell("ctr", &ask, sandbox, &[]).is_ok()
            {
                return Some(started);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn containerd_pulls_by_the_old_name() {
    if !have("containerd") || !have("ctr") {
        return skip("containerd is missing");
    }
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        return skip("containerd needs root");
    }
    let Some((_registry, sandbox)) = mirrored("containerd") else { return };
    let Some(_running) = Containerd::start(&sandbox) else {
        return skip("no containerd starts here");
    };
    let socket = sandbox.text("c/c.sock");
    let hosts = sandbox.text("out/certs.d");
    let name = "docker.io/library/app:1";
    // The content is what hosts.toml leads to; unpacking it would be a matter of snapshotters.
    let fetch = ["-a", &socket, "content", "fetch", "--hosts-dir", &hosts, name];
    tell("ctr", &fetch, &sandbox, &[]).expect("containerd pulls it from the mirror");
    let listed = tell("ctr", &["-a", &socket, "images", "ls", "-q"], &sandbox, &[]);
    assert_eq!(listed.expect("containerd lists").trim(), name);
}
