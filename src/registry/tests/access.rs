//! Schemes, authorization, redirects, second tries, interruption.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::server::{Asked, Reply, Server};
use super::{alice, context, in_turn, manifest_reply, repository, repository_with, settings};
use crate::context::Context;
use crate::error::Kind;
use crate::registry::auth::scope;
use crate::registry::http::{Body, HttpRequest, Method};
use crate::registry::settings::{Login, Secret, Settings};
use crate::registry::{Registries, TagOrDigest};

const TAG: TagOrDigest<'_> = TagOrDigest::Tag("v1");
const GET: &str = "GET /v2/a/b/manifests/v1";
/// `alice:s3cret`.
const BASIC: &str = "Basic YWxpY2U6czNjcmV0";

/// A registry that wants tokens of its own `/token`.
fn with_tokens(
    port: u16,
    token: impl Fn(&Asked, usize) -> Reply + Send + Sync,
) -> impl Fn(&Asked) -> Reply {
    let count = AtomicUsize::new(0);
    move |asked: &Asked| {
        if asked.target.starts_with("/token") {
            return token(asked, count.fetch_add(1, Ordering::SeqCst));
        }
        if asked.header("authorization").is_some_and(|a| a.starts_with("Bearer t")) {
            return manifest_reply();
        }
        let realm = format!("http://localhost:{port}/token");
        let scope = "repository:a/b:pull";
        Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#).with(
            "www-authenticate",
            format!(r#"Basic realm="x", Bearer realm="{realm}",service="s v",scope="{scope}""#),
        )
    }
}

#[test]
fn one_request_does_and_plain_http_is_found_once() {
    let server = Server::start(|_| manifest_reply());
    let repository = repository(&server);
    for _ in 0..3 {
        repository.manifest(TAG).unwrap().unwrap();
    }
    assert_eq!(server.lines(), [GET; 3]);
    // One that tried TLS, one that served all requests.
    assert_eq!(server.connections(), 2);
    let first = &server.asked()[0];
    assert_eq!(first.header("authorization"), None);
    assert_eq!(first.header("accept-encoding"), Some("identity"));
    assert!(first.header("user-agent").unwrap().starts_with("imgpack/"));
    assert!(
        first.header("accept").unwrap().starts_with("application/vnd.oci.image.index.v1+json,")
    );
}

#[test]
fn a_flag_for_plain_http_saves_the_try_with_tls() {
    let server = Server::start(|_| manifest_reply());
    let settings = Settings { plain_http: true, ..settings() };
    repository_with(&server, settings, &Context::default()).manifest(TAG).unwrap();
    assert_eq!(server.connections(), 1);
}

