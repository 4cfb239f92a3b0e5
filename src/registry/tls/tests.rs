//! Tests of TLS against servers on loopback, with certificates that openssl makes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, Weak};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};

use super::*;
use crate::error::Kind;

/// Every certificate of these tests, `<name>.crt` with `<name>.key`: made once, removed after the last
/// test. Each test holds on to it.
fn made() -> Arc<tempfile::TempDir> {
    static SHARED: Mutex<Weak<tempfile::TempDir>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(made) = shared.upgrade() {
        return made;
    }
    let dir = tempfile::tempdir().unwrap();
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    // As sites make them: an authority's mark on the server's own certificate.
    own(dir.path(), "authority-leaf", names, &[]);
    own(dir.path(), "leaf", names, &["basicConstraints=critical,CA:FALSE"]);
    own(dir.path(), "other-name", "subjectAltName=DNS:other.test", &[]);
    own(dir.path(), "ca", "subjectAltName=DNS:ca.test", &[]);
    own(dir.path(), "stranger", "subjectAltName=DNS:ca.test", &[]);
    for (name, extensions, days) in [
        ("good", names, "2"),
        ("wrong-name", "subjectAltName=DNS:other.test", "2"),
        ("expired", names, "-1"),
        ("old-leaf", &format!("{names}\nbasicConstraints=critical,CA:TRUE"), "-1"),
        ("client", "subjectAltName=DNS:client.test", "2"),
    ] {
        signed(dir.path(), name, extensions, days);
    }
    let made = Arc::new(dir);
    *shared = Arc::downgrade(&made);
    made
}

fn openssl(dir: &Path, args: &[&str]) {
    let mut command = Command::new("openssl");
    let out = command.args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A certificate that signs itself.
fn own(dir: &Path, name: &str, names: &str, more: &[&str]) {
    let (key, cert) = (format!("{name}.key"), format!("{name}.crt"));
    let subject = format!("/CN={name}");
    let mut args =
        vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    args.extend(["-nodes", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &cert]);
    args.extend(["-addext", names]);
    for extension in more {
        args.extend(["-addext", extension]);
    }
    openssl(dir, &args);
}

/// A certificate that `ca` signs, or for the old one its own key.
fn signed(dir: &Path, name: &str, values: &str, days: &str) {
    let [key, cert, request, extensions] =
        ["key", "crt", "csr", "ext"].map(|ending| format!("{name}.{ending}"));
    let subject = format!("/CN={name}");
    let mut args =
        vec!["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    args.extend(["-subj", &subject, "-keyout", &key, "-out", &request]);
    openssl(dir, &args);
    std::fs::write(dir.join(&extensions), values).unwrap();
    let mut args = vec!["x509", "-req", "-in", &request];
    match name {
        "old-leaf" => args.extend(["-signkey", &key]),
        _ => args.extend(["-CA", "ca.crt", "-CAkey", "ca.key"]),
    }
    args.extend(["-set_serial", "7", "-days", days, "-extfile", &extensions, "-out", &cert]);
    openssl(dir, &args);
}

fn path(name: &str) -> PathBuf {
    made().path().join(name)
}

fn certs(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path(name)).unwrap().map(|c| c.unwrap()).collect()
}

/// A server that answers one request with 200, or for `http` without TLS; its port.
fn serve(name: &str, client_ca: Option<&str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = (name != "http").then(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(path(&format!("{name}.key"))).unwrap();
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certs(ca));
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = certs(&format!("{name}.crt"));
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    });
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        match config {
            None => answer(&mut &socket),
            Some(config) => {
                let connection = ServerConnection::new(config).unwrap();
                let mut stream = StreamOwned::new(connection, socket);
                answer(&mut stream);
                // To close with bytes unread would be a reset, which can overtake the last alert.
                let _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
            }
        }
    });
    port
}

/// Reads a request's head and answers; a handshake that fails ends it.
fn answer(stream: &mut (impl Read + Write)) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
        // What is no request at all is answered at once, as servers of plain http do.
        if head.first().is_some_and(|first| !first.is_ascii_alphabetic()) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            return;
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let _ = stream.flush();
}

/// Asks for a page over https; its body, or what was wrong with TLS.
fn get(settings: &Settings, host: &str, port: u16) -> std::result::Result<String, HandshakeError> {
    let authority = format!("{host}:{port}");
    let config = client_config(settings, &authority).unwrap();
    let connector = ().chain(TcpConnector::default()).chain(TlsConnector(Some(config)));
    let quiet = ureq::config::Config::builder().proxy(None).build();
    let agent = ureq::Agent::with_parts(quiet, connector, DefaultResolver::default());
    match agent.get(format!("https://{authority}/v2/")).call() {
        Ok(mut answer) => Ok(answer.body_mut().read_to_string().unwrap()),
        Err(ureq::Error::Io(e)) => Err(trouble(&e).unwrap_or_else(|| panic!("{e:?}"))),
        Err(e) => panic!("{e:?}"),
    }
}

