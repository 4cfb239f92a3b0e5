//! What `docker import` makes of a root file system: its checks and its config, without any I/O of
//! its own.
//!
//! It must not know stores, names or compression, and it never unpacks: the tar stream becomes the
//! layer as it is.
//!
//! Follows `docker import` of Docker 20.10 to 29 as observed, and the OCI image configuration for
//! the document (key order as Docker 28 and 29 write it with the containerd store).

mod changes;
mod shell;

use std::io::{self, BufReader, BufWriter, Read, Write};

use serde_json::{Map, Value, json};

use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::io::tar::{Ending, EntryKind, TarReader};
use crate::json::go_compact;
use crate::platform::Platform;

pub use changes::changes;

/// The config document of an imported image, byte for byte as Docker would write it.
///
/// `diff_id` is the digest of the uncompressed tar; `created` is RFC 3339, as Docker has it in UTC.
pub fn config(
    diff_id: DiffId,
    changes: &Map<String, Value>,
    message: &str,
    platform: &Platform,
    created: &str,
) -> Vec<u8> {
    let mut doc = Map::new();
    doc.insert("created".into(), created.into());
    doc.insert("architecture".into(), platform.architecture.clone().into());
    doc.insert("os".into(), platform.os.clone().into());
    if !platform.variant.is_empty() {
        doc.insert("variant".into(), platform.variant.clone().into());
    }
    doc.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": [diff_id.to_string()] }));
    let mut step = Map::new();
    step.insert("created".into(), created.into());
    if !message.is_empty() {
        step.insert("comment".into(), message.into());
    }
    doc.insert("history".into(), json!([step]));
    doc.insert("config".into(), Value::Object(changes.clone()));
    go_compact(&Value::Object(doc))
}

/// What a root file system's tar holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsSummary {
    /// Members.
    pub members: u64,
    /// Bytes of the whole stream, whatever follows the end marker included.
    pub bytes: u64,
    /// Members whose name, or hard link target, leads outside; refused unless allowed.
    pub unsafe_names: u64,
    /// Whether it holds the tables of an image archive, which is loaded rather than imported.
    pub image_archive: bool,
    /// What followed the last member; a stream without end marker may have been cut.
    pub ending: Ending,
}

/// Reads an uncompressed tar stream to its end, passing every byte on to `copy` unchanged, and
/// checks that every header is one that any reader takes the same way.
///
/// On an error `copy` has had some of the bytes, and must not be kept.
///
/// # Errors
/// [`crate::Kind::Malformed`] for what is not a tar stream, is truncated, or, unless
/// `allow_unsafe_names`, has an absolute name or one with `..`; those of `reader` and `copy`.
pub fn check_rootfs(
    reader: impl Read,
    copy: &mut dyn Write,
    allow_unsafe_names: bool,
) -> Result<RootfsSummary> {
    let tee = Tee {
        from: BufReader::with_capacity(BUFFER, reader),
        to: BufWriter::with_capacity(BUFFER, copy),
        bytes: 0,
    };
    let mut tar = TarReader::new(tee);
    let (mut members, mut unsafe_names, mut image_archive) = (0, 0, false);
    while let Some(entry) = tar.next()? {
        members += 1;
        // A hard link's target counts from the root with or without a leading slash.
        let climbs = climbs(&entry.name)
            || (entry.kind == EntryKind::HardLink && climbs(&entry.link))
            || entry.name.starts_with(b"/");
        if climbs && !allow_unsafe_names {
            let what = "a name is absolute or has a \"..\"";
            return Err(Error::malformed(what).at(entry.place()));
        }
        unsafe_names += u64::from(climbs);
        image_archive |= matches!(entry.name.as_slice(), b"manifest.json" | b"oci-layout");
    }
    let ending = tar.ending();
    let mut tee = tar.into_source().into_inner();
    io::copy(&mut tee, &mut io::sink())?;
    tee.to.flush()?;
    Ok(RootfsSummary { members, bytes: tee.bytes, unsafe_names, image_archive, ending })
}

const BUFFER: usize = 256 * 1024;

fn climbs(name: &[u8]) -> bool {
    name.split(|b| *b == b'/').any(|part| part == b"..")
}

/// Passes on to `to` whatever is read.
struct Tee<R, W: Write> {
    from: R,
    to: W,
    bytes: u64,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.to.write_all(&buf[..n])?;
        self.bytes += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tar::{Member, write_end, write_header};

