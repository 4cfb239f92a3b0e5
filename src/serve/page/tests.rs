//! The pages as plain answers, over places in memory, peaceful and hostile.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::serve::answer::{Answer, ResponseBody};
use crate::serve::catalogue::Part;
use crate::serve::names::NameResolver;
use crate::serve::request::Request;
use crate::serve::{Registry, handlers, holdings, route};
use crate::tests::Memory;

/// Everything that could be markup, turn text around, end a quotation or a line.
const HOSTILE: &str =
    "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\u{202e}\0\x1b[2J\u{2028}";

fn served(place: Memory) -> Registry {
    let ctx = Context::default();
    let registry = Registry::new(NameResolver::default(), &ctx);
    let held = holdings::gather(&place, &[], None, &ctx).unwrap();
    registry.catalogue().replace(vec![Arc::new(Part::new(Box::new(place), held))], Vec::new());
    registry
}

fn config(architecture: &str) -> Value {
    json!({"architecture": architecture, "os": "linux", "created": "2024-05-06T07:08:09Z",
        "config": {"Labels": {"maintainer": "someone"}},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "COPY a b"},
            {"created_by": "ENV x=y", "empty_layer": true}]})
}

/// Two images that share a layer, an index over two platforms, and a referrer.
fn peaceful() -> Registry {
    let mut place = Memory::default();
    let one = place.image(&config("amd64"), &["base", "one"], &Value::Null);
    let two = place.image(&config("arm64"), &["base", "two"], &Value::Null);
    place.name(&one, &["docker.io/library/one:1.0"]);
    let listed = |desc: &Descriptor, architecture: &str| {
        let mut value = desc.to_value();
        value["platform"] = json!({"os": "linux", "architecture": architecture});
        value
    };
    let both = place.document(
        OCI_INDEX,
        &json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [listed(&one, "amd64"), listed(&two, "arm64")]}),
    );
    place.name(&both, &["quay.io/team/both:latest"]);
    let about = place.image(
        &json!({}),
        &["sbom"],
        &json!({"subject": one.to_value(), "artifactType": "application/spdx+json"}),
    );
    place.name(&about, &[]).companion = true;
    served(place)
}

fn ask(registry: &Registry, method: Method, target: &str) -> Answer {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("stick.example:5000"));
    let request = Request {
        method,
        route: route::read(path).unwrap(),
        query: query.map(str::to_owned),
        headers,
        secure: false,
    };
    handlers::answer(registry, &request, &mut std::io::empty())
}

#[track_caller]
fn page(registry: &Registry, target: &str) -> String {
    let answer = ask(registry, Method::GET, target);
    assert_eq!(answer.status, StatusCode::OK, "{target}");
    text(answer)
}

fn text(answer: Answer) -> String {
    match answer.body {
        ResponseBody::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => panic!("a page lies in memory"),
    }
}

#[track_caller]
fn contains(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "no {words:?} in: {page}");
    }
}

#[test]
fn the_list_names_every_image_with_platforms_and_what_is_shared() {
    let index = page(&peaceful(), "/");
    contains(
        &index,
        &[
            "2 images in 2 repositories",
            "href=\"/r/one:1.0\"",
            "href=\"/r/quay.io/team/both:latest\"",
            "linux/amd64",
            "linux/arm64",
            "data-image=\"stick.example:5000/quay.io/team/both:latest\"",
            // The layer that both have.
            "<td class=\"n\">4B</td>",
            // One referrer.
            "<td class=\"n\">1</td>",
        ],
    );
}

