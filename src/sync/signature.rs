//! cosign signatures, checked offline against public keys.
//!
//! It reads no place: bytes go in, a verdict comes out. A signature binds to bytes: the ECDSA P-256
//! signature covers the payload, the payload names the digest, type and repository of what was signed.
//! cosign `SIGNATURE_SPEC.md`, simple signing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::json;
use crate::reference::Reference;

/// What the `critical.type` of a payload must say.
const TYPE: &str = "cosign container image signature";
/// What comes before the point in the DER form of every P-256 public key (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: a mark and two coordinates.
const POINT: usize = 65;

/// A public key on the curve P-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key([u8; POINT]);

impl Key {
    /// Every key of a PEM text.
    ///
    /// # Errors
    /// `Malformed` when it holds none, `Unsupported` when one is not an ECDSA P-256 public key.
    pub fn parse_all(pem: &str) -> Result<Vec<Self>> {
        const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
        const END: &str = "-----END PUBLIC KEY-----";
        let mut keys = Vec::new();
        let mut rest = pem;
        while let Some((_, after)) = rest.split_once(BEGIN) {
            let (body, after) =
                after.split_once(END).ok_or_else(|| Error::malformed("public key has no end"))?;
            let body: String = body.split_whitespace().collect();
            let der =
                STANDARD.decode(body).map_err(|_| Error::malformed("public key is not base64"))?;
            keys.push(Self::from_der(&der)?);
            rest = after;
        }
        if keys.is_empty() {
            let what = if pem.contains("PRIVATE KEY") {
                "contains a private key; give the public key"
            } else {
                "contains no public key"
            };
            return Err(Error::malformed(what));
        }
        Ok(keys)
    }

    fn from_der(der: &[u8]) -> Result<Self> {
        let point: Option<[u8; POINT]> =
            der.strip_prefix(&P256).and_then(|point| point.try_into().ok());
        match point {
            Some(point @ [0x04, ..]) => Ok(Self(point)),
            _ => Err(Error::unsupported("not an ECDSA P-256 public key")),
        }
    }
}

/// Checks that `signature` (base64) was made by one of `keys` over `payload`, and that the payload
/// is about the image with `digest`. With names, the payload's repository must be that of one of
/// them; the registry may differ, since images are mirrored.
///
/// # Errors
/// `Policy` saying which of these is not so.
pub fn verify(
    payload: &[u8],
    signature: &str,
    digest: &Digest,
    names: &[Reference],
    keys: &[Key],
) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Kind::Policy, what));
    let Ok(bytes) = STANDARD.decode(signature) else {
        return refuse("its signature is not base64".into());
    };
    let made = |key: &&Key| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.0).verify(payload, &bytes).is_ok()
    };
    if keys.iter().find(made).is_none() {
        return refuse("its signature is not by any of the given keys".into());
    }
    // Only now is the payload worth reading.
    let payload = json::object(payload).map_err(|e| e.kind_as(Kind::Policy))?;
    let critical = payload.get("critical").and_then(serde_json::Value::as_object);
    let text = |path: &[&str]| {
        let mut value = critical?.get(path[0])?;
        for key in &path[1..] {
            value = value.get(key)?;
        }
        value.as_str()
    };
    match text(&["type"]) {
        Some(TYPE) => {}
        other => {
            let other = crate::text::escape(other.unwrap_or("nothing")).into_owned();
            return refuse(format!("its signature is for {other:?}, not for an image"));
        }
    }
    let signed = text(&["image", "docker-manifest-digest"]).unwrap_or_default();
    if signed.parse::<Digest>().ok() != Some(*digest) {
        let signed = crate::text::escape(signed).into_owned();
        return refuse(format!("its signature is for another image, {signed}"));
    }
    let identity = text(&["identity", "docker-reference"]).unwrap_or_default();
    if !identity.is_empty() && !names.is_empty() && !names.iter().any(|n| same(identity, n)) {
        let identity = crate::text::escape(identity).into_owned();
        return refuse(format!("its signature is for another repository, {identity}"));
    }
    Ok(())
}

