//! Tests of where names lead.

use super::*;

/// Rules from files below a directory: (path, text).
fn load(files: &[(&str, &str)], change: impl FnOnce(&mut Settings)) -> Result<Rules> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut settings = Settings { root: dir.path().to_path_buf(), ..Settings::default() };
    let home = dir.path().join("home").display().to_string();
    settings.variables.insert("HOME".into(), home);
    change(&mut settings);
    for value in settings.variables.values_mut() {
        *value = value.replace("ROOT", &dir.path().display().to_string());
    }
    Rules::load(&settings)
}

fn rules(text: &str) -> Rules {
    load(&[("etc/containers/registries.conf", text)], |_| ()).unwrap()
}

/// Endpoints as `host/path`, with marks: `~` mirror, `h` may speak http, `i` any certificate.
fn pulls(rules: &Rules, name: &str) -> Vec<String> {
    rules.pull(&name.parse().unwrap()).unwrap().iter().map(shown).collect()
}

fn shown(e: &Endpoint) -> String {
    let mark = |on: bool, mark: &'static str| if on { mark } else { "" };
    let marks = [mark(e.mirror, "~"), mark(e.plain_http, "h"), mark(e.insecure, "i")].concat();
    let ns = e.ns.as_ref().map(|ns| format!("?ns={ns}")).unwrap_or_default();
    format!("{}/{}{ns} {marks}", e.host, e.path).trim_end().to_owned()
}

