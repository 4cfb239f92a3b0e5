//! A server that only gives: everything it holds, in every way it can be asked for, and every write
//! refused in words.

use super::call::Answer;
use super::shapes::Shape;
use super::{Case, Check, Held, Miss, Outcome, fail, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::once("GET and HEAD /v2/", ping),
    Check::once("something is held", something),
    Check::once("_catalog", catalog),
    Check::once("tags", tags),
    Check::once("manifests by tag", by_tag),
    Check::once("manifests by digest", by_digest),
    Check::once("manifests that are not there", no_manifest),
    Check::once("ETag and If-None-Match of a manifest", etag),
    Check::once("blobs", blobs),
    Check::once("HEAD of blobs", heads),
    Check::once("blobs by range", ranges),
    Check::once("ranges beyond the end", no_range),
    Check::once("blobs that are not there", no_blob),
    Check::once("referrers", referrers),
    Check::once("every write is 403 or 405", writes),
    Check::once("a refused write is error JSON", writes_json),
    Check::once("nothing changed", unchanged),
];

/// Looks at everything that is held, each in its repository.
fn each(case: &Case, look: impl Fn(&Case, &Held) -> Outcome) -> Outcome {
    case.target.held.iter().try_for_each(|held| look(&case.beside(&held.repository), held))
}

fn ping(case: &Case) -> Outcome {
    for method in ["GET", "HEAD"] {
        case.call(method, "/v2/").send()?.is(200)?;
    }
    Ok(())
}

/// The other checks would pass with nothing to look at.
fn something(case: &Case) -> Outcome {
    let whole = |held: &Held| !held.manifest.is_empty() && !held.blobs.is_empty();
    holds("an image with blobs", case.target.held.iter().any(whole))
}

fn catalog(case: &Case) -> Outcome {
    let answer = case.call("GET", "/v2/_catalog?n=1000").send()?.is(200)?;
    let json = answer.json();
    let all: Vec<&str> =
        json["repositories"].as_array().into_iter().flatten().filter_map(|n| n.as_str()).collect();
    each(case, |_, held| holds(&held.repository, all.contains(&held.repository.as_str())))
}

fn tags(case: &Case) -> Outcome {
    each(case, |here, held| {
        let answer = here.ask("GET", "tags/list")?.is(200)?;
        let json = answer.json();
        let all = json["tags"].as_array().cloned().unwrap_or_default();
        holds(&held.tag, all.iter().any(|tag| tag.as_str() == Some(&held.tag)))
    })
}

fn reads(here: &Case, held: &Held, reference: &str) -> Outcome {
    let shape = Shape { media_type: held.media_type.clone(), bytes: held.manifest.clone() };
    super::manifests::reads(here, reference, &held.digest, &shape)
}

fn by_tag(case: &Case) -> Outcome {
    each(case, |here, held| reads(here, held, &held.tag))
}

fn by_digest(case: &Case) -> Outcome {
    each(case, |here, held| reads(here, held, &held.digest))
}

fn no_manifest(case: &Case) -> Outcome {
    let digest = case.digest(&case.bytes(0, 10));
    each(case, |here, _| {
        for reference in ["no-such-tag", &digest] {
            let below = format!("manifests/{reference}");
            here.ask("HEAD", &below)?.is(404)?;
            here.ask("GET", &below)?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
        }
        Ok(())
    })?;
    let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN"];
    case.ask("GET", "manifests/latest")?.refused(&[404], &codes).map(|_| ())
}

fn etag(case: &Case) -> Outcome {
    each(case, |here, held| {
        super::blobs::same_tag(here, &format!("manifests/{}", held.digest), &held.manifest)
    })
}

/// Looks at every blob.
fn each_blob(case: &Case, look: impl Fn(&Case, &str, &[u8]) -> Outcome) -> Outcome {
    each(case, |here, held| {
        held.blobs
            .iter()
            .try_for_each(|(digest, bytes)| look(here, &format!("blobs/{digest}"), bytes))
    })
}

fn blobs(case: &Case) -> Outcome {
    each_blob(case, |here, below, bytes| {
        let answer = here.ask("GET", below)?.is(200)?;
        answer.has("Docker-Content-Digest", below.trim_start_matches("blobs/"))?;
        answer.holds(bytes)
    })
}

