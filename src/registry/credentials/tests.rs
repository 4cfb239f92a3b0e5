//! Tests of where credentials come from and where a login goes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::progress::Progress;

/// A home directory with files of its own, and settings that know nothing else.
struct Home {
    dir: tempfile::TempDir,
    settings: Settings,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { root: dir.path().join("root"), ..Settings::default() };
        let path = |name: &str| dir.path().join(name).display().to_string();
        settings.variables.insert("HOME".into(), path("home"));
        settings.variables.insert("PATH".into(), format!("{}:/bin", path("bin")));
        Self { dir, settings }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.variables.insert(name.into(), value.into());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, value.to_string()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// A helper that keeps one file for each server, and counts how often it runs.
    fn helper(&self, name: &str) {
        let script = r#"cd "$(dirname "$0")"; echo "$1" >> runs
case $1 in
get) read -r key || true; f=$(echo "$key" | tr '/:' '__'); if [ -e "$f" ]; then cat "$f"; else echo credentials not found in native keychain; exit 1; fi;;
store) cat > in; f=$(sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' in | tr '/:' '__'); mv in "$f";;
erase) read -r key || true; rm "$(echo "$key" | tr '/:' '__')";;
esac"#;
        let path = self.path("bin").join(format!("docker-credential-{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let mut shell = Command::new("sh");
        assert!(shell.args(["-c", write]).arg(&path).arg(script).status().unwrap().success());
    }

    fn find(&self, host: &str, repository: &str) -> Result<Option<Credential>> {
        Keychain::new(&self.settings).find(host, repository, &Context::default())
    }

    /// User and password, or the kind of credential and its secret.
    fn found(&self, host: &str, repository: &str) -> String {
        match self.find(host, repository).unwrap() {
            None => "none".into(),
            Some(Credential::Basic(l)) => format!("{}:{}", l.username, l.password.reveal()),
            Some(Credential::Identity { username, token }) => {
                format!("identity {username}:{}", token.reveal())
            }
            Some(Credential::Bearer(token)) => format!("bearer {}", token.reveal()),
        }
    }
}

fn auth(text: &str) -> Value {
    json!({"auth": STANDARD.encode(text)})
}

fn login(username: &str, password: &str) -> Login {
    Login { username: username.into(), password: Secret::new(password) }
}

#[test]
fn the_first_place_that_knows_the_host_answers() {
    let mut home = Home::new();
    home.settings.user_id = 7;
    let one = |who: &str| json!({"auths": {"h": auth(&format!("{who}:p"))}});
    let places = [
        ("legacy", "home/.dockercfg"),
        ("docker", "home/.docker/config.json"),
        ("config", "home/.config/containers/auth.json"),
        ("run", "root/run/containers/7/auth.json"),
    ];
    assert_eq!(home.found("h", "r"), "none");
    for (who, path) in places {
        let value = if who == "legacy" { json!({"h": auth("legacy:p")}) } else { one(who) };
        home.write(path, &value);
        assert_eq!(home.found("h", "r"), format!("{who}:p"));
    }
    // A file that knows other hosts only does not end the search.
    home.write("xdg/containers/auth.json", &json!({"auths": {"other": auth("o:p")}}));
    home.set("XDG_RUNTIME_DIR", &home.path("xdg").display().to_string());
    assert_eq!(home.found("h", "r"), "config:p");
    let named = home.write("named.json", &one("named")).display().to_string();
    home.set("REGISTRY_AUTH_FILE", &named);
    assert_eq!(home.found("h", "r"), "named:p");
    home.set("DOCKER_AUTH_CONFIG", &one("text").to_string());
    assert_eq!(home.found("h", "r"), "text:p");
    home.settings.authfile = Some(home.write("flag.json", &one("flag")));
    assert_eq!(home.found("h", "r"), "flag:p");
    assert_eq!(home.found("other", "r"), "none");
    home.settings.credentials = Some(login("typed", "p"));
    assert_eq!(home.found("h", "r"), "typed:p");
    let keychain = Keychain::new(&home.settings);
    let stored = keychain.find_stored("h", "r", &Context::default()).unwrap();
    assert_eq!(stored, Some(Credential::Basic(login("flag", "p"))));
}

#[test]
fn a_named_file_that_is_absent_is_missing() {
    let mut home = Home::new();
    home.settings.authfile = Some(home.path("absent.json"));
    assert_eq!(home.find("h", "r").unwrap_err().kind(), Kind::Missing);
}

