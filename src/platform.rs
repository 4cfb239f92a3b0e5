//! Platforms: operating system, architecture, variant; parse, print, match.
//!
//! It knows nothing of manifests. Normal forms follow containerd's `platforms` package: `x86_64` is
//! `amd64`, `arm64` without a variant is `v8`, `arm` without one is `v7`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};

/// Where an image runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// Operating system: `linux`, `windows`.
    pub os: String,
    /// Architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// Variant: `v8`; empty when there is none.
    pub variant: String,
}

impl Platform {
    /// Of several things that run somewhere, the one for this machine; the first when none is. It is the
    /// image that stands for its index wherever one must: in IDs that are shown, in manifest.json, in
    /// places that take one image.
    pub fn for_host<T>(
        items: impl IntoIterator<Item = T>,
        platform: impl Fn(&T) -> Option<&Self>,
    ) -> Option<T> {
        let host = Self::host();
        let mut first = None;
        for item in items {
            if platform(&item).is_some_and(|p| p.satisfies(&host)) {
                return Some(item);
            }
            first = first.or(Some(item));
        }
        first
    }

    /// The platform this program was built for.
    pub fn host() -> Self {
        let architecture = normal_architecture(std::env::consts::ARCH).to_string();
        Self { os: "linux".into(), architecture, variant: String::new() }
    }

    /// From the fields of a descriptor's `platform` or of a config; a missing `os` means `linux`.
    /// `None` when neither an operating system nor an architecture is said.
    pub fn from_fields(map: &Map<String, Value>) -> Option<Self> {
        let field = |key| map.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let (mut os, architecture, variant) =
            (field("os"), field("architecture"), field("variant"));
        if os.is_empty() && architecture.is_empty() {
            return None;
        }
        if os.is_empty() {
            os = "linux".into();
        }
        Some(Self { os, architecture, variant })
    }

    /// `unknown/unknown`, as attestations are marked.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown"
    }

    /// Whether an image for `self` is what somebody asking for `wanted` means. A request without a
    /// variant takes any variant.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let (have, want) = (self.normal(), wanted.normal());
        have.os == want.os
            && have.architecture == want.architecture
            && (wanted.variant.is_empty() || have.variant == want.variant)
    }

    /// The value of a descriptor's `platform` field.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("architecture".into(), self.architecture.clone().into());
        map.insert("os".into(), self.os.clone().into());
        if !self.variant.is_empty() {
            map.insert("variant".into(), self.variant.clone().into());
        }
        Value::Object(map)
    }

    fn normal(&self) -> Self {
        let architecture = normal_architecture(&self.architecture).to_string();
        let variant = match (architecture.as_str(), self.variant.as_str()) {
            ("arm64", "v8" | "8" | "") | ("amd64", "v1" | "") => "",
            ("arm", "" | "7") => "v7",
            ("arm", "6") => "v6",
            ("arm", "5") => "v5",
            (_, variant) => variant,
        };
        Self { os: self.os.to_lowercase(), variant: variant.to_string(), architecture }
    }
}

fn normal_architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "x86" => "386",
        "armhf" => "arm",
        "powerpc64" => "ppc64le",
        "riscv" => "riscv64",
        other => other,
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]`, or an architecture alone (of `linux`).
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            let text = crate::text::escape(text);
            Error::new(
                Kind::Usage,
                format!("invalid platform {text:?}: expected OS/ARCH[/VARIANT]"),
            )
        };
        let part = |p: &&str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(part) {
            return Err(bad());
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux" | "windows" | "darwin" | "freebsd"] => return Err(bad()),
            [arch] => ("linux", arch, ""),
            [os, arch] => (os, arch, ""),
            [os, arch, variant] => (os, arch, variant),
            _ => return Err(bad()),
        };
        Ok(Self {
            os: os.to_lowercase(),
            architecture: normal_architecture(&architecture.to_lowercase()).to_string(),
            variant: variant.to_lowercase(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_platform_match() {
        assert!(p("linux/arm64/v8").satisfies(&p("arm64")));
        assert!(p("linux/arm64").satisfies(&p("linux/aarch64/v8")));
        assert!(p("linux/arm/v6").satisfies(&p("linux/arm")));
        assert!(!p("linux/arm/v6").satisfies(&p("linux/arm/v7")));
        assert!(!p("windows/amd64").satisfies(&p("amd64")));
        assert!("linux".parse::<Platform>().is_err());
        assert!("a/b/c/d".parse::<Platform>().is_err());
    }
}
