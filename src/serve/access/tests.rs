//! Who is let in, as a table.

use http::{HeaderMap, Method};

use super::*;
use base64::Engine as _;

fn request(method: Method, path: &str, authorization: Option<&str>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, "r.local:5000".parse().unwrap());
    if let Some(value) = authorization {
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
    }
    let route = crate::serve::route::read(path).unwrap();
    Request { method, route, query: None, headers, secure: false }
}

fn basic(user: &str, password: &str) -> String {
    let text = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

fn list(user: &str, password: &str) -> Users {
    Users::parse(&format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())).unwrap()
}

fn users() -> Users {
    list("al", "s3cret")
}

const PEER: Peer =
    Peer { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), certified: false, encrypted: false };

/// The user (`-` for nobody) or the status.
fn outcome(access: &Access, request: &Request, peer: Peer) -> String {
    match access.look(request, peer) {
        Admission::Open(caller) => caller.map_or_else(|| "-".into(), |caller| caller.name),
        Admission::Refuse(answer) => answer.status.as_u16().to_string(),
        Admission::Check(offer) => match access.check(&offer, request, peer) {
            Ok(caller) => caller.name,
            Err(answer) => answer.status.as_u16().to_string(),
        },
    }
}

#[test]
fn who_is_let_in() {
    let (good, bad) = (basic("al", "s3cret"), basic("al", "wrong"));
    let (get, put) = (Method::GET, Method::PUT);
    let tag = "/v2/a/manifests/1";
    let closed = AccessRules::default();
    let open = AccessRules { anonymous_pull: true, ..closed };
    for (rules, method, path, shown, want) in [
        (closed, &get, "/v2/", None, "401"),
        (closed, &get, tag, None, "401"),
        (closed, &get, "/", None, "401"),
        (closed, &get, "/metrics", None, "401"),
        (closed, &get, "/healthz", None, "-"),
        (closed, &get, "/readyz", None, "-"),
        (closed, &get, "/ca.crt", None, "-"),
        (closed, &get, tag, Some(&good), "al"),
        (closed, &put, tag, Some(&good), "al"),
        (closed, &get, tag, Some(&bad), "401"),
        (closed, &get, tag, Some(&basic("bo", "s3cret")), "401"),
        (closed, &get, tag, Some(&"Basic !".to_owned()), "401"),
        (closed, &get, tag, Some(&"Digest x".to_owned()), "401"),
        (closed, &get, tag, Some(&"Bearer x.y.z".to_owned()), "401"),
        (open, &get, tag, None, "-"),
        (open, &get, "/", None, "-"),
        (open, &get, "/token", None, "-"),
        (open, &get, "/v2/", None, "401"),
        (open, &put, tag, None, "401"),
        (open, &Method::DELETE, tag, None, "401"),
        (open, &put, tag, Some(&good), "al"),
        (open, &get, tag, Some(&bad), "401"),
    ] {
        let access = Access::new(rules, Some(users())).unwrap();
        let request = request(method.clone(), path, shown.map(String::as_str));
        assert_eq!(outcome(&access, &request, PEER), want, "{rules:?} {method} {path} {shown:?}");
    }
}

#[test]
fn a_token_is_its_bearer_s_and_lets_nobody_write() {
    let rules = AccessRules { anonymous_pull: true, ..AccessRules::default() };
    let access = Access::new(rules, Some(users())).unwrap();
    let nobody = bearer(&access.token(None));
    let al = bearer(&access.token(Some(&caller(&access, "al", "s3cret"))));
    let put = |shown: &str| request(Method::PUT, "/v2/a/manifests/1", Some(shown));
    let base = |shown: &str| request(Method::GET, "/v2/", Some(shown));
    assert_eq!(outcome(&access, &base(&nobody), PEER), "-");
    assert_eq!(outcome(&access, &put(&nobody), PEER), "401");
    assert_eq!(outcome(&access, &put(&al), PEER), "al");
    let mut forged = al.clone();
    forged.replace_range(7..8, "9");
    assert_eq!(outcome(&access, &put(&forged), PEER), "401");
    let late = token::LIFE + Duration::from_secs(1);
    assert_eq!(token::read(&access.key, 0, &al[7..], late), None);
    let other = Access::new(rules, Some(users())).unwrap();
    assert_eq!(outcome(&other, &put(&al), PEER), "401", "another process's");
    for (secure, scheme) in [(false, "http"), (true, "https")] {
        let challenge = other.challenge(&Request { secure, ..put(&al) }, "x");
        let want = format!("Bearer realm=\"{scheme}://r.local:5000/token\",service=\"imgpack\"");
        assert_eq!(challenge.headers[header::WWW_AUTHENTICATE], want);
    }
}

/// Who is meant by a password that is right.
fn caller(access: &Access, user: &str, password: &str) -> Caller {
    let request = request(Method::GET, "/token", Some(&basic(user, password)));
    match access.look(&request, PEER) {
        Admission::Open(Some(caller)) => caller,
        Admission::Check(offer) => access.check(&offer, &request, PEER).ok().unwrap(),
        _ => panic!("{user} is not let in"),
    }
}