#[test]
fn the_page_of_an_image_says_how_to_pull_it_and_what_it_is_made_of() {
    contains(
        &page(&peaceful(), "/r/one:1.0"),
        &[
            "docker pull stick.example:5000/one:1.0",
            "podman pull --tls-verify=false stick.example:5000/one:1.0",
            "ctr images pull --plain-http stick.example:5000/one:1.0",
            "kubectl run one --image=stick.example:5000/one:1.0",
            "insecure-registries",
            "1 other image",
            "COPY a b",
            "2024-05-06",
            "maintainer",
            "application/spdx+json",
        ],
    );
    let both = page(&peaceful(), "/r/quay.io/team/both:latest");
    contains(&both, &["linux/amd64", "linux/arm64", "2 layers", "<details"]);
    let digest = Descriptor::of(OCI_LAYER, b"base").digest.to_string();
    assert_eq!(both.matches(&digest).count(), 2, "the shared layer, once for each platform");
}

#[test]
fn a_digest_names_a_page_too_that_of_a_referrer_as_well() {
    let registry = peaceful();
    let index = page(&registry, "/r/one:1.0");
    let links = index.split("href=\"/r/one@").skip(1);
    let digests: Vec<&str> = links.filter_map(|link| link.split('"').next()).collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
    let about = page(&registry, &format!("/r/one@{}", digests[0]));
    contains(&about, &["application/spdx+json", digests[0]]);
}

#[test]
fn the_packing_list_counts_what_is_shared_once() {
    let mut place = Memory::default();
    let base = "b".repeat(4_000_000);
    for own in ["one", "two"] {
        let image = place.image(&config("amd64"), &[&base, own], &Value::Null);
        place.name(&image, &[&format!("docker.io/library/{own}:1")]);
    }
    let registry = served(place);
    let list = page(&registry, "/packing-list");
    let sum = "2 images, <b>4MB</b> with shared blobs counted once, 8MB without";
    contains(&list, &[sum, "stick.example:5000", "class=\"tick\""]);
    let one = page(&registry, "/packing-list?q=one");
    contains(&one, &["images with one", "1 image, <b>4MB</b></p>"]);
    assert!(!one.contains("two:1"));
}

#[test]
fn search_is_the_servers_in_names_tags_and_digests_all_words() {
    let registry = peaceful();
    for (query, found) in [
        ("one", vec!["one:1.0"]),
        ("ONE", vec!["one:1.0"]),
        ("quay+latest", vec!["both:latest"]),
        ("quay%20latest", vec!["both:latest"]),
        ("quay+1.0", vec![]),
        ("io", vec!["one:1.0", "both:latest"]),
        ("%3Cscript%3E", vec![]),
    ] {
        let page = page(&registry, &format!("/?q={query}"));
        for image in ["one:1.0", "both:latest"] {
            let there = page.contains(&format!("{image}\">"));
            assert_eq!(there, found.contains(&image), "{query}: {image}");
        }
        assert!(!page.contains("<script>"), "{query}");
    }
}

