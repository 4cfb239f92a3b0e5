//! Debian's docker-registry 2.8.2, started for a test: plain, TLS with passwords or client certificates,
//! Bearer tokens.
//!
//! It knows no image. The process is ended by its number when the value is dropped, and its storage
//! with it.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::issuer::Issuer;
use super::{free_port, have, skip};

const BINARY: &str = "/usr/bin/docker-registry";

/// Layers at foreign URLs are taken; without it 2.8.2 fails on them.
const FOREIGN: &str = "validation: {manifests: {urls: {allow: [\"^https?://\"]}}}\n";

/// The one user of every registry here.
pub const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "s3cret";

/// A running registry.
pub struct Registry {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl Registry {
    /// Whether there is one to start; says so when there is none.
    pub fn installed() -> bool {
        let found = have(BINARY);
        if !found {
            skip(&format!("{BINARY} is missing (Debian package docker-registry)"));
        }
        found
    }

    /// Plain http, no passwords; `None` when it is not installed.
    pub fn plain() -> Option<Self> {
        Self::start(None, |_| String::new())
    }

    /// Plain http, with nothing configured that need not be.
    pub fn bare() -> Option<Self> {
        Self::launch(None, "", false, |_| String::new())
    }

    /// Plain http over the storage of another; nothing can be written.
    pub fn read_only_over(other: &Self) -> Option<Self> {
        Self::launch(Some(other.root.clone()), FOREIGN, true, |_| String::new())
    }