#[test]
fn keys_are_hosts_namespaces_and_old_urls() {
    let home = Home::new();
    let keys = [
        ("exact.test:5000", "exact"),
        ("ns.test", "ns"),
        ("ns.test/a", "ns-a"),
        ("ns.test/a/b", "ns-a-b"),
        ("https://url.test/v1/", "url"),
        ("http://plain.test", "http"),
        ("v2.test/v2/", "v2"),
        ("https://index.docker.io/v1/", "hub"),
    ];
    let auths: Value =
        keys.iter().map(|(key, who)| ((*key).to_owned(), auth(&format!("{who}:p")))).collect();
    home.write("home/.docker/config.json", &json!({"auths": auths}));
    for (host, repository, want) in [
        ("exact.test:5000", "r", "exact:p"),
        ("EXACT.test:5000", "r", "exact:p"),
        ("exact.test", "r", "none"),
        ("exact.test:5001", "r", "none"),
        ("ns.test", "r", "ns:p"),
        ("ns.test", "a", "ns-a:p"),
        ("ns.test", "ab", "ns:p"),
        ("ns.test", "a/x", "ns-a:p"),
        ("ns.test", "a/b/c", "ns-a-b:p"),
        ("url.test", "r", "url:p"),
        ("plain.test", "r", "http:p"),
        ("v2.test", "r", "v2:p"),
        ("docker.io", "library/x", "hub:p"),
        ("index.docker.io", "library/x", "hub:p"),
        ("registry-1.docker.io", "library/x", "hub:p"),
        ("io", "x", "none"),
    ] {
        assert_eq!(home.found(host, repository), want, "{host}/{repository}");
    }
}