#[test]
fn without_rules_a_name_leads_to_its_registry() {
    for (name, want) in [
        ("nginx", "registry-1.docker.io/library/nginx"),
        ("a/b:1", "registry-1.docker.io/a/b"),
        ("quay.io/a/b", "quay.io/a/b"),
        ("localhost:5000/a", "localhost:5000/a h"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a h"),
        ("a.localhost/a", "a.localhost/a h"),
        ("[::1]:5000/a", "[::1]:5000/a h"),
        ("10.0.0.1:5000/a", "10.0.0.1:5000/a"),
    ] {
        let rules = load(&[], |_| ()).unwrap();
        assert_eq!(pulls(&rules, name), [want], "{name}");
        assert_eq!(shown(&rules.push(&name.parse().unwrap()).unwrap()), want, "{name}");
    }
}

#[test]
fn the_longest_prefix_rewrites_a_pull_and_no_push() {
    let rules = rules(
        r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io"
        location = "hub.test:5000/proxy"
        [[registry]]
        prefix = "docker.io/library/x"
        location = "x.test"
        insecure = true
        [[registry]]
        location = "plain.test"
        insecure = true
        [[registry]]
        prefix = "back.test/old"
        location = "docker.io/new"
        [[registry]]
        prefix = "ported.test"
        location = "other.test"
        "#,
    );
    for (name, pull, push) in [
        ("y", "hub.test:5000/proxy/library/y", "registry-1.docker.io/library/y"),
        ("x/a", "hub.test:5000/proxy/x/a", "registry-1.docker.io/x/a"),
        ("docker.io/library/x/z", "x.test/z hi", "registry-1.docker.io/library/x/z hi"),
        ("plain.test/a", "plain.test/a hi", "plain.test/a hi"),
        ("plain.test.org/a", "plain.test.org/a", "plain.test.org/a"),
        ("back.test/old/a", "registry-1.docker.io/new/a", "back.test/old/a"),
        ("back.test/older", "back.test/older", "back.test/older"),
        ("ported.test:5000/a", "other.test:5000/a", "ported.test:5000/a"),
    ] {
        assert_eq!(pulls(&rules, name), [pull], "{name}");
        assert_eq!(shown(&rules.push(&name.parse().unwrap()).unwrap()), push, "{name}");
    }
}

#[test]
fn a_wildcard_stands_for_whole_labels_of_a_host() {
    let rules = rules(
        r#"
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        [[registry]]
        prefix = "*.a.example.com"
        location = "in.test/a"
        [[registry]]
        prefix = "*.ns.test/team"
        blocked = true
        "#,
    );
    for (name, want) in [
        ("x.example.com/r", "x.example.com/r hi"),
        ("x.y.example.com:5000/r", "x.y.example.com:5000/r hi"),
        ("b.a.example.com/r", "in.test/a/r"),
        ("example.com/r", "example.com/r"),
        ("badexample.com/r", "badexample.com/r"),
        ("x.example.com.org/r", "x.example.com.org/r"),
        ("q.test/x.example.com", "q.test/x.example.com"),
        ("x.ns.test/teams", "x.ns.test/teams"),
    ] {
        assert_eq!(pulls(&rules, name), [want], "{name}");
    }
    let error = rules.pull(&"x.ns.test/team/r".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
}

#[test]
fn mirrors_are_tried_first_for_what_they_serve() {
    let rules = rules(
        r#"
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "all.test:5000/docker.io"
        insecure = true
        [[registry.mirror]]
        location = "digests.test"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.test"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "strict.test"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.test"
        "#,
    );
    let digest = format!("@sha256:{}", "a".repeat(64));
    let all = "all.test:5000/docker.io/library/n ~hi";
    let (hub, digests, tags) =
        ("registry-1.docker.io/library/n", "digests.test/library/n ~", "tags.test/library/n ~");
    assert_eq!(pulls(&rules, "n:1"), [all, tags, hub]);
    assert_eq!(pulls(&rules, &format!("n{digest}")), [all, digests, hub]);
    assert_eq!(pulls(&rules, &format!("n:1{digest}")), [all, digests, hub]);
    assert_eq!(pulls(&rules, "n"), [all, digests, tags, hub]);
    assert_eq!(pulls(&rules, "strict.test/r:1"), ["strict.test/r"]);
    assert_eq!(pulls(&rules, &format!("strict.test/r{digest}")), ["m.test/r ~", "strict.test/r"]);
    let serves = |only| {
        let endpoint = Endpoint { only, ..rules.registry("a.test").unwrap() };
        (endpoint.serves(true), endpoint.serves(false))
    };
    assert_eq!(serves(Only::Anything), (true, true));
    assert_eq!(serves(Only::Digests), (true, false));
    assert_eq!(serves(Only::Tags), (false, true));
}

#[test]
fn what_is_blocked_is_denied() {
    let rules = rules(
        "[[registry]]\nprefix = \"bad.test/x\"\nblocked = true\n[[registry]]\nlocation = \"no.test\"\nblocked = true",
    );
    for name in ["bad.test/x/y:1", "bad.test/x", "no.test/a"] {
        let name: Reference = name.parse().unwrap();
        for error in [rules.pull(&name).unwrap_err(), rules.push(&name).unwrap_err()] {
            assert_eq!(error.kind(), Kind::Denied);
            let line = format!("{}: is blocked in registries.conf", name.repository());
            assert_eq!(error.to_string(), line);
        }
    }
    assert!(rules.push(&"bad.test/xy".parse().unwrap()).is_ok());
    assert_eq!(rules.registry("no.test").unwrap_err().kind(), Kind::Denied);
    assert!(rules.registry("bad.test").is_ok());
}

#[test]
fn the_users_file_replaces_the_systems_and_drop_ins_come_last() {
    let one = |host: &str| format!("[[registry]]\nprefix = \"p.test\"\nlocation = \"{host}\"\n");
    let system = ("etc/containers/registries.conf", one("system.test"));
    let user = ("home/.config/containers/registries.conf", one("user.test"));
    let drop = ("etc/containers/registries.conf.d/b.conf", one("b.test"));
    let early = ("etc/containers/registries.conf.d/a.conf", one("a.test"));
    let other = ("etc/containers/registries.conf.d/z.txt", one("z.test"));
    let own = ("home/.config/containers/registries.conf.d/a.conf", one("own.test"));
    let named = ("named.conf", one("named.test"));
    let nothing = |_: &mut Settings| ();
    let variable = |s: &mut Settings| {
        s.variables.insert("CONTAINERS_REGISTRIES_CONF".into(), "ROOT/named.conf".into());
    };
    type Change = fn(&mut Settings);
    for (files, change, want) in [
        (vec![&system], nothing as Change, "system.test/r"),
        (vec![&system, &user], nothing, "user.test/r"),
        (vec![&system, &user, &drop, &early, &other], nothing, "b.test/r"),
        (vec![&system, &drop, &own], nothing, "own.test/r"),
        (vec![&system, &user, &named], variable, "named.test/r"),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
        assert_eq!(pulls(&load(&files, change).unwrap(), "p.test/r"), [want], "{files:?}");
    }
    assert_eq!(load(&[], variable).unwrap_err().kind(), Kind::Missing);
}

#[test]
fn what_of_version_1_forbids_or_loosens_is_kept() {
    let rules = rules(
        "[registries.search]\nregistries = [\"docker.io\"]\n[registries.insecure]\nregistries = [\"i.test\"]\n[registries.block]\nregistries = [\"b.test\"]",
    );
    assert_eq!(pulls(&rules, "i.test/r"), ["i.test/r hi"]);
    assert!(rules.pull(&"b.test/r".parse().unwrap()).is_err());
}

#[test]
fn docker_names_insecure_hosts_networks_and_mirrors_of_the_hub() {
    let text = r#"{"insecure-registries": ["reg.test:5000", "10.0.0.0/8"], "debug": true,
        "registry-mirrors": ["https://m.test:5000/", "http://127.0.0.1:5001", "http://h.test"]}"#;
    let rules = load(&[("etc/docker/daemon.json", text)], |_| ()).unwrap();
    assert_eq!(pulls(&rules, "reg.test:5000/r"), ["reg.test:5000/r hi"]);
    assert_eq!(pulls(&rules, "reg.test/r"), ["reg.test/r"]);
    assert_eq!(pulls(&rules, "10.1.2.3:5000/r"), ["10.1.2.3:5000/r hi"]);
    let hub = pulls(&rules, "nginx:1");
    assert_eq!(
        hub,
        [
            "m.test:5000/library/nginx ~",
            "127.0.0.1:5001/library/nginx ~h",
            "h.test/library/nginx ~h",
            "registry-1.docker.io/library/nginx"
        ]
    );
    let rootless = ("home/.config/docker/daemon.json", "{\"insecure-registries\":[\"own.test\"]}");
    let rules = load(&[rootless, ("etc/docker/daemon.json", text)], |_| ()).unwrap();
    assert_eq!(pulls(&rules, "own.test/r"), ["own.test/r hi"]);
    assert_eq!(pulls(&rules, "reg.test:5000/r"), ["reg.test:5000/r"]);
}

#[test]
fn flags_come_before_files() {
    let conf =
        "[[registry]]\nprefix = \"docker.io\"\n[[registry.mirror]]\nlocation = \"conf.test\"\n";
    let rules = load(&[("etc/containers/registries.conf", conf)], |s| {
        s.mirrors = vec![
            ("docker.io".into(), "m.test:5000".into()),
            ("docker.io".into(), "http://p.test/hub/".into()),
            ("quay.io".into(), "q.test".into()),
            ("docker.io".into(), "conf.test".into()),
        ];
        s.insecure_hosts = vec!["reg.test".into()];
    });
    let rules = rules.unwrap();
    assert_eq!(
        pulls(&rules, "nginx:1"),
        [
            "m.test:5000/library/nginx?ns=docker.io ~",
            "p.test/hub/library/nginx ~h",
            "conf.test/library/nginx?ns=docker.io ~",
            "registry-1.docker.io/library/nginx"
        ]
    );
    assert_eq!(pulls(&rules, "quay.io/a")[0], "q.test/a?ns=quay.io ~");
    assert_eq!(pulls(&rules, "reg.test/a"), ["reg.test/a hi"]);
    let rules = load(&[], |s| s.plain_http = true).unwrap();
    assert_eq!(pulls(&rules, "a.test/a"), ["a.test/a h"]);
    let rules = load(&[], |s| s.insecure = true).unwrap();
    assert_eq!(pulls(&rules, "a.test/a"), ["a.test/a i"]);
}

#[test]
fn files_that_cannot_be_understood_are_refused_by_name() {
    for (text, want) in [
        ("[[registry]\n", "registries.conf"),
        ("[[registry]]\nblocked = true", "neither prefix nor location"),
        ("[[registry]]\nlocation = \"https://a.test\"", "no https://"),
        ("[[registry]]\nprefix = \"a.*.test\"", "wildcard"),
        (
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"\"",
            "mirror's location",
        ),
        (
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"m\"\npull-from-mirror = \"x\"",
            "pull-from-mirror",
        ),
        ("[[registry]]\nlocation = \"a\"\ninsecure = \"yes\"", "line 3"),
    ] {
        let error = load(&[("etc/containers/registries.conf", text)], |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{text}");
        assert!(error.to_string().contains(want), "{error}");
        assert!(error.to_string().contains("etc/containers/registries.conf"), "{error}");
    }
    let error = load(&[("etc/docker/daemon.json", "{")], |_| ()).unwrap_err();
    assert!(error.to_string().contains("daemon.json: is not valid JSON"), "{error}");
}
