//! Reading a blob: whole, its head alone, again with what was learned the first time.
//! distribution-spec, Pull, end-2; RFC 9110 on conditions.

use super::{Case, Check, Outcome, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("GET", get),
    Check::each("HEAD", head),
    Check::each("GET and HEAD of an unknown blob", unknown),
    Check::once("bad digests", malformed),
    Check::each("ETag and If-None-Match", etag),
    Check::each("If-Range with another ETag", if_range),
    Check::once("Accept-Encoding changes nothing", encoding),
];

fn get(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let digest = case.push(&bytes)?;
    let answer = case.ask("GET", &format!("blobs/{digest}"))?.is(200)?;
    answer.holds(&bytes)?;
    answer.has("Docker-Content-Digest", &digest)?;
    answer.header("Content-Type")?;
    answer.lacks("Content-Encoding")
}

fn head(case: &Case) -> Outcome {
    let digest = case.push(&case.bytes(0, 3000))?;
    let answer = case.ask("HEAD", &format!("blobs/{digest}"))?.is(200)?;
    answer.has("Content-Length", "3000")?;
    answer.has("Docker-Content-Digest", &digest)
}

fn unknown(case: &Case) -> Outcome {
    case.push(b"known")?;
    case.lacks_blob(&case.digest(&case.bytes(0, 10)))
}

fn malformed(case: &Case) -> Outcome {
    case.push(b"known")?;
    let upper = case.digest(b"known").to_uppercase().replace("SHA", "sha");
    for digest in ["sha256:bad", "sha256:", "x", "md5:9dd4e461268c8034f5c8564e155c67a6", &upper] {
        for method in ["GET", "HEAD"] {
            case.ask(method, &format!("blobs/{digest}"))?.one_of(&[400, 404])?;
        }
    }
    Ok(())
}

fn etag(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let below = format!("blobs/{}", case.push(&bytes)?);
    same_tag(case, &below, &bytes)
}

/// What has an ETag is not sent again to whoever has it.
pub fn same_tag(case: &Case, below: &str, bytes: &[u8]) -> Outcome {
    let first = case.ask("GET", below)?.is(200)?;
    let tag = first.header("ETag")?.to_owned();
    holds(&format!("ETag {tag} is not quoted"), tag.starts_with('"') && tag.ends_with('"'))?;
    let path = case.at(below);
    for known in [&tag, &format!("W/{tag}"), &format!("\"other\", {tag}"), "*"] {
        for method in ["GET", "HEAD"] {
            let answer = case.call(method, &path).header("If-None-Match", known).send()?.is(304)?;
            same("bytes with 304", answer.body.len(), 0)?;
        }
    }
    let other = case.call("GET", &path).header("If-None-Match", "\"other\"").send()?.is(200)?;
    other.holds(bytes)
}

fn if_range(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let path = case.at(&format!("blobs/{}", case.push(&bytes)?));
    let tag = case.call("HEAD", &path).send()?.is(200)?.header("ETag")?.to_owned();
    let part =
        |tag: &str| case.call("GET", &path).header("Range", "bytes=0-9").header("If-Range", tag);
    part("\"other\"").send()?.is(200)?.holds(&bytes)?;
    part(&tag).send()?.is(206)?.holds(&bytes[..10])
}

fn encoding(case: &Case) -> Outcome {
    let bytes = vec![b'a'; 20_000];
    let path = case.at(&format!("blobs/{}", case.push(&bytes)?));
    let answer =
        case.call("GET", &path).header("Accept-Encoding", "gzip, zstd, br").send()?.is(200)?;
    answer.lacks("Content-Encoding")?;
    answer.holds(&bytes)
}
