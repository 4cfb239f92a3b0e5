//! A blob that another repository has: mounted, or uploaded after all. distribution-spec, end-11.

use super::{Case, Check, Miss, Outcome, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("from another repository", mount),
    Check::each("of an unknown blob goes on as an upload", unknown),
    Check::each("from an unknown repository goes on as an upload", unknown_from),
    Check::each("without from", anonymous),
    Check::each("without from, of an unknown blob", anonymous_unknown),
    Check::once("of a bad digest", malformed),
];

fn send(case: &Case, digest: &str, from: Option<&str>) -> Result<super::call::Answer, Miss> {
    let from = from.map_or(String::new(), |name| format!("&from={name}"));
    case.ask("POST", &format!("blobs/uploads/?mount={digest}{from}"))
}

fn arrived(case: &Case, answer: super::call::Answer, bytes: &[u8]) -> Outcome {
    let answer = answer.is(201)?;
    let place = case.location(&answer)?;
    holds(&format!("Location {place}"), place.starts_with(&case.at("blobs/")))?;
    case.call("GET", &place).send()?.is(200)?.holds(bytes)?;
    case.holds_blob(&case.digest(bytes), bytes)
}

/// The answer to a mount that cannot be: an upload that works.
fn begun(case: &Case, answer: super::call::Answer, bytes: &[u8]) -> Outcome {
    let place = case.location(&answer.is(202)?)?;
    let digest = case.digest(bytes);
    case.close(&place, &digest).body(bytes).send()?.is(201)?;
    case.holds_blob(&digest, bytes)
}

fn mount(case: &Case) -> Outcome {
    let other = case.beside(&format!("{}/other", case.repository));
    let bytes = case.bytes(0, 2000);
    let digest = other.push(&bytes)?;
    let answer = send(case, &digest, Some(&other.repository))?;
    answer.clone().is(201)?.has("Docker-Content-Digest", &digest)?;
    arrived(case, answer, &bytes)
}

fn unknown(case: &Case) -> Outcome {
    let other = case.beside(&format!("{}/other", case.repository));
    other.push(b"known")?;
    let bytes = case.bytes(0, 2000);
    let answer = send(case, &case.digest(&bytes), Some(&other.repository))?;
    begun(case, answer, &bytes)
}

fn unknown_from(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let from = format!("{}/nowhere", case.repository);
    let answer = send(case, &case.digest(&bytes), Some(&from))?;
    begun(case, answer, &bytes)
}

fn anonymous(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let digest = case.beside(&format!("{}/other", case.repository)).push(&bytes)?;
    arrived(case, send(case, &digest, None)?, &bytes)
}

fn anonymous_unknown(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let answer = send(case, &case.digest(&bytes), None)?;
    begun(case, answer, &bytes)
}

fn malformed(case: &Case) -> Outcome {
    let from = format!("{}/other", case.repository);
    let status = send(case, "sha256:bad", Some(&from))?.one_of(&[202, 400])?.status();
    let status_again = send(case, "sha256:bad", None)?.one_of(&[202, 400])?.status();
    same("the status without from", status_again, status)
}