#[test]
fn every_field_of_a_hostile_archive_is_text() {
    let mut place = Memory::default();
    let long = HOSTILE.repeat(20_000);
    let bad = json!({
        "architecture": HOSTILE, "os": HOSTILE, "variant": HOSTILE, "created": HOSTILE,
        "config": {"Labels": {HOSTILE: HOSTILE, "long": long}, "User": HOSTILE, "Cmd": [HOSTILE],
            "Entrypoint": [HOSTILE], "WorkingDir": HOSTILE, "ExposedPorts": {HOSTILE: {}},
            "Volumes": {HOSTILE: {}}},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created": HOSTILE, "created_by": HOSTILE, "comment": HOSTILE},
            {"created_by": long}],
    });
    let layer = {
        let mut layer = place.blob(&format!("application/x{HOSTILE}"), b"layer");
        layer.annotate("org.opencontainers.image.title", HOSTILE);
        layer.to_value()
    };
    let artifact = |subject: Option<&Descriptor>, config: Value| {
        let mut value = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
            "layers": [layer], "artifactType": HOSTILE, "annotations": {HOSTILE: HOSTILE}});
        if let Some(subject) = subject {
            value["subject"] = subject.to_value();
        }
        value
    };
    let image_config = place.document(OCI_CONFIG, &bad).to_value();
    let other_config = place.blob(&format!("text/html{HOSTILE}"), b"{}").to_value();
    let image = artifact(None, image_config);
    let image = place.document(OCI_MANIFEST, &image);
    let about = artifact(Some(&image), other_config);
    let about = place.document(OCI_MANIFEST, &about);
    let mut listed = image.to_value();
    listed["platform"] = json!({"os": HOSTILE, "architecture": HOSTILE, "variant": HOSTILE});
    let mut attestation = about.to_value();
    attestation["annotations"] = json!({"vnd.docker.reference.type": HOSTILE,
        "vnd.docker.reference.digest": HOSTILE});
    let index = place.document(
        OCI_INDEX,
        &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed, attestation],
            "annotations": {HOSTILE: HOSTILE}}),
    );
    place.name(&image, &["docker.io/library/bad:image"]);
    place.name(&index, &["docker.io/library/bad:index"]);
    place.name(&about, &[]).companion = true;
    let registry = served(place);
    let targets = [
        "/".to_owned(),
        "/packing-list".to_owned(),
        "/r/bad:image".to_owned(),
        "/r/bad:index".to_owned(),
        format!("/r/bad@{}", about.digest),
        format!("/?{}", route::encoded_query([("q", HOSTILE.to_owned())])),
    ];
    for target in targets {
        let page = page(&registry, &target);
        for never in ["<script>", "<img", "\"'>", "\u{202e}", "\0", "\x1b", "\u{2028}"] {
            assert!(!page.contains(never), "{never:?} in {target}");
        }
        let escaped = page.contains("&lt;script&gt;alert(1)&lt;/script&gt;");
        assert!(escaped || target == "/packing-list", "{target} shows nothing of it");
        assert!(page.len() < 200_000, "{target} has {} bytes", page.len());
    }
    let image = page(&registry, "/r/bad:image");
    contains(&image, &["\\u{202e}\\x00\\x1b[2J\\u{2028}", "bytes more</i>"]);
}

#[test]
fn a_media_type_of_strangers_is_not_repeated_to_browsers() {
    let mut place = Memory::default();
    let mut image = place.image(&config("amd64"), &["a"], &json!({"mediaType": null}));
    let bytes = place.blobs[&image.digest].clone();
    let bytes = String::from_utf8(bytes).unwrap().replace("\"mediaType\":null,", "");
    image = place.blob("text/html", bytes.as_bytes());
    place.name(&image, &["docker.io/library/a:1"]);
    let answer = ask(&served(place), Method::GET, "/v2/a/manifests/1");
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], OCI_MANIFEST);
}

#[test]
fn ten_thousand_images_come_in_pages() {
    let mut place = Memory::default();
    let image = place.image(&config("amd64"), &["a"], &Value::Null);
    for n in 0..10_000 {
        place.name(&image, &[&format!("docker.io/library/app{}:v{n}", n % 50)]);
    }
    let registry = served(place);
    let first = page(&registry, "/");
    contains(&first, &["10000 images in 50 repositories", "Images 1 to 200 of 10000"]);
    contains(&first, &["href=\"/?page=2\""]);
    assert!(first.len() < 400_000, "{}", first.len());
    let last = page(&registry, "/?page=50");
    contains(&last, &["Images 9801 to 10000 of 10000", "href=\"/?page=49\""]);
    let found = page(&registry, "/?q=app7:v1");
    contains(&found, &["Images with app7:v1"]);
    let list = page(&registry, "/packing-list");
    contains(&list, &["href=\"/packing-list?page=2\""]);
    assert!(list.len() < 1_000_000, "{}", list.len());
}