#[test]
fn basic_is_sent_after_the_first_refusal_and_from_then_on_unasked() {
    let server = Server::start(|asked| match asked.header("authorization") {
        Some(BASIC) => manifest_reply(),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let repository = repository_with(&server, alice(), &Context::default());
    repository.manifest(TAG).unwrap().unwrap();
    repository.manifest(TAG).unwrap().unwrap();
    let sent: Vec<bool> =
        server.asked().iter().map(|a| a.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true, true]);
}

#[test]
fn a_wrong_password_is_tried_once_and_named() {
    for header in ["Basic realm=\"x\"", "none"] {
        let server = Server::start(move |_| {
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#;
            Reply::new(401, body).with("www-authenticate", header)
        });
        let err = repository_with(&server, alice(), &Context::default()).manifest(TAG).unwrap_err();
        assert_eq!(err.kind(), Kind::Denied);
        let host = server.host();
        let why = "GET manifest v1: 401 Unauthorized: UNAUTHORIZED: who?";
        let want = match header {
            "none" => format!("the registry does not say which credentials it takes: {why}"),
            _ => format!("authentication failed for {host} as alice: {why}"),
        };
        assert_eq!(err.what(), want);
        // Where nothing is asked for, /v2/ may ask for it.
        let urls: Vec<String> = server.asked().iter().map(|asked| asked.target.clone()).collect();
        let manifest = "/v2/a/b/manifests/v1";
        assert_eq!(urls, if header == "none" { [manifest, "/v2/"] } else { [manifest, manifest] });
        assert_eq!(err.subject(), Some(format!("{host}/a/b").as_str()));
    }
}

#[test]
fn a_token_is_fetched_once_and_kept() {
    let server = Server::with_port(|port| {
        with_tokens(port, |_, n| Reply::new(200, format!(r#"{{"token":"t{n}","expires_in":300}}"#)))
    });
    let repository = repository_with(&server, alice(), &Context::default());
    repository.manifest(TAG).unwrap().unwrap();
    repository.manifest(TAG).unwrap().unwrap();
    let token =
        "GET /token?service=s%20v&scope=repository:a/b:pull&account=alice&client_id=imgpack";
    assert_eq!(server.lines(), [GET, token, GET, GET]);
    let asked = server.asked();
    let sent: Vec<_> = asked.iter().map(|a| a.header("authorization")).collect();
    assert_eq!(sent, [None, Some(BASIC), Some("Bearer t0"), Some("Bearer t0")]);
    // Another scope: the realm is known, so no refusal is needed.
    repository.clone().direct().manifest(TAG).unwrap();
    let lines = server.lines();
    assert!(lines[4].contains("scope=repository:a/b:pull,push"), "{lines:?}");
    assert_eq!(lines[5..], [GET]);
}

#[test]
fn many_threads_ask_for_one_token() {
    let server = Server::with_port(|port| {
        with_tokens(port, |_, n| {
            std::thread::sleep(Duration::from_millis(100));
            Reply::new(200, format!(r#"{{"token":"t{n}"}}"#))
        })
    });
    let repository = repository(&server);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| repository.manifest(TAG).unwrap().unwrap());
        }
    });
    let tokens = server.lines().iter().filter(|l| l.contains("/token")).count();
    assert_eq!(tokens, 1, "{:?}", server.lines());
}

#[test]
fn a_token_is_renewed_before_it_ends_and_after_it_was_refused() {
    let server = Server::with_port(|port| {
        with_tokens(port, |_, n| Reply::new(200, format!(r#"{{"token":"t{n}","expires_in":1}}"#)))
    });
    let repository = repository(&server);
    repository.manifest(TAG).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    repository.manifest(TAG).unwrap();
    let tokens: Vec<bool> = server.lines().iter().map(|l| l.contains("/token")).collect();
    assert_eq!(tokens, [false, true, false, true, false]);

    // The first token is refused at its second use, whatever was said of its life.
    let uses = AtomicUsize::new(0);
    let server = Server::with_port(|port| {
        let serve = with_tokens(port, |_, n| Reply::new(200, format!(r#"{{"token":"t{n}"}}"#)));
        move |asked: &Asked| {
            let first = asked.header("authorization") == Some("Bearer t0");
            if first && uses.fetch_add(1, Ordering::SeqCst) > 0 {
                return serve(&Asked { headers: Vec::new(), ..asked.clone() });
            }
            serve(asked)
        }
    });
    let repository = super::repository(&server);
    repository.manifest(TAG).unwrap().unwrap();
    repository.manifest(TAG).unwrap().unwrap();
    let tokens: Vec<bool> = server.lines().iter().map(|l| l.contains("/token")).collect();
    assert_eq!(tokens, [false, true, false, false, true, false]);
}

#[test]
fn a_token_that_ends_on_the_way_is_asked_for_again_as_long_as_tokens_end() {
    // Each token works for so many requests; what is counted by clocks depends on no clock here.
    for (uses, told, wants) in [(1, 300, 4), (0, 1, 6), (0, 300, 1)] {
        let used = Mutex::new(HashMap::<String, usize>::new());
        let server = Server::with_port(|port| {
            let serve = with_tokens(port, move |_, n| {
                Reply::new(200, format!(r#"{{"token":"t{n}","expires_in":{told}}}"#))
            });
            move |asked: &Asked| {
                let token = asked.header("authorization").unwrap_or_default().to_owned();
                let mut used = used.lock().unwrap();
                let times = used.entry(token).or_default();
                *times += 1;
                if *times > uses {
                    return serve(&Asked { headers: Vec::new(), ..asked.clone() });
                }
                serve(asked)
            }
        });
        let repository = repository(&server);
        for _ in 0..4 {
            let found = repository.manifest(TAG);
            if uses == 0 {
                assert_eq!(found.unwrap_err().kind(), Kind::Denied);
                break;
            }
            found.unwrap().unwrap();
        }
        let tokens = server.lines().iter().filter(|l| l.contains("/token")).count();
        assert_eq!(tokens, wants, "{uses} uses, {told} s: {:?}", server.lines());
    }
}

#[test]
fn realms_are_asked_in_the_way_they_know() {
    // POST with the form after GET with user and password was refused, and a realm that fails twice.
    for statuses in [vec![404, 200], vec![405, 200], vec![401, 200], vec![503, 503, 200]] {
        let told = statuses.clone();
        let server = Server::with_port(move |port| {
            with_tokens(port, move |_, n| Reply::new(told[n], r#"{"access_token":"t"}"#))
        });
        let repository = repository_with(&server, alice(), &Context::default());
        repository.manifest(TAG).unwrap().unwrap();
        let asked = server.asked();
        let methods: Vec<&str> = asked
            .iter()
            .filter(|a| a.target.starts_with("/token"))
            .map(|a| a.method.as_str())
            .collect();
        let want = if statuses.len() == 2 { vec!["GET", "POST"] } else { vec!["GET"; 3] };
        assert_eq!(methods, want, "{statuses:?}");
    }
    let server = Server::with_port(|port| with_tokens(port, |_, _| Reply::new(403, "nobody")));
    let err = repository_with(&server, alice(), &Context::default()).manifest(TAG).unwrap_err();
    assert_eq!(err.kind(), Kind::Denied);
    let host = server.host();
    assert!(err.what().starts_with(&format!("authentication failed for {host} as alice: ")));
    let server = Server::with_port(|port| with_tokens(port, |_, _| Reply::new(200, "<html>")));
    let err = super::repository(&server).manifest(TAG).unwrap_err();
    assert_eq!(err.kind(), Kind::Malformed, "{err}");
}

#[test]
fn a_realm_that_refuses_a_second_name_is_asked_for_the_first() {
    let server = Server::with_port(|port| {
        with_tokens(port, |asked, _| match asked.target.contains("other") {
            true => Reply::new(400, ""),
            false => Reply::new(200, r#"{"token":"t"}"#),
        })
    });
    let place = repository(&server).own().unwrap();
    let scopes = [scope::pull("other"), scope::push("a/b")];
    let response = place.host.send(&HttpRequest {
        method: Method::Post,
        url: "/v2/a/b/blobs/uploads/?mount=x&from=other",
        headers: &[],
        body: Body::Empty,
        scopes: &scopes,
        again: true,
    });
    assert_eq!(response.unwrap().status, 200);
    let lines = server.lines();
    let scopes: Vec<&str> =
        lines.iter().filter_map(|l| l.split_once("&scope=")).map(|(_, s)| s).collect();
    let end = "&client_id=imgpack";
    let both = format!("repository:a/b:pull,push&scope=repository:other:pull{end}");
    assert_eq!(scopes, [both, format!("repository:a/b:pull,push{end}")]);
}

#[test]
fn a_body_is_opened_again_for_the_request_after_a_refusal() {
    let server = Server::start(|asked| match asked.header("authorization") {
        Some(BASIC) => Reply::new(201, ""),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let place = repository_with(&server, alice(), &Context::default()).own().unwrap();
    let bytes = vec![7; 3 << 20];
    let opened = AtomicUsize::new(0);
    let open = || -> crate::Result<Box<dyn std::io::Read + Send>> {
        opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(std::io::Cursor::new(bytes.clone())))
    };
    let response = place.host.send(&HttpRequest {
        method: Method::Put,
        url: "/x",
        headers: &[],
        body: Body::Stream { size: bytes.len() as u64, open: &open },
        scopes: &[],
        again: false,
    });
    assert_eq!(response.unwrap().status, 201);
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.header("content-length"), Some("3145728"));
    assert_eq!(asked.header("expect"), Some("100-continue"));
    assert!(asked.body == bytes);
}

#[test]
fn the_answer_of_a_server_that_stopped_listening_is_heard() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // It knows no `Expect`, reads a little and has seen enough.
        let mut some = vec![0; 100_000];
        std::io::Read::read_exact(&mut stream, &mut some).unwrap();
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, answer).unwrap();
    });
    let settings = Settings { plain_http: true, ..settings() };
    let registries = Registries::new(settings, &Context::default()).unwrap();
    let name = format!("{host}/a/b").parse().unwrap();
    let place = registries.repository(&name).unwrap().own().unwrap();
    let open = || -> crate::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(std::io::Read::take(std::io::repeat(7), 64 << 20)))
    };
    let response = place.host.send(&HttpRequest {
        method: Method::Patch,
        url: "/x",
        headers: &[],
        body: Body::Stream { size: 64 << 20, open: &open },
        scopes: &[],
        again: false,
    });
    assert_eq!(response.unwrap().status, 413);
    server.join().unwrap();
}

#[test]
fn certificates_matter_only_where_tls_is_spoken() {
    let server = Server::start(|_| manifest_reply());
    let absent = Settings { ca_certs: vec!["/absent.crt".into()], ..settings() };
    let plain = Settings { plain_http: true, ..absent.clone() };
    let asked = |settings| repository_with(&server, settings, &Context::default()).manifest(TAG);
    assert!(asked(plain).unwrap().is_some());
    assert_eq!(asked(absent).unwrap_err().kind(), Kind::Missing);
}

#[test]
fn redirects_at_a_realm_are_not_followed() {
    let stranger = Server::start(|_| Reply::new(200, r#"{"token":"t"}"#));
    let to = format!("http://{}/token", stranger.host());
    let server = Server::with_port(|port| {
        with_tokens(port, move |_, _| Reply::new(307, "").with("location", to.clone()))
    });
    assert!(repository_with(&server, alice(), &Context::default()).manifest(TAG).is_err());
    assert_eq!(stranger.lines(), [""; 0]);
}

#[test]
fn authorization_stays_at_its_origin() {
    for theirs in [200, 401] {
        let stranger = Server::start(move |_| match theirs {
            200 => manifest_reply(),
            status => Reply::new(status, "").with("www-authenticate", "Basic realm=\"give\""),
        });
        let to = format!("http://{}/x?X-Amz-Signature=s1gned", stranger.host());
        let server = Server::start(move |asked| match asked.header("authorization") {
            Some(BASIC) if asked.target.contains("moved") => {
                Reply::new(307, "bye").with("location", to.clone())
            }
            Some(BASIC) => Reply::new(302, "").with("location", "/moved?a=%2F+"),
            _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
        });
        let (ctx, heard) = context();
        let result = repository_with(&server, alice(), &ctx).manifest(TAG);
        assert_eq!(result.is_ok(), theirs == 200);
        // Within the origin it goes along, and the query is not touched.
        let last = server.asked().pop().unwrap();
        assert_eq!(
            (last.target.as_str(), last.header("authorization")),
            ("/moved?a=%2F+", Some(BASIC))
        );
        let asked = stranger.asked();
        assert_eq!(asked.iter().filter(|a| a.target.starts_with("/x")).count(), 1);
        assert!(asked.iter().all(|a| a.header("authorization").is_none()));
        // And none of it is said.
        let said = format!("{}{:?}", heard.text(), result.err());
        for secret in ["s1gned", "s3cret", "YWxpY2U6czNjcmV0"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[test]
fn endless_redirects_end() {
    let server = Server::start(|_| Reply::new(307, "").with("location", "/again"));
    let err = repository(&server).manifest(TAG).unwrap_err();
    assert_eq!((err.kind(), err.what()), (Kind::Malformed, "more than 10 redirects"));
    assert_eq!(server.lines().len(), 11);
}

#[test]
fn what_passes_is_tried_again() {
    for (replies, tries, at_least) in [
        (vec![Reply::new(503, ""), Reply::new(502, "<html>"), manifest_reply()], 3, 1_000),
        (vec![Reply::new(429, "").with("retry-after", "1"), manifest_reply()], 2, 1_000),
        (vec![Reply::new(429, ""), manifest_reply()], 2, 1_000),
        (vec![Reply::hangup(), manifest_reply()], 2, 300),
        (vec![manifest_reply().cut(20), manifest_reply()], 2, 300),
        (
            vec![
                Reply::new(503, "")
                    .with("date", "Wed, 21 Oct 2015 07:28:00 GMT")
                    .with("retry-after", "Wed, 21 Oct 2015 07:28:01 GMT"),
                manifest_reply(),
            ],
            2,
            1_000,
        ),
    ] {
        let server = Server::start(in_turn(replies));
        let (ctx, heard) = context();
        let began = Instant::now();
        let settings = Settings { plain_http: true, ..settings() };
        repository_with(&server, settings, &ctx).manifest(TAG).unwrap().unwrap();
        let took = began.elapsed().as_millis();
        assert_eq!(server.lines().len(), tries);
        assert!(took >= at_least, "{took} ms");
        assert!(heard.text().contains("trying again in"), "{}", heard.text());
    }
}

#[test]
fn nothing_is_tried_again_when_it_must_not_be() {
    let settings = Settings { retries: 0, plain_http: true, ..settings() };
    for (reply, what) in [
        (Reply::new(503, ""), "GET manifest v1: 503 Service Unavailable"),
        (Reply::hangup(), "the connection was closed before an answer came"),
        (manifest_reply().cut(20), "the connection was closed in the middle of an answer"),
    ] {
        let server = Server::start(move |_| reply.clone());
        let repository = repository_with(&server, settings.clone(), &Context::default());
        let err = repository.manifest(TAG).unwrap_err();
        assert_eq!((err.kind(), err.what()), (Kind::Unreachable, what));
        assert_eq!(server.lines().len(), 1);
    }
    for status in [400, 403, 409, 416] {
        let server = Server::start(move |_| Reply::new(status, ""));
        repository(&server).manifest(TAG).unwrap_err();
        assert_eq!(server.lines().len(), 1, "{status}");
    }
}

#[test]
fn one_thread_finds_the_scheme_out_and_the_others_wait() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(50));
        manifest_reply()
    });
    let repository = repository(&server);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| repository.manifest(TAG).unwrap().unwrap());
        }
    });
    assert_eq!(server.lines(), [GET; 4]);
    // One that tried TLS, and at the most one for each thread.
    assert!(server.connections() <= 5, "{} connections", server.connections());
}

#[test]
fn what_is_left_of_an_allowance_is_shown_when_it_changes_and_when_it_is_used_up() {
    let limit = |reply: Reply, left: &str| {
        let reply = reply.with("ratelimit-limit", "100;w=21600");
        reply.with("ratelimit-remaining", left).with("docker-ratelimit-source", "192.0.2.7")
    };
    let server = Server::start(move |_| limit(manifest_reply(), "76;w=21600"));
    let (ctx, heard) = context();
    let repository = repository_with(&server, settings(), &ctx);
    repository.manifest(TAG).unwrap();
    repository.manifest(TAG).unwrap();
    let said = "76 of 100 pulls in 6 h left, counted for 192.0.2.7";
    assert_eq!(heard.text().matches(said).count(), 1, "{}", heard.text());

    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let server = Server::start(move |_| {
        limit(Reply::new(429, body).with("retry-after", "120"), "0;w=21600")
    });
    let repository =
        repository_with(&server, Settings { retries: 0, ..settings() }, &Context::default());
    let err = repository.manifest(TAG).unwrap_err();
    assert_eq!(err.kind(), Kind::Unreachable);
    for word in ["429 Too Many Requests", "slow down", "0 of 100 pulls", "more in 2 min"] {
        assert!(err.what().contains(word), "{err}");
    }
}

#[test]
fn where_nobody_listens_is_heard_soon() {
    let gone = Server::start(|_| Reply::new(200, "")).host();
    std::thread::sleep(Duration::from_millis(50));
    let registries = Registries::new(settings(), &Context::default()).unwrap();
    let name = format!("{gone}/a/b").parse().unwrap();
    let err = registries.repository(&name).unwrap().manifest(TAG).unwrap_err();
    assert!(err.what().ends_with("gave up after 3 tries"), "{err}");
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let gone = Server::start(|_| Reply::new(200, "")).host();
    std::thread::sleep(Duration::from_millis(50));
    let settings = Settings { retries: 1, ..settings() };
    for (host, want) in [(gone.as_str(), "connection refused"), ("nowhere.invalid", "unknown host")]
    {
        let registries = Registries::new(settings.clone(), &Context::default()).unwrap();
        let name = format!("{host}/a/b").parse().unwrap();
        let err = registries.repository(&name).unwrap().manifest(TAG).unwrap_err();
        assert_eq!(err.kind(), Kind::Unreachable);
        assert!(err.what().starts_with(want), "{err}");
        assert_eq!(err.subject(), Some(host));
    }
}

#[test]
fn a_server_that_stands_still_is_left_and_an_interrupted_run_does_not_wait() {
    let server = Server::start(|_| Reply::silence(Duration::from_secs(20)));
    let short = Settings {
        retries: 0,
        plain_http: true,
        header_timeout: Duration::from_millis(600),
        ..settings()
    };
    let began = Instant::now();
    let err = repository_with(&server, short, &Context::default()).manifest(TAG).unwrap_err();
    assert_eq!((err.kind(), err.what()), (Kind::Unreachable, "no answer within 0.6 s"));
    // It would have been silent for 20 s.
    assert!(began.elapsed() < Duration::from_secs(15));

    let (ctx, _) = context();
    let cancel = Arc::clone(&ctx.cancel);
    let repository = repository_with(&server, settings(), &ctx);
    let waiting = std::thread::spawn(move || repository.manifest(TAG).map(|_| ()));
    std::thread::sleep(Duration::from_millis(300));
    cancel.store(true, Ordering::Relaxed);
    let began = Instant::now();
    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), Kind::Interrupted);
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn warnings_of_a_registry_are_shown_once() {
    let warning = "299 - \"going away\u{202e} soon\"";
    let server = Server::start(move |_| {
        manifest_reply().with("warning", warning).with("warning", "110 x \"y\"")
    });
    let (ctx, heard) = context();
    let repository = repository_with(&server, settings(), &ctx);
    repository.manifest(TAG).unwrap();
    repository.manifest(TAG).unwrap();
    let text = heard.text();
    assert_eq!(text.matches("going away\\u{202e} soon").count(), 1, "{text}");
    // And each request is one line.
    let line = format!("GET {} /v2/a/b/manifests/v1 200 ", server.host());
    assert_eq!(text.matches(&line).count(), 2, "{text}");
}

#[test]
fn login_tells_right_from_wrong_and_keeps_an_identity_token() {
    let login =
        |password: &str| Login { username: "alice".into(), password: Secret::new(password) };
    let registries = Registries::new(settings(), &Context::default()).unwrap();
    let basic = Server::start(|asked| match asked.header("authorization") {
        Some(BASIC) => Reply::new(200, "{}"),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    assert_eq!(registries.login(&basic.host(), &login("s3cret")).unwrap(), None);
    let err = registries.login(&basic.host(), &login("other")).unwrap_err();
    assert_eq!(err.kind(), Kind::Denied);
    assert!(err.what().contains("as alice"), "{err}");

    let bearer = Server::with_port(|port| {
        with_tokens(port, |asked, _| match asked.header("authorization") {
            Some(BASIC) => Reply::new(200, r#"{"token":"t","refresh_token":"again"}"#),
            _ => Reply::new(401, ""),
        })
    });
    let identity = registries.login(&bearer.host(), &login("s3cret")).unwrap().unwrap();
    assert_eq!(identity.reveal(), "again");
    let lines = bearer.lines();
    assert_eq!(lines[0], "GET /v2/");
    assert!(lines[1].contains("offline_token=true") && !lines[1].contains("scope"), "{lines:?}");
    assert_eq!(lines[2..], ["GET /v2/"]);
    assert_eq!(registries.login(&bearer.host(), &login("x")).unwrap_err().kind(), Kind::Denied);

    let none = Server::start(|_| Reply::new(404, "<html>"));
    let err = registries.login(&none.host(), &login("x")).unwrap_err();
    assert_eq!(err.kind(), Kind::Malformed);
}
