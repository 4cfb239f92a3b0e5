//! Configuration with which nodes find mirrored images: mirrors of engines, image rewrites.
//!
//! It restarts nothing and writes only in the given directory. Each form is made from the same list of old
//! and new names.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::io::dir::Dir;

pub mod containerd;
pub mod docker;
pub mod k3s;
pub mod kaniko;
pub mod kustomize;
mod mirrors;
pub mod podman;

pub use mirrors::{ANY, Emitted, File, Moved, Reach};
use mirrors::{Mirrors, Way};

/// The kind of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `certs.d/<host>/hosts.toml`.
    Containerd,
    /// A file for `registries.conf.d`; CRI-O and buildah read it too.
    Podman,
    /// `daemon.json`, and a script for what that cannot say.
    Docker,
    /// `registries.yaml` of k3s and RKE2.
    K3s,
    /// Flags of Kaniko's executor.
    Kaniko,
    /// A kustomize component that rewrites images.
    Kustomize,
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "containerd" => Self::Containerd,
            "podman" => Self::Podman,
            "docker" => Self::Docker,
            "k3s" | "rke2" => Self::K3s,
            "kaniko" => Self::Kaniko,
            "kustomize" => Self::Kustomize,
            other => {
                let other = crate::text::escape(other);
                let want = "expected containerd, podman, docker, k3s, kaniko or kustomize";
                return Err(Error::new(Kind::Usage, format!("unknown form {other:?}: {want}")));
            }
        })
    }
}

/// Makes the files of one form. `plain_http` says that the destination speaks no TLS.
pub fn files(form: Form, moved: &[Moved], plain_http: bool) -> Emitted {
    let reach = Reach { plain_http, ..Reach::default() };
    let mut emitted = match form {
        Form::Docker => docker::files(&Mirrors::of(moved), moved, &reach),
        Form::Kustomize => kustomize::files(moved),
        _ => of_mirrors(form, &Mirrors::of(moved), &reach),
    };
    if form != Form::Kustomize && form != Form::Docker {
        // A mirror is asked for the tag that was asked of the registry.
        let renamed = moved.iter().filter(|m| m.from.tag() != m.to.tag());
        emitted.warnings.extend(
            renamed
                .map(|m| format!("{} has another tag at {}: no mirror leads there", m.from, m.to)),
        );
    }
    emitted.files.sort();
    emitted
}

/// Makes the files of one form for whole registries: what each is called, and the `host` or `host/path`
/// beneath which all its repositories are found. The name [`ANY`] stands for every registry there is.
pub fn whole(form: Form, ways: &[(String, String)], reach: &Reach) -> Emitted {
    let mut mirrors = Mirrors::default();
    for (host, stem) in ways {
        let beneath = Way::Beneath(BTreeSet::from([stem.clone()]));
        mirrors.0.insert(host.clone(), beneath);
    }
    of_mirrors(form, &mirrors, reach)
}

fn of_mirrors(form: Form, mirrors: &Mirrors, reach: &Reach) -> Emitted {
    match form {
        Form::Containerd => containerd::files(mirrors, reach),
        Form::Podman => podman::files(mirrors, reach),
        Form::Docker => docker::files(mirrors, &[], reach),
        Form::K3s => k3s::files(mirrors, reach),
        Form::Kaniko => kaniko::files(mirrors, reach),
        Form::Kustomize => kustomize::files(&[]),
    }
}

/// Makes the files of one form and writes them beneath `dir`.
///
/// # Errors
/// `Io`.
pub fn write(
    dir: &Path,
    form: Form,
    moved: &[Moved],
    plain_http: bool,
    sync: bool,
) -> Result<Vec<String>> {
    let Emitted { files, warnings } = files(form, moved, plain_http);
    Dir::create(dir)?;
    for (path, text) in &files {
        let (below, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = dir.to_path_buf();
        at.extend(below.split('/'));
        std::fs::create_dir_all(&at).map_err(|e| Error::io(&at, "making", &e))?;
        Dir::open(&at)?.replace(name, text.as_bytes(), sync)?;
    }
    Ok(warnings)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::digest::Digest;

    pub(crate) fn moved(names: &[(&str, &str)]) -> Vec<Moved> {
        names
            .iter()
            .map(|(from, to)| Moved {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                digest: Digest::of(from.as_bytes()),
            })
            .collect()
    }

    /// Two registries whose paths were kept, one of them beneath a path.
    pub(crate) fn regular() -> Vec<Moved> {
        moved(&[
            ("nginx:1", "r.local:5000/library/nginx:1"),
            ("redis:7", "r.local:5000/library/redis:7"),
            ("quay.io/a/b:1", "r.local:5000/quay/a/b:1"),
        ])
    }

    /// One registry whose repositories went to other paths.
    pub(crate) fn irregular() -> Vec<Moved> {
        moved(&[("nginx:1", "r.local:5000/web:1"), ("me/app:2", "r.local:5000/app:2")])
    }

    #[test]
    fn a_way_is_a_path_where_all_images_went_beneath_it() {
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        let mirrors = Mirrors::of(&regular()).0;
        assert_eq!(mirrors["docker.io"], Way::Beneath(set("r.local:5000")));
        assert_eq!(mirrors["quay.io"], Way::Beneath(set("r.local:5000/quay")));
        let Way::Each(each) = &Mirrors::of(&irregular()).0["docker.io"] else { panic!() };
        assert_eq!(each["library/nginx"], set("r.local:5000/web"));
        assert!(Mirrors::of(&moved(&[("r.local/a:1", "r.local/a:1")])).0.is_empty());
    }

    #[test]
    fn files_have_names_that_every_file_system_takes() {
        let temp = tempfile::tempdir().unwrap();
        let all = moved(&[("r.one:5000/a:1", "r.local:5000/a:1"), ("nginx:1", "r.local:5000/x:2")]);
        for form in ["containerd", "podman", "docker", "k3s", "kustomize"] {
            let dir = temp.path().join(form);
            write(&dir, form.parse().unwrap(), &all, true, false).unwrap();
            let files = files(form.parse().unwrap(), &all, true).files;
            assert!(!files.is_empty());
            for (path, text) in files {
                assert!(!path.contains([':', '\\', '*', '?', '"', '<', '>', '|']), "{path}");
                assert_eq!(std::fs::read_to_string(dir.join(path)).unwrap(), text);
            }
        }
        assert!("ctr".parse::<Form>().is_err());
    }

    #[test]
    fn a_changed_tag_is_told_where_no_mirror_leads_there() {
        let all = moved(&[("nginx:1", "r.local/library/nginx:2")]);
        assert_eq!(files(Form::K3s, &all, false).warnings.len(), 1);
        assert!(files(Form::Kustomize, &all, false).warnings.is_empty());
    }
}
