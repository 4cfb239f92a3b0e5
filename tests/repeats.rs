//! What a sync asks of registries: how little the second time, nothing twice, and what an image is
//! called that some platforms were left out of. Requests are counted by a proxy.

mod common;
mod net;

use common::image::{Image, Oci, layer};
use common::{Ran, Sandbox, list, string};
use net::mock::Mock;
use net::profiles::{PLAIN, Profile, Referrers};
use net::proxy::Proxy;
use net::run;
use serde_json::{Value, json};

const PLATFORMS: [&str; 3] = ["amd64", "arm64", "s390x"];

/// An index of three platforms, and a registry that has it as `team/app:v1`.
struct Rig {
    mock: Mock,
    proxy: Proxy,
    sandbox: Sandbox,
    oci: Oci,
    index: Value,
    children: Vec<Value>,
}

impl Rig {
    fn new(referrers: Referrers) -> Self {
        let mut oci = Oci::new();
        let children: Vec<Value> = PLATFORMS
            .map(|arch| {
                let image = Image::for_platform(vec![layer(arch)], "linux", arch);
                let mut desc = oci.manifest(&image);
                desc["platform"] = json!({"os": "linux", "architecture": arch});
                desc
            })
            .into();
        let index = oci.index(&children);
        oci.name(&index, Some("docker.io/team/app:v1"));
        let mock = Mock::start(Profile { referrers, ..PLAIN });
        mock.fill("team/app", &oci);
        let proxy = Proxy::start(&mock.address(), vec![]);
        Self { mock, proxy, sandbox: Sandbox::new(), oci, index, children }
    }

    fn run(&self, args: &[&str]) -> Ran {
        run::begin(&self.sandbox, args, &[]).wait()
    }

    fn from(&self, reference: &str) -> String {
        format!("{}/team/app{reference}", self.proxy.address())
    }

    /// Method and what is asked for, of every request since the last time.
    fn asked(&self) -> Vec<String> {
        let kind = |target: &str| {
            let path = target.split('?').next().unwrap_or_default().to_owned();
            let parts: Vec<&str> = path.split('/').collect();
            let kinds = ["manifests", "blobs", "referrers", "tags"];
            kinds.iter().find(|k| parts.contains(k)).map_or(path.clone(), ToString::to_string)
        };
        let mut all: Vec<String> = self
            .proxy
            .seen("* *")
            .iter()
            .map(|e| format!("{} {}", e.method, kind(&e.target)))
            .collect();
        all.sort();
        self.proxy.forget();
        all
    }

    fn report(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--format", "json"]].concat()).ok().json()
    }

    /// A cosign signature of something, in the registry.
    fn sign(&mut self, of: &Value) -> String {
        let tag = format!("{}.sig", string(&of["digest"]).replace(':', "-"));
        let mut oci = Oci::new();
        let signature = oci.manifest(&Image::new(&tag, 1));
        oci.name(&signature, Some(&format!("docker.io/team/app:{tag}")));
        self.mock.fill("team/app", &oci);
        string(&signature["digest"])
    }

    /// Something that refers to an image, in the registry.
    fn refer(&mut self, to: &Value) -> String {
        let mut oci = Oci::new();
        let desc = oci.referrer(to, "text/x-sbom");
        self.mock.fill("team/app", &oci);
        string(&desc["digest"])
    }
}

fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|a| *a == what).count()
}

#[test]
fn an_unchanged_image_is_one_question_whatever_its_platforms() {
    for referrers in [Referrers::Api, Referrers::Absent] {
        for platforms in
            [&[][..], &["--platform", "linux/amd64"], &["--platform", "linux/amd64,linux/arm64"]]
        {
            let rig = Rig::new(referrers);
            let from = rig.from(":v1");
            let sync = [&["sync", "registry-to-dir", &from, "usb"], platforms].concat();
            rig.run(&sync).ok();
            rig.asked();
            let again = rig.run(&sync).ok();
            assert!(again.out().ends_with("0 copied, 1 unchanged; 0B sent\n"), "{}", again.out());
            let asked = rig.asked();
            // One query for each subject where there is an API: the index and three platforms.
            let subjects = if referrers == Referrers::Api { 4 } else { 1 };
            assert_eq!(count(&asked, "HEAD manifests"), 1, "{platforms:?}: {asked:?}");
            assert_eq!(count(&asked, "GET referrers"), subjects, "{platforms:?}: {asked:?}");
            assert_eq!(count(&asked, "GET tags"), 1, "{platforms:?}: {asked:?}");
            assert_eq!(count(&asked, "GET manifests"), 0, "{platforms:?}: {asked:?}");
            assert_eq!(count(&asked, "GET blobs"), 0, "{platforms:?}: {asked:?}");
            let alone = [&sync[..], &["--no-companions"]].concat();
            rig.run(&alone).ok();
            let asked = rig.asked();
            assert_eq!(count(&asked, "HEAD manifests"), 1, "{asked:?}");
            let more =
                asked.iter().filter(|a| *a != "HEAD manifests" && !a.ends_with("/v2/")).count();
            assert_eq!(more, 0, "{asked:?}");
        }
    }
}