    #[test]
    fn the_config_has_dockers_bytes() {
        let fields = changes(&[
            "ENTRYPOINT [\"/bin/busybox\"]".into(),
            "CMD [\"/bin/sh\"]".into(),
            "USER nobody".into(),
            "EXPOSE 80".into(),
            "ENV A=1 B=\"two words\"".into(),
            "VOLUME /v".into(),
            "WORKDIR /tmp".into(),
            "LABEL k=v".into(),
            "STOPSIGNAL 9".into(),
            "HEALTHCHECK CMD true".into(),
            "ONBUILD RUN true".into(),
        ])
        .expect("good changes");
        let platform = "linux/arm64/v8".parse::<Platform>().expect("a platform");
        let created = "2026-11-20T18:39:22.458933056Z";
        let text = "sha256:3219a46c7c9a22b2350e369808bb3c6d786a5e9aebb6972d8fa4d97d30955d23";
        let diff_id = text.parse().expect("a digest");
        let got = config(diff_id, &fields, "imported for fixtures", &platform, created);
        // Docker 29's own document for the same import.
        let want = concat!(
            r#"{"created":"2026-11-20T18:39:22.458933056Z","architecture":"arm64","os":"linux","#,
            r#""variant":"v8","rootfs":{"type":"layers","diff_ids":["#,
            r#""sha256:3219a46c7c9a22b2350e369808bb3c6d786a5e9aebb6972d8fa4d97d30955d23"]},"#,
            r#""history":[{"created":"2026-11-20T18:39:22.458933056Z","#,
            r#""comment":"imported for fixtures"}],"config":{"User":"nobody","#,
            r#""ExposedPorts":{"80/tcp":{}},"Env":["A=1","B=two words"],"#,
            r#""Entrypoint":["/bin/busybox"],"Cmd":["/bin/sh"],"Volumes":{"/v":{}},"#,
            r#""WorkingDir":"/tmp","Labels":{"k":"v"},"StopSignal":"9","#,
            r#""Healthcheck":{"Test":["CMD-SHELL","true"]},"OnBuild":["RUN true"]}}"#
        );
        assert_eq!(String::from_utf8(got).expect("text"), want);
    }

    #[test]
    fn an_import_without_changes_has_an_empty_config_and_go_escapes() {
        let platform = "linux/amd64".parse::<Platform>().expect("a platform");
        let diff_id = DiffId(crate::digest::Digest::of(b""));
        let got = config(diff_id, &Map::new(), "a<b>&\u{2028}é\n", &platform, "t");
        let want = concat!(
            r#"{"created":"t","architecture":"amd64","os":"linux","#,
            r#""rootfs":{"type":"layers","diff_ids":["#,
            r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"#,
            r#""history":[{"created":"t","#,
            r#""comment":"a\u003cb\u003e\u0026\u2028é\n"}],"config":{}}"#
        );
        assert_eq!(String::from_utf8(got).expect("text"), want);
    }

    fn tar(names: &[(&str, EntryKind, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, kind, link) in names {
            let member = Member {
                name: name.as_bytes(),
                kind: *kind,
                link: link.as_bytes(),
                size: 0,
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: 0,
                mtime_nanos: 0,
                major: 0,
                minor: 0,
                xattrs: &[],
            };
            write_header(&mut out, &member).expect("a vector");
        }
        write_end(&mut out).expect("a vector");
        out
    }

    #[test]
    fn an_honest_root_file_system_passes_through_unchanged() {
        let mut bytes = tar(&[
            ("./", EntryKind::Dir, ""),
            ("..a/b..", EntryKind::Regular, ""),
            ("out", EntryKind::Symlink, "../../../../etc"),
            ("hard", EntryKind::HardLink, "/..a/b.."),
        ]);
        bytes.extend_from_slice(b"trailing");
        let mut copy = Vec::new();
        let got = check_rootfs(bytes.as_slice(), &mut copy, false).expect("honest");
        assert_eq!(copy, bytes);
        assert_eq!((got.members, got.unsafe_names, got.bytes), (4, 0, bytes.len() as u64));
        assert!(matches!(got.ending, Ending::Junk { .. }));
    }

    #[test]
    fn names_that_lead_outside_are_refused_unless_allowed() {
        for names in [
            ("../a", EntryKind::Regular, ""),
            ("a/../../b", EntryKind::Regular, ""),
            ("/etc/passwd", EntryKind::Regular, ""),
            ("a", EntryKind::HardLink, "../etc/passwd"),
        ] {
            let bytes = tar(&[names]);
            let err = check_rootfs(bytes.as_slice(), &mut io::sink(), false).expect_err("outside");
            assert_eq!(err.kind(), crate::Kind::Malformed);
            let mut copy = Vec::new();
            let got = check_rootfs(bytes.as_slice(), &mut copy, true).expect("allowed");
            assert_eq!((got.unsafe_names, copy), (1, bytes));
        }
    }

    #[test]
    fn cut_and_foreign_streams_are_refused() {
        let bytes = tar(&[("a", EntryKind::Dir, "")]);
        assert!(check_rootfs(&bytes[..100], &mut io::sink(), false).is_err());
        assert!(check_rootfs([b'x'; 4096].as_slice(), &mut io::sink(), false).is_err());
        let got = check_rootfs(&bytes[..512], &mut io::sink(), false).expect("no marker");
        assert_eq!(got.ending, Ending::NoEndMarker);
    }
}
