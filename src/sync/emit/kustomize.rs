//! kustomize: a component whose `images:` rewrites the names in manifests.
//!
//! kustomize compares names as they are written, so every form in which a name may be written has an
//! entry. It rewrites tags only where a tag changed: one entry counts for all tags of a repository.

use std::collections::{BTreeMap, BTreeSet};

use super::mirrors::{Emitted, HEAD, Moved};

/// `kustomization.yaml`.
pub(super) fn files(moved: &[Moved]) -> Emitted {
    let mut emitted = Emitted::default();
    let mut repositories: BTreeMap<String, Vec<&Moved>> = BTreeMap::new();
    for m in moved.iter().filter(|m| m.from != m.to) {
        repositories.entry(m.from.repository()).or_default().push(m);
    }
    let mut text = format!("{HEAD}# Name its directory under components: of a kustomization.\n");
    text.push_str("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n");
    text.push_str(if repositories.is_empty() { "images: []\n" } else { "images:\n" });
    for (repository, all) in repositories {
        let targets: BTreeSet<(String, Option<&str>)> = all
            .iter()
            .map(|m| (m.to.repository(), m.to.tag().filter(|_| m.to.tag() != m.from.tag())))
            .collect();
        let Some((to, tag)) = targets.first() else { continue };
        if targets.len() > 1 {
            emitted.warnings.push(format!(
                "the tags of {repository} went to several names; only {to} is written"
            ));
        }
        for name in spellings(all[0]) {
            text.push_str(&format!("  - name: \"{name}\"\n    newName: \"{to}\"\n"));
            if let (Some(tag), 1) = (tag, all.len()) {
                text.push_str(&format!("    newTag: \"{tag}\"\n"));
            }
        }
    }
    emitted.files.push(("kustomization.yaml".into(), text));
    emitted
}

/// The forms in which the name of a repository may be written.
fn spellings(moved: &Moved) -> Vec<String> {
    let name = &moved.from;
    let mut all = vec![name.familiar_repository()];
    if name.domain() == "docker.io" {
        all.push(name.path().to_owned());
        all.push(format!("docker.io/{}", name.familiar_repository()));
        all.push(name.repository());
    }
    let mut seen = BTreeSet::new();
    all.retain(|form| seen.insert(form.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::super::{Form, files};

    #[test]
    fn every_spelling_is_rewritten() {
        let all = moved(&[
            ("nginx:1", "r.local:5000/library/nginx:1"),
            ("nginx:2", "r.local:5000/library/nginx:2"),
            ("quay.io/a/b:1", "r.local:5000/b:1-mirror"),
        ]);
        let emitted = files(Form::Kustomize, &all, false);
        assert_eq!(
            emitted.files[0].1,
            "\
# Written by imgpack.
# Name its directory under components: of a kustomization.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  - name: \"nginx\"
    newName: \"r.local:5000/library/nginx\"
  - name: \"library/nginx\"
    newName: \"r.local:5000/library/nginx\"
  - name: \"docker.io/nginx\"
    newName: \"r.local:5000/library/nginx\"
  - name: \"docker.io/library/nginx\"
    newName: \"r.local:5000/library/nginx\"
  - name: \"quay.io/a/b\"
    newName: \"r.local:5000/b\"
    newTag: \"1-mirror\"
"
        );
        assert!(emitted.warnings.is_empty());
        let parsed: serde_yaml_ng::Value = serde_yaml_ng::from_str(&emitted.files[0].1).unwrap();
        assert_eq!(parsed["images"].as_sequence().unwrap().len(), 5);
        let split = moved(&[("a:1", "r.local/x:1"), ("a:2", "r.local/y:2")]);
        assert_eq!(files(Form::Kustomize, &split, false).warnings.len(), 1);
    }
}