#[test]
fn an_image_that_goes_by_its_digest_is_reported_by_what_it_became() {
    for (platforms, single) in [("linux/arm64", true), ("linux/amd64,linux/s390x", false)] {
        let rig = Rig::new(Referrers::Absent);
        rig.oci.write(&rig.sandbox.path("in"));
        let digest = string(&rig.index["digest"]);
        let at = format!("@{digest}");
        let base = format!("{}/to", rig.proxy.address());
        let list = rig.sandbox.write("list", format!("docker.io/team/app{at}").as_bytes());
        let from = rig.from(&at);
        let remote = ["sync", "registry-to-registry", "--platform", platforms, &from, &base];
        let local = ["sync", "dir-to-registry", "-f", &list, "--platform", platforms, "in", &base];
        let usb = ["sync", "registry-to-dir", "--platform", platforms, &from, "usb"];
        for (sync, fresh) in [(&remote[..], true), (&local, false), (&usb, true)] {
            let first = rig.report(sync);
            let entry = &first["images"][0];
            let became = string(&entry["digest"]);
            assert_ne!(became, digest);
            assert!(!single || became == string(&rig.children[1]["digest"]), "{entry}");
            assert!(string(&entry["destination"]).ends_with(&format!("@{became}")), "{entry}");
            assert!(string(&entry["source"]).ends_with(&at), "{entry}");
            // From the directory it is what it was from the registry.
            let status = if fresh { "copied" } else { "unchanged" };
            assert_eq!(entry["status"], status, "{entry}");
            for forgetful in [false, true] {
                if forgetful {
                    let _ = std::fs::remove_dir_all(rig.sandbox.path(".local/state/imgpack"));
                }
                rig.asked();
                let again = rig.report(sync);
                assert_eq!(again["images"][0]["status"], "unchanged", "{again}");
                assert_eq!(again["images"][0]["digest"], became.as_str(), "{again}");
                assert_eq!(again["totals"]["bytes_sent"], 0, "{again}");
                assert_eq!(count(&rig.asked(), "PUT manifests"), 0);
            }
        }
    }
}

#[test]
fn what_is_signed_later_follows_an_image_that_stands() {
    let mut rig = Rig::new(Referrers::Api);
    let (index, children) = (rig.index.clone(), rig.children.clone());
    let of_index = rig.sign(&index);
    let from = rig.from(":v1");
    let sync = ["sync", "registry-to-dir", "--platform", "linux/amd64", &from, "usb"];
    let digests = |report: &Value| -> Vec<String> {
        let copied = list(&report["images"]).iter().filter(|e| e["status"] == "copied");
        copied.map(|e| string(&e["digest"])).collect()
    };
    let first = rig.report(&sync);
    let amd64 = string(&children[0]["digest"]);
    // The signature of the index says nothing about what comes without it.
    assert_eq!(digests(&first), [amd64], "{first}");
    assert!(!first.to_string().contains(&of_index), "{first}");
    let late = [rig.sign(&children[0]), rig.refer(&children[0])];
    let other = [rig.sign(&children[1]), rig.refer(&children[2])];
    let mut second = digests(&rig.report(&sync));
    second.sort();
    let mut wanted = late.to_vec();
    wanted.sort();
    assert_eq!(second, wanted);
    rig.asked();
    let third = rig.report(&sync);
    assert_eq!(digests(&third), [""; 0], "{third}");
    assert!(other.iter().all(|digest| !third.to_string().contains(digest)), "{third}");
    assert_eq!(count(&rig.asked(), "GET manifests"), 0);
}