/// Whether a signed name is that of `name`: the same path, or the end of it at a border of
/// components, since mirrors put a path of their own before it.
fn same(identity: &str, name: &Reference) -> bool {
    let Ok(identity) = identity.parse::<Reference>() else { return false };
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    ends(name.path(), identity.path()) || ends(identity.path(), name.path())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Made with `openssl ecparam -genkey -name prime256v1`.
    pub(crate) const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBV0Y5Mut3vjCHHn6MfMFiPD80o1p
W7IjYtz/Z6SvUpnK78ssAhCXWLXpvh2K4sEvkeafd409Tfb+kcMF4wzepw==
-----END PUBLIC KEY-----
";
    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"registry.example.com/team/app"},"image":{"docker-manifest-digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},"type":"cosign container image signature"},"optional":null}"#;
    /// Of that payload with that key: `openssl dgst -sha256 -sign`.
    const SIGNATURE: &str = "MEUCIBUHLZddkHSQ/slU0VmTBjnzRVgOuuaW4ITF7V3jX+TQAiEA5AIs5O6ZKXKEXDr20RAxUQ3EdOt9Eq82bruFSH0lQf4=";

    /// A key pair of its own, and signatures by it.
    pub(crate) struct Signer(ring::signature::EcdsaKeyPair, ring::rand::SystemRandom);

    impl Signer {
        pub(crate) fn new() -> Self {
            use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING as ALGORITHM, EcdsaKeyPair};
            let random = ring::rand::SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(&ALGORITHM, pkcs8.as_ref(), &random).unwrap(), random)
        }

        pub(crate) fn key(&self) -> Key {
            use ring::signature::KeyPair;
            Key(self.0.public_key().as_ref().try_into().unwrap())
        }

        pub(crate) fn sign(&self, payload: &[u8]) -> String {
            STANDARD.encode(self.0.sign(&self.1, payload).unwrap())
        }
    }

    /// A payload as cosign writes it.
    pub(crate) fn payload(repository: &str, digest: &Digest, kind: &str) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest.to_string()},
                "type": kind,
            },
            "optional": null,
        }))
        .unwrap()
    }

    fn name(text: &str) -> Vec<Reference> {
        vec![text.parse().unwrap()]
    }

    #[test]
    fn a_signature_made_by_openssl_verifies() {
        let keys = Key::parse_all(KEY).unwrap();
        let digest = Digest::of(b"x");
        let names = name("registry.example.com/team/app:1");
        verify(PAYLOAD.as_bytes(), SIGNATURE, &digest, &names, &keys).unwrap();
        // The second of two keys, another registry, a mirror's path, no name at all.
        let both = [Signer::new().key(), keys[0].clone()];
        for names in [name("m.local/team/app:1"), name("m.local/x/team/app:1"), Vec::new()] {
            verify(PAYLOAD.as_bytes(), SIGNATURE, &digest, &names, &both).unwrap();
        }
    }

    #[test]
    fn a_signature_for_anything_else_is_refused() {
        let keys = Key::parse_all(KEY).unwrap();
        let digest = Digest::of(b"x");
        let names = name("registry.example.com/team/app:1");
        let check =
            |payload: &str, signature: &str, digest: &Digest, names: &[Reference], keys: &[Key]| {
                let error = verify(payload.as_bytes(), signature, digest, names, keys).unwrap_err();
                assert_eq!(error.kind(), Kind::Policy);
                error.what().to_owned()
            };
        let trailing = format!("{PAYLOAD} ");
        let unpadded = SIGNATURE.trim_end_matches('=');
        let other = Signer::new().key();
        for (payload, signature, digest, names, keys, want) in [
            (PAYLOAD, SIGNATURE, Digest::of(b"y"), &names, &keys[..], "another image"),
            (PAYLOAD, SIGNATURE, digest, &name("r/other/app:1"), &keys, "another repository"),
            (PAYLOAD, SIGNATURE, digest, &name("r/eam/app:1"), &keys, "another repository"),
            (PAYLOAD, SIGNATURE, digest, &names, &[other], "not by any of the given keys"),
            (PAYLOAD, SIGNATURE, digest, &names, &[], "not by any of the given keys"),
            (trailing.as_str(), SIGNATURE, digest, &names, &keys, "not by any of the given keys"),
            (PAYLOAD, unpadded, digest, &names, &keys, "not base64"),
            (PAYLOAD, "", digest, &names, &keys, "not by any of the given keys"),
            (PAYLOAD, "AAAA", digest, &names, &keys, "not by any of the given keys"),
        ] {
            let said = check(payload, signature, &digest, names, keys);
            assert!(said.contains(want), "{want}: {said}");
        }
        // Signed, and still not about an image.
        let signer = Signer::new();
        for (payload, want) in [
            (payload("r/a", &digest, "something else"), "not for an image"),
            (payload("", &digest, ""), "not for an image"),
            (b"{}".to_vec(), "not for an image"),
            (b"[]".to_vec(), "expected a JSON object"),
            (br#"{"critical":{"type":"a"},"critical":{"type":"b"}}"#.to_vec(), "ambiguous"),
        ] {
            let signature = signer.sign(&payload);
            let error = verify(&payload, &signature, &digest, &[], &[signer.key()]).unwrap_err();
            assert_eq!(error.kind(), Kind::Policy);
            assert!(error.what().contains(want), "{error}");
        }
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        assert_eq!(Key::parse_all(&format!("{KEY}\n{KEY}")).unwrap().len(), 2);
        for (pem, kind) in [
            (
                "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAbAzMOv2uF5IsAzjeHi5qcL3CKMQbYVXZliAPE/49VZ0=\n-----END PUBLIC KEY-----",
                Kind::Unsupported,
            ),
            (
                "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEZYG39Al1CeYfhcPqRh9wGYG7C0RQUOAuWwaCvK2MmMxJN2TYHHINODobhg67WbwZUR/Yl2NWWR6OQz+53ON/R95dErTr6+qK76i3u8cgieIf75XJBVDXStcYVVq9CL51\n-----END PUBLIC KEY-----",
                Kind::Unsupported,
            ),
            ("-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----", Kind::Malformed),
            ("-----BEGIN PUBLIC KEY-----\nAAAA", Kind::Malformed),
            ("-----BEGIN EC PRIVATE KEY-----", Kind::Malformed),
            ("", Kind::Malformed),
        ] {
            assert_eq!(Key::parse_all(pem).unwrap_err().kind(), kind, "{pem}");
        }
    }
}
