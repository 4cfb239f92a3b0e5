//! podman, skopeo, buildah, CRI-O: a file for `registries.conf.d`.
//!
//! containers-registries.conf(5), version 2. A prefix may be a registry or a repository, so every
//! change of path can be expressed.

use super::mirrors::{Emitted, HEAD, Mirrors, Reach, Way};

/// `registries.conf.d/imgpack.conf`.
pub(super) fn files(mirrors: &Mirrors, reach: &Reach) -> Emitted {
    let mut text = format!("{HEAD}# Copy it to /etc/containers/registries.conf.d.\n");
    for host in mirrors.hosts() {
        if reach.authority.is_some() {
            text.push_str(&format!(
                "# The authority goes to /etc/containers/certs.d/{host}/ca.crt.\n"
            ));
        }
        if reach.login {
            text.push_str(&format!("# First: podman login {host}\n"));
        }
    }
    let mut add = |prefix: &str, mirrors: &std::collections::BTreeSet<String>| {
        text.push_str(&format!("\n[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{prefix}\"\n"));
        for mirror in mirrors {
            text.push_str(&format!("[[registry.mirror]]\nlocation = \"{mirror}\"\n"));
            if reach.plain_http {
                text.push_str("insecure = true\n");
            }
        }
    };
    for (host, way) in &mirrors.0 {
        match way {
            Way::Beneath(stems) => add(host, stems),
            Way::Each(each) => {
                each.iter().for_each(|(path, now)| add(&format!("{host}/{path}"), now));
            }
        }
    }
    let file = ("registries.conf.d/imgpack.conf".to_owned(), text);
    Emitted { files: vec![file], warnings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{irregular, regular};
    use super::super::{Form, files};

    #[test]
    fn registries_and_repositories_have_their_mirrors() {
        let emitted = files(Form::Podman, &regular(), true);
        assert_eq!(emitted.files.len(), 1);
        assert_eq!(
            emitted.files[0].1,
            "\
# Written by imgpack.
# Copy it to /etc/containers/registries.conf.d.

[[registry]]
prefix = \"docker.io\"
location = \"docker.io\"
[[registry.mirror]]
location = \"r.local:5000\"
insecure = true

[[registry]]
prefix = \"quay.io\"
location = \"quay.io\"
[[registry.mirror]]
location = \"r.local:5000/quay\"
insecure = true
"
        );
        let text = &files(Form::Podman, &irregular(), false).files[0].1;
        let parsed: toml::Table = text.parse().unwrap();
        let registries = parsed["registry"].as_array().unwrap();
        assert_eq!(registries[0]["prefix"].as_str(), Some("docker.io/library/nginx"));
        assert_eq!(registries[0]["mirror"][0]["location"].as_str(), Some("r.local:5000/web"));
        assert_eq!(registries.len(), 2);
    }
}
