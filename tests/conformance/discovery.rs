//! What a registry says before anything is in it: the ping, unknown things, errors, methods.

use super::call::Answer;
use super::{Case, Check, Miss, Outcome, fail, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::once("GET /v2/", ping),
    Check::once("HEAD /v2/", ping_head),
    Check::once("/v2 without its slash", ping_bare),
    Check::once("tags of an unknown repository", unknown_tags),
    Check::each("referrers of an unknown repository", unknown_referrers),
    Check::once("an unknown blob is BLOB_UNKNOWN", unknown_blob),
    Check::once("an unknown manifest is MANIFEST_UNKNOWN", unknown_manifest),
    Check::once("a manifest of an unknown repository", unknown_repository),
    Check::once("an unknown upload is BLOB_UPLOAD_UNKNOWN", unknown_upload),
    Check::once("paths that mean nothing are 404", nothing),
    Check::once("other methods are 405 with Allow", methods),
    Check::once("405 is error JSON", methods_json),
    Check::once("DELETE /v2/ and of referrers is 405", no_delete),
];

fn ping(case: &Case) -> Outcome {
    case.call("GET", "/v2/").send()?.is(200).map(|_| ())
}

fn ping_head(case: &Case) -> Outcome {
    case.call("HEAD", "/v2/").send()?.is(200)?.header("Content-Length").map(|_| ())
}

fn ping_bare(case: &Case) -> Outcome {
    let answer = case.call("GET", "/v2").send()?.one_of(&[200, 301, 307, 308])?;
    if answer.status() == 200 {
        return Ok(());
    }
    same("the redirect of /v2", case.location(&answer)?, "/v2/".to_owned())
}

fn unknown_tags(case: &Case) -> Outcome {
    let answer = case.ask("GET", "tags/list")?.one_of(&[200, 404])?;
    if answer.status() == 404 {
        return answer.error(&["NAME_UNKNOWN"]);
    }
    same("tags", answer.json()["tags"].as_array().map(Vec::len), Some(0))
}

fn unknown_referrers(case: &Case) -> Outcome {
    let digest = case.digest(&case.bytes(0, 10));
    empty_index(case.ask("GET", &format!("referrers/{digest}"))?)
}

/// The answer is an index of nothing, to the letter.
pub fn empty_index(answer: Answer) -> Outcome {
    let answer = answer.is(200)?;
    answer.has("Content-Type", "application/vnd.oci.image.index.v1+json")?;
    let json = answer.json();
    same("schemaVersion", json["schemaVersion"].as_u64(), Some(2))?;
    let media = json["mediaType"].as_str();
    same("mediaType", media, Some("application/vnd.oci.image.index.v1+json"))?;
    holds(
        &format!("manifests must be [], not {}", json["manifests"]),
        json["manifests"].is_array(),
    )?;
    same("manifests", json["manifests"].as_array().map(Vec::len), Some(0))
}

fn unknown_blob(case: &Case) -> Outcome {
    case.push(&case.bytes(0, 10))?;
    case.lacks_blob(&case.digest(&case.bytes(1, 10)))
}

fn unknown_manifest(case: &Case) -> Outcome {
    super::shapes::tagged(case, "here", 1)?;
    for reference in ["gone".to_owned(), case.digest(&case.bytes(7, 10))] {
        let below = format!("manifests/{reference}");
        case.ask("GET", &below)?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
        case.ask("HEAD", &below)?.is(404)?;
    }
    Ok(())
}

fn unknown_repository(case: &Case) -> Outcome {
    let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN"];
    case.ask("GET", "manifests/latest")?.refused(&[404], &codes).map(|_| ())
}

fn unknown_upload(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 10);
    let location = case.begin()?;
    case.close(&location, &case.digest(&bytes)).body(&bytes).send()?.is(201)?;
    // What was ended is unknown, as is what never was.
    let other = case.at("blobs/uploads/00000000-0000-4000-8000-000000000000");
    let own: &str = location.split('?').next().unwrap_or_default();
    for place in [own, &other] {
        let unknown = |answer: Answer| -> Result<Answer, Miss> {
            answer.refused(&[404], &["BLOB_UPLOAD_UNKNOWN"])
        };
        unknown(case.call("GET", place).send()?)?;
        unknown(case.patch(place).body(b"x").send()?)?;
        unknown(case.close(place, &case.digest(b"x")).body(b"x").send()?)?;
        unknown(case.call("DELETE", place).send()?)?;
    }
    Ok(())
}

fn nothing(case: &Case) -> Outcome {
    for path in ["/nonsense", "/v1/_ping", "/v2/x", "/v2/x/nonsense/y", "/v3/", "/v2/x/tags/lists"]
    {
        case.call("GET", path).send()?.is(404)?;
    }
    Ok(())
}

/// Methods that mean nothing where they are sent.
fn misplaced(case: &Case) -> Result<Vec<Answer>, Miss> {
    let digest = case.digest(b"");
    let all = [
        ("POST", case.at("tags/list")),
        ("PUT", case.at(&format!("blobs/{digest}"))),
        ("POST", case.at("manifests/latest")),
        ("PATCH", case.at("manifests/latest")),
        ("PATCH", case.at(&format!("blobs/{digest}"))),
    ];
    all.iter().map(|(method, path)| case.call(method, path).send()?.is(405)).collect()
}

fn methods(case: &Case) -> Outcome {
    for answer in misplaced(case)? {
        let allow = answer.header("Allow")?;
        let method = answer.line.split(' ').next().unwrap_or_default();
        if allow.is_empty() || allow.split(',').any(|one| one.trim() == method) {
            return fail(format!("{}: Allow: {allow}", answer.line));
        }
    }
    Ok(())
}

fn no_delete(case: &Case) -> Outcome {
    let digest = case.digest(b"");
    case.ask("DELETE", &format!("referrers/{digest}"))?.is(405)?;
    case.call("DELETE", "/v2/").send()?.is(405).map(|_| ())
}

fn methods_json(case: &Case) -> Outcome {
    misplaced(case)?.iter().try_for_each(|answer| answer.error(&["UNSUPPORTED"]))
}
