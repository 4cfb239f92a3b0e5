//! What to type next, for errors where that is known.

use imgpack::{Error, Kind};

/// A hint for an error.
pub(crate) fn of(error: &Error) -> Option<String> {
    let what = error.what();
    let input = error.subject().unwrap_or("FILE");
    Some(match error.kind() {
        Kind::Conflict if what == "file exists" => {
            "write another file, or overwrite it with --force".into()
        }
        Kind::Malformed if what.contains("disagree") => {
            "choose one table with --prefer docker or --prefer oci".into()
        }
        Kind::Malformed if what.starts_with("invalid reference") => {
            "load the image without its name: --ignore-bad-tags".into()
        }
        Kind::Malformed if what.starts_with("sparse member") => {
            format!("no image archive has any; a root file system: imgpack import {input} NAME")
        }
        Kind::Malformed if what.contains("`import`") => format!("imgpack import {input} NAME"),
        Kind::Corrupt | Kind::Malformed if error.subject().is_some() => {
            format!("list all damage with: imgpack verify {input}; then fetch or export it again")
        }
        Kind::Missing if what.starts_with("no such image") => {
            "list what is there with: imgpack images".into()
        }
        Kind::Missing if what == "the store is empty" => {
            "fill it with: imgpack load -i FILE".into()
        }
        Kind::Busy => "wait longer with --wait SECONDS".into(),
        Kind::Io if error.os_error() == Some(28) => {
            "free some space, or write elsewhere (scratch files: --tmpdir DIR), then run it again"
                .into()
        }
        Kind::Io if error.os_error() == Some(27) => {
            "the file system or a limit does not take files this large".into()
        }
        Kind::Policy if what.contains("--platform") => "for example: --platform linux/amd64".into(),
        _ => return None,
    })
}
