//! Headless Chromium for the tests of pages, driven over WebDriver.
//!
//! It knows no page. Both processes are ended by their numbers when the value is dropped; the profile is a
//! fresh directory. W3C WebDriver.
#![allow(dead_code, unreachable_pub)] // every test crate uses a part of it

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::net::{free_port, have, skip};

/// A name that browsers resolve to this machine and yet do not trust as they trust `localhost`.
pub const ELSEWHERE: &str = "stick.example";

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 900;

/// A browser with one tab.
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A fresh one; `None` when it is not installed, which is said.
    pub fn start() -> Option<Self> {
        let binary =
            ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|b| have(b));
        let Some(binary) = binary.filter(|_| have("chromedriver")) else {
            skip("Chromium is missing (Debian packages chromium and chromium-driver)");
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let mut driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let address = format!("http://127.0.0.1:{port}");
        let end = Instant::now() + Duration::from_secs(60);
        while ureq::get(&format!("{address}/status")).call().is_err() {
            if Instant::now() > end {
                let _ = driver.kill();
                let _ = driver.wait();
                panic!("chromedriver does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let resolve = format!("--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1");
        let data = format!("--user-data-dir={}", profile.path().join("profile").display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--window-size={WIDTH},{HEIGHT}"),
            &resolve,
            &data,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": path_of(binary), "args": args},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let made = browser.call("POST", "/session", &wanted);
        browser.session = format!("/session/{}", made["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    /// One command of WebDriver; its value.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.address);
        let config = ureq::config::Config::builder().http_status_as_error(false).build();
        let agent = ureq::Agent::new_with_config(config);
        let sent = match method {
            "GET" => agent.get(&url).call(),
            "DELETE" => agent.delete(&url).call(),
            _ => agent.post(&url).content_type("application/json").send(body.to_string()),
        };
        let mut answer = sent.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().expect("text");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(answer.status().is_success(), "{method} {path}: {}", value["value"]["message"]);
        value["value"].clone()
    }

    #[track_caller]
    fn ask(&self, command: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{command}", self.session), body)
    }

    /// Opens a page and waits for it.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("/url", &json!({"url": url}));
    }

    /// What a script returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script returns, as text.
    #[track_caller]
    pub fn text(&self, script: &str) -> String {
        self.run(script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a script returns something true.
    #[track_caller]
    pub fn wait(&self, script: &str) -> Value {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.run(script);
            if !matches!(found, Value::Null | Value::Bool(false)) && found != json!("") {
                return found;
            }
            assert!(Instant::now() < end, "never true: {script}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks on what a selector finds, as a person does.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let found = self.ask("/element", &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|o| o.values().next()).and_then(Value::as_str);
        self.ask(&format!("/element/{}/click", id.expect("an element")), &json!({}));
    }

    /// Presses keys one after the other; WebDriver names keys without letters by private characters.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let key = |kind: &str, key: char| json!({"type": kind, "value": key.to_string()});
        let actions: Vec<Value> =
            keys.chars().flat_map(|c| [key("keyDown", c), key("keyUp", c)]).collect();
        let source = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.ask("/actions", &json!({"actions": [source]}));
    }

    /// A command of the browser's own protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, params: &Value) -> Value {
        self.ask("/goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// Pages are shown as for these media features and this medium.
    #[track_caller]
    pub fn media(&self, medium: &str, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({"media": medium, "features": features}),
        );
    }

    /// What the console said since the last call, as lines.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let log = self.ask("/se/log", &json!({"type": "browser"}));
        let line = |entry: &Value| format!("{}: {}", entry["level"], entry["message"]);
        log.as_array().into_iter().flatten().map(line).collect()
    }

    /// Every address that a page asked for since the last call.
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        let log = self.ask("/se/log", &json!({"type": "performance"}));
        let mut urls = Vec::new();
        for entry in log.as_array().into_iter().flatten() {
            let event: Value =
                serde_json::from_str(entry["message"].as_str().unwrap_or_default()).expect("JSON");
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                urls.push(
                    event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned(),
                );
            }
        }
        urls
    }

    /// Keeps a picture of the whole page.
    #[track_caller]
    pub fn picture(&self, path: &Path) {
        let shot = self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        keep(path, &shot["data"]);
    }

    /// Prints the page to a PDF, on A4.
    #[track_caller]
    pub fn print(&self, path: &Path) {
        let page = json!({"page": {"width": 21.0, "height": 29.7}, "shrinkToFit": false});
        keep(path, &self.ask("/print", &page));
    }
}

#[track_caller]
fn keep(path: &Path, data: &Value) {
    let data = data.as_str().expect("base64");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, bytes).expect("a file");
}

fn path_of(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file());
    found.expect("it was found before").display().to_string()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium; then the driver.
        if !self.session.is_empty() {
            let _ = ureq::delete(&format!("{}{}", self.address, self.session)).call();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
