//! The page of `imgpack serve` in a real browser: peaceful and hostile archives, with scripts and without,
//! by mouse and by keyboard, light, dark and on paper. Pictures are kept in `target/tmp/serve_page`.

mod browser;
mod common;
mod net;

use std::path::PathBuf;

use browser::{Browser, ELSEWHERE};
use common::Sandbox;
use common::image::{Image, Oci, layer, text};
use net::serve::Server;
use serde_json::{Value, json};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const HOSTILE: &str = "\"'><script>document.title='owned'</script><img src=http://evil.example/x onerror=alert(1)>&lt;\u{202e}\u{0}\u{1b}[2J";
const OCI: &str = "application/vnd.oci.image.";

/// A server over one layout.
struct Served {
    server: Server,
    _sandbox: Sandbox,
}

impl Served {
    fn start(oci: &Oci) -> Self {
        let sandbox = Sandbox::new();
        oci.write(&sandbox.path("place"));
        let server = Server::start(&sandbox, &[&sandbox.text("place")]);
        Self { server, _sandbox: sandbox }
    }

    /// A page on this machine, which browsers trust.
    fn here(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// The same as if it were another machine.
    fn elsewhere(&self, path: &str) -> String {
        format!("http://{ELSEWHERE}:{}{path}", self.server.port())
    }
}

fn picture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("serve_page").join(name)
}

/// An image with a history, labels and layers of many sizes, the first ones from `base`.
fn image(base: &[&str], own: &[&str], architecture: &str) -> Image {
    let layers: Vec<Vec<u8>> =
        base.iter().chain(own).map(|seed| layer(&format!("{seed}-{architecture}"))).collect();
    let made = Image::of(layers);
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2024-11-05T10:20:30.123Z",
        "config": {
            "User": "65532", "Entrypoint": ["/docker-entrypoint.sh"],
            "Cmd": ["nginx", "-g", "daemon off;"], "WorkingDir": "/srv",
            "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
            "Labels": {
                "maintainer": "NGINX Docker Maintainers <docker-maint@nginx.com>",
                "org.opencontainers.image.source": "https://github.com/nginxinc/docker-nginx",
                "org.opencontainers.image.licenses": "BSD-2-Clause",
                "a.longer.description": "A web server.\nIt has lines,\n\tand tabs.",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": made.diff_ids()},
        "history": made.layers.iter().enumerate().flat_map(|(at, _)| [
            json!({"created": "2024-11-05T10:20:30Z",
                "created_by": format!("RUN /bin/sh -c set -x     && groupadd --system --gid 101 nginx     && useradd --system --gid nginx --no-create-home step{at} # buildkit"),
                "comment": "buildkit.dockerfile.v0"}),
            json!({"created": "2024-11-05T10:20:31Z", "created_by": format!("ENV STEP={at}"), "empty_layer": true}),
        ]).collect::<Vec<_>>(),
    });
    made.with_config(&config)
}

fn listed(desc: &Value, architecture: &str) -> Value {
    let mut desc = desc.clone();
    desc["platform"] = json!({"os": "linux", "architecture": architecture});
    desc
}

/// An artifact that says what it is about.
fn about(oci: &mut Oci, subject: &Value, artifact_type: &str) {
    let empty = oci.blob("application/vnd.oci.empty.v1+json", b"{}");
    let body =
        oci.blob("application/spdx+json", format!("{{\"of\": {}}}", subject["digest"]).as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": format!("{OCI}manifest.v1+json"),
        "artifactType": artifact_type, "config": empty, "layers": [body],
        "subject": {"mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"]},
        "annotations": {"org.opencontainers.image.created": "2024-11-06T00:00:00Z"}});
    let desc = oci.blob(&format!("{OCI}manifest.v1+json"), &text(&manifest));
    oci.name(&desc, None);
}

