//! What a host is, and where it may lead.

use super::*;
use crate::registry::tests::settings;

fn host(settings: Settings, name: &str) -> Host {
    let keychain = Arc::new(Keychain::new(&settings));
    let endpoint =
        Endpoint { host: name.into(), ns: Some("docker.io".into()), ..Endpoint::default() };
    let client = Arc::new(Client::new(settings, &Context::default()));
    Host::new(client, endpoint, keychain, None)
}

#[test]
fn the_way_from_https_to_http_is_refused() {
    let insecure = Settings { insecure_hosts: vec!["cdn.example".into()], ..settings() };
    for (settings, from, to, allowed) in [
        (settings(), "https://reg.example/", "https://cdn.example/x", true),
        (settings(), "https://reg.example/", "http://cdn.example/x", false),
        (settings(), "https://reg.example/", "http://reg.example/x", false),
        (settings(), "http://reg.example/", "http://cdn.example/x", true),
        (insecure, "https://reg.example/", "http://cdn.example/x", true),
    ] {
        let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
        let result = host(settings, "reg.example").may_visit(&from, &to);
        assert_eq!(result.is_ok(), allowed, "{from} {to}");
    }
}

#[test]
fn a_host_behind_a_tls_proxy_means_itself() {
    let host = host(settings(), "reg.example:8443");
    for (from, location, want) in [
        ("https://reg.example:8443/v2/", "http://reg.example:8443/x", "https://reg.example:8443/x"),
        ("https://reg.example:8443/v2/", "http://reg.example/x", "https://reg.example:8443/x"),
        ("https://reg.example/v2/", "http://reg.example/x?a", "https://reg.example/x?a"),
        ("https://reg.example/v2/", "http://other.example/x", "http://other.example/x"),
        ("https://reg.example/v2/", "http://reg.example:5000/x", "http://reg.example:5000/x"),
        ("http://reg.example/v2/", "/x", "http://reg.example/x"),
    ] {
        let mended = host.mend(&Url::parse(from).unwrap(), location).unwrap();
        assert_eq!(mended.to_string(), want, "{from} {location}");
    }
}

#[test]
fn paths_are_at_the_host_and_a_mirror_is_told_for_whom() {
    let host = host(settings(), "mirror.example");
    let base = host.base(true).unwrap();
    for (url, want) in [
        ("/v2/a/tags/list", "https://mirror.example/v2/a/tags/list?ns=docker.io"),
        ("/v2/a?n=1", "https://mirror.example/v2/a?n=1&ns=docker.io"),
        ("https://cdn.example/x?s", "https://cdn.example/x?s"),
    ] {
        assert_eq!(host.target(&base, url).unwrap().to_string(), want);
    }
    assert!(host.target(&base, "ftp://x").is_err());
}