/// Settings of a machine that trusts nobody.
fn nobody() -> Settings {
    Settings { root: made().path().join("no-root"), ..Settings::default() }
}

fn trusting(names: &[&str]) -> Settings {
    Settings { ca_certs: names.iter().map(|name| path(name)).collect(), ..nobody() }
}

#[test]
fn servers_are_trusted_for_the_right_reasons_only() {
    let _made = made();
    let good = Ok(String::from("ok"));
    let bad = |why: &str| Err(HandshakeError::Certificate(why.into()));
    for (server, authorities, want) in [
        ("good", &["ca.crt"][..], good.clone()),
        ("good", &[], bad("it is signed by an unknown authority")),
        ("good", &["stranger.crt"], bad("it is signed by an unknown authority")),
        ("expired", &["ca.crt"], bad("it has expired")),
        ("wrong-name", &["ca.crt"], bad("it is for other.test")),
        // A certificate that is itself the one given.
        ("leaf", &["leaf.crt"], good.clone()),
        ("authority-leaf", &["authority-leaf.crt"], good.clone()),
        ("good", &["good.crt"], good.clone()),
        ("leaf", &["stranger.crt"], bad("it is signed by an unknown authority")),
        ("old-leaf", &["old-leaf.crt"], bad("it has expired")),
        ("other-name", &["other-name.crt"], bad("it is for other.test")),
        ("expired", &["expired.crt"], bad("it has expired")),
    ] {
        let port = serve(server, None);
        assert_eq!(
            get(&trusting(authorities), "localhost", port),
            want,
            "{server} {authorities:?}"
        );
    }
    let port = serve("authority-leaf", None);
    let refused = get(&trusting(&["stranger.crt"]), "localhost", port).unwrap_err();
    assert!(matches!(refused, HandshakeError::Certificate(_)), "{refused:?}");
    let port = serve("good", None);
    assert_eq!(get(&trusting(&["ca.crt"]), "127.0.0.1", port), good, "an address is a name too");
}

#[test]
fn insecure_hosts_may_show_anything_and_others_not() {
    let _made = made();
    for (server, change) in [
        ("expired", (|s, _| s.insecure = true) as fn(&mut Settings, u16)),
        ("stranger", |s, port| s.insecure_hosts = vec![format!("localhost:{port}")]),
        ("other-name", |s, _| s.insecure_hosts = vec!["*".into()]),
    ] {
        let port = serve(server, None);
        let mut settings = nobody();
        change(&mut settings, port);
        assert_eq!(get(&settings, "localhost", port), Ok("ok".into()), "{server}");
    }
    let port = serve("stranger", None);
    let settings = Settings { insecure_hosts: vec!["elsewhere".into()], ..nobody() };
    assert!(get(&settings, "localhost", port).is_err());
}

#[test]
fn the_variables_replace_what_the_machine_trusts() {
    let _made = made();
    let mut settings = nobody();
    let file = path("ca.crt").display().to_string();
    settings.variables.insert("SSL_CERT_FILE".into(), file);
    assert_eq!(get(&settings, "localhost", serve("good", None)), Ok("ok".into()));
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(path("ca.crt"), dir.path().join("any-name")).unwrap();
    std::fs::write(dir.path().join("README"), "no certificate").unwrap();
    let mut settings = nobody();
    settings.variables.insert("SSL_CERT_DIR".into(), format!("/absent:{}", dir.path().display()));
    assert_eq!(get(&settings, "localhost", serve("good", None)), Ok("ok".into()));
    settings.variables.insert("SSL_CERT_FILE".into(), "/absent".into());
    assert_eq!(client_config(&settings, "h").unwrap_err().kind(), Kind::Missing);
    // The machine's own.
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/ssl/certs")).unwrap();
    let bundle = root.path().join("etc/ssl/certs/ca-certificates.crt");
    std::fs::copy(path("ca.crt"), bundle).unwrap();
    let settings = Settings { root: root.path().into(), ..Settings::default() };
    assert_eq!(get(&settings, "localhost", serve("good", None)), Ok("ok".into()));
}

