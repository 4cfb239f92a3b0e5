//! Taking things away: gone at once, and nothing else with them. distribution-spec, end-9 and end-10.

use super::manifests::reads;
use super::shapes::{self, Shape};
use super::{Case, Check, Outcome, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("a blob", blob).deletes(),
    Check::each("an unknown blob", unknown_blob).deletes(),
    Check::once("a tag leaves its manifest and other tags", tag).deletes(),
    Check::once("the last tag leaves an empty list", last_tag).deletes(),
    Check::each("a manifest", manifest).deletes(),
    Check::once("a manifest takes its tags with it", manifest_tags).deletes(),
    Check::once("an unknown tag", unknown_tag).deletes(),
    Check::each("an unknown manifest", unknown_manifest).deletes(),
    Check::each("what was deleted can be pushed again", again).deletes(),
];

fn blob(case: &Case) -> Outcome {
    let digest = case.push(&case.bytes(0, 2000))?;
    let keep = case.bytes(1, 2000);
    let kept = case.push(&keep)?;
    case.ask("DELETE", &format!("blobs/{digest}"))?.is(202)?;
    case.lacks_blob(&digest)?;
    case.holds_blob(&kept, &keep)
}

fn unknown_blob(case: &Case) -> Outcome {
    case.push(b"known")?;
    let below = format!("blobs/{}", case.digest(&case.bytes(0, 10)));
    case.ask("DELETE", &below)?.refused(&[404], &["BLOB_UNKNOWN"]).map(|_| ())
}

/// An image under two tags.
fn two_tags(case: &Case) -> Result<(Shape, String), super::Miss> {
    shapes::tagged(case, "one", 1)?;
    let shape = shapes::tagged(case, "two", 1)?;
    let digest = case.digest(&shape.bytes);
    Ok((shape, digest))
}

fn gone(case: &Case, reference: &str) -> Outcome {
    let below = format!("manifests/{reference}");
    case.ask("HEAD", &below)?.is(404)?;
    case.ask("GET", &below)?.refused(&[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]).map(|_| ())
}

/// The tags that are listed; an empty repository may be unknown by now.
fn tags_are(case: &Case, wanted: &[&str]) -> Outcome {
    let answer = case.ask("GET", "tags/list")?.one_of(&[200, 404])?;
    let json = answer.json();
    let tags: Vec<&str> =
        json["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()).collect();
    same("tags", tags, wanted.to_vec())
}

fn tag(case: &Case) -> Outcome {
    let (shape, digest) = two_tags(case)?;
    case.ask("DELETE", "manifests/one")?.is(202)?;
    gone(case, "one")?;
    tags_are(case, &["two"])?;
    reads(case, "two", &digest, &shape)?;
    reads(case, &digest, &digest, &shape)
}

fn last_tag(case: &Case) -> Outcome {
    let shape = shapes::tagged(case, "one", 1)?;
    let digest = case.digest(&shape.bytes);
    case.ask("DELETE", "manifests/one")?.is(202)?;
    tags_are(case, &[])?;
    reads(case, &digest, &digest, &shape)
}

fn manifest(case: &Case) -> Outcome {
    let keep = Shape::of(&shapes::image(case, 2)?);
    shapes::put(case, &keep)?;
    let shape = Shape::of(&shapes::image(case, 1)?);
    shapes::put(case, &shape)?;
    let digest = case.digest(&shape.bytes);
    case.ask("DELETE", &format!("manifests/{digest}"))?.is(202)?;
    gone(case, &digest)?;
    let kept = case.digest(&keep.bytes);
    reads(case, &kept, &kept, &keep)
}

fn manifest_tags(case: &Case) -> Outcome {
    let (_, digest) = two_tags(case)?;
    let other = shapes::tagged(case, "other", 2)?;
    case.ask("DELETE", &format!("manifests/{digest}"))?.is(202)?;
    for reference in ["one", "two", &digest] {
        gone(case, reference)?;
    }
    tags_are(case, &["other"])?;
    reads(case, "other", &case.digest(&other.bytes), &other)
}

fn unknown_tag(case: &Case) -> Outcome {
    two_tags(case)?;
    let answer = case.ask("DELETE", "manifests/three")?;
    answer.refused(&[404], &["MANIFEST_UNKNOWN"]).map(|_| ())
}

fn unknown_manifest(case: &Case) -> Outcome {
    case.push(b"known")?;
    let below = format!("manifests/{}", case.digest(&case.bytes(0, 10)));
    let answer = case.ask("DELETE", &below)?;
    answer.refused(&[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]).map(|_| ())
}

fn again(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let digest = case.push(&bytes)?;
    case.ask("DELETE", &format!("blobs/{digest}"))?.is(202)?;
    case.push(&bytes)?;
    case.holds_blob(&digest, &bytes)?;
    let shape = Shape::of(&shapes::image(case, 1)?);
    let digest = case.digest(&shape.bytes);
    shapes::put(case, &shape)?;
    case.ask("DELETE", &format!("manifests/{digest}"))?.is(202)?;
    shapes::put(case, &shape)?;
    reads(case, &digest, &digest, &shape)
}
