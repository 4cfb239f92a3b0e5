//! Certificates and keys on disk: those of the machine, and those for one host.
//!
//! It trusts nobody. For a host, in c/image's order, the first directory that is there of
//! `~/.config/containers/certs.d`, `/etc/containers/certs.d`, `/etc/docker/certs.d`, and within it
//! `<host[:port]>/` with `*.crt` for authorities and `*.cert` with `*.key` for ourselves; then containerd's
//! `/etc/containerd/certs.d`, of whose `hosts.toml` only `ca` is read; then what flags name.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};
use crate::io::look;
use crate::registry::address;
use crate::registry::settings::Settings;

/// Largest file of certificates, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Where systems keep the roots they trust; the first that is there counts.
const SYSTEM_FILES: [&str; 7] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/cert.pem",
    "etc/pki/tls/cacert.pem",
    "opt/etc/ssl/certs/ca-certificates.crt",
];

/// What files say about one host.
#[derive(Default)]
pub(super) struct Given {
    /// Certificates to trust beside the machine's, each with the file it is from.
    pub(super) authorities: Vec<(PathBuf, CertificateDer<'static>)>,
    /// What to show when asked.
    pub(super) client: Option<Pair>,
}

/// A certificate with its key.
pub(crate) struct Pair {
    /// The file of the certificate.
    pub(super) path: PathBuf,
    /// It, then who signed it.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
}

/// A file that does not hold what it should.
pub(super) fn bad(path: &Path, what: &str) -> Error {
    Error::malformed(format!("does not hold {what}")).input(path.display().to_string())
}

/// The roots this machine trusts, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead.
///
/// # Errors
/// `Missing` or `Io` when one of the variables names what cannot be read.
pub(super) fn system(settings: &Settings) -> Result<Vec<CertificateDer<'static>>> {
    let file = settings.variable("SSL_CERT_FILE").map(PathBuf::from);
    let dirs = settings.variable("SSL_CERT_DIR");
    if file.is_some() || dirs.is_some() {
        let mut certs = Vec::new();
        if let Some(path) = &file {
            certs = certificates(path).map_err(|e| e.context("SSL_CERT_FILE"))?;
        }
        for dir in dirs.unwrap_or_default().split(':').filter(|d| !d.is_empty()) {
            // A directory may contain files of any kind, so what cannot be read in it is skipped.
            certs
                .extend(rustls_native_certs::load_certs_from_paths(None, Some(dir.as_ref())).certs);
        }
        return Ok(certs);
    }
    let found = SYSTEM_FILES.iter().map(|p| settings.root.join(p)).find(|p| p.is_file());
    let from = |file, dir| rustls_native_certs::load_certs_from_paths(file, dir).certs;
    Ok(match found {
        Some(path) => from(Some(path.as_path()), None),
        None => from(None, Some(settings.root.join("etc/ssl/certs").as_path())),
    })
}

/// What there is for one host, `host` or `host:port`.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub(super) fn of_host(settings: &Settings, host: &str) -> Result<Given> {
    let mut given = Given::default();
    // A name of a host never holds these; a directory is looked up under it.
    if !host.contains(['/', '\0']) && !host.starts_with('.') {
        let names: &[&str] = if address::is_hub(host) { &["docker.io", host] } else { &[host] };
        let below = |dir: &PathBuf| names.iter().map(|n| dir.join(n)).find(|d| d.is_dir());
        if let Some(dir) = directories(settings).iter().find_map(below) {
            given.directory(&dir)?;
        }
        containerd(settings, host, &mut given)?;
    }
    let of_host = settings.hosts.get(host).and_then(|h| h.cert_dir.as_ref());
    if let Some(dir) = of_host.or(settings.cert_dir.as_ref()) {
        if !look::is_dir(dir)? {
            return Err(Error::no_such_file(dir));
        }
        given.directory(dir)?;
    }
    for path in &settings.ca_certs {
        given.authority(path)?;
    }
    if let Some((cert, key)) = &settings.client_cert {
        given.client = Some(pair(cert, key)?);
    }
    Ok(given)
}