#[test]
fn directories_of_a_host_are_looked_at_in_order() {
    let _made = made();
    let root = tempfile::tempdir().unwrap();
    let mut settings = Settings { root: root.path().into(), ..Settings::default() };
    settings.variables.insert("HOME".into(), root.path().join("home").display().to_string());
    let put = |name: String, from: &str| {
        let to = root.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(path(from), to).unwrap();
    };
    for dir in ["etc/docker/certs.d", "etc/containers/certs.d", "home/.config/containers/certs.d"] {
        let port = serve("good", None);
        assert!(get(&settings, "localhost", port).is_err(), "not yet");
        let port = serve("good", None);
        put(format!("{dir}/localhost:{port}/site.crt"), "ca.crt");
        assert_eq!(get(&settings, "localhost", port), Ok("ok".into()), "{dir}");
    }
    // The first directory that is there is the only one.
    let port = serve("good", None);
    put(format!("etc/docker/certs.d/localhost:{port}/ca.crt"), "ca.crt");
    put(format!("etc/containers/certs.d/localhost:{port}/ca.crt"), "stranger.crt");
    assert!(get(&settings, "localhost", port).is_err());
    for (file, text) in [
        ("localhost_{port}_/hosts.toml", Some("ca = \"ca.pem\"")),
        (
            "localhost:{port}/hosts.toml",
            Some("server = \"x\"\n[host.\"https://localhost:{port}\"]\nca = [\"ca.pem\"]"),
        ),
        ("_default/ca.crt", None),
    ] {
        let port = serve("good", None);
        let fill = |text: &str| text.replace("{port}", &port.to_string());
        let file = format!("etc/containerd/certs.d/{}", fill(file));
        let dir = Path::new(&file).parent().unwrap().display().to_string();
        put(format!("{dir}/{}", if text.is_some() { "ca.pem" } else { "ca.crt" }), "ca.crt");
        if let Some(text) = text {
            std::fs::write(root.path().join(&file), fill(text)).unwrap();
        }
        assert_eq!(get(&settings, "localhost", port), Ok("ok".into()), "{file}");
    }
}

#[test]
fn a_client_certificate_is_shown_when_there_is_one() {
    let _made = made();
    let given = Settings {
        client_cert: Some((path("client.crt"), path("client.key"))),
        ..trusting(&["ca.crt"])
    };
    assert_eq!(get(&given, "localhost", serve("good", Some("ca.crt"))), Ok("ok".into()));
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [("client.crt", "me.cert"), ("client.key", "me.key"), ("ca.crt", "ca.crt")] {
        std::fs::copy(path(from), dir.path().join(to)).unwrap();
    }
    let found = Settings { cert_dir: Some(dir.path().into()), ..nobody() };
    assert_eq!(get(&found, "localhost", serve("good", Some("ca.crt"))), Ok("ok".into()));
    let without = get(&trusting(&["ca.crt"]), "localhost", serve("good", Some("ca.crt")));
    assert_eq!(without, Err(HandshakeError::ClientCertificate));
    let wrong = get(&given, "localhost", serve("good", Some("stranger.crt")));
    assert_eq!(wrong, Err(HandshakeError::ClientCertificate));
}

#[test]
fn plain_http_is_recognised() {
    let _made = made();
    let port = serve("http", None);
    assert_eq!(get(&nobody(), "localhost", port), Err(HandshakeError::PlainHttp));
}

#[test]
fn files_may_hold_several_certificates_or_one_in_der() {
    let _made = made();
    let dir = tempfile::tempdir().unwrap();
    let two = ["stranger.crt", "ca.crt"].map(|name| std::fs::read_to_string(path(name)).unwrap());
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(&bundle, format!("# comment\n{}", two.concat())).unwrap();
    let der = dir.path().join("ca.der");
    std::fs::write(&der, &certs("ca.crt")[0]).unwrap();
    for file in [bundle, der] {
        let settings = Settings { ca_certs: vec![file.clone()], ..nobody() };
        let got = get(&settings, "localhost", serve("good", None));
        assert_eq!(got, Ok("ok".into()), "{}", file.display());
    }
}

#[test]
fn what_is_no_certificate_or_has_no_partner_is_refused() {
    let _made = made();
    let dir = tempfile::tempdir().unwrap();
    let refused = |settings: &Settings| client_config(settings, "h:1").unwrap_err();
    let file = dir.path().join("x.crt");
    for bytes in [
        &b"nothing"[..],
        b"",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        b"\x30\x82junk",
    ] {
        std::fs::write(&file, bytes).unwrap();
        let error = refused(&Settings { ca_certs: vec![file.clone()], ..nobody() });
        assert_eq!(error.kind(), Kind::Malformed, "{bytes:?}");
        assert_eq!(error.subject(), Some(file.to_str().unwrap()));
    }
    std::fs::remove_file(&file).unwrap();
    let error = refused(&Settings { ca_certs: vec![file], ..nobody() });
    assert_eq!(error.kind(), Kind::Missing);
    let error = refused(&Settings { cert_dir: Some(dir.path().join("absent")), ..nobody() });
    assert_eq!(error.kind(), Kind::Missing);
    for (name, want) in [("me.key", "has no certificate me.cert"), ("me.cert", "has no key me.key")]
    {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(path("client.crt"), dir.path().join(name)).unwrap();
        let error = refused(&Settings { cert_dir: Some(dir.path().into()), ..nobody() });
        assert_eq!(error.kind(), Kind::Malformed);
        assert!(error.to_string().contains(want), "{error}");
    }
    let pair = Some((path("client.crt"), path("client.crt")));
    let error = refused(&Settings { client_cert: pair, ..nobody() });
    assert!(error.to_string().contains("a private key"), "{error}");
    let pair = Some((path("client.crt"), path("ca.key")));
    assert_eq!(refused(&Settings { client_cert: pair, ..nobody() }).kind(), Kind::Malformed);
}