fn peaceful() -> Oci {
    let mut oci = Oci::new();
    let (base, names) = (["debian-12"], ["web", "api", "worker", "scheduler", "reports"]);
    for architecture in ["amd64"] {
        for name in names {
            for version in ["1.0", "1.1", "2.0"] {
                let own = format!("{name}-{version}");
                let desc = oci.manifest(&image(&base, &["runtime", &own], architecture));
                oci.name(&desc, Some(&format!("registry.example:5000/team/{name}:{version}")));
            }
        }
    }
    let amd = oci.manifest(&image(&base, &["nginx-conf", "nginx-bin", "nginx"], "amd64"));
    let arm = oci.manifest(&image(&base, &["nginx-conf", "nginx-bin", "nginx"], "arm64"));
    let nginx = oci.index(&[listed(&amd, "amd64"), listed(&arm, "arm64")]);
    oci.name(&nginx, Some("docker.io/library/nginx:1.27"));
    oci.name(&nginx, Some("docker.io/library/nginx:latest"));
    oci.name(&amd, Some("quay.io/coreos/etcd:v3.5.17"));
    about(&mut oci, &nginx, "application/vnd.dev.cosign.artifact.sig.v1+json");
    about(&mut oci, &amd, "application/spdx+json");
    oci
}

fn hostile() -> Oci {
    let mut oci = Oci::new();
    let made = Image::new("hostile", 2);
    let long = format!("{HOSTILE}{}", "long ".repeat(40_000));
    let config = json!({
        "architecture": HOSTILE, "os": HOSTILE, "created": HOSTILE,
        "config": {"Labels": {HOSTILE: HOSTILE, "long": long, "unbroken": "x".repeat(3_000)},
            "User": HOSTILE, "Cmd": [HOSTILE], "Entrypoint": [HOSTILE], "WorkingDir": "/".repeat(2_000)},
        "rootfs": {"type": "layers", "diff_ids": made.diff_ids()},
        "history": [{"created": HOSTILE, "created_by": HOSTILE, "comment": HOSTILE},
            {"created_by": "y".repeat(100_000)}],
    });
    let image = made.with_config(&config);
    let plain = oci.manifest(&image);
    let path = "deep/".repeat(40) + "name";
    oci.name(&plain, Some(&format!("registry.example:5000/{path}:{}", "t".repeat(128))));
    let mut entry = plain.clone();
    entry["platform"] = json!({"os": HOSTILE, "architecture": HOSTILE});
    let index = json!({"schemaVersion": 2, "mediaType": format!("{OCI}index.v1+json"),
        "manifests": [entry], "annotations": {HOSTILE: HOSTILE}});
    let index = oci.blob(&format!("{OCI}index.v1+json"), &text(&index));
    oci.name(&index, Some("docker.io/library/hostile:index"));
    oci.name(&plain, Some("docker.io/library/hostile:image"));
    about(&mut oci, &plain, HOSTILE);
    oci
}

/// Nothing but this server was asked, and the console has nothing to say.
#[track_caller]
fn calm(browser: &Browser, served: &Served) {
    let said = browser.console();
    assert!(said.is_empty(), "{said:?}");
    let own = [served.here("/"), served.elsewhere("/")];
    for url in browser.requests() {
        let ours = own.iter().any(|own| url.starts_with(own)) || url.starts_with("data:");
        assert!(ours || url.starts_with("chrome"), "a request to {url}");
    }
}

/// No page is wider than the window.
#[track_caller]
fn fits(browser: &Browser) {
    let script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth";
    let more = browser.run(script).as_i64().expect("a number");
    assert!(more <= 0, "{more} pixels wider than the window");
}

