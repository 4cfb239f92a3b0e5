//! containerd: one `hosts.toml` for each registry that images came from.
//!
//! containerd `docs/hosts.md`. A directory is named `host_port_` rather than `host:port`; containerd
//! looks for both, and not every file system takes a colon.

use super::mirrors::{ANY, Emitted, HEAD, Mirrors, Reach, Way, split};

/// The files for `config_path`.
pub(super) fn files(mirrors: &Mirrors, reach: &Reach) -> Emitted {
    let mut emitted = Emitted::default();
    for (host, way) in &mirrors.0 {
        let stems = match way {
            Way::Beneath(stems) => stems,
            Way::Each(each) => {
                for (path, now) in each {
                    let now: Vec<&str> = now.iter().map(String::as_str).collect();
                    emitted.warnings.push(format!(
                        "containerd rewrites no paths: {host}/{path} is found only as {}",
                        now.join(", ")
                    ));
                }
                continue;
            }
        };
        let mut text =
            format!("{HEAD}# Copy it to certs.d below the config_path of the registry.\n");
        let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
        // Without a server, containerd falls back to the registry that was named.
        if host != ANY {
            text.push_str(&format!("server = \"https://{server}\"\n"));
        }
        for stem in stems {
            let (to, path) = split(stem);
            let http = reach.scheme();
            if path.is_empty() {
                text.push_str(&format!("\n[host.\"{http}{to}\"]\n"));
            } else {
                text.push_str(&format!("\n[host.\"{http}{to}/v2/{path}\"]\n"));
                text.push_str("  override_path = true\n");
            }
            text.push_str("  capabilities = [\"pull\", \"resolve\"]\n");
            if let Some(authority) = &reach.authority {
                text.push_str(&format!("  ca = \"{authority}\"\n"));
            }
            if reach.login {
                let quoted = text.lines().rev().find(|l| l.starts_with("[host.")).unwrap_or("");
                let table = quoted.trim_end_matches(']').to_owned();
                text.push_str(&format!("{table}.header]\n"));
                text.push_str("  # What `printf user:password | base64` says.\n");
                text.push_str("  authorization = \"Basic dXNlcjpwYXNzd29yZA==\"\n");
            }
        }
        emitted.files.push((format!("certs.d/{}/hosts.toml", directory(host)), text));
    }
    emitted
}

/// `host_port_` for `host:port`, and containerd's own word for all that have no directory.
fn directory(host: &str) -> String {
    if host == ANY {
        return "_default".to_owned();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => format!("{name}_{port}_"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{irregular, moved, regular};
    use super::super::{Form, files};

    #[test]
    fn every_registry_has_its_file() {
        let emitted = files(Form::Containerd, &regular(), false);
        assert_eq!(
            emitted.files,
            [
                (
                    "certs.d/docker.io/hosts.toml".to_owned(),
                    "\
# Written by imgpack.
# Copy it to certs.d below the config_path of the registry.
server = \"https://registry-1.docker.io\"

[host.\"https://r.local:5000\"]
  capabilities = [\"pull\", \"resolve\"]
"
                    .to_owned()
                ),
                (
                    "certs.d/quay.io/hosts.toml".to_owned(),
                    "\
# Written by imgpack.
# Copy it to certs.d below the config_path of the registry.
server = \"https://quay.io\"

[host.\"https://r.local:5000/v2/quay\"]
  override_path = true
  capabilities = [\"pull\", \"resolve\"]
"
                    .to_owned()
                ),
            ]
        );
        for (_, text) in &emitted.files {
            let parsed: toml::Table = text.parse().unwrap();
            assert_eq!(parsed["host"].as_table().unwrap().len(), 1);
        }
        let port = files(Form::Containerd, &moved(&[("r.one:81/a:1", "r.local/a:1")]), true);
        assert_eq!(port.files[0].0, "certs.d/r.one_81_/hosts.toml");
        assert!(port.files[0].1.contains("[host.\"http://r.local\"]"));
    }

    #[test]
    fn what_it_cannot_say_is_told() {
        let emitted = files(Form::Containerd, &irregular(), false);
        assert!(emitted.files.is_empty());
        assert_eq!(emitted.warnings.len(), 2, "{:?}", emitted.warnings);
    }
}