#[test]
fn entries_are_passwords_or_tokens() {
    let home = Home::new();
    for (entry, want) in [
        (auth("u:p:q:r"), "u:p:q:r"),
        (auth("u:p\0\0"), "u:p"),
        (json!({"auth": "dTpw"}), "u:p"),
        (json!({"auth": "dTpwdw"}), "u:pw"),
        (json!({"auth": "dTpwdw=="}), "u:pw"),
        (json!({"username": "u", "password": "p"}), "u:p"),
        (json!({"auth": "dTo=", "identitytoken": "T"}), "identity u:T"),
        (json!({"identitytoken": "T"}), "identity :T"),
        (json!({"registrytoken": "T"}), "bearer T"),
        (auth("<token>:T"), "identity :T"),
        (
            auth("00000000-0000-0000-0000-000000000000:T"),
            "identity 00000000-0000-0000-0000-000000000000:T",
        ),
        (json!({}), "none"),
        (json!({"auth": ""}), "none"),
        (Value::Null, "none"),
    ] {
        home.write("home/.docker/config.json", &json!({"auths": {"h": entry}}));
        assert_eq!(home.found("h", "r"), want, "{entry}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused_without_showing_it() {
    let home = Home::new();
    for text in [
        r#"{"auths":{"h":{"auth":"hunter2 CANARY"}}}"#,
        r#"{"auths":{"h":{"auth":"aHVudGVyMi1DQU5BUlk="}}}"#,
        r#"{"auths":{"h":{"auth":"hunter2-CANARY}"#,
        r#"{"auths":"hunter2-CANARY"}"#,
        r#"["hunter2-CANARY"]"#,
    ] {
        let path = home.write("home/.docker/config.json", &json!({}));
        std::fs::write(&path, text).unwrap();
        let error = home.find("h", "r").unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{text}");
        assert!(error.to_string().contains("config.json") || error.place().is_some(), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error}");
    }
    // An entry of another host does not matter, an empty file says nothing.
    let path = home.write("home/.docker/config.json", &json!({"auths": {"x": {"auth": "?"}}}));
    assert_eq!(home.found("h", "r"), "none");
    std::fs::write(path, "\n").unwrap();
    assert_eq!(home.found("h", "r"), "none");
}

#[test]
fn a_hosts_helper_goes_before_the_store_and_both_before_entries() {
    let home = Home::new();
    home.helper("own");
    let config = |extra: Value| {
        let mut all = json!({"auths": {"h:1": auth("file:p"), "x:1": auth("file:p")}});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        home.write("home/.docker/config.json", &all);
    };
    let say = |file: &str, user: &str| {
        home.write(&format!("bin/{file}"), &json!({"Username": user, "Secret": "p"}));
    };
    config(json!({"credHelpers": {"h:1": "own"}}));
    assert_eq!(home.found("h:1", "r"), "file:p", "it knows nothing, the entry does");
    say("h_1", "helper");
    assert_eq!(home.found("h:1", "r"), "helper:p");
    assert_eq!(home.found("x:1", "r"), "file:p");
    say("h_1", "<token>");
    assert_eq!(home.found("h:1", "r"), "identity :p");
    say("x_1", "store");
    config(json!({"credsStore": "own", "credHelpers": {"h:1": ""}}));
    assert_eq!(home.found("h:1", "r"), "file:p");
    assert_eq!(home.found("x:1", "r"), "store:p");
    // The Hub is asked for by its old URL, whatever it is called.
    say("https___index.docker.io_v1_", "hub");
    assert_eq!(home.found("registry-1.docker.io", "library/x"), "hub:p");
    config(json!({"auths": {}, "credHelpers": {"docker.io": "own"}}));
    assert_eq!(home.found("registry-1.docker.io", "library/x"), "hub:p");
}

#[test]
fn a_helper_that_is_missing_is_denied_and_nothing_answers_instead() {
    let home = Home::new();
    for extra in [json!({"credHelpers": {"h": "gone"}}), json!({"credsStore": "gone"})] {
        let mut all = json!({"auths": {"h": auth("file:p")}});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        home.write("home/.docker/config.json", &all);
        home.write("home/.dockercfg", &json!({"h": auth("legacy:p")}));
        let error = home.find("h", "r").unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("docker-credential-gone is not in PATH"), "{error}");
    }
}

#[test]
fn a_helper_is_asked_once_for_each_host() {
    let home = Home::new();
    home.helper("own");
    home.write("home/.docker/config.json", &json!({"credsStore": "own"}));
    let keychain = Keychain::new(&home.settings);
    for _ in 0..3 {
        keychain.find("h", "r", &Context::default()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(home.path("bin/runs")).unwrap(), "get\n");
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn event(&self, event: Event<'_>) {
        if let Event::Warning(text) | Event::Detail(text) = event {
            self.0.lock().unwrap().push(text.into());
        }
    }
}

#[test]
fn a_file_that_all_may_read_is_warned_of_once() {
    let home = Home::new();
    let path = home.write("home/.docker/config.json", &json!({"auths": {"h": auth("u:p")}}));
    let heard = Arc::new(Heard::default());
    let ctx = Context { progress: heard.clone(), ..Context::default() };
    let keychain = Keychain::new(&home.settings);
    keychain.find("h", "r", &ctx).unwrap();
    let said = std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(said, [format!("credentials for h: {}", path.display())]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    keychain.find("h", "r", &ctx).unwrap();
    keychain.find("h", "other", &ctx).unwrap();
    let said = heard.0.lock().unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("every user of this machine"), "{said:?}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_login_goes_to_dockers_file_and_keeps_what_is_in_it() {
    let home = Home::new();
    let ctx = Context { sync: false, ..Context::default() };
    let place = store(&home.settings, "h:1", &login("u", "p"), None, &ctx).unwrap();
    let path = home.path("home/.docker/config.json");
    assert_eq!(place, path.display().to_string());
    assert_eq!(home.read("home/.docker/config.json"), json!({"auths": {"h:1": auth("u:p")}}));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    let old = json!({"HttpHeaders": {"X": "1"}, "auths": {
        "https://h:1/v2/": auth("old:p"), "docker.io": auth("old:p"), "k": {"auth": "eDp5", "email": "e"}},
        "psFormat": "x"});
    home.write("home/.docker/config.json", &old);
    store(&home.settings, "h:1", &login("u", "p:q"), None, &ctx).unwrap();
    store(&home.settings, "docker.io", &login("u", "p"), Some(&Secret::new("T")), &ctx).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let order = ["HttpHeaders", "auths", "psFormat"].map(|key| text.find(key).unwrap());
    assert!(order.is_sorted(), "{text}");
    assert!(text.contains("\n\t\t\"k\": {"), "as docker indents: {text}");
    let hub = json!({"auth": STANDARD.encode("u:"), "identitytoken": "T"});
    assert_eq!(
        home.read("home/.docker/config.json")["auths"],
        json!({"k": {"auth": "eDp5", "email": "e"}, "h:1": auth("u:p:q"), HUB_KEY: hub})
    );
    assert_eq!(home.found("registry-1.docker.io", "r"), "identity u:T");

    assert!(erase(&home.settings, "docker.io", &ctx).unwrap());
    assert!(!erase(&home.settings, "docker.io", &ctx).unwrap());
    assert!(erase(&home.settings, "h:1", &ctx).unwrap());
    assert_eq!(
        home.read("home/.docker/config.json")["auths"],
        json!({"k": {"auth": "eDp5", "email": "e"}})
    );
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_login_goes_where_the_user_says_and_a_link_stays_one() {
    let mut home = Home::new();
    let ctx = Context { sync: false, ..Context::default() };
    home.set("DOCKER_CONFIG", &home.path("dc").display().to_string());
    store(&home.settings, "h", &login("a", "p"), None, &ctx).unwrap();
    assert_eq!(home.read("dc/config.json"), json!({"auths": {"h": auth("a:p")}}));
    home.set("REGISTRY_AUTH_FILE", &home.path("env/auth.json").display().to_string());
    store(&home.settings, "h", &login("b", "p"), None, &ctx).unwrap();
    assert_eq!(home.read("env/auth.json"), json!({"auths": {"h": auth("b:p")}}));
    home.write("real.json", &json!({"auths": {}}));
    std::os::unix::fs::symlink("real.json", home.path("link.json")).unwrap();
    home.settings.authfile = Some(home.path("link.json"));
    store(&home.settings, "h/team", &login("c", "p"), None, &ctx).unwrap();
    assert!(home.path("link.json").is_symlink());
    assert_eq!(home.read("real.json"), json!({"auths": {"h/team": auth("c:p")}}));
    assert_eq!(home.found("h", "team/app"), "c:p");
    assert_eq!(home.found("h", "other"), "none");
    let nowhere = store(&Settings::default(), "h", &login("d", "p"), None, &ctx).unwrap_err();
    assert_eq!(nowhere.kind(), Kind::Usage);
}

#[test]
fn an_older_entry_in_podmans_file_is_changed_too() {
    let home = Home::new();
    let ctx = Context { sync: false, ..Context::default() };
    let podman = "home/.config/containers/auth.json";
    home.write(podman, &json!({"auths": {"h": auth("old:p"), "k": auth("k:p")}}));
    store(&home.settings, "h", &login("new", "p"), None, &ctx).unwrap();
    store(&home.settings, "other", &login("o", "p"), None, &ctx).unwrap();
    assert_eq!(home.found("h", "r"), "new:p");
    assert_eq!(home.read(podman), json!({"auths": {"k": auth("k:p"), "h": auth("new:p")}}));
    assert!(erase(&home.settings, "h", &ctx).unwrap());
    assert_eq!(home.found("h", "r"), "none");
}

#[test]
fn where_docker_names_a_helper_the_helper_keeps_the_login() {
    let home = Home::new();
    let ctx = Context { sync: false, ..Context::default() };
    home.helper("own");
    home.write("home/.docker/config.json", &json!({"credsStore": "own"}));
    let place = store(&home.settings, "h:1", &login("u", "p"), None, &ctx).unwrap();
    assert_eq!(place, "docker-credential-own");
    let config = home.read("home/.docker/config.json");
    assert_eq!(config, json!({"credsStore": "own", "auths": {"h:1": {}}}));
    assert_eq!(home.found("h:1", "r"), "u:p");
    store(&home.settings, "docker.io", &login("u", "p"), Some(&Secret::new("T")), &ctx).unwrap();
    assert_eq!(home.found("docker.io", "r"), "identity :T");
    assert!(erase(&home.settings, "h:1", &ctx).unwrap());
    assert_eq!(home.found("h:1", "r"), "none");
    assert!(!erase(&home.settings, "h:1", &ctx).unwrap());
    let config = home.read("home/.docker/config.json");
    assert_eq!(config["auths"], json!({HUB_KEY: {}}));
}

#[test]
fn secrets_are_not_printed() {
    let home = Home::new();
    home.write("home/.docker/config.json", &json!({"auths": {"h": auth("u:hunter2-CANARY")}}));
    let found = home.find("h", "r").unwrap();
    assert!(!format!("{found:?} {:?}", Keychain::new(&home.settings)).contains("hunter2"));
}
