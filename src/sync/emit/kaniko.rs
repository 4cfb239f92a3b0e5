//! Kaniko: flags of its executor, one to a line.
//!
//! Its README, "--registry-map" and what follows. A map leads from a registry to a registry with a
//! path, never from one repository to another.

use super::mirrors::{Emitted, Mirrors, Reach, Way};

/// `kaniko.args`.
pub(super) fn files(mirrors: &Mirrors, reach: &Reach) -> Emitted {
    let mut emitted = Emitted::default();
    let mut maps = Vec::new();
    for (host, way) in &mirrors.0 {
        match way {
            Way::Beneath(stems) => maps.extend(stems.iter().map(|stem| format!("{host}={stem}"))),
            Way::Each(each) => emitted.warnings.extend(each.keys().map(|path| {
                format!("Kaniko rewrites no paths: {host}/{path} is not found where it is now")
            })),
        }
    }
    let mut text = String::new();
    if !maps.is_empty() {
        text.push_str(&format!("--registry-map={}\n", maps.join(";")));
    }
    for host in mirrors.hosts() {
        if reach.plain_http {
            text.push_str(&format!("--insecure-registry={host}\n"));
        }
        if let Some(authority) = &reach.authority {
            text.push_str(&format!("--registry-certificate={host}={authority}\n"));
        }
    }
    emitted.files.push(("kaniko.args".into(), text));
    emitted
}

#[cfg(test)]
mod tests {
    use super::super::tests::{irregular, regular};
    use super::super::{Form, Reach, files, whole};

    #[test]
    fn registries_are_mapped() {
        assert_eq!(
            files(Form::Kaniko, &regular(), true).files[0].1,
            "--registry-map=docker.io=r.local:5000;quay.io=r.local:5000/quay\n\
             --insecure-registry=r.local:5000\n"
        );
        assert_eq!(files(Form::Kaniko, &irregular(), true).warnings.len(), 2);
        let ways = [("quay.io".to_owned(), "r.lan/quay.io".to_owned())];
        let reach = Reach { authority: Some("/ca.crt".into()), ..Reach::default() };
        assert_eq!(
            whole(Form::Kaniko, &ways, &reach).files[0].1,
            "--registry-map=quay.io=r.lan/quay.io\n--registry-certificate=r.lan=/ca.crt\n"
        );
    }
}