#[test]
fn what_is_counted_once_is_counted_again_when_something_changed() {
    let mut place = Memory::default();
    let image = place.image(&config("amd64"), &["a", "b"], &Value::Null);
    place.name(&image, &["docker.io/library/app:1"]);
    let registry = served(place);
    contains(&page(&registry, "/"), &["1 image in 1 repository"]);
    let first = registry.kept().counted(registry.catalogue());
    page(&registry, "/packing-list");
    page(&registry, "/?q=app");
    assert!(Arc::ptr_eq(&first, &registry.kept().counted(registry.catalogue())));
    // A tag more, as a push adds it.
    let name = registry.catalogue().repositories().into_iter().next().unwrap();
    registry.catalogue().parts()[0].change(|held| {
        let repository = held.repositories.get_mut(&name).unwrap();
        repository.tags.insert("2".into(), image.digest);
    });
    for target in ["/", "/?q=app"] {
        contains(&page(&registry, target), &["2 images in 1 repository", "app:2"]);
    }
    // Another medium in its place.
    registry.catalogue().replace(Vec::new(), Vec::new());
    contains(&page(&registry, "/"), &["Nothing is served yet."]);
}

#[test]
fn every_page_forbids_what_it_does_not_need() {
    let registry = peaceful();
    for (target, media_type, status) in [
        ("/", "text/html; charset=utf-8", 200),
        ("/packing-list", "text/html; charset=utf-8", 200),
        ("/r/one:1.0", "text/html; charset=utf-8", 200),
        ("/style.css", "text/css; charset=utf-8", 200),
        ("/page.js", "text/javascript; charset=utf-8", 200),
        ("/icon.svg", "image/svg+xml", 200),
        ("/nothing", "text/html; charset=utf-8", 404),
        ("/r/one:2.0", "text/html; charset=utf-8", 404),
        ("/r/none:1.0", "text/html; charset=utf-8", 404),
        ("/r/one@sha256:bad", "text/html; charset=utf-8", 404),
        ("/r/", "text/html; charset=utf-8", 404),
        ("/r/../etc:passwd", "text/html; charset=utf-8", 404),
        ("/%3Cscript%3E", "text/html; charset=utf-8", 404),
    ] {
        let get = ask(&registry, Method::GET, target);
        assert_eq!(get.status, status, "{target}");
        assert_eq!(get.headers[header::CONTENT_TYPE], media_type, "{target}");
        let policy = get.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
        assert_eq!(get.headers[header::REFERRER_POLICY], "no-referrer");
        assert!(get.headers.contains_key(header::CACHE_CONTROL), "{target}");
        let head = ask(&registry, Method::HEAD, target);
        assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{target}");
        assert_eq!(ask(&registry, Method::POST, target).status, 405, "{target}");
        assert!(!text(get).contains("<script>"), "{target}");
    }
}

#[test]
fn nothing_served_is_said_in_words() {
    contains(&page(&served(Memory::default()), "/"), &["Nothing is served yet."]);
    contains(&page(&served(Memory::default()), "/packing-list"), &["0 images"]);
}

#[test]
fn an_image_that_cannot_be_read_any_more_is_an_error_of_its_own_page_only() {
    let mut place = Memory::default();
    let one = place.image(&config("amd64"), &["a"], &Value::Null);
    let two = place.image(&config("arm64"), &["b"], &Value::Null);
    place.name(&one, &["docker.io/library/one:1"]);
    place.name(&two, &["docker.io/library/two:1"]);
    let ctx = Context::default();
    let held = holdings::gather(&place, &[], None, &ctx).unwrap();
    place.blobs.get_mut(&one.digest).unwrap()[0] = b'[';
    let registry = Registry::new(NameResolver::default(), &ctx);
    registry.catalogue().replace(vec![Arc::new(Part::new(Box::new(place), held))], Vec::new());
    contains(&page(&registry, "/"), &["cannot be read", "linux/arm64"]);
    contains(&page(&registry, "/packing-list"), &["cannot be read", "linux/arm64"]);
    page(&registry, "/r/two:1");
    let answer = ask(&registry, Method::GET, "/r/one:1");
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(registry.asked_again());
    contains(&text(answer), &["one:1 cannot be read"]);
}
