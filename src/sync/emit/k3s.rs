//! k3s and RKE2: `registries.yaml` with mirrors and rewrites.
//!
//! Documentation of k3s, "Private Registry Configuration". Patterns of one registry never fit the
//! same path, since the order in which they are tried is not promised.

use super::mirrors::{Emitted, HEAD, Mirrors, Reach, Way, split};

/// `registries.yaml`.
pub(super) fn files(mirrors: &Mirrors, reach: &Reach) -> Emitted {
    let mut emitted = Emitted::default();
    let mut text =
        format!("{HEAD}# Copy it to /etc/rancher/k3s or /etc/rancher/rke2 and restart.\n");
    text.push_str("mirrors:\n");
    for (host, way) in &mirrors.0 {
        let mut endpoints = Vec::new();
        let mut rewrites = Vec::new();
        match way {
            Way::Beneath(stems) => {
                let (to, path) = stems.first().map_or(("", ""), |stem| split(stem));
                endpoints.push(to.to_owned());
                if !path.is_empty() {
                    rewrites.push(("^(.*)$".to_owned(), format!("{path}/$1")));
                }
                for other in stems.iter().skip(1) {
                    emitted
                        .warnings
                        .push(format!("{host} is mirrored at {other} too; it is left out"));
                }
            }
            Way::Each(each) => {
                for (path, now) in each {
                    let (to, new) = now.first().map_or(("", ""), |now| split(now));
                    if !endpoints.contains(&to.to_owned()) {
                        endpoints.push(to.to_owned());
                    }
                    rewrites.push((format!("^{}$", regex::escape(path)), new.to_owned()));
                    for other in now.iter().skip(1) {
                        emitted.warnings.push(format!(
                            "{host}/{path} is mirrored at {other} too; it is left out"
                        ));
                    }
                }
            }
        }
        text.push_str(&format!("  {}:\n    endpoint:\n", quoted(host)));
        for endpoint in endpoints {
            let url = format!("{}{endpoint}", reach.scheme());
            text.push_str(&format!("      - {}\n", quoted(&url)));
        }
        if !rewrites.is_empty() {
            text.push_str("    rewrite:\n");
        }
        for (from, to) in rewrites {
            text.push_str(&format!("      {}: {}\n", quoted(&from), quoted(&to)));
        }
    }
    if mirrors.0.is_empty() {
        text.push_str("  {}\n");
    }
    if reach.authority.is_some() || reach.login {
        text.push_str("configs:\n");
        for host in mirrors.hosts() {
            text.push_str(&format!("  {}:\n", quoted(&host)));
            if let Some(authority) = &reach.authority {
                text.push_str(&format!("    tls:\n      ca_file: {}\n", quoted(authority)));
            }
            if reach.login {
                text.push_str(
                    "    auth:\n      username: \"user\"\n      password: \"password\"\n",
                );
            }
        }
    }
    emitted.files.push(("registries.yaml".into(), text));
    emitted
}

/// A YAML string in double quotes, which takes JSON's escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{irregular, regular};
    use super::super::{Form, files};

    #[test]
    fn mirrors_and_rewrites_are_written() {
        let emitted = files(Form::K3s, &regular(), false);
        assert_eq!(
            emitted.files[0].1,
            "\
# Written by imgpack.
# Copy it to /etc/rancher/k3s or /etc/rancher/rke2 and restart.
mirrors:
  \"docker.io\":
    endpoint:
      - \"https://r.local:5000\"
  \"quay.io\":
    endpoint:
      - \"https://r.local:5000\"
    rewrite:
      \"^(.*)$\": \"quay/$1\"
"
        );
        let text = &files(Form::K3s, &irregular(), true).files[0].1;
        let parsed: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap();
        let hub = &parsed["mirrors"]["docker.io"];
        assert_eq!(hub["endpoint"][0].as_str(), Some("http://r.local:5000"));
        assert_eq!(hub["rewrite"]["^library/nginx$"].as_str(), Some("web"));
        assert_eq!(hub["rewrite"]["^me/app$"].as_str(), Some("app"));
        let none = &files(Form::K3s, &[], true).files[0].1;
        assert!(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(none).is_ok());
    }
}
