//! The admission policy: names on an allow-list, images signed by a known key.
//!
//! It changes nothing and contacts nobody: it reads the signature next to an image in the same source.
//! What cannot be checked is refused.

use std::str::FromStr;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::manifest::{self, Document, MAX_DOCUMENT};
use crate::reference::Reference;
use crate::sync::signature::{self, Key};
use crate::transport::{Blob, Root, Source};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// Beginning of the type of newer signatures, which hold a certificate and a log entry.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Largest payload, in bytes.
const MAX_PAYLOAD: u64 = 64 << 10;
/// Most signatures of one image that are checked.
const MAX_SIGNATURES: usize = 100;

/// A pattern of names: `docker.io/library/*`, `quay.io/**`, `nginx:1.*`.
#[derive(Clone, Debug)]
pub struct NameGlob(glob::Pattern);

impl FromStr for NameGlob {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        glob::Pattern::new(text).map(Self).map_err(|e| {
            let text = crate::text::escape(text);
            Error::new(Kind::Usage, format!("invalid glob {text:?}: {}", e.msg))
        })
    }
}

impl NameGlob {
    /// Whether a name fits, with or without its tag, in its full or its short form. `*` stays within
    /// a component of the path, `**` does not.
    pub fn fits(&self, name: &Reference) -> bool {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let mut forms = vec![name.repository(), name.familiar_repository()];
        if let Some(tag) = name.tag() {
            forms.extend([
                format!("{}:{tag}", name.repository()),
                format!("{}:{tag}", name.familiar_repository()),
            ]);
        }
        forms.iter().any(|form| self.0.matches_with(form, options))
    }
}

/// The conditions for admitting an image; the default admits all.
#[derive(Clone, Debug, Default)]
pub struct AdmissionPolicy {
    /// Patterns of which a name must fit one; none: every name may come in.
    pub allow: Vec<NameGlob>,
    /// Keys of which one must have signed; none: no signature is asked for.
    pub keys: Vec<Key>,
}

impl AdmissionPolicy {
    /// Whether signatures are asked for.
    pub fn wants_signatures(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Checks a name against the allow-list.
    ///
    /// # Errors
    /// `Policy`.
    pub fn allows(&self, name: &Reference) -> Result<()> {
        if self.allow.is_empty() || self.allow.iter().any(|glob| glob.fits(name)) {
            return Ok(());
        }
        Err(Error::new(Kind::Policy, "its name is not allowed").input(name.familiar()))
    }

    /// Checks that one of the keys has signed an image of a source. `names` are those under which it
    /// is wanted.
    ///
    /// # Errors
    /// `Policy` when there is no signature, or none that holds.
    pub fn signed(
        &self,
        source: &dyn Source,
        root: &Root,
        names: &[Reference],
        ctx: &Context,
    ) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let digest = &root.desc.digest;
        let mut reason = None;
        for (payload, text) in signatures(source, digest, ctx)? {
            let checked = Blob::new(source, payload, ctx)
                .bytes(MAX_PAYLOAD)
                .and_then(|bytes| signature::verify(&bytes, &text, digest, names, &self.keys));
            match checked {
                Ok(()) => return Ok(()),
                Err(e) => reason = Some(e.kind_as(Kind::Policy)),
            }
        }
        let title = root.title();
        Err(reason.unwrap_or_else(|| unsigned(source, digest, ctx)).input(title))
    }
}

/// Payload and signature of every cosign signature of an image.
fn signatures(
    source: &dyn Source,
    digest: &Digest,
    ctx: &Context,
) -> Result<Vec<(Descriptor, String)>> {
    let tag = format!("{}-{}.sig", digest.algorithm().name(), digest.hex());
    let tagged = |root: &&Root| {
        let label = root.label.as_deref().and_then(|label| label.rsplit(['/', ':']).next());
        label == Some(&tag) || root.names.iter().any(|name| name.tag() == Some(&tag))
    };
    let mut found = Vec::new();
    for root in source.roots().iter().filter(tagged) {
        let bytes = Blob::new(source, root.desc.clone(), ctx).bytes(MAX_DOCUMENT)?;
        let doc = Document::parse(&bytes, &root.desc.media_type)?;
        let manifest::DocumentKind::Manifest { layers, .. } = doc.kind else { continue };
        for layer in layers {
            if let (PAYLOAD, Some(text)) = (layer.media_type.as_str(), layer.annotation(ANNOTATION))
            {
                let text = text.to_owned();
                found.push((layer, text));
            }
        }
    }
    if found.len() > MAX_SIGNATURES {
        let what = format!("more signatures of {digest} than the limit of {MAX_SIGNATURES}");
        return Err(Error::new(Kind::Policy, what));
    }
    Ok(found)
}