    /// What it calls itself; empty when it is not installed.
    pub fn version() -> String {
        let done = Command::new(BINARY).arg("--version").output();
        done.map_or(String::new(), |done| String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Plain http over the storage of another.
    pub fn plain_over(other: &Self) -> Option<Self> {
        Self::start(Some(other.root.clone()), |_| String::new())
    }

    /// TLS with a certificate of [`Self::ca`] for `localhost` and 127.0.0.1, and one user.
    pub fn tls() -> Option<Self> {
        Self::start(None, |dir| {
            certificate(dir);
            passwords(dir);
            let at = |name: &str| dir.join(name).display().to_string();
            format!(
                "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: basic-realm\n    path: {}\n",
                at("chain.crt"),
                at("srv.key"),
                at("htpasswd"),
            )
        })
    }

    /// Plain http with TLS's certificates but no passwords.
    pub fn tls_open() -> Option<Self> {
        Self::start(None, |dir| {
            certificate(dir);
            let at = |name: &str| dir.join(name).display().to_string();
            format!("  tls:\n    certificate: {}\n    key: {}\n", at("chain.crt"), at("srv.key"))
        })
    }

    /// TLS without passwords, for whoever shows [`Self::client`].
    pub fn tls_for_clients() -> Option<Self> {
        Self::start(None, |dir| {
            certificate(dir);
            client_certificate(dir);
            let at = |name: &str| dir.join(name).display().to_string();
            format!(
                "  tls:\n    certificate: {}\n    key: {}\n    clientcas: [{}]\n",
                at("chain.crt"),
                at("srv.key"),
                at("ca.crt"),
            )
        })
    }

    /// Plain http; tokens of an issuer are asked for.
    pub fn bearer(issuer: &Issuer) -> Option<Self> {
        let (realm, bundle) = (issuer.realm(), issuer.certificate().display().to_string());
        Self::start(None, |_| {
            format!(
                "auth:\n  token:\n    realm: {realm}\n    service: imgpack-reg\n    \
                 issuer: imgpack-test\n    rootcertbundle: {bundle}\n"
            )
        })
    }

    fn start(root: Option<PathBuf>, more: impl Fn(&Path) -> String) -> Option<Self> {
        Self::launch(root, FOREIGN, false, more)
    }

    fn launch(
        root: Option<PathBuf>,
        validation: &str,
        read_only: bool,
        more: impl Fn(&Path) -> String,
    ) -> Option<Self> {
        if !Self::installed() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let root = root.unwrap_or_else(|| dir.path().join("data"));
        let more = more(dir.path());
        // A port that was free may be taken by another test: then the process ends at once.
        for _ in 0..5 {
            let port = free_port();
            let config = format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
                 delete: {{enabled: true}}\n  maintenance: {{uploadpurging: {{enabled: false}}, \
                 readonly: {{enabled: {read_only}}}}}\n{validation}\
                 http:\n  addr: 127.0.0.1:{port}\n  secret: fixed\n{more}",
                root.display(),
            );
            if let Some(child) = spawn(dir.path(), &config, port) {
                return Some(Self { child, port, dir, root });
            }
        }
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("docker-registry does not start: {log}");
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority behind [`Self::tls`].
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// A client's certificate and key, of the same authority.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("client.crt"), self.dir.path().join("client.key"))
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its storage.
    pub fn storage(&self) -> String {
        self.root.to_str().expect("a UTF-8 path").to_owned()
    }

    /// Where a blob lies in its storage.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.root.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }
}

/// Starts the process and waits until it listens; `None` when it ended.
fn spawn(dir: &Path, config: &str, port: u16) -> Option<Child> {
    let path = dir.join("config.yml");
    std::fs::write(&path, config).expect("a file");
    let log = File::create(dir.join("log")).expect("a file");
    let mut child = Command::new(BINARY)
        .arg("serve")
        .arg(&path)
        .env_clear() // an AWS_CA_BUNDLE that cannot be read makes it panic
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("docker-registry starts");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
        std::thread::sleep(Duration::from_millis(20));
        // Whoever listens there is ours only if ours lives.
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return None;
        } else if listens {
            return Some(child);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs openssl in a directory.
#[track_caller]
pub fn openssl(dir: &Path, args: &str) {
    let done = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
}

/// `ca.crt`, and `chain.crt` with `srv.key` for localhost.
pub fn certificate(dir: &Path) {
    let names = "subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1,IP:::1\n\
                 extendedKeyUsage=serverAuth\n";
    std::fs::write(dir.join("ext"), names).expect("a file");
    for args in [
        "ecparam -genkey -name prime256v1 -noout -out ca.key",
        "req -x509 -new -key ca.key -days 3650 -subj /CN=test-ca -out ca.crt",
        "ecparam -genkey -name prime256v1 -noout -out srv.key",
        "req -new -key srv.key -subj /CN=localhost -out srv.csr",
        "x509 -req -in srv.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile ext -out srv.crt",
    ] {
        openssl(dir, args);
    }
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
    std::fs::write(dir.join("chain.crt"), read("srv.crt") + &read("ca.crt")).expect("a file");
}

/// `client.crt` with `client.key`, signed by `ca.crt`.
pub fn client_certificate(dir: &Path) {
    std::fs::write(dir.join("client-ext"), "extendedKeyUsage=clientAuth\n").expect("a file");
    for args in [
        "ecparam -genkey -name prime256v1 -noout -out client.key",
        "req -new -key client.key -subj /CN=client -out client.csr",
        "x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile client-ext -out client.crt",
    ] {
        openssl(dir, args);
    }
}

/// `htpasswd` with the one user, bcrypt.
pub fn passwords(dir: &Path) {
    let by_tool = ["htpasswd", "-nbBC", "5", USER, PASSWORD];
    let script = format!(
        "import crypt;print('{USER}:'+crypt.crypt('{PASSWORD}',crypt.mksalt(crypt.METHOD_BLOWFISH,rounds=1<<5)))"
    );
    let by_python = ["python3", "-W", "ignore", "-c", &script];
    let args = if have("htpasswd") { by_tool } else { by_python };
    let done = Command::new(args[0]).args(&args[1..]).output().expect("htpasswd or python3");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::write(dir.join("htpasswd"), done.stdout).expect("a file");
}