fn directories(settings: &Settings) -> Vec<PathBuf> {
    let user = settings.config_home().map(|dir| dir.join("containers/certs.d"));
    let etc = ["etc/containers/certs.d", "etc/docker/certs.d"].map(|d| settings.root.join(d));
    user.into_iter().chain(etc).collect()
}

impl Given {
    fn authority(&mut self, path: &Path) -> Result<()> {
        let certs = certificates(path)?;
        self.authorities.extend(certs.into_iter().map(|cert| (path.to_path_buf(), cert)));
        Ok(())
    }

    /// Takes what a directory as docker's holds, by the endings of its names.
    fn directory(&mut self, dir: &Path) -> Result<()> {
        let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, "reading", &e))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => self.authority(&path)?,
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.is_file() {
                        let what = format!(
                            "has no key {} beside it; certificates of authorities end in .crt",
                            key.file_name().unwrap_or_default().display()
                        );
                        return Err(Error::malformed(what).input(path.display().to_string()));
                    }
                    if self.client.is_none() {
                        self.client = Some(pair(&path, &key)?);
                    }
                }
                Some("key") if !path.with_extension("cert").is_file() => {
                    let cert = path.with_extension("cert");
                    let what = format!(
                        "has no certificate {} beside it",
                        cert.file_name().unwrap_or_default().display()
                    );
                    return Err(Error::malformed(what).input(path.display().to_string()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// containerd's directory of a host, with docker's files or with a `hosts.toml`.
fn containerd(settings: &Settings, host: &str, given: &mut Given) -> Result<()> {
    let base = settings.root.join("etc/containerd/certs.d");
    let (name, port) = address::split(host);
    let folded = port.map(|port| format!("{name}_{port}_"));
    let names = [Some(host.to_owned()), folded, Some("_default".to_owned())];
    let Some(dir) = names.into_iter().flatten().map(|n| base.join(n)).find(|d| d.is_dir()) else {
        return Ok(());
    };
    let path = dir.join("hosts.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return given.directory(&dir),
        Err(e) => return Err(Error::io(&path, "reading", &e)),
    };
    let shown = || path.display().to_string();
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| Error::malformed(e.message()).input(shown()))?;
    let hosts = table.get("host").and_then(|h| h.as_table());
    let of_host = hosts.into_iter().flatten().filter(|(url, _)| {
        let authority = address::without_scheme(url).split('/').next().unwrap_or_default();
        address::same(authority, host)
    });
    let tables = std::iter::once(&table).chain(of_host.filter_map(|(_, t)| t.as_table()));
    for file in tables.filter_map(|t| t.get("ca")).flat_map(strings) {
        given.authority(&dir.join(file))?;
    }
    Ok(())
}

/// A string, or the strings of a list.
fn strings(value: &toml::Value) -> Vec<&str> {
    match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Array(items) => items.iter().filter_map(|v| v.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// What lies in two files.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub(crate) fn pair(cert: &Path, key: &Path) -> Result<Pair> {
    let chain = certificates(cert)?;
    let bytes = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .or_else(|_| PrivateKeyDer::try_from(bytes))
        .map_err(|_| bad(key, "a private key that can be read without a password"))?;
    Ok(Pair { path: cert.to_path_buf(), chain, key })
}

/// Every certificate of a file: PEM, or one in DER.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    // Only DER begins with the tag of a sequence; it is no printable text.
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| bad(path, "certificates in PEM"))?;
    if certs.is_empty() {
        return Err(bad(path, "any certificate"));
    }
    Ok(certs)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(bad(path, "any certificate: no regular file")),
        Ok(meta) if meta.len() > MAX_FILE => {
            return Err(bad(path, "certificates: it is too large"));
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::no_such_file(path));
        }
        Err(_) => {}
    }
    std::fs::read(path).map_err(|e| Error::io(path, "reading", &e))
}