#[test]
fn the_pages_of_peaceful_images_load_quietly() {
    let Some(browser) = Browser::start() else { return };
    let served = Served::start(&peaceful());
    for (path, name) in [
        ("/", "index"),
        ("/r/nginx:1.27", "image-index"),
        ("/r/registry.example_5000/team/web:2.0", "image"),
        ("/packing-list", "packing-list"),
        ("/nothing", "not-found"),
    ] {
        browser.open(&served.here(path));
        browser.wait("return document.readyState === 'complete'");
        browser.picture(&picture(&format!("{name}.png")));
        fits(&browser);
        if path == "/nothing" {
            // Chromium itself notes a page with status 404.
            browser.console();
        }
        calm(&browser, &served);
    }
    browser.open(&served.here("/"));
    assert_eq!(browser.run("return document.querySelectorAll('tbody tr').length"), json!(18));
    browser.open(&served.here("/r/nginx:1.27"));
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true");
    browser.picture(&picture("image-index-open.png"));
    // A telephone.
    let small = json!({"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": true});
    browser.devtools("Emulation.setDeviceMetricsOverride", &small);
    for path in ["/", "/r/nginx:1.27", "/packing-list"] {
        browser.open(&served.here(path));
        fits(&browser);
    }
    browser.picture(&picture("telephone.png"));
}

#[test]
fn a_hostile_archive_is_shown_and_does_nothing() {
    let Some(browser) = Browser::start() else { return };
    let served = Served::start(&hostile());
    for (path, name) in [
        ("/", "hostile-index"),
        ("/r/hostile:image", "hostile-image"),
        ("/r/hostile:index", "hostile-image-index"),
        ("/packing-list", "hostile-packing-list"),
        ("/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "hostile-search"),
    ] {
        browser.open(&served.here(path));
        browser.wait("return document.readyState === 'complete'");
        browser.picture(&picture(&format!("{name}.png")));
        assert_ne!(browser.text("return document.title"), "owned", "{path}");
        let own =
            "return document.querySelectorAll('script').length + '/' + document.images.length";
        assert_eq!(browser.text(own), "1/0", "{path}");
        fits(&browser);
        calm(&browser, &served);
    }
}

#[test]
fn a_line_is_copied_or_at_least_selected() {
    let Some(browser) = Browser::start() else { return };
    let served = Served::start(&peaceful());
    let said = "return document.getElementById('said').textContent";
    let selected = "return getSelection().toString()";
    // On this machine there is a clipboard.
    browser.open(&served.here("/"));
    let line =
        format!("ctr images pull --plain-http 127.0.0.1:{}/nginx:1.27", served.server.port());
    browser.click("input[value=ctr]");
    browser.click("[data-image$='/nginx:1.27']");
    assert_eq!(browser.wait(said), json!(format!("Copied: {line}")));
    browser.picture(&picture("copied.png"));
    let origin = served.here("");
    browser.devtools(
        "Browser.grantPermissions",
        &json!({"origin": origin, "permissions": ["clipboardReadWrite"]}),
    );
    assert_eq!(browser.text("return navigator.clipboard.readText()"), line);
    // The choice is remembered.
    browser.open(&served.here("/?q=web"));
    assert_eq!(browser.text("return document.querySelector('[name=tool]:checked').value"), "ctr");
    calm(&browser, &served);
    // Elsewhere over plain http there is none: an older way copies, or the line is left selected.
    browser.open(&served.elsewhere("/r/nginx:1.27"));
    assert_eq!(browser.run("return navigator.clipboard === undefined"), json!(true));
    let line = format!("docker pull {ELSEWHERE}:{}/nginx:1.27", served.server.port());
    browser.click("[data-from=line-docker]");
    assert_eq!(browser.wait(said), json!(format!("Copied: {line}")));
    assert_eq!(browser.text(selected), line);
    browser.run("document.execCommand = () => false");
    browser.click("[data-from=line-docker]");
    assert_eq!(browser.wait(said), json!(format!("Selected, press Ctrl+C: {line}")));
    assert_eq!(browser.text(selected), line);
    calm(&browser, &served);
}

#[test]
fn everything_is_reached_by_keyboard() {
    let Some(browser) = Browser::start() else { return };
    let served = Served::start(&peaceful());
    browser.open(&served.here("/"));
    let focused =
        "const e = document.activeElement; return e.className + '|' + e.id + '|' + e.tagName";
    browser.press(TAB);
    assert_eq!(browser.text(focused), "skip||A");
    let ring = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.text(ring), "solid");
    browser.press(ENTER);
    assert_eq!(browser.text(focused), "|main|MAIN");
    // From there: the tools as one stop, then each image and its button.
    browser.press(TAB);
    assert!(browser.text(focused).ends_with("|INPUT"), "{}", browser.text(focused));
    browser.press(TAB);
    let first = browser.text("return document.activeElement.href");
    assert!(first.contains("/r/"), "{first}");
    browser.press(TAB);
    assert_eq!(browser.text(focused), "copy||BUTTON");
    browser.press(ENTER);
    browser.wait("return document.getElementById('said').textContent.startsWith('Copied')");
    browser.press("/");
    assert_eq!(browser.text(focused), "|q|INPUT");
    browser.press("etcd");
    let shown = "return [...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).length";
    assert_eq!(browser.run(shown), json!(1));
    browser.press(ENTER);
    browser.wait("return location.search === '?q=etcd' && document.readyState === 'complete'");
    assert_eq!(browser.run(shown), json!(1));
    calm(&browser, &served);
}