/// Why there is no signature to check.
fn unsigned(source: &dyn Source, digest: &Digest, ctx: &Context) -> Error {
    let bundled = source.roots().iter().filter(|root| root.companion).any(|root| {
        let said = root.desc.artifact_type().is_some_and(|t| t.starts_with(BUNDLE));
        let read = || {
            let bytes = Blob::new(source, root.desc.clone(), ctx).bytes(MAX_DOCUMENT).ok()?;
            Document::parse(&bytes, &root.desc.media_type).ok()
        };
        read().is_some_and(|doc| {
            let bundle = said
                || doc.artifact_type.as_deref().is_some_and(|t| t.starts_with(BUNDLE))
                || doc.children().iter().any(|c| c.media_type.as_str().starts_with(BUNDLE));
            bundle && doc.subject.is_some_and(|subject| subject.digest == *digest)
        })
    });
    let what = if bundled {
        "is signed with a sigstore bundle, which cannot be checked against a key offline"
    } else {
        "is not signed"
    };
    Error::new(Kind::Policy, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Reading;
    use crate::sync::signature::tests::{Signer, payload};
    use crate::transport::layout::LayoutSource;

    #[test]
    fn a_glob_stays_within_a_component() {
        for (glob, name, want) in [
            ("docker.io/library/*", "nginx:1", true),
            ("docker.io/library/*", "library/a/b:1", false),
            ("nginx", "nginx:1", true),
            ("nginx:1.*", "nginx:1.27", true),
            ("nginx:1.*", "nginx:2", false),
            ("quay.io/*", "quay.io/a/b:1", false),
            ("quay.io/**", "quay.io/a/b:1", true),
            ("quay.io/*/b", "quay.io/a/b:1", true),
            ("*", "quay.io/a:1", false),
            ("quay.io/a", "quay.io/ab:1", false),
        ] {
            let glob: NameGlob = glob.parse().unwrap();
            assert_eq!(glob.fits(&name.parse().unwrap()), want, "{glob:?} {name}");
        }
        let intake =
            AdmissionPolicy { allow: vec!["nginx".parse().unwrap()], ..AdmissionPolicy::default() };
        let error = intake.allows(&"quay.io/a:1".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Policy);
        assert!(AdmissionPolicy::default().allows(&"quay.io/a:1".parse().unwrap()).is_ok());
    }

    /// A layout with an image of no layers and perhaps its signature.
    fn layout(signed: Option<(&Signer, &str)>, tag: &str) -> (tempfile::TempDir, LayoutSource) {
        let temp = tempfile::tempdir().unwrap();
        let write = |media_type: &str, bytes: &[u8]| {
            let desc = Descriptor::of(media_type, bytes);
            let path = temp.path().join(desc.digest.blob_path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
            desc
        };
        let config =
            write(crate::media_type::OCI_CONFIG, br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#);
        let mut image = write(crate::media_type::OCI_MANIFEST, &manifest::image(&config, &[]));
        let digest = image.digest;
        image.annotate(crate::descriptor::ANNOTATION_NAME, "r.local/team/app:1");
        let mut entries = vec![image];
        if let Some((signer, kind)) = signed {
            let payload = payload("r.local/team/app", &digest, kind);
            let mut layer = write(PAYLOAD, &payload);
            layer.annotate(ANNOTATION, &signer.sign(&payload));
            let mut desc =
                write(crate::media_type::OCI_MANIFEST, &manifest::image(&config, &[layer]));
            desc.annotate(crate::descriptor::ANNOTATION_REF, &tag.replace("HEX", &digest.hex()));
            entries.push(desc);
        }
        std::fs::write(temp.path().join("index.json"), manifest::index(&entries)).unwrap();
        std::fs::write(temp.path().join("oci-layout"), crate::layout::tables::MARKER).unwrap();
        let source = LayoutSource::open(temp.path(), Reading::default(), &Context::default());
        (temp, source.unwrap())
    }

    #[test]
    fn an_image_comes_in_when_a_key_has_signed_it() {
        const GOOD: &str = "cosign container image signature";
        let (signer, other) = (Signer::new(), Signer::new());
        let ctx = Context::default();
        for (signed, tag, want) in [
            (Some((&signer, GOOD)), "sha256-HEX.sig", None),
            (Some((&signer, GOOD)), "r.local/team/app:sha256-HEX.sig", None),
            (Some((&other, GOOD)), "sha256-HEX.sig", Some("not by any of the given keys")),
            (Some((&signer, "x")), "sha256-HEX.sig", Some("not for an image")),
            (Some((&signer, GOOD)), "sha256-HEX.att", Some("is not signed")),
            (None, "", Some("is not signed")),
        ] {
            let (_temp, source) = layout(signed, tag);
            let intake = AdmissionPolicy { keys: vec![signer.key()], ..AdmissionPolicy::default() };
            let root = source.roots().iter().find(|r| !r.companion).unwrap().clone();
            let result = intake.signed(&source, &root, &root.names, &ctx);
            match want {
                None => result.unwrap(),
                Some(want) => {
                    let error = result.unwrap_err();
                    assert_eq!(error.kind(), Kind::Policy);
                    assert!(error.what().contains(want), "{error}");
                }
            }
            assert!(AdmissionPolicy::default().signed(&source, &root, &root.names, &ctx).is_ok());
        }
    }
}