#[test]
fn a_dry_run_counts_what_the_run_then_does() {
    for platforms in
        [&[][..], &["--platform", "linux/amd64"], &["--platform", "linux/amd64,linux/arm64"]]
    {
        let mut rig = Rig::new(Referrers::Api);
        let (index, children) = (rig.index.clone(), rig.children.clone());
        rig.sign(&index);
        rig.sign(&children[1]);
        rig.refer(&children[0]);
        let from = rig.from(":v1");
        let sync = [&["sync", "registry-to-dir", &from, "usb"], platforms].concat();
        let plan = rig.report(&[&sync[..], &["--dry-run"]].concat());
        assert!(!rig.sandbox.path("usb").exists());
        let done = rig.report(&sync);
        let totals = &done["totals"];
        assert_eq!(plan["blobs"], totals["blobs"], "{platforms:?}: {plan} {done}");
        assert_eq!(plan["sent_blobs"], totals["blobs_stored"], "{platforms:?}: {plan} {done}");
        assert_eq!(plan["sent_bytes"], totals["bytes_sent"], "{platforms:?}: {plan} {done}");
        assert_eq!(plan["bytes"], totals["unique_bytes"], "{platforms:?}: {plan} {done}");
        assert_eq!(list(&plan["images"]).len(), list(&done["images"]).len(), "{plan} {done}");
        let again = rig.report(&[&sync[..], &["--dry-run"]].concat());
        assert_eq!((&again["blobs"], &again["bytes"]), (&json!(0), &json!(0)), "{again}");
    }
}

#[test]
fn a_list_of_tags_is_fetched_once() {
    let rig = Rig::new(Referrers::Absent);
    rig.mock.fill("team/other", &rig.oci);
    let host = rig.proxy.address();
    for (what, repositories) in [(&["--catalog", &host][..], 2), (&[&rig.from("")], 1)] {
        rig.asked();
        rig.run(&[&["sync", "registry-to-dir"], what, &["usb"]].concat()).ok();
        let asked = rig.asked();
        assert_eq!(count(&asked, "GET tags"), repositories, "{asked:?}");
    }
}

#[test]
fn a_platform_of_one_image_is_its_own() {
    let rig = Rig::new(Referrers::Absent);
    for tag in ["own", "plain"] {
        rig.mock.tag("team/app", "v1", tag);
    }
    rig.mock.fill("team/other", &rig.oci);
    let host = rig.proxy.address();
    let other = format!("{host}/team/other:v1");
    let text = format!(
        "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nspec:\n  images:\n\
         \x20 - {{name: '{}', platform: linux/arm64}}\n  - {{name: '{other}'}}\n",
        rig.from(":own"),
    );
    rig.sandbox.write("hauler.yaml", text.as_bytes());
    let digests = |report: &Value| -> Vec<String> {
        list(&report["images"]).iter().map(|e| string(&e["digest"])).collect()
    };
    // One index under two names, of which one wants all of it.
    let whole = rig.report(&["sync", "registry-to-dir", "-f", "hauler.yaml", "usb"]);
    let index = string(&rig.index["digest"]);
    assert_eq!(digests(&whole), [index.clone(), index], "{whole}");
    let text = text.replace(&format!("  - {{name: '{other}'}}\n"), "");
    rig.sandbox.write("hauler.yaml", text.as_bytes());
    for platform in [&[][..], &["--platform", "linux/amd64"]] {
        let sync = [&["sync", "registry-to-dir", "-f", "hauler.yaml", "one"], platform].concat();
        let report = rig.report(&sync);
        assert_eq!(digests(&report), [string(&rig.children[1]["digest"])], "{report}");
        assert_eq!(report["images"][0]["platforms"], json!(["linux/arm64"]), "{report}");
    }
    // What failed is tried again for its own platform.
    rig.sandbox.write("report.json", b"");
    let gone = text.replace(":own", ":gone");
    rig.sandbox.write("hauler.yaml", gone.as_bytes());
    let failed = ["sync", "registry-to-dir", "-f", "hauler.yaml", "--report", "report.json", "two"];
    rig.run(&failed).code(4);
    rig.mock.tag("team/app", "v1", "gone");
    let again = rig.report(&["sync", "registry-to-dir", "--retry", "report.json", "two"]);
    assert_eq!(digests(&again), [string(&rig.children[1]["digest"])], "{again}");
}