#[test]
fn it_is_dark_where_that_is_wished_and_black_on_white_on_paper() {
    let Some(browser) = Browser::start() else { return };
    let served = Served::start(&peaceful());
    let light = |what: &str| {
        let script = format!(
            "return getComputedStyle(document.body).{what}.match(/\\d+/g).map(Number).slice(0, 3)"
        );
        let parts = browser.run(&script);
        parts.as_array().expect("a colour").iter().filter_map(Value::as_u64).sum::<u64>() / 3
    };
    browser.media("screen", "light");
    browser.open(&served.here("/packing-list"));
    assert!(light("backgroundColor") > 240 && light("color") < 60);
    for (path, name) in [("/", "dark-index"), ("/r/nginx:1.27", "dark-image")] {
        browser.media("screen", "dark");
        browser.open(&served.here(path));
        assert!(light("backgroundColor") < 50 && light("color") > 200, "{path}");
        browser.picture(&picture(&format!("{name}.png")));
    }
    browser.media("print", "dark");
    browser.open(&served.here("/packing-list"));
    assert_eq!((light("backgroundColor"), light("color")), (255, 0));
    let shown = |selector: &str| {
        browser
            .text(&format!("return getComputedStyle(document.querySelector('{selector}')).display"))
    };
    assert_eq!(
        (shown("header"), shown("thead"), shown(".print")),
        ("none".into(), "table-header-group".into(), "none".into())
    );
    browser.picture(&picture("printed.png"));
    browser.print(&picture("packing-list.pdf"));
    let pdf = std::fs::read(picture("packing-list.pdf")).expect("a file");
    assert!(pdf.starts_with(b"%PDF-"), "no PDF");
}

#[test]
fn without_scripts_all_can_be_read_and_searched() {
    let Some(browser) = Browser::start() else { return };
    let served = Served::start(&peaceful());
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    for path in ["/", "/r/nginx:1.27", "/packing-list"] {
        browser.open(&served.here(path));
        // What needs scripts takes no place.
        let seen =
            "return [...document.querySelectorAll('.js')].filter(e => e.checkVisibility()).length";
        assert_eq!(browser.run(seen), json!(0), "{path}");
    }
    browser.open(&served.here("/"));
    browser.picture(&picture("without-scripts.png"));
    browser.click("#q");
    browser.press("etcd");
    browser.press(ENTER);
    browser.wait("return location.search === '?q=etcd'");
    assert_eq!(browser.run("return document.querySelectorAll('tbody tr').length"), json!(1));
    browser.click("tbody a");
    browser.wait("return location.pathname === '/r/quay.io/coreos/etcd%3Av3.5.17' || location.pathname === '/r/quay.io/coreos/etcd:v3.5.17'");
    calm(&browser, &served);
}