fn bearer(answer: &Answer) -> String {
    format!("Bearer {}", text(answer, "token"))
}

#[test]
fn a_token_gives_no_token_and_ends_with_its_list() {
    for anonymous_pull in [false, true] {
        let rules = AccessRules { anonymous_pull, ..AccessRules::default() };
        let file = format!("al:{}\n", bcrypt::hash("s3cret", 4).unwrap());
        let read = || Some(Users::parse(&file).unwrap());
        let access = Access::new(rules, read()).unwrap();
        let al = caller(&access, "al", "s3cret");
        let put = |shown: &str| request(Method::PUT, "/v2/a/manifests/1", Some(shown));
        let renew = |shown: &str| request(Method::GET, "/token", Some(shown));
        let token = bearer(&access.token(Some(&al)));
        assert_eq!(outcome(&access, &put(&token), PEER), "al");
        for shown in [&token, &bearer(&access.token(None))] {
            assert_eq!(outcome(&access, &renew(shown), PEER), "401");
        }
        let certified = Peer { certified: true, ..PEER };
        assert_eq!(outcome(&access, &renew(&token), certified), "certificate");
        // The same file, read again.
        access.replace(read());
        assert_eq!(outcome(&access, &put(&token), PEER), "al");
        // The same user with another password.
        access.replace(Some(list("al", "changed")));
        assert_eq!(outcome(&access, &put(&token), PEER), "401");
        let late = bearer(&access.token(Some(&al)));
        assert_eq!(outcome(&access, &put(&late), PEER), "401", "checked before, made after");
        assert_eq!(outcome(&access, &put(&basic("al", "changed")), PEER), "al");
    }
}

#[test]
fn a_password_that_was_checked_while_the_list_changed_is_not_remembered() {
    // Slow enough for the list to change meanwhile, whatever the machine does.
    let slow = format!("al:{}\n", bcrypt::hash("s3cret", 12).unwrap());
    let access = Access::new(AccessRules::default(), Some(Users::parse(&slow).unwrap())).unwrap();
    let get = request(Method::GET, "/v2/", Some(&basic("al", "s3cret")));
    let Admission::Check(offer) = access.look(&get, PEER) else { panic!("not checked") };
    std::thread::scope(|scope| {
        let checked = scope.spawn(|| access.check(&offer, &get, PEER).is_ok());
        // It has taken the old list once somebody else holds it too.
        while Arc::strong_count(&access.roll.read().unwrap()) == 1 && !checked.is_finished() {
            std::thread::yield_now();
        }
        access.replace(Some(list("al", "changed")));
        assert!(checked.join().unwrap(), "by the list that was good when it began");
    });
    assert!(matches!(access.look(&get, PEER), Admission::Check(_)));
    assert_eq!(outcome(&access, &get, PEER), "401");
}

fn text(answer: &Answer, key: &str) -> String {
    let crate::serve::answer::ResponseBody::Bytes(bytes) = &answer.body else { panic!("no bytes") };
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    value[key].as_str().unwrap().to_owned()
}

#[test]
fn a_right_password_is_remembered_and_too_many_wrong_ones_are_refused() {
    let access = Access::new(AccessRules::default(), Some(users())).unwrap();
    let get =
        |user: &str, password: &str| request(Method::GET, "/v2/", Some(&basic(user, password)));
    assert_eq!(outcome(&access, &get("al", "s3cret"), PEER), "al");
    assert!(
        matches!(access.look(&get("al", "s3cret"), PEER), Admission::Open(_)),
        "not checked again"
    );
    for _ in 0..MAX_FAILURES {
        assert_eq!(outcome(&access, &get("al", "guess"), PEER), "401");
    }
    assert_eq!(outcome(&access, &get("al", "guess"), PEER), "429");
    assert_eq!(outcome(&access, &get("al", "s3cret"), PEER), "al", "who is known is not shut out");
    let elsewhere = Peer { address: "192.0.2.7".parse().unwrap(), ..PEER };
    assert_eq!(outcome(&access, &get("al", "guess"), elsewhere), "401");
    access.replace(Some(list("bo", "x")));
    assert_eq!(outcome(&access, &get("al", "s3cret"), elsewhere), "401", "she was taken out");
}

#[test]
fn a_certificate_is_as_good_as_a_password() {
    let rules = AccessRules { anonymous_pull: true, certificates: true };
    let access = Access::new(rules, None).unwrap();
    let put = request(Method::PUT, "/v2/a/manifests/1", None);
    let certified = Peer { certified: true, ..PEER };
    assert_eq!(outcome(&access, &put, certified), "certificate");
    assert_eq!(outcome(&access, &put, PEER), "403");
    assert_eq!(outcome(&access, &request(Method::GET, "/v2/", None), PEER), "-");
}