fn heads(case: &Case) -> Outcome {
    each_blob(case, |here, below, bytes| {
        let answer = here.ask("HEAD", below)?.is(200)?;
        answer.has("Docker-Content-Digest", below.trim_start_matches("blobs/"))?;
        answer.has("Content-Length", &bytes.len().to_string())
    })
}

fn part(here: &Case, below: &str, range: &str) -> Result<Answer, Miss> {
    here.call("GET", &here.at(below)).header("Range", format!("bytes={range}")).send()
}

fn ranges(case: &Case) -> Outcome {
    each_blob(case, |here, below, bytes| {
        let size = bytes.len();
        let middle = size / 2;
        let all = [
            (format!("0-{middle}"), 0, middle),
            (format!("{middle}-"), middle, size - 1),
            ("-1".to_owned(), size - 1, size - 1),
            (format!("{middle}-{}", size + 1000), middle, size - 1),
        ];
        for (range, start, end) in all {
            let answer = part(here, below, &range)?.is(206)?;
            answer.has("Content-Range", &format!("bytes {start}-{end}/{size}"))?;
            answer.holds(&bytes[start..=end])?;
        }
        Ok(())
    })
}

fn no_range(case: &Case) -> Outcome {
    each_blob(case, |here, below, bytes| {
        let size = bytes.len();
        let answer = part(here, below, &format!("{size}-{}", size + 9))?.is(416)?;
        answer.has("Content-Range", &format!("bytes */{size}"))
    })
}

fn no_blob(case: &Case) -> Outcome {
    each(case, |here, _| here.lacks_blob(&here.digest(&here.bytes(0, 10))))
}

fn referrers(case: &Case) -> Outcome {
    each(case, |here, held| {
        let answer = here.ask("GET", &format!("referrers/{}", held.digest))?.is(200)?;
        answer.has("Content-Type", super::shapes::INDEX)?;
        let json = answer.json();
        let Some(list) = json["manifests"].as_array() else { return fail("manifests is no list") };
        let mut got: Vec<_> = list.iter().filter_map(|e| e["digest"].as_str()).collect();
        let mut wanted: Vec<_> = held.referrers.iter().map(String::as_str).collect();
        got.sort_unstable();
        wanted.sort_unstable();
        same("referrers", got, wanted)
    })
}

/// The answers to every write there is, to what is held and to what is not.
fn refused(case: &Case) -> Result<Vec<Answer>, Miss> {
    let Some(held) = case.target.held.first() else { return fail("nothing is held") };
    let mut all = Vec::new();
    for here in [case.beside(&held.repository), case.clone()] {
        let blob =
            held.blobs.first().map_or_else(|| here.digest(b"x"), |(digest, _)| digest.clone());
        let digest = here.digest(b"x");
        let session = "blobs/uploads/00000000-0000-4000-8000-000000000000";
        for (method, below) in [
            ("POST", "blobs/uploads/".to_owned()),
            ("POST", format!("blobs/uploads/?digest={digest}")),
            ("POST", format!("blobs/uploads/?mount={blob}&from={}", held.repository)),
            ("PATCH", session.to_owned()),
            ("PUT", format!("{session}?digest={digest}")),
            ("DELETE", session.to_owned()),
            ("DELETE", format!("blobs/{blob}")),
            ("PUT", format!("manifests/{}", held.tag)),
            ("PUT", "manifests/new".to_owned()),
            ("PUT", format!("manifests/{}", held.digest)),
            ("DELETE", format!("manifests/{}", held.tag)),
            ("DELETE", format!("manifests/{}", held.digest)),
        ] {
            let call = here.call(method, &here.at(&below)).header("Content-Type", &held.media_type);
            let call = if method == "DELETE" { call } else { call.body(&held.manifest) };
            all.push(call.send()?);
        }
    }
    Ok(all)
}

fn writes(case: &Case) -> Outcome {
    refused(case)?.into_iter().try_for_each(|answer| answer.one_of(&[403, 405]).map(|_| ()))
}

fn writes_json(case: &Case) -> Outcome {
    refused(case)?.iter().try_for_each(|answer| answer.error(&["DENIED", "UNSUPPORTED"]))
}

fn unchanged(case: &Case) -> Outcome {
    tags(case)?;
    by_tag(case)?;
    blobs(case)?;
    case.ask("GET", "manifests/new")?.is(404).map(|_| ())
}
