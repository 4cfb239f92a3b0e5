//! docker: `daemon.json`, and a script that pulls under the new name and tags with the old one.
//!
//! dockerd mirrors Docker Hub only, and without a path; the script does the rest.

use serde_json::{Value, json};

use super::mirrors::{Emitted, HEAD, Mirrors, Moved, Reach, Way, split};

/// `daemon.json` and `pull-and-tag.sh`.
pub(super) fn files(mirrors: &Mirrors, moved: &[Moved], reach: &Reach) -> Emitted {
    let roots: Vec<&String> = match mirrors.0.get("docker.io") {
        Some(Way::Beneath(stems)) => stems.iter().filter(|s| split(s).1.is_empty()).collect(),
        _ => Vec::new(),
    };
    let mut daemon = serde_json::Map::new();
    if !roots.is_empty() {
        let urls: Vec<String> =
            roots.iter().map(|root| format!("{}{root}", reach.scheme())).collect();
        daemon.insert("registry-mirrors".into(), json!(urls));
    }
    if reach.plain_http {
        let mut hosts = mirrors.hosts();
        hosts.extend(moved.iter().map(|m| m.to.domain().to_owned()));
        daemon.insert("insecure-registries".into(), json!(hosts));
    }
    let mut text = serde_json::to_string_pretty(&Value::Object(daemon)).unwrap_or_default();
    text.push('\n');
    let mut script = format!("#!/bin/sh\n{HEAD}set -e\n");
    // A name holds nothing that a shell would read.
    for m in moved.iter().filter(|m| m.from != m.to) {
        let mirrored = m.from.domain() == "docker.io"
            && m.from.tag() == m.to.tag()
            && roots.iter().any(|root| **root == m.to.domain())
            && m.from.path() == m.to.path();
        if mirrored {
            continue;
        }
        let (from, to) = (m.from.familiar(), &m.to);
        script.push_str(&format!("docker pull {to}\n"));
        if m.from.digest().is_none() {
            script.push_str(&format!("docker tag {to} {from}\n"));
        }
    }
    let mut files = vec![("daemon.json".into(), text)];
    if !moved.is_empty() {
        files.push(("pull-and-tag.sh".into(), script));
    }
    Emitted { files, warnings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{irregular, regular};
    use super::super::{Form, files};

    #[test]
    fn the_hub_has_a_mirror_and_the_rest_a_script() {
        let emitted = files(Form::Docker, &regular(), true);
        let daemon: serde_json::Value = serde_json::from_str(&emitted.files[0].1).unwrap();
        assert_eq!(
            daemon.to_string(),
            r#"{"registry-mirrors":["http://r.local:5000"],"insecure-registries":["r.local:5000"]}"#
        );
        assert_eq!(
            emitted.files[1].1,
            "\
#!/bin/sh
# Written by imgpack.
set -e
docker pull r.local:5000/quay/a/b:1
docker tag r.local:5000/quay/a/b:1 quay.io/a/b:1
"
        );
        let emitted = files(Form::Docker, &irregular(), false);
        assert_eq!(emitted.files[0].1, "{}\n");
        assert!(emitted.files[1].1.contains("docker tag r.local:5000/web:1 nginx:1\n"));
    }
}
